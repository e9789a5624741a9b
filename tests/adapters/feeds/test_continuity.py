"""The continuity of one stream, against every order of events that hypothesis can think of.

Knows no network: pushes and answers are calls, and time is a number.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import HOUR, Bar, Bars, Interval, Stream
from candled.core.decision import BarClosed, Source
from candled.ports import (
    Act,
    FeedEvent,
    Hazard,
    History,
    Incident,
    Resume,
    StreamHealth,
    StreamState,
)
from candled_adapters.exchanges.dialect import Closing, Rows
from candled_adapters.feeds.backlog import Nature, Patience, Read, Sightings
from candled_adapters.feeds.continuity import Continuity
from candled_adapters.feeds.pushed import Moment
from candled_adapters.feeds.stats import SourceStats

STREAM = Stream("sim", "BTCUSDT", "1h")
INTERVAL = Interval("1h")
START = 1_700_000_000_000 // HOUR * HOUR
PAGE = 5


def bar(slot: int, close: float = 0.0) -> Bar:
    price = close or 100.0 + slot
    t = START + slot * HOUR
    return Bar(t, price, price + 1, price - 1, price, 5.0, t + HOUR - 1, 500.0, 7.0, 2.0, 200.0)


@dataclass
class Ours:
    """A clock that runs at the venue's rate or faster."""

    venue_ms: int
    local_s: float = 1000.0
    rate: float = 1.0

    def now_ms(self) -> int:
        return self.venue_ms

    def local_seconds(self, venue_ms: float) -> float:
        return venue_ms / 1000 / self.rate

    def moment(self) -> Moment:
        return Moment(self.local_s, self.venue_ms, 1)

    def go(self, seconds: float) -> None:
        self.local_s += seconds
        self.venue_ms += int(seconds * self.rate * 1000)


@dataclass
class Venue:
    """Final bars by slot; REST shows those before `visible` but for `hidden`, and the open one."""

    absent: frozenset[int] = frozenset()
    first: int = 0
    lag: int = 0
    hidden: set[int] = field(default_factory=set)
    bad: set[int] = field(default_factory=set)

    def rows(self, read: Read, now_ms: int) -> Bars:
        newest = (now_ms - START) // HOUR - self.lag
        slots = [s for s in range(self.first, newest + 1) if s not in self.absent | self.hidden]
        rows = [replace(bar(s), low=-1.0) if s in self.bad else bar(s) for s in slots]
        if read.end_ms is not None:
            rows = [row for row in rows if row.open_time <= read.end_ms]
        if read.start_ms is None:
            return Bars.of(rows[-read.limit :])
        return Bars.of([row for row in rows if row.open_time >= read.start_ms][: read.limit])


class Bench:
    """A machine, a venue and a clock, driven by hand."""

    def __init__(self, resume: Resume, venue: Venue, *, slot: float, rate: float = 1.0) -> None:
        self.stats = SourceStats()
        self.machine = Continuity(resume, Nature(PAGE), self.stats, Patience(buffer=20))
        self.venue = venue
        self.clock = Ours(int(START + slot * HOUR), rate=rate)
        self.events: list[FeedEvent] = []
        self.started_ms = self.clock.venue_ms

    def connect(self) -> None:
        self.events += self.machine.connected(self.clock.moment())

    def disconnect(self) -> None:
        self.events += self.machine.disconnected("lost", self.clock.moment())

    def push(self, one: Bar) -> None:
        self.events += self.machine.push(one, self.clock.moment())

    def poll(self) -> Read | None:
        """Do what the shell does at an alarm; return what was asked, if anything."""
        if not self.machine.begin(self.clock.moment(), self.clock):
            return None
        read = self.machine.read(self.clock.venue_ms)
        rows = self.venue.rows(read, self.clock.venue_ms)
        self.events += self.machine.answer(read, Rows(rows), self.clock.moment())
        return read

    def settle(self, seconds: float = 60.0) -> int:
        """Let alarms ring for a while; return how many questions were asked."""
        until, asked = self.clock.local_s + seconds, 0
        while True:
            wake = self.machine.wake_at(self.clock.moment(), self.clock)
            if wake is None or wake > until:
                self.clock.go(max(0.0, until - self.clock.local_s))
                return asked
            self.clock.go(max(0.001, wake - self.clock.local_s))
            asked += self.poll() is not None

    @property
    def closed(self) -> list[BarClosed]:
        return [event for event in self.events if isinstance(event, BarClosed)]

    @property
    def bars(self) -> list[Bar]:
        return [event.bar for event in self.closed]

    @property
    def histories(self) -> list[History]:
        return [event for event in self.events if isinstance(event, History)]

    @property
    def states(self) -> list[StreamState]:
        return [event.state for event in self.events if isinstance(event, StreamHealth)]


