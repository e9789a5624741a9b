"""Tables as files: CSV, gzipped CSV and parquet, written block by block and read back.

A file appears whole or not at all, floats come back to the same bits, and what cannot be a table of
the asked kind is refused with the file's name. Parquet needs the extra ``candled[parquet]``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from candled.core.bar import TIME_RANGE_MS, iso
from candled.core.features import FeatureSet
from candled.core.features.mar import MAR
from candled.lab.tables import REGIMES, Columns
from candled.lab.textfile import replacing, write_chunks

_ROWS_A_CHUNK: Final = 2048
_ROWS_A_GROUP: Final = 2**16
_TEXTS: Final = frozenset(("regime_name",))
_KINDS: Final = "iuf"
_PANDAS: Final = int(pd.__version__.partition(".")[0])
#: Lets pandas read floats to the bit; from 3 on it does so by itself.
_EXACT: Final[dict[str, Any]] = {} if _PANDAS > 2 else {"float_precision": "round_trip"}  # noqa: PLR2004


class TableError(ValueError):
    """A table that cannot be written or read; the text says which, what is wrong and the mend."""


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame: parquet if `path` ends in ``.parquet``, else CSV, gzipped for ``.gz``.

    In CSV, floats are written with the fewest digits that read back to the same bits, NaN as
    nothing. (To read them so, pandas before 3 must be told ``float_precision="round_trip"``.) The
    same frame gives the same bytes. The file appears whole or not at all.

    Raises:
        TableError: a column that is not of numbers (``regime_name`` may be text), one that holds
            an infinity, or parquet without its extra.
        OSError: the file cannot be written.
    """
    write_blocks([{str(name): frame[name].to_numpy() for name in frame.columns}], path)


def write_blocks(blocks: Iterable[Columns], path: Path) -> tuple[int, int]:
    """Write a table that comes in blocks, as `write_table` does; return its rows and columns.

    Memory is bounded, however long the table is. Raises as `write_table` does, and whatever
    `blocks` raises; the file that was there stays as it was.
    """
    counted = _Counted(blocks)
    if path.suffix == ".parquet":
        _write_parquet(counted, path)
    else:
        write_chunks(path, _csv(counted))
    return counted.rows, counted.columns


def read_table(path: Path, features: FeatureSet = MAR) -> pd.DataFrame:
    """Read a table of `features` with regimes, as written here or by a notebook.

    Columns beyond those are kept as they are. ``open_time`` may be a date in the file; it is UTC
    milliseconds in the frame.

    Raises:
        TableError: a column is missing or of the wrong type, times do not ascend, the file is not
            what its name says, or parquet without its extra.
        OSError: the file cannot be read.
    """
    frame = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    wanted = ("open_time", *features.columns, *REGIMES)
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise TableError(
            f"{path}: has no column {', '.join(missing[:3])}{' ...' if missing[3:] else ''} "
            f"({len(missing)} of the {len(wanted)} that a table of {features.name!r} has are "
            "missing); write it with `candled features`, or name the set that it was made with"
        )
    if not len(frame):
        return frame
    frame["open_time"] = _times(path, frame["open_time"])
    for name in wanted:
        _refuse_text(path, name, frame[name])
    return frame


class _Counted:
    """Blocks, looked at and counted as they pass."""

    def __init__(self, blocks: Iterable[Columns]) -> None:
        self._blocks = blocks
        self.rows = 0
        self.columns = 0

    def __iter__(self) -> Iterator[Columns]:
        for block in self._blocks:
            for name, values in block.items():
                _refuse_unwritable(name, values, self.rows)
            self.columns = len(block)
            self.rows += len(next(iter(block.values()), ()))
            yield block


def _refuse_unwritable(name: str, values: NDArray[Any], first: int) -> None:
    if name in _TEXTS:
        return
    if values.dtype.kind not in _KINDS:
        raise TableError(f"column {name!r} is of type {values.dtype}; only numbers can be written")
    rows = np.flatnonzero(np.isinf(values))
    if len(rows):
        raise TableError(
            f"column {name!r} is infinite in row {first + rows[0]}; mend the bars behind it"
        )


