"""Checksums of rows: what the disk turned is noticed before a decision rests on it. Pure.

SQLite notices when its own structure is broken, not when a price is another one. A row holds the
checksum of all that was written with it, its key too, so that it cannot pass for another row.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import COLUMNS

#: Odd, one for each column of a bar and one for its stream: each maps 64 bits to 64 one to one.
_FACTORS: Final = np.array(
    [(0x9E3779B97F4A7C15 * (2 * at + 1)) % 2**64 | 1 for at in range(len(COLUMNS) + 1)],
    dtype=np.uint64,
)
_LAST_FACTOR: Final = np.uint64(0xBF58476D1CE4E5B9)
_HALF: Final = np.uint64(32)


class WrongSumError(ValueError):
    """A row is not what was written."""


def row_sum(*cells: Any) -> int:  # noqa: ANN401 - whatever SQLite holds
    """Return the checksum of a row's cells; what is no cell of ours has one too."""
    return zlib.crc32(repr(cells).encode("utf-8", "surrogatepass"))


def check_row(name: str, row: Sequence[Any]) -> None:
    """Raise WrongSumError unless the last cell is the checksum of the others."""
    *cells, told = row
    if told != row_sum(*cells):
        raise WrongSumError(f"{name} is not as it was written: its checksum differs")


def bar_sums(stream: int, table: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the checksum of each bar, a row of the 11 columns, of the stream with that key.

    NaN is NaN and zero is zero, whatever their bits: the file keeps no more of them. A change of
    one cell always changes the sum, since each step maps a cell's bits one to one.
    """
    plain = np.where(np.isnan(table), np.nan, table + 0.0)
    mixed = plain.view(np.uint64) * _FACTORS[:-1]
    mixed ^= mixed >> _HALF
    mixed *= _LAST_FACTOR
    mixed ^= mixed >> _HALF
    key = np.uint64(stream * int(_FACTORS[-1]) % 2**64)
    sums: NDArray[np.int64] = (mixed.sum(axis=1, dtype=np.uint64) + key).view(np.int64)
    return sums
