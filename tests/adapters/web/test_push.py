"""Who looks on is told everything first, then what changes, and can harm nobody."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import time
import tracemalloc
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from adapters.web.rig import Message, Onlooker, Outbox, Window, listening, window
from brokers import free_port
from candled.core.bar import Stream
from candled.core.decision import Side
from candled.core.track import Outcome, Standing, Track
from candled.ports import Act, Hazard, Incident, ServiceState, StreamHealth, StreamState
from candled_adapters.web import shapes
from candled_adapters.web.view import View
from fakes import BTC, Board, Decisions, until

ETH = Stream("binance", "ETHUSDT", "1m")
MANY = [Stream("binance", f"S{number:04}USDT", "1m") for number in range(1_000)]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beat and tell more often than a page needs."""
    monkeypatch.setattr("candled_adapters.web.audience._BEAT_S", 0.2)
    monkeypatch.setattr("candled_adapters.web.audience.EVERY_S", 0.05)
    monkeypatch.setattr("candled_adapters.web.following.EVERY_S", 0.05)
    monkeypatch.setattr("candled_adapters.web.following._OUTCOMES_S", 0.1)


def serve(body, *streams: Stream, **more) -> None:
    async def go() -> None:
        async with window(streams or (BTC, ETH), **more) as shown:
            await body(shown)

    asyncio.run(go())


# --- what is told


def test_a_decision_is_told_soon_and_only_of_its_stream():
    """A line with everything that the overview has of it."""
    decisions = Decisions()

    async def body(shown: Window) -> None:
        async with shown.look() as one, shown.look() as two:
            assert [line.decided for line in one.overview.lines] == [None, None]
            began = time.monotonic()
            entry = decisions.make(Side.LONG, ETH)
            shown.outbox.add(entry)
            for looking in (one, two):
                (line,) = (await looking.next(shapes.Lines)).lines
                assert (line.stream, line.decided.id) == (ETH.path, entry.decision.id)
            assert time.monotonic() - began < 2.0

    serve(body)


def test_many_changes_within_a_moment_are_told_as_one(monkeypatch: pytest.MonkeyPatch):
    """The newest state, at most four times a second."""
    monkeypatch.setattr("candled_adapters.web.audience.EVERY_S", 0.25)
    decisions = Decisions()

    async def body(shown: Window) -> None:
        async with shown.look() as looking:
            began = time.monotonic()
            for _ in range(40):
                shown.outbox.add(decisions.make(Side.FLAT, BTC))
                await asyncio.sleep(0.02)
            newest = shown.outbox.entries[-1].decision.id
            while (await looking.line(BTC)).decided.id != newest:
                pass
            told = [m for m in looking.heard if isinstance(m, shapes.Lines)]
            assert len(told) <= 2 + 4 * (time.monotonic() - began)

    serve(body)


def test_health_events_models_and_outcomes_are_told_when_they_change():
    """Each in its own message; what stays as it was is not said again."""
    cards: list[shapes.Card] = []
    tracks: dict[Stream, Track] = {}

    async def body(shown: Window) -> None:
        async with shown.look() as looking:
            shown.board.set(ServiceState.DEGRADED, "mqtt: away")
            while (await looking.next(shapes.Service)).state != "degraded":
                pass
            shown.board.tell(Incident("x", BTC, Hazard.GAP, Act.FLAG, "<b>", 1), unsaid=2)
            (event,) = (await looking.next(shapes.Events)).events
            assert (event.number, event.text, event.unsaid) == (1, "<b>", 2)
            shown.board.note(StreamHealth(BTC, StreamState.STOPPED, "unknown"))
            line = await looking.line(BTC)
            assert (line.state, line.reason) == ("stopped", "unknown")
            cards.append(CARD)
            assert (await looking.next(shapes.Cards)).cards == (CARD,)
            track = Track(BTC, "m", 1, 0, 1, 0.1, 1, None, 0.6, None, 0.1, Standing.TOO_FEW)
            tracks[BTC] = track
            assert (await looking.line(BTC)).record.n == 1
            looking.heard.clear()
            for _ in range(2):
                await looking.next(shapes.Beat)
            assert {type(message) for message in looking.heard} == {shapes.Beat}

    serve(body, cards=lambda: tuple(cards), tracks=tracks.get)


CARD = shapes.Card(
    digest="m", name="BTCUSDT_1h", role="champion", feature_set="mar", features=220,
    created_at=None, trained_until=None, expires_at=None, lookahead_bars=10, profit_pct=0.6,
    stop_pct=0.3, label_rule="window", threshold=0.6, regime="notebook", claims=(), signed=False,
)  # fmt: skip


