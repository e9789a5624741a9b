"""Confidence that means what it says: one temperature for a model's answers.

A model that is too sure of itself is cooled by dividing its margins by T > 1 (softmax(margin / T)),
one that is too timid by T < 1. The order of the classes of a row never changes. Source: C. Guo et
al., "On Calibration of Modern Neural Networks" (2017), section 4.2, https://arxiv.org/abs/1706.04599

Knows probabilities, classes and XGBoost's file format; no features and no files.
"""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candled.core.model import Booster

Floats = NDArray[np.float64]
Probabilities = NDArray[np.float32]
Classes = NDArray[np.int8]

COLDEST: Final = 0.01
HOTTEST: Final = 100.0
_PRECISION: Final = 1e-7
"""Of the logarithm of T."""
_SMALLEST: Final = float(np.finfo(np.float32).tiny)
"""What stands for a probability that has underflowed to 0, whose logarithm is lost."""


class CalibrationError(ValueError):
    """Answers from which no temperature can be told, or a model that none can be folded into."""


def fit_temperature(
    probabilities: Probabilities, y: Classes, weights: Floats | None = None
) -> float:
    """Return the T whose `tempered` probabilities have the least log-loss, to 1e-6 of T.

    In 1/T the log-loss is convex, so its slope is searched for the one place where it is zero. Fit
    it on rows that the model was not trained on.

    Args:
        probabilities: [m, k] of the model.
        y: [m] true classes.
        weights: [m] of the rows, 0 or more; None counts each row once.

    Raises:
        CalibrationError: no rows, values that are no probabilities or weights, answers that are
            uniform, or a best T outside 0.01 to 100.
    """
    if weights is None:
        weights = np.ones(len(y))
    _refuse_bad_answers(probabilities, y, weights)
    logs = _logs(probabilities)
    if not np.ptp(logs[weights > 0], axis=1).any():
        raise CalibrationError("all answers are uniform: no temperature changes them")
    low, high = np.log(COLDEST), np.log(HOTTEST)
    if _slope(logs, y, weights, COLDEST) <= 0 or _slope(logs, y, weights, HOTTEST) >= 0:
        raise CalibrationError(
            f"the best temperature is not between {COLDEST} and {HOTTEST}: the answers are all "
            "right, or worse than none; fit on more rows that the model was not trained on"
        )
    while high - low > _PRECISION:
        middle = (low + high) / 2
        if _slope(logs, y, weights, float(np.exp(middle))) > 0:
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))


def tempered(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Return softmax(log(p) / T) [m, k]; a probability of 0 counts as the smallest normal float32.

    Raises CalibrationError unless T is a finite number above 0.
    """
    _refuse_bad_temperature(temperature)
    return _softmax(_logs(probabilities) / temperature).astype(np.float32)


def fold_temperature(booster: bytes, temperature: float) -> bytes:
    """Return the model with T in it: whoever asks it gets tempered probabilities.

    A softprob model's margin is its intercept plus one leaf of every tree, so all of them are
    divided by T and rounded to float32. Nothing else changes. Schema:
    https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html (a node is a leaf where
    `left_children` is -1, its value then is in `split_conditions`; the intercept is `base_score`,
    one number or, since 3.1, one for each class, as text).

    Args:
        booster: an XGBoost tree model of objective multi:softprob, UBJSON or JSON.
        temperature: T.

    Returns:
        UBJSON.

    Raises:
        CalibrationError: T is not a finite number above 0, or a model of another kind.
        ModelError: bytes that are no model.
    """
    _refuse_bad_temperature(temperature)
    document = json.loads(Booster(booster).text())
    learner = document["learner"]
    _refuse_other_models(learner)
    intercept = json.loads(learner["learner_model_param"]["base_score"])
    folded = _divided(np.atleast_1d(intercept), temperature)
    learner["learner_model_param"]["base_score"] = json.dumps(folded)
    for tree in learner["gradient_booster"]["model"]["trees"]:
        _fold_tree(tree, temperature)
    return Booster(json.dumps(document).encode()).ubjson()


def _fold_tree(tree: dict[str, Any], temperature: float) -> None:
    leaves = np.array(tree["left_children"]) == -1
    values = np.array(tree["split_conditions"])
    values[leaves] = _divided(values[leaves], temperature)
    tree["split_conditions"] = values.tolist()
    tree["base_weights"] = _divided(np.array(tree["base_weights"]), temperature)


def _divided(values: Floats, temperature: float) -> list[float]:
    divided: list[float] = (values / temperature).astype(np.float32).tolist()
    return divided


def _slope(logs: Floats, y: Classes, weights: Floats, temperature: float) -> float:
    """Return the slope of the log-loss in 1/T: above 0 where a larger T would be better."""
    expected = np.sum(_softmax(logs / temperature) * logs, axis=1)
    return float(np.sum(weights * (expected - logs[np.arange(len(y)), y])))


def _logs(probabilities: Probabilities) -> Floats:
    return np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))


def _softmax(margins: Floats) -> Floats:
    powers = np.exp(margins - margins.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _refuse_bad_answers(probabilities: Probabilities, y: Classes, weights: Floats) -> None:
    if not len(y) or probabilities.shape[0] != len(y) or weights.shape != y.shape:
        raise CalibrationError(
            f"{probabilities.shape[0]} answers, {len(y)} classes and {len(weights)} weights: give "
            "one of each for each row, and at least one row"
        )
    sane = (np.isfinite(probabilities) & (probabilities >= 0)).all(axis=1)
    if not sane.all():
        row = int(np.flatnonzero(~sane)[0])
        raise CalibrationError(f"row {row} holds a value that is no probability: leave it out")
    if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise CalibrationError("weights must be finite, 0 or more, and not all 0")


def _refuse_bad_temperature(temperature: float) -> None:
    if not (np.isfinite(temperature) and temperature > 0):
        raise CalibrationError(f"a temperature is a finite number above 0; it is {temperature}")


def _refuse_other_models(learner: dict[str, Any]) -> None:
    objective, kind = learner["objective"]["name"], learner["gradient_booster"]["name"]
    if (objective, kind) != ("multi:softprob", "gbtree"):
        raise CalibrationError(
            f"a temperature folds into multi:softprob trees; this is {objective} by {kind}"
        )
    sizes = {
        tree["tree_param"]["size_leaf_vector"]
        for tree in learner["gradient_booster"]["model"]["trees"]
    }
    if sizes - {"0", "1"}:
        raise CalibrationError("trees with a vector in each leaf hold no single value to divide")
