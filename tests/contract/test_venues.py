"""Every dialect against its own simulated venue: pages of history, and bars as they close.

The simulated venues are written from the documents and share nothing with the dialects.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import httpx
import pytest

from candled.core.bar import HOUR, Bar, Bars, Interval, Stream
from candled.core.decision import BarClosed, Source
from candled.ports import FeedEvent, History, Resume, StreamHealth, StreamState
from candled_adapters.exchanges.dialect import Closing, Dialect, KeepAlive, Page
from candled_adapters.exchanges.registry import DIALECTS
from candled_adapters.feeds.backlog import Patience
from candled_adapters.feeds.feed import FeedSettings, VenueFeed
from candled_adapters.feeds.pushed import same
from candled_adapters.feeds.rest import clipped
from candled_adapters.feeds.socket import SocketSettings
from candled_adapters.simulator.generator import generate_many
from candled_adapters.simulator.server import Simulator
from candled_adapters.simulator.venues import VENUES
from contract.cases import CASES, Case

HOURLY = Interval("1h")
START = 1_700_000_000_000 // HOUR * HOUR
SPEED = 144_000.0  # venue seconds a second: 40 one-hour bars
QUICK = FeedSettings(
    socket=SocketSettings(first_retry_s=0.02, last_retry_s=0.2),
    patience=Patience(grace_s=0.3, confirm_s=0.1, first_retry_s=0.02),
)
case_of = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}:{case.symbol}")


def hurried(dialect: Dialect, **limits: int) -> Dialect:
    """Lift the limit on REST questions: the simulated venue's hours are moments."""
    return replace(dialect, limits=replace(dialect.limits, questions=100_000, **limits))


def candles(count: int, *symbols: str) -> dict[str, Bars]:
    return generate_many(7, symbols, HOURLY, START, count)


class Report:
    """Keeps what a feed reports."""

    def __init__(self) -> None:
        self.events: list[FeedEvent] = []
        self.changed = asyncio.Event()

    async def emit(self, events: Sequence[FeedEvent]) -> None:
        self.events += events
        self.changed.set()

    def closed(self, symbol: str) -> list[BarClosed]:
        events = [event for event in self.events if isinstance(event, BarClosed)]
        return [event for event in events if event.stream.symbol == symbol]

    def bars(self, symbol: str) -> list[Bar]:
        return [event.bar for event in self.closed(symbol)]

    @property
    def states(self) -> list[StreamState]:
        return [event.state for event in self.events if isinstance(event, StreamHealth)]

    async def until(self, condition: Callable[[], object], seconds: float = 15.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), 0.05)


@dataclass(frozen=True)
class Scene:
    """A running feed, its venue, and what it has reported."""

    feed: VenueFeed
    report: Report
    venue: Simulator


def play(
    venue: Simulator,
    dialect: Dialect,
    resume: Sequence[Resume],
    body: Callable[[Scene], Awaitable[None]],
) -> None:
    """Run a feed on a simulated venue while `body` looks on; the feed must still run then."""

    async def main() -> None:
        async with venue:
            base = {"websocket_base": venue.ws_url, "rest_base": venue.rest_url}
            feed, report = VenueFeed("venue", dialect, **base, settings=QUICK), Report()
            running = asyncio.create_task(feed.run(resume, report.emit))
            try:
                await body(Scene(feed, report, venue))
                assert not running.done()
            finally:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running

    asyncio.run(main())


def simulator(case: Case, tables: dict[str, Bars], *, start_at: int, speed: float = SPEED):
    return Simulator(tables, HOURLY, venue=VENUES[case.name], speed=speed, start_at=start_at)


def assert_same(found: Sequence[Bar], expected: Sequence[Bar]) -> None:
    """Compare bars to the bit, NaN equal to NaN."""
    assert [bar.open_time for bar in found] == [bar.open_time for bar in expected]
    for one, other in zip(found, expected, strict=True):
        assert same(one, other), (one, other)


