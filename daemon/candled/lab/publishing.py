"""Which threshold a model is published with, by what its kind answered out of sample.

And which one would have been in effect at the time: chosen by the answers of earlier folds alone,
so that what is counted at it has not been chosen by itself. Knows answers and outcomes; no bars.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from candled.lab.calibration import tempered
from candled.lab.dataset import TrainingError
from candled.lab.recipe import ThresholdRule
from candled.lab.thresholds import Threshold, by_coverage, by_expected_value, fixed
from candled.lab.walkforward import Answers, OutOfSample

Floats = NDArray[np.float64]
Gross = tuple[Floats, Floats]
"""[m] each: what a long and a short of every row of the dataset earned before costs (percent)."""

_NEVER = 1.0


def recooled(raw: OutOfSample, base: Answers, temperature: float) -> OutOfSample:
    """Return the answers as the finished model, cooled once for all, would have given them."""
    return OutOfSample(raw.rows, raw.fold, tempered(raw.probabilities, temperature, base))


def published(rule: ThresholdRule, answers: OutOfSample, gross: Gross) -> Threshold:
    """Choose the threshold of the finished model; raises TrainingError where none pays."""
    chosen = _chosen(rule, answers.probabilities, _of(gross, answers.rows))
    if chosen.value is None:
        best = (
            "none had signals enough"
            if chosen.mean_net_pct is None
            else (f"the best made {chosen.mean_net_pct:+.3f} % a signal")
        )
        raise TrainingError(
            f"of {chosen.tried} thresholds none paid {rule.value:g} % costs on the "
            f"{len(answers.rows)} out-of-sample rows ({best}): nothing supports a threshold; "
            "train with lower costs, or by coverage, and do not trade it"
        )
    return chosen


def limits_in_effect(
    rule: ThresholdRule,
    raw: OutOfSample,
    base: Answers,
    temperatures: Sequence[float],
    gross: Gross,
) -> NDArray[np.float32]:
    """Return [q] the threshold that each row's fold would have been published with at the time.

    Chosen by what the folds before it had answered, cooled by the fold's own temperature. Where
    nothing is known yet, or nothing paid, it is 1, which nothing is above.
    """
    limits = np.full(len(raw.rows), _NEVER, dtype=np.float32)
    for number, temperature in enumerate(temperatures):
        before = raw.fold < number
        if rule.kind == "fixed" or before.any():
            answers = tempered(raw.probabilities[before], temperature, base[before])
            chosen = _chosen(rule, answers, _of(gross, raw.rows[before])).value
            limits[raw.fold == number] = _NEVER if chosen is None else chosen
    return limits


def _chosen(rule: ThresholdRule, answers: Answers, gross: Gross) -> Threshold:
    if rule.kind == "fixed":
        return fixed(rule.value)
    if rule.kind == "coverage":
        return by_coverage(answers, rule.value)
    return by_expected_value(answers, *gross, rule.value)


def _of(gross: Gross, rows: NDArray[np.intp]) -> Gross:
    long, short = gross
    return long[rows], short[rows]
