"""The honest training: a small model of all usable rows, and what its kind did on rows not seen.

The recipe is walked forward first: fitted on the past, block after block, and asked about what
followed. All that goes into the bundle beside the trees comes from these answers: temperature,
threshold, evidence, the limits of abstaining. Then the same recipe is fitted once on every row.
The finished model so has no rows left to be judged by; its evidence is that of its younger selves,
which knew less.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xgboost

from candled.core.bar import Bars, Interval, iso
from candled.core.decision import Evidence, Side
from candled.core.features import FeatureSet
from candled.core.model import ModelSpec, Ranges
from candled.lab.bootstrap import BLOCK
from candled.lab.calibration import fold_temperature
from candled.lab.conformal import conformal_limits
from candled.lab.dataset import Dataset, follows, material
from candled.lab.evaluate import evaluation
from candled.lab.evidence import evidence_bands, facts
from candled.lab.fitting import Fitted, fit
from candled.lab.recipe import Recipe
from candled.lab.reference import reference
from candled.lab.study import Study, walk_forward_study
from candled.lab.trained import (
    Trained,
    data_digest,
    notebook_metadata,
    span,
    target,
    target_params,
    versions,
)
from candled.lab.walkforward import Progress, silent, weights


@dataclass(frozen=True, slots=True)
class HonestlyTrained:
    """A model, and the study that its figures come from."""

    trained: Trained
    study: Study


def train_honest(
    bars: Bars,
    symbol: str,
    interval: str,
    features: FeatureSet,
    recipe: Recipe,
    *,
    created_at: dt.datetime,
    proof: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> HonestlyTrained:
    """Walk the recipe forward, then fit it on all usable rows.

    The same bars and recipe give the same bits, whatever the machine's number of cores.

    Args:
        bars: closed bars, ascending; rows that a gap reaches are left out and counted.
        symbol: as the venue spells it.
        interval: name of an `Interval`.
        features: the set that `recipe.feature_set` names.
        recipe: what to do.
        created_at: recorded with the model.
        proof: that a package's feature set has passed the gate; recorded with the model.
        progress: is told how far it is.

    Raises:
        TrainingError: bars out of order or without a close, too few rows, a class that a fold
            lacks, a column without a finite value, or a threshold that nothing supports.
        ValueError: an unknown interval.
    """
    of = material(
        bars,
        Interval(interval),
        rule=recipe.label_rule,
        params=recipe.labels,
        regime=recipe.regime,
    )
    study = walk_forward_study(of, symbol, features, recipe, progress=progress)
    fitted = finished_fit(study.dataset, recipe, study.temperature)
    limits = conformal_limits(study.finished.probabilities, study.truth, recipe.abstain_alpha)
    spec = ModelSpec(
        symbol=symbol,
        interval=interval,
        feature_set=features.name,
        feature_names=features.columns,
        mean=fitted.scaler.mean_,
        scale=fitted.scaler.scale_,
        booster=fitted.booster(),
        threshold=_threshold_of(study),
        target=target(recipe.labels, recipe.label_rule),
        regime=recipe.regime,
        provenance=_provenance(study, recipe, created_at) | ({"gate": proof} if proof else {}),
        evidence=evidence_of(study),
        ranges=Ranges(study.dataset.features.min(axis=0), study.dataset.features.max(axis=0)),
        abstain_limits=limits,
        reference=reference(
            study.dataset.features,
            np.arange(len(study.dataset)),
            study.folds,
            study.finished.probabilities,
        ),
    )
    told = notebook_metadata(
        spec,
        recipe.labels,
        created_at=created_at,
        train_samples=len(study.dataset),
        test_samples=len(study.truth),
    )
    return HonestlyTrained(Trained(spec, fitted.classifier, fitted.scaler, told), study)


def finished_fit(dataset: Dataset, recipe: Recipe, temperature: float) -> Fitted:
    """Fit a recipe on all rows, and fold the temperature into its trees."""
    fitted = fit(dataset.features, dataset.classes, recipe.boosting, weights(dataset, recipe))
    if temperature == 1.0:
        return fitted
    cooled = xgboost.XGBClassifier(**fitted.classifier.get_params())
    cooled.load_model(bytearray(fold_temperature(fitted.booster(), temperature)))
    return Fitted(fitted.scaler, cooled)


def evidence_of(study: Study) -> tuple[Evidence, ...]:
    """Return what the out-of-sample answers showed, band by band, as signals carry it."""
    at, traded = study.tested_bars, study.outcomes
    gross = {Side.LONG: traded.long.gross_pct[at], Side.SHORT: traded.short.gross_pct[at]}
    bands = evidence_bands(study.finished.probabilities, study.truth, gross, block=block_of(study))
    return facts(bands)


def block_of(study: Study) -> int:
    """Return how many rows are redrawn together: twice the lookahead, but never few."""
    return max(BLOCK, 2 * study.params.lookahead_bars)


def _threshold_of(study: Study) -> float:
    if study.threshold.value is None:  # refused where it is chosen
        raise AssertionError("a model is published without a threshold")
    return study.threshold.value


def _provenance(study: Study, recipe: Recipe, created_at: dt.datetime) -> dict[str, Any]:
    of, dataset = study.material, study.dataset
    return {
        "made_by": "train_honest",
        "created_at": created_at.isoformat(),
        "recipe": recipe.as_json(),
        "bars": len(of.bars),
        "gaps": int(np.count_nonzero(~follows(of.bars, of.interval))),
        "dropped": asdict(dataset.dropped),
        "data_sha256": data_digest(of.bars),
        "labels": {"rule": recipe.label_rule, **target_params(recipe.labels)},
        "train": span(dataset),
        "walk_forward": {
            "test": span(dataset[study.tested.rows]),
            "folds": _folds(study),
            "temperature": study.temperature,
            "threshold": asdict(study.threshold),
        },
        "evaluation": evaluation(
            study.tested.probabilities,
            study.truth,
            study.baselines["class shares"],
            study.limits,
        ),
        "versions": versions(),
    }


def _folds(study: Study) -> list[dict[str, Any]]:
    return [
        {
            "train_rows": len(fold.train),
            "test_rows": len(fold.test),
            "first": iso(int(study.dataset.open_time[fold.test[0]])),
            "last": iso(int(study.dataset.open_time[fold.test[-1]])),
            "temperature": temperature,
        }
        for fold, temperature in zip(study.folds, study.temperatures, strict=True)
    ]
