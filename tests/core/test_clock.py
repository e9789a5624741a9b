"""The venue's clock: an affine fit that says how far it may be off."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled.core.clock import ClockSample, VenueClock, fit

START_MS = 1_735_689_600_000
shares = st.floats(0.0, 1.0)
delays = st.floats(0.0, 0.5)


def _sample(asked, delay, share, rate, origin=START_MS):
    """Ask a clock of this rate; it is read at `share` of the way from question to answer."""
    read = asked + delay * share
    return ClockSample(asked, asked + delay, math.floor(origin + rate * 1000.0 * read))


def _samples(rate, spacing, answers):
    asked, made = 50.0, []
    for delay, share in answers:
        made.append(_sample(asked, delay, share, rate))
        asked += delay + spacing
    return made


def _off_by(clock, sample, rate):
    """How far the clock is off at the last sample's middle (venue ms)."""
    middle = (sample.asked + sample.answered) / 2.0
    return abs(clock.anchor_ms - (START_MS + rate * 1000.0 * middle))


answers = st.lists(st.tuples(delays, shares), min_size=2, max_size=6)


@given(st.tuples(delays, shares))
def test_one_sample_is_off_by_half_its_delay_at_most(answer):
    """With one question the true time is within `error_ms` of the clock's."""
    samples = _samples(1.0, 1.0, [answer])
    clock = fit(samples)
    assert clock.rate == 1.0
    assert _off_by(clock, samples[-1], 1.0) <= clock.error_ms


@given(answers, st.floats(1.0, 60.0), st.sampled_from([1.0, 60.0, 3_600.0, 360_000.0]))
def test_the_error_is_within_what_the_fit_states(answers, spacing, rate):
    """However the delays fall, the true time is within `error_ms` of the clock's."""
    samples = _samples(rate, spacing, answers)
    clock = fit(samples)
    assert _off_by(clock, samples[-1], rate) <= clock.error_ms * (1 + 1e-9)


@given(answers, st.floats(0.0, 60.0))
def test_jitter_never_looks_like_a_fast_venue(answers, spacing):
    """A venue whose time runs as ours keeps a rate of exactly 1, whatever the network does."""
    assert fit(_samples(1.0, spacing, answers)).rate == 1.0


@given(
    st.sampled_from([60.0, 3_600.0, 360_000.0]),
    st.lists(st.tuples(st.floats(0.0, 0.002), shares), min_size=2, max_size=6),
)
def test_a_fast_venue_is_found(rate, answers):
    """With answers in 2 ms and a second between questions, the rate is right to half a percent."""
    assert fit(_samples(rate, 1.0, answers)).rate == pytest.approx(rate, rel=0.005)


@given(answers, st.floats(0.0, 1e-3), st.sampled_from([1.0, 10.0, 3_600.0]))
def test_questions_in_quick_succession_make_no_clock_fly(answers, spacing, rate):
    """However close two questions are, the rate is not above twice the true one."""
    last = [sample for sample in _samples(rate, spacing, answers) if sample.answered > sample.asked]
    for one, two in itertools.pairwise(last):
        slack = 2.0 / max((two.answered - one.asked) * 1000.0, 1e-9)
        assert fit([one, two]).rate <= 2.0 * max(rate, 1.0) + 2.0 * slack


@given(st.floats(0.001, 400_000.0), st.floats(0.0, 1e6), st.floats(1.0, 1e9))
def test_local_seconds_undo_the_rate(rate, at, span_ms):
    """Waiting `local_seconds` of a span moves the clock by that span, to the millisecond."""
    clock = VenueClock(anchor_s=at, anchor_ms=float(START_MS), rate=rate)
    later = clock.at(at + clock.local_seconds(span_ms))
    slack = 2.0 + rate * 1000.0 * at * 1e-15  # doubles of seconds cannot say it finer
    assert abs(later - (START_MS + span_ms)) <= slack + span_ms * 1e-9


def test_a_clock_never_measured_says_so():
    """Without a fit the error is infinite."""
    assert VenueClock(anchor_s=0.0, anchor_ms=0.0).error_ms == math.inf
