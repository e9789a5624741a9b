"""Which heads there are and which are to be said next. No broker is known here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

from candled.core.bar import Stream
from candled.ports import Entry


class Heads:
    """The newest bar's newest delivered entry of each stream, and which of them to say next."""

    def __init__(self) -> None:
        self._newest: dict[Stream, Entry] = {}
        self._due: dict[Stream, None] = {}
        self._some_due = asyncio.Event()

    def add(self, entries: Iterable[Entry]) -> None:
        """Take delivered entries, oldest first."""
        added: dict[Stream, None] = {}
        for entry in entries:
            stream, head = entry.decision.stream, self._newest.get(entry.decision.stream)
            of_older_bar = head and entry.decision.bar_open < head.decision.bar_open
            self._newest[stream] = (
                replace(head, last_seq=entry.last_seq) if head and of_older_bar else entry
            )
            added[stream] = None
        self.repeat(added)

    def repeat(self, streams: Iterable[Stream] | None = None) -> None:
        """Make the heads of these streams due, where they have one; by default all."""
        chosen = self._newest if streams is None else streams
        self._due.update((stream, None) for stream in chosen if stream in self._newest)
        if self._due:
            self._some_due.set()

    async def wait(self) -> None:
        """Return once there are some to say."""
        await self._some_due.wait()

    def take(self, limit: int) -> list[Entry]:
        """Remove at most `limit` of those that are due, longest waiting first."""
        streams = list(islice(self._due, limit))
        for stream in streams:
            del self._due[stream]
        if not self._due:
            self._some_due.clear()
        return [self._newest[stream] for stream in streams]