def test_a_backlog_is_told_as_it_grows_and_shrinks():
    """With the beat at the latest."""

    async def body(shown: Window) -> None:
        async with shown.look() as looking:
            shown.outbox.add(*Decisions().some(3))
            while (await looking.next(shapes.Service)).sinks[0].behind != 3:
                pass
            shown.outbox.mark("mqtt", 3)
            while (await looking.next(shapes.Service)).sinks[0].behind != 0:
                pass

    serve(body)


def test_bars_are_told_of_the_watched_stream_and_of_no_other():
    """From the moment on that it is watched; a correction brings its bar again."""
    decisions = Decisions()
    known = decisions.some(3, Side.LONG, BTC)

    async def body(shown: Window) -> None:
        async with shown.look() as looking, shown.look() as blind:
            await looking.watch(BTC.path)
            bars = await looking.next(shapes.Bars)  # its newest one, at once
            assert [bar[0] for bar in bars.bars] == [known[2].decision.bar_open]
            new = [decisions.make(Side.FLAT, ETH), decisions.make(Side.SHORT, BTC)]
            shown.outbox.add(*new)
            bars = await looking.next(shapes.Bars)
            assert bars.stream == BTC.path
            assert [bar[0] for bar in bars.bars] == [new[1].decision.bar_open]
            assert [d.id for d in bars.decisions] == [new[1].decision.id]
            again = decisions.correct(known[1], Side.FLAT)
            shown.outbox.add(again)
            bars = await looking.next(shapes.Bars)
            assert [bar[0] for bar in bars.bars] == [
                e.decision.bar_open for e in (known[1], known[2], new[1])
            ]
            assert [d.revision for d in bars.decisions] == [1, 0, 0]
            await looking.watch(None)
            for _ in range(2):
                await looking.next(shapes.Beat)
            shown.outbox.add(decisions.make(Side.SHORT, BTC))
            await looking.line(BTC)
            looking.heard.clear()
            await looking.next(shapes.Beat)
            await looking.next(shapes.Beat)
            assert not any(isinstance(m, shapes.Bars) for m in looking.heard)
            await blind.next(shapes.Beat)
            assert not any(isinstance(m, shapes.Bars) for m in blind.heard)

    serve(body, entries=known)


def test_a_revised_bar_without_a_correction_is_told_too():
    """No entry tells of it, but the incident does."""
    decisions = Decisions()
    known = decisions.some(3, Side.FLAT, BTC)

    async def body(shown: Window) -> None:
        async with shown.look() as looking:
            await looking.watch(BTC.path)
            await looking.next(shapes.Bars)
            opened = known[2].decision.bar_open
            for hazard in (Hazard.GAP, Hazard.REVISED_BAR):
                shown.board.tell(Incident("x", BTC, hazard, Act.REVISE, "", 1, opened))
                await asyncio.sleep(0)
            looking.heard.clear()
            while not any(isinstance(message, shapes.Bars) for message in looking.heard):
                await looking.hear()
            bars = next(m for m in looking.heard if isinstance(m, shapes.Bars))
            assert [bar[0] for bar in bars.bars] == [opened]
            assert len(shown.archive.asked) == 2

    serve(body, entries=known)


def test_outcomes_of_the_watched_stream_are_told_once():
    """All that are known when somebody begins to watch, and then each new one."""
    decisions = Decisions()
    known = decisions.some(2, Side.LONG, BTC)
    resolved: list[Outcome] = []

    def outcome(at: int) -> Outcome:
        d = known[at].decision
        facts = (d.id, BTC, "m", d.bar_open, d.bar_close, Side.LONG, 0.6, at == 1, "time", 0.1)
        return Outcome(*facts, d.bar_open, None)

    def tracks(stream: Stream) -> Track:
        return Track(stream, "m", len(resolved), 0, 0, 0, 1, None, 0, None, 0, Standing.TOO_FEW)

    def outcomes(_stream: Stream, _since: int) -> tuple[Outcome, ...]:
        asked.append(len(resolved))
        return tuple(resolved)

    asked: list[int] = []

    async def body(shown: Window) -> None:
        resolved.append(outcome(0))
        async with shown.look() as looking:
            await looking.watch(BTC.path)
            await looking.next(shapes.Bars)
            before = await looking.next(shapes.Bars)
            assert [o.id for o in before.outcomes] == [known[0].decision.id]
            resolved.append(outcome(1))
            bars = await looking.next(shapes.Bars)
            assert (bars.bars, bars.decisions) == ((), ())
            assert [(o.id, o.right) for o in bars.outcomes] == [(known[1].decision.id, True)]
            for _ in range(3):
                await looking.next(shapes.Beat)
            assert sum(isinstance(m, shapes.Bars) for m in looking.heard) == 3
            assert asked == [1, 2]
            resolved[1] = replace(resolved[1], right=False)  # the venue revised a bar
            resolved.append(outcome(0))
            assert [o.right for o in (await looking.next(shapes.Bars)).outcomes] == [False]
            async with shown.look() as other:
                await other.watch(BTC.path)
                while len((await other.next(shapes.Bars)).outcomes) != 2:
                    pass

    serve(body, entries=known, outcomes=outcomes, tracks=tracks)


