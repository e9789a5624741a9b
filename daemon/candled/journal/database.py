"""The journal's file: opening and transactions, and what SQLite's failures mean.

One SQLite database for one process (WAL, synchronous=FULL). Everything that goes wrong with it
leaves here as a JournalError that names the file. Knows nothing of bars or decisions.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

from candled.journal.progress import Progress
from candled.journal.schema import VERSION, tables_since
from candled.journal.sums import row_sum

FILE: Final = "candled.journal"
_PID_DIGITS: Final = 20

#: Up to where decisions, and among them bars, may be of an earlier version, without checksums.
_SUMMED_AFTER: Final = (
    "INSERT INTO meta SELECT 'summed_after', coalesce(max(position), 0), NULL FROM decisions"
)
#: The small tables are summed up when a journal is brought up to date.
_SUM_UP: Final = (
    "UPDATE meta SET sum = row_sum(key, value)",
    "UPDATE marks SET sum = row_sum(sink, position)",
    "UPDATE streams SET sum = row_sum(id, exchange, symbol, interval, from_listing, last_seq)",
)

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


_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


class JournalError(Exception):
    """The journal cannot be used, or holds what it must not hold."""


class JournalLockedError(JournalError):
    """Another process uses the same journal."""


class JournalUnavailableError(JournalError):
    """The journal is sound, but the disk is full, failing or not ours to write."""


class Database:
    """The open file. Use `open_database` to get one."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, lock: IO[str], progress: Progress
    ) -> None:
        self.path = path
        self.progress = progress
        self.connection = connection
        self._lock = lock
        self.turn = threading.RLock()
        """Whose turn it is to write: SQLite itself would make the other sleep for too long."""
        self.pruned = 0
        """Position up to which decisions may have been removed."""

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
        with self.turn, told(self.path):
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

    def beside(self) -> sqlite3.Connection:
        """Return a further connection, for whichever thread; writers take turns."""
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        set_up(connection)
        return connection

    def close(self) -> None:
        """Close the file and let go of the lock."""
        self.connection.close()
        self.progress.close()
        self._lock.close()


def open_database(folder: Path) -> Database:
    """Open or create the journal's file in `folder`, for this process alone.

    Raises JournalLockedError when another process has it, JournalError when it cannot be used.
    """
    with _usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = (folder / FILE).resolve()  # by whatever name: one journal has one lock
        lock = _locked(path.parent)
    try:
        with told(path):
            connection = _connected(path)
        with _usable(folder):
            return Database(path, connection, lock, Progress(path.parent))
    except BaseException:
        lock.close()
        raise


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """Tell what is wrong with the folder in our words."""
    try:
        yield
    except OSError as error:
        kind = JournalUnavailableError if error.errno in _NO_ROOM else JournalError
        raise kind(
            f"{folder}: cannot be used for state: {error.strerror}; name a folder to write in"
        ) from error


def _locked(folder: Path) -> IO[str]:
    """Take the lock beside the file; it says whose it is. The system lets go of a dead one's."""
    lock = (folder / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read(_PID_DIGITS).strip() or "unknown"
        lock.close()
        raise JournalLockedError(
            f"{folder}: another candled uses this state (process {holder}); "
            "stop it or name another folder"
        ) from error
    with suppress(OSError):  # a full disk: the number is for people
        os.ftruncate(lock.fileno(), 0)
        os.write(lock.fileno(), f"{os.getpid()}\n".encode())
    return lock


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        _prepare(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def set_up(connection: sqlite3.Connection) -> None:
    """Set what every connection that writes has in common."""
    connection.execute("PRAGMA busy_timeout = 2000")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.create_function("row_sum", -1, row_sum, deterministic=True)


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    set_up(connection)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != 0:  # before anything is written to it
        check_version(path, version)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    if version < VERSION:
        _bring_up_to_date(connection, version)


def new_epoch() -> str:
    """Draw the name of an epoch."""
    return secrets.token_hex(8)


def check_version(path: Path, version: int) -> None:
    """Refuse a journal that this candled cannot read.

    One of an earlier version can be read, and is brought up to date when it is opened to write.
    """
    if not 1 <= version <= VERSION:
        raise JournalError(f"{path}: journal version {version}, this candled reads 1 to {VERSION}")


def _bring_up_to_date(connection: sqlite3.Connection, version: int) -> None:
    """Make a new file, or one of an earlier version, a journal of this one; all or nothing."""
    connection.executescript(f"BEGIN IMMEDIATE; {tables_since(version)}")
    if version == 0:
        connection.execute("INSERT INTO meta VALUES ('epoch', ?, NULL)", (new_epoch(),))
    else:
        connection.execute(_SUMMED_AFTER)
    for statement in _SUM_UP:
        connection.execute(statement)
    connection.execute("COMMIT")


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
    except UnicodeDecodeError as error:  # of what SQLite quotes when it complains
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception | str) -> JournalError:
    """Return the error for a file whose content cannot be trusted."""
    return JournalError(f"{path}: {error}; move it away to begin a new journal")
