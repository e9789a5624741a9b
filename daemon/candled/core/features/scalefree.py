"""The feature sets `mar-scalefree` and `mar-scalefree-ohlcv`, for new models.

Prices wander off, so a model trained on price levels meets levels it has never seen. Everything
here is free of scale: multiplying all prices by one number and all volumes by another changes no
column. `mar-scalefree-ohlcv` is the same without the columns that need the venue's counts of trades
and its takers' volume.

Every value is finite where its inputs are. What could be divided by nothing is guarded in one of
two ways. A length in price (a candle's range, a ribbon's width) or a relative spread (a deviation,
a volatility) that divides has `FLOOR` added, so that the quotient fades to 0 as the market falls
still, without a step. And where nobody traded at all, a share of the volume is 0. Counts ask for
more than `MARGIN`, or rounding would decide them where prices repeat.

Only sums, products, quotients and square roots occur: these round alike on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.features.mar import PERIODS, SLOPE_LOOKBACK, TYPES, averages
from candled.core.features.sums import running, share, total
from candled.core.features.windows import Ema, WindowFeatures, Windows

Floats = NDArray[np.float64]

FLOOR: Final = 1e-6
"""Added to what divides; a ten-thousandth of a percent of the price is no movement."""
MARGIN: Final = 1e-9
"""Share of the price by which two prices must differ to count as different."""

_LONGEST: Final = 72  # three days of hourly bars
_WINDOW: Final = _LONGEST + 1
_SHOWN: Final = (5, 10, 20, 36)
_PICK: Final = [PERIODS.index(period) for period in _SHOWN]
_RETURNS: Final = (1, 2, 3, 6, 12, 24, 48, 72)
_LENGTHS: Final = (6, 24, 72)
_RANGES: Final = (12, 24, 72)
_TRUE_RANGES: Final = (6, 14, 28)
_SLOW: Final = (24, 72)


@dataclass(frozen=True, slots=True)
class _Family:
    """Some columns that are computed together."""

    meanings: dict[str, str]
    """By column, in order."""
    compute: Callable[[Windows], Sequence[Floats]]
    """From windows of n rows to arrays [n, m] that lie side by side."""


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Divide; nothing of nothing is 0."""
    shape = np.broadcast_shapes(part.shape, whole.shape)
    return np.divide(part, whole, out=np.zeros(shape), where=whole != 0.0)


def _at(sums: Floats, lengths: Sequence[int]) -> Floats:
    """Return the running sums [n, m] over the newest so many values."""
    return sums[:, [length - 1 for length in lengths]]


def _means(values: Floats, lengths: Sequence[int]) -> Floats:
    """Return the means over the newest so many of `values` [n, window], [n, lengths]."""
    return _at(running(values[:, : max(lengths)]), lengths) / np.array(lengths, dtype=np.float64)


def _z(values: Floats, length: int) -> Floats:
    """Return how many deviations the newest value lies above the mean of `length`, [n, 1]."""
    part = values[:, :length]
    mean = (total(part) / length)[:, None]
    off = _ratio(part - mean, mean)
    return off[:, :1] / (np.sqrt(total(off * off) / length)[:, None] + FLOOR)


def _returns(close: Floats) -> Floats:
    """Return the relative changes [n, window - 1] from bar to bar."""
    return close[:, :-1] / close[:, 1:] - 1.0


def _location(w: Windows, length: int) -> Floats:
    """Return where closes lie in their bars [n, length]: -1 at the low, 1 at the high."""
    high, low, close = (w[name][:, :length] for name in ("high", "low", "close"))
    where: Floats = ((close - low) - (high - close)) / (high - low + FLOOR * close)
    return where


# --- the ribbon


def _ribbon_meanings() -> dict[str, str]:
    found: dict[str, str] = {}
    for t in TYPES:
        found |= {
            f"dist_ma{p}_{t}_pct": f"close above its {p}-bar {t.upper()}, % of close"
            for p in _SHOWN
        }
        found |= {
            f"slope_ma{p}_{t}_pct": f"change a bar of the {p}-bar {t.upper()} over 5 bars, "
            "% of close"
            for p in _SHOWN
        }
        name = f"the 32 {t.upper()}s of 5 to 36 bars"
        found |= {
            f"spread_{t}_pct": f"shortest above longest of {name}, % of close",
            f"range_{t}_pct": f"highest less lowest of {name}, % of close",
            f"avg_slope_{t}_pct": f"mean slope of {name}, % of close a bar",
            f"order_{t}": f"how sorted {name} are: 1 shortest on top, -1 longest on top",
            f"above_{t}": f"share of {name} that lie below the close",
            f"rising_{t}": f"share of {name} that rise",
        }
    return found


def _ribbons(w: Windows) -> list[Floats]:
    closes = w["close"]
    sma, wma = averages(closes[:, : PERIODS[-1]])
    sma_before, wma_before = averages(closes[:, SLOPE_LOOKBACK : SLOPE_LOOKBACK + PERIODS[-1]])
    ema, ema_before = w.ema
    pairs = ((sma, sma_before), (ema, ema_before), (wma, wma_before))
    return [part for now, before in pairs for part in _ribbon(closes[:, :1], now, before)]


