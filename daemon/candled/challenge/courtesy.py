"""Who is in no hurry gives way to who is: what is acted upon is delivered first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from candled.journal import Journal

_PATIENCE_S: Final = 1.0


class Courtesy:
    """Lets the sinks `first` deliver before others work, as long as they get on."""

    def __init__(self, journal: Journal, first: Sequence[str]) -> None:
        self._journal = journal
        self._first = first
        self._stuck_at: int | None = None

    async def give_way(self) -> None:
        """Let everyone work, and return when nothing waits for the first, or they do not get on."""
        await asyncio.sleep(0)
        delivered = self._delivered()
        if delivered >= self._journal.last_position or delivered == self._stuck_at:
            return
        self._stuck_at = None
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._journal.delivered(self._first)
        except TimeoutError:
            self._stuck_at = self._delivered()

    def _delivered(self) -> int:
        last = self._journal.last_position
        return min((self._journal.position(sink) for sink in self._first), default=last)
