"""What the service writes and reads, and what the sinks see: only what is on disk.

Numbers are given here: one position for each decision, one seq for each signal of a stream. Knows
nothing of files and of SQLite beyond its statements.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from candled.core.bar import Bar, Bars, Interval, Stream, iso
from candled.core.decision import BarClosed, BarRevised, Decision, Source
from candled.journal import statements
from candled.journal.database import Database, JournalError, damaged, new_epoch, open_database
from candled.journal.delivery import Deliveries
from candled.journal.holes import contradiction, missing_position, missing_seq
from candled.journal.looking import Look
from candled.journal.outcomes import Outcomes
from candled.journal.pruning import Pruner, Retention
from candled.journal.reader import JournalReader, open_reader
from candled.journal.revising import Affected, affected
from candled.journal.rows import Cell, bar_rows, decision_row, history_rows
from candled.journal.shadowing import ShadowBook
from candled.journal.streams import Streams
from candled.ports import Entry

_TAIL: Final = 8192


class Journal:
    """The open journal; also the `Outbox` of every sink. Use `open_journal` to get one.

    `wall_ms` tells when something was given up.
    """

    def __init__(self, database: Database, tail: int, wall_ms: Callable[[], int]) -> None:
        self._db = database
        self._wall_ms = wall_ms
        self._look = look = Look(database)
        self.epoch = look.meta["epoch"]
        database.pruned = int(look.meta.get("pruned", 0))
        self._streams = Streams(database, look)
        self.outcomes = Outcomes(database, self._streams, look)
        self._changes: dict[Stream, int] = {}  # number of each stream's last one
        self._last_change = 0
        self._deliveries = Deliveries(database, look.small("marks", "sink, position"))
        self._last: int
        ((self._last,),) = database.rows("SELECT coalesce(max(position), 0) FROM decisions")
        self._tail: deque[Entry] = deque(maxlen=tail)
        self._newest: dict[Stream, Entry] = {}
        self._of_newest_bar: dict[Stream, Entry] = {}
        for entry in look.entries(statements.LATEST_ENTRIES):
            self._look_at(entry)
        self._check_latest()
        self.lost = self._count_lost()
        """How many decisions of before are gone, since the newest commits were; mostly 0."""
        self._bars_are_sound = False
        self._grown = asyncio.Event()
        self._shadows: ShadowBook | None = None

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
        with self._streams.transaction():
            key = self._streams.key(stream)
            ((first,),) = self._db.rows(statements.FIRST_BAR, (key,))
            if first is None or (len(bars) and bars.open_time[0] <= first):
                self._streams.note(stream, from_listing=from_listing)
            self._db.write(statements.INSERT_NEW_BAR, history_rows(key, bars))
            if len(bars):
                self.outcomes.forget(key, int(bars.open_time[0]), int(bars.open_time[-1]))
        self._changed(stream)
        self._wake()

    def commit(
        self, batch: Sequence[BarClosed], decisions: Sequence[Decision], decided_ms: Sequence[int]
    ) -> list[Entry]:
        """Store a batch of bars and their decisions durably; return the numbered entries.

        Raises JournalError when a slot has been decided before: that must not happen. Whatever is
        raised, nothing of the batch is stored and no sink sees anything of it.
        """
        entries = self._numbered(batch, decisions, decided_ms)
        with self._streams.transaction():
            self._db.write(statements.INSERT_BAR, self._bar_rows(batch))
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
            return affected(self._look, self._streams.of(stream).key, bar, history)
        except KeyError as error:
            raise JournalError(
                f"{self._db.path}: {stream.path}: the bar that opens at {iso(bar.open_time)} was "
                "revised, but never stored; a feed may revise only what it has reported"
            ) from error

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
        with self._streams.transaction():
            key = self._streams.key(event.stream)
            self._db.write(statements.KEEP_BAR, [(event.received_ms, key, bar.open_time)])
            self._db.write(statements.REPLACE_BAR, bar_rows(key, [bar], [Source.REST]))
            self._write_entries(entries)
            self.outcomes.forget(key, bar.open_time, bar.open_time)
            self.outcomes.forget_corrected(corrections)
        self._changed(event.stream)
        self._publish(entries)
        return entries

    def rewritten(self, stream: Stream) -> int:
        """Return the number of the newest change of bars that a stream had; 0 without any."""
        return self._changes.get(stream, 0)

    @property
    def shadows(self) -> ShadowBook:
        """What challengers decided."""
        if self._shadows is None:
            self._shadows = ShadowBook(self._db, self._streams, self._deliveries, self.epoch)
        return self._shadows

    def shadows_after(self, position: int, limit: int) -> list[Entry]:
        """Return at most `limit` shadows after `position` in their own order, oldest first."""
        return self.shadows.after(position, limit)

    def bars(self, stream: Stream, count: int) -> Bars:
        """Return the newest `count` bars of a stream, oldest first."""
        return self._look.newest_bars(self._streams.of(stream).key, count)

    def check_window(self, stream: Stream, bars: Bars, count: int) -> None:
        """Raise JournalError when `bars` found fewer than `count`, or gaps, for a bad reason.

        Rows that a damaged page hides leave a gap, or an early end, like any other. So these are a
        reason to look at the structure of the table, once; it takes a second for a million bars.
        """
        even = (np.diff(bars.open_time) == Interval(stream.interval).typical_ms).all()
        if self._bars_are_sound or not len(bars) or (even and len(bars) >= count):
            return
        found = self._db.rows("PRAGMA quick_check(bars)")
        if found != [("ok",)]:
            raise damaged(self._db.path, f"bars are damaged: {found[0][0]}")
        self._bars_are_sound = True

    def from_listing(self, stream: Stream) -> bool:
        """Whether the venue has no bar before the stream's first one here."""
        return self._streams.of(stream).from_listing

    # --- what the sinks read and write

    def position(self, sink: str) -> int:
        """Return the position up to which `sink` has delivered everything; 0 at first."""
        return self._deliveries.position(sink)

    def mark(self, sink: str, position: int) -> None:
        """Record that `sink` has delivered everything up to `position`; see `settle`."""
        self._deliveries.mark(sink, position)

    def refuse(self, sink: str, position: int, reason: str) -> None:
        """Record that `sink` gave up the entry at `position` for good; see `settle`."""
        self._deliveries.refuse(sink, position, reason, self._wall_ms())

    def refused(self, sink: str) -> int:
        """Return how many entries `sink` gave up since the start."""
        return self._deliveries.refused[sink]

    def settle(self) -> str | None:
        """Write marks and refusals that could not be written; return why it cannot be done now."""
        return self._deliveries.settle()

    async def unsettled(self) -> None:
        """Return once there is something to `settle`."""
        await self._deliveries.unsettled()

    async def delivered(self, sinks: Sequence[str]) -> None:
        """Return once each of `sinks` has delivered everything there is."""
        await self._deliveries.delivered(sinks, self._last)

    def after(self, position: int, limit: int) -> list[Entry]:
        """Return at most `limit` entries after `position`, oldest first."""
        if position >= self._last:
            return []
        if self._tail and position >= self._tail[0].position - 1:
            first = position + 1 - self._tail[0].position
            return [self._tail[i] for i in range(first, min(first + limit, len(self._tail)))]
        entries = self._look.entries(statements.ENTRIES_AFTER, (position, limit))
        last, pruned = self._last, self._db.pruned
        self._refuse(missing_position(position, entries, limit=limit, last=last, pruned=pruned))
        return entries

    def signals(self, stream: Stream, after_seq: int, limit: int) -> list[Entry]:
        """Return at most `limit` signals of `stream` numbered above `after_seq`, ascending."""
        values = (self._streams.of(stream).key, after_seq, limit)
        entries = self._look.entries(statements.SIGNALS_AFTER, values)
        last, pruned = self._streams.of(stream).last_seq, self._db.pruned
        self._refuse(missing_seq(stream, after_seq, entries, limit=limit, last=last, pruned=pruned))
        return entries

    def signals_kept(self, stream: Stream) -> tuple[int, int] | None:
        """Return the numbers of the oldest and the newest signal kept; None without any."""
        ((first, last),) = self._db.rows(statements.SIGNALS_KEPT, (self._streams.of(stream).key,))
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

    def changed_after(self, change: int) -> tuple[int, list[Stream]]:
        """Return the number of the newest change of bars that were there, and whose bars changed.

        Those of streams after change number `change`; 0 asks for all since the start.
        """
        return self._last_change, [s for s, number in self._changes.items() if number > change]

    async def moved(self, position: int, change: int) -> None:
        """Return once there is an entry after `position`, or a change after number `change`."""
        while self._last <= position and self._last_change <= change:
            await self._grown.wait()

    def change_of(self, stream: Stream) -> int:
        """Return the number of the last change of a stream's bars; 0 before the first."""
        return self._changes.get(stream, 0)

    def streams(self) -> list[Stream]:
        """Return all streams that anything is known of."""
        return list(self._streams)

    def reader(self) -> JournalReader:
        """Open it once more, to be read in another thread and closed there."""
        return open_reader(self._db.path.parent)

    def checkpoint(self) -> None:
        """Tidy up the file; may run in another thread, beside everything else."""
        self._db.checkpoint()

    @contextmanager
    def pruning(
        self, keep_ms: int, sinks: Sequence[str], history: Mapping[Stream, int]
    ) -> Iterator[tuple[Sequence[Stream], Callable[[Stream], int]]]:
        """Give all streams, and a function that removes a few rows of one and says how many.

        It is for another thread; after 0 there is nothing left to remove. Up to `keep_ms` before
        its newest bar, and until all of `sinks` have delivered it, nothing goes. `history` says
        how many bars a stream's decisions rest on.
        """
        rule = Retention(keep_ms, self._deliveries.durable(sinks), history)
        latest: dict[Stream, int] = {}
        for entry in self.latest():
            latest.setdefault(entry.decision.stream, entry.position)
        with closing(Pruner(self._db, self._streams, latest)) as pruner:
            yield list(self._streams), partial(pruner.step, rule=rule)

    def close(self) -> None:
        """Close the file and let go of the lock."""
        with suppress(JournalError):
            self.settle()
        self.outcomes.close()
        if self._shadows is not None:
            self._shadows.close()
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
            last = seqs.get(stream, self._streams.of(stream).last_seq)
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
            [decision_row(self._streams.key(e.decision.stream), e) for e in entries],
        )
        last = {e.decision.stream: e.last_seq for e in entries if e.seq is not None}
        for stream, last_seq in last.items():
            self._streams.note(stream, last_seq=last_seq)

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
        self._tail.extend(entries)
        if entries:
            self._last = entries[-1].position
            self._db.progress.note(self.epoch, self._last)
        self._wake()

    def _wake(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    def _changed(self, stream: Stream) -> None:
        self._last_change += 1
        self._changes[stream] = self._last_change

    def _check_latest(self) -> None:
        """Refuse what contradicts itself: each is found on another way through the file."""
        for stream in self._streams:
            last_seq = self._streams.of(stream).last_seq
            newest = self._newest.get(stream)
            if newest is not None:
                self._refuse(contradiction(newest, self._of_newest_bar[stream], last_seq))
            elif last_seq:
                self._refuse(f"{stream.path}: its newest decision is missing")
        newest_position = max((e.position for e in self._newest.values()), default=0)
        if newest_position != self._last:
            self._refuse(f"decision {max(newest_position, self._last)} is not where it should be")

    def _count_lost(self) -> int:
        """Return how many decisions are gone; a new epoch begins then, since numbers come again."""
        epoch, position = self._db.progress.read()
        lost = max(0, position - self._last) if epoch == self.epoch else 0
        if lost:
            self.epoch = new_epoch()
            with self._db.transaction():
                self._db.write(statements.SET_EPOCH, [(self.epoch,)])
        self._db.progress.note(self.epoch, self._last)
        return lost

    def _refuse(self, missing: str | None) -> None:
        if missing:
            raise damaged(self._db.path, missing)

    def _bar_rows(self, batch: Sequence[BarClosed]) -> list[tuple[Cell, ...]]:
        by_stream: dict[Stream, list[BarClosed]] = {}
        for event in batch:
            by_stream.setdefault(event.stream, []).append(event)
        return [
            row
            for stream, events in by_stream.items()
            for row in bar_rows(
                self._streams.key(stream), [e.bar for e in events], [e.source for e in events]
            )
        ]


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def open_journal(
    folder: Path, *, tail: int = _TAIL, wall_ms: Callable[[], int] = _wall_ms
) -> Journal:
    """Open or create the journal in `folder`, for this process alone.

    `tail` is how many of the newest entries are kept in memory, so that sinks rarely read from
    disk. Raises JournalLockedError when another process has it, JournalUnavailableError when the
    disk will not have it, JournalError when it cannot be used.
    """
    database = open_database(folder)
    try:
        return Journal(database, tail, wall_ms)
    except (ValueError, KeyError) as error:  # a row that must be there is not
        database.close()
        raise damaged(database.path, error) from error
    except BaseException:
        database.close()
        raise
