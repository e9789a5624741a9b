"""Small real studies for tests: synthetic candles, few trees, the lab's own functions."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from candled.core.bar import Stream
from candled.core.features import feature_set
from candled.lab.backtest.rules import Costs, exits_of
from candled.lab.backtest.strategies import comparison
from candled.lab.backtest.sweep import sweep
from candled.lab.backtest.tape import tape_of_answers
from candled.lab.dataset import material
from candled.lab.facts import Findings
from candled.lab.findings import findings
from candled.lab.recipe import Boosting, Recipe, ThresholdRule
from candled.lab.report import Chapter
from candled.lab.study import Study, walk_forward_study, with_controls
from candled.lab.trained import target
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
    """Return a walk-forward of 3 folds over 4,200 candles; drift and controls on 6 features."""
    of = material(
        candles(4200, 3), HOURLY, rule=RECIPE.label_rule, params=RECIPE.labels, regime=RECIPE.regime
    )
    made = walk_forward_study(of, SYMBOL, feature_set(RECIPE.feature_set), RECIPE)
    some = slice(None, None, 40)
    fewer = dataclasses.replace(made.dataset, features=made.dataset.features[:, some])
    names = made.feature_names[some]
    return with_controls(dataclasses.replace(made, dataset=fewer, feature_names=names), RECIPE)


@functools.cache
def found() -> Findings:
    """Return the study's findings."""
    return findings(study())


@functools.cache
def chapter() -> Chapter:
    """Return all that a page says of the study, with a small sweep."""
    of = study()
    bars, at = of.material.bars, of.tested_bars
    tape = tape_of_answers(
        Stream("sim", SYMBOL, "1h"),
        bars,
        bars.open_time[at],
        of.tested.probabilities,
        RECIPE.threshold.value,
        regime=of.material.regimes,
    )
    exits = exits_of(target(of.params))
    swept = sweep(tape, exits, (0.3, 0.36), (Costs(0.0), Costs(0.1)))
    return Chapter(of, found(), comparison([tape], exits, Costs()), swept)


def answering(answers: Answers, of: Study | None = None) -> Study:
    """Return the study with other answers [q, 3], as if a model had given them."""
    before = of or study()
    tested = dataclasses.replace(before.tested, probabilities=answers)
    return dataclasses.replace(before, tested=tested, raw=tested, finished=tested)


def normalised(answers: np.ndarray) -> Answers:
    """Make positive numbers [q, 3] probabilities."""
    return (answers / answers.sum(axis=1, keepdims=True)).astype(np.float32)
