"""Weights: a label counts as much as it is the only one to look at its bars."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_sample_weight

from candled.lab.weights import class_balance, effective_size, uniqueness


def _loop(begin, end):
    """Average uniqueness as the book defines it, bar by bar."""
    concurrent: dict[int, int] = {}
    for first, last in zip(begin, end, strict=True):
        for bar in range(first, last + 1):
            concurrent[bar] = concurrent.get(bar, 0) + 1
    spans = [range(first, last + 1) for first, last in zip(begin, end, strict=True)]
    return [sum(1 / concurrent[bar] for bar in span) / len(span) for span in spans]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(-40, 90), st.integers(0, 15)), min_size=1, max_size=60))
def test_uniqueness_is_the_books(labels):
    """For any labels, in any order, with gaps and doubles, the bar-by-bar loop agrees."""
    begin, span = np.array(labels).T
    found = uniqueness(begin, begin + span)
    np.testing.assert_allclose(found, _loop(begin.tolist(), (begin + span).tolist()), rtol=1e-12)
    assert found.max() <= 1 + 1e-12
    assert effective_size(begin, begin + span) == pytest.approx(found.sum())


def test_small_cases_are_what_anyone_would_say():
    """Alone 1; twins a half; a shared bar of two is three quarters; nothing is nothing."""
    assert uniqueness(np.array([0, 10]), np.array([9, 12])).tolist() == [1.0, 1.0]
    assert uniqueness(np.array([3, 3]), np.array([5, 5])).tolist() == [0.5, 0.5]
    assert uniqueness(np.array([0, 1]), np.array([1, 2])).tolist() == [0.75, 0.75]
    none = np.empty(0, dtype=np.int64)
    assert len(uniqueness(none, none)) == 0
    assert effective_size(none, none) == 0.0


def test_many_equal_windows_are_worth_a_row_each_lookahead():
    """50,000 labels of 25 bars are worth about 50,000 / 25, and rounding does not pile up."""
    begin = np.arange(50_000)
    assert effective_size(begin, begin + 24) == pytest.approx(50_000 / 25, rel=0.01)
    assert uniqueness(begin, begin + 24)[25_000] == pytest.approx(1 / 25, rel=1e-9)


def test_bar_numbers_may_be_milliseconds():
    """Times on a grid give what bar numbers give, without an array as long as time itself."""
    begin, hour = np.arange(50), 3_600_000
    found = uniqueness(begin * hour, (begin + 5) * hour - 1)
    np.testing.assert_allclose(found, uniqueness(begin, begin + 4), rtol=1e-12)


def test_class_weights_are_scikit_learns():
    """As its 'balanced': every class sums to the same, and the mean is 1."""
    y = np.random.default_rng(5).choice(3, 500, p=[0.7, 0.2, 0.1]).astype(np.int8)
    np.testing.assert_allclose(class_balance(y), compute_sample_weight("balanced", y))


@pytest.mark.parametrize("y", [[0, 1, 1], [0, 1, 2, 3], []])
def test_a_class_that_is_absent_or_unknown_is_refused(y):
    """No weight makes up for rows that are not there."""
    with pytest.raises(ValueError, match="must each occur"):
        class_balance(np.array(y, dtype=np.int8))


def test_labels_that_make_no_sense_are_refused():
    """The first bad row is named."""
    with pytest.raises(ValueError, match="row 1 has a label that ends"):
        uniqueness(np.array([0, 5]), np.array([0, 4]))
    with pytest.raises(ValueError, match="one of each"):
        uniqueness(np.array([0, 5]), np.array([0]))
