"""How far each sink has come, and what it gave up.

A mark is a promise to nobody: without it an entry is delivered twice, and consumers drop what they
know. So a disk that is full must not keep what is durable from being delivered; a mark that cannot
be written is kept in mind, and written with the next that can.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from candled.journal.database import Database, JournalUnavailableError

SET_MARK: Final = "INSERT OR REPLACE INTO marks VALUES (?, ?, row_sum(?1, ?2))"
_REFUSE: Final = "INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?)"


class Deliveries:
    """Marks and refusals of every sink, in memory and as far as possible on disk."""

    def __init__(self, database: Database, marks: Iterable[tuple[str, int]]) -> None:
        self._db = database
        self._marks = dict(marks)
        self._durable = dict(self._marks)
        self._refusals: list[tuple[str, int, str, int]] = []
        self.refused: Counter[str] = Counter()
        """How many entries each sink gave up since the start."""
        self._marked = asyncio.Event()
        self._unsettled = asyncio.Event()

    def position(self, sink: str) -> int:
        """Return the position up to which `sink` has delivered everything; 0 at first."""
        return self._marks.get(sink, 0)

    def durable(self, sinks: Sequence[str]) -> int:
        """Return the position up to which all of `sinks` are known on disk to have delivered."""
        return min((self._durable.get(sink, 0) for sink in sinks), default=0)

    def mark(self, sink: str, position: int) -> None:
        """Record that `sink` has delivered everything up to `position`."""
        if position == self._marks.get(sink):
            return
        self._marks[sink] = position
        self.settle()
        marked, self._marked = self._marked, asyncio.Event()
        marked.set()

    def noted(self, sink: str, position: int) -> None:
        """Take it that `sink` has delivered up to `position`: that is on disk already."""
        self._marks[sink] = self._durable[sink] = position
        marked, self._marked = self._marked, asyncio.Event()
        marked.set()

    def refuse(self, sink: str, position: int, reason: str, at_ms: int) -> None:
        """Record that `sink` gave up the entry at `position`, and why."""
        self.refused[sink] += 1
        self._refusals.append((sink, position, reason, at_ms))
        self.settle()

    def settle(self) -> str | None:
        """Write what is not on disk; return why that cannot be done now, None when it is done.

        Raises JournalError when it never can be.
        """
        marks = [mark for mark in self._marks.items() if self._durable.get(mark[0]) != mark[1]]
        if not marks and not self._refusals:
            return None
        try:
            with self._db.transaction():
                self._db.write(SET_MARK, marks)
                self._db.write(_REFUSE, self._refusals)
        except JournalUnavailableError as error:
            self._unsettled.set()
            return str(error)
        self._durable.update(marks)
        self._refusals.clear()
        self._unsettled.clear()
        return None

    async def unsettled(self) -> None:
        """Return once something could not be written."""
        await self._unsettled.wait()

    async def delivered(self, sinks: Sequence[str], last: int) -> None:
        """Return once each of `sinks` has delivered everything up to `last`."""
        while any(self.position(sink) < last for sink in sinks):
            await self._marked.wait()
