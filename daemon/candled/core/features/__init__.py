"""Feature sets: from closed bars to the columns that models were trained on.

A set has one kernel. Its table (training, backtest) and its rolling state (live) call the same
function on the same numbers, so that a live row is the batch row bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars, Interval


class FeatureState(Protocol):
    """Rolling windows of many streams, one numpy row each."""

    def warm(self, row: int, bars: Bars) -> None:
        """Begin stream `row` anew with its history, oldest first."""
        ...

    def push(self, rows: NDArray[np.intp], bars: Bars) -> NDArray[np.float64]:
        """Append one bar to each of the distinct `rows` [n]; return their feature rows [n, k]."""
        ...


class FeatureSet(Protocol):
    """Names, needs and the two ways to compute the columns."""

    name: str
    columns: tuple[str, ...]
    """Names of the k columns, in the order that models were trained with."""
    window: int
    """How many bars a row looks at directly."""
    history: int
    """How many bars make a row independent of where the history starts."""

    def blocks(
        self, bars: Bars, interval: Interval, size: int = ...
    ) -> Iterator[NDArray[np.float64]]:
        """Yield the table of all bars in blocks of at most `size` rows, oldest first."""
        ...

    def table(self, bars: Bars, interval: Interval) -> NDArray[np.float64]:
        """Return the whole table [len(bars), k]; rows before the window is full hold NaN."""
        ...

    def state(self, capacity: int, interval: Interval) -> FeatureState:
        """Return empty rolling windows for `capacity` streams of one interval."""
        ...


def built_in_sets() -> dict[str, FeatureSet]:
    """Return the sets that are always there, by name."""
    from candled.core.features import mar, scalefree  # noqa: PLC0415 - they import this package

    sets: tuple[FeatureSet, ...] = (mar.MAR, scalefree.SCALEFREE, scalefree.SCALEFREE_OHLCV)
    return {one.name: one for one in sets}


def feature_set(name: str) -> FeatureSet:
    """Return the built-in set called `name`; raises ValueError for any other name."""
    sets = built_in_sets()
    if name not in sets:
        raise ValueError(f"unknown feature set {name!r}; known are {', '.join(sets)}")
    return sets[name]
