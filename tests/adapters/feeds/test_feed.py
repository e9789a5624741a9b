"""A feed against a venue on loopback, with everything in between real."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Awaitable, Callable, Sequence

from candled.core.bar import HOUR, Bar, Bars, Interval, Stream
from candled.core.decision import BarClosed, Source
from candled.ports import (
    FeedEvent,
    Hazard,
    History,
    Incident,
    Resume,
    StreamHealth,
    StreamState,
)
from candled_adapters.exchanges.binance import SPOT
from candled_adapters.feeds.backlog import Patience
from candled_adapters.feeds.feed import FeedSettings, VenueFeed
from candled_adapters.feeds.socket import SocketSettings
from candled_adapters.simulator.generator import generate_many
from candled_adapters.simulator.server import Simulator

INTERVAL = Interval("1h")
START = 1_700_000_000_000 // HOUR * HOUR
FAST = 360_000.0  # venue seconds a second: 100 one-hour bars
QUICK = FeedSettings(socket=SocketSettings(first_retry_s=0.02, last_retry_s=0.2, look_s=0.05))


def candles(count: int, symbols: Sequence[str] = ("BTCUSDT",)) -> dict[str, Bars]:
    return generate_many(7, symbols, INTERVAL, START, count)


def stream(symbol: str = "BTCUSDT") -> Stream:
    return Stream("sim", symbol, "1h")


class Report:
    """Keeps what a feed reports."""

    def __init__(self) -> None:
        self.batches: list[list[FeedEvent]] = []
        self.changed = asyncio.Event()

    async def emit(self, events: Sequence[FeedEvent]) -> None:
        self.batches.append(list(events))
        self.changed.set()

    @property
    def events(self) -> list[FeedEvent]:
        return [event for batch in self.batches for event in batch]

    def closed(self, symbol: str = "BTCUSDT") -> list[BarClosed]:
        events = [event for event in self.events if isinstance(event, BarClosed)]
        return [event for event in events if event.stream.symbol == symbol]

    def bars(self, symbol: str = "BTCUSDT") -> list[Bar]:
        return [event.bar for event in self.closed(symbol)]

    @property
    def histories(self) -> list[History]:
        return [event for event in self.events if isinstance(event, History)]

    @property
    def states(self) -> list[StreamState]:
        return [event.state for event in self.events if isinstance(event, StreamHealth)]

    async def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Wait for what the feed will report; fail when it takes too long."""
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), 0.05)


def feed_of(venue: Simulator, settings: FeedSettings, websocket_base: str | None) -> VenueFeed:
    return VenueFeed(
        "sim",
        SPOT,
        websocket_base=websocket_base or venue.ws_url,
        rest_base=venue.rest_url,
        settings=settings,
    )


@dataclasses.dataclass(frozen=True)
class Scene:
    """A running feed, its venue, and what it has reported."""

    feed: VenueFeed
    report: Report
    venue: Simulator


Body = Callable[[Scene], Awaitable[None]]


def play(
    venue_of: Callable[[], Simulator],
    resume: Sequence[Resume],
    body: Body,
    *,
    settings: FeedSettings = QUICK,
    websocket_base: str | None = None,
) -> None:
    """Run a feed on a simulated venue while `body` looks on; the feed must still run then."""

    async def main() -> None:
        async with venue_of() as venue:
            feed, report = feed_of(venue, settings, websocket_base), Report()
            running = asyncio.create_task(feed.run(resume, report.emit))
            try:
                await body(Scene(feed, report, venue))
                assert not running.done()
            finally:
                running.cancel()
                began = time.monotonic()
                with contextlib.suppress(asyncio.CancelledError):
                    await running
                assert time.monotonic() - began < 1.0

    asyncio.run(main())