@case_of
def test_history_then_every_bar_once_in_order(case: Case):
    """The tape's own numbers, none missing, none twice; a flag closes by push, else REST proves."""
    table = candles(400, case.symbol)[case.symbol]
    shown = [case.shown(bar) for bar in table]

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: len(scene.report.bars(case.symbol)) >= 12)
        (history,) = [event for event in scene.report.events if isinstance(event, History)]
        assert len(history.bars) == 100
        assert not history.from_listing
        bars = scene.report.bars(case.symbol)
        first = int(table.open_time.searchsorted(history.bars.open_time[0]))
        assert_same([*history.bars, *bars], shown[first : first + 100 + len(bars)])
        sources = {event.source for event in scene.report.closed(case.symbol)}
        flagged = case.dialect.closing is Closing.FLAG
        assert (Source.WS in sources) == flagged
        for event in scene.report.closed(case.symbol):
            assert event.received_ms > event.bar.close_time
        assert scene.report.states == [StreamState.WARMING, StreamState.LIVE]
        assert scene.feed.stats.malformed == 0
        assert scene.feed.stats.control_errors == 0

    resume = [Resume(case.stream, 100, None)]
    play(simulator(case, {case.symbol: table}, start_at=300), hurried(case.dialect), resume, body)


@case_of
def test_lost_connections_a_hidden_close_and_an_outage_lose_nothing(case: Case):
    """Absent bars are a confirmed gap, a hidden sign and cut sockets cost time, never a bar."""
    rows = list(candles(420, case.symbol)[case.symbol])
    rows = rows[:330] + rows[334:]
    shown = [case.shown(bar) for bar in rows]

    async def body(scene: Scene) -> None:
        scene.venue.faults.hide(case.symbol, rows[306].open_time)
        scene.venue.faults.double(case.symbol, rows[310].open_time)
        await scene.report.until(lambda: len(scene.report.bars(case.symbol)) >= 14)
        scene.venue.drop_connections(None)
        await scene.report.until(lambda: len(scene.report.bars(case.symbol)) >= 36, 25)
        bars = scene.report.bars(case.symbol)
        assert_same(bars, shown[300 : 300 + len(bars)])
        assert scene.feed.stats.gaps == 1
        assert scene.feed.stats.connects == 2

    resume = [Resume(case.stream, 0, rows[299].open_time)]
    table = {case.symbol: Bars.of(rows)}
    play(simulator(case, table, start_at=300), hurried(case.dialect), resume, body)


@case_of
def test_a_stream_that_was_away_catches_up_over_many_pages(case: Case):
    """Pages of 40 rows going forward, history going back, each row once; then live."""
    table = candles(520, case.symbol)[case.symbol]
    shown = [case.shown(bar) for bar in table]
    small = hurried(case.dialect, history_page=40)

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: StreamState.LIVE in scene.report.states)
        await scene.report.until(lambda: len(scene.report.bars(case.symbol)) >= 302)
        bars = scene.report.bars(case.symbol)
        assert_same(bars, shown[200 : 200 + len(bars)])
        (history,) = [event for event in scene.report.events if isinstance(event, History)]
        assert_same(list(history.bars), shown[100:200])

    resume = [Resume(case.stream, 100, int(table.open_time[199]))]
    venue = simulator(case, {case.symbol: table}, start_at=500, speed=SPEED / 4)
    play(venue, small, resume, body)


@case_of
def test_a_history_shorter_than_wanted_is_the_listing(case: Case):
    """A venue that has only 30 bars is asked until that is sure, and they are all."""
    table = candles(60, case.symbol)[case.symbol]

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: len(scene.report.bars(case.symbol)) >= 1)
        (history,) = [event for event in scene.report.events if isinstance(event, History)]
        assert history.from_listing
        assert_same(list(history.bars), [case.shown(bar) for bar in table][: len(history.bars)])
        assert len(history.bars) >= 30

    resume = [Resume(case.stream, 200, None)]
    venue = simulator(case, {case.symbol: table}, start_at=30, speed=SPEED / 4)
    play(venue, hurried(case.dialect), resume, body)


