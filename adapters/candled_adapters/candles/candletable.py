"""A candle file, or several, as one table of columns that remembers where each row came from.

Reads every form (see `rows`, `parquet`, `names`); whether the rows make a sane table of bars is
`candlefile`'s and `inspection`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import COLUMNS, Bars, Interval, iso
from candled_adapters.candles import slots
from candled_adapters.candles.names import CandleForm
from candled_adapters.candles.parquet import read_parquet
from candled_adapters.candles.rows import Columns, Complain, read_rows
from candled_adapters.candles.source import CandleFileError, Packing, packing_of, texts


@dataclass(frozen=True, slots=True)
class CandleTable:
    """Rows of one or more files, n in all."""

    path: Path
    """For what concerns no single row."""
    columns: Mapping[str, NDArray[Any]]
    """[n] each, by the names of `COLUMNS`; int64 UTC ms for times, float64 otherwise."""
    rows: NDArray[np.int64]
    """Row number in its file (from 1)."""
    sources: NDArray[np.int32]
    """Index of each row's file in `names`."""
    names: tuple[Path, ...]
    """The texts that it was read from; members of a zip as archive/member."""
    units: tuple[str, ...]
    """Units of the open times, in the order read, without repetition."""

    def __len__(self) -> int:
        """Return n."""
        return len(self.rows)

    @property
    def opens(self) -> NDArray[np.int64]:
        """Open times."""
        return self.columns["open_time"]

    def at(self, index: int) -> str:
        """Say where a row stands, for people."""
        name = self.names[self.sources[index]]
        row = f"row {self.rows[index]}"
        return row if len(self.names) == 1 else f"{name.name} {row}"

    def error(self, index: int, column: str, what: str, mend: str) -> CandleFileError:
        """Return the error that points at one cell."""
        path = self.names[self.sources[index]]
        return CandleFileError(path, int(self.rows[index]), column, what, mend)

    def taken(self, index: slice | NDArray[np.integer] | NDArray[np.bool_]) -> CandleTable:
        """Return some of the rows."""
        columns = {name: column[index] for name, column in self.columns.items()}
        rows, sources = self.rows[index], self.sources[index]
        return CandleTable(self.path, columns, rows, sources, self.names, self.units)

    def bars(self, interval: Interval) -> Bars:
        """Return the rows as bars: absent columns NaN, an absent close_time the slot's last ms."""
        columns = {name: self.columns.get(name, _absent(name, len(self))) for name in COLUMNS}
        closes = columns["close_time"]
        columns["close_time"] = np.where(closes == 0, slots.ends(interval, self.opens) - 1, closes)
        return Bars(**columns)


def strict(error: CandleFileError) -> None:
    """Complain of a cell by raising."""
    raise error


def read_table(path: Path, form: CandleForm, complain: Complain = strict) -> CandleTable:
    """Read one file, as its rows come but for two forms that are put in order of time.

    Those are a file whose rows all descend, and a zip with several members (joined as `merged` does
    it). Raises `CandleFileError`.
    """
    tables = list(_tables(path, form, complain))
    return _ascending(tables[0]) if len(tables) == 1 else merged(path, tables)[0]


def merged(path: Path, tables: Sequence[CandleTable]) -> tuple[CandleTable, int]:
    """Join tables in order of time; return the table and how many rows were there twice.

    Rows of the same time must be equal in every column. Raises `CandleFileError` where they are
    not. `path` names the whole.
    """
    whole = _joined(path, tables)
    if (np.diff(whole.opens) <= 0).any():
        whole = whole.taken(np.argsort(whole.opens, kind="stable"))
    again = np.concatenate([[False], np.diff(whole.opens) == 0])
    for name, column in whole.columns.items():
        wrong = np.flatnonzero(again[1:] & ~_same(column[1:], column[:-1]))
        if len(wrong):
            index = int(wrong[0]) + 1
            what = (
                f"{iso(int(whole.opens[index]))} has {column[index]}, but {column[index - 1]} in "
                f"{whole.names[whole.sources[index - 1]]}, row {whole.rows[index - 1]}"
            )
            raise whole.error(index, name, what, "remove the wrong one of the two rows")
    return (whole.taken(~again), int(again.sum())) if again.any() else (whole, 0)


def _tables(path: Path, form: CandleForm, complain: Complain) -> Iterator[CandleTable]:
    packing = packing_of(path)
    if packing is Packing.PARQUET:
        yield _table(path, read_parquet(path, form, complain))
        return
    for name, blocks in texts(path, packing):
        yield _table(name, read_rows(name, blocks, form, complain))


def _table(path: Path, pieces: Iterator[Columns]) -> CandleTable:
    parts = list(pieces)
    rows = np.concatenate([part.rows for part in parts])
    if not len(rows):
        mend = "give a file with candles"
        raise CandleFileError(path, None, None, "no row of it can be read", mend)
    columns = {
        name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values
    }
    units = tuple(dict.fromkeys(unit for part in parts for unit in part.units))
    return CandleTable(path, columns, rows, np.zeros(len(rows), np.int32), (path,), units)


def _ascending(table: CandleTable) -> CandleTable:
    """Turn a table round whose rows all descend."""
    turned = len(table) > 1 and bool((np.diff(table.opens) < 0).all())
    return table.taken(slice(None, None, -1)) if turned else table


def _joined(path: Path, tables: Sequence[CandleTable]) -> CandleTable:
    present = [name for name in COLUMNS if any(name in table.columns for table in tables)]
    columns = {
        name: np.concatenate(
            [table.columns.get(name, _absent(name, len(table))) for table in tables]
        )
        for name in present
    }
    names: list[Path] = []
    sources = []
    for table in tables:
        sources.append(table.sources + np.int32(len(names)))
        names += table.names
    return CandleTable(
        path=path,
        columns=columns,
        rows=np.concatenate([table.rows for table in tables]),
        sources=np.concatenate(sources),
        names=tuple(names),
        units=tuple(dict.fromkeys(unit for table in tables for unit in table.units)),
    )


def _absent(name: str, count: int) -> NDArray[Any]:
    """Return a column that a file lacks: NaN, and 0 for a close time that is yet to be derived."""
    if name == "close_time":
        return np.zeros(count, dtype=np.int64)
    return np.full(count, np.nan)


def _same(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray((one == other) | (np.isnan(one) & np.isnan(other)))