def test_history_then_every_bar_once_at_a_hundred_bars_a_second():
    """The history ends where the reports begin; nothing is missing, nothing comes twice."""
    table = candles(600)["BTCUSDT"]
    everything = list(table)

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: len(scene.report.bars()) >= 120)
        (history,) = scene.report.histories
        assert len(history.bars) == 200
        assert not history.from_listing
        assert (
            list(history.bars) + scene.report.bars()
            == everything[history_start(history, table) :][: 200 + len(scene.report.bars())]
        )
        live = [event for event in scene.report.closed() if event.source is Source.WS]
        assert len(live) >= 90
        assert all(event.received_ms >= event.bar.close_time for event in live)
        assert scene.feed.stats.malformed == 0
        assert scene.report.states == [StreamState.WARMING, StreamState.LIVE]

    play(
        lambda: Simulator({"BTCUSDT": table}, INTERVAL, speed=FAST, start_at=300),
        [Resume(stream(), 200, None)],
        body,
    )


def history_start(history: History, table: Bars) -> int:
    return int(table.open_time.searchsorted(history.bars.open_time[0]))


def test_a_dropped_connection_and_a_hidden_close_lose_nothing():
    """At 100 bars a second: a lost push, two cut connections, a REST that fails for a while."""
    table = candles(800)["BTCUSDT"]
    everything = list(table)
    hidden = int(table.open_time[400])

    async def body(scene: Scene) -> None:
        scene.venue.faults.hide("BTCUSDT", hidden)
        scene.venue.faults.double("BTCUSDT", int(table.open_time[450]))
        await scene.report.until(lambda: len(scene.report.bars()) >= 160)
        scene.venue.drop_connections(None)
        scene.venue.faults.refuse_rest(500, seconds=0.3)
        await scene.report.until(lambda: len(scene.report.bars()) >= 250)
        scene.venue.drop_connections(1001)
        await scene.report.until(lambda: len(scene.report.bars()) >= 320)
        bars = scene.report.bars()
        assert bars == everything[300 - early(bars, table) :][: len(bars)]
        assert scene.feed.stats.duplicates_same >= 1
        assert scene.feed.stats.connects >= 3
        assert scene.report.states.count(StreamState.DEGRADED) == 2
        assert scene.report.states[-1] is StreamState.LIVE
        sources = {event.source for event in scene.report.closed()}
        assert sources >= {Source.WS, Source.BACKFILL}

    play(
        lambda: Simulator({"BTCUSDT": table}, INTERVAL, speed=FAST, start_at=300),
        [Resume(stream(), 0, int(table.open_time[299]))],
        body,
    )


def early(bars: list[Bar], table: Bars) -> int:
    return 300 - int(table.open_time.searchsorted(bars[0].open_time))


def test_a_slot_that_never_was_is_passed_over():
    """Twenty absent bars are a confirmed gap within seconds, and the stream goes on."""
    rows = list(candles(700)["BTCUSDT"])
    rows = rows[:350] + rows[370:]

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: len(scene.report.bars()) >= 140)
        bars = scene.report.bars()
        assert bars == rows[rows.index(bars[0]) :][: len(bars)]
        assert scene.feed.stats.gaps == 1
        assert StreamState.HOLDING in scene.report.states

    play(
        lambda: Simulator({"BTCUSDT": Bars.of(rows)}, INTERVAL, speed=FAST, start_at=300),
        [Resume(stream(), 10, None)],
        body,
    )


def test_many_pages_are_caught_up():
    """A stream that was away for 3,500 bars gets them all, in order, then goes live."""
    table = candles(4_000)["BTCUSDT"]

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: StreamState.LIVE in scene.report.states)
        await scene.report.until(lambda: len(scene.report.bars()) >= 3_483)
        bars = scene.report.bars()
        assert bars == list(table[400 : 400 + len(bars)])
        (history,) = scene.report.histories
        assert list(history.bars) == list(table[300:400])

    play(
        lambda: Simulator({"BTCUSDT": table}, INTERVAL, speed=FAST / 10, start_at=3_880),
        [Resume(stream(), 100, int(table.open_time[399]))],
        body,
    )


