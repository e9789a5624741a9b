"""Small searches for tests: feature sets of seeded noise, labels with or without a signal."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import HOUR, Bars, Interval
from candled.core.labels import LabelParams
from candled.lab.dataset import Material, material
from candled.lab.recipe import Boosting, Recipe
from candled.lab.tune import Space, Tuning, space_of, tune
from candles import HOURLY, START_MS, candles

Floats = NDArray[np.float64]


class Noise:
    """Columns that know nothing: seeded, and the same for a bar wherever it stands."""

    def __init__(self, name: str, seed: int, *, window: int = 1, until: int = 1 << 20) -> None:
        self.name = name
        self.seed = seed
        self.until = until
        """Bars from here on get other numbers."""
        self.columns = ("a", "b", "c")
        self.window = self.history = window

    def table(self, bars: Bars, interval: Interval) -> Floats:  # noqa: ARG002 - the protocol's
        at = (bars.open_time - START_MS) // HOUR
        random = np.random.default_rng(self.seed)
        table = random.normal(size=(int(at[-1]) + 1, 3))
        table[self.until :] = random.normal(size=table[self.until :].shape)
        return table[at]

    def blocks(self, bars: Bars, interval: Interval, size: int = 4096) -> Iterator[Floats]:
        table = self.table(bars, interval)
        return (table[at : at + size] for at in range(0, len(table), size))

    def state(self, capacity: int, interval: Interval) -> Any:
        raise NotImplementedError("a search never runs live")


NOISE = Noise("noise", 1)
RECIPE = Recipe(
    feature_set="noise",
    labels=LabelParams(2, profit_target_pct=0.5, stop_loss_pct=0.4),
    boosting=Boosting(n_estimators=2, min_child_weight=5.0),
    folds=3,
    first_share=0.3,
)
BARS = candles(2400, seed=11)
SPACE = space_of({"boosting": {"n_estimators": {"low": 2, "high": 12}, "max_depth": [1, 2, 3]}})


def ground_truth(bars: Bars = BARS, recipe: Recipe = RECIPE) -> Material:
    """Return bars with their real labels."""
    return material(
        bars, HOURLY, rule=recipe.label_rule, params=recipe.labels, regime=recipe.regime
    )


def labelled(classes: NDArray[np.integer], of: Material | None = None) -> Material:
    """Return bars with other classes [n]."""
    before = of or ground_truth()
    labels = dataclasses.replace(before.labels, classes=classes.astype(np.int8))
    return dataclasses.replace(before, labels=labels)


def senseless(seed: int) -> Material:
    """Return bars whose labels have nothing to do with anything."""
    return labelled(np.random.default_rng(seed).integers(0, 3, len(BARS)))


def planted(share: float = 0.7) -> Material:
    """Return bars whose labels are decided by two columns of `NOISE` together, mostly."""
    random, table = np.random.default_rng(5), NOISE.table(BARS, HOURLY)
    decided = np.where(table[:, 0] * table[:, 1] > 0.3, 1, np.where(table[:, 2] > 0.5, 2, 0))
    by_chance = random.integers(0, 3, len(BARS))
    return labelled(np.where(random.random(len(BARS)) < share, decided, by_chance))


def ticking() -> Any:
    """Return a clock that goes one second further whenever it is looked at."""
    ticks = itertools.count()
    return lambda: float(next(ticks))


def searched(
    journal: Path,
    of: Material | None = None,
    *,
    features: tuple[Any, ...] = (NOISE,),
    base: Recipe = RECIPE,
    space: Space = SPACE,
    trials: int = 4,
    seed: int = 3,
    **others: Any,
) -> Tuning:
    """Search, small and with a clock that makes runs comparable byte for byte."""
    return tune(
        of or planted(), "BTCUSDT", features, base, space,
        trials=trials, seed=seed, journal=journal, clock=ticking(), **others,
    )  # fmt: skip
