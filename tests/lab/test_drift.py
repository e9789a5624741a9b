"""Drift: what moved is found and ranked, what did not is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.lab.drift import Drift, drift, worst

RANDOM = np.random.default_rng(50)
TRAIN = RANDOM.normal(size=(5_000, 3))


def test_the_same_population_is_stable_and_a_moved_one_is_not():
    """New draws stay far below 0.1; half a standard deviation exceeds it; a scale is seen too."""
    rows = RANDOM.normal(size=(3_000, 3)) * [1, 1, 2] + [0, 0.5, 0]
    found = drift(TRAIN, rows)
    assert found.psi[0] < 0.02
    assert 0.15 < found.psi[1] < 0.35  # 0.25 for a shift of half a deviation, uncut
    assert found.psi[2] > 0.25


def test_the_index_is_that_of_the_histograms():
    """Against numpy's histogram with the same cuts, no value lying on one."""
    rows = RANDOM.normal(0.3, 1.2, (2_000, 1))
    cuts = np.quantile(TRAIN[:, 0], np.arange(1, 8) / 8)
    edges = np.concatenate([[-np.inf], cuts, [np.inf]])
    p, q = (np.histogram(one, edges)[0] / len(one) for one in (TRAIN[:, 0], rows[:, 0]))
    expected = np.sum((q - p) * np.log(q / p))
    assert drift(TRAIN[:, :1], rows, bins=8).psi[0] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("before", "after"), [(0.05, 0.3), (0.95, 0.6), (0.0, 0.2), (1.0, 0.8)])
def test_a_flag_that_changes_its_share_is_seen(before, after):
    """Rare, common, never or always set: a new share of ones shows, the same one does not."""
    train = (np.arange(1_000) < 1_000 * before).astype(float)[:, np.newaxis]
    rows = (np.arange(500) < 500 * after).astype(float)[:, np.newaxis]
    assert drift(train, rows).psi[0] > 0.15
    assert drift(train, train[::2]).psi[0] < 0.01


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 4), st.integers(0, 99))
def test_outside_is_counted_by_feature_and_by_row(m, n, k, seed):
    """Strictly below the least or above the largest train value, as a loop counts it."""
    random = np.random.default_rng(seed)
    train, rows = random.integers(0, 6, (m, k)) / 1.0, random.integers(0, 6, (n, k)) / 1.0
    out = [
        [not min(train[:, j]) <= rows[i, j] <= max(train[:, j]) for j in range(k)] for i in range(n)
    ]
    found = drift(train, rows)
    assert found.outside.tolist() == pytest.approx(np.mean(out, axis=0).tolist())
    assert found.novelty.tolist() == pytest.approx(np.mean(out, axis=1).tolist())
    assert (found.psi >= 0).all()


def test_the_worst_come_first():
    """By index, then by share outside, then in the table's order."""
    found = Drift(np.array([0.1, 0.3, 0.1, 0.1]), np.array([0.0, 0.0, 0.5, 0.0]), np.zeros(1))
    assert [one.name for one in worst(found, "abcd", 3)] == ["b", "c", "a"]
    with pytest.raises(ValueError, match="zip"):
        worst(found, "abc")


@pytest.mark.parametrize(
    ("train", "rows", "bins", "says"),
    [
        (TRAIN[:0], TRAIN, 10, "both need rows"),
        (TRAIN, TRAIN[:0], 10, "both need rows"),
        (TRAIN, TRAIN[:, :2], 10, "equal columns"),
        (TRAIN, TRAIN, 1, "bins must be 2"),
        (TRAIN, np.array([[0, 0, 0], [0, np.inf, 0]]), 10, r"rows\[1, 1\] is not finite"),
    ],
)
def test_tables_that_cannot_be_compared_are_refused(train, rows, bins, says):
    """The cell or the shape is named."""
    with pytest.raises(ValueError, match=says):
        drift(train, rows, bins=bins)
