"""Overfitting figures: luck looks like luck, and what is better is found to be."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from candled.lab.overfit import (
    backtest_overfitting,
    deflated_sharpe,
    expected_best_sharpe,
    probabilistic_sharpe,
    sharpe,
)


def _loop(returns, parts):
    """CSCV as the paper tells it, choice by choice."""
    pieces = [
        returns[len(returns) * i // parts : len(returns) * (i + 1) // parts] for i in range(parts)
    ]
    logits, lost = [], 0
    for chosen in itertools.combinations(range(parts), parts // 2):
        rest = [i for i in range(parts) if i not in chosen]
        inside, outside = (np.concatenate([pieces[i] for i in some]) for some in (chosen, rest))
        best = np.argmax(inside.mean(axis=0) / inside.std(axis=0, ddof=1))
        ratios = outside.mean(axis=0) / outside.std(axis=0, ddof=1)
        w = stats.rankdata(ratios)[best] / (returns.shape[1] + 1)
        logits.append(math.log(w / (1 - w)))
        lost += ratios[best] < 0
    return np.array(logits), lost / len(logits)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), st.sampled_from([2, 4, 6]), st.integers(0, 99), st.integers(12, 60))
def test_cscv_is_the_papers(n, parts, seed, periods):
    """For any sizes, parts of unequal length included, the straightforward loop agrees."""
    random = np.random.default_rng(seed)
    returns = random.normal(0.001, random.uniform(0.01, 0.05, n), (periods, n))
    found = backtest_overfitting(returns, parts=parts)
    logits, lost = _loop(returns, parts)
    np.testing.assert_allclose(found.logits, logits, atol=1e-12)
    assert (found.probability, found.loss) == (np.mean(logits <= 0), lost)


def test_the_best_of_noise_fails_half_the_time():
    """Averaged over worlds without skill, overfitting is as likely as not."""
    random = np.random.default_rng(60)
    found = [
        backtest_overfitting(random.normal(size=(400, 20)), parts=8).probability for _ in range(60)
    ]
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)


def test_one_truly_better_configuration_stays_the_best():
    """With real skill in one of many, the choice of the best is hardly ever overfitted."""
    returns = np.random.default_rng(61).normal(size=(1_000, 30))
    returns[:, 17] += 0.3
    found = backtest_overfitting(returns)
    assert len(found.logits) == math.comb(16, 8)
    assert found.probability < 0.01
    assert found.loss < 0.01


def test_configurations_that_never_traded_share_the_middle():
    """Equal ones have equal ranks: the median, which counts as luck. No ratio is no crash."""
    found = backtest_overfitting(np.zeros((40, 5)), parts=4)
    assert (found.logits == 0).all()
    assert (found.probability, found.loss) == (1.0, 0.0)
    constant = np.random.default_rng(3).normal(size=(40, 3)) + 1.0
    constant[:, 1] = 0.1  # a mean without deviation has no ratio either
    assert np.isfinite(backtest_overfitting(constant, parts=4).logits).all()


def test_the_probabilistic_ratio_is_the_formulas():
    """The paper's formula with scipy's moments, for returns with skew and fat tails."""
    returns = np.random.default_rng(62).standard_t(5, 300) * 0.01 + 0.001
    returns[:9] -= 0.03
    ratio = returns.mean() / returns.std(ddof=1)
    spread = 1 - stats.skew(returns) * ratio
    spread += (stats.kurtosis(returns, fisher=False) - 1) / 4 * ratio**2
    expected = stats.norm.cdf((ratio - 0.02) * math.sqrt(299) / math.sqrt(spread))
    assert probabilistic_sharpe(returns, 0.02) == pytest.approx(expected, rel=1e-12)
    assert probabilistic_sharpe(returns, sharpe(returns)) == pytest.approx(0.5)


def test_the_luckiest_of_many_is_as_lucky_as_expected():
    """The mean of the maximum of n normal draws agrees with the paper's approximation."""
    random = np.random.default_rng(63)
    trials = random.normal(0.0, 0.1, (4_000, 50))
    told = np.mean([expected_best_sharpe(one) for one in trials])
    assert told == pytest.approx(trials.max(axis=1).mean(), rel=0.02)


def test_deflation_calls_the_best_of_noise_luck_and_skill_skill():
    """Without skill the best of many looks skilled until it is deflated; true skill remains.

    Over many worlds of noise the deflated probability of the best is around a half.
    """
    random = np.random.default_rng(64)
    deflated, plain = [], []
    for _ in range(100):
        worlds = random.normal(size=(40, 250))
        ratios = np.array([sharpe(one) for one in worlds])
        best = worlds[ratios.argmax()]
        deflated.append(deflated_sharpe(best, ratios))
        plain.append(probabilistic_sharpe(best))
    assert 0.35 < np.mean(deflated) < 0.65
    assert np.mean(np.array(deflated) > 0.95) <= 0.05
    assert np.mean(np.array(plain) > 0.95) > 0.8
    worlds[7] += 0.5
    assert deflated_sharpe(worlds[7], np.array([sharpe(one) for one in worlds])) > 0.95


def test_one_trial_has_nothing_to_deflate():
    """A single honest trial is judged against 0."""
    returns = np.random.default_rng(65).normal(0.1, 1.0, 100)
    one = np.array([sharpe(returns)])
    assert deflated_sharpe(returns, one) == probabilistic_sharpe(returns)


def test_what_has_no_ratio_is_none():
    """Too few returns, or returns without deviation; two values only are still judged."""
    assert sharpe(np.ones(9)) is None
    assert sharpe(np.ones(1)) is None
    assert probabilistic_sharpe(np.ones(9)) is None
    assert probabilistic_sharpe(np.array([1.0, 2.0, 1.0])) is None
    assert 0.0 <= probabilistic_sharpe(np.array([1.0, 2.0, 1.0, 2.0, 2.0])) <= 1.0


@pytest.mark.parametrize(
    ("returns", "parts", "says"),
    [
        (np.zeros((40, 3)), 3, "parts must be even"),
        (np.zeros((40, 3)), 0, "parts must be even"),
        (np.zeros((40, 1)), 4, "give 2 or more"),
        (np.zeros((7, 3)), 4, "7 periods are too few"),
        (np.array([[0, 0]] * 8 + [[0, np.nan]]), 4, r"returns\[8, 1\] is not finite"),
    ],
)
def test_returns_that_cannot_be_judged_are_refused(returns, parts, says):
    """The shape or the cell is named."""
    with pytest.raises(ValueError, match=says):
        backtest_overfitting(returns, parts=parts)


def test_all_trials_must_be_told():
    """None at all, or one that is not a number, cannot be deflated by."""
    for trials in (np.empty(0), np.array([0.1, np.nan])):
        with pytest.raises(ValueError, match="all that was tried"):
            deflated_sharpe(np.arange(9.0), trials)
