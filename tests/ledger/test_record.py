"""The rolling record: what the newest outcomes say, and which of them bear on the claim."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import HOUR
from candled.core.decision import Side
from candled.core.track import Outcome, Standing
from candled.ledger.record import Record, TrackSettings, wilson
from fakes import evidence
from journals import BTC, START


def outcome(hour, *, right=True, lasts=1, gross=0.5, probability=0.6, claim=0.33, **fields):
    """Make the outcome of the signal of an hour, which was known `lasts` hours later."""
    band = dataclasses.replace(evidence(Side.LONG), precision=claim) if claim is not None else None
    made = Outcome(
        id=f"{hour:06}",
        stream=BTC,
        model_digest="m",
        bar_open=START + hour * HOUR,
        bar_close=START + (hour + 1) * HOUR,
        side=Side.LONG,
        probability=probability,
        right=right,
        ended="time",
        gross_pct=gross,
        resolved_bar=START + (hour + lasts) * HOUR,
        evidence=band,
    )
    return dataclasses.replace(made, **fields)


def track(outcomes, pending=0, **settings):
    record = Record(TrackSettings(**settings))
    for one in outcomes:
        record.add(one)
    return record.track(BTC, "m", pending)


def test_nothing_is_said_of_nothing():
    """Without outcomes there is no rate, no interval and no verdict; what waits is counted."""
    made = track([], pending=3)
    assert (made.n, made.hits, made.hit_rate, made.low, made.high) == (0, 0, None, None, None)
    assert (made.claimed, made.expectancy_pct, made.claimed_pct) == (None, None, None)
    assert made.calibration is None
    assert (made.pending, made.standing) == (3, Standing.TOO_FEW)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 60), window=st.integers(10, 30), seed=st.integers(0, 10_000))
def test_a_record_is_of_its_newest_outcomes(count, window, seed):
    """Every figure is that of the newest `signals`, whatever was before them."""
    random = np.random.default_rng(seed)
    made = [
        outcome(
            hour,
            right=bool(random.random() < 0.4),
            gross=float(random.normal()),
            probability=float(random.random()),
            claim=float(random.random()) if random.random() < 0.7 else None,
        )
        for hour in range(count)
    ]
    found, newest = track(made, signals=window), made[-window:]
    claims = [one.evidence for one in newest if one.evidence]
    assert (found.n, found.hits) == (len(newest), sum(one.right for one in newest))
    rate = found.hits / found.n
    assert found.hit_rate == rate
    assert found.expectancy_pct == pytest.approx(np.mean([one.gross_pct for one in newest]))
    expected = np.mean([one.probability for one in newest]) - rate
    assert found.calibration == pytest.approx(expected)
    if claims:
        assert found.claimed == pytest.approx(np.mean([claim.precision for claim in claims]))
        assert found.claimed_pct == pytest.approx(0.17)
    else:
        assert found.claimed is None


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 500), share=st.floats(0, 1))
def test_the_interval_is_wilsons(n, share):
    """Its ends are where the share is just as far off as 95 % of samples come."""
    hits = round(n * share)
    low, high = wilson(hits, n)
    assert 0 <= low <= hits / n <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            off = (hits / n - end) / math.sqrt(end * (1 - end) / n)
            assert abs(off) == pytest.approx(1.959964, rel=1e-4)
    assert low < high


def test_what_was_taken_back_is_no_part_of_it():
    """A signal that a correction took back counts neither for nor against."""
    good = [outcome(hour) for hour in range(12)]
    bad = outcome(20, right=False, gross=-9.0, taken_back=True)
    assert track([*good, bad]) == track(good)


def test_a_model_without_evidence_claims_nothing():
    """Its signals have a record and no verdict; one claim is enough to be measured by it."""
    silent = [outcome(hour, right=False, claim=None) for hour in range(60)]
    assert track(silent).standing is Standing.UNKNOWN
    assert track([*silent, outcome(70)]).standing is Standing.TOO_FEW


def test_the_verdict_says_when_there_is_enough():
    """Too few, then as claimed; all wrong is broken."""
    good = [outcome(hour, right=hour % 2 == 0) for hour in range(60)]
    assert track(good[:19]).standing is Standing.TOO_FEW
    assert track(good[:20]).standing is Standing.AS_CLAIMED
    assert track(good).standing is Standing.AS_CLAIMED
    wrong = [outcome(hour, right=False, claim=0.6) for hour in range(60)]
    assert track(wrong).standing is Standing.BROKEN


def test_the_verdict_outlives_the_window():
    """What broke a claim long ago is not forgotten because the window has moved on."""
    wrong = [outcome(hour, right=False, claim=0.6) for hour in range(30)]
    half = [outcome(hour, right=hour % 2 == 0, claim=0.6) for hour in range(30, 80)]
    made = track([*wrong, *half], signals=10)
    assert (made.n, made.hits, made.standing) == (10, 5, Standing.BROKEN)


def test_of_overlapping_signals_only_the_first_bears_on_the_claim():
    """Sixty wrong signals within the horizons of five are five wrong signals."""
    crowd = [outcome(hour, right=False, lasts=12, claim=0.6) for hour in range(60)]
    alone = crowd[::12]
    assert track(crowd).standing is track(alone).standing is Standing.TOO_FEW
    apart = [outcome(12 * n, right=False, lasts=12, claim=0.6) for n in range(60)]
    assert track(apart).standing is Standing.BROKEN


def test_a_signal_given_when_the_last_was_known_counts():
    """At the close at which an outcome is known the next signal is given knowing it."""
    close = [outcome(12 * n, right=False, lasts=12, claim=0.6) for n in range(10)]
    inside = [outcome(12 * n, right=False, lasts=13, claim=0.6) for n in range(10)]
    assert track(close).standing is Standing.BROKEN
    assert track(inside).standing is Standing.TOO_FEW
