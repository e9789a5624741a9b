"""Answers about rows that nothing was fitted on: one learner after another over folds.

A learner makes an answerer of some rows; what it is made of, trees or a table of shares, is its own
business. Folds are fitted side by side, each on its own thread, and the result does not depend on
how many there are.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from candled.core.model import CLASSES
from candled.lab.calibration import CalibrationError, fit_temperature, tempered
from candled.lab.dataset import Dataset
from candled.lab.fitting import fit, refuse_missing_class
from candled.lab.recipe import Recipe
from candled.lab.splits import Fold
from candled.lab.weights import class_balance, uniqueness

_REGULARISATION: Final = 0.01

Answers = NDArray[np.float32]
Answerer = Callable[[Dataset], Answers]
"""Gives probabilities [q, 3] (no trade, long, short) for q rows."""
Learner = Callable[[Dataset], Answerer]
Progress = Callable[[str, int, int], None]
"""Is told what is being done, how many parts are done, and of how many."""


@dataclass(frozen=True, slots=True)
class OutOfSample:
    """What was answered about the q rows of the test blocks, in time order."""

    rows: NDArray[np.intp]
    """[q] row numbers in the dataset."""
    fold: NDArray[np.intp]
    """[q] number of the fold that answered."""
    probabilities: Answers
    """[q, 3]"""


def silent(_what: str, _done: int, _of: int) -> None:
    """Report no progress."""


def out_of_sample(
    dataset: Dataset,
    folds: Sequence[Fold],
    learner: Learner,
    progress: Progress = silent,
    what: str = "folds",
) -> OutOfSample:
    """Let a learner see the train rows of each fold and answer for its test rows."""

    def answer(fold: Fold) -> Answers:
        return learner(dataset[fold.train])(dataset[fold.test])

    answers: list[Answers] = []
    progress(what, 0, len(folds))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for one in pool.map(answer, folds):
            answers.append(one)
            progress(what, len(answers), len(folds))
    return OutOfSample(
        rows=np.concatenate([fold.test for fold in folds]),
        fold=np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds]),
        probabilities=np.concatenate(answers),
    )


def trees(recipe: Recipe) -> Learner:
    """Learn with a recipe's boosted trees."""

    def learn(rows: Dataset) -> Answerer:
        refuse_missing_class(rows.classes, recipe.labels, f"training rows before {_until(rows)}")
        fitted = fit(rows.features, rows.classes, recipe.boosting, weights(rows, recipe))
        return lambda asked: fitted.probabilities(asked.features)

    return learn


def class_shares(rows: Dataset) -> Answerer:
    """Learn how frequent the classes are, and answer that always."""
    return _always(rows.classes, np.ones(len(rows)))


def base_of_trees(recipe: Recipe) -> Learner:
    """Learn what a recipe's trees answer when none adds anything: the classes as it weighs them."""

    def learn(rows: Dataset) -> Answerer:
        weighed = weights(rows, recipe)
        return _always(rows.classes, np.ones(len(rows)) if weighed is None else weighed)

    return learn


def _always(classes: NDArray[np.int8], weighed: NDArray[np.float64]) -> Answerer:
    counts = np.bincount(classes, weights=weighed, minlength=len(CLASSES))
    shares = (counts / counts.sum()).astype(np.float32)
    return lambda asked: np.tile(shares, (len(asked), 1))


def regime_shares(rows: Dataset) -> Answerer:
    """Learn how frequent the classes are in each regime; a regime never seen answers evenly."""
    counts = np.ones((3, len(CLASSES)))  # one of each: no share is exactly zero
    np.add.at(counts, (rows.regimes, rows.classes), 1.0)
    shares = (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    return lambda asked: shares[asked.regimes]


def logistic_regression(rows: Dataset) -> Answerer:
    """Learn with a regularised linear model of the scaled features."""
    scaler = StandardScaler().fit(rows.features)
    linear = LogisticRegression(C=_REGULARISATION, solver="newton-cholesky")
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        linear.fit(scaler.transform(rows.features), rows.classes)
    return lambda asked: np.asarray(
        linear.predict_proba(scaler.transform(asked.features)), dtype=np.float32
    )


def weights(rows: Dataset, recipe: Recipe) -> NDArray[np.float64] | None:
    """Return the sample weights [m] that a recipe asks for, with a mean of 1, or None."""
    result = np.ones(len(rows))
    if recipe.weighs_uniqueness:
        result *= uniqueness(rows.begin, rows.end)
    if recipe.balance_classes:
        result *= class_balance(rows.classes)
    if not (recipe.weighs_uniqueness or recipe.balance_classes):
        return None
    return np.asarray(result / (np.cumsum(result)[-1] / len(result)))


def prequential(
    answers: OutOfSample, base: Answers, classes: NDArray[np.int8]
) -> tuple[OutOfSample, tuple[float, ...]]:
    """Cool each fold's answers by the temperature that the folds before it would have had.

    `base` [q, 3] is what the same learner answers when it knows nothing, `classes` [m] are those
    of the dataset. The first fold, before which nothing is known, is left as it is (temperature 1).
    Returns the answers and each fold's temperature.
    """
    result, temperatures = answers.probabilities.copy(), []
    truth = classes[answers.rows]
    for number in range(int(answers.fold[-1]) + 1):
        before, now = answers.fold < number, answers.fold == number
        temperature = temperature_of(answers.probabilities[before], base[before], truth[before])
        result[now] = tempered(answers.probabilities[now], temperature, base[now])
        temperatures.append(temperature)
    return OutOfSample(answers.rows, answers.fold, result), tuple(temperatures)


@dataclass(frozen=True, slots=True)
class Walked:
    """What a recipe answered as it was walked forward, q rows."""

    raw: OutOfSample
    """As the trees gave it."""
    base: Answers
    """[q, 3] what they answer when none adds anything."""
    tested: OutOfSample
    """Calibrated by what earlier folds had shown; equal to `raw` if the recipe does not."""
    temperatures: tuple[float, ...]
    """Of each fold."""


def walk(
    dataset: Dataset,
    folds: Sequence[Fold],
    recipe: Recipe,
    progress: Progress = silent,
    what: str = "walk-forward",
) -> Walked:
    """Walk a recipe's whole method forward, calibration included."""
    raw = out_of_sample(dataset, folds, trees(recipe), progress, what)
    base = out_of_sample(dataset, folds, base_of_trees(recipe)).probabilities
    if not recipe.calibrate:
        return Walked(raw, base, raw, (1.0,) * len(folds))
    return Walked(raw, base, *prequential(raw, base, dataset.classes))


def temperature_of(answers: Answers, base: Answers, truth: NDArray[np.int8]) -> float:
    """Return the temperature that fits answers [q, 3] on a base [q, 3]; 1 where none is told."""
    try:
        return fit_temperature(answers, truth, base=base)
    except CalibrationError:
        return 1.0


def _until(rows: Dataset) -> str:
    return f"bar {int(rows.begin[-1])}" if len(rows) else "the first bar"
