"""From a study's arrays to facts: everything that is reported is worked out here, once.

Draws nothing and words nothing. Intervals are of the block bootstrap, with blocks of at least twice
the label's lookahead, because neighbouring labels share bars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.decision import Evidence, signals
from candled.core.model import CLASSES
from candled.core.regime import NAMES
from candled.lab.bootstrap import LEVEL, Interval, mean_interval, ratio_interval
from candled.lab.controls import Trial
from candled.lab.coverage import COSTS_PCT, COVERAGES
from candled.lab.drift import Drift, drift, worst
from candled.lab.evaluate import brier, class_counts, class_scores, confusion, losses
from candled.lab.facts import (
    Balance,
    Bin,
    Classification,
    DriftFact,
    Facts,
    Findings,
    FoldFact,
    Loss,
    Reliability,
    Rows,
    TrialFact,
)
from candled.lab.recipe import Tried
from candled.lab.reliability import calibration_error, reliability
from candled.lab.selections import (
    SIDES,
    Tested,
    advantage,
    base_rate_of,
    published,
    surer,
    surest,
    tested_rows,
)
from candled.lab.study import Study
from candled.lab.verdict import PSI_SHIFTED, verdict
from candled.lab.weights import effective_size

Answers = NDArray[np.float32]
Classes = NDArray[np.int8]
Chosen = NDArray[np.bool_]
Floats = NDArray[np.float64]

CONFIDENCES: Final = (0.5, 0.55, 0.6, 0.65, 0.7)
_SURE: Final = 0.6
_IMPORTANCES: Final = 25
_WORST: Final = 12
_SHARES: Final = "class shares"


def findings(
    study: Study,
    *,
    costs_pct: Sequence[float] = COSTS_PCT,
    tried: Tried | None = None,
    evidence: Sequence[Evidence] = (),
) -> Findings:
    """Derive all facts and the verdict from a study.

    Args:
        study: with at least one tested row.
        costs_pct: of round trips, ascending.
        tried: what is known of the search that led to this model; None is a single configuration.
        evidence: what the judged bundle carries as the record of its signals.
    """
    tested = tested_rows(study, tuple(costs_pct))
    facts = Facts(
        title=study.title,
        symbol=study.symbol,
        interval=study.material.interval.name,
        rows=_rows(study),
        balances=_balances(study),
        classification=_classification(tested),
        losses=_losses(study, tested),
        skill=tested.advantage_over(study.baselines[_SHARES]),
        reliability=tuple(_reliability(tested, side) for side in SIDES),
        costs_pct=tested.costs_pct,
        threshold=study.threshold,
        published=published(tested, study.limits),
        coverages=tuple(surest(tested, side, share) for side in SIDES for share in COVERAGES),
        confidence=tuple(surer(tested, side, at) for side in SIDES for at in CONFIDENCES),
        folds=tuple(_fold(study, tested, number) for number in range(len(study.folds))),
        drift=_drift(study),
        controls=_controls(study, tested.block),
        tried=tried or Tried(1),
        evidence=tuple(evidence),
        importances=study.importances[:_IMPORTANCES],
        block=tested.block,
        level=LEVEL,
    )
    return Findings(facts, verdict(facts))


def _rows(study: Study) -> Rows:
    bars, tested = study.material.bars, study.dataset[study.tested.rows]
    return Rows(
        bars=len(bars),
        first_open_time=int(bars.open_time[0]),
        last_open_time=int(bars.open_time[-1]),
        usable=len(study.dataset),
        dropped=asdict(study.dataset.dropped),
        tested=len(tested),
        tested_first=int(tested.open_time[0]),
        tested_last=int(tested.open_time[-1]),
        independent=effective_size(tested.begin, tested.end),
        **asdict(study.params),
    )


def _balances(study: Study) -> tuple[Balance, ...]:
    rows = study.dataset
    of_regime = {name: rows.classes[rows.regimes == at] for at, name in enumerate(NAMES)}
    parts = {"All usable rows": rows.classes, "Tested rows": study.truth, **of_regime}
    return tuple(Balance(name, len(some), class_counts(some)) for name, some in parts.items())


def _classification(tested: Tested) -> Classification:
    called = tested.answers.argmax(axis=1).astype(np.int8)
    cells = confusion(called, tested.truth)
    right = called == tested.truth
    commonest = tested.truth == cells.sum(axis=1).argmax()
    return Classification(
        scores=class_scores(called, tested.truth),
        confusion=tuple(tuple(row) for row in cells.tolist()),
        accuracy=float(np.mean(right)),
        majority_accuracy=float(np.mean(commonest)),
        over_majority=mean_interval(right.astype(np.float64) - commonest, block=tested.block),
        rows=len(called),
    )


def _reliability(tested: Tested, side: int) -> Reliability:
    said, hit = tested.answers[:, side], tested.truth == side
    bins = reliability(said, hit)
    return Reliability(
        side=CLASSES[side],
        ece=calibration_error(bins),
        bins=tuple(
            Bin(one.said, one.low, one.high, _within(said, hit, one.low, one.high, tested.block))
            for one in bins
        ),
        rows=len(said),
    )


def _within(
    said: NDArray[np.float32], hit: Chosen, low: float, high: float, block: int
) -> Interval:
    inside = (said >= np.float32(low)) & (said <= np.float32(high))
    return ratio_interval(hit & inside, inside, block=block)


def _losses(study: Study, tested: Tested) -> tuple[Loss, ...]:
    before = {"model before calibration": study.raw.probabilities} if study.temperatures else {}
    others = {**before, **study.baselines}
    return (
        _loss("model", tested.answers, tested, is_rival=False),
        *(
            _loss(name, some, tested, is_rival=name in study.baselines and name != _SHARES)
            for name, some in others.items()
        ),
    )


def _loss(name: str, answers: Answers, tested: Tested, *, is_rival: bool) -> Loss:
    return Loss(
        name=name,
        log_loss=float(np.mean(losses(answers, tested.truth))),
        brier=float(np.mean(brier(answers, tested.truth))),
        rows=len(tested.truth),
        is_rival=is_rival,
        advantage=None if answers is tested.answers else tested.advantage_over(answers),
    )


def _fold(study: Study, tested: Tested, number: int) -> FoldFact:
    inside = study.tested.fold == number
    truth, answers = tested.truth[inside], tested.answers[inside]
    shares = study.baselines[_SHARES][inside]
    times = study.dataset.open_time[study.tested.rows[inside]]
    return FoldFact(
        number=number + 1,
        train_rows=len(study.folds[number].train),
        rows=len(truth),
        first_open_time=int(times[0]),
        last_open_time=int(times[-1]),
        log_loss=float(np.mean(losses(answers, truth))),
        share_log_loss=float(np.mean(losses(shares, truth))),
        skill=advantage(answers, shares, truth, tested.block),
        temperature=study.temperatures[number] if study.temperatures else None,
    )


def _drift(study: Study) -> DriftFact:
    """Compare each fold's tested rows with the rows that it was trained on."""
    table = study.dataset.features
    each = [drift(table[fold.train], table[fold.test]) for fold in study.folds]
    rows = [len(fold.test) for fold in study.folds]
    mean = Drift(
        psi=np.average([one.psi for one in each], axis=0, weights=rows),
        outside=np.average([one.outside for one in each], axis=0, weights=rows),
        novelty=np.concatenate([one.novelty for one in each]),
    )
    return DriftFact(
        worst=worst(mean, study.feature_names, _WORST),
        features=len(mean.psi),
        shifted=int(np.count_nonzero(mean.psi > PSI_SHIFTED)),
        outside_share=float(np.mean(mean.novelty)),
        rows=len(mean.novelty),
    )


def _controls(study: Study, block: int) -> tuple[TrialFact, ...]:
    if study.controls is None:
        return ()
    return (
        _trial("shuffled labels", study.controls.shuffled, block),
        _trial("planted signal", study.controls.planted, block),
        _trial("split by time", study.controls.by_time, block),
        _trial("split at random", study.controls.at_random, block),
    )


def _trial(name: str, trial: Trial, block: int) -> TrialFact:
    signalled = signals(trial.answers, _SURE)
    count = int(np.count_nonzero(signalled))
    hits = int(np.count_nonzero((signalled != 0) & (signalled == trial.classes)))
    return TrialFact(
        name=name,
        rows=len(trial.classes),
        log_loss=float(np.mean(losses(trial.answers, trial.classes))),
        share_log_loss=float(np.mean(losses(trial.shares, trial.classes))),
        skill=advantage(trial.answers, trial.shares, trial.classes, block),
        sure=count,
        sure_precision=hits / count if count else None,
        sure_base_rate=base_rate_of(signalled, trial.classes),
    )