def test_the_past_of_a_stream_that_was_warming_is_shown_once_it_is_there():
    """Its history fills the sparkline without any decision."""
    decisions = Decisions()

    async def body(shown: Window) -> None:
        shown.board.note(StreamHealth(BTC, StreamState.WARMING, ""))
        async with shown.look() as looking:
            assert looking.overview.lines[0].closes == ()
            shown.archive.outbox = Outbox(decisions.some(70, Side.LONG, BTC))
            shown.board.note(StreamHealth(BTC, StreamState.LIVE, ""))
            while len((line := await looking.line(BTC)).closes) < 60:
                pass
            assert line.signal.seq == 70
            assert line.decided is None

    serve(body, live=False)


def test_an_archive_that_cannot_be_read_costs_only_what_it_holds():
    """Decisions and health are told as before, and what is stored when it can be read again."""
    decisions = Decisions()

    async def body(shown: Window) -> None:
        shown.archive.broken = OSError("toaster")
        async with shown.look() as looking:
            await looking.watch(BTC.path)
            await looking.next(shapes.Beat)
            shown.outbox.add(decisions.make(Side.FLAT, BTC))
            assert (await looking.line(BTC)).decided.side == "flat"
            shown.archive.broken = None
            await looking.next(shapes.Beat)
            shown.outbox.add(decisions.make(Side.FLAT, BTC))
            assert len((await looking.next(shapes.Bars)).bars) == 1
        assert not shown.task.done()

    serve(body)


# --- who may


async def refused(shown: Window, **more) -> int:
    with pytest.raises(InvalidStatus) as caught:
        async with shown.look(**more):
            pass
    return caught.value.response.status_code


def test_no_page_of_another_site_looks_on():
    """A browser tells where a page is from; nothing else keeps it from a websocket."""

    async def body(shown: Window) -> None:
        for origin in ("http://evil.example", "null", f"http://localhost:{shown.port}"):
            assert await refused(shown, additional_headers={"Origin": origin}) == 403
        own = {"Origin": f"http://127.0.0.1:{shown.port}"}
        async with shown.look(additional_headers=own) as looking:
            await looking.next(shapes.Beat)
        answer = await shown.ask("/live", headers={"Upgrade": "websocket"}, host="evil.example")
        assert answer.status == 403
        assert (await shown.ask("/live")).status == 426

    serve(body)


def test_onlookers_are_bounded():
    """Of two hundred, sixty-four look on; the others are told, and get in when one leaves."""

    async def body(shown: Window) -> None:
        ways = [shown.look() for _ in range(200)]
        tries = await asyncio.gather(*(w.__aenter__() for w in ways), return_exceptions=True)
        inside = [
            way for way, tried in zip(ways, tries, strict=True) if isinstance(tried, Onlooker)
        ]
        assert len(inside) == 64
        assert await refused(shown) == 503
        await inside[0].__aexit__(None, None, None)
        shown.outbox.add(Decisions().make())
        async with asyncio.timeout(5):
            while True:
                try:
                    async with shown.look() as looking:
                        assert looking.overview.lines[0].decided
                    break
                except InvalidStatus:
                    await asyncio.sleep(0.01)
        for way in inside[1:]:
            await way.__aexit__(None, None, None)

    serve(body)


@pytest.mark.parametrize("said", ["", "{", "[]", "{}", '{"watch": 5}', b"\xff\x00", '"x"'])
def test_who_says_what_is_no_question_is_shown_out(said: str | bytes):
    """With a word about what may be said; nobody else notices."""

    async def body(shown: Window) -> None:
        async with shown.look() as other:
            async with shown.look() as looking:
                await looking.socket.send(said)
                with pytest.raises(ConnectionClosed) as caught:
                    await looking.next(shapes.Bars)
                assert caught.value.rcvd.code == 1008
                assert "watch" in caught.value.rcvd.reason
            await other.next(shapes.Beat)

    serve(body)


