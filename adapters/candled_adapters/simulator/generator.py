"""Synthetic candles from a seed, with the statistics of a real market and none of its information.

A random walk: nothing in it can be predicted, so a model that shows skill here is wrong. Calibrated
on BTCUSDT 1h, 2022 to 2026: return sd 0.548 % a bar, excess kurtosis 13, taker-buy share
0.489 +- 0.062, close[n] == open[n + 1] in half of the bars, prices of 2 and volumes of 5 decimals.
The same seed gives the same bars, and a longer run begins with the shorter one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import HOUR, Bars, Interval, iso

Floats = NDArray[np.float64]

_HOURLY_RETURN_SD: Final = 0.00548
# Volatility is exp(persistent + fresh), log-normal but bounded, so that every run of some thousand
# bars shows about the same tails. These four numbers give an excess kurtosis of 12.5.
_PERSISTENT_SD: Final = 0.55
_FRESH_SD: Final = 0.55
_VOLATILITY_BOUND: Final = 2.5  # standard deviations of the logarithm
_VOLATILITY_RMS: Final = 1.7546  # of what the three above give; divided out again
_VOLATILITY_MEMORY: Final = 0.95
_HOURLY_VOLUME_LOG: Final = 7.24
_VOLUME_SD: Final = 1.0
_VOLUME_MEMORY: Final = 0.95
_WICK: Final = 0.42  # mean wick as a share of the bar's own return sd
_TICK: Final = 0.01


def label(seed: int) -> str:
    """Return the words that must stand beside these candles wherever they are shown."""
    return f"synthetic candles (seed {seed}), not market data"


def generate(
    seed: int, interval: Interval, start_ms: int, count: int, *, price: float = 30_000.0
) -> Bars:
    """Make `count` bars without holes from `start_ms` (UTC ms, on the grid), first open `price`.

    Raises `ValueError` for a start off the grid, a negative count or seed, or a price below 0.01.
    """
    _check(interval, start_ms, count, price)
    draws = [np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(10)]
    hours = interval.typical_ms / HOUR
    volatility = _HOURLY_RETURN_SD * math.sqrt(hours) * _volatility(draws[0], draws[1], count)
    shocks = draws[2].standard_normal(count)
    close = _to_tick(price * np.exp(np.cumsum(volatility * shocks)))
    open_ = _opens(draws[3], close, price)
    wicks = np.exp(volatility[:, None] * _WICK * draws[4].standard_exponential((count, 2)))
    high = _to_tick(np.maximum(open_, close) * wicks[:, 0])
    low = _to_tick(np.minimum(open_, close) / wicks[:, 1])
    volume = _volumes(draws[5], draws[6], shocks, hours)
    share = np.clip(0.489 + 0.062 * draws[7].standard_normal(count), 0.02, 0.98)
    average = (open_ + high + low + close) / 4.0
    taker = np.round(volume * share, 5)
    open_time = _slots(interval, start_ms, count + 1)
    return Bars(
        open_time=open_time[:-1],
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
        close_time=open_time[1:] - 1,
        quote_volume=np.round(volume * average, 7),
        trades=_trades(draws[8], volume, hours),
        taker_buy_base=taker,
        taker_buy_quote=np.round(taker * average, 7),
    )


def generate_many(
    seed: int, symbols: Sequence[str], interval: Interval, start_ms: int, count: int
) -> dict[str, Bars]:
    """Make one walk for each symbol, seeded by `seed` plus its place, as `generate` does."""
    return {
        symbol: generate(seed + place, interval, start_ms, count)
        for place, symbol in enumerate(symbols)
    }


def _check(interval: Interval, start_ms: int, count: int, price: float) -> None:
    if not interval.on_grid(start_ms):
        raise ValueError(f"start {iso(start_ms)} is not on the {interval} grid (UTC); align it")
    if count < 0:
        raise ValueError(f"count {count} is negative; ask for 0 bars or more")
    if not price >= _TICK:
        raise ValueError(f"price {price} is below one tick; start at {_TICK} or more")


def _slots(interval: Interval, start_ms: int, count: int) -> NDArray[np.int64]:
    times = np.empty(count, dtype=np.int64)
    at = start_ms
    for index in range(count):
        times[index] = at
        at = interval.end(at)
    return times


def _volatility(slow: np.random.Generator, fast: np.random.Generator, count: int) -> Floats:
    """Factors of mean square 1."""
    logs = _PERSISTENT_SD * _autoregressive(slow, _VOLATILITY_MEMORY, count)
    logs = logs + _FRESH_SD * fast.standard_normal(count)
    bound = _VOLATILITY_BOUND * math.hypot(_PERSISTENT_SD, _FRESH_SD)
    return np.asarray(np.exp(np.clip(logs, -bound, bound)) / _VOLATILITY_RMS)


def _autoregressive(draw: np.random.Generator, memory: float, count: int) -> Floats:
    """Stationary Gaussian sequence of variance 1 that keeps `memory` of its last value."""
    steps = draw.standard_normal(count).tolist()
    state = steps[0] if steps else 0.0
    values = []
    for step in steps:
        values.append(state)
        state = memory * state + math.sqrt(1.0 - memory**2) * step
    return np.array(values, dtype=np.float64)


def _opens(draw: np.random.Generator, close: Floats, price: float) -> Floats:
    """Open at the last close, or, for half of the bars, a few ticks beside it."""
    before = np.concatenate(([price], close))[: len(close)]
    luck = draw.random((len(close), 3))
    ticks = np.minimum(np.floor(np.maximum(luck[:, 0], 1e-9) ** -0.6), 200.0)
    sign = np.where(luck[:, 1] < 0.5, -1.0, 1.0)  # noqa: PLR2004 - a fair coin
    moved = (luck[:, 2] < 0.5) & (np.arange(len(close)) > 0)  # noqa: PLR2004 - a fair coin
    return _to_tick(before + np.where(moved, sign * ticks * _TICK, 0.0))


def _to_tick(prices: Floats) -> Floats:
    return np.asarray(np.maximum(np.round(prices, 2), _TICK))


def _volumes(
    slow: np.random.Generator, fast: np.random.Generator, shocks: Floats, hours: float
) -> Floats:
    """Draw base volumes: log-normal, with memory, larger in bars that move."""
    middle = _HOURLY_VOLUME_LOG + math.log(hours) - 0.3
    logs = middle + _VOLUME_SD * _autoregressive(slow, _VOLUME_MEMORY, len(shocks))
    logs = logs + 0.3 * fast.standard_normal(len(shocks)) + 0.4 * np.abs(shocks)
    return np.asarray(np.maximum(np.round(np.exp(logs), 5), 0.00001))


def _trades(draw: np.random.Generator, volume: Floats, hours: float) -> Floats:
    """Draw counts that grow more slowly than the volume, at least 1."""
    spread = np.exp(0.66 * draw.standard_normal(len(volume)))
    return np.asarray(np.maximum(np.round(hours * 1140.0 * (volume / hours) ** 0.6 * spread), 1.0))
