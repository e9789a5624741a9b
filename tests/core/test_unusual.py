"""Flat runs and flash wicks are said of exactly the bars that are so, whatever came before."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import HOUR, Bar
from candled.core.unusual import HISTORY, Unusual

NAN = float("nan")
TICKS = st.integers(1, 40).map(float)


def bar(opened: float, high: float, low: float, close: float, volume: float = 1.0) -> Bar:
    return Bar(0, opened, high, low, close, volume, HOUR - 1, NAN, NAN, NAN, NAN)


@st.composite
def bars(draw: st.DrawFn) -> Bar:
    """Draw a bar of a few ticks: often flat, often without trades, seldom with a long wick."""
    opened, close = draw(TICKS), draw(TICKS)
    if draw(st.booleans()):
        level, idle = draw(TICKS), draw(st.integers(0, 3))
        return bar(level, level, level, level, 0.0 if idle else 1.0)
    reach = draw(st.sampled_from([0.0, 0.01, 0.5, 3.0, 30.0, 300.0, 3000.0]))
    up, down = draw(st.sampled_from([(reach, 0.0), (0.0, reach / 4000)]))
    low = min(opened, close)
    return bar(
        opened, max(opened, close) + up, low - low * down, close, draw(st.sampled_from([0.5, 2.0]))
    )


def said(given_bars: Sequence[Bar], look: Unusual | None = None) -> list[tuple[bool, bool]]:
    unusual = look or Unusual()
    return [unusual.step(one) for one in given_bars]


def worded(given_bars: Sequence[Bar], at: int) -> tuple[bool, bool]:
    """Judge a bar as the rules are worded, by the bars before it."""
    last = given_bars[max(0, at - 2) : at + 1]
    flat = len(last) == 3 and all(
        len({b.open, b.high, b.low, b.close}) == 1 and b.volume == 0 for b in last
    )
    if at < 21:
        return flat, False
    ranges = [
        max(b.high - b.low, abs(b.high - before.close), abs(b.low - before.close))
        for before, b in zip(given_bars[at - 21 : at - 1], given_bars[at - 20 : at], strict=True)
    ]
    b = given_bars[at]
    wick = max(b.high - max(b.open, b.close), min(b.open, b.close) - b.low)
    return flat, wick > 10 * statistics.median(ranges) and wick > 0.01 * b.close


@settings(max_examples=150, deadline=None)
@given(st.lists(bars(), max_size=50))
def test_what_is_unusual_is_what_the_rules_say(given_bars: list[Bar]):
    """A run is this bar and two before it; a wick exceeds ten median true ranges and 1 %."""
    assert said(given_bars) == [worded(given_bars, at) for at in range(len(given_bars))]


@settings(max_examples=80, deadline=None)
@given(st.lists(bars(), min_size=HISTORY, max_size=60), st.data())
def test_so_many_bars_are_all_that_matters(given_bars: list[Bar], data: st.DataObject):
    """After the bars of `HISTORY`, whatever came earlier changes nothing."""
    start = data.draw(st.integers(0, len(given_bars) - HISTORY))
    late = Unusual()
    said(given_bars[start : start + HISTORY], late)
    after = given_bars[start + HISTORY :]
    assert said(after, late) == said(given_bars)[start + HISTORY :]


QUIET = [bar(100.0, 100.1, 100.0, 100.0)] * HISTORY


@pytest.mark.parametrize(
    ("high", "low", "is_wick"),
    [
        (101.1, 100.0, True),
        (101.0, 100.0, False),  # 1 % exactly
        (100.0, 98.9, True),
        (100.0, 99.0, False),
        (101.1, 98.8, True),
        (100.9, 99.1, False),  # many ranges, but nothing to lose sleep over
    ],
)
def test_a_wick_is_more_than_one_percent(high: float, low: float, is_wick: bool):  # noqa: FBT001
    """Above or below, the longer wick counts, strictly beyond a hundredth of the close."""
    assert said([*QUIET, bar(100.0, high, low, 100.0)])[-1] == (False, is_wick)


def test_a_wick_is_more_than_ten_usual_ranges():
    """In a wild market the same wick is nothing special, and ten ranges exactly are not enough."""
    wild = [bar(100.0, 101.0, 100.0, 100.0)] * HISTORY
    assert said([*wild, bar(100.0, 110.0, 100.0, 100.0)])[-1] == (False, False)
    assert said([*wild, bar(100.0, 110.5, 100.0, 100.0)])[-1] == (False, True)
    assert said([*wild[1:], bar(100.0, 110.5, 100.0, 100.0)])[-1] == (False, False)  # 19 ranges


def test_an_unknown_volume_is_no_outage():
    """A venue that tells no volumes does not look as if it were down, nor does a moving bar."""
    flat = bar(5.0, 5.0, 5.0, 5.0, 0.0)
    assert said([flat] * 4) == [(False, False)] * 2 + [(True, False)] * 2
    unknown = dataclasses.replace(flat, volume=NAN)
    assert said([flat, flat, unknown, flat, flat]) == [(False, False)] * 5
