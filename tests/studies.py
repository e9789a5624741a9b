"""Small real studies for tests: synthetic candles, few trees, the lab's own functions."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from candled.core.features import feature_set
from candled.lab.dataset import material
from candled.lab.recipe import Boosting, Recipe, ThresholdRule
from candled.lab.study import Study, walk_forward_study, with_controls
from candled.lab.walkforward import Answers
from candles import HOURLY, candles

SYMBOL = "<b>BTC&\"'USDT"  # a symbol is what people type

RECIPE = Recipe(
    feature_set="mar",
    boosting=Boosting(n_estimators=12, min_child_weight=20.0),
    folds=3,
    threshold=ThresholdRule("fixed", 0.36),
)


@functools.cache
def study() -> Study:
    """Return a walk-forward of 3 folds over 2,600 candles; drift and controls on 20 features."""
    of = material(
        candles(2600, 3), HOURLY, rule=RECIPE.label_rule, params=RECIPE.labels, regime=RECIPE.regime
    )
    made = walk_forward_study(of, SYMBOL, feature_set(RECIPE.feature_set), RECIPE)
    some = slice(None, None, 11)
    fewer = dataclasses.replace(made.dataset, features=made.dataset.features[:, some])
    names = made.feature_names[some]
    return with_controls(dataclasses.replace(made, dataset=fewer, feature_names=names), RECIPE)


def answering(answers: Answers, of: Study | None = None) -> Study:
    """Return the study with other answers [q, 3], as if a model had given them."""
    before = of or study()
    tested = dataclasses.replace(before.tested, probabilities=answers)
    return dataclasses.replace(before, tested=tested, raw=tested)


def normalised(answers: np.ndarray) -> Answers:
    """Make positive numbers [q, 3] probabilities."""
    return (answers / answers.sum(axis=1, keepdims=True)).astype(np.float32)
