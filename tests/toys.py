"""Small feature sets for tests: an honest one, and the means to plant a fault in it.

A column is a function of bars that gives one value a bar. The live side of a toy computes the same
functions on the last `history` bars that it was given, unless a test gives it another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars, Interval

Floats = NDArray[np.float64]
Column = Callable[[Bars], Floats]

WINDOW = 10
HISTORY = 30


def windows(values: Floats, size: int) -> Floats:
    """Return the newest `size` values at each place [n, size], oldest first, NaN where none are."""
    padded = np.concatenate([np.full(size - 1, np.nan), values])
    return np.lib.stride_tricks.sliding_window_view(padded, size)


def mean(values: Floats, size: int) -> Floats:
    """Return the mean of the newest `size` values, summed in a fixed order."""
    return np.cumsum(windows(values, size), axis=1)[:, -1] / size


def shifted(values: Floats, count: int) -> Floats:
    """Return the values of `count` bars earlier (later, if negative), NaN where none are."""
    out = np.full(len(values), np.nan)
    if count >= 0:
        out[count:] = values[: max(0, len(values) - count)]
    else:
        out[: max(0, len(values) + count)] = values[-count:]
    return out


HONEST: dict[str, Column] = {
    "mean": lambda bars: mean(bars.close, WINDOW),
    "move": lambda bars: bars.close / shifted(bars.close, 5) - 1.0,
    "taken": lambda bars: np.where(bars.volume > 0, bars.taker_buy_base / bars.volume, 0.5),
}


class Toy:
    """A feature set made of `HONEST` columns and others."""

    name = "toy"

    def __init__(
        self,
        bad: Column | None = None,
        *,
        window: int = WINDOW,
        history: int = HISTORY,
        live: Column | None = None,
        memory: int | None = None,
    ) -> None:
        extra = {"bad": bad} if bad else {}
        self.functions = {**HONEST, **extra}
        self.live = {**self.functions, "bad": live} if live else self.functions
        self.columns = tuple(self.functions)
        self.window = window
        self.history = history
        self.memory = memory or history
        """How many bars the live side keeps."""

    def table(self, bars: Bars, interval: Interval) -> Floats:  # noqa: ARG002 - the protocol's
        return np.stack([function(bars) for function in self.functions.values()], axis=1)

    def blocks(self, bars: Bars, interval: Interval, size: int = 4096) -> Iterator[Floats]:
        table = self.table(bars, interval)
        return (table[at : at + size] for at in range(0, len(table), size))

    def state(self, capacity: int, interval: Interval) -> Any:  # noqa: ARG002
        return ToyState(self, capacity)


class ToyState:
    """Keeps the last bars of each stream and computes the columns' last row from them."""

    def __init__(self, toy: Toy, capacity: int) -> None:
        self.toy = toy
        self.kept: list[list[Any]] = [[] for _ in range(capacity)]

    def warm(self, row: int, bars: Bars) -> None:
        self.kept[row] = list(bars)

    def push(self, rows: NDArray[np.intp], bars: Bars) -> Floats:
        out = np.empty((len(rows), len(self.toy.columns)))
        for at, row in enumerate(rows.tolist()):
            self.kept[row] = [*self.kept[row], bars.row(at)][-self.toy.memory :]
            last = Bars.of(self.kept[row])
            out[at] = [function(last)[-1] for function in self.toy.live.values()]
        return out