def live(slot: float = 10.5, venue: Venue | None = None, **options) -> Bench:
    """Return a bench whose stream is live, with slot 9 the last one in the journal."""
    bench = Bench(Resume(STREAM, 0, START + 9 * HOUR), venue or Venue(), slot=slot, **options)
    bench.connect()
    bench.settle(0.5)
    return bench


def test_a_new_stream_gets_its_history_and_then_every_later_bar():
    """Bars that closed before the first contact are history; later ones are reported."""
    bench = Bench(Resume(STREAM, 7, None), Venue(), slot=10.5)
    bench.connect()
    bench.settle(1)
    (history,) = bench.histories
    assert list(history.bars) == [bar(slot) for slot in range(3, 10)]
    assert not history.from_listing
    bench.clock.go(1800)
    bench.push(bar(10))
    assert bench.bars == [bar(10)]
    assert bench.closed[0].source is Source.WS
    assert bench.states == [StreamState.WARMING, StreamState.LIVE]


def test_a_history_that_reaches_the_listing_says_so():
    """Fewer rows than asked for, seen three times over a second, are all there ever were."""
    bench = Bench(Resume(STREAM, 50, None), Venue(first=4), slot=10.5)
    bench.connect()
    assert bench.settle(0.4) == 2
    assert not bench.histories
    bench.settle(5)
    assert [len(history.bars) for history in bench.histories] == [6]
    assert bench.histories[0].from_listing


def test_a_stream_without_any_history_begins_with_its_first_bar():
    """A symbol listed a moment ago starts with an empty history and misses no bar."""
    bench = Bench(Resume(STREAM, 50, None), Venue(first=10), slot=10.5)
    bench.connect()
    bench.settle(5)
    assert [len(history.bars) for history in bench.histories] == [0]
    bench.clock.go(3600)
    bench.push(bar(11))
    bench.clock.go(1)
    bench.settle(1)
    assert bench.bars == [bar(10), bar(11)]


def test_a_resumed_stream_gets_its_history_up_to_the_journals_last_bar():
    """With `after`, history ends there and all that closed since is reported as backfill."""
    bench = Bench(Resume(STREAM, 3, START + 9 * HOUR), Venue(), slot=30.5)
    bench.connect()
    bench.settle(1)
    assert list(bench.histories[0].bars) == [bar(7), bar(8), bar(9)]
    assert bench.bars == [bar(slot) for slot in range(10, 30)]
    assert {event.source for event in bench.closed} == {Source.BACKFILL}
    assert bench.machine.state is StreamState.LIVE


def test_pushes_during_a_long_backfill_are_spliced_once():
    """What is pushed while pages are read waits its turn and comes exactly once."""
    bench = Bench(Resume(STREAM, 0, START), Venue(), slot=30.5)
    bench.connect()
    bench.poll()
    bench.clock.go(3600)
    bench.push(bar(30))
    bench.push(bar(31))
    bench.settle(5)
    assert bench.bars == [bar(slot) for slot in range(1, 32)]
    assert bench.closed[-1].source is Source.WS


def test_a_full_buffer_drops_the_oldest_and_loses_nothing():
    """More pushes than the buffer holds are had again by REST."""
    bench = Bench(Resume(STREAM, 0, START), Venue(), slot=5.5)
    bench.connect()
    bench.machine.begin(bench.clock.moment(), bench.clock)
    read = bench.machine.read(bench.clock.venue_ms)
    for slot in range(5, 40):
        bench.clock.venue_ms = START + (slot + 1) * HOUR
        bench.push(bar(slot))
    bench.events += bench.machine.failed("timeout", bench.clock.moment())
    assert bench.stats.overflowed == 15
    assert read.limit == PAGE
    bench.settle(5)
    assert bench.bars == [bar(slot) for slot in range(1, 40)]