@case_of
def test_an_unknown_symbol_stops_its_stream_alone(case: Case):
    """The venue does not know it; its neighbour on the connection lives on."""
    table = candles(340, case.symbol)[case.symbol]
    stranger = case.symbol.replace("BTC", "NOPE")

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: len(scene.report.bars(case.symbol)) >= 5)
        stopped = [
            event.stream.symbol
            for event in scene.report.events
            if isinstance(event, StreamHealth) and event.state is StreamState.STOPPED
        ]
        assert set(stopped) == {stranger}

    resume = [Resume(case.stream, 10, None), Resume(Stream("venue", stranger, "1h"), 10, None)]
    play(simulator(case, {case.symbol: table}, start_at=300), hurried(case.dialect), resume, body)


@case_of
def test_the_client_keeps_the_connection_alive(case: Case):
    """What the dialect says is sent at its pace, and the venue's answer is no error."""
    keepalive = case.dialect.keepalive
    if keepalive is None:
        return  # the venue pings in the protocol, or beats by itself
    quick = hurried(case.dialect, frames_per_second=1000)
    often = replace(quick, keepalive=KeepAlive(keepalive.frame, 0.05))
    table = candles(340, case.symbol)[case.symbol]

    async def body(scene: Scene) -> None:
        def said() -> list[bytes]:
            frames = [frame.data for frame in scene.venue.frames]
            texts = [text.encode() if isinstance(text, str) else text for text in frames]
            return [text for text in texts if text == keepalive.frame]

        await scene.report.until(lambda: len(said()) >= 4)
        assert scene.feed.stats.malformed == 0
        assert scene.feed.stats.control_errors == 0
        assert scene.feed.stats.connects == 1

    resume = [Resume(case.stream, 10, None)]
    play(simulator(case, {case.symbol: table}, start_at=300), often, resume, body)


def ask(client: httpx.Client, dialect: Dialect, stream: Stream, page: Page) -> list[Bar]:
    """Ask a page as the shell does."""
    asked = dialect.history_request(stream, page)
    answer = client.request(asked.method, asked.target, content=asked.body)
    assert dialect.parse_error(answer.status_code, answer.headers, answer.content) is None
    return list(clipped(dialect.parse_history(answer.content, stream), page).bars)


def test_rest_is_asked_no_faster_than_the_venue_allows():
    """Thirty streams that close together on a venue that allows 10 questions in 0.4 s."""
    symbols = [f"{number}BTC" for number in range(30)]
    dialect = DIALECTS["hyperliquid"]
    limits = replace(dialect.limits, questions=10, question_window_s=0.4)

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: all(scene.report.bars(one) for one in symbols), 30)
        asked = [one.at_s for one in scene.venue.requests if one.target == "/info"]
        assert len(asked) >= 60
        windows = (len(asked) - 1) // 10
        assert asked[-1] - asked[0] > 0.4 * windows - 0.2, "but for how late one may arrive"

    resume = [Resume(Stream("venue", one, "1h"), 5, None) for one in symbols]
    venue = Simulator(
        candles(80, *symbols), HOURLY, venue=VENUES["hyperliquid"], speed=SPEED / 40, start_at=40
    )
    play(venue, replace(dialect, limits=limits), resume, body)


@case_of
def test_pages_of_history_come_back_as_the_tape_has_them(case: Case):
    """Both bounds inclusive whatever the venue's are, the limit from the right end."""
    table = candles(300, case.symbol)[case.symbol]
    shown = [case.shown(bar) for bar in table]
    opens = table.open_time.tolist()

    async def main() -> None:
        async with simulator(case, {case.symbol: table}, start_at=290, speed=1e-3) as venue:
            await asyncio.to_thread(pages, venue.rest_url, venue.now_ms())

    def pages(url: str, now_ms: int) -> None:
        dialect, stream = case.dialect, case.stream
        with httpx.Client(base_url=url) as client:
            answer = client.request(
                dialect.time_request().method,
                dialect.time_request().target,
                content=dialect.time_request().body,
            )
            told = dialect.parse_time(answer.content)
            assert 0 <= now_ms - told < dialect.limits.time_step_ms
            for start, end in ((100, 119), (0, 0), (250, 289), (100, 100)):
                page = Page(opens[start], opens[end], end - start + 1, now_ms)
                assert_same(ask(client, dialect, stream, page), shown[start : end + 1])
            forward = ask(client, dialect, stream, Page(opens[40], None, 25, now_ms))
            assert_same(forward, shown[40:65])
            back = ask(client, dialect, stream, Page(None, opens[80], 25, now_ms))
            assert_same(back, shown[56:81])
            newest = ask(client, dialect, stream, Page(None, None, 3, now_ms))
            assert [bar.open_time for bar in newest] == opens[288:291]

    asyncio.run(main())


