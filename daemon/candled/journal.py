"""The journal: what the daemon knows for certain. One SQLite file.

Bars, decisions and how far each sink has delivered. A batch of closed bars and its decisions are
one transaction, on disk (WAL, synchronous=FULL) before anything leaves the process. The decisions
table is the outbox: it has one order for all decisions, and a mark for each sink says up to where
it has delivered. Nothing is removed when it is delivered, so a lost broker can be served again.

The journal knows nothing of feeds, models or brokers.
"""

from __future__ import annotations

import asyncio
import fcntl
import secrets
import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import msgspec

from candled.core.bar import COLUMNS, Bar, Bars, Stream
from candled.core.decision import BarClosed, Decision, Source
from candled.ports import Entry

_VERSION: Final = 1
_FILE: Final = "candled.journal"
_TAIL: Final = 8192  # newest entries kept in memory, so that sinks rarely read from disk

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
    PRIMARY KEY (stream, open_time)
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
_SELECT_BARS: Final = (
    "SELECT open_time, open, high, low, close, volume, close_time, quote_volume, trades,"
    " taker_buy_base, taker_buy_quote FROM bars WHERE stream = ? ORDER BY open_time DESC LIMIT ?"
)
_INSERT_BAR: Final = "INSERT INTO bars VALUES (?, ?,?,?,?,?,?,?,?,?,?,?, ?)"


class JournalError(Exception):
    """The journal cannot be used, or holds what it must not hold."""


class JournalLockedError(JournalError):
    """Another process uses the same journal."""


class Journal:
    """The open journal; also the `Outbox` of every sink. Use `open_journal` to get one."""

    def __init__(self, db: sqlite3.Connection, lock: IO[str]) -> None:
        self._db = db
        self._lock = lock
        self.epoch = _meta(db, "epoch")
        self._ids = _stream_ids(db)
        self._seqs = dict(db.execute("SELECT id, last_seq FROM streams"))
        self._marks: dict[str, int] = dict(db.execute("SELECT sink, position FROM marks"))
        self._last: int
        (self._last,) = db.execute("SELECT coalesce(max(position), 0) FROM decisions").fetchone()
        self._tail: deque[Entry] = deque(maxlen=_TAIL)
        self._latest = {entry.decision.stream: entry for entry in self._read_latest()}
        self._grown = asyncio.Event()
        self._marked = asyncio.Event()

    @property
    def last_position(self) -> int:
        """Position of the newest decision; 0 before the first."""
        return self._last

    # --- what the service writes and reads

    def store_history(self, stream: Stream, bars: Bars, *, from_listing: bool) -> None:
        """Store the bars that come before a stream's first decision."""
        with self._transaction():
            key = self._stream_id(stream)
            self._db.execute(
                "UPDATE streams SET from_listing = ? WHERE id = ?", (int(from_listing), key)
            )
            self._db.executemany(
                _INSERT_BAR.replace("INSERT", "INSERT OR IGNORE"),
                [(key, *_values(bar), Source.BACKFILL) for bar in bars],
            )

    def commit(
        self, batch: Sequence[BarClosed], decisions: Sequence[Decision], decided_ms: Sequence[int]
    ) -> list[Entry]:
        """Store a batch of bars and their decisions durably; return the numbered entries.

        Raises JournalError when a slot has been decided before: that must not happen.
        """
        try:
            with self._transaction():
                entries = self._number(batch, decisions, decided_ms)
                self._db.executemany(
                    _INSERT_BAR,
                    [(self._ids[e.stream], *_values(e.bar), e.source.value) for e in batch],
                )
                self._db.executemany(
                    "INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [_decision_row(self._ids[e.decision.stream], e) for e in entries],
                )
                self._db.executemany(
                    "UPDATE streams SET last_seq = ? WHERE id = ?",
                    [(e.seq, self._ids[e.decision.stream]) for e in entries if e.seq is not None],
                )
        except sqlite3.IntegrityError as error:
            raise JournalError(f"a slot was decided or stored twice: {error}") from error
        self._publish(entries)
        return entries

    def bars(self, stream: Stream, count: int) -> Bars:
        """Return the newest `count` bars of a stream, oldest first."""
        rows = self._db.execute(
            _SELECT_BARS,
            (self._ids.get(stream, -1), count),
        ).fetchall()
        return Bars.of([_bar(row) for row in reversed(rows)])

    def from_listing(self, stream: Stream) -> bool:
        """Whether the venue has no bar before the stream's first one here."""
        row = self._db.execute(
            "SELECT from_listing FROM streams WHERE id = ?", (self._ids.get(stream, -1),)
        ).fetchone()
        return bool(row and row[0])

    # --- what the sinks read and write

    def position(self, sink: str) -> int:
        """Return the position up to which `sink` has delivered everything; 0 at first."""
        return self._marks.get(sink, 0)

    def mark(self, sink: str, position: int) -> None:
        """Record durably that `sink` has delivered everything up to `position`."""
        if position == self._marks.get(sink):
            return
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (sink, position))
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
        rows = self._db.execute(
            "SELECT entry FROM decisions WHERE position > ? ORDER BY position LIMIT ?",
            (position, limit),
        )
        return [_entry(text) for (text,) in rows]

    def latest(self) -> list[Entry]:
        """Return the newest entry of each stream."""
        return list(self._latest.values())

    async def wait(self, position: int) -> None:
        """Return once there is an entry after `position`."""
        while self._last <= position:
            await self._grown.wait()

    def close(self) -> None:
        """Close the file and let go of the lock."""
        self._db.close()
        self._lock.close()

    # --- inside

    def _number(
        self, batch: Sequence[BarClosed], decisions: Sequence[Decision], decided_ms: Sequence[int]
    ) -> list[Entry]:
        """Give each decision its place in the one order, and each signal its number."""
        seqs: dict[Stream, int] = {}
        entries = []
        for offset, (event, decision, at) in enumerate(
            zip(batch, decisions, decided_ms, strict=True), start=1
        ):
            stream = decision.stream
            last = seqs.get(stream)
            if last is None:
                last = self._seqs.get(self._stream_id(stream), 0)
            seqs[stream] = last + decision.side.is_signal
            entries.append(
                Entry(
                    position=self._last + offset,
                    decision=decision,
                    seq=seqs[stream] if decision.side.is_signal else None,
                    last_seq=seqs[stream],
                    source=event.source,
                    received_ns=event.received_ns,
                    received_ms=event.received_ms,
                    decided_ms=at,
                )
            )
        return entries

    def _publish(self, entries: Sequence[Entry]) -> None:
        """Let the sinks see entries that are on disk now."""
        for entry in entries:
            stream = entry.decision.stream
            self._latest[stream] = entry
            self._seqs[self._ids[stream]] = entry.last_seq
        self._tail.extend(entries)
        if entries:
            self._last = entries[-1].position
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    def _read_latest(self) -> Iterator[Entry]:
        rows = self._db.execute(
            "SELECT entry FROM decisions"
            " WHERE position IN (SELECT max(position) FROM decisions GROUP BY stream)"
        )
        return (_entry(text) for (text,) in rows)

    def _stream_id(self, stream: Stream) -> int:
        """Return the stream's key; call it inside a transaction, it may insert."""
        if stream not in self._ids:
            cursor = self._db.execute(
                "INSERT INTO streams (exchange, symbol, interval, from_listing, last_seq)"
                " VALUES (?, ?, ?, 0, 0)",
                (stream.exchange, stream.symbol, stream.interval),
            )
            self._ids[stream] = int(cursor.lastrowid or 0)
        return self._ids[stream]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._ids = _rolled_back(self._db)
            raise