def _csv(blocks: Iterable[Columns]) -> Iterator[bytes]:
    encode = msgspec.json.Encoder().encode
    for number, block in enumerate(blocks):
        if not number:
            yield (",".join(block) + "\n").encode()
        for part in _parts(block):
            rows = zip(*(values.tolist() for values in part), strict=True)
            lines = b"\n".join(encode(row)[1:-1] for row in rows)
            yield lines.replace(b"null", b"") + b"\n"


def _parts(block: Columns) -> Iterator[list[NDArray[Any]]]:
    """Cut a block into pieces that fit a processor's cache when they are text."""
    count = len(next(iter(block.values()), ()))
    for start in range(0, count, _ROWS_A_CHUNK):
        yield [values[start : start + _ROWS_A_CHUNK] for values in block.values()]


def _write_parquet(blocks: Iterable[Columns], path: Path) -> None:
    pa, pq = _arrow(path)
    groups = _groups(pa, blocks)
    with replacing(path) as file:
        first = next(groups)
        with pq.ParquetWriter(
            file, first.schema, compression="zstd", compression_level=1,
            use_dictionary=sorted(_TEXTS),
        ) as writer:  # fmt: skip
            for group in itertools.chain([first], groups):
                writer.write_table(group)


def _groups(pa: Any, blocks: Iterable[Columns]) -> Iterator[Any]:  # noqa: ANN401 - no types
    """Put blocks together to as many rows as a row group of parquet should have."""
    waiting: list[Any] = []
    for block in blocks:
        waiting.append(pa.table({name: _array(pa, name, block[name]) for name in block}))
        if sum(map(len, waiting)) >= _ROWS_A_GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _array(pa: Any, name: str, values: NDArray[Any]) -> Any:  # noqa: ANN401 - no types
    return pa.array(values, pa.string()) if name in _TEXTS else pa.array(values)


def _read_parquet(path: Path) -> pd.DataFrame:
    pa, pq = _arrow(path)
    try:
        with path.open("rb") as file:
            frame: pd.DataFrame = pq.read_table(file).to_pandas()
    except pa.ArrowInvalid as error:
        raise TableError(f"{path}: is not parquet: {error}; write the table again") from error
    return frame


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        frame: pd.DataFrame = pd.read_csv(path, **_EXACT)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: is not CSV: {error}; write the table again") from error
    return frame


def _arrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise TableError(
            f"{path}: parquet needs pyarrow: pip install 'candled[parquet]', or name a .csv.gz file"
        ) from error
    return pa, pq


def _times(path: Path, times: pd.Series[Any]) -> NDArray[np.int64]:
    """Return open times as UTC milliseconds; raises TableError unless they are times, ascending."""
    if times.dtype.kind == "M":
        times = times.dt.tz_convert(None) if times.dt.tz is not None else times
        values = times.to_numpy().astype("datetime64[ms]").astype(np.int64)
    elif times.dtype.kind in "iu":
        values = times.to_numpy().astype(np.int64)
    else:
        raise TableError(
            f"{path}: column open_time is of type {times.dtype}; it must be dates or whole UTC "
            "milliseconds"
        )
    low, high = TIME_RANGE_MS
    wrong = np.flatnonzero((values < low) | (values >= high))
    if len(wrong):
        raise TableError(
            f"{path}, row {wrong[0]}: open_time {values[wrong[0]]} is not UTC milliseconds "
            "(13 digits); convert the column"
        )
    late = np.flatnonzero(np.diff(values) <= 0)
    if len(late):
        row = int(late[0]) + 1
        raise TableError(
            f"{path}, row {row}: {iso(int(values[row]))} does not come after the row before it; "
            "sort the rows by open_time and drop doubles"
        )
    return values


def _refuse_text(path: Path, name: str, column: pd.Series[Any]) -> None:
    if column.dtype.kind not in _KINDS:
        raise TableError(
            f"{path}: column {name!r} is of type {column.dtype}, not of numbers; "
            "write the table again"
        )
