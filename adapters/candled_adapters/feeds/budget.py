"""A venue's limit on how often it may be approached, kept by waiting."""

from __future__ import annotations

import asyncio
import time
from collections import deque


class Budget:
    """So many approaches within any window of time, shared by all who make them."""

    def __init__(self, count: int, window_s: float) -> None:
        self._window_s = window_s
        self._times: deque[float] = deque([float("-inf")] * count, maxlen=count)

    async def spend(self) -> None:
        """Wait until one more is allowed, and count it."""
        now = time.monotonic()
        turn = max(now, self._times[0] + self._window_s)
        self._times.append(turn)
        await asyncio.sleep(turn - now)

    async def spare(self) -> None:
        """Wait until no more than half of what is allowed is used, and count one more."""
        while (wait := self._until_half()) > 0:  # noqa: ASYNC110 - nothing but time ends it
            await asyncio.sleep(wait)
        self._times.append(time.monotonic())

    def _until_half(self) -> float:
        """Return how long until no more than half of the window's approaches lie within it (s)."""
        half = (len(self._times) + 1) // 2
        return self._times[-half] + self._window_s - time.monotonic()
