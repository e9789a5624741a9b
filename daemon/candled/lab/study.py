"""A study: all that there is to say about a model or a recipe, as arrays, before anybody judges.

It brings together rows, answers about rows that nothing was fitted on, what needs no model beside
them, and the trials of the method itself. Findings and pages are made from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import xgboost
from numpy.typing import NDArray

from candled.core.features import FeatureSet
from candled.core.labels import LabelParams
from candled.core.model import Model
from candled.core.touch import Outcomes, outcomes
from candled.lab.controls import Trial, leak_trials, planted_signal, shuffled_labels
from candled.lab.dataset import Dataset, Material, TrainingError, honest_rows
from candled.lab.publishing import limits_in_effect, published, recooled
from candled.lab.recipe import NOTEBOOK_BOOSTING, Boosting, Recipe
from candled.lab.splits import Fold, walk_forward
from candled.lab.thresholds import Threshold, fixed
from candled.lab.walkforward import (
    Answers,
    Learner,
    OutOfSample,
    Progress,
    class_shares,
    logistic_regression,
    out_of_sample,
    regime_shares,
    silent,
    temperature_of,
    walk,
)

Classes = NDArray[np.int8]

BASELINES: Final[dict[str, Learner]] = {
    "class shares": class_shares,
    "regime shares": regime_shares,
}
_LINEAR: Final = "logistic regression"


@dataclass(frozen=True, slots=True)
class Controls:
    """The method on other labels, and on a careless split."""

    shuffled: Trial
    """Labels that have nothing to do with the features."""
    planted: Trial
    """Labels that a feature partly decides."""
    by_time: Trial
    """The notebook's trees, split by time."""
    at_random: Trial
    """The same, split at random: what a leak looks like."""


@dataclass(frozen=True, slots=True)
class Study:
    """What was found out about one model or recipe on one stretch of bars."""

    title: str
    symbol: str
    material: Material
    """n bars with labels and regimes."""
    params: LabelParams
    dataset: Dataset
    """m rows, without those whose future is not known or that a hole reaches."""
    feature_names: tuple[str, ...]
    """[k]"""
    folds: tuple[Fold, ...]
    """Train and test rows of the dataset; one fold when a finished model is judged."""
    raw: OutOfSample
    """q answers as the trees gave them."""
    tested: OutOfSample
    """The same, calibrated by what earlier folds had shown; equal to `raw` for a finished model."""
    finished: OutOfSample
    """The same, calibrated once for all as the finished model is."""
    temperatures: tuple[float, ...]
    """Of each fold; empty for a finished model."""
    baselines: dict[str, Answers]
    """[q, 3] by name: fitted on each fold's train rows, without a model or with a plain one."""
    outcomes: Outcomes
    """[n] what a trade of each bar brought, entered at the next open."""
    threshold: Threshold
    """That the model is published with, and what it was chosen from."""
    limits: NDArray[np.float32]
    """[q] the threshold in effect for each tested row: chosen by what came before its fold."""
    temperature: float
    """What the finished model's trees are cooled by; 1 when they are taken as they are."""
    importances: tuple[tuple[str, float], ...]
    """Features by their share of the gain, best first; empty when there is no finished model."""
    controls: Controls | None = None

    @property
    def truth(self) -> Classes:
        """[q] true classes of the tested rows."""
        return self.dataset.classes[self.tested.rows]

    @property
    def tested_bars(self) -> NDArray[np.intp]:
        """[q] bar numbers of the tested rows."""
        return self.dataset.begin[self.tested.rows]


def walk_forward_study(
    of: Material,
    symbol: str,
    features: FeatureSet,
    recipe: Recipe,
    *,
    model: Model | None = None,
    progress: Progress = silent,
) -> Study:
    """Judge a recipe: fitted on the past, block after block, and asked about what follows.

    `model` is what the recipe made of all rows, where there is one. Raises TrainingError, also
    when the recipe's threshold finds no support.
    """
    dataset = honest_rows(of, features, recipe.labels.lookahead_bars)
    folds = recipe_folds(dataset, recipe)
    walked = walk(dataset, folds, recipe, progress)
    raw, base = walked.raw, walked.base
    temperature = (
        temperature_of(raw.probabilities, base, dataset.classes[raw.rows])
        if recipe.calibrate
        else 1.0
    )
    traded = outcomes(of.bars, recipe.labels)
    finished = recooled(raw, base, temperature)
    gross = (traded.long.gross_pct[dataset.begin], traded.short.gross_pct[dataset.begin])
    return Study(
        title=f"walk-forward of {features.name}, {recipe.label_rule} labels",
        symbol=symbol,
        material=of,
        params=recipe.labels,
        dataset=dataset,
        feature_names=features.columns,
        folds=folds,
        raw=raw,
        tested=walked.tested,
        finished=finished,
        temperatures=walked.temperatures,
        baselines=_baselines(dataset, folds),
        outcomes=traded,
        threshold=published(recipe.threshold, finished, gross),
        limits=limits_in_effect(recipe.threshold, raw, base, walked.temperatures, gross),
        temperature=temperature,
        importances=importances(model) if model else (),
    )


