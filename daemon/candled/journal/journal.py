"""What the service writes and reads, and what the sinks see: only what is on disk.

Numbers are given here: one position for each decision, one seq for each signal of a stream. Knows
nothing of files and of SQLite beyond its statements.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from candled.core.bar import Bar, Bars, Stream, iso
from candled.core.decision import BarClosed, BarRevised, Decision, Source
from candled.journal import statements
from candled.journal.database import Database, JournalError, damaged, open_database
from candled.journal.revising import Affected, affected
from candled.journal.rows import Cell, bar_cells, bars_of, decision_row, entry_of, history_rows
from candled.ports import Entry

_TAIL: Final = 8192


class Journal:
    """The open journal; also the `Outbox` of every sink. Use `open_journal` to get one."""

    def __init__(self, database: Database, tail: int) -> None:
        self._db = database
        ((self.epoch,),) = database.rows("SELECT value FROM meta WHERE key = 'epoch'")
        streams = database.rows("SELECT exchange, symbol, interval, id, last_seq FROM streams")
        self._ids: dict[Stream, int] = {Stream(*names): key for *names, key, _ in streams}
        self._seqs = {Stream(*names): last_seq for *names, _, last_seq in streams}
        self._marks: dict[str, int] = dict(database.rows("SELECT sink, position FROM marks"))
        self._last: int
        ((self._last,),) = database.rows("SELECT coalesce(max(position), 0) FROM decisions")
        self._tail: deque[Entry] = deque(maxlen=tail)
        self._newest: dict[Stream, Entry] = {}
        self._of_newest_bar: dict[Stream, Entry] = {}
        for entry in self._entries(statements.LATEST_ENTRIES):
            self._look_at(entry)
        self._grown = asyncio.Event()
        self._marked = asyncio.Event()

    @property
    def last_position(self) -> int:
        """Position of the newest decision; 0 before the first."""
        return self._last

    # --- what the service writes and reads

    def store_history(self, stream: Stream, bars: Bars, *, from_listing: bool) -> None:
        """Store bars that are not decided: before the first decision, or after some were lost.

        Those there already stay. Only bars that begin at the stream's first one or before it can
        say whether the venue has an earlier one.
        """
        with self._transaction():
            key = self._key(stream)
            ((first,),) = self._db.rows(statements.FIRST_BAR, (key,))
            if first is None or (len(bars) and bars.open_time[0] <= first):
                self._db.write(
                    "UPDATE streams SET from_listing = ? WHERE id = ?", [(int(from_listing), key)]
                )
            self._db.write(statements.INSERT_NEW_BAR, history_rows(key, bars))

    def commit(
        self, batch: Sequence[BarClosed], decisions: Sequence[Decision], decided_ms: Sequence[int]
    ) -> list[Entry]:
        """Store a batch of bars and their decisions durably; return the numbered entries.

        Raises JournalError when a slot has been decided before: that must not happen. Whatever is
        raised, nothing of the batch is stored and no sink sees anything of it.
        """
        entries = self._numbered(batch, decisions, decided_ms)
        with self._transaction():
            self._db.write(
                statements.INSERT_BAR,
                [_bar_row(self._key(e.stream), e.bar, e.source) for e in batch],
            )
            self._write_entries(entries)
        self._publish(entries)
        return entries

    def affected(self, event: BarRevised, history: int) -> Affected | None:
        """Return what a revised bar may change; None when it is stored like this.

        `history` is how many bars before the first decision to be made again are wanted. Raises
        JournalError for a bar that is not stored: nobody can have seen it otherwise.
        """
        stream, bar = event.stream, event.bar
        try:
            return affected(self._db, self._ids.get(stream, -1), bar, history)
        except KeyError as error:
            raise JournalError(
                f"{self._db.path}: {stream.path}: the bar that opens at {iso(bar.open_time)} was "
                "revised, but never stored; a feed may revise only what it has reported"
            ) from error
        except msgspec.DecodeError as error:
            raise damaged(self._db.path, error) from error

    def revise(
        self, event: BarRevised, bar: Bar, corrections: Sequence[Decision], decided_ms: int
    ) -> list[Entry]:
        """Store `bar` in the place of what it was, which is kept, and what the event corrects.

        All of it durably or nothing; returns the numbered entries. They arrived when the revision
        did, and by REST.
        """
        arrived = BarClosed(event.stream, bar, Source.REST, event.received_ns, event.received_ms)
        count = len(corrections)
        entries = self._numbered([arrived] * count, corrections, [decided_ms] * count)
        with self._transaction():
            key = self._key(event.stream)
            self._db.write(statements.KEEP_BAR, [(event.received_ms, key, bar.open_time)])
            self._db.write(statements.REPLACE_BAR, [_bar_row(key, bar, Source.REST)])
            self._write_entries(entries)
        self._publish(entries)
        return entries

    def bars(self, stream: Stream, count: int) -> Bars:
        """Return the newest `count` bars of a stream, oldest first."""
        rows = self._db.rows(statements.NEWEST_BARS, (self._ids.get(stream, -1), count))
        return bars_of(rows[::-1])

    def from_listing(self, stream: Stream) -> bool:
        """Whether the venue has no bar before the stream's first one here."""
        key = self._ids.get(stream, -1)
        rows = self._db.rows("SELECT from_listing FROM streams WHERE id = ?", (key,))
        return bool(rows and rows[0][0])

    # --- what the sinks read and write

    def position(self, sink: str) -> int:
        """Return the position up to which `sink` has delivered everything; 0 at first."""
        return self._marks.get(sink, 0)

    def mark(self, sink: str, position: int) -> None:
        """Record durably that `sink` has delivered everything up to `position`."""
        if position == self._marks.get(sink):
            return
        with self._transaction():
            self._db.write("INSERT OR REPLACE INTO marks VALUES (?, ?)", [(sink, position)])
        self._marks[sink] = position
        marked, self._marked = self._marked, asyncio.Event()
        marked.set()

    async def delivered(self, sinks: Sequence[str]) -> None:
        """Return once each of `sinks` has delivered everything there is."""
        while any(self.position(sink) < self._last for sink in sinks):
            await self._marked.wait()

    def after(self, position: int, limit: int) -> list[Entry]:
        """Return at most `limit` entries after `position`, oldest first."""
        if position >= self._last:
            return []
        if self._tail and position >= self._tail[0].position - 1:
            first = position + 1 - self._tail[0].position
            return [self._tail[i] for i in range(first, min(first + limit, len(self._tail)))]
        return self._entries(statements.ENTRIES_AFTER, (position, limit))

    def signals(self, stream: Stream, after_seq: int, limit: int) -> list[Entry]:
        """Return at most `limit` signals of `stream` numbered above `after_seq`, ascending."""
        key = self._ids.get(stream, -1)
        return self._entries(statements.SIGNALS_AFTER, (key, after_seq, limit))

    def signals_kept(self, stream: Stream) -> tuple[int, int] | None:
        """Return the numbers of the oldest and the newest signal kept; None without any."""
        ((first, last),) = self._db.rows(statements.SIGNALS_KEPT, (self._ids.get(stream, -1),))
        return None if first is None else (first, last)

    def latest(self) -> list[Entry]:
        """Return each stream's newest entry and that of its newest bar, oldest first."""
        found = (*self._newest.values(), *self._of_newest_bar.values())
        by_position = {entry.position: entry for entry in found}
        return [by_position[position] for position in sorted(by_position)]

    async def wait(self, position: int) -> None:
        """Return once there is an entry after `position`."""
        while self._last <= position:
            await self._grown.wait()

    def checkpoint(self) -> None:
        """Tidy up the file; may run in another thread, beside everything else."""
        self._db.checkpoint()

    def close(self) -> None:
        """Close the file and let go of the lock."""
        self._db.close()

    # --- inside

    def _numbered(
        self, batch: Sequence[BarClosed], decisions: Sequence[Decision], decided_ms: Sequence[int]
    ) -> list[Entry]:
        """Give each decision its place in the one order, and each signal its number."""
        seqs: dict[Stream, int] = {}
        entries = []
        for offset, (event, decision, at) in enumerate(
            zip(batch, decisions, decided_ms, strict=True), start=1
        ):
            stream, is_signal = decision.stream, decision.is_signal
            last = seqs.get(stream, self._seqs.get(stream, 0))
            seqs[stream] = last + is_signal
            entries.append(
                Entry(
                    position=self._last + offset,
                    decision=decision,
                    seq=seqs[stream] if is_signal else None,
                    last_seq=seqs[stream],
                    source=event.source,
                    received_ns=event.received_ns,
                    received_ms=event.received_ms,
                    decided_ms=at,
                )
            )
        return entries

    def _write_entries(self, entries: Sequence[Entry]) -> None:
        self._db.write(
            statements.INSERT_DECISION,
            [decision_row(self._key(e.decision.stream), e) for e in entries],
        )
        self._db.write(
            "UPDATE streams SET last_seq = ? WHERE id = ?",
            [(e.seq, self._key(e.decision.stream)) for e in entries if e.seq is not None],
        )

    def _look_at(self, entry: Entry) -> None:
        """Note the next entry as its stream's newest, and as that of its newest bar if it is."""
        stream = entry.decision.stream
        self._newest[stream] = entry
        held = self._of_newest_bar.get(stream)
        if held is None or entry.decision.bar_open >= held.decision.bar_open:
            self._of_newest_bar[stream] = entry

    def _publish(self, entries: Sequence[Entry]) -> None:
        """Let the sinks see entries that are on disk now."""
        for entry in entries:
            self._look_at(entry)
            self._seqs[entry.decision.stream] = entry.last_seq
        self._tail.extend(entries)
        if entries:
            self._last = entries[-1].position
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    def _entries(self, sql: str, values: Sequence[int] = ()) -> list[Entry]:
        try:
            return [entry_of(text) for (text,) in self._db.rows(sql, values)]
        except msgspec.DecodeError as error:
            raise damaged(self._db.path, error) from error

    def _key(self, stream: Stream) -> int:
        """Return the stream's key; call it inside a transaction, it may insert."""
        if stream not in self._ids:
            ((key,),) = self._db.rows(
                "INSERT INTO streams (exchange, symbol, interval, from_listing, last_seq)"
                " VALUES (?, ?, ?, 0, 0) RETURNING id",
                (stream.exchange, stream.symbol, stream.interval),
            )
            self._ids[stream] = key
        return self._ids[stream]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, on disk and in what we remember of it."""
        known = dict(self._ids)
        try:
            with self._db.transaction():
                yield
        except BaseException:
            self._ids = known
            raise


def _bar_row(key: int, bar: Bar, source: Source) -> tuple[Cell, ...]:
    return (key, *bar_cells(bar), source.value)


def open_journal(folder: Path, *, tail: int = _TAIL) -> Journal:
    """Open or create the journal in `folder`, for this process alone.

    `tail` is how many of the newest entries are kept in memory, so that sinks rarely read from
    disk. Raises JournalLockedError when another process has it, JournalUnavailableError when the
    disk will not have it, JournalError when it cannot be used.
    """
    database = open_database(folder)
    try:
        return Journal(database, tail)
    except ValueError as error:  # a row that must be there is not
        database.close()
        raise damaged(database.path, error) from error
    except BaseException:
        database.close()
        raise