def test_streams_that_close_together_are_reported_together():
    """Forty symbols' closes of one slot arrive as few batches, each stream complete."""
    symbols = [f"S{number}USDT" for number in range(40)]
    tables = candles(200, symbols)

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: all(len(scene.report.bars(s)) >= 20 for s in symbols))
        for symbol in symbols:
            bars = scene.report.bars(symbol)
            first = int(tables[symbol].open_time.searchsorted(bars[0].open_time))
            assert bars == list(tables[symbol][first : first + len(bars)])
        sizes = [
            sum(isinstance(event, BarClosed) for event in batch) for batch in scene.report.batches
        ]
        assert max(sizes) >= 20

    play(
        lambda: Simulator(tables, INTERVAL, speed=FAST / 5, start_at=120),
        [Resume(stream(symbol), 100, None) for symbol in symbols],
        body,
    )


def test_an_unknown_symbol_stops_its_stream_alone():
    """The venue does not know it; the others live on."""
    table = candles(400)["BTCUSDT"]

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: len(scene.report.bars()) >= 20)
        stopped = [
            event
            for event in scene.report.events
            if isinstance(event, StreamHealth) and event.state is StreamState.STOPPED
        ]
        assert [event.stream.symbol for event in stopped] == ["NOPEUSDT"]

    play(
        lambda: Simulator({"BTCUSDT": table}, INTERVAL, speed=FAST, start_at=300),
        [Resume(stream(), 10, None), Resume(stream("NOPEUSDT"), 10, None)],
        body,
    )


def test_retry_after_is_obeyed():
    """A 429 with Retry-After: 1 silences all questions for a second."""
    table = candles(900)["BTCUSDT"]

    async def body(scene: Scene) -> None:
        scene.venue.faults.refuse_rest(429, retry_after_s=1, seconds=0.5)
        await scene.report.until(lambda: scene.report.histories)
        refused = [one.at_s for one in scene.venue.requests if one.status == 429]
        answered = [one.at_s for one in scene.venue.requests if one.status == 200]
        assert refused
        assert min(answered) - max(refused) >= 0.95

    play(
        lambda: Simulator({"BTCUSDT": table}, INTERVAL, speed=FAST, start_at=300),
        [Resume(stream(), 10, None)],
        body,
    )


def test_the_clock_follows_a_venue_that_runs_fast():
    """Rate and offset of the simulator are found; venue durations are short in ours."""
    table = candles(900)["BTCUSDT"]

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: len(scene.report.bars()) >= 100)
        assert abs(scene.feed.clock.now_ms() - scene.venue.now_ms()) < 20 * HOUR
        assert 0.005 < scene.feed.clock.local_seconds(HOUR) < 0.02

    play(
        lambda: Simulator({"BTCUSDT": table}, INTERVAL, speed=FAST, start_at=300),
        [Resume(stream(), 10, None)],
        body,
    )


def test_a_mute_venue_is_read_by_rest():
    """Acks and pings but no data: after the grace, closes come by REST."""
    table = candles(600)["BTCUSDT"]

    async def body(scene: Scene) -> None:
        scene.venue.faults.mute()
        await scene.report.until(lambda: len(scene.report.bars()) >= 3, 15)
        sources = {event.source for event in scene.report.closed()}
        assert Source.WS not in sources
        assert Source.REST in sources
        bars = scene.report.bars()
        assert bars == list(table[300 : 300 + len(bars)])

    play(
        lambda: Simulator({"BTCUSDT": table}, INTERVAL, speed=36_000, start_at=300),
        [Resume(stream(), 0, int(table.open_time[299]))],
        body,
    )