def test_who_says_too_much_is_shown_out():
    """Four kilobytes are plenty for a name."""

    async def body(shown: Window) -> None:
        async with shown.look() as looking:
            await looking.watch("x" * 5_000)
            with pytest.raises(ConnectionClosed) as caught:
                await looking.next(shapes.Bars)
            assert caught.value.rcvd.code == 1009

    serve(body)


@pytest.mark.parametrize("path", ["", "x", "a/b/c", "binance/BTCUSDT", "binance/BTCUSDT/1m/1m"])
def test_watching_what_is_not_served_is_watching_nothing(path: str):
    """A page may have kept the name from another configuration."""
    decisions = Decisions()

    async def body(shown: Window) -> None:
        async with shown.look() as looking:
            await looking.watch(path)
            await looking.next(shapes.Beat)
            shown.outbox.add(decisions.make(Side.FLAT, BTC))
            await looking.line(BTC)
            assert not any(isinstance(m, shapes.Bars) for m in looking.heard)

    serve(body)


# --- what it costs others


async def deaf(port: int) -> socket.socket:
    """Connect, ask to look on, and never read."""
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    own.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(own, ("127.0.0.1", port))
    head = f"GET /live HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\n"
    key = "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    await loop.sock_sendall(own, f"{head}{key}Sec-WebSocket-Version: 13\r\n\r\n".encode())
    return own


def test_who_does_not_read_costs_no_memory_and_delays_nobody(monkeypatch: pytest.MonkeyPatch):
    """Ten of them: another is told everything in time, memory stays, and they are let go."""
    monkeypatch.setattr("candled_adapters.web.client.PATIENCE_S", 1.0)
    decisions = Decisions()
    streams = MANY[:250]
    entries = [decisions.make(Side.LONG, stream) for stream in streams for _ in range(2)]
    template = {entry.decision.stream: entry for entry in entries}

    async def body(shown: Window) -> None:
        async with shown.look() as looking:
            held = [await deaf(shown.port) for _ in range(10)]
            sizes, position = [], entries[-1].position
            tracemalloc.start()
            for step in range(8):
                changed = []
                for stream in streams:
                    position += 1
                    old = template[stream]
                    opened = old.decision.bar_open + 60_000 * (step + 1)
                    decision = replace(old.decision, bar_open=opened, price=float(step + 1))
                    changed.append(replace(old, position=position, decision=decision))
                shown.outbox.add(*changed)
                await newest(looking, streams[-1], float(step + 1))
                looking.heard.clear()
                del shown.outbox.entries[:-500]
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
            tracemalloc.stop()
            assert sizes[-1] - sizes[2] < 3_000_000
            for own in held:
                await hung_up_on(own)
            await looking.next(shapes.Beat)

    with_latest = Outbox(entries)
    serve(body, *streams, outbox=with_latest)


def test_who_reads_slowly_is_told_less_and_ends_at_the_newest():
    """It misses what came between; in the end it knows of every stream what holds then."""
    decisions = Decisions()
    streams = MANY[:300]
    entries = [decisions.make(Side.LONG, stream) for stream in streams]

    async def body(shown: Window) -> None:
        own = await deaf(shown.port)
        reader, writer = await asyncio.open_connection(sock=own, limit=4_096)
        rounds = 30
        async with shown.look() as looking:
            for _ in range(rounds):
                shown.outbox.add(*[decisions.make(Side.SHORT, stream) for stream in streams])
                last = shown.outbox.entries[-1].decision.bar_open
                while (await looking.line(streams[-1])).decided.bar_open != last:
                    pass
                looking.heard.clear()
        await reader.readuntil(b"\r\n\r\n")
        known: dict[str, list[int]] = {}
        while len(known) < len(streams) or any(opens[-1] != last for opens in known.values()):
            message = await text_message(reader)
            said = msgspec.json.decode(message, type=Message)
            for line in said.lines if isinstance(said, shapes.Overview | shapes.Lines) else ():
                known.setdefault(line.stream, []).append(line.decided.bar_open)
        assert all(opens == sorted(opens) for opens in known.values())
        assert max(map(len, known.values())) < rounds
        writer.close()

    serve(body, *streams, entries=entries)


async def text_message(reader: asyncio.StreamReader) -> bytes:
    """Read one message of a server, whatever frames it comes in; pass over pings and pongs."""
    whole = b""
    async with asyncio.timeout(10):
        while True:
            first, length = await reader.readexactly(2)
            if length >= 126:
                size = 2 if length == 126 else 8
                length = int.from_bytes(await reader.readexactly(size), "big")
            part = await reader.readexactly(length)
            if first & 0x0F in {0, 1}:
                whole += part
                if first & 0x80:
                    return whole