def test_duplicates_are_dropped_and_counted():
    """A bar pushed again is dropped; the same, another, and an older one are counted apart."""
    bench = live()
    bench.push(bar(10))
    bench.push(bar(10))
    bench.push(bar(10, close=77.0))
    bench.push(bar(8))
    assert bench.bars == [bar(10)]
    stats = bench.stats
    assert (stats.duplicates_same, stats.duplicates_changed, stats.late) == (1, 1, 1)


def test_a_missing_push_holds_the_stream_until_rest_has_it():
    """A later bar than the next one waits; REST fills the hole; the order is kept."""
    bench = live()
    bench.clock.go(3 * 3600)
    bench.push(bar(12))
    assert bench.bars == []
    assert bench.machine.state is StreamState.HOLDING
    bench.settle(1)
    assert bench.bars == [bar(10), bar(11), bar(12)]
    assert [event.source for event in bench.closed] == [Source.REST, Source.REST, Source.WS]
    assert bench.machine.state is StreamState.LIVE
    assert bench.stats.refetches == 1


def test_bars_out_of_order_need_no_rest():
    """When the missing bar is pushed after all, both go out and the question is dropped."""
    bench = live()
    bench.clock.go(2 * 3600)
    bench.push(bar(11))
    bench.push(bar(10))
    assert bench.bars == [bar(10), bar(11)]
    assert bench.settle(1) == 0


def test_a_close_that_never_comes_is_asked_for_after_the_grace():
    """REST is asked some seconds after the bar's end on the venue's clock, not before."""
    bench = live()
    bench.clock.go(1799 + 2.5)
    assert bench.poll() is None
    bench.clock.go(2.0)
    assert bench.poll() is not None
    assert bench.bars == [bar(10)]
    assert bench.closed[0].source is Source.REST


def test_the_grace_is_two_seconds_of_ours_when_the_venue_runs_fast():
    """At 100 one-hour bars a second the network still gets its two seconds."""
    bench = live(rate=360_000.0, slot=9.99)
    wake = bench.machine.wake_at(bench.clock.moment(), bench.clock)
    left_s = (bench.machine._due_ms - bench.clock.venue_ms) / 360_000_000
    assert wake is not None
    assert abs(wake - bench.clock.local_s - left_s - 2.0) < 0.001


def test_a_slot_that_never_was_is_passed_over_after_three_answers():
    """Rows on both sides, three answers, a second: then the next existing bar goes out."""
    bench = live(venue=Venue(absent=frozenset({10, 11})))
    bench.clock.go(3 * 3600)
    bench.push(bar(12))
    assert bench.settle(0.9) == 2
    assert bench.bars == []
    bench.settle(1)
    assert bench.bars == [bar(12)]
    assert bench.stats.gaps == 1


def test_two_answers_far_apart_are_not_enough():
    """An absence takes three answers, not only time; and one answer with the bar starts anew."""
    sightings, hole = Sightings(Patience()), (1, 3)
    for now_s in (0.0, 50.0):
        sightings.see([hole], now_s)
        assert not sightings.confirmed(hole, now_s)
    sightings.see([hole], 51.0)
    assert sightings.confirmed(hole, 51.0)
    sightings.see([], 52.0)
    sightings.see([hole], 53.0)
    assert not sightings.confirmed(hole, 99.0)


def test_an_answer_without_a_row_before_the_hole_proves_nothing():
    """History that begins after the hole may simply not reach back."""
    bench = live()
    bench.clock.go(3 * 3600)
    bench.push(bar(12))
    for _ in range(6):
        bench.clock.go(40)
        assert bench.machine.begin(bench.clock.moment(), bench.clock)
        read = bench.machine.read(bench.clock.venue_ms)
        bench.events += bench.machine.answer(read, Rows(Bars.of([bar(12)])), bench.clock.moment())
    assert bench.bars == []
    assert bench.stats.gaps == 0


def test_an_answer_from_before_a_reconnection_does_not_end_the_catching_up():
    """Its server time is older than the new subscription: what closed between is asked for."""
    bench = live()
    bench.clock.go(1900)
    assert bench.machine.begin(bench.clock.moment(), bench.clock)
    read = bench.machine.read(bench.clock.venue_ms)
    rows = bench.venue.rows(read, bench.clock.venue_ms)
    bench.disconnect()
    bench.clock.go(2 * 3600)
    bench.connect()
    bench.events += bench.machine.answer(read, Rows(rows), bench.clock.moment())
    assert bench.bars == [bar(10)]
    assert bench.machine.state is StreamState.DEGRADED
    assert bench.poll() is not None
    assert bench.bars == [bar(10), bar(11), bar(12)]
    assert bench.machine.state is StreamState.LIVE