def _ribbon(close: Floats, now: Floats, before: Floats) -> list[Floats]:
    """Return the columns of one ribbon [n, 32]; `close` is [n, 1]."""
    slopes = (now - before) / SLOPE_LOOKBACK / close * 100.0
    spread = now[:, :1] - now[:, -1:]
    steps = total(np.abs(now[:, :-1] - now[:, 1:]))[:, None]
    width = np.fmax.reduce(now, axis=1) - np.fmin.reduce(now, axis=1)
    return [
        (close - now[:, _PICK]) / close * 100.0,
        slopes[:, _PICK],
        spread / close * 100.0,
        width[:, None] / close * 100.0,
        total(slopes)[:, None] / len(PERIODS),
        spread / (steps + FLOOR * close),
        share(now < close * (1.0 - MARGIN))[:, None],
        share(slopes > 100.0 * MARGIN)[:, None],
    ]


# --- where the price has been


def _path_meanings() -> dict[str, str]:
    return (
        {f"return_{k}_pct": f"change of the close over {k} bar(s), %" for k in _RETURNS}
        | {
            f"straight_{k}": f"net change over {k} bars by the way travelled: 1 straight up, "
            "-1 straight down"
            for k in _LENGTHS
        }
        | {
            f"place_{k}": f"close within the range of {k} bars: -1 at the low, 1 at the high"
            for k in _RANGES
        }
    )


def _path(w: Windows) -> list[Floats]:
    close = w["close"]
    newest = close[:, :1]
    way = running(np.abs(close[:, :-1] - close[:, 1:]))
    net = newest - close[:, list(_LENGTHS)]
    return [
        (newest / close[:, list(_RETURNS)] - 1.0) * 100.0,
        net / (_at(way, _LENGTHS) + FLOOR * newest),
        *(_place(w["high"][:, :k], w["low"][:, :k], newest) for k in _RANGES),
    ]


def _place(high: Floats, low: Floats, close: Floats) -> Floats:
    top, bottom = high.max(axis=1)[:, None], low.min(axis=1)[:, None]
    where: Floats = ((close - bottom) - (top - close)) / (top - bottom + FLOOR * close)
    return where


# --- how far it swings


def _swing_meanings() -> dict[str, str]:
    return (
        {f"volatility_{k}_pct": f"root mean square of {k} returns, %" for k in _LENGTHS}
        | {f"atr_{k}_pct": f"mean true range of {k} bars, % of close" for k in _TRUE_RANGES}
        | {
            "volatility_6_to_72": "volatility of 6 bars by that of 72",
            "volatility_24_to_72": "volatility of 24 bars by that of 72",
            "true_range_to_atr_14": "this bar's true range by the mean of 14",
        }
        | {f"down_share_{k}": f"share of falling bars in the variance of {k}" for k in _SLOW}
        | {
            f"move_{k}": f"change over {k} bars by what {k} such bars make at random"
            for k in _LENGTHS
        }
    )


def _swings(w: Windows) -> list[Floats]:
    close = w["close"]
    newest, returns = close[:, :1], _returns(close)
    squares = returns * returns
    sums = running(squares)
    six, day, three_days = (np.sqrt(_at(sums, (k,)) / k) for k in _LENGTHS)
    fallen = running(np.where(returns < 0.0, squares, 0.0))
    ranges = _true_ranges(w, max(_TRUE_RANGES))
    atr = _means(ranges, _TRUE_RANGES)
    return [
        np.concatenate([six, day, three_days], axis=1) * 100.0,
        atr / newest * 100.0,
        six / (three_days + FLOOR),
        day / (three_days + FLOOR),
        ranges[:, :1] / (atr[:, 1:2] + FLOOR * newest),
        _at(fallen, _SLOW) / (_at(sums, _SLOW) + FLOOR * FLOOR),
        *(
            (newest / close[:, k : k + 1] - 1.0) / (swing * np.sqrt(k) + FLOOR)
            for k, swing in zip(_LENGTHS, (six, day, three_days), strict=True)
        ),
    ]


def _true_ranges(w: Windows, length: int) -> Floats:
    """Return [n, length]: from the lowest to the highest of a bar and the close before it."""
    before = w["close"][:, 1 : length + 1]
    top = np.maximum(w["high"][:, :length], before)
    bottom = np.minimum(w["low"][:, :length], before)
    return top - bottom


# --- the newest candle

_CANDLE: Final = {
    "body_pct": "close above open, % of close",
    "gap_pct": "open above the close before it, % of close",
    "range_pct": "high less low, % of close",
    "body": "close above open, share of the range",
    "wick_up": "above open and close, share of the range",
    "wick_down": "below open and close, share of the range",
    "location": "close within the range: -1 at the low, 1 at the high",
    "location_6": "mean location of 6 bars",
    "location_24": "mean location of 24 bars",
}


