"""Parquet files of candles, in and out; needs the extra ``parquet``.

Columns have Binance's names or are told by a `CandleForm`, as in CSV. Times may be whole numbers of
any unit, timestamps or text. What is written holds all 11 columns, times as int64 UTC ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import COLUMNS, TIME_COLUMNS, Bars
from candled_adapters.candles.names import CandleForm, Header, positions
from candled_adapters.candles.rows import Columns, Complain, moments
from candled_adapters.candles.source import CandleFileError

_HEAD: Final = 50  # rows by which columns are compared
_BATCH: Final = 100_000
_GROUP: Final = 2**17


class ExtraMissingError(ImportError):
    """An optional part of candled that is not installed."""


def read_parquet(path: Path, form: CandleForm, complain: Complain) -> Iterator[Columns]:
    """Yield the columns of a file, piece by piece, as `rows.read_rows` does."""
    arrow, parquet = _pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            yield from _read(path, file, form, complain)
    except (arrow.ArrowException, OSError) as error:
        what = f"broken parquet: {error}"
        raise CandleFileError(path, None, None, what, "fetch the file again") from None


def write_parquet(file: Any, bars: Bars) -> None:  # noqa: ANN401 - a binary file
    """Write the bars to an open file: the same bars give the same bytes."""
    arrow, parquet = _pyarrow()
    table = arrow.table({name: getattr(bars, name) for name in COLUMNS})
    parquet.write_table(table, file, compression="zstd", row_group_size=_GROUP)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow  # noqa: ICN001, PLC0415 - optional
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        raise ExtraMissingError(
            "parquet files need pyarrow, which is not installed: pip install 'candled[parquet]'"
        ) from None
    return pyarrow, pyarrow.parquet


def _read(path: Path, file: Any, form: CandleForm, complain: Complain) -> Iterator[Columns]:  # noqa: ANN401
    names = file.schema_arrow.names
    if not file.metadata.num_rows:
        mend = "give a file with candles"
        raise CandleFileError(path, None, None, "there is no candle in it", mend)
    head = next(file.iter_batches(_HEAD)).to_pylist()
    samples = [[str(cell) for cell in row.values()] for row in head]
    where = positions(path, Header(names, None, 0), samples, form)
    wanted = {name: names[at] for name, at in where.items()}
    row = 1
    for batch in file.iter_batches(_BATCH, columns=list(dict.fromkeys(wanted.values()))):
        numbers = np.arange(row, row + batch.num_rows, dtype=np.int64)
        row += batch.num_rows
        columns = {name: batch.column(cell) for name, cell in wanted.items()}
        yield _columns(path, columns, numbers, complain)


def _columns(
    path: Path, columns: dict[str, Any], numbers: NDArray[np.int64], complain: Complain
) -> Columns:
    good = np.ones(len(numbers), dtype=np.bool_)
    values: dict[str, NDArray[Any]] = {}
    for name, column in columns.items():
        if name in TIME_COLUMNS:
            values[name] = moments(
                path, name, _epochs(column), numbers=numbers, good=good, complain=complain
            )
            continue
        try:
            values[name] = _floats(column)
        except ValueError as error:
            what, mend = f"not a column of numbers: {error}", "give decimal numbers"
            complain(CandleFileError(path, int(numbers[0]), name, what, mend))
            values[name] = np.full(len(numbers), np.nan)
    kept = {name: column[good] for name, column in values.items()}
    return Columns(kept, numbers[good], (str(columns["open_time"].type),))


def _epochs(column: Any) -> list[str] | NDArray[np.int64]:  # noqa: ANN401 - of pyarrow
    """Return a column as whole numbers where it holds such, as text otherwise."""
    arrow, _ = _pyarrow()
    kinds = arrow.types
    if kinds.is_date(column.type):
        column = column.cast(arrow.timestamp("ms"))
    if (kinds.is_integer(column.type) or kinds.is_timestamp(column.type)) and not column.null_count:
        return np.asarray(column.cast(arrow.int64()).to_numpy(), dtype=np.int64)
    return ["" if cell is None else str(cell) for cell in column.to_pylist()]


def _floats(column: Any) -> NDArray[np.float64]:  # noqa: ANN401 - of pyarrow
    """Return a column as float64, with NaN for nothing. Raises `ValueError`."""
    arrow, _ = _pyarrow()
    values = column.cast(arrow.float64()).to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float64)
