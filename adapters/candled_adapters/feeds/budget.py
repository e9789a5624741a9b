"""A venue's limits on how often it may be approached, kept by waiting."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from typing import Final

from candled_adapters.exchanges.dialect import Limits

_HOUR_S: Final = 3600.0


class Budget:
    """So many approaches within any window of time, shared by all who make them."""

    def __init__(self, count: int, window_s: float) -> None:
        self._window_s = window_s
        self._times: deque[float] = deque([float("-inf")] * count, maxlen=count)
        self._not_before = 0.0
        self._turn = asyncio.Lock()

    async def spend(self) -> None:
        """Wait until one more is allowed, and count it."""
        async with self._turn:
            while (wait := self._until_free()) > 0:  # noqa: ASYNC110 - nothing but time ends it
                await asyncio.sleep(wait)
            self._times.append(time.monotonic())

    async def spare(self) -> None:
        """Wait until no more than half of what is allowed is used, and count one more."""
        while (wait := self._until_half()) > 0:  # noqa: ASYNC110 - nothing but time ends it
            await asyncio.sleep(wait)
        self._times.append(time.monotonic())

    def _until_free(self) -> float:
        """Return how long until one more is allowed (s)."""
        return max(self._times[0] + self._window_s, self._not_before) - time.monotonic()

    def _until_half(self) -> float:
        """Return how long until no more than half of the window's approaches lie within it (s)."""
        half = (len(self._times) + 1) // 2
        return max(self._times[-half] + self._window_s, self._not_before) - time.monotonic()

    def close(self, seconds: float) -> None:
        """Let nobody through for so long: the venue wants to be left alone."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)


def evenly(per_second: float) -> Budget:
    """Return a budget of one at a time, so many a second."""
    return Budget(1, 1.0 / per_second)


class Allowance:
    """What a venue allows all lines of a feed together, and each one."""

    def __init__(self, limits: Limits, streams: int) -> None:
        """Keep to `limits` with `streams` in all."""
        self.connects = Budget(limits.connects, limits.connect_window_s)
        in_all = limits.frames_per_second_in_all
        self._in_all = [] if in_all is None else [evenly(in_all)]
        self._limits = limits
        self._streams = streams
        self.numbers = itertools.count(1)
        """Of lines, in the order in which they are made."""

    def overlap(self, streams: int) -> bool:
        """Whether so many may be subscribed to twice for a while."""
        most = self._limits.streams_in_all
        return most is None or self._streams + streams <= most

    def paces(self) -> list[Budget]:
        """Return what each frame on a new line is spent of."""
        most = self._limits.frames_per_second
        spare = max(most - 1.0, most / 2.0)  # a pong of ours cannot wait for its turn
        return [evenly(spare), *self._in_all]

    def requests(self) -> Budget | None:
        """Return what each subscription on a new line is spent of."""
        most = self._limits.requests_per_hour
        return None if most is None else Budget(most, _HOUR_S)
