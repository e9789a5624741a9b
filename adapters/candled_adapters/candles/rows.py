"""Text into columns of numbers, some thousand rows at a time: CSV and lists in JSON.

Below `candletable`: this knows cells and how to point at one, not what a sane table of bars is.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from candled.core.bar import TIME_COLUMNS
from candled_adapters.candles import times
from candled_adapters.candles.names import REQUIRED, CandleForm, find_header, positions
from candled_adapters.candles.source import CandleFileError

#: What is done about a cell or a row that cannot be read: raise it, or take note.
Complain = Callable[[CandleFileError], None]
_LINES: Final = 20_000
_HEAD: Final = 50  # lines in which the header and the first candle are looked for
_EXACT: Final = 2**53
_DELIMITERS: Final = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class Columns:
    """Some columns of bars, [n] each; int64 UTC ms for times, float64 otherwise."""

    values: Mapping[str, NDArray[Any]]
    """By the names of `candled.core.bar.COLUMNS`; those that the file lacks are not there."""
    rows: NDArray[np.int64]
    """Row number in the file (from 1)."""
    units: tuple[str, ...] = ()
    """Units of `open_time` in the file, as far as they change, in order."""


def read_rows(
    path: Path, blocks: Iterable[bytes], form: CandleForm, complain: Complain
) -> Iterator[Columns]:
    """Yield the columns of a text, piece by piece. Raises `CandleFileError`.

    What is wrong with a cell goes to `complain`; when that returns, the number is NaN, or the row
    is left out if its time cannot be read.
    """
    pieces = _pieces(path, iter(blocks))
    at, lines = next(((at, lines) for at, lines in pieces if any(lines)), (1, []))
    if not lines:
        raise CandleFileError(path, None, None, "the file is empty", "give a file with candles")
    delimiter = _delimiter(lines[:_HEAD])
    head = _cut(path, lines[:_HEAD], delimiter)
    header = find_header(head)
    candles = [cells for cells in head[header.skip :] if cells]
    width = len(header.cells) or len(candles[0])
    samples = [cells for cells in candles if len(cells) == width] or [[""] * width]
    where = positions(path, header, samples, form)
    if not candles:
        mend = "give a file with candles"
        raise CandleFileError(path, None, None, "there is a header but no candle", mend)
    reader = _Reader(path, delimiter, width, where, complain)
    yield reader.columns(at + header.skip, lines[header.skip :])
    for at, lines in pieces:
        yield reader.columns(at, lines)


def moments(
    path: Path,
    name: str,
    cells: Sequence[str] | NDArray[np.int64],
    *,
    numbers: NDArray[np.int64],
    good: NDArray[np.bool_],
    complain: Complain,
) -> NDArray[np.int64]:
    """Return a column of times [n] as UTC ms [n].

    `numbers` are the row numbers [n]; `good` [n] is cleared, and `complain` told, where a cell is
    no time.
    """
    whole = name == "open_time"
    try:
        if isinstance(cells, np.ndarray):
            return times.of_epochs(cells, whole=whole)
        return times.milliseconds(cells, whole=whole)
    except ValueError:
        out = np.zeros(len(cells), dtype=np.int64)
    for index, cell in enumerate(cells):
        try:
            out[index] = times.moment(str(cell), whole=whole)
        except times.TimeCellError as error:
            good[index] = False
            complain(CandleFileError(path, int(numbers[index]), name, str(error), times.WANTED))
    return out


# --- lines -----------------------------------------------------------------------------------


def _pieces(path: Path, blocks: Iterator[bytes]) -> Iterator[tuple[int, list[str]]]:
    """Yield some thousand lines at a time, with the row number of the first."""
    first = next(blocks, b"")
    head = first[:64].decode(errors="ignore").lstrip("\ufeff \t\r\n")
    if head.startswith("["):
        yield 1, _json_lines(path, b"\n".join([first, *blocks]))
        return
    lines = _lines(path, itertools.chain([first], blocks))
    at = 1
    while piece := list(itertools.islice(lines, _LINES)):
        yield at, piece
        at += len(piece)


def _lines(path: Path, blocks: Iterable[bytes]) -> Iterator[str]:
    for number, block in enumerate(blocks):
        try:
            text = block.decode()
        except UnicodeDecodeError as error:
            what = f"not text: byte {error.object[error.start]:#04x} is no UTF-8"
            mend = "give a CSV file, plain or packed"
            raise CandleFileError(path, None, None, what, mend) from None
        yield from (text if number else text.removeprefix("\ufeff")).split("\n")


def _delimiter(lines: Sequence[str]) -> str:
    """Return what separates most cells."""
    return max(_DELIMITERS, key=lambda mark: sum(line.count(mark) for line in lines))


def _cut(path: Path, lines: Sequence[str], delimiter: str) -> list[list[str]]:
    try:
        return list(csv.reader(lines, delimiter=delimiter))
    except csv.Error as error:
        raise CandleFileError(path, None, None, f"not CSV: {error}", "check the file") from None


def _json_lines(path: Path, data: bytes) -> list[str]:
    """Read ``[[1640995200000, 46216.93, ...], ...]``, as ccxt and the venues give it."""
    kind = list[list[int | float | str | None]]
    try:
        rows = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=kind)
    except msgspec.DecodeError as error:
        what = f"not a JSON list of lists: {error}"
        raise CandleFileError(path, None, None, what, "give [[time,o,h,l,c,v],...]") from None
    return [",".join("" if cell is None else str(cell) for cell in row) for row in rows]


# --- columns ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Reader:
    path: Path
    delimiter: str
    width: int
    where: Mapping[str, int]
    complain: Complain

    def columns(self, at: int, lines: list[str]) -> Columns:
        """Turn lines into columns; `at` is the row number of the first."""
        numbers = np.arange(at, at + len(lines), dtype=np.int64)
        quick = self._quick(lines)
        if quick is not None:
            return Columns(quick, numbers, self._units(lines[0], lines[-1]))
        rows, numbers = self._of_width(_cut(self.path, lines, self.delimiter), numbers)
        if not rows:
            return Columns({name: _empty(name) for name in self.where}, numbers)
        return self._careful(list(zip(*rows, strict=True)), numbers)

    def _quick(self, lines: list[str]) -> dict[str, NDArray[Any]] | None:
        """Read lines that hold whole rows of numbers and nothing odd; None when any does not.

        numpy's parser gives the bits that float() gives, several times as fast.
        """
        commas = self.width - 1
        if not lines or any(line.count(self.delimiter) != commas for line in lines):
            return None
        names = list(self.where)
        try:
            table = np.loadtxt(
                lines,
                delimiter=self.delimiter,
                comments=None,
                usecols=[self.where[name] for name in names],
                ndmin=2,
            )
            if len(table) != len(lines):
                return None
            return {name: _quick_column(name, table[:, at]) for at, name in enumerate(names)}
        except ValueError:
            return None

    def _units(self, first: str, last: str) -> tuple[str, ...]:
        """Return the units of open times as far as the ends tell."""
        at = self.where["open_time"]
        cells = [line.split(self.delimiter)[at] for line in (first, last)]
        return tuple(dict.fromkeys(map(times.unit_of, cells)))

    def _of_width(
        self, rows: list[list[str]], numbers: NDArray[np.int64]
    ) -> tuple[list[list[str]], NDArray[np.int64]]:
        """Leave out blank rows, and complain of those that are too short or too long."""
        fits = np.array([len(row) == self.width for row in rows], dtype=np.bool_)
        for index in np.flatnonzero(~fits).tolist():
            if rows[index]:
                what = f"has {len(rows[index])} cells where {self.width} are due"
                mend = "mend or remove the row"
                self.complain(CandleFileError(self.path, int(numbers[index]), None, what, mend))
        return [row for row, fit in zip(rows, fits, strict=True) if fit], numbers[: len(fits)][fits]

    def _careful(self, cells: Sequence[Sequence[str]], numbers: NDArray[np.int64]) -> Columns:
        """Read columns of text cell by cell where need be."""
        good = np.ones(len(numbers), dtype=np.bool_)
        values: dict[str, NDArray[Any]] = {}
        for name, at in self.where.items():
            if name in TIME_COLUMNS:
                values[name] = moments(
                    self.path, name, cells[at], numbers=numbers, good=good, complain=self.complain
                )
            else:
                values[name] = self._numbers(name, cells[at], numbers)
        kept = {name: column[good] for name, column in values.items()}
        opens = cells[self.where["open_time"]]
        units = tuple(dict.fromkeys(map(times.unit_of, (opens[0], opens[-1]))))
        return Columns(kept, numbers[good], units)

    def _numbers(
        self, name: str, column: Sequence[str], numbers: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Parse a column as Python's float() does; empty cells of optional columns are NaN."""
        try:
            return np.fromiter(map(float, column), np.float64, len(column))
        except ValueError:
            out = np.full(len(column), np.nan)
        for index, cell in enumerate(column):
            try:
                out[index] = float(cell if cell or name in REQUIRED else "nan")
            except ValueError:
                what, mend = f"{cell!r} is not a number", "give a decimal number"
                self.complain(CandleFileError(self.path, int(numbers[index]), name, what, mend))
        return out


def _quick_column(name: str, column: NDArray[np.float64]) -> NDArray[Any]:
    """Return a column of times as UTC ms, any other as it is. Raises `ValueError`."""
    if name not in TIME_COLUMNS:
        return np.ascontiguousarray(column)
    if not (np.abs(column) < _EXACT).all() or (column % 1).any():
        raise ValueError("not whole numbers that a float64 holds exactly")
    return times.of_epochs(column.astype(np.int64), whole=name == "open_time")


def _empty(name: str) -> NDArray[Any]:
    return np.empty(0, dtype=np.int64 if name in TIME_COLUMNS else np.float64)
