"""A look into a journal that may be another process's: no lock is taken and nothing is written.

SQLite's write-ahead log lets a reader see what is committed while the daemon goes on. Where there
is no log, nobody has the file open: it is read as one that does not change, so that no file has to
be made beside it. Each question is a short transaction of its own; the daemon never waits.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from candled.core.bar import Bars, Stream
from candled.core.decision import Decision
from candled.core.track import Outcome
from candled.journal import statements
from candled.journal.asking import Sought, question
from candled.journal.database import (
    FILE,
    JournalUnavailableError,
    check_version,
    told,
)
from candled.journal.looking import Look
from candled.journal.rows import bars_of
from candled.journal.schema import OUTCOMES_SINCE, REFUSED_SINCE, SHADOWS_SINCE, SUMMED_SINCE
from candled.ports import Entry

_ALL = -1  # of SQLite's LIMIT
_EVER = -(2**63)


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that a sink gave up for good: a letter that cannot be delivered."""

    sink: str
    position: int
    reason: str
    at_ms: int
    """Wall clock (UTC ms)."""


class JournalReader:
    """The open file. Use `open_reader` to get one."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, opened: os.stat_result, *, still: bool
    ) -> None:
        self.path = path
        self._connection = connection
        self._still = still
        self._opened = opened

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def streams(self) -> list[Stream]:
        """Return all streams, by name."""
        rows = self.rows(
            "SELECT exchange, symbol, interval FROM streams ORDER BY exchange, symbol, interval"
        )
        return [Stream(*names) for names in rows]

    def decisions(self, stream: Stream) -> list[Decision]:
        """Return the newest decision about each bar of a stream, oldest first.

        Ask for them before the bars: whatever has been decided then has its bar.
        """
        entries = self._look().entries(statements.ENTRIES_OF_STREAM, (self._key(stream),))
        return list({entry.decision.bar_open: entry.decision for entry in entries}.values())

    def found(
        self, sought: Sought, streams: Collection[Stream] | None = None, after: int = 0
    ) -> list[Entry]:
        """Return the newest entries after a position that are sought, oldest first.

        `streams`: to look among; None: all.
        """
        keys = [(key, one) for key, one in self._keys() if streams is None or one in streams]
        sql, values = question(sought, keys, after)
        return self._look().entries(sql, values)[::-1]

    def entry(self, position: int) -> Entry | None:
        """Return the entry at a position; None when it is no longer there."""
        found = self._look().entries(statements.ENTRIES_AFTER, (position - 1, 1))
        return found[0] if found and found[0].position == position else None

    def latest(self) -> list[Entry]:
        """Return each stream's newest entry and that of its newest bar, oldest first."""
        return self._look().entries(statements.LATEST_ENTRIES)

    def last_position(self) -> int:
        """Return the position of the newest entry; 0 without any."""
        ((position,),) = self.rows(statements.NEWEST_POSITION)
        return int(position)

    def newest_opens(self) -> dict[Stream, int | None]:
        """Return when each stream's newest bar opens (UTC ms); None without any."""
        return {Stream(*row[:3]): row[3] for row in self.rows(statements.NEWEST_OPENS)}

    def marks(self) -> dict[str, int]:
        """Return up to where each sink has delivered, as far as that is on disk."""
        return dict(self._small("marks", "sink, position"))

    def epoch(self) -> str:
        """Return the journal's epoch."""
        return str(dict(self._small("meta", "key, value"))["epoch"])

    def _small(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        look = self._look()
        if self._version() >= SUMMED_SINCE:
            return look.small(table, columns)
        return self.rows(f"SELECT {columns} FROM {table}")  # noqa: S608 - constants

    def _keys(self) -> list[tuple[int, Stream]]:
        rows = self.rows("SELECT id, exchange, symbol, interval FROM streams")
        return [(row[0], Stream(*row[1:])) for row in rows]

    def past(self, stream: Stream, count: int, since: int | None) -> tuple[Bars, list[Entry]]:
        """Return at most `count` newest bars, of those that open at `since` (UTC ms) or later.

        And the entries about them, by bar and revision. They are read first: each has its bar then.
        """
        look, key = self._look(), self._key(stream)
        rows = self.rows(statements.NTH_NEWEST_BAR, (key, count - 1))
        first = max(rows[0][0] if rows else 0, since or 0)
        entries = look.entries(statements.ENTRIES_FROM_BAR, (key, first))
        return bars_of(look.table(key, statements.BARS_FROM, (first,))), entries

    def newest_signal(self, stream: Stream) -> tuple[Entry, Entry] | None:
        """Return a stream's newest signal, and the newest decision about its bar; None: none."""
        look, key = self._look(), self._key(stream)
        found = look.entries(statements.NEWEST_SIGNAL, (key,))
        if not found:
            return None
        bar_open = found[0].decision.bar_open
        return found[0], look.entries(statements.ENTRIES_OF_BAR, (key, bar_open))[-1]

    def closes(self, stream: Stream, count: int) -> list[tuple[int, float]]:
        """Return open time (UTC ms) and close of at most `count` newest bars, oldest first."""
        bars = self.newest_bars(stream, count)
        return list(zip(bars.open_time.tolist(), bars.close.tolist(), strict=True))

    def outcomes(self, stream: Stream, since: int = _EVER) -> list[Outcome]:
        """Return what became of a stream's signals, challengers' too, oldest first.

        Of those about bars that open at `since` (UTC ms) or later.
        """
        if self._version() < OUTCOMES_SINCE:
            return []
        return self._look().outcomes(statements.OUTCOMES_SINCE, (self._key(stream), since))

    def refused(self) -> list[Refused]:
        """Return what sinks gave up for good, by sink and position."""
        if self._version() < REFUSED_SINCE:
            return []
        rows = self.rows("SELECT sink, position, reason, at FROM refused ORDER BY sink, position")
        return [Refused(*row) for row in rows]

    def shadows(self, stream: Stream) -> list[Entry]:
        """Return all that challengers decided about a stream, by bar; see `Kind` for whose."""
        if self._version() < SHADOWS_SINCE:
            return []
        return self._look().shadows(statements.SHADOWS_OF_STREAM, (self._key(stream),))

    def shadows_after(self, position: int, limit: int) -> list[Entry]:
        """Return at most `limit` shadows after `position` in their own order, oldest first."""
        if self._version() < SHADOWS_SINCE:
            return []
        return self._look().shadows(statements.SHADOWS_AFTER, (position, limit))

    def bars(self, stream: Stream) -> Bars:
        """Return all bars of a stream, oldest first."""
        return self.newest_bars(stream, _ALL)

    def newest_bars(self, stream: Stream, count: int) -> Bars:
        """Return the newest `count` bars of a stream, oldest first."""
        with self._one_moment():
            return self._look().newest_bars(self._key(stream), count)

    def newest_answered(self, stream: Stream, count: int) -> list[int]:
        """Return the open times (UTC ms) of the newest `count` bars that a model answered about.

        Oldest first.
        """
        rows = self.rows(statements.NEWEST_ANSWERED, (self._key(stream), count))
        return [open_time for (open_time,) in rows[::-1]]

    def count_bars(self, stream: Stream, start: int) -> int:
        """Return how many bars of a stream open at `start` (UTC ms) or later."""
        ((count,),) = self.rows(statements.COUNT_BARS, (self._key(stream), start))
        return int(count)

    def from_listing(self, stream: Stream) -> bool:
        """Whether the venue has no bar before the stream's first one here."""
        rows = self.rows("SELECT from_listing FROM streams WHERE id = ?", (self._key(stream),))
        return bool(rows and rows[0][0])

    def is_current(self) -> bool:
        """Whether the file that was opened is still the journal, and may be read as it was opened.

        It is not when it was moved away, or when a daemon began to use one that stood still.
        """
        try:
            found = self.path.stat()
        except OSError:
            return False
        same = os.path.samestat(found, self._opened)
        return same and not (self._still and _log_of(self.path).exists())

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with told(self.path):
            rows = self._connection.execute(sql, values).fetchall()
        if self._still and _log_of(self.path).exists():
            raise JournalUnavailableError(f"{self.path}: a daemon began to use it; look again")
        return rows

    @contextmanager
    def _one_moment(self) -> Iterator[None]:
        """Let several questions be about the same state of the file.

        Bars are compared with decisions: one that is stored between two questions is not missing.
        """
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def _look(self) -> Look:
        return Look(self, summed=self._version() >= SUMMED_SINCE)

    def _version(self) -> int:
        """Return the journal's version, which a daemon that starts meanwhile may raise."""
        ((version,),) = self.rows("PRAGMA user_version")
        return int(version)

    def _key(self, stream: Stream) -> int:
        rows = self.rows(
            "SELECT id FROM streams WHERE exchange = ? AND symbol = ? AND interval = ?",
            (stream.exchange, stream.symbol, stream.interval),
        )
        return int(rows[0][0]) if rows else -1


def open_reader(folder: Path) -> JournalReader:
    """Open the journal in `folder` to look into it, whether or not a daemon uses it.

    Raises FileNotFoundError when there is none, JournalError when it is of another version.
    """
    path = folder / FILE
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no journal; name the daemon's [state] path")
    still = not _log_of(path).exists()
    mode = "?mode=ro&immutable=1" if still else "?mode=ro"
    opened = path.stat()
    with told(path):
        connection = sqlite3.connect(path.absolute().as_uri() + mode, uri=True)
    reader = JournalReader(path, connection, opened, still=still)
    try:
        ((version,),) = reader.rows("PRAGMA user_version")
        _check(path, version)
    except BaseException:
        connection.close()
        raise
    return reader


def _check(path: Path, version: int) -> None:
    if version == 0:
        raise JournalUnavailableError(f"{path}: a daemon is about to make it; look again")
    check_version(path, version)


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")
