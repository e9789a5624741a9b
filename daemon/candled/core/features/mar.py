"""The feature set `mar`: 220 columns of a moving-average ribbon.

Three ribbons (simple, exponential, linearly weighted) of 32 periods, 5 to 36 bars, over the close;
their spreads, ranges, slopes and the price's place among them. Names, order and values are a
contract with models that already exist.

Two rules make a live row equal to the batch row to the last bit. Sums run in a fixed order
(`cumsum`, never `sum`, whose order depends on the array's shape), and every value is a function of
the newest 41 closes and of the exponential averages, whose past is bounded (see `ema`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.features.sums import running, share, total
from candled.core.features.windows import Ema, WindowFeatures
from candled.core.regime import INPUTS

Floats = NDArray[np.float64]

TYPES: Final = ("sma", "ema", "wma")
PERIODS: Final = tuple(range(5, 37))
SLOPE_LOOKBACK: Final = 5
COMPRESSION_PCT: Final = 0.5

_COUNT: Final = len(PERIODS)
_LONGEST: Final = PERIODS[-1]
_WINDOW: Final = _LONGEST + SLOPE_LOOKBACK  # newest bar, and a full ribbon 5 bars ago
_P: Final = np.array(PERIODS, dtype=np.float64)
_WEIGHT_SUM: Final = _P * (_P + 1.0) / 2.0


def _columns() -> tuple[str, ...]:
    names = [f"ma{p}_{t}" for t in TYPES for p in PERIODS]
    names += [f"spread_{t}" for t in TYPES] + ["spread_pct"]
    for t in TYPES:
        names += [f"ma_std_{t}", f"ma_range_{t}"]
    names += ["ma_range_pct", "compression", "expansion"]
    for t in TYPES:
        names += [f"slope_ma{p}_{t}" for p in PERIODS]
        names += [f"avg_slope_{t}", f"bullish_count_{t}", f"bearish_count_{t}", f"bullish_pct_{t}"]
    return (*names, "price_position", "cross_above", "cross_below")


COLUMNS: Final = _columns()


def kernel(closes: Floats, ema: Floats, ema_before: Floats) -> Floats:
    """Compute the 220 columns of n rows; n is streams (live) or bars (batch).

    Args:
        closes: [n, 41], newest first; NaN where there is no bar yet.
        ema: [n, 32] exponential averages at the newest bar, by period.
        ema_before: [n, 32] the same 5 bars earlier.

    Returns:
        [n, 220] in the order of `COLUMNS`. Until 41 bars are there a row is not usable: averages
        are NaN, and comparisons with them count as false.
    """
    close = closes[:, 0]
    sma, wma = averages(closes[:, :_LONGEST])
    sma_previous = _sma(closes[:, 1 : _LONGEST + 1])
    sma_before, wma_before = averages(closes[:, SLOPE_LOOKBACK:])
    ribbons = ((sma, sma_before), (ema, ema_before), (wma, wma_before))

    out = np.empty((len(closes), len(COLUMNS)), order="F")
    at = 0
    for now, _ in ribbons:
        out[:, at : at + _COUNT] = now
        at += _COUNT
    for now, _ in ribbons:
        out[:, at] = now[:, 0] - now[:, -1]
        at += 1
    out[:, at] = np.abs(out[:, at - len(ribbons)]) / close * 100.0
    at += 1

    top, bottom = _top(sma), _bottom(sma)
    top_previous, bottom_previous = _top(sma_previous), _bottom(sma_previous)
    for now, _ in ribbons:
        out[:, at] = _std(now)
        out[:, at + 1] = _top(now) - _bottom(now)
        at += 2
    range_pct = (top - bottom) / close * 100.0
    range_pct_previous = (top_previous - bottom_previous) / closes[:, 1] * 100.0
    out[:, at] = range_pct
    out[:, at + 1] = range_pct < COMPRESSION_PCT
    out[:, at + 2] = range_pct > range_pct_previous
    at += 3

    for now, before in ribbons:
        slopes = (now - before) / SLOPE_LOOKBACK
        bullish = (slopes > 0.0).sum(axis=1)  # of whole numbers: exact in any order
        out[:, at : at + _COUNT] = slopes
        at += _COUNT
        out[:, at] = total(slopes) / _COUNT
        out[:, at + 1] = bullish
        out[:, at + 2] = (slopes < 0.0).sum(axis=1)
        out[:, at + 3] = bullish / _COUNT
        at += 4

    out[:, at] = share(sma < close[:, None])
    out[:, at + 1] = (close > top) & (closes[:, 1] <= top_previous)
    out[:, at + 2] = (close < bottom) & (closes[:, 1] >= bottom_previous)
    return out


def regime_inputs(closes: Floats) -> Floats:
    """Compute the columns that a regime machine reads, and no others.

    Args:
        closes: [n, 41], newest first.

    Returns:
        [n, 3] in the order of `INPUTS`; the same bits as in the whole row.
    """
    close = closes[:, 0]
    sma, before = _sma(closes[:, :_LONGEST]), _sma(closes[:, SLOPE_LOOKBACK:])
    out = np.empty((len(closes), len(INPUTS)))
    out[:, 0] = share((sma - before) / SLOPE_LOOKBACK > 0.0)
    out[:, 1] = share(sma < close[:, None])
    out[:, 2] = np.abs(sma[:, 0] - sma[:, -1]) / close * 100.0
    return out


def _sma(closes: Floats) -> Floats:
    """Return the simple averages [n, 32] of newest-first closes [n, 36]."""
    return running(closes)[:, PERIODS[0] - 1 :] / _P


def averages(closes: Floats) -> tuple[Floats, Floats]:
    """Return simple and weighted averages, both [n, 32], of newest-first closes [n, 36].

    With S_k the sum of the newest k closes, SMA_p = S_p / p; and since the newest close is in all
    of S_1..S_p and the oldest in S_p alone, WMA_p = (S_1 + ... + S_p) / (1 + ... + p).
    """
    sums = running(closes)
    weighted = running(sums)
    first = PERIODS[0] - 1
    return sums[:, first:] / _P, weighted[:, first:] / _WEIGHT_SUM


def _std(values: Floats) -> Floats:
    """Return the sample standard deviation (ddof 1) of each row."""
    deviation = values - (total(values) / _COUNT)[:, None]
    return np.sqrt(total(deviation * deviation) / (_COUNT - 1))


def _top(values: Floats) -> Floats:
    return np.asarray(np.fmax.reduce(values, axis=1))


def _bottom(values: Floats) -> Floats:
    return np.asarray(np.fmin.reduce(values, axis=1))


MAR: Final = WindowFeatures(
    "mar",
    COLUMNS,
    _WINDOW,
    lambda w: kernel(w["close"], *w.ema),
    ema=Ema(PERIODS, lags=(0, SLOPE_LOOKBACK)),
)
"""The set itself."""

REGIME_INPUTS: Final = WindowFeatures(
    "mar-regime", INPUTS, _WINDOW, lambda w: regime_inputs(w["close"])
)
"""Its columns that a regime is made of; beside any set, so that all sets have the same regimes."""
