"""Features: the table, and one live bar, against pandas that knows what it does.

The averages agree within rounding. Counts and flags are comparisons: they may differ only where
what is compared is equal but for rounding.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from candled.bench.learning.facts import Agreement, Candles, Part, close_to
from candled.bench.learning.timing import timed, turns
from candled.bench.pandas_features import calculate_features
from candled.core.features.mar import COLUMNS, COMPRESSION_PCT, MAR, PERIODS, TYPES

Floats = NDArray[np.float64]

_WINDOW: Final = 720  # what the notebook's way keeps of a stream
_REPEATS: Final = 3
_BOUND: Final = 1e-11  # shares of the price
_TINY: Final = 1e-12  # shares of the price, too
_TINY_PCT: Final = 1e-10
_PERCENT: Final = ("spread_pct", "ma_range_pct")


def table_part(candles: Candles, rounds: int) -> Part:
    """Compute all 220 columns of all bars."""
    bars, interval = candles.bars, candles.interval
    close = pd.Series(bars.close, index=bars.open_time)
    taken = turns(
        lambda: calculate_features(close), lambda: MAR.table(bars, interval), rounds, _REPEATS
    )
    full = slice(MAR.window - 1, None)
    excused = undecided(taken.baseline, close)
    theirs = taken.baseline[list(COLUMNS)].to_numpy(dtype=np.float64)
    return Part(
        f"table, {len(COLUMNS)} columns",
        len(bars),
        candles.name,
        {"vectorised pandas": taken.baseline_s, "candled": taken.candled_s},
        agreements(taken.candled[full], theirs[full], excused[full], bars.close[full]),
    )


def live_part(candles: Candles, bars: int) -> Part:
    """Take one new bar after another, and compute its row."""
    state, row = MAR.state(1, candles.interval), np.array([0])
    first = len(candles.bars) - bars
    state.warm(0, candles.bars[:first])
    closes = pd.Series(candles.bars.close, index=candles.bars.open_time)
    ours, theirs, excused = [], [], []
    seconds: dict[str, list[float]] = {"pandas, 720 bars": [], "candled": []}
    for at in range(first, len(closes)):
        window = closes.iloc[max(0, at + 1 - _WINDOW) : at + 1]
        bar = candles.bars[at : at + 1]
        frame, slow = timed(lambda window=window: calculate_features(window))  # type: ignore[misc]
        made, fast = timed(lambda bar=bar: state.push(row, bar))  # type: ignore[misc]
        for taken, spent in zip(seconds.values(), (slow, fast), strict=True):
            taken.append(spent)
        ours.append(made[0])
        theirs.append(frame[list(COLUMNS)].iloc[-1].to_numpy(dtype=np.float64))
        excused.append(undecided(frame.iloc[-2:], window.iloc[-2:])[-1])
    prices = candles.bars.close[first:]
    agreed = agreements(np.array(ours), np.array(theirs), np.array(excused), prices)
    return Part("one live bar", bars, candles.name, seconds, agreed)


def agreements(
    ours: Floats, theirs: Floats, excused: Floats, close: Floats
) -> tuple[Agreement, Agreement]:
    """Compare two tables [n, 220], given what rounding may change in each cell and the closes."""
    counts = np.isin(COLUMNS, [*_judged()])
    scale = np.where(np.isin(COLUMNS, _PERCENT), 100.0, close[:, None])
    off = np.abs(ours - theirs)[:, counts]
    beyond = ~(off <= excused[:, counts])
    told = "counts and flags that rounding does not decide"
    return (
        close_to(
            "averages (shares of the price)",
            (ours / scale)[:, ~counts],
            (theirs / scale)[:, ~counts],
            _BOUND,
        ),
        Agreement(told, off.size, int((off != 0).sum()), float(beyond.sum()), 0.0),
    )


def _judged() -> list[str]:
    kinds = ("bullish_count", "bearish_count", "bullish_pct")
    counts = [f"{kind}_{t}" for t in TYPES for kind in kinds]
    return [*counts, "price_position", "cross_above", "cross_below", "compression", "expansion"]


def undecided(frame: pd.DataFrame, close: pd.Series[float]) -> Floats:
    """Return [n, 220] by how much rounding may change each cell that is a comparison; else 0."""
    price = close.to_numpy()
    near = _TINY * price[:, None]
    may: dict[str, NDArray[Any]] = {}
    for t in TYPES:
        slopes = frame[[f"slope_ma{p}_{t}" for p in PERIODS]].to_numpy()
        level = (np.abs(slopes) <= near).sum(axis=1)
        may[f"bullish_count_{t}"] = may[f"bearish_count_{t}"] = level
        may[f"bullish_pct_{t}"] = level / len(PERIODS)
    averages = frame[[f"ma{p}_sma" for p in PERIODS]].to_numpy()
    touching = np.abs(averages - price[:, None]) <= near
    may["price_position"] = touching.sum(axis=1) / len(PERIODS)
    crossing = touching.any(axis=1)
    may["cross_above"] = may["cross_below"] = crossing | np.roll(crossing, 1)
    width = frame["ma_range_pct"].to_numpy()
    may["compression"] = np.abs(width - COMPRESSION_PCT) <= _TINY_PCT
    may["expansion"] = np.abs(width - np.roll(width, 1)) <= _TINY_PCT
    result = np.zeros((len(frame), len(COLUMNS)))
    for name, allowed in may.items():
        result[:, COLUMNS.index(name)] = allowed
    return result
