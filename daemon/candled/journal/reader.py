"""A look into a journal that may be another process's: no lock is taken and nothing is written.

SQLite's write-ahead log lets a reader see what is committed while the daemon goes on. Where there
is no log, nobody has the file open: it is read as one that does not change, so that no file has to
be made beside it. Each question is a short transaction of its own; the daemon never waits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from candled.core.bar import Bars, Stream
from candled.core.decision import Decision
from candled.journal import statements
from candled.journal.database import (
    FILE,
    JournalUnavailableError,
    check_version,
    damaged,
    told,
)
from candled.journal.rows import bars_of, entry_of

_ALL = -1  # of SQLite's LIMIT


class JournalReader:
    """The open file. Use `open_reader` to get one."""

    def __init__(self, path: Path, connection: sqlite3.Connection, *, still: bool) -> None:
        self.path = path
        self._connection = connection
        self._still = still

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
        rows = self.rows(statements.ENTRIES_OF_STREAM, (self._key(stream),))
        try:
            decisions = [entry_of(text).decision for (text,) in rows]
        except msgspec.DecodeError as error:
            raise damaged(self.path, error) from error
        return list({decision.bar_open: decision for decision in decisions}.values())

    def bars(self, stream: Stream) -> Bars:
        """Return all bars of a stream, oldest first."""
        return bars_of(self.rows(statements.NEWEST_BARS, (self._key(stream), _ALL))[::-1])

    def from_listing(self, stream: Stream) -> bool:
        """Whether the venue has no bar before the stream's first one here."""
        rows = self.rows("SELECT from_listing FROM streams WHERE id = ?", (self._key(stream),))
        return bool(rows and rows[0][0])

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with told(self.path):
            rows = self._connection.execute(sql, values).fetchall()
        if self._still and _log_of(self.path).exists():
            raise JournalUnavailableError(f"{self.path}: a daemon began to use it; look again")
        return rows

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
    with told(path):
        connection = sqlite3.connect(path.absolute().as_uri() + mode, uri=True)
    reader = JournalReader(path, connection, still=still)
    try:
        ((version,),) = reader.rows("PRAGMA user_version")
        check_version(path, version)
    except BaseException:
        connection.close()
        raise
    return reader


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")
