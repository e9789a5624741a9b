"""A claim on trial: it is not called broken by looking often, and it is when it is broken."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.labels import LONG, LabelParams, window_labels
from candled.ledger.claims import FEWEST, ClaimTest
from candles import bars_from_closes

ALARM = 0.05
BANDS = (0.2, 0.33, 0.45, 0.6)


def _rounds_until_broken(rights, claims, alarm=ALARM):
    """Return after how many outcomes a claim was called broken; None if it never was."""
    test = ClaimTest(alarm)
    pairs = zip(rights.tolist(), claims.tolist(), strict=True)
    return next((n for n, (x, p) in enumerate(pairs, 1) if test.step(right=x, claimed=p)), None)


def _share(lives, count, truth, seed, alarm=ALARM):
    """Return which share of seeded lives was called broken; `truth` is of what is claimed."""
    random = np.random.default_rng(seed)
    claims = random.choice(BANDS, (lives, count))
    rights = random.random((lives, count)) < claims * truth
    broken = [_rounds_until_broken(x, p, alarm) for x, p in zip(rights, claims, strict=True)]
    return sum(at is not None for at in broken) / lives


def _naive_share(lives, count, seed):
    """Return how often an exact tail of `ALARM`, looked at after each outcome, alarms in vain."""
    random = np.random.default_rng(seed)
    p, found = 0.33, 0
    pmf = np.zeros((count + 1, count + 2))
    pmf[0, 0] = 1.0
    for n in range(count):
        pmf[n + 1] = pmf[n] * (1 - p)
        pmf[n + 1, 1:] += pmf[n, :-1] * p
    tail = np.cumsum(pmf, axis=1)
    for _ in range(lives):
        hits = np.cumsum(random.random(count) < p)
        at = np.arange(FEWEST, count)
        found += bool((tail[at + 1, hits[at]] <= ALARM).any())
    return found / lives


def test_looking_after_every_outcome_raises_no_false_alarms():
    """Of 800 models that do as they claim, at most `alarm` are ever called broken in 300 signals.

    A test that is made for one look calls several times as many so.
    """
    share = _share(800, 300, 1.0, seed=1)
    slack = 2 * math.sqrt(ALARM * (1 - ALARM) / 800)
    assert 0 < share <= ALARM + slack
    assert _naive_share(800, 300, seed=1) > 3 * ALARM


def test_better_than_claimed_is_never_worse():
    """A model that is right more often than it claims is called broken less often still."""
    assert _share(300, 300, 1.2, seed=2) <= _share(300, 300, 1.0, seed=2)


@pytest.mark.parametrize(("truth", "count", "least"), [(0.5, 300, 0.9), (0.2, 120, 0.95)])
def test_what_falls_short_is_found(truth, count, least):
    """Half as good as claimed is found within 300 signals, a fifth within 120."""
    assert _share(200, count, truth, seed=3, alarm=0.01) >= least


def test_a_model_that_breaks_later_is_found():
    """A hundred signals as claimed do not buy the next hundred that are all wrong."""
    random = np.random.default_rng(4)
    found = 0
    for _ in range(50):
        good = random.random(100) < 0.5
        rights = np.concatenate([good, np.zeros(60, dtype=bool)])
        at = _rounds_until_broken(rights, np.full(160, 0.5), 0.01)
        found += at is not None and at > 100
    assert found >= 48


def test_overlapping_outcomes_are_no_evidence_of_their_own():
    """Signals on runs of bars share their future: all of them alarm in vain, the first ones do not.

    The market is a random walk, and the claim is how often its longs are right: it holds.
    """
    random = np.random.default_rng(5)
    params, lookahead = LabelParams(12, 0.8, 0.8), 12
    walks = [
        bars_from_closes(30_000 * np.exp(np.cumsum(random.normal(0, 0.004, 900))), seed)
        for seed in range(120)
    ]
    rights = [window_labels(bars, params).signal[:-lookahead] == LONG for bars in walks]
    claim = float(np.mean(np.concatenate(rights)))
    everything = [_rounds_until_broken(x, np.full(len(x), claim)) for x in rights]
    thinned = [
        _rounds_until_broken(x[::lookahead], np.full(len(x[::lookahead]), claim)) for x in rights
    ]
    assert sum(at is not None for at in thinned) <= 120 * ALARM + 5
    assert sum(at is not None for at in everything) > 3 * 120 * ALARM


def test_broken_lasts_until_it_is_as_claimed_again():
    """Twenty outcomes as good as claimed mend it, not fewer; then the trial begins anew."""
    test = ClaimTest(0.01)
    while not test.step(right=False, claimed=0.5):
        pass
    assert test.broken
    assert test.counted < FEWEST
    for n in range(1, FEWEST + 1):
        assert test.step(right=n % 2 == 0, claimed=0.5) == (n < FEWEST)
    for _ in range(5):
        assert not test.step(right=False, claimed=0.5)
    assert not ClaimTest(0.01).broken


def test_broken_stays_while_it_goes_on_worse():
    """However many outcomes follow, as long as fewer are right than claimed it is broken."""
    test = ClaimTest(0.01)
    while not test.step(right=False, claimed=0.5):
        pass
    assert all(test.step(right=n % 3 == 0, claimed=0.5) for n in range(200))


@settings(max_examples=100, deadline=None)
@given(
    outcomes=st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=80),
    alarm=st.floats(0.001, 0.4),
)
def test_any_claims_can_be_tried(outcomes, alarm):
    """From never to always: no claim breaks the arithmetic, and a fair bet gains nothing."""
    test = ClaimTest(alarm)
    for right, claimed in outcomes:
        test.step(right=right, claimed=claimed)
    assert test.counted == len(outcomes)
    assert all(math.isfinite(capital) and capital >= 0 for capital in test._capital)


@settings(max_examples=60, deadline=None)
@given(claims=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=8))
def test_the_bets_are_fair(claims):
    """Over all ways that signals can turn out, weighed as claimed, exactly one coin is owned."""
    total = 0.0
    for way in range(2 ** len(claims)):
        test, weight, owned = ClaimTest(1e-9), 1.0, 1.0
        for at, claimed in enumerate(claims):
            right = bool(way >> at & 1)
            weight *= claimed if right else 1 - claimed
            test.counted += 1
            owned = test._bet(right=right, claimed=claimed)
        total += weight * owned
    assert total == pytest.approx(1.0, rel=1e-9)
