"""Crossing a gap that is longer than a page of history: pure, page by page."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from candled.core.bar import HOUR, Bar, Bars, Interval
from candled_adapters.feeds.backlog import Read
from candled_adapters.feeds.crossing import Crossing

START = 1_700_000_000_000 // HOUR * HOUR
PAGE = 10


def bars(*slots: int) -> Bars:
    times = [START + slot * HOUR for slot in slots]
    return Bars.of([Bar(t, *[1.0] * 5, t + HOUR - 1, *[1.0] * 4) for t in times])


@given(st.integers(1, 200), st.booleans())
def test_the_first_bar_beyond_any_gap_is_found(gap, unproven):
    """Every slot is looked at; a bar found proves what lies before the gap, which is asked anew."""
    crossing, now = Crossing(Interval("1h"), PAGE), gap + 5
    later = range(gap, now)
    looked: set[int] = set()
    for _ in range(300):
        first = -2 + crossing.offset_ms // HOUR
        read = Read(START + first * HOUR, None, PAGE, START + now * HOUR, 0)
        window = range(first, first + PAGE)
        looked |= set(window)
        fresh = [slot for slot in later if slot in window]
        if unproven and 0 in window and crossing.known_later:
            fresh = [0, *fresh]
        if not crossing.turns(read, bars(*fresh), anchored=first < 0 or crossing.offset_ms > 0):
            break
    else:
        raise AssertionError("asked for ever")
    if gap < PAGE - 2 and not unproven:
        assert fresh[0] == gap
        return
    assert looked >= set(range(gap))
    assert fresh[0] == (0 if unproven and crossing.known_later else gap)


def test_an_answer_without_what_was_known_proves_no_gap():
    """Without a bar that was there before, nothing further on is looked at."""
    crossing = Crossing(Interval("1h"), PAGE)
    read = Read(START, None, PAGE, START + 500 * HOUR, 0)
    assert not crossing.turns(read, bars(), anchored=False)
    assert crossing.offset_ms == 0


def test_a_page_that_reaches_now_is_the_end():
    """Nothing new up to now: the next question begins at the next bar again."""
    crossing = Crossing(Interval("1h"), PAGE)
    assert crossing.turns(Read(START, None, PAGE, START + 12 * HOUR, 0), bars(), anchored=True)
    assert crossing.offset_ms == (PAGE - 3) * HOUR
    read = Read(START + crossing.offset_ms, None, PAGE, START + 12 * HOUR, 0)
    assert not crossing.turns(read, bars(), anchored=True)
    assert crossing.offset_ms == 0