def test_history_that_lags_is_not_an_absence():
    """REST without a later row proves nothing, however often it is asked."""
    bench = live(venue=Venue(lag=50))
    bench.clock.go(3 * 3600)
    bench.push(bar(12))
    assert 5 <= bench.settle(300) <= 25
    assert bench.bars == []
    assert bench.machine.state is StreamState.HOLDING
    bench.venue.lag = 0
    bench.settle(31)
    assert bench.bars == [bar(10), bar(11), bar(12)]


def test_history_that_lacks_a_pushed_bar_proves_nothing_about_its_neighbour():
    """A hole that contains a bar which was pushed is REST's own."""
    bench = live(venue=Venue(hidden={10, 11}))
    bench.clock.go(3 * 3600)
    bench.push(bar(11))
    bench.settle(100)
    assert bench.bars == []
    bench.venue.hidden.clear()
    bench.settle(31)
    assert bench.bars == [bar(10), bar(11), bar(12)]


def test_a_bar_that_breaks_a_rule_is_had_from_rest():
    """A pushed bar with a low above its close is kept out; REST's good one goes out instead."""
    bench = live()
    bench.clock.go(1800)
    bench.push(replace(bar(10), low=1e9))
    assert bench.bars == []
    bench.settle(1)
    assert bench.bars == [bar(10)]
    assert bench.stats.quarantined == 1
    assert "low" in bench.stats.quarantined_sample


@pytest.mark.parametrize("factor", [1000, 1_000_000, -1])
def test_a_bar_of_no_time_that_can_be_written_is_had_from_rest(factor):
    """A push in microseconds, say, is kept out like any other bad one, and its number is told."""
    bench = live()
    bench.clock.go(1800)
    bench.push(replace(bar(10), open_time=factor * bar(10).open_time))
    bench.settle(1)
    assert bench.bars == [bar(10)]
    assert bench.stats.quarantined == 1


def test_a_bar_that_is_bad_in_history_too_holds_the_stream():
    """The stream holds with a reason, asks ever more slowly, and goes on when it is mended."""
    bench = live(venue=Venue(bad={10}))
    bench.clock.go(3 * 3600)
    assert 5 <= bench.settle(300) <= 25
    assert bench.bars == []
    assert bench.machine.state is StreamState.HOLDING
    assert "low must be" in bench.machine._standing.reason
    bench.venue.bad.clear()
    bench.settle(31)
    assert bench.bars == [bar(10), bar(11), bar(12), bar(13)][: len(bench.bars)]
    assert len(bench.bars) >= 3


def test_a_lost_connection_is_told_and_caught_up():
    """DEGRADED at once, LIVE after REST has answered for all that closed meanwhile."""
    bench = live()
    bench.disconnect()
    bench.clock.go(5 * 3600)
    bench.connect()
    bench.settle(1)
    assert bench.bars == [bar(slot) for slot in range(10, 15)]
    assert bench.states[-2:] == [StreamState.DEGRADED, StreamState.LIVE]


def test_without_a_connection_rest_is_asked_for_every_bar_that_is_due():
    """Each bar comes a grace after its end, DEGRADED all the while, with the reason."""
    bench = live()
    bench.disconnect()
    for slot in range(10, 16):
        bench.clock.go((START + (slot + 1) * HOUR - bench.clock.venue_ms) / 1000 + 2.5)
        assert bench.settle(0.4) == 0
        bench.settle(0.7)
        assert bench.bars[-1] == bar(slot)
        assert bench.closed[-1].source is Source.REST
    assert bench.states[-1] is StreamState.DEGRADED
    assert bench.machine._standing.reason == "lost"


def test_a_venue_whose_socket_never_comes_up_is_polled_from_the_start():
    """History and bars come by REST alone when no subscription is ever made."""
    bench = Bench(Resume(STREAM, 4, None), Venue(), slot=10.5)
    bench.machine.contacted(bench.clock.venue_ms, bench.clock.moment())
    bench.events += bench.machine.concern("connection", "handshake refused: HTTP 403")
    assert bench.settle(4.5) == 0
    bench.settle(3 * 3600)
    assert list(bench.histories[0].bars) == [bar(slot) for slot in range(6, 10)]
    assert bench.bars == [bar(10), bar(11), bar(12)]
    assert bench.states == [StreamState.WARMING, StreamState.DEGRADED]


