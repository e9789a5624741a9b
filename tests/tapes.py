"""Tapes for tests: seeded candles with holes and jumps, and seeded signals."""

from __future__ import annotations

import dataclasses

import numpy as np

from candled.core.bar import HOUR, Bars, Stream
from candled.lab.backtest import Tape
from candles import bars_at, candles

BTC, ETH, SOL = (Stream("binance", name, "1h") for name in ("BTCUSDT", "ETHUSDT", "SOLUSDT"))


def jumpy(count: int, seed: int) -> Bars:
    """Candles of which some are missing, and some open far from the last close."""
    random = np.random.default_rng(seed)
    bars = candles(count + 10, seed=seed)
    bars = bars_at(bars, np.sort(random.permutation(count + 10)[:count]))
    level = np.cumprod(np.exp(random.normal(0.0, 0.02, count) * (random.random(count) < 0.1)))
    moved = {name: getattr(bars, name) * level for name in ("open", "high", "low", "close")}
    return dataclasses.replace(bars, **moved)


def tape(count: int, seed: int, *, stream: Stream = BTC, share: float = 0.3) -> Tape:
    """Seeded signals on seeded candles: so many of the bars say something."""
    random = np.random.default_rng(seed + 1)
    bars = jumpy(count, seed)
    said = random.random(count) < share
    probabilities = random.dirichlet((2.0, 2.0, 2.0), count).astype(np.float32)
    return Tape(
        stream,
        bars,
        side=(said * random.integers(1, 3, count)).astype(np.int8),
        act_by=bars.open_time + HOUR * random.integers(1, 4, count),
        regime=random.integers(-1, 3, count).astype(np.int8),
        probabilities=probabilities,
        ids=np.array([f"{stream.symbol}-{row}" for row in range(count)], dtype=f"U{12}"),
    )
