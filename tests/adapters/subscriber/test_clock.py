"""The clock that is learned from messages is never behind the venue's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from candled_adapters.subscriber.clock import UNKNOWN_MS, VenueClock

BEGAN_MS = 1_735_689_600_000


@given(
    speed=st.sampled_from([0.5, 1.0, 60.0, 3600.0]),
    delays=st.lists(st.floats(0, 5), min_size=1, max_size=30),
    quickest=st.floats(0, 0.25),
    gap=st.floats(0.01, 100),
)
def test_it_is_never_behind_when_one_message_was_quick(speed, delays, quickest, gap):
    """As long as one message of the last ten minutes came within the margin, it is not behind."""
    clock = VenueClock(speed)
    at = 50.0

    def venue(local: float) -> float:
        return BEGAN_MS + (local - 50) * 1000 * speed

    for delay in [quickest, *delays]:
        at += gap
        clock.hear(round(venue(at)), at + delay)
        at += delay
        if at - 50 <= 550:
            assert clock.at(at) >= venue(at) - 1
            ahead = (clock.at(at) - venue(at)) / 1000 / speed
            assert ahead <= 0.25 + 0.01


def test_it_is_later_than_everything_at_first():
    """Before the first message nothing is valid."""
    assert VenueClock().at(5.0) == UNKNOWN_MS


def test_a_clock_that_was_ahead_for_a_moment_comes_back():
    """What was said twenty minutes ago counts no more."""
    clock = VenueClock()
    clock.hear(BEGAN_MS + 3_600_000, 0.0)
    for minute in range(1, 25):
        clock.hear(BEGAN_MS + minute * 60_000, minute * 60.0)
    assert abs(clock.at(24 * 60.0) - (BEGAN_MS + 24 * 60_000)) <= 250
