"""Scores: scikit-learn's, and those of what knows nothing beside them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from candled.core.model import CLASSES
from candled.lab.evaluate import (
    ClassScore,
    brier,
    class_scores,
    confusion,
    losses,
    share_answers,
    skill,
)

RANDOM = np.random.default_rng(30)
ANSWERS = RANDOM.dirichlet([3, 2, 1], 3_000)
TRUTH = (RANDOM.random(3_000)[:, None] > np.cumsum(ANSWERS, axis=1)).sum(axis=1).astype(np.int8)


def test_losses_are_scikit_learns():
    """Their mean is its log-loss; a truth that was given 0 costs much, not infinitely much."""
    assert losses(ANSWERS, TRUTH).mean() == pytest.approx(log_loss(TRUTH, ANSWERS))
    sure = np.array([[1, 0, 0]], dtype=np.float32)
    assert 100 < losses(sure, np.array([1], dtype=np.int8))[0] < 1_000


def test_the_brier_score_is_the_squared_distance_to_what_happened():
    """Summed over classes: 0 for sure and right, 2 for sure and wrong, 2/3 for knowing nothing."""
    answers = np.array([[1, 0, 0], [1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    found = brier(answers, np.array([0, 2, 1], dtype=np.int8))
    np.testing.assert_allclose(found, [0.0, 2.0, 2 / 3])


def test_skill_is_measured_against_the_shares_of_the_train_rows():
    """Knowing the truth's chances has skill, its interval above 0; the shares themselves have none.

    The test rows' own shares are not known beforehand: train rows decide.
    """
    train = np.array([0] * 50 + [1] * 30 + [2] * 20, dtype=np.int8)
    found = skill(ANSWERS, TRUTH, train)
    base = log_loss(TRUTH, np.tile([0.5, 0.3, 0.2], (len(TRUTH), 1)))
    assert found.estimate == pytest.approx(base - log_loss(TRUTH, ANSWERS))
    assert 0 < found.low < found.estimate < found.high
    assert skill(share_answers(train, len(TRUTH)), TRUTH, train).estimate == 0
    shuffled = skill(RANDOM.permutation(ANSWERS), TRUTH, train)
    assert shuffled.high < 0
    with pytest.raises(ValueError, match="no training rows"):
        skill(ANSWERS, TRUTH, train[:0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_class_scores_are_scikit_learns(pairs):
    """For any calls, absent classes included; what has no value is None and not 0."""
    called, truth = np.array(pairs, dtype=np.int8).T
    assert (confusion(called, truth) == confusion_matrix(truth, called, labels=[0, 1, 2])).all()
    theirs = precision_recall_fscore_support(truth, called, labels=[0, 1, 2], zero_division=np.nan)
    for i, (name, ours) in enumerate(class_scores(called, truth).items()):
        assert name == CLASSES[i]
        assert ours.rows == theirs[3][i]
        for value, expected in zip((ours.precision, ours.recall), theirs[:2], strict=True):
            assert value == pytest.approx(expected[i]) if value is not None else expected[i] != 0
        assert (ours.precision is None) == (i not in called)
        assert (ours.recall is None) == (i not in truth)
        if ours.f1 is not None:
            assert ours.f1 == pytest.approx(theirs[2][i])


def test_nothing_has_no_scores():
    """Without rows every score is None."""
    none = np.empty(0, dtype=np.int8)
    assert set(class_scores(none, none).values()) == {ClassScore(None, None, None, 0)}
