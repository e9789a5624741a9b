"""Which column of a file is which column of a bar. Pure: header cells in, positions out.

Names are compared in lower case with every other character as ``_``. What stays ambiguous is an
error that says which ``--columns`` settles it; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from candled.core.bar import COLUMNS
from candled_adapters.candles.source import CandleFileError
from candled_adapters.candles.times import TimeCellError, moment

#: Column order of a file of candles without a header, and of every CSV file written here.
LAYOUT: Final = (*COLUMNS, "ignore")
REQUIRED: Final = ("open_time", "open", "high", "low", "close", "volume")
#: Number of columns -> their order in a file without a header: Binance's dumps, ccxt's lists.
_HEADERLESS: Final = {len(LAYOUT): LAYOUT, len(COLUMNS): COLUMNS, len(REQUIRED): REQUIRED}
_TIMES: Final = (
    "open_time", "unix", "timestamp", "unix_timestamp", "time", "datetime", "date", "start",
    "start_time", "date_time", "ts", "t", "",
)  # fmt: skip
_SYNONYMS: Final = {
    "o": "open",
    "h": "high",
    "l": "low",
    "c": "close",
    "v": "volume",
    "time_open": "open_time",
    "time_close": "close_time",
    "quote_asset_volume": "quote_volume",
    "volume_quote": "quote_volume",
    "turnover": "quote_volume",
    "number_of_trades": "trades",
    "count": "trades",
    "trade_count": "trades",
    "tradecount": "trades",
    "num_trades": "trades",
    "taker_buy_base_asset_volume": "taker_buy_base",
    "taker_buy_base_volume": "taker_buy_base",
    "taker_buy_volume": "taker_buy_base",
    "taker_buy_quote_asset_volume": "taker_buy_quote",
    "taker_buy_quote_volume": "taker_buy_quote",
}
_KEYS: Final = {"time": "open_time"}
_NONE: Final = "none"
_TO: Final = " to `candled candles import`"
_NUMBERS: Final = "time=1,open=2,high=3,low=4,close=5,volume=6"
_FINE: Final = re.compile(r"[^a-z0-9]+")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class ColumnMapError(ValueError):
    """A column map that cannot be read."""


@dataclass(frozen=True, slots=True)
class CandleForm:
    """What the user says about a file's columns; what it does not say is told by their names."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Column of a bar -> column of the file: its name or, from 1, its number. ``none``: absent."""

    @classmethod
    def parse(cls, text: str) -> CandleForm:
        """Read ``time=Date,open=Open,volume=none``. Raises `ColumnMapError`."""
        columns: dict[str, str] = {}
        for part in text.split(",") if text else ():
            key, sign, name = (piece.strip() for piece in part.partition("="))
            known = _KEYS.get(key, key)
            if not sign or known not in COLUMNS or not name:
                raise ColumnMapError(
                    f"{part!r} is not NAME=COLUMN with NAME one of time, {', '.join(COLUMNS)}"
                )
            if known in columns:
                raise ColumnMapError(f"{key} is given twice")
            columns[known] = name
        return cls(columns)


@dataclass(frozen=True, slots=True)
class Header:
    """The names of a text's columns and where its rows begin."""

    cells: Sequence[str]
    """Empty when the file has no header."""
    row: int | None
    """Row of the header in the file (from 1)."""
    skip: int
    """How many rows come before the first candle."""


def find_header(rows: Sequence[Sequence[str]]) -> Header:
    """Look for the header among the first rows of a file, past comments in front of it.

    Recent yfinance files have three rows of names: ``Price,Close,...``, ``Ticker,BTC-USD,...`` and
    ``Date,,...``.
    """
    start = next((i for i, row in enumerate(rows) if not _is_comment(row)), 0)
    first = rows[start]
    if any(_is_number(cell) for cell in first[:2]):
        return Header((), None, start)
    below = [row[0].strip().lower() for row in rows[start + 1 : start + 3] if row]
    if first[0].strip().lower() == "price" and below[:1] == ["ticker"] and len(below) > 1:
        return Header([rows[start + 2][0], *first[1:]], start + 1, start + 3)
    return Header(first, start + 1, start + 1)


def positions(
    path: Path, header: Header, samples: Sequence[Sequence[str]], form: CandleForm
) -> dict[str, int]:
    """Return the position of each column of a bar that the file has.

    `samples` are the cells of the first candles, at least one, by which columns that all could be
    the time are compared. Raises `CandleFileError`.
    """
    return _Search(path, header, len(samples[0]), samples, form).all()


