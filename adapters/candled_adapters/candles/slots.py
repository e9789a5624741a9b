"""Slots of an interval over whole columns of open times. Pure; what `Interval` says of one of them.

All times are UTC ms, int64 [n].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import DAY, INTERVALS, Interval

Times = NDArray[np.int64]
_MONTH: Final = Interval("1M")


def ends(interval: Interval, opens: Times) -> Times:
    """Return the exclusive end of each slot; for months, of the month that the time lies in."""
    if interval == _MONTH:
        return (_months(opens) + 1).astype("datetime64[ms]").astype(np.int64)
    return opens + interval.typical_ms


def on_grid(interval: Interval, opens: Times) -> NDArray[np.bool_]:
    """Return whether a slot may open at each of the times."""
    if interval == _MONTH:
        return np.asarray(_months(opens).astype("datetime64[ms]").astype(np.int64) == opens)
    first, period = (0, DAY) if interval.name == "3d" else (0, interval.typical_ms)
    while not interval.on_grid(first):
        first += DAY
    return np.asarray((opens - first) % period == 0)


def steps(interval: Interval, opens: Times) -> NDArray[np.float64]:
    """Return the distances between neighbours [n - 1], in slots."""
    if interval == _MONTH:
        return np.diff(_months(opens).astype(np.int64)).astype(np.float64)
    return np.diff(opens) / interval.typical_ms


def gaps(interval: Interval, opens: Times) -> tuple[tuple[int, int], ...]:
    """Return absent slots between ascending open times: (open time of the first, how many)."""
    distances = steps(interval, opens)
    before = np.flatnonzero(distances > 1)
    firsts = ends(interval, opens[before]).tolist()
    counts = (distances[before].astype(np.int64) - 1).tolist()
    return tuple(zip(firsts, counts, strict=True))


def infer_interval(open_times: Sequence[int] | Times) -> Interval:
    """Return the interval whose length is the most common step. Raises `ValueError` without one."""
    distances = np.diff(np.asarray(open_times, dtype=np.int64))
    lengths, counts = np.unique(distances[distances != 0], return_counts=True)
    if not len(lengths):
        raise ValueError("one row alone does not tell its interval")
    step = int(lengths[np.argmax(counts)])
    if 28 * DAY <= step <= 31 * DAY:
        return _MONTH
    for interval in INTERVALS:
        if interval != _MONTH and interval.typical_ms == step:
            return interval
    raise ValueError(f"the most common step between rows is {step} ms, which is no known interval")


def _months(opens: Times) -> NDArray[np.datetime64]:
    return opens.astype("datetime64[ms]").astype("datetime64[M]")
