"""Sums along rows whose order never depends on the shape.

numpy's `sum`, `mean` and `std` add in an order that changes with the number of rows and the layout
in memory, so that a live row would differ from the batch row in its last bit. Here each sum is the
one before it plus the next value, left to right, whatever the shape; elementwise operations do the
rest. What the two ways below round is the same; they differ in speed alone.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MANY: Final = 150  # rows from which adding whole columns beats walking along each row


def running(values: Floats) -> Floats:
    """Return the running sums [n, m] along each row of `values` [n, m]."""
    if len(values) < _MANY:
        return values.cumsum(axis=1)
    sums = np.empty(values.shape, order="F")
    sums[:, 0] = values[:, 0]
    for at in range(1, values.shape[1]):
        np.add(sums[:, at - 1], values[:, at], out=sums[:, at])
    return sums


def total(values: Floats) -> Floats:
    """Return the sum [n] of each row of `values` [n, m]."""
    if len(values) < _MANY:
        return values.cumsum(axis=1)[:, -1]
    result = values[:, 0].copy()
    for at in range(1, values.shape[1]):
        result += values[:, at]
    return result


def share(flags: NDArray[np.bool_]) -> Floats:
    """Return how much of each row of `flags` [n, m] is true, [n]."""
    # A sum of whole numbers is exact in any order, and faster than counting what is not zero.
    counts: Floats = flags.sum(axis=1) / np.float64(flags.shape[1])
    return counts
