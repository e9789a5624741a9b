"""An unfinished candle file: rows are only ever appended, so that a kill costs the last line.

The first line says in JSON what it is a part of; then come a header and rows, as in any candle
file. One process at a time has it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final, Self

import numpy as np

from candled.core.bar import COLUMNS, TIME_COLUMNS, Bars
from candled_adapters.candles.writing import HEADER, csv_rows

_MARK: Final = b"# part of a candle file: "


class PartFileError(ValueError):
    """A part file that belongs to something else, or to another process."""


class PartFile:
    """A part file that is open and locked; a context manager that leaves the file as it is."""

    def __init__(self, path: Path, file: IO[bytes], bars: Bars) -> None:
        self.path = path
        self.bars = bars
        """What it held when it was opened, strictly ascending."""
        self._file = file

    @classmethod
    def open(cls, path: Path, whole: Mapping[str, str | int], after: int | None) -> Self:
        """Open the part of `whole`, or begin it; a torn end is cut off.

        `after` is the open time (UTC ms) that its rows follow on; a part that follows on another
        one is of no use any more and begun anew. Raises `PartFileError` when it is the part of
        something else or another process has it.
        """
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
        try:
            _lock(path, file)
            bars = _recovered(path, file, {**whole, "after": after})
        except BaseException:
            file.close()
            raise
        return cls(path, file, bars)

    def append(self, bars: Bars) -> None:
        """Add bars, all later than those that are there."""
        self._file.write(csv_rows(bars))
        self._file.flush()

    def remove(self) -> None:
        """Delete the file: what it held is safe elsewhere."""
        self.path.unlink()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, and keep it."""
        self._file.close()


def _lock(path: Path, file: IO[bytes]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise PartFileError(
            f"{path}: another process is writing it; wait for it to end, or end it"
        ) from None


def _recovered(path: Path, file: IO[bytes], whole: Mapping[str, str | int | None]) -> Bars:
    """Return the rows of the file and cut off what is torn; begin it when even its head is."""
    head = _MARK + json.dumps(whole).encode() + b"\n" + HEADER
    data = file.read()
    if not data.startswith(head):
        if not head.startswith(data):
            _check_whole(path, data, whole)
        file.seek(0)
        file.truncate()
        file.write(head)
        file.flush()
        return Bars.of([])
    lines = data[len(head) :].split(b"\n")[:-1]
    bars = _rows(lines)
    file.seek(len(head) + sum(len(line) + 1 for line in lines[: len(bars)]))
    file.truncate()
    return bars


def _check_whole(path: Path, data: bytes, whole: Mapping[str, str | int | None]) -> None:
    """Raise unless the file is a part of the same thing, if after another bar."""
    line = data.partition(b"\n")[0]
    try:
        found = json.loads(line.removeprefix(_MARK))
        same = line.startswith(_MARK) and found | {"after": whole["after"]} == whole
    except (ValueError, TypeError):
        found, same = line[:80].decode(errors="replace"), False
    if not same:
        raise PartFileError(
            f"{path}: this is the part of another fetch ({found}); finish that one with its own "
            "command, or delete this file"
        )


def _rows(lines: list[bytes]) -> Bars:
    """Return the rows up to the first that is not a whole one later than the last."""
    columns: list[list[Any]] = [[] for _ in COLUMNS]
    last = 0
    for line in lines:
        cells = line.decode(errors="replace").split(",")
        try:
            values = [
                int(cell) if name in TIME_COLUMNS else float(cell or "nan")
                for name, cell in zip((*COLUMNS, "ignore"), cells, strict=True)
            ]
        except ValueError:
            break
        if values[0] <= last:
            break
        last = int(values[0])
        for column, value in zip(columns, values, strict=False):
            column.append(value)
    arrays: dict[str, Any] = {
        name: np.array(column, dtype=np.int64 if name in TIME_COLUMNS else np.float64)
        for name, column in zip(COLUMNS, columns, strict=True)
    }
    return Bars(**arrays)
