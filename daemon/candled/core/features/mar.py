"""The feature set `mar`: 220 columns of a moving-average ribbon.

Three ribbons (simple, exponential, linearly weighted) of 32 periods, 5 to 36 bars, over the close;
their spreads, ranges, slopes and the price's place among them. Names, order and values are a
contract with models that already exist.

Two rules make a live row equal to the batch row to the last bit. Sums run in a fixed order
(`cumsum`, never `sum`, whose order depends on the array's shape), and every value is a function of
the newest 41 closes and of the exponential averages, whose past is bounded (see `ema`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars, Interval
from candled.core.features.ema import HISTORY, Averages, AverageState, epochs

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
_EMA: Final = Averages(2.0 / (_P + 1.0))
_RING: Final = SLOPE_LOOKBACK + 1  # exponential averages now and up to 5 bars ago
_BLOCK: Final = 4096


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
    sma, wma = _sma_wma(closes[:, :_LONGEST])
    sma_previous = _sma(closes[:, 1 : _LONGEST + 1])
    sma_before, wma_before = _sma_wma(closes[:, SLOPE_LOOKBACK:])
    ribbons = ((sma, sma_before), (ema, ema_before), (wma, wma_before))

    out = np.empty((len(closes), len(COLUMNS)))
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
        bullish = np.count_nonzero(slopes > 0.0, axis=1)
        out[:, at : at + _COUNT] = slopes
        at += _COUNT
        out[:, at] = _total(slopes) / _COUNT
        out[:, at + 1] = bullish
        out[:, at + 2] = np.count_nonzero(slopes < 0.0, axis=1)
        out[:, at + 3] = bullish / _COUNT
        at += 4

    out[:, at] = np.count_nonzero(sma < close[:, None], axis=1) / _COUNT
    out[:, at + 1] = (close > top) & (closes[:, 1] <= top_previous)
    out[:, at + 2] = (close < bottom) & (closes[:, 1] >= bottom_previous)
    return out


def _sma(closes: Floats) -> Floats:
    """Return the simple averages [n, 32] of newest-first closes [n, 36]."""
    return np.cumsum(closes, axis=1)[:, PERIODS[0] - 1 :] / _P


def _sma_wma(closes: Floats) -> tuple[Floats, Floats]:
    """Return simple and weighted averages, both [n, 32], of newest-first closes [n, 36].

    With S_k the sum of the newest k closes, SMA_p = S_p / p; and since the newest close is in all
    of S_1..S_p and the oldest in S_p alone, WMA_p = (S_1 + ... + S_p) / (1 + ... + p).
    """
    sums = np.cumsum(closes, axis=1)
    weighted = np.cumsum(sums, axis=1)
    first = PERIODS[0] - 1
    return sums[:, first:] / _P, weighted[:, first:] / _WEIGHT_SUM


def _total(values: Floats) -> Floats:
    return np.asarray(np.cumsum(values, axis=1)[:, -1])


def _std(values: Floats) -> Floats:
    """Return the sample standard deviation (ddof 1) of each row."""
    deviation = values - (_total(values) / _COUNT)[:, None]
    return np.sqrt(_total(deviation * deviation) / (_COUNT - 1))


def _top(values: Floats) -> Floats:
    return np.asarray(np.fmax.reduce(values, axis=1))


def _bottom(values: Floats) -> Floats:
    return np.asarray(np.fmin.reduce(values, axis=1))


class MarState:
    """The rolling windows of `capacity` streams: 41 closes and 6 rows of exponential averages."""

    def __init__(self, capacity: int, interval: Interval) -> None:
        self._interval = interval
        self._closes = np.full((capacity, _WINDOW), np.nan)
        self._chains = AverageState(_EMA, capacity)
        self._ema = np.full((capacity, _RING, _COUNT), np.nan)
        self._pushed = np.zeros(capacity, dtype=np.int64)

    def warm(self, row: int, bars: Bars) -> None:
        """Begin stream `row` anew with its history, oldest first."""
        count = len(bars)
        newest = bars.close[-_WINDOW:][::-1]
        epoch = epochs(bars.open_time, self._interval)
        tail = _EMA.tail(bars.close, epoch, _RING)
        self._closes[row] = np.nan
        self._closes[row, : len(newest)] = newest
        self._chains.warm(row, tail, epoch)
        self._ema[row] = np.nan
        self._ema[row, np.arange(count - len(tail.reported), count) % _RING] = tail.reported
        self._pushed[row] = count

    def push(self, rows: NDArray[np.intp], bars: Bars) -> Floats:
        """Append one bar to each of the distinct `rows` [n]; return their features [n, 220]."""
        window = self._closes[rows]
        window[:, 1:] = window[:, :-1].copy()
        window[:, 0] = bars.close
        self._closes[rows] = window

        age = self._pushed[rows]
        before = self._ema[rows, (age + 1) % _RING]  # 5 bars ago: the slot after the newest
        ema = self._chains.push(rows, bars.close, epochs(bars.open_time, self._interval))
        self._ema[rows, age % _RING] = ema
        self._pushed[rows] = age + 1
        return kernel(window, ema, before)


class MarFeatures:
    """The set itself."""

    name = "mar"
    columns = COLUMNS
    window = _WINDOW
    history = HISTORY

    def blocks(self, bars: Bars, interval: Interval, size: int = _BLOCK) -> Iterator[Floats]:
        """Yield the table of all bars in blocks of at most `size` rows, oldest first."""
        closes = np.ascontiguousarray(bars.close)
        if not len(closes):
            return
        padded = np.concatenate([np.full(_WINDOW - 1, np.nan), closes])
        windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[:, ::-1]
        ema = _EMA.path(closes, epochs(bars.open_time, interval))
        before = np.concatenate([np.full((SLOPE_LOOKBACK, _COUNT), np.nan), ema])
        for start in range(0, len(closes), size):
            rows = slice(start, start + size)
            yield kernel(windows[rows], ema[rows], before[: len(ema)][rows])

    def table(self, bars: Bars, interval: Interval) -> Floats:
        """Return the whole table [n, 220]; rows before 41 bars hold NaN."""
        out = np.empty((len(bars), len(self.columns)))
        at = 0
        for block in self.blocks(bars, interval):
            out[at : at + len(block)] = block
            at += len(block)
        return out

    def state(self, capacity: int, interval: Interval) -> MarState:
        """Return empty rolling windows for `capacity` streams of one interval."""
        return MarState(capacity, interval)


MAR: Final = MarFeatures()
