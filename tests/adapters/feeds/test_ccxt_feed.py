"""A feed through the real ccxt against a venue on loopback; skipped where ccxt is not installed.

ccxt's binanceus knows one market and takes pushes from any host. Its binance asks for three markets
and knows its spot pushes by the host's name: on loopback it hears none, and REST alone closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
from collections.abc import Awaitable, Callable, Sequence

import pytest

from candled.core.bar import HOUR, Bar, Bars, Interval, Stream
from candled.core.decision import BarClosed, Source
from candled.ports import FeedEvent, History, Resume, StreamHealth, StreamState
from candled_adapters.exchanges.registry import live_venue
from candled_adapters.feeds.backlog import Patience
from candled_adapters.feeds.ccxt_feed import CcxtFeed, CcxtSettings
from candled_adapters.feeds.pushed import same
from candled_adapters.simulator.generator import generate_many
from candled_adapters.simulator.server import Simulator
from fakes import until

pytest.importorskip("ccxt", reason="ccxt is an optional dependency")

HOURLY = Interval("1h")
START = 1_700_000_000_000 // HOUR * HOUR
SPEED = 54_000.0  # venue seconds a second: 15 one-hour bars, as ccxt keeps the venue's rate limit
# No bar is asked for because it is late, but where a test says so: pushes are the sign.
QUICK = CcxtSettings(
    patience=Patience(grace_s=60.0, confirm_s=0.1, first_retry_s=0.02),
    first_retry_s=0.02,
    last_retry_s=0.2,
)
BTC = Stream("sim", "BTC-USDT", "1h")


def candles(count: int) -> Bars:
    return generate_many(7, ("BTCUSDT",), HOURLY, START, count)["BTCUSDT"]


def shown(bars: Bars) -> list[Bar]:
    """Return bars as ccxt can show them."""
    lacking = ("quote_volume", "trades", "taker_buy_base", "taker_buy_quote")
    return [dataclasses.replace(bar, **dict.fromkeys(lacking, math.nan)) for bar in bars]


class Report:
    """Keeps what a feed reports."""

    def __init__(self) -> None:
        self.events: list[FeedEvent] = []

    async def emit(self, events: Sequence[FeedEvent]) -> None:
        self.events += events

    def closed(self, symbol: str = BTC.symbol) -> list[BarClosed]:
        events = [event for event in self.events if isinstance(event, BarClosed)]
        return [event for event in events if event.stream.symbol == symbol]

    def bars(self) -> list[Bar]:
        return [event.bar for event in self.closed()]

    @property
    def health(self) -> list[StreamHealth]:
        return [event for event in self.events if isinstance(event, StreamHealth)]

    @property
    def states(self) -> list[StreamState]:
        return [event.state for event in self.health if event.stream == BTC]


@dataclasses.dataclass(frozen=True)
class Scene:
    """A running feed, its venue, and what it has reported."""

    feed: CcxtFeed
    report: Report
    venue: Simulator


def play(
    table: Bars,
    resume: Sequence[Resume],
    body: Callable[[Scene], Awaitable[None]],
    *,
    name: str = "ccxt:binanceus",
    page: int | None = None,
    grace_s: float = QUICK.patience.grace_s,
) -> None:
    """Run a feed on a venue whose bars from 300 on close while `body` looks on."""

    async def main() -> None:
        venue = live_venue(name)
        venue = venue if page is None else dataclasses.replace(venue, page=page)
        patience = dataclasses.replace(QUICK.patience, grace_s=grace_s)
        async with Simulator({"BTCUSDT": table}, HOURLY, speed=SPEED, start_at=300) as simulator:
            report = Report()
            feed = CcxtFeed(
                "sim",
                venue,
                websocket_base=simulator.ws_url,
                rest_base=simulator.rest_url,
                settings=dataclasses.replace(QUICK, patience=patience),
            )
            running = asyncio.create_task(feed.run(resume, report.emit))
            try:
                await body(Scene(feed, report, simulator))
                assert not running.done()
            finally:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    async with asyncio.timeout(1.0):
                        await running

    asyncio.run(main())


def assert_same(found: Sequence[Bar], expected: Sequence[Bar]) -> None:
    """Compare bars to the bit, NaN equal to NaN."""
    assert [bar.open_time for bar in found] == [bar.open_time for bar in expected]
    for one, other in zip(found, expected, strict=True):
        assert same(one, other), (one, other)


def test_history_then_every_bar_once_in_order():
    """The tape's own numbers, none missing, none twice, each proven by a later bar of REST."""
    table = candles(500)
    expected = shown(table)

    async def body(scene: Scene) -> None:
        await until(lambda: len(scene.report.bars()) >= 15, 20)
        (history,) = [event for event in scene.report.events if isinstance(event, History)]
        assert len(history.bars) == 120
        assert not history.from_listing
        bars = scene.report.bars()
        first = int(table.open_time.searchsorted(history.bars.open_time[0]))
        assert_same([*history.bars, *bars], expected[first : first + 120 + len(bars)])
        assert all(
            event.source in (Source.REST, Source.BACKFILL) for event in scene.report.closed()
        )
        assert all(event.received_ms > event.bar.close_time for event in scene.report.closed())
        assert scene.report.states == [StreamState.WARMING, StreamState.LIVE]
        assert scene.feed.stats.frames > 10, "pushes are the sign to ask"
        assert scene.feed.stats.malformed == 0
        assert scene.feed.closing.mark == "inferred"

    play(table, [Resume(BTC, 120, None)], body, page=50)


