"""What of the journal is no longer needed, and its removal, a little at a time.

A decision goes when its bar is old, every configured sink has delivered it, and no revision of a
recent bar can touch it. It goes with all that its stream has before it, so that what is left of a
stream's signals has no hole. What challengers decided goes by age alone. A bar goes when it is old
and no decision that is left rests on it.

Made for another thread: it has a connection of its own, and a commit waits for one short step at
most. A step that a crash undoes is done again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

from candled.core.bar import Stream
from candled.journal import statements
from candled.journal.database import Database, told
from candled.journal.streams import Streams

#: Bars of a stream, from its newest, whose decisions stay: as far as a feed remembers what it told,
#: and with that how far back it may revise.
REVISABLE: Final = 256
#: Rows that go in one step.
STEP: Final = 50
_FOR_EVER: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Retention:
    """What to keep."""

    keep_ms: int
    """How old a bar may be, counted back from its stream's newest, not from a clock that errs."""
    delivered: int
    """Position up to which everything is delivered."""
    history: Mapping[Stream, int]
    """How many bars a stream's decisions rest on."""

    def history_of(self, stream: Stream) -> int:
        """Return that of a stream; one that is not served now may be served again."""
        return self.history.get(stream) or max(self.history.values(), default=0)


class Pruner:
    """One pass over the journal; close it at the end."""

    def __init__(self, database: Database, streams: Streams, latest: Mapping[Stream, int]) -> None:
        self._db = database
        self._streams = streams
        self._latest = latest
        with told(database.path):
            self._connection = database.beside()
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA wal_autocheckpoint = 0")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def step(self, stream: Stream, rule: Retention) -> int:
        """Remove at most `STEP` rows of each kind of a stream; return how many they were.

        Raises JournalError; then nothing of the step is done.
        """
        key = self._streams.of(stream).key
        cut = self._cut(key, rule.keep_ms)
        if cut is None:
            return 0
        with told(self._db.path):
            gone = self._positions(key, cut, min(rule.delivered + 1, self._latest.get(stream, 0)))
            if gone:
                self._remove_decisions(gone)
                return len(gone)
            if shadows := self._rows(statements.FIRST_SHADOWS, key, cut, STEP):
                self._remove_shadows(shadows)
                return len(shadows)
            return self._remove_bars(stream, cut, rule.history_of(stream))

    def _cut(self, key: int, keep_ms: int) -> int | None:
        """Return the open time before which decisions may go; None while there are few bars."""
        rows = self._rows("SELECT max(open_time) FROM bars WHERE stream = ?", key)
        kept = self._rows(statements.NTH_NEWEST_BAR, key, REVISABLE - 1)
        if not kept:
            return None
        return min(int(rows[0][0]) - keep_ms, int(kept[0][0]))

    def _positions(self, key: int, cut: int, end: int) -> list[int]:
        """Return the stream's first positions that may go: before `end`, of bars before `cut`.

        Bars are first decided in their order, and corrected later. So what was made before the
        `STEP`th bar's first decision is about that bar or earlier ones, and the first `STEP` are
        found there, however many corrections there are too.
        """
        found = self._rows(statements.NTH_FIRST_DECISION, key, STEP - 1)
        last = int(found[0][0]) if found else _FOR_EVER
        first = sorted(self._rows(statements.DECISIONS_UP_TO, key, last))[:STEP]
        may_go = takewhile(lambda row: row[0] < end and row[1] < cut, first)
        return [position for position, _ in may_go]

    def _remove_decisions(self, positions: Sequence[int]) -> None:
        newest = max(self._db.pruned, positions[-1])
        with self._db.turn, told(self._db.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(statements.SET_PRUNED, (str(newest),))
            self._connection.executemany(
                "DELETE FROM decisions WHERE position = ?", [(p,) for p in positions]
            )
            self._db.pruned = newest

    def _remove_shadows(self, positions: Sequence[tuple[int]]) -> None:
        with self._db.turn, told(self._db.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("DELETE FROM shadows WHERE position = ?", positions)

    def _remove_bars(self, stream: Stream, cut: int, history: int) -> int:
        """Remove a stream's first bars: before `cut`, and not among what a decision rests on."""
        key = self._streams.of(stream).key
        ((first,),) = self._rows("SELECT min(bar_open) FROM decisions WHERE stream = ?", key)
        start = cut if first is None else min(cut, int(first))
        needed = self._rows(statements.NTH_BAR_BEFORE, key, start, history)
        if not needed:
            return 0
        rows = self._rows(statements.FIRST_BARS, key, int(needed[0][0]), STEP)
        if rows:
            self._cut_bars(stream, int(rows[-1][0]))
        return len(rows)

    def _cut_bars(self, stream: Stream, last: int) -> None:
        with self._db.turn, told(self._db.path), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            row = self._streams.forget_listing(stream)
            self._connection.execute(statements.SET_STREAM, row)
            for table in ("revisions", "bars"):
                self._connection.execute(
                    f"DELETE FROM {table} WHERE stream = ? AND open_time <= ?",  # noqa: S608
                    (row[0], last),
                )

    def _rows(self, sql: str, *values: int) -> list[tuple[Any, ...]]:
        with told(self._db.path):
            return self._connection.execute(sql, values).fetchall()
