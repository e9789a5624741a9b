"""Reliability: honest answers lie on the diagonal, boasts do not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from candled.lab.reliability import calibration_error, calibration_errors, reliability

RANDOM = np.random.default_rng(12)
SAID = RANDOM.beta(2, 3, 20_000).astype(np.float32)
HAPPENED = RANDOM.random(20_000) < SAID


@pytest.mark.parametrize(("by", "strategy"), [("count", "quantile"), ("width", "uniform")])
def test_the_curve_is_scikit_learns(by, strategy):
    """Bins of equal size and of equal width have its shares and means."""
    found = reliability(SAID, HAPPENED, bins=8, by=by)
    happened, said = calibration_curve(HAPPENED, SAID, n_bins=8, strategy=strategy)
    np.testing.assert_allclose([one.happened for one in found], happened, atol=1e-3)
    np.testing.assert_allclose([one.said for one in found], said, atol=1e-3)
    assert sum(one.n for one in found) == len(SAID)


def test_honest_answers_have_a_small_error_and_boasts_their_boast():
    """Chances said as they are err by noise; said 0.1 too high, by 0.1."""
    assert calibration_error(reliability(SAID, HAPPENED)) < 0.01
    boasts = np.clip(SAID + np.float32(0.1), 0, 1)
    assert calibration_error(reliability(boasts, HAPPENED)) == pytest.approx(0.1, abs=0.01)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=60),
    st.integers(1, 15),
    st.sampled_from(["count", "width"]),
)
def test_bins_do_not_overlap_and_keep_equal_answers_together(numbers, bins, by):
    """Any ties: at most `bins` bins, all rows in one, each above the one before."""
    said = (np.array(numbers) / 12).astype(np.float32)
    found = reliability(said, said > 0.5, bins=bins, by=by)
    assert len(found) <= bins
    assert sum(one.n for one in found) == len(said)
    assert all(a.high < b.low for a, b in itertools.pairwise(found))
    for one in found:
        assert one.low - 1e-9 <= one.said <= one.high + 1e-9
        assert one.happened == np.mean(said[(said >= one.low) & (said <= one.high)] > 0.5)


def test_each_class_and_the_top_one_have_an_error():
    """A sure and right model errs nowhere; one that is sure of the wrong class errs by 1 there."""
    answers = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    truth = np.array([0, 1, 2, 0], dtype=np.int8)
    assert set(calibration_errors(answers, truth).values()) == {0.0}
    wrong = calibration_errors(answers[:2], np.array([1, 0], dtype=np.int8))
    assert wrong == {"no_trade": 1.0, "long": 1.0, "short": 0.0, "top": 1.0}


def test_nothing_has_no_error():
    """Without rows there are no bins and the error is None; unequal lengths are refused."""
    assert reliability(SAID[:0], HAPPENED[:0]) == ()
    assert calibration_error(()) is None
    with pytest.raises(ValueError, match="one event a probability"):
        reliability(SAID, HAPPENED[:-1])
