"""The journal's disk: real SQLite in a folder in memory, with hooks at each commit, and its faults.

A death leaves the files as they are: they are copied before SQLite may tidy up, and the next life
opens the copy. A disk that is full is SQLite's own (`max_page_count`).
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from candled.journal.database import FILE
from simulation.loop import Crash, Timeline
from simulation.venue import Hit

_PLENTY: Final = 1_073_741_823
_FULL_SYNC: Final = 2
_FILES: Final = (FILE, f"{FILE}-wal")
_connect = sqlite3.connect


class Disk:
    """See the module."""

    def __init__(
        self, folder: Path, timeline: Timeline, hit: Hit, tick: Callable[[str], None]
    ) -> None:
        self.folder = folder / "0"
        self.folder.mkdir(parents=True)
        self.dead = self.was_full = False
        self.is_torn = False
        """Whether what is there was damaged, and nobody has moved it away."""
        self.hit, self.tick = hit, tick
        self.on_committed: Callable[[], None] = lambda: None
        self._root, self._timeline = folder, timeline
        self._generation = 0
        self._snapshot: Path | None = None
        self._open: list[_Connection] = []
        self.reader: sqlite3.Connection | None = None

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the product's connections be this disk's."""
        sqlite3.connect = self._connected  # type: ignore[assignment]
        try:
            yield
        finally:
            sqlite3.connect = _connect

    def _connected(self, path: Path, **settings: Any) -> _Connection:
        connection = _connect(path, factory=_Connection, **settings)
        connection.disk = self
        self._open.append(connection)
        return connection

    def query(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Ask what is durable now, beside the product."""
        if self.reader is None:
            self.reader = _connect(self.folder / FILE)
        return self.reader.execute(sql, values).fetchall()

    def let_go(self) -> None:
        """Close what a life that ended well left open for looking."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None
        self._open.clear()

    def snapshot(self) -> None:
        """Take what is there as all that a disk which lies will keep."""
        self._snapshot = self._root / "snapshot"
        shutil.rmtree(self._snapshot, ignore_errors=True)
        self._copy(self.folder, self._snapshot)

    def death(self, kind: str) -> None:
        """Leave to the next life what this death leaves on the disk."""
        old = self.folder
        synced = self._synchronous() == _FULL_SYNC
        self._generation += 1
        self.folder = self._root / str(self._generation)
        lied = kind == "lying_disk" and self._snapshot is not None
        self._copy(self._snapshot if lied and self._snapshot else old, self.folder)
        self.is_torn = self.is_torn and not lied
        if kind == "power" and not synced:
            (self.folder / f"{FILE}-wal").unlink(missing_ok=True)
        if kind == "torn":
            self._damage()
        for connection in self._open:
            with suppress(sqlite3.Error):
                connection.really_close()
        self.let_go()
        self.dead = False
        shutil.rmtree(old, ignore_errors=True)

    def move_away(self) -> None:
        """Do what the journal's refusal tells people to do."""
        self._generation += 1
        self.folder = self._root / str(self._generation)
        self.folder.mkdir()
        self._snapshot = None
        self.is_torn = False

    def _synchronous(self) -> int:
        for connection in self._open:
            if connection.is_writer:
                with suppress(sqlite3.Error):
                    return int(connection.raw("PRAGMA synchronous").fetchone()[0])
        return _FULL_SYNC

    def _damage(self) -> None:
        """Write half a page of nonsense over the file's beginning, and lose the log."""
        path = self.folder / FILE
        if path.exists():
            with path.open("r+b") as file:
                file.write(b"\x5a" * 2_048)
            self.is_torn = True
        (self.folder / f"{FILE}-wal").unlink(missing_ok=True)

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        target.mkdir()
        for name in _FILES:
            if (source / name).exists():
                shutil.copyfile(source / name, target / name)


class _Connection(sqlite3.Connection):
    """SQLite's, with its disk's faults."""

    disk: Disk
    is_writer = False
    _is_full = False

    def raw(self, sql: str) -> sqlite3.Cursor:
        return super().execute(sql)

    def really_close(self) -> None:
        super().close()

    def close(self) -> None:
        if not self.disk.dead:
            super().close()

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        disk = self.disk
        if disk.dead:
            raise Crash
        if sql.startswith("BEGIN"):
            self.is_writer = True
            self._fill_up(disk.hit("disk_full") is not None)
        if not sql.startswith("COMMIT"):
            return super().execute(sql, *values)
        disk.tick("commit")
        if slow := disk.hit("slow_disk"):
            disk._timeline.now += 0.03 + 0.1 * slow.pick
        done = super().execute(sql)
        disk.on_committed()
        disk.tick("commit")
        return done

    def executemany(self, sql: str, rows: Any) -> sqlite3.Cursor:
        if self.disk.dead:
            raise Crash
        return super().executemany(sql, rows)

    def _fill_up(self, full: bool) -> None:  # noqa: FBT001
        if full != self._is_full:
            self._is_full = full
            self.disk.was_full |= full
            super().execute(f"PRAGMA max_page_count = {1 if full else _PLENTY}")