def _rolled_back(db: sqlite3.Connection) -> dict[Stream, int]:
    if db.in_transaction:
        db.execute("ROLLBACK")
    return _stream_ids(db)


def open_journal(folder: Path) -> Journal:
    """Open or create the journal in `folder`, for this process alone.

    Raises JournalLockedError when another process has it, JournalError when it cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
    except OSError as error:
        raise JournalError(f"{folder}: cannot be used for state: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Journal(_connect(folder / _FILE), lock)
    except BlockingIOError as error:
        lock.close()
        raise JournalLockedError(
            f"{folder}: another candled uses this state; stop it or name another folder"
        ) from error
    except (sqlite3.Error, msgspec.DecodeError) as error:
        lock.close()
        raise JournalError(
            f"{folder / _FILE}: {error}; move it away to begin a new journal"
        ) from error
    except BaseException:
        lock.close()
        raise


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA busy_timeout = 2000")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            _create(db)
    except BaseException:
        db.close()
        raise
    if version not in (0, _VERSION):
        db.close()
        raise JournalError(f"{path}: journal version {version}, this candled reads {_VERSION}")
    return db


def _create(db: sqlite3.Connection) -> None:
    db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION};")
    db.execute("INSERT INTO meta VALUES ('epoch', ?)", (secrets.token_hex(8),))
    db.execute("COMMIT")


def _meta(db: sqlite3.Connection, key: str) -> str:
    (value,) = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(value)


def _stream_ids(db: sqlite3.Connection) -> dict[Stream, int]:
    rows = db.execute("SELECT exchange, symbol, interval, id FROM streams")
    return {Stream(exchange, symbol, interval): key for exchange, symbol, interval, key in rows}


def _values(bar: Bar) -> tuple[float | int | None, ...]:
    """Return a bar's columns; NaN becomes NULL, which SQLite would make of it anyway."""
    return tuple(getattr(bar, name) for name in COLUMNS)


def _bar(row: Sequence[float | None]) -> Bar:
    return Bar(*(float("nan") if value is None else value for value in row))  # type: ignore[arg-type]


def _decision_row(stream: int, entry: Entry) -> tuple[object, ...]:
    decision = entry.decision
    return (
        entry.position,
        stream,
        decision.bar_open,
        decision.revision,
        decision.id,
        decision.side.value,
        entry.seq,
        msgspec.json.encode(entry).decode(),
    )


def _entry(text: str) -> Entry:
    return msgspec.json.decode(text, type=Entry)