def test_a_journal_ahead_of_the_venue_stops_the_stream():
    """When the last bar is later than the venue's time, a person must look."""
    bench = Bench(Resume(STREAM, 0, START + 99 * HOUR), Venue(), slot=10.5)
    bench.connect()
    bench.settle(1)
    assert bench.machine.state is StreamState.STOPPED


def test_an_unknown_symbol_stops_the_stream():
    """The venue does not know it: STOPPED, asked again only now and then."""
    bench = Bench(Resume(STREAM, 5, None), Venue(), slot=10.5)
    bench.connect()
    bench.machine.begin(bench.clock.moment(), bench.clock)
    bench.events += bench.machine.failed("Invalid symbol.", bench.clock.moment(), unknown=True)
    assert bench.states[-1] is StreamState.STOPPED
    assert bench.settle(25) == 0


def incidents(bench: Bench) -> list[tuple[Hazard, Act]]:
    return [(e.hazard, e.act) for e in bench.events if isinstance(e, Incident)]


def test_a_second_connection_that_pushes_the_same_is_no_hazard():
    """While one connection takes over from another both push; the same one twice is a duplicate."""
    bench = live()
    bench.clock.go(1800)
    for line in (1, 2):
        bench.events += bench.machine.push(bar(10), bench.clock.moment(), line)
    assert incidents(bench) == []
    assert bench.stats.overlapped == 1
    bench.events += bench.machine.push(bar(10), bench.clock.moment(), 1)
    assert incidents(bench) == [(Hazard.DUPLICATE_CLOSE, Act.DROP)]
    assert bench.bars == [bar(10)]


def test_every_drop_is_told_with_its_reason():
    """Again, again with other numbers, and long passed: three incidents, nothing goes out."""
    bench = live()
    bench.clock.go(1800)
    for one in (bar(10), bar(10), bar(10, close=77.0), bar(7)):
        bench.push(one)
    assert bench.bars == [bar(10)]
    assert incidents(bench) == [
        (Hazard.DUPLICATE_CLOSE, Act.DROP),
        (Hazard.CHANGED_CLOSE, Act.DROP),
        (Hazard.OUT_OF_ORDER, Act.DROP),
    ]


def overdue(closing: Closing = Closing.FLAG) -> tuple[Bench, Read]:
    """Return a live stream whose bar is due, not pushed, and has just been asked for."""
    bench = Bench(Resume(STREAM, 0, START + 9 * HOUR), Venue(), slot=10.5)
    patience = Patience(buffer=20)
    bench.machine = Continuity(
        Resume(STREAM, 0, START + 9 * HOUR), Nature(PAGE, closing), bench.stats, patience
    )
    bench.connect()
    bench.settle(0.5)
    assert bench.machine.state is StreamState.LIVE
    bench.clock.go(1800 + patience.grace_ms / 1000)
    assert bench.machine.begin(bench.clock.moment(), bench.clock)
    return bench, bench.machine.read(bench.clock.venue_ms)


def dawdle(bench: Bench) -> None:
    bench.events += bench.machine.unanswered(bench.clock.moment())


def test_who_waits_for_a_bar_that_rest_is_silent_about_says_so_once():
    """A due bar that REST takes long to bring holds the stream until its answer is there."""
    bench, read = overdue()
    dawdle(bench)
    dawdle(bench)
    assert bench.states[-2:] == [StreamState.LIVE, StreamState.HOLDING]
    assert "bar of 2023-11-15T08:00:00Z; REST was asked" in bench.machine._standing.reason
    rows = bench.venue.rows(read, bench.clock.venue_ms)
    bench.events += bench.machine.answer(read, Rows(rows), bench.clock.moment())
    assert bench.bars == [bar(10)]
    assert bench.machine.state is StreamState.LIVE


def test_only_a_stream_whose_bars_came_is_held_by_a_slow_answer():
    """One with a concern holds, too; one that is still catching up goes on with that."""
    bench, _ = overdue()
    bench.events += bench.machine.concern("clock", "it jumped")
    assert bench.machine.state is StreamState.DEGRADED
    dawdle(bench)
    assert bench.machine.state is StreamState.HOLDING
    young = Bench(Resume(STREAM, 0, START + 9 * HOUR), Venue(), slot=12.5)
    young.connect()
    assert young.machine.begin(young.clock.moment(), young.clock)
    dawdle(young)
    assert young.states == [StreamState.WARMING]


