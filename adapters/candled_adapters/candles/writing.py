"""Candle files out: CSV with Binance's 12 columns, gzipped or not, or parquet."""

from __future__ import annotations

import gzip
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from numpy.typing import NDArray

from candled.core.bar import COLUMNS, Bars
from candled_adapters.candles.names import LAYOUT
from candled_adapters.candles.parquet import write_parquet

HEADER: Final = (",".join(LAYOUT) + "\n").encode()
_ROWS: Final = 50_000
_GZIP_LEVEL: Final = 4  # 6 takes twice as long for 3 % less


def write_candles(path: Path, bars: Bars) -> None:
    """Write the bars: parquet when the name ends in ``.parquet``, gzipped CSV for ``.gz``, or CSV.

    Floats are written as their shortest exact decimal, NaN as an empty cell (null in parquet); the
    same bars give the same bytes. The file appears whole or not at all. Raises `OSError`, and
    `ExtraMissingError` for parquet without pyarrow.
    """
    with _replacing(path) as file:
        if path.suffix == ".parquet":
            write_parquet(file, bars)
        elif path.suffix == ".gz":
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as packed:
                _write_csv(packed, bars)
        else:
            _write_csv(file, bars)


def csv_rows(bars: Bars) -> bytes:
    """Return the rows of a CSV file, each with its line end."""
    columns = [_cells(getattr(bars, name)) for name in COLUMNS]
    columns.append(["0\n"] * len(bars))
    return "".join(map(",".join, zip(*columns, strict=True))).encode()


def _write_csv(file: IO[bytes] | gzip.GzipFile, bars: Bars) -> None:
    file.write(HEADER)
    for start in range(0, len(bars), _ROWS):
        file.write(csv_rows(bars[start : start + _ROWS]))


def _cells(column: NDArray[Any]) -> list[str]:
    """Write numbers as their shortest exact decimals; whole ones without ``.0``, NaN as nothing."""
    numbers = column.tolist()
    if column.dtype.kind == "i":
        return [str(number) for number in numbers]
    if any(map(math.isnan, numbers)):
        return ["" if math.isnan(x) else repr(x).removesuffix(".0") for x in numbers]
    return [repr(number).removesuffix(".0") for number in numbers]


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file to write that takes the place of `path` once it is whole and on the disk."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp's 0600 would hide the file from other accounts
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