def test_a_lost_connection_and_an_outage_lose_nothing():
    """A cut socket is told and made again; absent bars are a gap once history confirms them."""
    rows = list(candles(500))
    rows = rows[:330] + rows[334:]
    table = Bars.of(rows)
    expected = shown(table)

    async def body(scene: Scene) -> None:
        await until(lambda: len(scene.report.bars()) >= 6, 20)
        scene.venue.drop_connections(None)
        await until(lambda: len(scene.report.bars()) >= 20, 20)
        assert scene.feed.stats.lost_connections == 1
        assert scene.feed.stats.connects == 2
        assert StreamState.DEGRADED in scene.report.states
        await until(lambda: scene.report.states[-1] is StreamState.LIVE)
        scene.venue.faults.refuse_rest(500, seconds=0.5)
        await until(lambda: len(scene.report.bars()) >= 40, 20)
        assert_same(scene.report.bars(), expected[300 : 300 + len(scene.report.bars())])
        assert scene.feed.stats.gaps == 1
        assert scene.feed.stats.rest_failures >= 1

    play(table, [Resume(BTC, 0, rows[299].open_time)], body)


def test_no_bar_goes_out_without_a_later_one_in_its_own_answer():
    """While REST hides what follows, the stream holds; no clock, and no push, closes its bar."""
    table = candles(500)
    opens = table.open_time.tolist()

    async def body(scene: Scene) -> None:
        for later in opens[308:]:
            scene.venue.faults.hide("BTCUSDT", later, ws=False, rest=True)
        await until(lambda: StreamState.HOLDING in scene.report.states, 20)
        assert scene.venue.now_ms() > opens[308]
        assert scene.report.bars()[-1].open_time == opens[306]
        for later in opens[308:]:
            scene.venue.faults.show("BTCUSDT", later)
        await until(lambda: len(scene.report.bars()) >= 20, 20)
        assert_same(scene.report.bars(), shown(table)[300 : 300 + len(scene.report.bars())])

    play(table, [Resume(BTC, 0, opens[299])], body)


def test_a_venue_that_pushes_nothing_is_asked_when_its_bar_is_due():
    """Binance by ccxt on loopback: three kinds of markets are loaded, and REST alone closes."""
    table = candles(500)

    async def body(scene: Scene) -> None:
        await until(lambda: len(scene.report.bars()) >= 8, 20)
        bars = scene.report.bars()
        first = int(table.open_time.searchsorted(bars[0].open_time))
        assert_same(bars, shown(table)[first : first + len(bars)])
        assert scene.feed.stats.frames == 0

    play(table, [Resume(BTC, 10, None)], body, name="ccxt:binance", grace_s=0.3)


def test_the_end_of_a_history_is_not_taken_for_the_listing():
    """How far back a venue goes is not known: older bars may exist where it does not show them."""
    table = candles(500)

    async def body(scene: Scene) -> None:
        await until(lambda: len(scene.report.bars()) >= 1, 20)
        (history,) = [event for event in scene.report.events if isinstance(event, History)]
        assert len(history.bars) >= 300
        assert_same(list(history.bars), shown(table)[: len(history.bars)])
        assert not history.from_listing

    play(table, [Resume(BTC, 400, None)], body)


def test_what_closes_after_the_first_contact_is_decided():
    """REST that fails for a while after it has told the time: history ends at that time."""
    table = candles(500)

    async def body(scene: Scene) -> None:
        await until(lambda: scene.venue.requests)
        scene.venue.faults.refuse_rest(500, seconds=0.6)
        await until(lambda: len(scene.report.bars()) >= 8, 20)
        (history,) = [event for event in scene.report.events if isinstance(event, History)]
        contact_ms = scene.venue.requests[0].venue_ms
        assert history.bars.close_time[-1] < contact_ms
        assert scene.report.bars()[0].close_time >= contact_ms
        assert scene.feed.stats.rest_failures >= 1

    play(table, [Resume(BTC, 10, None)], body)


def test_an_unknown_symbol_stops_its_stream_alone():
    """The venue's markets do not have it; what may be meant is said, its neighbour lives on."""
    table = candles(500)
    stranger = Stream("sim", "BTC-USDC", "1h")

    async def body(scene: Scene) -> None:
        await until(lambda: len(scene.report.bars()) >= 5, 20)
        stopped = [event for event in scene.report.health if event.state is StreamState.STOPPED]
        assert [event.stream for event in stopped] == [stranger]
        assert "no market 'BTC-USDC'; did you mean 'BTC-USDT'?" in stopped[0].reason

    play(table, [Resume(BTC, 10, None), Resume(stranger, 10, None)], body)


def test_retry_after_is_obeyed():
    """A 429 with Retry-After: 1 silences all questions for a second, and costs no bar."""
    table = candles(500)

    async def body(scene: Scene) -> None:
        await until(lambda: len(scene.report.bars()) >= 2, 20)
        scene.venue.faults.refuse_rest(429, retry_after_s=1, seconds=0.3)
        known = len(scene.report.bars())
        await until(lambda: len(scene.report.bars()) >= known + 12, 20)
        requests = list(scene.venue.requests)
        refused = max(one.at_s for one in requests if one.status == 429)
        after = [one.at_s for one in requests if one.at_s > refused]
        assert min(after) - refused >= 0.9
        assert_same(scene.report.bars(), shown(table)[300 : 300 + len(scene.report.bars())])

    play(table, [Resume(BTC, 0, int(table.open_time[299]))], body)
