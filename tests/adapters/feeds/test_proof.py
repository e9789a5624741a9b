"""What proves a bar closed, and what is taken of an answer: pure functions on rows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled.core.bar import HOUR, Bar, Bars, Stream
from candled.core.clock import ClockSample, fit
from candled.core.decision import BarClosed, Source
from candled.ports import Act, Resume, StreamState
from candled_adapters.exchanges.dialect import Closing, Page, Rows
from candled_adapters.feeds.backlog import Nature, Patience, closed_rows
from candled_adapters.feeds.clockwatch import ClockWatch
from candled_adapters.feeds.continuity import Continuity
from candled_adapters.feeds.pushed import Moment, same
from candled_adapters.feeds.rest import clipped
from candled_adapters.feeds.stats import SourceStats
from candled_adapters.feeds.venuetime import VenueTime

START = 1_700_000_000_000 // HOUR * HOUR
NAN_BAR = Bar(START, *[1.0] * 5, START + HOUR - 1, *[math.nan] * 4)


def bar(slot: int) -> Bar:
    at = START + slot * HOUR
    return replace(NAN_BAR, open_time=at, close_time=at + HOUR - 1)


def rows(*slots: int, closed: int | None = None) -> Rows:
    return Rows(Bars.of([bar(slot) for slot in slots]), closed)


def slots(bars: Bars) -> list[int]:
    return [(time - START) // HOUR for time in bars.open_time.tolist()]


def at(slot: float) -> int:
    return int(START + slot * HOUR)


@pytest.mark.parametrize(
    ("answer", "server", "later", "proven"),
    [
        (rows(0, 1, 2), 3.0, None, [0, 1, 2]),
        (rows(0, 1, 2), 2.5, None, [0, 1]),
        (rows(0, 1, 2, closed=2), 9.0, None, [0, 1]),
        (rows(0, 1, 2, closed=3), 2.5, None, [0, 1]),
        (rows(0, 1, 2), 9.0, 0, [0, 1]),
        (rows(0, 1, 2), 1.5, 0, [0]),
        (rows(0, 1, 2), 9.0, at(7), [0, 1, 2]),
        (rows(0, 1, 2), 9.0, at(2), [0, 1]),
        (rows(2), 9.0, 0, []),
        (rows(), 9.0, 0, []),
        (rows(), 9.0, None, []),
        (rows(0, 1, 5, closed=2), 9.0, 0, [0, 1]),
    ],
)
def test_only_what_is_proven_counts_as_closed(answer, server, later, proven):
    """The server time, the venue's own word, and a later bar must all allow it."""
    assert slots(closed_rows(answer, at(server), later)) == proven


@given(
    st.integers(0, 12), st.none() | st.integers(-2, 14), st.none() | st.integers(-2, 14),
    st.integers(1, 15), st.none() | st.integers(0, 12),
)  # fmt: skip
def test_an_answer_is_clipped_to_what_was_asked(count, start, end, limit, closed):
    """Bounds inclusive, the limit from the start with a start, else from the end."""
    bounds = [None if slot is None else at(slot) for slot in (start, end)]
    answer = rows(*range(count), closed=None if closed is None else min(closed, count))
    cut = clipped(answer, Page(bounds[0], bounds[1], limit, at(20)))
    wanted = [
        slot for slot in range(count)
        if (start is None or slot >= start) and (end is None or slot <= end)
    ]  # fmt: skip
    wanted = wanted[-limit:] if start is None else wanted[:limit]
    assert slots(cut.bars) == wanted
    if answer.closed is None:
        assert cut.closed is None
    else:
        assert cut.closed == sum(slot < answer.closed for slot in wanted)


def test_bars_that_lack_the_same_columns_are_the_same():
    """NaN equals NaN there; a number does not equal another, nor NaN."""
    assert same(bar(1), bar(1))
    assert not same(bar(1), replace(bar(1), close=2.0))
    assert not same(bar(1), replace(bar(1), trades=0.0))


