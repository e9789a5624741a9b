"""What a page draws of backtests, as plain columns: no plotting library is known here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candled.lab.backtest.book import START, Backtest
from candled.lab.backtest.statistics import statistics
from candled.lab.backtest.sweep import Sweep

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """A value over time."""

    name: str
    time: NDArray[np.int64]
    """[k] UTC ms."""
    value: Floats
    """[k]"""


@dataclass(frozen=True, slots=True)
class Columns:
    """One strategy's figures by regime."""

    name: str
    labels: tuple[str, ...]
    trades: tuple[int, ...]
    net_pct: tuple[float | None, ...]
    """Mean of a trade, percent of the entry; None without trades."""


@dataclass(frozen=True, slots=True)
class Heat:
    """A grid of colours."""

    x: Floats
    """[b] fee and slippage of one side (percent)."""
    y: Floats
    """[a] thresholds."""
    z: Floats
    """[a, b] NaN where there was no trade."""
    tried: int


def equity_lines(tests: Mapping[str, Backtest], most: int = 2000) -> list[Line]:
    """Return the equity of each backtest over time, at `most` points and the last one."""
    return [
        _thinned(name, test, np.concatenate([[START], test.curve.equity]), most)
        for name, test in tests.items()
    ]


def drawdown_lines(tests: Mapping[str, Backtest], most: int = 2000) -> list[Line]:
    """Return each backtest's drawdown over time as a negative share, at `most` points."""
    return [
        _thinned(name, test, np.concatenate([[0.0], -test.curve.drawdown]), most)
        for name, test in tests.items()
    ]


def regime_columns(tests: Mapping[str, Backtest]) -> list[Columns]:
    """Return each backtest's number of trades and mean net result by the regime at the signal."""
    made = []
    for name, test in tests.items():
        splits = statistics(test).regimes
        made.append(
            Columns(
                name,
                tuple(splits),
                tuple(split.trades for split in splits.values()),
                tuple(split.net_pct for split in splits.values()),
            )
        )
    return made


def heat(made: Sweep) -> Heat:
    """Return the mean net result of a trade (percent) over costs and thresholds."""
    return Heat(made.side_pct, made.thresholds, made.net_pct, made.tried)


def _thinned(name: str, test: Backtest, value: Floats, most: int) -> Line:
    time = np.concatenate([[test.start], test.curve.time])
    kept = np.unique(np.linspace(0, len(time) - 1, most).round().astype(np.intp))
    return Line(name, time[kept], value[kept])
