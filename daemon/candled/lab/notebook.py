"""The notebook's training, made into one function that gives the same model for the same bars.

Its flaws included, for who must have the notebook's numbers: what is honest is in `honest`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars, Interval
from candled.core.features.mar import MAR
from candled.core.labels import LabelParams
from candled.core.model import ModelSpec
from candled.lab.dataset import follows, material, notebook_rows
from candled.lab.evaluate import Classes, evaluation, share_answers
from candled.lab.fitting import fit, refuse_missing_class
from candled.lab.recipe import NOTEBOOK_BOOSTING
from candled.lab.reference import reference
from candled.lab.splits import notebook_split
from candled.lab.trained import (
    Trained,
    data_digest,
    notebook_metadata,
    span,
    target,
    target_params,
    versions,
)

TRAIN_SHARE: Final = 0.8


def train_notebook(
    bars: Bars,
    symbol: str,
    interval: str,
    params: LabelParams | None = None,
    *,
    created_at: dt.datetime,
    threshold: float = 0.6,
    regime: str = "notebook",
    estimators: int = NOTEBOOK_BOOSTING.n_estimators,
) -> Trained:
    """Label all bars, drop the incomplete rows, fit on the first 80 % and judge by the rest.

    As the notebook does it, flaws included: the last `lookahead_bars` rows have no future and stay
    among the test rows as class 0, and nothing is purged between train and test. So the evaluation
    in the provenance comes twice, `as_notebook` and `labelled_only`, without that tail.

    Args:
        bars: closed bars, ascending.
        symbol: as the venue spells it.
        interval: name of an `Interval`.
        params: of the labels; None is the notebook's.
        created_at: recorded with the model.
        threshold: to publish the model with.
        regime: preset that settles labels where both sides qualify.
        estimators: boosting rounds; the notebook's 200, fewer for a trial.

    Raises:
        TrainingError: bars out of order or without a close, too few of them, or a class that the
            training rows lack.
        ValueError: an unknown interval or regime preset.
    """
    params = params or LabelParams()
    labelled = material(bars, Interval(interval), rule="window", params=params, regime=regime)
    rows = notebook_rows(labelled, MAR)
    split = notebook_split(len(rows), TRAIN_SHARE)
    train, test = rows[split.train], rows[split.test]
    refuse_missing_class(train.classes, params, "training rows")
    boosting = dataclasses.replace(NOTEBOOK_BOOSTING, n_estimators=estimators)
    fitted = fit(train.features, train.classes, boosting)
    answers = fitted.probabilities(test.features)
    shares = share_answers(train.classes, len(test))
    provenance = {
        "made_by": "train_notebook",
        "created_at": created_at.isoformat(),
        "bars": len(bars),
        "gaps": int(np.count_nonzero(~follows(bars, labelled.interval))),
        "data_sha256": data_digest(bars),
        "labels": {"rule": "window", **target_params(params)},
        "split": {"rule": "the first share of the rows trains", "share": TRAIN_SHARE},
        "train": span(train),
        "test": span(test),
        "estimators": estimators,
        "evaluation": _evaluations(answers, test.classes, shares, params, threshold),
        "versions": versions(),
    }
    spec = ModelSpec(
        symbol=symbol,
        interval=interval,
        feature_set=MAR.name,
        feature_names=MAR.columns,
        mean=fitted.scaler.mean_,
        scale=fitted.scaler.scale_,
        booster=fitted.booster(),
        threshold=threshold,
        target=target(params),
        regime=regime,
        provenance=provenance,
        reference=reference(rows.features, split.train, [split], answers),
    )
    told = notebook_metadata(
        spec, params, created_at=created_at, train_samples=len(train), test_samples=len(test)
    )
    return Trained(spec, fitted.classifier, fitted.scaler, told)


def _evaluations(
    answers: NDArray[np.float32],
    truth: Classes,
    shares: NDArray[np.float64],
    params: LabelParams,
    threshold: float,
) -> dict[str, Any]:
    labelled = slice(0, max(0, len(truth) - params.lookahead_bars))
    return {
        "as_notebook": evaluation(answers, truth, shares, threshold),
        "labelled_only": evaluation(
            answers[labelled], truth[labelled], shares[labelled], threshold
        ),
    }