def model_study(
    of: Material,
    model: Model,
    params: LabelParams,
    trained_until: int,
    *,
    threshold: float | None = None,
) -> Study:
    """Judge a finished model by the rows after the last bar that it was trained on.

    `trained_until` is that bar's open time (UTC ms); rows whose labels overlap those of training
    are left out. `threshold` is the model's own unless given. Raises TrainingError when nothing is
    left.
    """
    limit = fixed(model.threshold if threshold is None else threshold)
    dataset = honest_rows(of, model.features, params.lookahead_bars)
    fold = _after(dataset, of, trained_until, params)
    answers = model.probabilities(dataset.features[fold.test])
    tested = OutOfSample(fold.test, np.zeros(len(fold.test), dtype=np.intp), answers)
    return Study(
        title=f"{model.name} as it is",
        symbol=model.symbol,
        material=of,
        params=params,
        dataset=dataset,
        feature_names=model.features.columns,
        folds=(fold,),
        raw=tested,
        tested=tested,
        finished=tested,
        temperatures=(),
        baselines=_baselines(dataset, (fold,)),
        outcomes=outcomes(of.bars, params),
        threshold=limit,
        limits=np.full(len(fold.test), limit.value, dtype=np.float32),
        temperature=1.0,
        importances=importances(model),
    )


def with_controls(
    study: Study,
    recipe: Recipe,
    progress: Progress = silent,
    deep: Boosting = NOTEBOOK_BOOSTING,
) -> Study:
    """Add a plain linear model, and the trials of the method with a recipe's small trees.

    How a careless split flatters is shown with `deep` ones, which can remember.
    """
    linear = out_of_sample(study.dataset, study.folds, logistic_regression, progress, _LINEAR)
    by_time, at_random = leak_trials(study.dataset, recipe, deep, progress)
    controls = Controls(
        shuffled=shuffled_labels(study.dataset, recipe, progress),
        planted=planted_signal(study.dataset, recipe, progress),
        by_time=by_time,
        at_random=at_random,
    )
    baselines = {**study.baselines, _LINEAR: linear.probabilities}
    return dataclasses.replace(study, baselines=baselines, controls=controls)


def recipe_folds(dataset: Dataset, recipe: Recipe) -> tuple[Fold, ...]:
    """Return the folds of a recipe's walk-forward; raises TrainingError for too few rows."""
    try:
        return walk_forward(
            dataset.begin,
            dataset.end,
            folds=recipe.folds,
            first=recipe.first_share,
            embargo=recipe.embargo_bars,
        )
    except ValueError as error:
        raise TrainingError(
            f"{len(dataset)} rows do not make {recipe.folds} walk-forward folds ({error}): fetch "
            "a longer history or ask for fewer folds"
        ) from error


def importances(model: Model) -> tuple[tuple[str, float], ...]:
    """Return the features by their share of the mean gain of a split, as the notebook has them."""
    booster = xgboost.Booster(model_file=bytearray(model.booster.ubjson()))
    gains = booster.get_score(importance_type="gain")
    columns = model.features.columns
    by_name = {name: float(str(gains.get(f"f{at}", 0))) for at, name in enumerate(columns)}
    total = sum(by_name.values()) or 1.0
    best_first = sorted(by_name.items(), key=lambda one: (-one[1], one[0]))
    return tuple((name, gain / total) for name, gain in best_first)


def _baselines(dataset: Dataset, folds: Sequence[Fold]) -> dict[str, Answers]:
    return {
        name: out_of_sample(dataset, folds, learner).probabilities
        for name, learner in BASELINES.items()
    }


def _after(dataset: Dataset, of: Material, trained_until: int, params: LabelParams) -> Fold:
    bars = of.bars.open_time
    last = int(np.searchsorted(bars, trained_until, side="right")) - 1
    train = np.flatnonzero(dataset.end <= last)
    test = np.flatnonzero(dataset.begin > last + params.lookahead_bars)
    if not len(train) or not len(test):
        raise TrainingError(
            f"{len(train)} rows lie before and {len(test)} after the last bar that the model was "
            "trained on: give candles that reach from its training into what followed"
        )
    return Fold(train, test)
