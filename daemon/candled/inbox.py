"""The inbox: where feeds put events and the service takes them, in order and bounded.

Knows how heavy an event is, and nothing of what is done about it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from candled.core.decision import BarRevised
from candled.ports import FeedEvent, History

_LIMIT: Final = 100_000  # bars; a feed that is faster than this waits


@dataclass(frozen=True, slots=True)
class Work:
    """How far the one who takes is."""

    waits: bool
    """Whether events wait to be taken, or are being handled."""
    taken: int
    """How often some were taken, since the start."""


class Inbox:
    """Events from the feeds, in order, taken all at once; bounded by the bars that they hold."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._events: deque[FeedEvent] = deque()
        self._limit = limit
        self._held = 0
        self._taken = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def put(self, events: Sequence[FeedEvent]) -> None:
        """Append events; waits while the inbox is full."""
        await self._room.wait()
        self._events.extend(events)
        self._held += sum(map(_weight, events))
        self._idle.clear()
        self._filled.set()
        if self._held >= self._limit:
            self._room.clear()

    async def take(self, limit: int) -> list[FeedEvent]:
        """Wait for events, then return all that are there, at most `limit`.

        A history or a revision, which is costly to handle, is the last one that is returned.
        """
        await self._filled.wait()
        taken: list[FeedEvent] = []
        while self._events and len(taken) < limit:
            taken.append(self._events.popleft())
            self._held -= _weight(taken[-1])
            if isinstance(taken[-1], History | BarRevised):
                break
        self._taken += 1
        if not self._events:
            self._filled.clear()
        if self._held < self._limit:
            self._room.set()
        return taken

    def handled(self) -> None:
        """Say that what was taken has been handled."""
        if not self._events:
            self._idle.set()

    @property
    def work(self) -> Work:
        """How far it is."""
        return Work(waits=not self._idle.is_set(), taken=self._taken)

    async def join(self) -> None:
        """Wait until everything has been taken and handled."""
        await self._idle.wait()


def _weight(event: FeedEvent) -> int:
    return len(event.bars) if isinstance(event, History) else 1
