"""The feature set `mar` as a pandas user would write it: the whole window anew at each bar.

Vectorised where pandas or numpy offer it; no Python loop over rows. For comparison only: these
columns agree with the kernel's within rounding, not to the bit.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_TYPES: Final = ("sma", "ema", "wma")
_PERIODS: Final = range(5, 37)
_LOOKBACK: Final = 5


def calculate_features(close: pd.Series[float]) -> pd.DataFrame:
    """Return the 220 columns for every close of a window, oldest first."""
    ribbon = pd.DataFrame(
        {f"ma{p}_sma": close.rolling(p).mean() for p in _PERIODS}
        | {f"ma{p}_ema": close.ewm(span=p, adjust=False).mean() for p in _PERIODS}
        | {f"ma{p}_wma": _weighted_mean(close, p) for p in _PERIODS},
        index=close.index,
    )
    more = _spreads(ribbon, close) | _ranges(ribbon, close) | _place(ribbon, close)
    slopes = ((ribbon - ribbon.shift(_LOOKBACK)) / _LOOKBACK).add_prefix("slope_")
    return pd.concat([ribbon, slopes, pd.DataFrame(more | _slope_counts(slopes))], axis=1)


def _weighted_mean(close: pd.Series[float], period: int) -> NDArray[np.float64]:
    weights = np.arange(period, 0, -1, dtype=np.float64)
    mean = np.convolve(close.to_numpy(), weights / weights.sum())[: len(close)]
    mean[: period - 1] = np.nan
    return mean


def _of_type(ribbon: pd.DataFrame, kind: str) -> pd.DataFrame:
    return ribbon[[f"ma{p}_{kind}" for p in _PERIODS]]


def _spreads(ribbon: pd.DataFrame, close: pd.Series[float]) -> dict[str, pd.Series[float]]:
    spreads = {f"spread_{t}": ribbon[f"ma5_{t}"] - ribbon[f"ma36_{t}"] for t in _TYPES}
    return {**spreads, "spread_pct": spreads["spread_sma"].abs() / close * 100}


def _ranges(ribbon: pd.DataFrame, close: pd.Series[float]) -> dict[str, pd.Series[float]]:
    columns = {}
    for kind in _TYPES:
        averages = _of_type(ribbon, kind)
        columns[f"ma_std_{kind}"] = averages.std(axis=1)
        columns[f"ma_range_{kind}"] = averages.max(axis=1) - averages.min(axis=1)
    percent = columns["ma_range_sma"] / close * 100
    columns["ma_range_pct"] = percent
    columns["compression"] = (percent < 0.5).astype(float)  # noqa: PLR2004 - percent, by definition
    columns["expansion"] = (percent > percent.shift(1)).astype(float)
    return columns


def _slope_counts(slopes: pd.DataFrame) -> dict[str, pd.Series[float]]:
    columns = {}
    for kind in _TYPES:
        part = slopes[[f"slope_ma{p}_{kind}" for p in _PERIODS]]
        columns[f"avg_slope_{kind}"] = part.mean(axis=1)
        columns[f"bullish_count_{kind}"] = (part > 0).sum(axis=1)
        columns[f"bearish_count_{kind}"] = (part < 0).sum(axis=1)
        columns[f"bullish_pct_{kind}"] = columns[f"bullish_count_{kind}"] / len(_PERIODS)
    return columns


def _place(ribbon: pd.DataFrame, close: pd.Series[float]) -> dict[str, pd.Series[float]]:
    averages = _of_type(ribbon, "sma")
    top, bottom, before = averages.max(axis=1), averages.min(axis=1), close.shift(1)
    above = (close > top) & (before <= top.shift(1))
    below = (close < bottom) & (before >= bottom.shift(1))
    return {
        "price_position": averages.lt(close, axis=0).sum(axis=1) / len(_PERIODS),
        "cross_above": above.astype(float),
        "cross_below": below.astype(float),
    }
