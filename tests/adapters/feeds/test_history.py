"""A stretch of history as pure functions: the next question, the worth of an answer, the holes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled.core.bar import HOUR, INTERVALS, Interval
from candled_adapters.exchanges.dialect import Rows
from candled_adapters.feeds.backlog import Read
from candled_adapters.feeds.history import HistoryError, Stretch, difference, joined
from candled_adapters.simulator.generator import generate
from candles import bars_at

H1 = Interval("1h")
START = 1_640_995_200_000
TABLE = generate(5, H1, START, 40)
WHOLE = Stretch(H1, START, START + 30 * HOUR, START + 100 * HOUR)


def test_the_next_question_begins_after_the_last_bar():
    """And ends, both inclusive, with the last millisecond that is wanted."""
    assert WHOLE.question(None, 7) == Read(START, START + 30 * HOUR - 1, 7, WHOLE.server_ms, 0)
    read = WHOLE.question(START + 4 * HOUR, 7)
    assert read is not None
    assert (read.start_ms, read.end_ms) == (START + 5 * HOUR, START + 30 * HOUR - 1)


@pytest.mark.parametrize(("last", "more"), [(28, True), (29, False), (30, False)])
def test_nothing_is_asked_beyond_the_end(last, more):
    """The bar that opens at `until` is not wanted."""
    assert (WHOLE.question(START + last * HOUR, 7) is not None) is more


@pytest.mark.parametrize(("after_end_ms", "more"), [(-1, False), (0, True), (1, True)])
def test_nothing_is_asked_that_has_not_closed(after_end_ms, more):
    """A bar has closed when its last millisecond lies before the venue's time."""
    stretch = replace(WHOLE, server_ms=START + 6 * HOUR + after_end_ms)
    assert (stretch.question(START + 4 * HOUR, 7) is not None) is more


@given(st.sampled_from(INTERVALS), st.integers(10**12, 2 * 10**12), st.integers(0, 10**9))
def test_questions_end_for_every_interval(interval, since, more):
    """Whatever the interval and the dates, even off the grid, a question is in bounds."""
    stretch = Stretch(interval, since, since + more, since + more)
    read = stretch.question(None, 5)
    assert (read is None) is (more == 0)
    if read is not None:
        assert read.start_ms == since
        assert read.end_ms == since + more - 1


def ask(limit: int = 50, first: int = 0, last: int = 29) -> Read:
    return Read(START + first * HOUR, START + last * HOUR, limit, WHOLE.server_ms, 0)


def test_an_answer_is_taken_without_its_open_bar():
    """Rows that end after the venue's time are left out, however many."""
    stretch = replace(WHOLE, server_ms=START + 10 * HOUR)
    assert len(stretch.take(Rows(TABLE[:30]), ask())) == 10
    assert len(replace(WHOLE, server_ms=START + 10 * HOUR - 1).take(Rows(TABLE[:30]), ask())) == 9


@pytest.mark.parametrize("read", [ask(first=1), ask(last=28), ask(limit=29)])
def test_bars_that_were_not_asked_for_are_refused(read):
    """Earlier, later or more than asked for: that is no answer to trust."""
    assert len(WHOLE.take(Rows(TABLE[:30]), ask(limit=30))) == 30
    with pytest.raises(HistoryError, match="that were not asked for"):
        WHOLE.take(Rows(TABLE[:30]), read)


def test_a_bar_off_the_grid_is_refused():
    """With its time and the field."""
    row = TABLE.row(3)
    moved = joined([TABLE[:3], type(TABLE).of([replace(row, open_time=row.open_time + 1)])])
    with pytest.raises(HistoryError, match=r"03:00:00\.001Z breaks a rule: open_time is not on"):
        WHOLE.take(Rows(moved), ask())


@given(st.sets(st.integers(0, 29), min_size=1), st.integers(-1, 5))
def test_holes_are_all_that_is_absent_up_to_the_last_row(present, before):
    """Whether they lie at the beginning, after the last bar at hand, or between rows."""
    present = {slot for slot in present if slot > before} or {before + 1}
    rows = bars_at(TABLE, np.array(sorted(present)))
    last = START + before * HOUR if before >= 0 else None
    absent = {
        slot
        for first, end in WHOLE.holes(last, rows)
        for slot in range((first - START) // HOUR, (end - START) // HOUR)
    }
    assert absent == set(range(before + 1, max(present))) - present


def test_a_beginning_off_the_grid_is_no_hole():
    """Half a slot before the first bar there is nothing to miss."""
    late = replace(WHOLE, since=START - HOUR + 1)
    assert late.holes(None, TABLE[:2]) == []
    assert replace(WHOLE, since=START - HOUR).holes(None, TABLE[:2]) == [(START - HOUR, START)]
    assert WHOLE.within((5, 9)) == Stretch(H1, 5, 9, WHOLE.server_ms)


def test_a_revised_bar_is_told_by_its_first_changed_column():
    """Equal bars are equal, absent columns too; anything else is named with both values."""
    bar = TABLE.row(0)
    absent = replace(bar, trades=float("nan"))
    assert difference(bar, bar) == ""
    assert difference(absent, absent) == ""
    assert difference(bar, replace(bar, volume=1.5)) == f"volume was {bar.volume} and is now 1.5"
    assert difference(absent, bar) == f"trades was nan and is now {bar.trades}"
