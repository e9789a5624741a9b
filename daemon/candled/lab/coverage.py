"""What the surest answers of a side are worth: right how often, and earning what.

Answers in time order beside what happened; knows no models and no bars. Every selection is one
that a threshold makes (strictly above a float32), so each point can be traded: rows with equal
probabilities are selected together or not at all, and a point may hold fewer rows than asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.lab.bootstrap import BLOCK, Interval, ratio_interval
from candled.lab.thresholds import strict_limit

COVERAGES: Final = (0.01, 0.02, 0.05, 0.10, 0.20, 0.50)
COSTS_PCT: Final = (0.0, 0.10, 0.30)


@dataclass(frozen=True, slots=True)
class Precision:
    """How often the surest answers were right."""

    asked: float
    """The share of rows asked for."""
    coverage: float
    """The share of rows selected: the largest that is not above `asked`."""
    threshold: float
    """The float32 that selected probabilities are strictly above."""
    precision: Interval
    """Share of the selected rows that were right; its estimate is None where none was selected."""
    base_rate: float
    """Share of all rows that were right."""


@dataclass(frozen=True, slots=True)
class Expectancy:
    """What the surest answers earned."""

    asked: float
    """The share of rows asked for."""
    coverage: float
    """The share of rows selected."""
    threshold: float
    """The float32 that selected probabilities are strictly above."""
    gross: Interval
    """Mean outcome of a selected row before costs (percent)."""
    net: dict[float, Interval]
    """The same after a round trip, by its cost (percent)."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision at every coverage, for a chart."""

    coverage: NDArray[np.float64]
    """[p] rising shares of rows."""
    precision: NDArray[np.float64]
    """[p] of the rows selected."""
    threshold: NDArray[np.float32]
    """[p] the lowest selected probability."""


def precision_at_coverage(
    probability: NDArray[np.float32],
    hit: NDArray[np.bool_],
    coverages: Sequence[float] = COVERAGES,
    *,
    block: int = BLOCK,
    seed: int = 0,
) -> tuple[Precision, ...]:
    """Return one point for each coverage.

    Args:
        probability: [m] of one side, in time order.
        hit: [m] whether that side was right.
        coverages: shares of rows, 0 to 1.
        block: rows redrawn together; see `candled.lab.bootstrap`.
        seed: of the draws.

    Raises:
        ValueError: no rows, or lengths that differ.
    """
    _refuse_unequal(probability, hit)
    points = []
    for asked in coverages:
        limit, chosen = _surest(probability, asked)
        interval = ratio_interval(hit & chosen, chosen, block=block, seed=seed)
        points.append(Precision(asked, float(chosen.mean()), limit, interval, float(np.mean(hit))))
    return tuple(points)


def expectancy_at_coverage(
    probability: NDArray[np.float32],
    gross: NDArray[np.float64],
    coverages: Sequence[float] = COVERAGES,
    *,
    costs_pct: Sequence[float] = COSTS_PCT,
    block: int = BLOCK,
    seed: int = 0,
) -> tuple[Expectancy, ...]:
    """Return one point for each coverage.

    Args:
        probability: [m] of one side, in time order.
        gross: [m] what entering that side after the row earns before costs (percent).
        coverages: shares of rows, 0 to 1.
        costs_pct: of round trips (percent).
        block: rows redrawn together; see `candled.lab.bootstrap`.
        seed: of the draws.

    Raises:
        ValueError: no rows, lengths that differ, or an outcome that is not finite.
    """
    _refuse_unequal(probability, gross)
    points = []
    for asked in coverages:
        limit, chosen = _surest(probability, asked)
        interval = ratio_interval(gross * chosen, chosen, block=block, seed=seed)
        net = {cost: interval.shifted(-cost) for cost in costs_pct}
        points.append(Expectancy(asked, float(chosen.mean()), limit, interval, net))
    return tuple(points)


def coverage_curve(
    probability: NDArray[np.float32], hit: NDArray[np.bool_], points: int = 500
) -> Curve:
    """Return precision at every coverage that a threshold can have, thinned to about `points`.

    Raises ValueError for no rows, or lengths that differ.
    """
    _refuse_unequal(probability, hit)
    order = np.argsort(-probability, kind="stable")
    said = probability[order]
    last = np.flatnonzero(np.append(said[1:] != said[:-1], True))  # of equal ones
    kept = last[np.unique(np.linspace(0, len(last) - 1, points).astype(np.intp))]
    right = np.cumsum(hit[order])[kept]
    return Curve((kept + 1) / len(said), right / (kept + 1), said[kept])


def _surest(probability: NDArray[np.float32], share: float) -> tuple[float, NDArray[np.bool_]]:
    limit = strict_limit(probability, share)
    return limit, np.asarray(probability > np.float32(limit))


def _refuse_unequal(
    probability: NDArray[np.float32], other: NDArray[np.bool_] | NDArray[np.float64]
) -> None:
    if len(probability) != len(other) or not len(other):
        raise ValueError(
            f"{len(probability)} probabilities and {len(other)} outcomes: give one outcome for "
            "each probability, and at least one"
        )