def test_streams_are_spread_over_connections():
    """A venue that allows two streams a connection gets three connections for five."""
    symbols = [f"S{number}USDT" for number in range(5)]
    tables = candles(400, symbols)
    small = dataclasses.replace(
        SPOT, limits=dataclasses.replace(SPOT.limits, streams_per_connection=2)
    )

    async def main() -> None:
        async with Simulator(tables, INTERVAL, speed=FAST / 10, start_at=300) as venue:
            report = Report()
            feed = VenueFeed(
                "sim", small, websocket_base=venue.ws_url, rest_base=venue.rest_url, settings=QUICK
            )
            resume = [Resume(stream(symbol), 5, None) for symbol in symbols]
            running = asyncio.create_task(feed.run(resume, report.emit))
            try:
                await report.until(lambda: all(len(report.bars(s)) >= 5 for s in symbols))
                assert venue.connections == 3
            finally:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running

    asyncio.run(main())


def test_lines_that_grow_old_are_replaced_while_bars_close_and_nothing_shows():
    """Four renewals at 50 bars a second: every bar once, by push, and live all the time."""
    table = candles(900)["BTCUSDT"]
    everything = list(table)

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: scene.feed.stats.connects >= 5, 20)
        await scene.report.until(lambda: scene.venue.connections == 1)
        bars = scene.report.bars()
        assert bars == everything[300 : 300 + len(bars)]
        assert scene.report.states == [StreamState.WARMING, StreamState.LIVE]
        assert scene.feed.stats.lost_connections == 0
        assert scene.feed.stats.duplicates_same == 0
        assert scene.feed.stats.overlapped >= 1

    aging = SocketSettings(max_age_s=0.6, stable_s=0.3, data_s=0.5, look_s=0.05)
    play(
        lambda: Simulator({"BTCUSDT": table}, INTERVAL, speed=FAST / 2, start_at=300),
        [Resume(stream(), 0, int(table.open_time[299]))],
        body,
        settings=FeedSettings(socket=aging),
    )


def test_without_any_connection_bars_come_by_rest():
    """No handshake ever succeeds: degraded, each bar once and in order, for as long as it takes."""
    table = candles(600)["BTCUSDT"]

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: len(scene.report.bars()) >= 12, 15)
        bars = scene.report.bars()
        assert bars == list(table[300 : 300 + len(bars)])
        assert StreamState.DEGRADED in scene.report.states
        assert StreamState.LIVE not in scene.report.states
        assert scene.feed.stats.connects == 0
        told = [event for event in scene.report.events if isinstance(event, Incident)]
        assert Hazard.CONNECTION_LOST in {event.hazard for event in told}

    patience = Patience(fallback_s=0.2, grace_s=0.1)
    play(
        lambda: Simulator({"BTCUSDT": table}, INTERVAL, speed=18_000, start_at=300),
        [Resume(stream(), 0, int(table.open_time[299]))],
        body,
        settings=FeedSettings(socket=QUICK.socket, patience=patience),
        websocket_base="ws://127.0.0.1:9",
    )


def test_a_rest_that_is_away_at_the_start_ends_in_live():
    """The connection is made meanwhile, what it pushes is kept, and nothing is missing after."""
    table = candles(600)["BTCUSDT"]

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: scene.venue.connections == 1)
        await scene.report.until(lambda: StreamState.LIVE in scene.report.states, 15)
        (history,) = scene.report.histories
        await scene.report.until(lambda: len(scene.report.bars()) >= 5)
        first = history_start(history, table)
        whole = [*history.bars, *scene.report.bars()]
        assert whole == list(table[first : first + len(whole)])
        refused = [one for one in scene.venue.requests if one.status == 500]
        connected = min(one.at_s for one in scene.venue.requests if one.status == 101)
        assert max(one.at_s for one in refused) > connected

    def without_rest() -> Simulator:
        venue = Simulator({"BTCUSDT": table}, INTERVAL, speed=36_000, start_at=300)
        venue.faults.refuse_rest(500, seconds=0.8)
        return venue

    play(without_rest, [Resume(stream(), 50, None)], body)
