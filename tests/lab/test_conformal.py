"""Conformal sets: they hold the truth as often as promised, and a signal stands alone or not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.decision import signals
from candled.lab.conformal import abstains, ambiguous, conformal_limits, conformal_sets


def _sampled(random, m):
    answers = random.dirichlet([3, 1, 1], m)
    y = (random.random(m)[:, None] > np.cumsum(answers, axis=1)).sum(axis=1)
    return (answers**0.5 / (answers**0.5).sum(axis=1, keepdims=True)).astype(np.float32), y


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_each_class_is_held_as_often_as_promised(alpha):
    """Over many small calibrations, each class's sets hold it in 1 - alpha, and hardly more.

    The expected share is at least 1 - alpha and at most 1 / (n + 1) more, whatever the model.
    """
    random = np.random.default_rng(40)
    held = np.zeros((3, 2))
    for _ in range(400):
        limits = conformal_limits(*_sampled(random, 300), alpha)
        answers, y = _sampled(random, 300)
        inside = conformal_sets(answers, limits)[np.arange(300), y]
        held += [[np.sum(inside[y == i]), np.sum(y == i)] for i in range(3)]
    shares = held[:, 0] / held[:, 1]
    assert (shares >= 1 - alpha - 0.006).all()
    assert (shares <= 1 - alpha + 0.03).all()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 8)), min_size=1, max_size=60),
    st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.9]),
)
def test_a_limit_leaves_out_as_few_as_it_must(rows, alpha):
    """A class's own calibration rows below its limit are at most alpha * (n + 1), ties included."""
    y = np.array([label for label, _ in rows])
    answers = np.zeros((len(y), 3), dtype=np.float32)
    answers[np.arange(len(y)), y] = [level / 8 for _, level in rows]
    limits = conformal_limits(answers, y, alpha)
    for i in range(3):
        own = answers[y == i, i]
        out = np.sum(own < limits[i])
        assert out <= alpha * (len(own) + 1)
        if alpha * (len(own) + 1) < 1:
            assert limits[i] == 0
        else:  # a limit one value higher would leave out too many
            assert limits[i] in own
            assert np.sum(own <= limits[i]) > np.floor(alpha * (len(own) + 1)) - 1


def test_the_limit_is_the_value_counted_by_hand():
    """Of 9 rows at alpha 0.2, 2 of 10 places may be out: the limit is the second smallest."""
    own = np.arange(1, 10, dtype=np.float32) / 10
    answers = np.column_stack([own, 1 - own, np.zeros(9, dtype=np.float32)])
    limits = conformal_limits(answers, np.zeros(9, dtype=np.int8), 0.2)
    assert limits.dtype == np.float32
    assert limits.tolist() == [float(own[1]), 0.0, 0.0]
    assert conformal_sets(answers, limits)[:, 0].tolist() == [False] + [True] * 8


def test_a_signal_abstains_unless_its_side_stands_alone():
    """Alone it stands; with another class, with none, or with the wrong one alone it does not."""
    limits = np.array([0.5, 0.4, 0.4], dtype=np.float32)
    answers = np.array(
        [
            [0.3, 0.5, 0.2],  # long alone
            [0.1, 0.45, 0.45],  # both sides
            [0.3, 0.35, 0.35],  # none
            [0.6, 0.35, 0.05],  # no trade alone
            [0.2, 0.4, 0.4],  # at the limit is in
        ],
        dtype=np.float32,
    )
    assert ambiguous(answers, limits).tolist() == [False, True, True, False, True]
    called = signals(answers, 0.34)
    assert called.tolist() == [1, 2, 2, 1, 2]
    assert abstains(called, answers, limits).tolist() == [False, True, True, True, True]
    flat = np.zeros(5, dtype=np.int8)
    assert not abstains(flat, answers, limits).any()


def test_a_class_never_seen_is_never_excluded():
    """Without rows to learn its limit from, a class stays possible and all rows are ambiguous."""
    random = np.random.default_rng(2)
    answers, y = _sampled(random, 500)
    kept = y != 2
    limits = conformal_limits(answers[kept], y[kept], 0.1)
    assert limits[2] == 0
    assert conformal_sets(answers, limits)[:, 2].all()


def test_inputs_that_make_no_sense_are_refused():
    """A share that is none, unequal rows, a missing probability."""
    answers, y = _sampled(np.random.default_rng(1), 5)
    for alpha in (0.0, 1.0):
        with pytest.raises(ValueError, match="alpha must be"):
            conformal_limits(answers, y, alpha)
    with pytest.raises(ValueError, match="one a row"):
        conformal_limits(answers, y[1:], 0.1)
    answers[3, 1] = np.nan
    with pytest.raises(ValueError, match="row 3 holds"):
        conformal_limits(answers, y, 0.1)
