"""The method itself on trial: it must find nothing where nothing is, and something where it is.

And how a careless split flatters: the same model asked about rows between those that it was fitted
on, whose labels overlap theirs. Nothing here says anything about a market.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.labels import LONG, NO_TRADE, SHORT
from candled.lab.dataset import Dataset
from candled.lab.recipe import Boosting, Recipe
from candled.lab.splits import Fold, notebook_split, shuffled_split, walk_forward
from candled.lab.walkforward import (
    Answers,
    OutOfSample,
    Progress,
    class_shares,
    out_of_sample,
    silent,
    trees,
    walk,
)

Classes = NDArray[np.int8]

_FOLDS: Final = 4
_SEED: Final = 7
_PLANTED_SHARE: Final = 0.3
_TAIL: Final = 0.2
_LEAK_ROWS: Final = 12_000


@dataclass(frozen=True, slots=True)
class Trial:
    """Labels, what was answered about rows that were not trained on, and what needs no model."""

    classes: Classes
    """[q] of the answered rows."""
    answers: Answers
    """[q, 3]"""
    shares: Answers
    """[q, 3] the class shares of the training rows."""


def shuffled_labels(dataset: Dataset, recipe: Recipe, progress: Progress = silent) -> Trial:
    """Let each row have the label of a row far away: nothing may be found.

    Labels are moved about in blocks of twice the lookahead, so that neighbours overlap as before.
    """
    rows = np.arange(len(dataset))
    blocks = np.array_split(rows, max(2, len(rows) // (2 * recipe.labels.lookahead_bars)))
    np.random.default_rng(_SEED).shuffle(blocks)
    moved = dataset.classes[np.concatenate(blocks)]
    return _tried(dataset, moved, recipe, progress, "shuffled labels")


def planted_signal(dataset: Dataset, recipe: Recipe, progress: Progress = silent) -> Trial:
    """Let a feature decide the labels of some rows: it must be found."""
    random = np.random.default_rng(_SEED)
    column = dataset.features[:, int(random.integers(dataset.features.shape[1]))]
    low, high = np.quantile(column, (_TAIL, 1 - _TAIL))
    decided = np.where(column > high, LONG, np.where(column < low, SHORT, NO_TRADE))
    chosen = random.random(len(dataset)) < _PLANTED_SHARE
    classes = np.where(chosen, decided, dataset.classes).astype(np.int8)
    return _tried(dataset, classes, recipe, progress, "planted signal")


def leak_trials(
    dataset: Dataset, recipe: Recipe, deep: Boosting, progress: Progress = silent
) -> tuple[Trial, Trial]:
    """Split the newest rows by time and at random, and fit `deep` trees on each; return both."""
    rows = dataset[slice(-_LEAK_ROWS, None)]
    deeply = dataclasses.replace(recipe, boosting=deep)
    splits = (notebook_split(len(rows)), shuffled_split(len(rows), _SEED))
    by_time, shuffled = (
        _trial(
            rows, rows.classes, out_of_sample(rows, [split], trees(deeply), progress, what), split
        )
        for split, what in zip(splits, ("split by time", "shuffled split"), strict=True)
    )
    return by_time, shuffled


def _tried(
    dataset: Dataset, classes: Classes, recipe: Recipe, progress: Progress, what: str
) -> Trial:
    other = dataclasses.replace(dataset, classes=classes)
    folds = walk_forward(
        other.begin, other.end, folds=_FOLDS, first=recipe.first_share, embargo=recipe.embargo_bars
    )
    return _trial(other, classes, walk(other, folds, recipe, progress, what).tested, *folds)


def _trial(dataset: Dataset, classes: Classes, found: OutOfSample, *folds: Fold) -> Trial:
    shares = out_of_sample(dataset, folds, class_shares)
    return Trial(classes[found.rows], found.probabilities, shares.probabilities)