def _candle(w: Windows) -> list[Floats]:
    opened, high, low = (w[name][:, :1] for name in ("open", "high", "low"))
    close, before = w["close"][:, :1], w["close"][:, 1:2]
    reach = high - low
    whole = reach + FLOOR * close
    return [
        (close - opened) / close * 100.0,
        (opened - before) / close * 100.0,
        reach / close * 100.0,
        (close - opened) / whole,
        (high - np.maximum(opened, close)) / whole,
        (np.minimum(opened, close) - low) / whole,
        _means(_location(w, 24), (1, 6, 24)),
    ]


# --- volume


def _volume_meanings() -> dict[str, str]:
    return (
        {f"volume_z_{k}": f"volume above its mean of {k} bars, in deviations" for k in _SLOW}
        | {
            "volume_6_to_72": "mean volume of 6 bars by that of 72; 0 if nobody traded",
            "volume_24_to_72": "mean volume of 24 bars by that of 72; 0 if nobody traded",
        }
        | {f"pressure_{k}": f"mean location of {k} bars, weighted by volume" for k in _LENGTHS}
        | {
            f"dist_vwap_{k}_pct": f"close above the volume-weighted price of {k} bars, % of close"
            for k in _SLOW
        }
    )


def _volume(w: Windows) -> list[Floats]:
    volume, close = w["volume"][:, :_LONGEST], w["close"][:, :1]
    means = _means(volume, _LENGTHS)
    high, low, closes = (w[name][:, :_LONGEST] for name in ("high", "low", "close"))
    typical = (high + low + closes) / 3.0
    sums = running(volume)
    above = running(volume * (close - typical))
    pressure = running(volume * _location(w, _LONGEST))
    return [
        *(_z(volume, k) for k in _SLOW),
        _ratio(means[:, :1], means[:, 2:3]),
        _ratio(means[:, 1:2], means[:, 2:]),
        _ratio(_at(pressure, _LENGTHS), _at(sums, _LENGTHS)),
        _ratio(_at(above, _SLOW), _at(sums, _SLOW)) / close * 100.0,
    ]


# --- who trades; only where the venue says so


def _trade_meanings() -> dict[str, str]:
    return (
        {
            f"taker_imbalance_{k}": f"takers' buying less selling over {k} bar(s), share of volume"
            for k in (1, *_LENGTHS)
        }
        | {
            f"trade_size_z_{k}": f"mean size of a trade above its mean of {k} bars, in deviations"
            for k in _SLOW
        }
        | {"trade_size_6_to_72": "mean size of a trade in 6 bars by that in 72"}
        | {f"trades_z_{k}": f"trades above their mean of {k} bars, in deviations" for k in _SLOW}
        | {"trades_6_to_72": "mean number of trades of 6 bars by that of 72"}
    )


def _trades(w: Windows) -> list[Floats]:
    volume, trades, bought = (
        w[name][:, :_LONGEST] for name in ("volume", "trades", "taker_buy_base")
    )
    lengths = (1, *_LENGTHS)
    volumes, counts = running(volume), running(trades)
    net = running(bought + bought - volume)
    size = _ratio(volume, trades)
    sizes = _ratio(_at(volumes, (6, 72)), _at(counts, (6, 72)))
    often = _means(trades, (6, 72))
    return [
        _ratio(_at(net, lengths), _at(volumes, lengths)),
        *(_z(size, k) for k in _SLOW),
        _ratio(sizes[:, :1], sizes[:, 1:]),
        *(_z(trades, k) for k in _SLOW),
        _ratio(often[:, :1], often[:, 1:]),
    ]


# --- the sets

_OF_CANDLES: Final = (
    _Family(_ribbon_meanings(), _ribbons),
    _Family(_path_meanings(), _path),
    _Family(_swing_meanings(), _swings),
    _Family(_CANDLE, _candle),
    _Family(_volume_meanings(), _volume),
)
_OF_TRADES: Final = (_Family(_trade_meanings(), _trades),)
_OHLCV: Final = ("open", "high", "low", "close", "volume")


def _set(name: str, families: Sequence[_Family], reads: tuple[str, ...]) -> WindowFeatures:
    def kernel(w: Windows) -> Floats:
        return np.concatenate([part for one in families for part in one.compute(w)], axis=1)

    columns = tuple(column for family in families for column in family.meanings)
    ema = Ema(PERIODS, lags=(0, SLOPE_LOOKBACK))
    return WindowFeatures(name, columns, _WINDOW, kernel, reads=reads, ema=ema)


MEANINGS: Final = {
    column: meaning
    for family in (*_OF_CANDLES, *_OF_TRADES)
    for column, meaning in family.meanings.items()
}
"""What each column says."""

SCALEFREE: Final = _set(
    "mar-scalefree", (*_OF_CANDLES, *_OF_TRADES), (*_OHLCV, "trades", "taker_buy_base")
)
SCALEFREE_OHLCV: Final = _set("mar-scalefree-ohlcv", _OF_CANDLES, _OHLCV)
