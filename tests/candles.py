"""Candles for tests: seeded synthetic ones, and the real ones where they are at hand.

Real candles are read with pandas: the tests that use them prove the mathematics, not the program's
own reader.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from candled.core.bar import COLUMNS, HOUR, Bars, Interval
from real import real_data

HOURLY = Interval("1h")
START_MS = 1_700_000_000_000 // HOUR * HOUR


def bars_of(columns: dict[str, NDArray[np.generic]]) -> Bars:
    """Build `Bars` from arrays by column name."""
    times = ("open_time", "close_time")
    return Bars(
        **{
            name: np.ascontiguousarray(columns[name], np.int64 if name in times else np.float64)
            for name in COLUMNS
        }
    )


def bars_at(bars: Bars, rows: NDArray[np.integer]) -> Bars:
    """Return the bars of any rows, in the order given."""
    return bars_of({name: getattr(bars, name)[rows] for name in COLUMNS})


def bars_from_closes(closes: NDArray[np.float64], seed: int = 0) -> Bars:
    """Build hourly bars around a path of closes."""
    random = np.random.default_rng(seed)
    n = len(closes)
    opens = np.concatenate([closes[:1], closes[:-1]])
    reach = closes * random.exponential(0.003, (2, n))
    volume = random.exponential(100.0, n) + 1.0
    taken = volume * random.random(n)
    open_time = START_MS + HOUR * np.arange(n)
    return bars_of(
        {
            "open_time": open_time,
            "open": opens,
            "high": np.maximum(opens, closes) + reach[0],
            "low": np.minimum(opens, closes) - np.minimum(reach[1], 0.5 * closes),
            "close": closes,
            "volume": volume,
            "close_time": open_time + HOUR - 1,
            "quote_volume": volume * closes,
            "trades": np.floor(volume * 10.0),
            "taker_buy_base": taken,
            "taker_buy_quote": taken * closes,
        }
    )


def closes(n: int, seed: int = 0, *, price: float = 30_000.0, decimals: int = 2) -> NDArray:
    """Return a path with trends up and down and quiet stretches, rounded to a tick."""
    random = np.random.default_rng(seed)
    phase = np.arange(n) / 90.0 + random.random() * 6.0
    step = random.normal(0.0, 0.006, n) * (0.4 + np.abs(np.sin(phase / 3.0)))
    path = price * np.exp(np.cumsum(step + 0.0012 * np.sin(phase)))
    return np.round(path, decimals)


def candles(n: int, seed: int = 0, *, price: float = 30_000.0, decimals: int = 2) -> Bars:
    """Return seeded hourly bars: trends up and down, quiet stretches, prices on a tick."""
    return bars_from_closes(closes(n, seed, price=price, decimals=decimals), seed)


def real_candles(symbol: str = "BTCUSDT") -> Bars:
    """Return all real hourly bars of a symbol; skips the test where they are absent."""
    frame = pd.read_csv(real_data() / "candles" / f"{symbol}_1h.csv.gz")
    return bars_of({name: frame[name].to_numpy() for name in COLUMNS})


def differing(one: NDArray, other: NDArray) -> int:
    """Count the cells whose bits differ; NaN equals NaN, and 0.0 is not -0.0."""
    assert one.shape == other.shape
    assert one.dtype == other.dtype
    unsigned = {4: np.uint32, 8: np.uint64}[one.dtype.itemsize]
    both_nan = np.isnan(one) & np.isnan(other)
    bits = np.ascontiguousarray(one).view(unsigned) != np.ascontiguousarray(other).view(unsigned)
    return int(np.count_nonzero(bits & ~both_nan))
