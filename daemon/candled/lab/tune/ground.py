"""The rows that a search is about: those that trials may see, and those that they may not.

All feature sets are asked about the same rows, so that their skills can be compared. The newest
share is the holdout. A trial is given the rows before it, and only those whose label, with the
embargo, ends before it. Knows no optuna and no files.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.features import FeatureSet
from candled.lab.bootstrap import BLOCK, Interval, mean_interval
from candled.lab.dataset import Dataset, Material, TrainingError, honest_rows
from candled.lab.evaluate import losses
from candled.lab.recipe import Recipe
from candled.lab.splits import Fold, walk_forward
from candled.lab.study import recipe_folds
from candled.lab.walkforward import (
    Answers,
    Progress,
    class_shares,
    out_of_sample,
    walk,
)

Floats = NDArray[np.float64]

_FOLDS: Final = "folds"


@dataclass(frozen=True, slots=True)
class Ground:
    """Rows by feature set, with a walk-forward over them."""

    rows: Mapping[str, Dataset]
    """[m] of each feature set; the same bars in each."""
    folds: tuple[Fold, ...]
    """Over the rows, in time order."""
    shares: Answers
    """[q, 3] what the class shares of each fold's train rows answer about its test rows."""
    block: int
    """Bars that are redrawn, and added up, together."""

    @property
    def tested(self) -> NDArray[np.intp]:
        """[q] tested rows."""
        return np.concatenate([fold.test for fold in self.folds])

    def digest(self) -> str:
        """Return the SHA-256 (hex) of all that learners and judges get."""
        digest = hashlib.sha256()
        for rows in self.rows.values():
            for column in (rows.begin, rows.end, rows.features, rows.classes, rows.regimes):
                digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def gained(self, recipe: Recipe, progress: Progress) -> Floats:
        """Return [q] by how many nats a recipe's answers are better than the class shares.

        Each fold is cooled by what the folds before it showed. Raises TrainingError or ValueError.
        """
        rows = self.rows[recipe.feature_set]
        answers = walk(rows, self.folds, recipe, progress, _FOLDS).tested
        truth = rows.classes[answers.rows]
        return losses(self.shares, truth) - losses(answers.probabilities, truth)

    def mean(self, gained: Floats) -> Interval:
        """Return the mean of [q] nats with its interval."""
        return mean_interval(gained, block=self.block)

    def by_fold(self, gained: Floats) -> tuple[float, ...]:
        """Return the mean of each fold."""
        ends = np.cumsum([len(fold.test) for fold in self.folds])[:-1]
        return tuple(float(np.mean(part)) for part in np.split(gained, ends))

    def by_period(self, gained: Floats) -> tuple[float, ...]:
        """Return the sums over consecutive stretches of `block` bars.

        Labels of neighbouring rows overlap; sums over twice the lookahead hardly depend on each
        other, as the Sharpe ratios made of them suppose.
        """
        begin = next(iter(self.rows.values())).begin[self.tested]
        sums = np.bincount((begin - begin[0]) // self.block, weights=gained)
        return tuple(sums.tolist())


@dataclass(frozen=True, slots=True)
class Grounds:
    """A search's two halves."""

    seen: Ground
    """What trials get: nothing of the holdout is in it."""
    whole: Ground
    """All rows; its folds are those of `seen`, and then those of the holdout."""

    @property
    def is_holdout(self) -> NDArray[np.bool_]:
        """[q] which tested rows of `whole` are the holdout's."""
        return np.arange(len(self.whole.tested)) >= len(self.seen.tested)

    @property
    def span(self) -> tuple[int, int]:
        """Open times (UTC ms) of the first and last row of the holdout."""
        rows = next(iter(self.whole.rows.values()))
        held = self.whole.tested[self.is_holdout]
        return int(rows.open_time[held[0]]), int(rows.open_time[held[-1]])


def grounds(of: Material, features: Sequence[FeatureSet], base: Recipe, holdout: float) -> Grounds:
    """Find the rows that all feature sets have, and keep the newest share of them apart.

    The holdout's folds are about as long as the others, so that models are as fresh in both.
    Raises TrainingError for too few rows.
    """
    rows = _common([honest_rows(of, one, base.labels.lookahead_bars) for one in features])
    names = [one.name for one in features]
    first = rows[0]
    start = int(len(first) * (1 - holdout))
    limit = int(first.begin[start]) - base.embargo_bars - base.labels.lookahead_bars
    seen = [one[slice(int(np.searchsorted(first.begin, limit)))] for one in rows]
    folds = recipe_folds(seen[0], base)
    length = sum(len(fold.test) for fold in folds) / len(folds)
    held = _held(first, base, start, max(1, round((len(first) - start) / length)))
    block = max(BLOCK, 2 * base.labels.lookahead_bars)
    return Grounds(
        _ground(dict(zip(names, seen, strict=True)), folds, block),
        _ground(dict(zip(names, rows, strict=True)), (*folds, *held), block),
    )


def _ground(rows: Mapping[str, Dataset], folds: tuple[Fold, ...], block: int) -> Ground:
    shares = out_of_sample(next(iter(rows.values())), folds, class_shares).probabilities
    return Ground(rows, folds, shares, block)


def _common(rows: Sequence[Dataset]) -> list[Dataset]:
    """Return the rows of bars that are in all of them."""
    bars = functools.reduce(np.intersect1d, [one.begin for one in rows])
    return [
        one if len(one) == len(bars) else one[np.isin(one.begin, bars, assume_unique=True)]
        for one in rows
    ]


def _held(rows: Dataset, base: Recipe, start: int, folds: int) -> tuple[Fold, ...]:
    try:
        return walk_forward(
            rows.begin,
            rows.end,
            folds=folds,
            first=(start + 0.5) / len(rows),  # a share of which exactly `start` rows are made
            embargo=base.embargo_bars,
        )
    except ValueError as error:
        raise TrainingError(
            f"{len(rows)} rows leave no holdout that could be tested ({error}): fetch a longer "
            "history or hold out a larger share"
        ) from error
