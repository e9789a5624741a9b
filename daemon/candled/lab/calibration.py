"""Confidence that means what it says: one temperature for a model's answers.

A model that is too sure of itself is cooled: what its trees add to the margins is divided by T > 1,
so that its answers move towards its base, which is what it says when it knows nothing (the class
shares of its training rows). One that is too timid has T < 1. With an even base this is the
temperature of C. Guo et al., "On Calibration of Modern Neural Networks" (2017), section 4.2,
https://arxiv.org/abs/1706.04599 ; with the true one, cooling a model that knows nothing ends where
it should, at the base rates.

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
_ROUNDING: Final = 1e-9
_SMALLEST: Final = float(np.finfo(np.float32).tiny)
"""What stands for a probability that has underflowed to 0, whose logarithm is lost."""


class CalibrationError(ValueError):
    """Answers from which no temperature can be told, or a model that none can be folded into."""


def fit_temperature(
    probabilities: Probabilities,
    y: Classes,
    weights: Floats | None = None,
    *,
    base: Probabilities | None = None,
) -> float:
    """Return the T whose `tempered` probabilities have the least log-loss, to 1e-6 of T.

    In 1/T the log-loss is convex, so its slope is searched for the one place where it is zero. Fit
    it on rows that the model was not trained on. Answers that are worse than none want to be cooled
    without end; they get T = 100, which leaves next to nothing of them.

    Args:
        probabilities: [m, k] of the model.
        y: [m] true classes.
        weights: [m] of the rows, 0 or more; None counts each row once.
        base: [k] or [m, k], all above 0; None is even.

    Raises:
        CalibrationError: no rows, values that are no probabilities or weights, answers that are
            all the base, or a best T below 0.01.
    """
    if weights is None:
        weights = np.ones(len(y))
    _refuse_bad_answers(probabilities, y, weights)
    ground = _ground(probabilities, base)
    logs = _logs(probabilities) - ground
    if not (np.ptp(logs[weights > 0], axis=1) > _ROUNDING).any():
        raise CalibrationError("all answers are the base: no temperature changes them")

    def slope(temperature: float) -> float:
        """Of the log-loss in 1/T: above 0 where a larger T would be better."""
        expected = np.sum(_softmax(ground + logs / temperature) * logs, axis=1)
        return float(np.sum(weights * (expected - logs[np.arange(len(y)), y])))

    low, high = np.log(COLDEST), np.log(HOTTEST)
    if slope(COLDEST) <= 0:
        raise CalibrationError(
            f"the best temperature is below {COLDEST}: the answers are all right; fit on more "
            "rows that the model was not trained on"
        )
    if slope(HOTTEST) >= 0:
        return HOTTEST
    while high - low > _PRECISION:
        middle = (low + high) / 2
        if slope(float(np.exp(middle))) > 0:
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))


def tempered(
    probabilities: Probabilities, temperature: float, base: Probabilities | None = None
) -> Probabilities:
    """Return softmax(log(b) + (log(p) - log(b)) / T) [m, k] for a base b [k] or [m, k], or even.

    A probability of 0 counts as the smallest normal float32. Raises CalibrationError unless T is a
    finite number above 0.
    """
    _refuse_bad_temperature(temperature)
    ground = _ground(probabilities, base)
    return _softmax(ground + (_logs(probabilities) - ground) / temperature).astype(np.float32)


def fold_temperature(booster: bytes, temperature: float) -> bytes:
    """Return the model with T in it: whoever asks it gets tempered probabilities.

    A softprob model's margin is its intercept plus one leaf of every tree. The leaves are divided
    by T and rounded to float32; the intercept, which is the base, stays. Schema:
    https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html (a node is a leaf where
    `left_children` is -1, its value then is in `split_conditions`).

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


def base_of(booster: bytes) -> Probabilities:
    """Return [3] what a softprob model answers when no tree adds anything.

    Its intercept, `base_score`, is one number or, since XGBoost 3.1, one for each class, as text.
    Raises ModelError for bytes that are no model.
    """
    parameters = json.loads(Booster(booster).text())["learner"]["learner_model_param"]
    intercept = np.atleast_1d(np.array(json.loads(parameters["base_score"])))
    classes = int(parameters["num_class"])
    shares = _softmax(np.broadcast_to(intercept, (1, classes)))
    return np.asarray(shares[0], dtype=np.float32)


def _ground(probabilities: Probabilities, base: Probabilities | None) -> Floats:
    """Return the logarithm of the base, in a shape that goes with the answers."""
    return np.zeros(1) if base is None else _logs(np.broadcast_to(base, probabilities.shape))


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