def test_a_push_ends_the_wait_for_rest_whatever_becomes_of_the_question():
    """The late push makes the stream live; that REST then fails to answer is nobody's trouble."""
    bench, _ = overdue()
    dawdle(bench)
    bench.push(bar(10))
    assert bench.machine.state is StreamState.LIVE
    bench.events += bench.machine.failed("timeout", bench.clock.moment())
    assert bench.machine.state is StreamState.LIVE
    assert not bench.machine.wants_rest
    assert bench.bars == [bar(10)]


def test_a_push_of_another_bar_ends_no_wait():
    """As long as a bar is missing, what is pushed after it makes no stream live."""
    bench, _ = overdue()
    dawdle(bench)
    bench.clock.go(3600)
    bench.push(bar(11))
    assert bench.machine.state is StreamState.HOLDING
    bench.events += bench.machine.failed("timeout", bench.clock.moment())
    assert bench.machine.state is StreamState.HOLDING
    assert bench.machine.wants_rest
    bench.settle(5)
    assert bench.bars == [bar(10), bar(11)]
    assert bench.machine.state is StreamState.LIVE


def test_a_slow_answer_that_no_bar_waits_for_is_no_news():
    """Where nothing is due, or every bar comes by REST, a question may take its time."""
    calm = live()
    calm.connect()  # anew: REST is asked whether anything was missed
    assert calm.machine.begin(calm.clock.moment(), calm.clock)
    dawdle(calm)
    assert calm.machine.state is StreamState.LIVE
    asking, _ = overdue(Closing.SUCCESSOR)
    dawdle(asking)
    assert asking.machine.state is StreamState.LIVE
    idle = live()
    idle.clock.go(1801)  # due, but it may still be pushed: nobody was asked
    dawdle(idle)
    assert idle.machine.state is StreamState.LIVE


def test_due_bars_that_are_not_pushed_are_counted_until_one_is():
    """Two had by REST on a connection that is up; a push, also of a duplicate, begins anew."""
    bench = live()
    for missed in (1, 2):
        bench.clock.go((START + (9 + missed + 1) * HOUR - bench.clock.venue_ms) / 1000)
        bench.settle(4.0)
        assert bench.machine.missed == missed
    assert incidents(bench) == [(Hazard.MISSING_BAR, Act.HOLD)] * 2
    bench.push(bar(11))
    assert bench.machine.missed == 0
    bench.disconnect()
    bench.clock.go(3600)
    bench.settle(60)
    assert bench.machine.missed == 0


@pytest.mark.parametrize(
    "units",
    [
        {"open": 1e5, "high": 1e5, "low": 1e5, "close": 1e5},
        {"volume": 5000.0},
        {"volume": 0.005},
    ],
)
def test_a_bar_in_other_units_is_held_until_a_person_says_that_it_is_right(units):
    """A price or a unit of volume a thousand times another: by push and by REST, with the mend."""
    strange = replace(bar(11), **units)
    bench = live()
    bench.clock.go(1801)
    bench.push(bar(10))
    bench.clock.go(3600)
    bench.push(strange)
    assert incidents(bench)[-1] == (Hazard.UNIT_CHANGE, Act.QUARANTINE)
    rows = Rows(Bars.of([bar(9), bar(10), strange, bar(12)]))
    for _ in range(2):
        bench.clock.go(40)
        assert bench.machine.begin(bench.clock.moment(), bench.clock)
        read = bench.machine.read(bench.clock.venue_ms)
        bench.events += bench.machine.answer(read, rows, bench.clock.moment())
    assert bench.bars == [bar(10)]
    assert incidents(bench)[-1] == (Hazard.UNIT_CHANGE, Act.HOLD)
    assert bench.machine.state is StreamState.HOLDING
    assert "max_jump" in bench.machine._standing.reason
    bench.settle(40)
    assert bench.bars[:2] == [bar(10), bar(11)], "history was mended"
    assert bench.machine.state is StreamState.LIVE


