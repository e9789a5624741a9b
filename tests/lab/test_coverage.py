"""Coverage: the surest answers, exactly those that a threshold selects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.lab.coverage import coverage_curve, expectancy_at_coverage, precision_at_coverage

RANDOM = np.random.default_rng(14)
SAID = RANDOM.random(5_000).astype(np.float32)
HIT = RANDOM.random(5_000) < SAID


def test_the_surest_answers_are_right_as_often_as_counted():
    """The top tenth by sorting has the precision told; surer is better here, and above the base."""
    points = precision_at_coverage(SAID, HIT, (0.1, 0.5, 1.0))
    top = np.argsort(-SAID)[:500]
    assert points[0].precision.estimate == HIT[top].mean()
    assert points[0].precision.n == 500
    assert points[0].coverage == 0.1
    assert points[0].threshold < SAID[top].min()
    assert points[0].precision.low > points[1].precision.high > points[2].precision.high
    assert points[2].precision.estimate == pytest.approx(points[2].base_rate)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.floats(0, 1))
def test_equal_answers_are_selected_together_or_not_at_all(numbers, asked):
    """Ties never take more than asked, and leave out only what would be too much."""
    said = (np.array(numbers) / 8).astype(np.float32)
    (point,) = precision_at_coverage(said, said > 0.5, (asked,))
    chosen = said > np.float32(point.threshold)
    assert point.coverage == chosen.mean() <= asked
    left = said[~chosen]
    if left.size and left.max() > 0:
        assert (chosen.sum() + np.sum(left == left.max())) / len(said) > asked


def test_nothing_selected_has_no_precision():
    """All answers equal cannot be cut at 1 %: no rows, no figure, no error."""
    (point,) = precision_at_coverage(np.full(50, 0.3, np.float32), np.ones(50, bool), (0.01,))
    assert (point.coverage, point.precision.estimate, point.precision.n) == (0.0, None, 0)


def test_expectancy_is_the_mean_outcome_less_its_costs():
    """Gross is the selected rows' mean; each cost moves figure and interval alike."""
    gross = np.where(HIT, 1.0, -1.0) + RANDOM.normal(0, 0.1, 5_000)
    (point,) = expectancy_at_coverage(SAID, gross, (0.05,), costs_pct=(0.0, 0.3))
    assert point.gross.estimate == pytest.approx(gross[np.argsort(-SAID)[:250]].mean())
    assert point.net[0.0] == point.gross
    assert point.net[0.3].estimate == pytest.approx(point.gross.estimate - 0.3)
    assert point.net[0.3].low == pytest.approx(point.gross.low - 0.3)


def test_the_curve_passes_through_the_points():
    """Every point of the curve is what a cut at its threshold gives; it ends at all rows."""
    rounded = np.round(SAID, 2)
    curve = coverage_curve(rounded, HIT)
    for share, precision, limit in zip(
        curve.coverage, curve.precision, curve.threshold, strict=True
    ):
        chosen = rounded >= limit
        assert (share, precision) == (chosen.mean(), pytest.approx(HIT[chosen].mean()))
    assert curve.coverage[-1] == 1.0
    assert (np.diff(curve.coverage) > 0).all()
    assert len(coverage_curve(SAID, HIT, points=50).coverage) == 50


def test_no_rows_and_unequal_rows_are_refused():
    """There is nothing to select from, or no telling what belongs together."""
    with pytest.raises(ValueError, match="at least one"):
        precision_at_coverage(SAID[:0], HIT[:0])
    with pytest.raises(ValueError, match="one outcome for each"):
        coverage_curve(SAID, HIT[1:])
    with pytest.raises(ValueError, match="row 3 is not finite"):
        expectancy_at_coverage(SAID, np.where(np.arange(5_000) == 3, np.nan, 0.0), (0.1,))