class Machine:
    """A stream of a venue that never says closed, live with bar 9 as its last."""

    def __init__(self, closing: Closing = Closing.SUCCESSOR) -> None:
        stream, self.stats = Stream("sim", "BTC", "1h"), SourceStats()
        self.machine = Continuity(
            Resume(stream, 0, at(9)), Nature(100, closing), self.stats, Patience()
        )
        self.local_s = 100.0
        self.machine.connected(self.moment(10.5))
        self.answer(10.5, *range(8, 11))
        assert self.machine.state is StreamState.LIVE

    def moment(self, slot: float) -> Moment:
        return Moment(self.local_s, at(slot), 1)

    def asks(self, slot: float) -> bool:
        return self.machine.begin(self.moment(slot), self)

    def answer(self, slot: float, *shown: int) -> list[int]:
        """Let it ask at a venue time, answer, and return what goes out."""
        assert self.asks(slot)
        read = self.machine.read(at(slot))
        events = self.machine.answer(read, rows(*shown), self.moment(slot))
        closed = [event for event in events if isinstance(event, BarClosed)]
        assert all(event.source in (Source.REST, Source.BACKFILL) for event in closed)
        return [(event.bar.open_time - START) // HOUR for event in closed]

    def now_ms(self) -> int:
        raise AssertionError("the machine has no business with it")

    def local_seconds(self, venue_ms: float) -> float:
        return venue_ms / 1000


def test_a_pushed_bar_that_has_begun_is_the_sign_to_ask():
    """The next bar's own pushes are none; the first of the one after it is."""
    bench = Machine()
    bench.machine.seen(at(10), bench.moment(10.9))
    assert not bench.machine.wants_rest
    bench.machine.seen(at(11), bench.moment(11.0001))
    assert bench.machine.wants_rest
    assert bench.answer(11.0001, 8, 9, 10, 11) == [10]
    assert bench.machine.state is StreamState.LIVE


def test_a_sign_rings_once():
    """Every push of the open bar repeats it; REST is not asked for each."""
    bench = Machine()
    bench.machine.seen(at(11), bench.moment(11.0001))
    assert bench.answer(11.0001, 8, 9, 10, 11) == [10]
    bench.machine.seen(at(11), bench.moment(11.1))
    assert not bench.machine.wants_rest


def test_rest_that_does_not_show_the_later_bar_proves_nothing():
    """A stale answer after the sign: asked again, quietly at first, held if it stays so."""
    bench = Machine()
    bench.machine.seen(at(11), bench.moment(11.0001))
    for _ in range(4):
        assert bench.answer(11.001, 8, 9, 10) == []
        bench.local_s += 40
    assert bench.machine.state is StreamState.HOLDING
    assert bench.answer(11.01, 8, 9, 10, 11) == [10]
    assert bench.machine.state is StreamState.LIVE


def test_no_clock_closes_a_bar():
    """Hours after its end, a bar without a successor anywhere is still held back."""
    bench = Machine()
    for hour in (11.1, 12.0, 15.0, 30.0):
        bench.local_s += 40
        assert bench.answer(hour, 8, 9, 10) == []
    assert bench.machine.state is StreamState.HOLDING


def test_a_bar_from_the_future_is_no_sign():
    """A push that opens later than the venue's time allows is not believed."""
    bench = Machine()
    bench.machine.seen(at(400), bench.moment(10.9))
    assert not bench.machine.wants_rest
    bench.machine.seen(at(11), bench.moment(11.0001))
    assert bench.machine.wants_rest


def test_where_the_venue_says_closed_open_bars_are_no_sign():
    """Its flag is on its way; REST is asked when that is late."""
    bench = Machine(Closing.FLAG)
    bench.machine.seen(at(11), bench.moment(11.0001))
    assert not bench.machine.wants_rest


def test_a_clock_of_whole_seconds_is_a_clock_at_the_normal_rate():
    """Kraken tells seconds: the rate stays 1, and no reading looks like another clock."""
    changes: list[int] = []
    venue = VenueTime(lambda: changes.append(1))
    samples = []
    for tick in range(1, 200):
        local = tick * 0.173
        told = int(START + local * 1000) // 1000 * 1000
        samples.append(ClockSample(local, local + 0.01, told, 1000))
        venue.add(samples[-1])
        clock = fit([samples[0], samples[-1]])
        assert clock.rate == 1.0
        assert clock.error_ms > 1000
    assert len(changes) <= 2


def clock_with(*samples: tuple[float, int], max_skew_s: float = 5.0) -> VenueTime:
    """Return a clock that was asked at some local times (s) and said so many ms."""
    clock = VenueTime(lambda: None, max_skew_s)
    for at_s, server_ms in samples:
        clock.add(ClockSample(at_s, at_s + 0.01, server_ms))
    return clock


def test_a_clock_that_jumps_is_in_doubt_for_a_minute():
    """By an hour, forwards or back; what jitter explains, and a first sample, is no jump."""
    for step in (3_600_000, -3_600_000):
        clock = clock_with((0.0, START), (30.0, START + 30_000), (60.0, START + 60_000 + step))
        assert "jumped by" in clock.doubt(60.1)
        assert clock.has_jumped(119.9)
        assert clock.doubt(120.2) == ""
    steady = clock_with((0.0, START), (30.0, START + 30_008), (60.0, START + 59_995))
    assert steady.doubt(60.1) == ""
    assert clock_with((0.0, START)).doubt(0.1) == ""


def test_a_clock_far_from_ours_is_in_doubt_as_long_as_it_is():
    """More than the allowed skew, either way; with no bound allowed nothing is said of it."""
    for skew, told in ((0, None), (900, None), (2_000, Act.FLAG), (9_000, Act.DEGRADE)):
        for sign in (1, -1):
            clock = clock_with((0.0, START))
            wall = (clock.now_ms() - sign * skew) * 1_000_000
            incident = ClockWatch("sim", clock).look(Moment(0.1, clock.now_ms(), wall))
            assert bool(clock.doubt(0.1)) == (skew > 5_000)
            assert (incident.act if incident else None) == told
    free = clock_with((0.0, START), max_skew_s=math.inf)
    assert ClockWatch("sim", free).look(Moment(0.1, START, 1)) is None
    assert free.doubt(0.1) == ""


def test_a_watched_clock_is_told_of_once():
    """The same finding is not repeated; a new one is told, and so is the old one after it ended."""
    clock = clock_with((0.0, START))
    watch = ClockWatch("sim", clock)
    skewed, fine = (Moment(0.1, START, (clock.now_ms() + s) * 1_000_000) for s in (9_000, 0))
    told = [watch.look(moment) for moment in (skewed, skewed, fine, skewed)]
    assert [bool(incident) for incident in told] == [True, False, False, True]


def test_samples_of_one_moment_break_nothing():
    """A local clock that stands still between two answers bounds no rate."""
    clock = VenueTime(lambda: None)
    for server_ms in (1_700_000_000_000, 1_700_000_000_001, 1_700_000_000_001):
        clock.add(ClockSample(5.0, 5.0, server_ms, 1))
    assert not clock.doubt(5.0)
