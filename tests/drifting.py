"""Models that say how their training looked, on a small feature set, and rows beside it."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from candled.core.bar import HOUR, Stream
from candled.core.decision import Policy
from candled.core.drift import Levels, Reference, Usual, bins_of
from candled.core.engine import Lane
from candled.core.model import Model, Ranges
from candled.driftwatch.rings import Table
from candled_adapters.artifacts.fit import assemble
from candles import HOURLY, candles
from feature_models import spec_on
from toys import HONEST, Floats, Toy


def _scale_free() -> Toy:
    """Return a set whose columns do not know the price, which goes wherever it likes."""
    toy = Toy()
    toy.functions = toy.live = {
        "move": HONEST["move"],
        "taken": HONEST["taken"],
        "reach": lambda bars: bars.high / bars.low - 1.0,
        "trend": lambda bars: bars.close / HONEST["mean"](bars) - 1.0,
    }
    toy.columns = tuple(toy.functions)
    return toy


BTC = Stream("binance", "BTCUSDT", "1h")
ETH = Stream("binance", "ETHUSDT", "1h")
START = 1_735_689_600_000
TRAINED = 1_500
TOY = _scale_free()
#: What stretches of 100 rows did: far less than what the tests' shifts do.
SEEN = Usual(100, 16, Levels(0.1, 0.0, 0.1), Levels(0.5, 0.05, 0.6))


@functools.cache
def _parts() -> tuple[Any, Floats]:
    bars = candles(TRAINED, seed=3)
    return spec_on(TOY, bars), TOY.table(bars, HOURLY)[TOY.history :]


def model(digest: str = "toy", **fields: object) -> Model:
    """Return a model on `toys.Toy` with ranges and a reference, unless `fields` say otherwise."""
    spec, table = _parts()
    made = assemble(spec, TOY, digest, Path())
    answers = made.probabilities(table)[:, 1:].astype(np.float64)
    known = {
        "ranges": Ranges(table.min(axis=0), table.max(axis=0)),
        "reference": Reference(bins_of(table), bins_of(answers), (SEEN,)),
    }
    return dataclasses.replace(made, **{**known, **fields})


def train_table() -> Floats:
    """Return the rows [m, k] that the model's reference is of."""
    return _parts()[1]


@functools.cache
def train_answers() -> Floats:
    """Return what the model says of them, long and short."""
    return model().probabilities(train_table())[:, 1:].astype(np.float64)


def lane(stream: Stream = BTC, **fields: object) -> Lane:
    """Return a stream that the model decides."""
    return Lane(stream, model(**fields), Policy(threshold=0.42))


def rows(n: int, seed: int, *, start: int = 0, shift: float = 0.0) -> Table:
    """Return n rows in time order like those of training, but for a shift by so many deviations."""
    random = np.random.default_rng(seed)
    train = train_table()
    drawn = random.integers(0, len(train), n)
    features = train[drawn] + shift * train.std(axis=0)
    return Table(START + HOUR * np.arange(start, start + n), features, train_answers()[drawn])