async def newest(looking: Onlooker, stream: Stream, price: float) -> None:
    while (await looking.line(stream)).decided.price != price:
        pass


async def hung_up_on(own: socket.socket) -> None:
    """Return once the other side has hung up, without ever reading."""
    async with asyncio.timeout(20):
        with own, suppress(ConnectionError):
            while True:
                await asyncio.get_running_loop().sock_sendall(own, b"\x89\x80\0\0\0\0")  # a ping
                await asyncio.sleep(0.02)


def test_a_thousand_streams_that_close_at_once_are_told_in_slices(
    monkeypatch: pytest.MonkeyPatch,
):
    """Between which the loop does its other work: only some lines are rendered in one go."""
    decisions = Decisions()
    entries = [decisions.make(Side.LONG, stream) for stream in MANY]
    turns, rendered = [0], []
    render = View._render

    def counted(view: View, stream: Stream) -> shapes.Line:
        rendered.append(turns[0])
        return render(view, stream)

    async def spin() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    async def body(shown: Window) -> None:
        monkeypatch.setattr(View, "_render", counted)
        other = asyncio.create_task(spin())
        async with shown.look() as looking:
            shown.outbox.add(*[decisions.make(Side.SHORT, stream) for stream in MANY])
            told: set[str] = set()
            while len(told) < len(MANY):
                lines = (await looking.next(shapes.Lines)).lines
                told |= {line.stream for line in lines if line.decided.side == "short"}
        other.cancel()
        assert len(rendered) >= 2 * len(MANY)
        assert max(Counter(rendered).values()) <= 64

    serve(body, *MANY, entries=entries)


# --- its own troubles


def test_a_port_that_another_program_has_is_told_and_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
):
    """The service is not degraded by it; when the port is free, the window is there."""
    monkeypatch.setattr("candled_adapters.web.sink._RETRY_S", 0.05)
    port, board = free_port(), Board()

    async def body() -> None:
        other = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", port)
        async with window(port=port, board=board) as shown:
            await until(lambda: board.remarks)
            part, said = board.remarks[0]
            assert part == "web"
            assert f"port {port} on 127.0.0.1 is another program's" in said
            assert "[web] listen" in said
            other.close()
            await other.wait_closed()
            await until(lambda: board.remarks[-1] == ("web", None))
            await listening(port)
            assert (await shown.ask("/healthz")).status == 200
            assert board.reports == []

    asyncio.run(body())


def test_what_breaks_in_the_window_is_told_and_begun_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """It never ends by itself: that would end the service."""
    monkeypatch.setattr("candled_adapters.web.sink._RETRY_S", 0.05)
    broken = [RuntimeError("tracks are a toaster")]

    def tracks(_: Stream) -> None:
        if broken:
            raise broken.pop()

    async def body(shown: Window) -> None:
        with pytest.raises((ConnectionClosed, ConnectionError, InvalidStatus)):  # noqa: PT012
            async with shown.look() as looking:
                broken.append(RuntimeError("again"))
                await looking.next(shapes.Bars)
        broke = ("web", "broke (ExceptionGroup), the log says why")
        await until(lambda: broke in shown.board.remarks)
        await listening(shown.port)
        async with shown.look() as looking:
            await looking.next(shapes.Beat)
        assert not shown.task.done()

    with caplog.at_level(logging.CRITICAL):
        broken.clear()
        serve(body, tracks=tracks)


def test_who_looks_on_is_told_that_it_ends_and_finds_the_next_one():
    """A page that reconnects has everything of the daemon's next life at once."""
    port = free_port()
    decisions = Decisions()
    first = decisions.some(2, Side.FLAT)

    async def body() -> None:
        async with window(entries=first, port=port) as shown, shown.look() as looking:
            shown.task.cancel()
            with pytest.raises(ConnectionClosed) as caught:
                await looking.next(shapes.Bars)
            assert caught.value.rcvd.code == 1001
        more = [*first, *decisions.some(1, Side.LONG)]
        async with window(entries=more, port=port) as shown, shown.look() as looking:
            (line,) = [line for line in looking.overview.lines if line.stream == BTC.path]
            assert line.decided.side == "long"

    asyncio.run(body())


def test_nobody_who_does_not_read_holds_the_end_up():
    """Goodbye takes a second or two."""

    async def body() -> None:
        async with window((BTC,), Decisions().some(2)) as shown:
            own = await deaf(shown.port)
            await until(lambda: shown.outbox)
            began = time.monotonic()
        assert time.monotonic() - began < 4.0
        own.close()

    asyncio.run(body())
