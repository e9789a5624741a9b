"""What challengers decided, as the journal holds it: numbered, and each slot once.

A shadow is an entry like the champion's, in a table of its own with an order of its own. It is
written together with the mark that says up to which of the champion's entries its challenger has
come, so that a crash can neither lose nor double one. Nothing is waited for: a power failure may
take the newest shadows and their mark, and then they are decided again, with the same ids and the
same numbers. Knows what is stored, and not how it is decided.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from candled.core.bar import Bar, Bars, Stream
from candled.core.decision import Decision
from candled.journal import statements
from candled.journal.database import Database, JournalUnavailableError, damaged, told
from candled.journal.delivery import SET_MARK, Deliveries
from candled.journal.looking import Look
from candled.journal.rows import bars_of, shadow_row
from candled.journal.streams import Streams
from candled.ports import Entry, Kind

_TAIL: Final = 4_096
_META: Final = "challenger"


@dataclass(frozen=True, slots=True)
class Course:
    """How far a challenger of one stream has come."""

    since: int
    """Position of the champion's newest entry when it began: what came before is not decided."""
    after: int
    """Position of the newest shadow then; its own come later."""
    last_seq: int = 0
    """Number of its newest signal; 0 before the first."""


class _Beside:
    """A connection of its own to the journal's file."""

    def __init__(self, database: Database) -> None:
        self.path: Path = database.path
        with told(self.path):
            self.connection: sqlite3.Connection = database.beside()
            self.connection.execute("PRAGMA synchronous = NORMAL")
            self.connection.execute("PRAGMA wal_autocheckpoint = 0")

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with told(self.path):
            return self.connection.execute(sql, values).fetchall()


