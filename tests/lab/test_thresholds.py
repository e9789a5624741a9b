"""Thresholds: exactly the signals that the daemon would publish, counted and paid for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.decision import signals
from candled.lab.thresholds import (
    Threshold,
    by_coverage,
    by_expected_value,
    fixed,
    strict_limit,
)


@st.composite
def _answers(draw):
    """Probabilities with ties, near and equal sides, and outcomes of both signs."""
    m = draw(st.integers(1, 50))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    grid = draw(st.sampled_from([4, 12, 1 << 20]))
    raw = random.integers(0, grid, (m, 3)) + np.array([1e-9, 0, 0])
    probabilities = (raw / raw.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities, random.integers(-30, 30, m) / 8, random.integers(-30, 30, m) / 8


def _candidates(probabilities):
    sides = np.unique(probabilities[:, 1:])
    return np.append(np.maximum(np.nextafter(sides[:1], np.float32(-1)), 0), sides)


@settings(max_examples=150, deadline=None)
@given(_answers(), st.sampled_from([0.0, 0.05, 0.29, 0.3, 1 / 3, 0.5, 0.9, 1.0]))
def test_coverage_is_as_large_as_the_share_allows(answers, share):
    """At most the share is signalled, and no candidate below signals more without exceeding it."""
    probabilities = answers[0]
    m = len(probabilities)
    found = by_coverage(probabilities, share)
    count = np.count_nonzero(signals(probabilities, found.value))
    assert (found.signals, found.rows, found.tried) == (count, m, 1)
    assert count / m <= share
    for lower in _candidates(probabilities):
        more = np.count_nonzero(signals(probabilities, float(lower)))
        assert more <= count or more / m > share


def test_a_share_of_rows_means_that_many_rows():
    """0.29 of 100 different rows is 29, though 0.29 * 100 is a little less in floating point."""
    values = (np.arange(100) / 128).astype(np.float32)
    assert np.sum(values > strict_limit(values, 0.29)) == 29
    assert np.sum(values > strict_limit(values, 0.2899)) == 28
    assert np.sum(values + 1 > strict_limit(values + 1, 1.0)) == 100


@settings(max_examples=300, deadline=None)
@given(
    _answers(),
    st.sampled_from([-1.0, 0.0, 0.5, 2.0]),
    st.integers(1, 8),
    st.sampled_from(["mean", "total"]),
)
def test_expected_value_is_the_best_of_all_thresholds(answers, cost, fewest, goal):
    """A loop over all thresholds, asking the daemon's own rule, finds no better one."""
    probabilities, gross_long, gross_short = answers
    found = by_expected_value(
        probabilities, gross_long, gross_short, cost, fewest=fewest, goal=goal
    )
    tried = {}
    for limit in _candidates(probabilities):
        side = signals(probabilities, float(limit))
        nets = np.where(side == 1, gross_long, gross_short)[side > 0] - cost
        if len(nets) >= fewest:
            tried[float(limit)] = (nets.mean() if goal == "mean" else nets.sum(), nets)
    assert found.tried == len(tried)
    if not tried:
        assert (found.value, found.signals, found.mean_net_pct) == (None, 0, None)
        return
    best = max(worth for worth, _ in tried.values())
    if best <= 1e-12:
        assert (found.value, found.signals) == (None, 0)
        assert found.mean_net_pct <= 1e-12
        return
    worth, nets = tried[found.value]
    assert worth == pytest.approx(best, abs=1e-9)
    assert found.value >= max(limit for limit, one in tried.items() if one[0] > best - 1e-12)
    assert found.signals == len(nets)
    assert found.mean_net_pct == pytest.approx(nets.mean(), abs=1e-9)


def test_where_nothing_pays_no_threshold_is_invented():
    """Costs above every outcome leave no value, and say how little was missing."""
    random = np.random.default_rng(1)
    probabilities = random.dirichlet([1, 1, 1], 300).astype(np.float32)
    gross = random.normal(0.0, 0.1, 300)
    found = by_expected_value(probabilities, gross, gross, 0.3)
    assert found.value is None
    assert found.mean_net_pct < 0
    assert found.tried > 100
    assert by_expected_value(probabilities, gross, gross, 0.3, fewest=301).tried == 0


def test_a_fixed_threshold_is_float32():
    """0.6 is the float32 that the daemon compares with; what is no probability is refused."""
    assert fixed(0.6) == Threshold("fixed", float(np.float32(0.6)), 0, 0, 1, None)
    with pytest.raises(ValueError, match=r"between 0 and 1; it is 1\.5"):
        fixed(1.5)


def test_inputs_that_make_no_sense_are_refused():
    """No rows, lengths that differ, outcomes that are missing, a share above 1."""
    answers, gross = np.full((3, 3), 1 / 3, dtype=np.float32), np.ones(3)
    with pytest.raises(ValueError, match="share must be"):
        by_coverage(answers, 1.1)
    with pytest.raises(ValueError, match="no rows"):
        by_coverage(answers[:0], 0.1)
    with pytest.raises(ValueError, match="no rows"):
        by_expected_value(answers[:0], gross[:0], gross[:0], 0.1)
    with pytest.raises(ValueError, match="one of each"):
        by_expected_value(answers, gross[:2], gross, 0.1)
    with pytest.raises(ValueError, match="row 2 has no finite"):
        by_expected_value(answers, gross, np.array([1, 2, np.nan]), 0.1)
    with pytest.raises(ValueError, match="fewest must"):
        by_expected_value(answers, gross, gross, 0.1, fewest=0)
