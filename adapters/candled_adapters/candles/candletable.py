"""A candle file as columns of text: unpacking, decoding, column names, numbers, times.

Below `candlefile`: this knows cells and how to point at one, not what a sane table of bars is.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import COLUMNS, TIME_RANGE_MS

#: Column order of a file without a header, and of every file written here.
LAYOUT: Final = (*COLUMNS, "ignore")
_REQUIRED: Final = ("open_time", "open", "high", "low", "close", "volume")
TIMES: Final = ("open_time", "close_time")
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZIP_MAGIC: Final = b"PK"
_SYNONYMS: Final = {
    "quote_asset_volume": "quote_volume",
    "number_of_trades": "trades",
    "count": "trades",
    "taker_buy_base_asset_volume": "taker_buy_base",
    "taker_buy_base_volume": "taker_buy_base",
    "taker_buy_volume": "taker_buy_base",
    "taker_buy_quote_asset_volume": "taker_buy_quote",
    "taker_buy_quote_volume": "taker_buy_quote",
}


class CandleFileError(ValueError):
    """A candle file that cannot be used. Its text says where, what was found, and the mend."""

    def __init__(
        self, path: Path, row: int | None, column: str | None, what: str, mend: str
    ) -> None:
        where = [str(path)]
        where += [f"row {row}"] if row is not None else []
        where += [f"column {column}"] if column is not None else []
        super().__init__(f"{', '.join(where)}: {what}; {mend}")
        self.path = path
        self.row = row
        self.column = column
        self.what = what
        self.mend = mend


@dataclass(frozen=True, slots=True)
class CandleTable:
    """The file as columns of text, with what is needed to point at a cell."""

    path: Path
    columns: Mapping[str, Sequence[str]]
    rows: Sequence[int]
    """Row number in the file (from 1) of each data row."""

    @classmethod
    def read(cls, path: Path) -> CandleTable:
        """Read the file's cells. Raises `CandleFileError`."""
        lines = _lines(path, _text(path))
        if not lines:
            raise CandleFileError(path, None, None, "the file is empty", "give a file with candles")
        names = _header(path, *lines[0])
        if not _is_number(lines[0][1][0]):
            lines = lines[1:]
        if not lines:
            mend = "give a file with candles"
            raise CandleFileError(path, None, None, "there is a header but no candle", mend)
        _check_widths(path, len(names), lines)
        columns = dict(zip(names, zip(*(cells for _, cells in lines), strict=True), strict=True))
        return cls(path, columns, [row for row, _ in lines])

    def error(self, index: int, column: str, what: str, mend: str) -> CandleFileError:
        """Return the error that points at one cell; `index` counts data rows from 0."""
        return CandleFileError(self.path, self.rows[index], column, what, mend)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Parse a column as Python's float() does; absent cells of optional columns are NaN."""
        if name not in self.columns:
            return np.full(len(self.rows), np.nan)
        cells = self.columns[name]
        if name not in _REQUIRED:
            cells = [cell or "nan" for cell in cells]
        return np.array(self._parsed(name, cells, float), dtype=np.float64)

    def times(self, name: str) -> NDArray[np.int64]:
        """Parse a column of UTC milliseconds and refuse any other unit."""
        values = self._parsed(name, self.columns[name], _whole)
        low, high = TIME_RANGE_MS
        if min(values) < low or max(values) >= high:
            index = next(i for i, value in enumerate(values) if not low <= value < high)
            raise self.error(index, name, *_wrong_unit(values[index]))
        return np.array(values, dtype=np.int64)

    def _parsed(self, name: str, cells: Iterable[str], parse: Callable[[str], Any]) -> list[Any]:
        try:
            return list(map(parse, cells))
        except ValueError:
            index = next(i for i, cell in enumerate(cells) if not _parses(parse, cell))
            bad = self.columns[name][index]
            wanted = "UTC milliseconds" if name in TIMES else "a decimal number"
            raise self.error(index, name, f"{bad!r} is not a number", f"give {wanted}") from None


def _text(path: Path) -> str:
    raw = _raw(path)
    if raw.startswith(_ZIP_MAGIC):
        raise CandleFileError(path, None, None, "this is a zip archive", "unpack it first")
    if raw.startswith(_GZIP_MAGIC):
        raw = _unzipped(path, raw)
    elif path.name.endswith(".gz"):
        mend = "gzip it, or take .gz off its name"
        raise CandleFileError(path, None, None, "the content is not gzip", mend)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        what = f"not text: byte {error.start} is no UTF-8"
        raise CandleFileError(path, None, None, what, "give a CSV file, plain or gzipped") from None


def _raw(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CandleFileError(path, None, None, "no such file", "check the path") from None
    except IsADirectoryError:
        raise CandleFileError(path, None, None, "this is a directory", "name one file") from None
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise CandleFileError(path, None, None, what, "check its permissions") from None


def _unzipped(path: Path, raw: bytes) -> bytes:
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        what = f"broken gzip: {error}"
        raise CandleFileError(path, None, None, what, "fetch the file again") from None


def _lines(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """Return the rows that are not blank, each with its number in the file."""
    try:
        return [(i, row) for i, row in enumerate(csv.reader(io.StringIO(text)), 1) if row]
    except csv.Error as error:
        raise CandleFileError(path, None, None, f"not CSV: {error}", "check the file") from None


def _check_widths(path: Path, width: int, lines: Sequence[tuple[int, list[str]]]) -> None:
    for row, cells in lines:
        if len(cells) != width:
            what = f"has {len(cells)} cells where {width} are due"
            raise CandleFileError(path, row, None, what, "mend or remove the row")


def _header(path: Path, row: int, cells: Sequence[str]) -> Sequence[str]:
    """Return a canonical name for each column; other names are kept as they are."""
    if _is_number(cells[0]):
        if len(cells) not in (len(COLUMNS), len(LAYOUT)):
            what = f"no header and {len(cells)} columns; without one it must have 11 or 12"
            raise CandleFileError(path, row, None, what, f"add the header {','.join(LAYOUT)}")
        return LAYOUT[: len(cells)]
    names = [_canonical(cell) for cell in cells]
    for index, name in enumerate(names):
        if name in LAYOUT and name in names[:index]:
            what = f"{cells[names.index(name)]!r} and {cells[index]!r} both mean {name}"
            raise CandleFileError(path, row, name, what, "remove one of the two columns")
    for name in _REQUIRED:
        if name not in names:
            what = f"there is no such column; found are {', '.join(cells)}"
            raise CandleFileError(path, row, name, what, "name or add the column")
    return names


def _canonical(cell: str) -> str:
    name = cell.strip().lower().replace(" ", "_")
    return _SYNONYMS.get(name, name)


def _is_number(text: str) -> bool:
    return _parses(float, text)


def _parses(parse: Callable[[str], Any], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _whole(text: str) -> int:
    """Parse an integer; tables that passed through floats write them as 1.6e+12 or with ``.0``."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise ValueError(text) from None
        return int(number)


def _wrong_unit(value: int) -> tuple[str, str]:
    seconds = TIME_RANGE_MS[0] // 1000
    for unit, digits, factor, mend in (
        ("seconds", 10, 1, "multiply open_time and close_time by 1000"),
        ("microseconds", 16, 10**6, "divide open_time and close_time by 1000"),
        ("nanoseconds", 19, 10**9, "divide open_time and close_time by 1000000"),
    ):
        if seconds * factor <= value < seconds * factor * 10:
            return f"{value} has {digits} digits: {unit}, not milliseconds", mend
    return f"{value} is not a time in milliseconds since 1970", "give UTC milliseconds (13 digits)"
