"""A shard against a scripted venue: renewals that overlap, watchdogs, refusals, limits."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from adapters.feeds.scripted import Scripted, bar_at, name_of
from candled.core.bar import HOUR, Bars, Stream
from candled.core.decision import BarClosed
from candled.ports import Act, FeedEvent, Hazard, Incident, Resume, StreamHealth, StreamState
from candled_adapters.exchanges.binance import SPOT
from candled_adapters.exchanges.dialect import Dialect, Rows
from candled_adapters.feeds.backlog import Nature, Patience, Read
from candled_adapters.feeds.budget import Allowance
from candled_adapters.feeds.continuity import Continuity
from candled_adapters.feeds.line import Common
from candled_adapters.feeds.questions import NotAnsweredError
from candled_adapters.feeds.session import Session
from candled_adapters.feeds.shard import Shard
from candled_adapters.feeds.socket import SocketSettings
from candled_adapters.feeds.stats import SourceStats
from candled_adapters.feeds.venuetime import VenueTime

NOW = time.time_ns() // 1_000_000 // HOUR * HOUR  # the bar that is open
QUICK = SocketSettings(
    first_retry_s=0.02,
    last_retry_s=0.1,
    ack_s=0.2,
    data_s=0.3,
    calm_s=0.0,
    first_refusal_s=0.2,
    look_s=0.03,
)
#: A venue that allows much, so that tests are quick.
GENEROUS = replace(SPOT, limits=replace(SPOT.limits, frames_per_second=200.0))


class History:
    """REST that has every bar up to now, and can be taken away."""

    def __init__(self) -> None:
        self.away = False
        self.until_ms = NOW
        self.asked = 0

    async def server_time(self, after: float) -> int:
        del after
        if self.away:
            raise NotAnsweredError("REST is away")
        return self.until_ms + 1000

    async def rows(self, stream: Stream, read: Read, *, urgent: bool = True) -> Rows:
        del stream, urgent
        self.asked += 1
        if self.away:
            raise NotAnsweredError("REST is away")
        end = min(read.end_ms or self.until_ms, self.until_ms)
        start = read.start_ms if read.start_ms is not None else end - (read.limit - 1) * HOUR
        opens = range(-(-start // HOUR) * HOUR, end + 1, HOUR)
        return Rows(Bars.of([bar_at(open_time) for open_time in list(opens)[: read.limit]]))


@dataclass
class Scene:
    """A running shard, its venue, and what has been reported."""

    venue: Scripted
    history: History
    stats: SourceStats
    events: list[FeedEvent]

    @property
    def states(self) -> list[tuple[str, StreamState]]:
        told = [event for event in self.events if isinstance(event, StreamHealth)]
        return [(event.stream.symbol, event.state) for event in told]

    def state(self, symbol: str) -> StreamState | None:
        return next((state for name, state in reversed(self.states) if name == symbol), None)

    def bars(self, symbol: str) -> list[int]:
        closed = [event for event in self.events if isinstance(event, BarClosed)]
        return [event.bar.open_time for event in closed if event.stream.symbol == symbol]

    def incidents(self, hazard: Hazard, act: Act) -> list[Incident]:
        told = [event for event in self.events if isinstance(event, Incident)]
        return [event for event in told if (event.hazard, event.act) == (hazard, act)]

    async def until(self, condition: Callable[[], object], seconds: float = 6.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"it did not happen; {self.events[-5:]}"
            await asyncio.sleep(0.005)

    async def all_live(self, symbols: Sequence[str]) -> None:
        await self.until(lambda: all(self.state(one) is StreamState.LIVE for one in symbols))


Body = Callable[[Scene], Awaitable[None]]


def play(
    symbols: Sequence[str],
    body: Body,
    *,
    settings: SocketSettings = QUICK,
    dialect: Dialect = GENEROUS,
    shards: int = 1,
    prepare: Callable[[Scene], None] = lambda _: None,
) -> None:
    """Run shards of `symbols` while `body` looks on; they must still run then."""

    async def main() -> None:
        async with Scripted(NOW) as venue:
            scene = Scene(venue, History(), SourceStats(), [])
            prepare(scene)
            running = asyncio.create_task(run(scene, symbols, settings, dialect, shards))
            try:
                await body(scene)
                assert not running.done()
            finally:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running

    asyncio.run(main())


async def run(
    scene: Scene, symbols: Sequence[str], settings: SocketSettings, dialect: Dialect, shards: int
) -> None:
    async def emit(events: Sequence[FeedEvent]) -> None:
        scene.events += events

    clock = VenueTime(lambda: None)
    patience = Patience(fallback_s=0.1, audit_reach=0, first_retry_s=0.05)
    machines = [
        Continuity(
            Resume(Stream("venue", symbol, "1h"), 0, NOW - 2 * HOUR),
            Nature.of(dialect),
            scene.stats,
            patience,
        )
        for symbol in symbols
    ]
    session = Session("venue", clock, scene.history, machines, emit, questions=8)
    common = Common(
        dialect, session, scene.stats, settings, Allowance(dialect.limits, len(machines))
    )
    url = f"{scene.venue.url}/stream"
    async with asyncio.TaskGroup() as tasks:
        session.start(tasks)
        tasks.create_task(session.make_contact(patience))
        for number in range(shards):
            tasks.create_task(Shard(common, url, machines[number::shards]).run())


def test_an_old_line_is_handed_over_without_a_gap():
    """Both push meanwhile, a bar that closes on both comes once, nobody is told of trouble."""

    async def body(scene: Scene) -> None:
        await scene.all_live("AB")
        await scene.until(lambda: set(scene.venue.visitors) == {1, 2})
        for symbol in "AB":
            await scene.venue.close_bar(symbol, NOW)
        await scene.until(lambda: len(scene.venue.handshakes) >= 4, 10)
        await scene.until(lambda: len(scene.venue.visitors) == 1)
        for symbol in "AB":
            assert scene.bars(symbol) == [NOW - HOUR, NOW]
            assert scene.state(symbol) is StreamState.LIVE
        assert StreamState.DEGRADED not in [state for _, state in scene.states]
        assert scene.stats.lost_connections == 0
        assert scene.stats.overlapped <= 2
        assert scene.stats.duplicates_same == 0
        told = scene.incidents(Hazard.SHUTDOWN_NOTICE, Act.HAND_OVER)
        assert "s old" in told[0].text

    play("AB", body, settings=replace(QUICK, max_age_s=0.6, stable_s=0.2))


def test_a_shutdown_notice_is_a_handover():
    """The new line is up and has data before the old one is closed, and then it is cut for good."""

    async def body(scene: Scene) -> None:
        await scene.all_live("AB")
        asked = scene.history.asked
        await scene.venue.warn(1)
        await scene.until(lambda: set(scene.venue.visitors) == {2})
        assert sorted(scene.venue.visitors[2].names) == [name_of("A"), name_of("B")]
        assert scene.history.asked == asked, "who was never without a subscription asks nothing"
        assert StreamState.DEGRADED not in [state for _, state in scene.states]
        assert len(scene.incidents(Hazard.SHUTDOWN_NOTICE, Act.HAND_OVER)) == 1

    play("AB", body)


def test_a_new_line_has_brought_data_before_the_old_one_is_closed():
    """An acknowledgement proves nothing: for a while the first data are waited for."""

    async def body(scene: Scene) -> None:
        await scene.all_live("A")
        scene.venue.frozen.add(2)
        await scene.venue.warn(1)
        await scene.until(lambda: 2 in scene.venue.visitors and scene.venue.visitors[2].names)
        for _ in range(20):
            await asyncio.sleep(0.01)
            assert set(scene.venue.visitors) == {1, 2}
        scene.venue.frozen.clear()
        await scene.until(lambda: set(scene.venue.visitors) == {2})

    play("A", body, settings=replace(QUICK, data_s=5.0))


def test_a_line_that_cannot_be_replaced_goes_on_until_it_is_cut():
    """Handshakes are refused: the old line lives, its bars come; once it is cut all is as usual."""

    async def body(scene: Scene) -> None:
        await scene.all_live("A")
        scene.venue.refusing = (503, "0")
        await scene.venue.warn(1)
        await scene.until(lambda: len(scene.venue.handshakes) >= 4)
        await scene.venue.close_bar("A", NOW)
        await scene.until(lambda: scene.bars("A") == [NOW - HOUR, NOW])
        assert scene.state("A") is StreamState.LIVE
        scene.venue.cut(1)
        await scene.until(lambda: scene.state("A") is StreamState.DEGRADED)
        scene.venue.refusing = None
        await scene.until(lambda: scene.state("A") is StreamState.LIVE)

    play("A", body)


def test_a_cut_is_noticed_while_no_other_line_may_be_made():
    """A handover must wait and the old line is cut: REST takes over at once, not after the wait."""

    async def body(scene: Scene) -> None:
        await scene.all_live("A")
        scene.venue.refusing = (429, "60")
        await scene.venue.warn(1)
        await scene.until(lambda: scene.incidents(Hazard.RATE_LIMIT, Act.HOLD))
        scene.venue.cut(1)
        await scene.until(lambda: scene.state("A") is StreamState.DEGRADED)
        assert len(scene.venue.handshakes) == 2

    play("A", body)


def test_a_new_line_that_brings_nothing_does_not_replace_one_that_does():
    """It acknowledges and stays silent, as a retired path does: the old one is kept."""

    async def body(scene: Scene) -> None:
        await scene.all_live("A")
        scene.venue.frozen |= {2, 3}
        await scene.venue.warn(1)
        await scene.until(lambda: len(scene.venue.handshakes) == 4)
        assert 1 in scene.venue.visitors
        await scene.until(lambda: set(scene.venue.visitors) == {4})
        assert StreamState.DEGRADED not in [state for _, state in scene.states]
        lost = scene.incidents(Hazard.CONNECTION_LOST, Act.RECONNECT)
        assert "it brings nothing, and line 1 does" in lost[0].text

    play("A", body, settings=replace(QUICK, data_s=0.15))


def test_a_cut_while_another_line_is_coming_is_bridged_by_rest():
    """The old line is cut before the new one is answered: degraded for a moment, nothing lost."""

    async def body(scene: Scene) -> None:
        await scene.all_live("A")
        scene.venue.answers = scene.venue.pushes = False
        await scene.venue.warn(1)
        await scene.until(lambda: len(scene.venue.handshakes) == 2)
        scene.venue.cut(1)
        await scene.until(lambda: scene.state("A") is StreamState.DEGRADED)
        scene.history.until_ms = NOW + HOUR
        await scene.until(lambda: scene.bars("A") == [NOW - HOUR, NOW])
        await scene.until(lambda: scene.state("A") is StreamState.LIVE)
        assert set(scene.venue.visitors) == {2}

    play("A", body)


def test_a_mute_stream_is_asked_for_anew_and_its_neighbours_are_not_disturbed():
    """One of three is silent: it alone is unsubscribed and subscribed, on the same line."""

    async def body(scene: Scene) -> None:
        await scene.all_live("ABC")
        scene.venue.deaf.add((1, name_of("B")))
        await scene.until(lambda: len(scene.venue.subscribed()) == 2)
        assert scene.venue.subscribed("UNSUBSCRIBE") == [(name_of("B"),)]
        assert scene.venue.subscribed()[1] == (name_of("B"),)
        assert scene.venue.deaf == set()
        assert set(scene.venue.visitors) == {1}
        (told,) = scene.incidents(Hazard.MUTE_STREAM, Act.RESUBSCRIBE)
        assert told.stream is not None
        assert told.stream.symbol == "B"
        assert "while 2 others are not" in told.text
        assert StreamState.DEGRADED not in [state for _, state in scene.states]

    play("ABC", body, settings=replace(QUICK, stream_silence_s=0.3))


def test_a_frozen_feed_is_left_for_another_line():
    """Pings are answered and nothing is pushed: the line is changed, not each subscription."""

    async def body(scene: Scene) -> None:
        await scene.all_live("AB")
        scene.venue.frozen.add(1)
        await scene.until(lambda: set(scene.venue.visitors) == {2})
        assert scene.venue.subscribed("UNSUBSCRIBE") == []
        (told,) = scene.incidents(Hazard.MUTE_CONNECTION, Act.RECONNECT)
        assert "none of 2 streams pushed anything" in told.text
        assert StreamState.DEGRADED not in [state for _, state in scene.states]

    play("AB", body, settings=replace(QUICK, stream_silence_s=0.3))


def test_a_refused_stream_is_found_among_its_neighbours_and_asked_for_again():
    """A frame that names a bad one is refused whole: seven live, one degrades, until it is let."""

    async def body(scene: Scene) -> None:
        good = "ABCDEGH"
        await scene.all_live(good)
        await scene.until(lambda: scene.state("F") is StreamState.DEGRADED)
        (told,) = scene.incidents(Hazard.REFUSED_SUBSCRIPTION, Act.RESUBSCRIBE)
        assert told.stream is not None
        assert told.stream.symbol == "F"
        assert scene.stats.control_errors >= 4
        scene.history.until_ms = NOW + HOUR
        alone = len(scene.venue.said)
        await scene.until(lambda: len(scene.venue.said) >= alone + 2)
        assert {said.names for said in scene.venue.said[alone:]} == {(name_of("F"),)}
        scene.venue.refused.clear()
        await scene.all_live("F")
        assert set(scene.venue.visitors) == {1}
        assert [name for name, state in scene.states if state is StreamState.DEGRADED] == ["F"]

    play("ABCDEFGH", body, prepare=lambda scene: scene.venue.refused.add(name_of("F")))


def test_a_refused_stream_is_not_asked_for_with_its_neighbours_on_the_next_line():
    """What is known to poison a frame is kept out of it."""

    async def body(scene: Scene) -> None:
        await scene.all_live("AC")
        await scene.until(lambda: scene.state("B") is StreamState.DEGRADED)
        scene.venue.cut(1)
        await scene.until(lambda: 2 in scene.venue.visitors and scene.venue.visitors[2].names)
        second = [said.names for said in scene.venue.said if said.connection == 2]
        assert second[0] == (name_of("A"), name_of("C"))

    settings = replace(QUICK, first_refusal_s=5.0)
    play("ABC", body, settings=settings, prepare=lambda s: s.venue.refused.add(name_of("B")))


def test_a_stream_that_is_refused_when_it_is_made_anew_is_carried_no_more():
    """It had gone quiet; the venue takes it back, then refuses it: degraded, until it is let."""

    async def body(scene: Scene) -> None:
        await scene.all_live("AB")
        scene.venue.refused.add(name_of("B"))
        scene.venue.mute.add(name_of("B"))
        await scene.until(lambda: scene.state("B") is StreamState.DEGRADED)
        scene.venue.refused.clear()
        scene.venue.mute.clear()
        await scene.all_live("B")
        assert "A" not in [name for name, state in scene.states if state is StreamState.DEGRADED]
        assert set(scene.venue.visitors) == {1}

    play("AB", body, settings=replace(QUICK, stream_silence_s=0.3))


def test_unanswered_subscriptions_are_taken_as_made():
    """A venue that says nothing to a subscription may still push."""

    async def body(scene: Scene) -> None:
        await scene.all_live("A")
        await scene.venue.close_bar("A", NOW)
        await scene.until(lambda: scene.bars("A") == [NOW - HOUR, NOW])

    play("A", body, prepare=lambda scene: setattr(scene.venue, "answers", False))


def test_bars_come_by_rest_while_no_connection_can_be_made():
    """Refused with Retry-After for ever: degraded, each bar once, one look a second, told once."""

    async def body(scene: Scene) -> None:
        await scene.until(lambda: scene.state("A") is StreamState.DEGRADED)
        await scene.until(lambda: scene.bars("A") == [NOW - HOUR, NOW])
        await scene.until(lambda: len(scene.venue.handshakes) >= 3)
        gaps = [after - before for before, after in pairwise(scene.venue.handshakes)]
        assert min(gaps) >= 0.99, "both shards stay away"
        (told,) = scene.incidents(Hazard.RATE_LIMIT, Act.HOLD)
        assert "no connection is tried for 1 s" in told.text
        scene.venue.refusing = None
        await scene.all_live("AB")

    def refuse(scene: Scene) -> None:
        scene.venue.refusing = (429, "1")
        scene.history.until_ms = NOW + HOUR

    play("AB", body, shards=2, prepare=refuse, dialect=one_connect_at_a_time())


def one_connect_at_a_time() -> Dialect:
    return replace(GENEROUS, limits=replace(GENEROUS.limits, connects=1, connect_window_s=0.2))


def test_pushed_bars_wait_for_a_rest_that_is_away_and_then_all_is_well():
    """The sockets do not wait for REST; what it brings late is joined to what was pushed."""

    async def body(scene: Scene) -> None:
        await scene.until(lambda: scene.venue.visitors and scene.venue.visitors[1].names)
        await scene.venue.close_bar("A", NOW)
        await scene.until(lambda: scene.stats.frames - scene.stats.open_frames >= 2)
        assert scene.bars("A") == []
        scene.history.away = False
        await scene.until(lambda: scene.bars("A") == [NOW - HOUR, NOW])
        await scene.all_live("A")

    play("A", body, prepare=lambda scene: setattr(scene.history, "away", True))


def test_a_thousand_streams_subscribe_within_the_limits():
    """Five frames a second and no more, also while a mute stream is asked for and lines change."""
    symbols = [f"S{number:04}" for number in range(1000)]

    async def body(scene: Scene) -> None:
        scene.venue.pushes = False
        await scene.until(lambda: sum(map(len, scene.venue.subscribed())) == 1000, 20)
        await scene.venue.warn(1)
        await scene.until(lambda: set(scene.venue.visitors) == {2}, 20)
        for number in (1, 2):
            times = [said.at_s for said in scene.venue.said if said.connection == number]
            assert len(times) == 5
            assert all(after - before >= 0.2 for before, after in pairwise(times))
        assert scene.stats.malformed == 0

    play(symbols, body, dialect=SPOT)


def test_connections_of_all_shards_share_the_venues_limit():
    """Two connects in 0.4 s: four shards that start, and lines that are cut, keep to it."""

    async def body(scene: Scene) -> None:
        await scene.until(lambda: len(scene.venue.visitors) == 4)
        for number in list(scene.venue.visitors):
            scene.venue.cut(number)
        await scene.until(lambda: len(scene.venue.handshakes) == 8)
        times = scene.venue.handshakes
        # Eight need three windows. A busy machine may bring two of them closer together.
        assert times[-1] - times[0] >= 3 * 0.4 - 0.25

    two = replace(GENEROUS.limits, connects=2, connect_window_s=0.4)
    play("ABCD", body, shards=4, dialect=replace(GENEROUS, limits=two))


def test_a_venue_without_room_for_two_is_left_and_entered_again():
    """Where all subscriptions count together, a line ends before the next begins."""

    async def body(scene: Scene) -> None:
        await scene.all_live("AB")
        await scene.venue.warn(1)
        await scene.until(lambda: set(scene.venue.visitors) == {2})
        assert StreamState.DEGRADED in [state for _, state in scene.states]
        await scene.all_live("AB")

    full = replace(GENEROUS.limits, streams_in_all=3)
    play("AB", body, dialect=replace(GENEROUS, limits=full))