def test_a_stream_without_bars_for_long_is_stopped_and_goes_on_when_they_come():
    """Five bars late and asked often: STOPPED with the mend; a later bar makes it a gap."""
    bench = live(venue=Venue(absent=frozenset(range(10, 18)), lag=0))
    bench.venue.lag = 9
    bench.clock.go(4 * 3600)
    bench.settle(900)
    assert bench.machine.state is StreamState.HOLDING
    bench.clock.go(3 * 3600)
    bench.settle(60)
    assert bench.machine.state is StreamState.STOPPED
    assert "delisted" in bench.machine._standing.reason
    assert incidents(bench) == [(Hazard.HALTED, Act.STOP)]
    bench.clock.go(3 * 3600)
    bench.venue.lag = 0
    bench.push(bar(18))
    bench.settle(2)
    assert bench.bars == [bar(18), bar(19)]
    assert bench.machine.state is StreamState.LIVE
    assert (Hazard.GAP, Act.FLAG) in incidents(bench)


def test_bars_beyond_the_venues_reach_are_told_as_lost_and_the_windows_filled_anew():
    """Away for longer than the venue's history goes: a new history, then every later bar."""
    bench = Bench(Resume(STREAM, 0, START + 9 * HOUR, anew=4), Venue(first=60), slot=80.5)
    bench.machine = Continuity(
        Resume(STREAM, 0, START + 9 * HOUR, anew=4), Nature(100, reach=20), bench.stats, Patience()
    )
    bench.connect()
    bench.settle(2)
    assert incidents(bench) == [(Hazard.BEYOND_REACH, Act.BEGIN_ANEW)]
    assert [list(one.bars) for one in bench.histories] == [[bar(76), bar(77), bar(78), bar(79)]]
    assert bench.machine.state is StreamState.LIVE
    bench.clock.go(1800)
    bench.push(bar(80))
    assert bench.bars == [bar(80)]


def test_while_the_venues_clock_is_in_doubt_only_a_later_row_proves_a_bar_closed():
    """A server time an hour ahead does not make the open bar a closed one."""
    bench = live()
    bench.clock.go(300)
    ahead = bench.clock.venue_ms + HOUR
    half = replace(bar(10), volume=1.0)
    for sure, expected in ((False, []), (True, [half])):
        bench.disconnect()
        bench.connect()
        assert bench.machine.begin(bench.clock.moment(), bench.clock)
        read = bench.machine.read(ahead, sure=sure)
        bench.events += bench.machine.answer(
            read, Rows(Bars.of([bar(8), bar(9), half])), bench.clock.moment()
        )
        assert bench.bars == expected


steps = st.one_of(
    st.tuples(st.just("close"), st.booleans()),  # a bar closes; its push comes or is lost
    st.tuples(st.just("again"), st.integers(0, 6)),  # an old push comes again
    st.tuples(st.just("late"), st.just(0)),  # a push that was held up comes
    st.tuples(st.just("hold up"), st.just(0)),  # a bar closes, its push comes later
    st.tuples(st.just("poll"), st.just(0)),
    st.tuples(st.just("slow"), st.booleans()),  # a question is asked, answered much later
    st.tuples(st.just("fail"), st.just(0)),
    st.tuples(st.just("dawdle"), st.just(0)),  # a question has been under way for long
    st.tuples(st.just("lag"), st.integers(0, 4)),
    st.tuples(st.just("hide"), st.integers(0, 3)),  # one answer lacks a bar
    st.tuples(st.just("drop"), st.just(0)),
    st.tuples(st.just("connect"), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 0.6, 3.0, 40.0])),
)


