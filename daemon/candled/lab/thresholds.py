"""Above which probability a side is worth a signal: given, by share of rows, or by what it earned.

A threshold is always a float32 value, compared strictly, as `candled.core.decision.signals` does:
what is counted here is what the daemon would publish. Choose it on rows that the model was not
trained on and judge it on others: the best of many thresholds looks better than it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from candled.core.decision import signals

Floats = NDArray[np.float64]
Probabilities = NDArray[np.float32]
Rule = Literal["fixed", "by_coverage", "by_expected_value"]

FEWEST_SIGNALS: Final = 100


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold, or that there is none, and what it was chosen from."""

    rule: Rule
    """How it was chosen."""
    value: float | None
    """A float32, widened exactly; None where no threshold paid: such a model should not signal."""
    signals: int
    """How many of the rows it signals."""
    rows: int
    """How many rows it was chosen on; 0 for a fixed one."""
    tried: int
    """How many thresholds were compared."""
    mean_net_pct: float | None
    """Mean outcome of its signals after costs (percent), where that was asked for; the best that
    was found where none paid, and None where none had enough signals."""


def fixed(value: float) -> Threshold:
    """Return the given threshold, rounded to float32; raises ValueError outside 0 to 1."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"a threshold is a probability between 0 and 1; it is {value}")
    return Threshold("fixed", float(np.float32(value)), 0, 0, 1, None)


def by_coverage(probabilities: Probabilities, share: float) -> Threshold:
    """Return the threshold that signals as many rows as it can, but at most `share` of them.

    Rows with equal probabilities are signalled together or not at all, so it may be fewer.

    Args:
        probabilities: [m, 3] no trade, long, short.
        share: 0 to 1.

    Raises:
        ValueError: a share out of range, or no rows.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must be between 0 and 1; it is {share}")
    larger = _larger_side(probabilities)
    value = strict_limit(larger, share)
    return Threshold("by_coverage", value, int(np.sum(larger > value)), len(larger), 1, None)


def by_expected_value(
    probabilities: Probabilities,
    gross_long: Floats,
    gross_short: Floats,
    cost_pct: float,
    *,
    fewest: int = FEWEST_SIGNALS,
    goal: Literal["mean", "total"] = "mean",
) -> Threshold:
    """Return the threshold whose signals earned most after costs, if any earned something.

    Every threshold that tells rows apart is tried. Of equally good ones the highest is taken.

    Args:
        probabilities: [m, 3] no trade, long, short.
        gross_long: [m] what a long entered after the row earns before costs (percent).
        gross_short: [m] the same of a short.
        cost_pct: of a round trip (percent).
        fewest: a threshold must signal this many rows.
        goal: `mean` outcome of a signal, or `total` of all.

    Raises:
        ValueError: no rows, lengths that differ, an outcome that is not finite, or `fewest` < 1.
    """
    _refuse_bad_outcomes(probabilities, gross_long, gross_short)
    if fewest < 1:
        raise ValueError(f"fewest must be 1 signal or more; it is {fewest}")
    limits, counts, totals = _by_limit(probabilities, gross_long, gross_short)
    nets = totals - cost_pct * counts
    worth = np.where(counts >= fewest, nets / np.maximum(counts, 1), -np.inf)
    tried = int(np.sum(counts >= fewest))
    if not tried:
        return Threshold("by_expected_value", None, 0, len(probabilities), 0, None)
    best = int(np.argmax(worth if goal == "mean" else np.where(counts >= fewest, nets, -np.inf)))
    value, mean = float(limits[best]), float(worth[best])
    if mean <= 0:
        return Threshold("by_expected_value", None, 0, len(probabilities), tried, mean)
    count = int(np.count_nonzero(signals(probabilities, value)))
    return Threshold("by_expected_value", value, count, len(probabilities), tried, mean)


def strict_limit(values: NDArray[np.float32], share: float) -> float:
    """Return the least float32 that at most `share` of values [m] are strictly above.

    It is one of the values, or just below all of them, but never below 0. Equal values stay
    together. Raises ValueError without values.
    """
    if not len(values):
        raise ValueError("there are no rows to choose a threshold on")
    most = int(share * len(values))
    most += (most + 1) / len(values) <= share  # 0.29 * 100 is 28.999999999999996
    if most >= len(values):
        below_all = np.nextafter(values.min(), np.float32(-1.0))
        return max(0.0, float(below_all))
    descending = np.sort(values)[::-1]
    return float(descending[most])


def _by_limit(
    probabilities: Probabilities, gross_long: Floats, gross_short: Floats
) -> tuple[NDArray[np.float32], NDArray[np.int64], Floats]:
    """Return candidate limits, descending, and for each how many signals it gives and their sum.

    Lowering the limit past a row's larger side adds that side's outcome. Lowering it past the
    short side as well turns a long into a short, for short wins where both are above.
    """
    long, short = probabilities[:, 1], probabilities[:, 2]
    as_long = np.where(long > short, gross_long, 0.0)
    at = np.concatenate([long, short])
    outcome = np.concatenate([as_long, gross_short - as_long])
    signal = np.concatenate([long > short, long <= short]).astype(np.int64)
    order = np.argsort(-at, kind="stable")
    at, outcome, signal = at[order], outcome[order], signal[order]
    last = np.flatnonzero(np.append(at[1:] != at[:-1], True))
    below_all = np.maximum(np.nextafter(at[-1:], np.float32(-1.0)), np.float32(0.0))
    limits = np.append(at[last[1:]], below_all)
    counts, totals = np.cumsum(signal)[last], np.cumsum(outcome)[last]
    usable = limits < at[last]
    return limits[usable], counts[usable], totals[usable]


def _larger_side(probabilities: Probabilities) -> NDArray[np.float32]:
    return np.maximum(probabilities[:, 1], probabilities[:, 2])


def _refuse_bad_outcomes(
    probabilities: Probabilities, gross_long: Floats, gross_short: Floats
) -> None:
    m = len(probabilities)
    if not m:
        raise ValueError("there are no rows to choose a threshold on")
    if len(gross_long) != m or len(gross_short) != m:
        raise ValueError(
            f"{m} answers, {len(gross_long)} long and {len(gross_short)} short outcomes: give one "
            "of each a row"
        )
    bad = np.flatnonzero(~(np.isfinite(gross_long) & np.isfinite(gross_short)))
    if len(bad):
        raise ValueError(f"row {bad[0]} has no finite outcome; leave such rows out")
