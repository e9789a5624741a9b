"""The tested rows beside what trading them brought, and the ways to pick some of them.

A row is picked for a side by a probability strictly above a threshold, as the daemon publishes. How
often that was right never goes without the base rate: what picking as many at random would reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.decision import signals
from candled.core.labels import LONG, SHORT, window_labels
from candled.core.model import CLASSES
from candled.lab.bootstrap import BLOCK, Interval, mean_interval, ratio_interval
from candled.lab.evaluate import losses
from candled.lab.facts import Selection
from candled.lab.study import Study
from candled.lab.thresholds import strict_limit

Answers = NDArray[np.float32]
Classes = NDArray[np.int8]
Chosen = NDArray[np.bool_]
Floats = NDArray[np.float64]

SIDES: Final = (LONG, SHORT)


@dataclass(frozen=True, slots=True)
class Tested:
    """The q tested rows with what most facts need of them."""

    truth: Classes
    answers: Answers
    gross: dict[int, Floats]
    """[q] by side: result of a trade, percent; NaN where a price is absent."""
    best: dict[int, Floats]
    """[q] by side: best price within the lookahead against the close, percent."""
    costs_pct: tuple[float, ...]
    block: int

    def advantage_over(self, other: Answers) -> Interval:
        """Return by how many nats a row the model's log-loss is smaller."""
        return advantage(self.answers, other, self.truth, self.block)


def tested_rows(study: Study, costs_pct: tuple[float, ...]) -> Tested:
    """Bring together what the facts about tested rows are made from."""
    at = study.tested_bars
    future = window_labels(study.material.bars, study.params)
    return Tested(
        truth=study.truth,
        answers=study.tested.probabilities,
        gross={
            LONG: study.outcomes.long.gross_pct[at],
            SHORT: study.outcomes.short.gross_pct[at],
        },
        best={LONG: future.future_return_up[at], SHORT: future.future_return_down[at]},
        costs_pct=costs_pct,
        block=max(BLOCK, 2 * study.params.lookahead_bars),
    )


def published(tested: Tested, limits: NDArray[np.float32]) -> tuple[Selection, ...]:
    """Return longs, shorts and both as signalled at each row's own threshold; short wins."""
    signalled = signals(tested.answers, limits.tolist())
    is_long = signalled == LONG
    both = _selection(
        tested,
        "both",
        chosen=signalled != 0,
        hit=tested.truth == signalled,
        base_rate=base_rate_of(signalled, tested.truth),
        gross=np.where(is_long, tested.gross[LONG], tested.gross[SHORT]),
        best=np.where(is_long, tested.best[LONG], tested.best[SHORT]),
    )
    return (*(_of_side(tested, side, signalled == side) for side in SIDES), both)


def surest(tested: Tested, side: int, share: float) -> Selection:
    """Return the rows of which a side is surest, at most this share of all."""
    threshold = strict_limit(tested.answers[:, side], share)
    return _of_side(tested, side, _above(tested, side, threshold), threshold, share)


def surer(tested: Tested, side: int, threshold: float) -> Selection:
    """Return the rows of which a side is surer than a threshold."""
    return _of_side(tested, side, _above(tested, side, threshold), threshold)


def _above(tested: Tested, side: int, threshold: float) -> Chosen:
    return np.asarray(tested.answers[:, side] > np.float32(threshold))


def _of_side(
    tested: Tested,
    side: int,
    chosen: Chosen,
    threshold: float | None = None,
    asked: float | None = None,
) -> Selection:
    hit = tested.truth == side
    return _selection(
        tested,
        CLASSES[side],
        threshold,
        asked,
        chosen=chosen,
        hit=hit,
        base_rate=float(np.mean(hit)),
        gross=tested.gross[side],
        best=tested.best[side],
    )


def _selection(
    tested: Tested,
    side: str,
    threshold: float | None = None,
    asked: float | None = None,
    *,
    chosen: Chosen,
    hit: Chosen,
    base_rate: float,
    gross: Floats,
    best: Floats,
) -> Selection:
    precision = ratio_interval(hit & chosen, chosen, block=tested.block)
    result = _mean_of(gross, chosen, tested.block)
    right = precision.estimate
    return Selection(
        side=side,
        threshold=threshold,
        asked=asked,
        coverage=float(np.mean(chosen)),
        precision=precision,
        base_rate=base_rate,
        lift=right / base_rate if base_rate and right is not None else None,
        best_excursion_pct=_mean_of(best, chosen, tested.block).estimate,
        gross=result,
        net=tuple(result.shifted(-cost) for cost in tested.costs_pct),
    )


def _mean_of(values: Floats, chosen: Chosen, block: int) -> Interval:
    """Return the mean of the chosen rows' values, leaving out those that are not known."""
    counted = chosen & np.isfinite(values)
    return ratio_interval(np.where(counted, values, 0.0), counted, block=block)


def base_rate_of(signalled: Classes, truth: Classes) -> float:
    """Return what naming as many longs and shorts at random would get right."""
    frequent = np.array([np.mean(truth == side) for side in SIDES])
    named = np.array([np.count_nonzero(signalled == side) for side in SIDES])
    return float(np.average(frequent, weights=named if named.any() else None))


def advantage(answers: Answers, other: Answers, truth: Classes, block: int) -> Interval:
    """Return by how many nats a row the answers' log-loss is smaller than that of others."""
    return mean_interval(losses(other, truth) - losses(answers, truth), block=block)