def test_two_intervals_of_one_symbol_share_coinbase_buckets():
    """Five-minute buckets are the sign for every longer bar; each is had at its own granularity."""
    five = Interval("5m")
    table = generate_many(3, ["BTC-USD"], five, START, 400)["BTC-USD"]
    stream = Stream("venue", "BTC-USD", "5m")

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: len(scene.report.bars("BTC-USD")) >= 10)
        bars = scene.report.bars("BTC-USD")
        first = int(table.open_time.searchsorted(bars[0].open_time))
        assert [bar.close for bar in bars] == table.close[first : first + len(bars)].tolist()
        asked = {json.loads(f.data).get("channel") for f in scene.venue.frames}
        assert asked == {"heartbeats", "candles"}

    venue = Simulator(
        {"BTC-USD": table}, five, venue=VENUES["coinbase"], speed=SPEED / 12, start_at=300
    )
    play(venue, hurried(DIALECTS["coinbase"]), [Resume(stream, 10, None)], body)


def test_a_bar_without_a_successor_is_held_back():
    """Kraken, mute at the next bar's place: no clock closes the last bar before an outage."""
    rows = list(candles(420, "BTC-USD")["BTC-USD"])
    rows = rows[:310] + rows[390:]
    kraken = next(case for case in CASES if case.name == "kraken")

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: StreamState.HOLDING in scene.report.states)
        assert scene.venue.now_ms() > rows[309].close_time + HOUR
        bars = scene.report.bars("BTC-USD")
        assert_same(bars, [kraken.shown(bar) for bar in rows][300:309])
        await scene.report.until(lambda: len(scene.report.bars("BTC-USD")) >= 12)
        bars = scene.report.bars("BTC-USD")
        assert_same(bars, [kraken.shown(bar) for bar in rows][300 : 300 + len(bars)])

    resume = [Resume(Stream("venue", "BTC-USD", "1h"), 0, rows[299].open_time)]
    venue = Simulator(
        {"BTC-USD": Bars.of(rows)}, HOURLY, venue=VENUES["kraken"], speed=SPEED, start_at=300
    )
    play(venue, hurried(DIALECTS["kraken"]), resume, body)


def test_a_gap_longer_than_a_page_is_crossed():
    """An outage of many empty spans stalls nothing, and costs not even the bar before it."""
    rows = list(candles(400, "BTC-USD")["BTC-USD"])
    rows = rows[:200] + rows[350:]
    small = hurried(DIALECTS["coinbase"], history_page=20)
    case = next(case for case in CASES if case.name == "coinbase")

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: len(scene.report.bars("BTC-USD")) >= 40)
        bars = scene.report.bars("BTC-USD")
        assert_same(bars, [case.shown(bar) for bar in rows][190 : 190 + len(bars)])
        assert scene.feed.stats.gaps == 1

    resume = [Resume(Stream("venue", "BTC-USD", "1h"), 0, rows[189].open_time)]
    venue = Simulator(
        {"BTC-USD": Bars.of(rows)}, HOURLY, venue=VENUES["coinbase"], speed=SPEED / 4, start_at=225
    )
    play(venue, small, resume, body)


def test_a_history_that_the_venue_cuts_is_no_listing():
    """Kraken keeps 720 bars: 900 wanted give what there is, and do not claim that it is all."""
    table = candles(1000, "BTC-USD")["BTC-USD"]

    async def body(scene: Scene) -> None:
        await scene.report.until(lambda: len(scene.report.bars("BTC-USD")) >= 1)
        (history,) = [event for event in scene.report.events if isinstance(event, History)]
        assert not history.from_listing
        assert 700 <= len(history.bars) <= 720

    resume = [Resume(Stream("venue", "BTC-USD", "1h"), 900, None)]
    venue = Simulator(
        {"BTC-USD": table}, HOURLY, venue=VENUES["kraken"], speed=SPEED / 4, start_at=980
    )
    play(venue, hurried(DIALECTS["kraken"]), resume, body)
