"""Questions of history to REST, asked again until they are answered or there is no point in it.

Waits as long as the venue wants, and backs off with jitter when nothing comes. For who has time,
such as a fetch; a live stream must not wait here.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from candled.core.bar import Stream
from candled_adapters.exchanges.dialect import Rows
from candled_adapters.feeds.backlog import Read
from candled_adapters.feeds.questions import NotAnsweredError
from candled_adapters.feeds.rest import Rest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Endurance:
    """How often and how long is tried."""

    attempts: int = 8
    """Failures in a row after which a question is given up."""
    first_retry_s: float = 0.5
    last_retry_s: float = 30.0
    """Pauses grow from the first to this; half of each is chance."""

    def pause(self, failures: int, wait_s: float, chance: float) -> float:
        """Return how long to wait (s) after so many failures; never less than the venue wants.

        `chance` lies in [0, 1].
        """
        grown = min(self.first_retry_s * 2.0 ** (failures - 1), self.last_retry_s)
        return max(wait_s, grown * (0.5 + 0.5 * chance))


class PatientRest:
    """A venue's REST interface for one caller that asks one question after another."""

    def __init__(
        self,
        rest: Rest,
        endurance: Endurance,
        *,
        told: Callable[[str, float], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Ask `rest`. `told` hears why and for how long (s) it waits."""
        self._rest = rest
        self._endurance = endurance
        self._told = told
        self._sleep = sleep

    async def server_time(self) -> int:
        """Return the venue's time, asked for now (UTC ms)."""
        return await self.answer(lambda: self._rest.server_time(time.monotonic()))

    async def rows(self, stream: Stream, read: Read) -> Rows:
        """Return the answer to `read`."""
        return await self.answer(lambda: self._rest.rows(stream, read))

    async def answer(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer. Raises `NotAnsweredError` when it is given up."""
        failures = 0
        while True:
            try:
                return await ask()
            except NotAnsweredError as error:
                failures += 1
                if error.final or failures >= self._endurance.attempts:
                    raise
                pause = self._endurance.pause(failures, error.wait_s, random.random())
                self._told(str(error), pause)
                await self._sleep(pause)
