"""The journal's file: its schema, opening and transactions, and what SQLite's failures mean.

One SQLite database for one process (WAL, synchronous=FULL). Everything that goes wrong with it
leaves here as a JournalError that names the file. Knows tables, nothing of bars or decisions.
"""

from __future__ import annotations

import fcntl
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Final

VERSION: Final = 2
FILE: Final = "candled.journal"

_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    exchange TEXT NOT NULL, symbol TEXT NOT NULL, interval TEXT NOT NULL,
    from_listing INTEGER NOT NULL,  -- 1: the venue has no bar before the first one here
    last_seq INTEGER NOT NULL,      -- number of the stream's newest signal, 0 before the first
    UNIQUE (exchange, symbol, interval)
) STRICT;
CREATE TABLE bars (
    stream INTEGER NOT NULL REFERENCES streams (id),
    open_time INTEGER NOT NULL,
    open REAL NOT NULL, high REAL NOT NULL, low REAL NOT NULL, close REAL NOT NULL,
    volume REAL, close_time INTEGER NOT NULL, quote_volume REAL, trades REAL,
    taker_buy_base REAL, taker_buy_quote REAL,  -- NULL: the venue has no such column
    source TEXT NOT NULL,
    PRIMARY KEY (stream, open_time),
    CONSTRAINT finite_prices CHECK (max(abs(open), abs(high), abs(low), abs(close)) < 9e999)
) STRICT, WITHOUT ROWID;
CREATE TABLE decisions (
    position INTEGER PRIMARY KEY,   -- one order for all streams
    stream INTEGER NOT NULL REFERENCES streams (id),
    bar_open INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    id TEXT NOT NULL,
    side TEXT NOT NULL,
    seq INTEGER,                    -- contiguous for each stream's signals, else NULL
    entry TEXT NOT NULL,            -- the whole entry as JSON
    UNIQUE (stream, bar_open, revision)
) STRICT;
CREATE TABLE marks (sink TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT;
"""

#: What version 2 has more than version 1.
_REVISIONS: Final = """
CREATE TABLE revisions (            -- what bars were before the venue revised them
    stream INTEGER NOT NULL,
    open_time INTEGER NOT NULL,
    revision INTEGER NOT NULL,      -- 0: as the bar came first, 1: as it was revised then, ...
    open REAL NOT NULL, high REAL NOT NULL, low REAL NOT NULL, close REAL NOT NULL,
    volume REAL, close_time INTEGER NOT NULL, quote_volume REAL, trades REAL,
    taker_buy_base REAL, taker_buy_quote REAL,
    source TEXT NOT NULL,
    revised_at INTEGER NOT NULL,    -- when it was no longer so, on the venue's clock (UTC ms)
    PRIMARY KEY (stream, open_time, revision),
    FOREIGN KEY (stream, open_time) REFERENCES bars (stream, open_time)
) STRICT, WITHOUT ROWID;
"""

#: Size of the write-ahead log at which a commit stops to empty it. See `Database.checkpoint`, which
#: keeps it from coming so far.
_LOG_PAGES: Final = 50_000

#: Primary result codes of failures that lie outside the file, https://sqlite.org/rescode.html
_SURROUNDINGS: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)


class JournalError(Exception):
    """The journal cannot be used, or holds what it must not hold."""


class JournalLockedError(JournalError):
    """Another process uses the same journal."""


class JournalUnavailableError(JournalError):
    """The journal is sound, but the disk is full, failing or not ours to write."""


class Database:
    """The open file. Use `open_database` to get one."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: IO[str]) -> None:
        self.path = path
        self.connection = connection
        self._lock = lock

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with told(self.path):
            return self.connection.execute(sql, values).fetchall()

    def write(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute a statement for each of `rows`; call it inside a transaction."""
        self.connection.executemany(sql, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what is written inside durable at the end, or leave nothing of it."""
        with told(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:  # a full disk may have rolled back already
                    self.connection.execute("ROLLBACK")
                raise

    def checkpoint(self) -> None:
        """Move what is in the write-ahead log into the file, beside the writer.

        Made for another thread: it has a connection of its own and makes no commit wait.
        """
        with told(self.path), closing(sqlite3.connect(self.path)) as beside:
            beside.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Close the file and let go of the lock."""
        self.connection.close()
        self._lock.close()


def open_database(folder: Path) -> Database:
    """Open or create the journal's file in `folder`, for this process alone.

    Raises JournalLockedError when another process has it, JournalError when it cannot be used.
    """
    path = folder / FILE
    lock = _locked(folder)
    try:
        with told(path):
            return Database(path, _connected(path), lock)
    except BaseException:
        lock.close()
        raise


def _locked(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
    except OSError as error:
        raise JournalError(
            f"{folder}: cannot be used for state: {error.strerror}; name a folder to write in"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise JournalLockedError(
            f"{folder}: another candled uses this state; stop it or name another folder"
        ) from error
    return lock


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        _prepare(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA busy_timeout = 2000")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != 0:  # before anything is written to it
        check_version(path, version)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    connection.execute("PRAGMA foreign_keys = ON")
    if version == 0:
        _create(connection)
    elif version < VERSION:
        _write_schema(connection, _REVISIONS)
        connection.execute("COMMIT")


def check_version(path: Path, version: int) -> None:
    """Refuse a journal that this candled cannot read.

    One of an earlier version can be read, and is brought up to date when it is opened to write.
    """
    if not 1 <= version <= VERSION:
        raise JournalError(f"{path}: journal version {version}, this candled reads 1 to {VERSION}")


def _create(connection: sqlite3.Connection) -> None:
    _write_schema(connection, f"{_SCHEMA} {_REVISIONS}")
    connection.execute("INSERT INTO meta VALUES ('epoch', ?)", (secrets.token_hex(8),))
    connection.execute("COMMIT")


def _write_schema(connection: sqlite3.Connection, tables: str) -> None:
    """Begin a transaction, in which `tables` are made and the version is this one."""
    connection.executescript(f"BEGIN IMMEDIATE; {tables} PRAGMA user_version = {VERSION};")


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Tell SQLite's failures in our words."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise JournalError(f"{path}: was given what must not be stored: {error}") from error
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _SURROUNDINGS:
            raise JournalUnavailableError(
                f"{path}: {error}; check the disk and the folder's permissions"
            ) from error
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> JournalError:
    """Return the error for a file whose content cannot be trusted."""
    return JournalError(f"{path}: {error}; move it away to begin a new journal")
