"""A text file that is set aside when it grows too large. Knows nothing of what is written to it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self


class RotatingFile:
    """Appends lines to `path`; before it exceeds `max_bytes` it becomes ``path.1``, and so on.

    At most `backups` old files are kept. A line is never divided between two files. A half line,
    left behind by a crash or a full disk, is ended first, so that it spoils no other. Entering and
    writing raise OSError.
    """

    def __init__(self, path: Path, max_bytes: int, backups: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._file: BinaryIO
        self._size = 0

    def __enter__(self) -> Self:
        """Open the file, and its folder when there is none."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close it; what was not flushed may be lost."""
        with suppress(OSError):
            self._file.close()

    def write(self, line: str) -> None:
        """Append a line (with its line end)."""
        data = line.encode()
        if self._size and self._size + len(data) > self._max_bytes:
            self._rotate()
        self._file.write(data)
        self._size += len(data)

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        self._file.flush()

    def _open(self) -> None:
        self._file = self._path.open("a+b")
        self._size = self._file.tell()
        if self._size:
            self._file.seek(-1, 2)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")
                self._size += 1

    def _rotate(self) -> None:
        self._file.flush()
        self._file.close()
        for number in range(self._backups, 0, -1):
            older = self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        self._path.unlink(missing_ok=True)  # only without backups is it still there
        self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path
