"""What an answer means, how long a target wants to be left alone, and how long a pause is."""

from __future__ import annotations

import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled_adapters.sinks.retrying import Again, Backoff, Refused, Taken, outcome_of, retry_after

NOW = 1_735_689_600.0


@given(st.integers(200, 599))
def test_each_status_is_taken_tried_again_or_refused(status):
    """2xx is taken; 408, 425, 429 and 5xx may pass; redirects and the rest are refused for good."""
    outcome = outcome_of(status, {}, NOW)
    if status < 300:
        assert outcome == Taken()
    elif status in (408, 425, 429) or status >= 500:
        assert outcome == Again(f"answered {status}")
    else:
        assert isinstance(outcome, Refused)
        assert str(status) in outcome.reason


@given(st.integers(0, 86_400))
def test_a_wait_is_read_as_seconds_and_as_a_date(seconds):
    """Both spellings of RFC 9110 mean the same."""
    date = email.utils.formatdate(NOW + seconds, usegmt=True)
    assert retry_after(str(seconds), NOW) == seconds
    assert retry_after(date, NOW) == seconds
    assert outcome_of(429, {"retry-after": date}, NOW) == Again("answered 429", seconds)


@given(st.text(max_size=30) | st.none() | st.integers().map(str))
def test_whatever_a_target_says_the_wait_is_sane(text):
    """No text makes an error or a wait that is negative, endless or not a number."""
    assert 0 <= retry_after(text, NOW) <= 86_400


@pytest.mark.parametrize("text", ["Wed, 01 Jan 2020 00:00:00 GMT", "-5", "soon", "1e9", "٣"])
def test_what_is_past_or_no_number_is_no_wait(text):
    """Then the usual pause holds."""
    assert retry_after(text, NOW) == 0


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 1000))
def test_a_pause_is_bounded_and_never_shorter_than_asked(failures, chance, wait_s):
    """It grows to its limit, keeps half of it against chance, and respects the target's wish."""
    pause = Backoff(0.5, 15.0).pause(failures, chance, wait_s)
    assert pause >= wait_s
    assert pause <= max(15.0, 1.1 * wait_s + 15.0)
    if not wait_s:
        limit = min(15.0, 0.5 * 2 ** (min(failures, 40) - 1))
        assert limit / 2 <= pause <= limit