@dataclass(frozen=True, slots=True)
class _Search:
    path: Path
    header: Header
    width: int
    samples: Sequence[Sequence[str]]
    form: CandleForm

    def all(self) -> dict[str, int]:
        """Return what the form gives and, besides, what the names tell."""
        given = {key: self._given(key, name) for key, name in self.form.columns.items()}
        found = {key: at for key, at in (self._named() | given).items() if at is not None}
        for name in REQUIRED:
            renounced = name == "volume" and given.get(name, 0) is None
            if name not in found and not renounced:
                raise self._missing(name)
        return found

    def _given(self, key: str, name: str) -> int | None:
        """Return the position that the form names."""
        if name == _NONE:
            return None
        exact = [at for at, cell in enumerate(self.header.cells) if cell.strip() == name]
        alike = [at for at, cell in enumerate(self.header.cells) if plain(cell) == plain(name)]
        if found := exact or alike:
            return found[0]
        if name.isdigit() and 1 <= int(name) <= self.width:
            return int(name) - 1
        raise self._error(key, f"there is no column {name!r}", "name one of its columns")

    def _named(self) -> dict[str, int | None]:
        """Return the positions that the names or the layout tell."""
        if not self.header.cells:
            return self._headerless()
        found: dict[str, int | None] = {}
        for at, name in enumerate(self._names()):
            if name not in COLUMNS or name in ("open_time", "volume"):
                continue
            if name in found and name not in self.form.columns:
                raise self._both(name, [found[name] or 0, at])
            found.setdefault(name, at)
        if "open_time" not in self.form.columns:
            found["open_time"] = self._time()
        if "volume" not in self.form.columns:
            found |= self._volume()
        return found

    def _names(self) -> list[str]:
        """Return the header with the names of bars' columns where they are known."""
        names = [plain(cell) for cell in self.header.cells]
        return [_SYNONYMS.get(name, name) for name in names]

    def _headerless(self) -> dict[str, int | None]:
        layout = _HEADERLESS.get(self.width)
        if layout is not None:
            return {name: at for at, name in enumerate(layout) if name in COLUMNS}
        if self.form.columns:
            return {}
        what = f"no header and {self.width} columns; without one it must have 6, 11 or 12"
        mend = f"add the header {','.join(LAYOUT)}, or give --columns{_TO} with numbers: {_NUMBERS}"
        raise CandleFileError(self.path, self.header.skip + 1, None, what, mend)

    def _time(self) -> int | None:
        """Return the column of open times; several are fine when they say the same."""
        names = self._names()
        twice = next((name for name in _TIMES[:-1] if names.count(name) > 1), None)
        if twice is not None:
            raise self._both("open_time", [i for i, name in enumerate(names) if name == twice])
        found = [names.index(name) for name in _TIMES if name in names]
        if not found or names[found[0]] == "open_time":
            return found[0] if found else None
        named = [at for at in found if names[at]] or found
        if len({tuple(_moment(cells[at]) for cells in self.samples) for at in named}) > 1:
            raise self._both("open_time", named)
        return named[0]

    def _volume(self) -> dict[str, int | None]:
        """Return the columns of volume: the one so named, or CryptoDataDownload's pair.

        That has ``symbol`` BTC/USDT with ``Volume BTC`` and ``Volume USDT``.
        """
        names = self._names()
        exact = [at for at, name in enumerate(names) if name == "volume"]
        found = exact or [
            at for at, name in enumerate(names) if name.startswith("vol") and name not in COLUMNS
        ]
        if len(found) == 1 or not found:
            return {"volume": found[0]} if found else {}
        symbol = self.samples[0][names.index("symbol")] if "symbol" in names else ""
        parts = {names[at].rpartition("_")[2].upper(): at for at in found}
        for base, quote in (parts, [*parts][::-1]) if len(parts) == 2 else ():  # noqa: PLR2004
            if re.sub(r"[^A-Z0-9]", "", symbol.upper()) == base + quote:
                return {"volume": parts[base], "quote_volume": parts[quote]}
        raise self._both("volume", found)

    def _both(self, name: str, at: Sequence[int]) -> CandleFileError:
        cells = [repr(self.header.cells[i]) for i in at]
        what = f"{', '.join(cells[:-1])} and {cells[-1]} both mean {name}"
        return self._error(name, what, f"give --columns {_option(name)}=COLUMN{_TO}")

    def _missing(self, name: str) -> CandleFileError:
        found = ", ".join(self.header.cells) or f"{self.width} columns without a header"
        mend = f"name or add the column, or give --columns {_option(name)}=COLUMN{_TO}"
        if name == "volume":
            mend += ", or volume=none when the file has none"
        return self._error(name, f"there is no such column; found are {found}", mend)

    def _error(self, name: str, what: str, mend: str) -> CandleFileError:
        return CandleFileError(self.path, self.header.row, name, what, mend)


def plain(cell: str) -> str:
    """Return a column's name without what differs between writers."""
    return _FINE.sub("_", _HUMP.sub("_", cell.strip()).lower()).strip("_")


def _option(name: str) -> str:
    return next((key for key, column in _KEYS.items() if column == name), name)


def _moment(cell: str) -> int | str:
    try:
        return moment(cell, whole=False)
    except TimeCellError:
        return cell


def _is_comment(row: Sequence[str]) -> bool:
    """Whether a row says something about the file: blank, one cell alone, or after a ``#``."""
    return not row or row[0].startswith("#") or len([cell for cell in row if cell]) <= 1


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