class Story:
    """Plays steps on a bench and checks after each that nothing false went out."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.connected = False
        self.held_up: list[Bar] = []
        self.pending: Read | None = None
        self.pending_rows = Bars.of([])

    def play(self, kind: str, value) -> None:
        getattr(self, kind.replace(" ", "_"))(value)
        now = self.bench.clock.venue_ms
        assert all(one.close_time < now for one in self.bench.bars)

    def _close(self) -> Bar | None:
        clock = self.bench.clock
        slot = (clock.venue_ms - START) // HOUR
        clock.venue_ms = START + (slot + 1) * HOUR + 10
        return None if slot in self.bench.venue.absent else bar(slot)

    def close(self, pushed: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        one = self._close()
        if one and pushed and self.connected:
            self.bench.push(one)

    def hold_up(self, _value) -> None:
        one = self._close()
        if one and self.connected:
            self.held_up.append(one)

    def late(self, _value) -> None:
        if self.held_up and self.connected:
            self.bench.push(self.held_up.pop())

    def again(self, back: int) -> None:
        slot = (self.bench.clock.venue_ms - START) // HOUR - 1 - back
        if self.connected and slot >= 0 and slot not in self.bench.venue.absent:
            self.bench.push(bar(slot))

    def poll(self, _value) -> None:
        self.bench.poll()

    def slow(self, finish: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        bench, machine = self.bench, self.bench.machine
        if self.pending is None and machine.begin(bench.clock.moment(), bench.clock):
            self.pending = machine.read(bench.clock.venue_ms)
            self.pending_rows = bench.venue.rows(self.pending, bench.clock.venue_ms)
        elif self.pending is not None and finish:
            bench.events += machine.answer(
                self.pending, Rows(self.pending_rows), bench.clock.moment()
            )
            self.pending = None

    def fail(self, _value) -> None:
        bench = self.bench
        if self.pending is not None:
            bench.events += bench.machine.failed("timeout", bench.clock.moment())
            self.pending = None

    def dawdle(self, _value) -> None:
        self.bench.events += self.bench.machine.unanswered(self.bench.clock.moment())

    def lag(self, slots: int) -> None:
        self.bench.venue.lag = slots

    def hide(self, back: int) -> None:
        newest = (self.bench.clock.venue_ms - START) // HOUR
        self.bench.venue.hidden = {newest - 1 - back}
        self.bench.poll()
        self.bench.venue.hidden = set()

    def drop(self, _value) -> None:
        self.connected = False
        self.bench.disconnect()

    def connect(self, _value) -> None:
        if not self.connected:
            self.connected = True
            self.bench.connect()

    def wait(self, seconds: float) -> None:
        clock = self.bench.clock
        clock.local_s += seconds  # ours alone, so that the venue may run fast or slow

    def finish(self) -> None:
        """Let the venue behave, and let all retries ring."""
        self.bench.venue.lag = 0
        if self.pending is not None:
            self.pending = None
            self.bench.events += self.bench.machine.failed("timeout", self.bench.clock.moment())
        self.connect(None)
        newest = (self.bench.clock.venue_ms - START) // HOUR
        self.bench.venue.absent = frozenset(s for s in self.bench.venue.absent if s <= newest)
        for pushed in (False, True, False):
            self.close(pushed)
            self.bench.settle(400)


@settings(max_examples=400, deadline=None)
@given(
    script=st.lists(steps, max_size=60),
    absent=st.frozensets(st.integers(1, 60), max_size=12),
    resume=st.one_of(
        st.builds(Resume, st.just(STREAM), st.integers(0, 12), st.none()),
        st.builds(
            Resume,
            st.just(STREAM),
            st.integers(0, 8),
            st.sampled_from([0, 3, 9]).map(lambda slot: START + slot * HOUR),
        ),
    ),
)
def test_whatever_happens_each_final_bar_goes_out_once_and_in_order(script, absent, resume):
    """For any losses, repeats, delays, lags and gaps, what goes out is what the venue closed."""
    last = None if resume.after is None else (resume.after - START) // HOUR
    absent = frozenset(slot for slot in absent if slot not in (0, last))
    bench = Bench(resume, Venue(absent=absent), slot=12.5)
    story = Story(bench)
    for kind, value in script:
        story.play(kind, value)
    story.finish()

    opens = [one.open_time for one in bench.bars]
    newest = (bench.clock.venue_ms - START) // HOUR
    finals = [bar(slot) for slot in range(newest) if slot not in bench.venue.absent]
    history = [one for told in bench.histories for one in told.bars]
    if resume.after is None:
        (told,) = bench.histories
        split = bench.machine._order.boundary or 0
        expected = [one for one in finals if one.close_time >= split]
        before = [one for one in finals if one.close_time < split]
        assert history == before[max(0, len(before) - resume.history) :]
        if told.from_listing:
            assert len(before) <= resume.history
        else:
            assert len(before) >= resume.history > 0 or before
    else:
        expected = [one for one in finals if one.open_time > resume.after]
        until = [one for one in finals if one.open_time <= resume.after]
        assert history == until[max(0, len(until) - resume.history) :]
    assert opens == sorted(set(opens))
    settled = [one for one in expected if one.close_time + 60_000 < bench.clock.venue_ms]
    assert bench.bars[: len(settled)] == settled
    assert bench.bars == expected[: len(bench.bars)]