class ShadowBook:
    """The shadows of a journal that is open to write; `Journal.shadows` is the one to use.

    Also the `ShadowOutbox` of who publishes them. All but `bars_before` belongs to one thread.
    """

    def __init__(
        self, database: Database, streams: Streams, deliveries: Deliveries, epoch: str
    ) -> None:
        self.epoch = epoch
        self._db = database
        self._streams = streams
        self._deliveries = deliveries
        self._own = _Beside(database)
        self._look = Look(self._own)
        self._courses: dict[Kind, Course] = {}
        self._last: int
        ((self._last,),) = self._own.rows("SELECT coalesce(max(position), 0) FROM shadows")
        self._tail: deque[Entry] = deque(maxlen=_TAIL)
        self._grown = asyncio.Event()

    @property
    def last_position(self) -> int:
        """Position of the newest shadow; 0 before the first."""
        return self._last

    def begin(self, kinds: Sequence[Kind], since: int) -> dict[Kind, Course]:
        """Return how far each challenger has come; one that is new begins after `since`.

        Raises JournalError.
        """
        meta = dict(self._look.small("meta", "key, value"))
        new = [kind for kind in kinds if _key(kind) not in meta]
        self._write(
            [(statements.SET_META, [(_key(kind), f"{since} {self._last}") for kind in new])]
        )
        for kind in kinds:
            if kind not in self._courses:
                noted = meta.get(_key(kind), f"{since} {self._last}")
                self._courses[kind] = self._resumed(kind, *map(int, noted.split()))
        return {kind: self._courses[kind] for kind in kinds}

    def _resumed(self, kind: Kind, since: int, after: int) -> Course:
        """Find the number of a challenger's newest signal among the shadows after `after`."""
        values = (self._streams.of(kind.stream).key, after)
        with told(self._own.path):
            found = closing(self._own.connection.execute(statements.SHADOWS_BACK, values))
            with found as rows:
                for row in rows:
                    entry = self._look.shadow(row)
                    if Kind.of(entry.decision) == kind:
                        return Course(since, after, entry.last_seq)
        return Course(since, after)

    def commit(
        self,
        sink: str,
        position: int,
        champions: Sequence[Entry],
        decisions: Sequence[Decision],
        decided_ms: Sequence[int],
    ) -> list[Entry]:
        """Store what was decided about the bars of `champions`, and the mark of `sink`.

        All of it or nothing; returns the numbered shadows. The challengers must have begun. Raises
        JournalError, also for a slot that the challenger has decided before.
        """
        entries, courses = self._numbered(champions, decisions, decided_ms)
        keys = [self._streams.of(entry.decision.stream).key for entry in entries]
        rows = [shadow_row(key, entry) for key, entry in zip(keys, entries, strict=True)]
        self._write([(statements.INSERT_SHADOW, rows), (SET_MARK, [(sink, position)])])
        self._courses.update(courses)
        self._deliveries.noted(sink, position)
        if entries:
            self._last = entries[-1].position
            self._tail.extend(entries)
            grown, self._grown = self._grown, asyncio.Event()
            grown.set()
        return entries

    def _numbered(
        self, champions: Sequence[Entry], decisions: Sequence[Decision], decided_ms: Sequence[int]
    ) -> tuple[list[Entry], dict[Kind, Course]]:
        """Give each shadow its place and each signal its number."""
        courses: dict[Kind, Course] = {}
        entries = []
        for offset, (entry, decision, at) in enumerate(
            zip(champions, decisions, decided_ms, strict=True), start=1
        ):
            kind, is_signal = Kind.of(decision), decision.is_signal
            course = courses.get(kind, self._courses[kind])
            courses[kind] = replace(course, last_seq=course.last_seq + is_signal)
            last_seq = courses[kind].last_seq
            entries.append(
                replace(
                    entry,
                    position=self._last + offset,
                    decision=decision,
                    seq=last_seq if is_signal else None,
                    last_seq=last_seq,
                    decided_ms=at,
                )
            )
        return entries, courses

    def bar(self, stream: Stream, open_time: int) -> Bar:
        """Return the bar that opens then, as it is stored now; raises JournalError without one."""
        table = self._look.table(self._streams.of(stream).key, statements.BAR, (open_time,))
        if not len(table):
            raise damaged(
                self._own.path, f"{stream.path}: the bar that opens at {open_time} is missing"
            )
        return bars_of(table).row(0)

    def bars_before(self, stream: Stream, open_time: int, count: int) -> tuple[Bars, bool]:
        """Return at most `count` bars before one, and whether the venue has none before them.

        Oldest first. It may run in another thread: it has a connection of its own.
        """
        known = self._streams.of(stream)
        beside = _Beside(self._db)
        with closing(beside.connection):
            values = (open_time, count)
            table = Look(beside).table(known.key, statements.NEWEST_BARS_BEFORE, values)
        return bars_of(table[::-1]), known.from_listing

    # --- for who delivers shadows

    def position(self, sink: str) -> int:
        """Return the position up to which `sink` has delivered every shadow; 0 at first."""
        return self._deliveries.position(sink)

    def after(self, position: int, limit: int) -> list[Entry]:
        """Return at most `limit` shadows after `position`, oldest first; old ones may be gone."""
        if position >= self._last:
            return []
        if self._tail and position >= self._tail[0].position - 1:
            first = position + 1 - self._tail[0].position
            return [self._tail[i] for i in range(first, min(first + limit, len(self._tail)))]
        return self._look.shadows(statements.SHADOWS_AFTER, (position, limit))

    def mark(self, sink: str, position: int) -> None:
        """Record that `sink` has delivered every shadow up to `position`; see `Deliveries.mark`."""
        try:
            self._write([(SET_MARK, [(sink, position)])])
        except JournalUnavailableError:
            self._deliveries.mark(sink, position)  # which is kept in mind until it can be written
        else:
            self._deliveries.noted(sink, position)

    async def wait(self, position: int) -> None:
        """Return once there is a shadow after `position`."""
        while self._last <= position:
            await self._grown.wait()

    def close(self) -> None:
        """Close the connection."""
        self._own.connection.close()

    def _write(self, work: Sequence[tuple[str, Sequence[Sequence[Any]]]]) -> None:
        """Do all of it or nothing, when it is our turn."""
        if not any(rows for _, rows in work):
            return
        with self._db.turn, told(self._own.path), self._own.connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            for sql, rows in work:
                connection.executemany(sql, rows)


def _key(kind: Kind) -> str:
    return f"{_META} {kind.stream.path} {kind.model_digest} {kind.policy_digest}"
