"""The simulated venue over real sockets: a websocket client and HTTP on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import time

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from candled.core.bar import HOUR, Bar, Bars, Interval
from candled_adapters.simulator.generator import generate, generate_many
from candled_adapters.simulator.server import PortInUse, Simulator

H1 = Interval("1h")
START = 1_640_995_200_000
NAME = "btcusdt@kline_1h"
FAST = 72_000.0  # a bar in 50 ms
LIMIT_S = 8.0


def candles(count: int, *absent: int) -> dict[str, Bars]:
    rows = list(generate(1, H1, START, count))
    return {"BTCUSDT": Bars.of([row for i, row in enumerate(rows) if i not in absent])}


def run(scenario) -> None:
    """Run an async test body, but not for ever."""
    asyncio.run(asyncio.wait_for(scenario, 20))


async def until(holds, what: str) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline, f"never came: {what}"
        await asyncio.sleep(0.005)


def dial(venue: Simulator, path: str = "/stream", **options) -> connect:
    return connect(venue.ws_url + path, proxy=None, compression=None, **options)


async def narrow_socket(venue: Simulator) -> socket.socket:
    """Connect with a receive buffer that is soon full."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", venue.port))
    return sock


async def get(venue: Simulator, path: str, **parameters) -> httpx.Response:
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # no TLS here; loading certificates is slow
    async with httpx.AsyncClient(trust_env=False, verify=bare, timeout=LIMIT_S) as client:
        return await client.get(venue.rest_url + path, params=parameters)


async def klines(venue: Simulator, **parameters) -> list[Bar]:
    asked = {"symbol": "BTCUSDT", "interval": "1h", "limit": 1000} | parameters
    answer = await get(venue, "/api/v3/klines", **asked)
    assert answer.status_code == 200, answer.text
    return [
        Bar(r[0], *map(float, r[1:6]), r[6], float(r[7]), float(r[8]), *map(float, r[9:11]))
        for r in answer.json()
    ]


async def ask(ws: ClientConnection, method: str, *names: str, number: int = 1) -> dict:
    """Send a method and return its reply, past any push."""
    await ws.send(json.dumps({"method": method, "params": names, "id": number}))
    while True:
        frame = json.loads(await ws.recv())
        if "id" in frame or "code" in frame:
            return frame


async def rest_of(ws: ClientConnection) -> tuple[list[dict], int | None]:
    """Return all klines until the connection ends, and the close code."""
    seen = []
    with contextlib.suppress(ConnectionClosed):
        async for frame in ws:
            message = json.loads(frame)
            seen.append(message.get("data", message)["k"])
    return seen, ws.close_code


def bar_of(k: dict) -> Bar:
    return Bar(
        k["t"], *(float(k[key]) for key in "ohlcv"), k["T"],
        float(k["q"]), float(k["n"]), float(k["V"]), float(k["Q"]),
    )  # fmt: skip


def closed(seen: list[dict]) -> list[Bar]:
    return [bar_of(k) for k in seen if k["x"]]


@pytest.mark.parametrize("path", ["/stream?streams=" + NAME, "/ws/" + NAME, "/market/ws/" + NAME])
def test_every_bar_is_pushed_open_and_then_closed(path):
    """A client sees each played bar: its open frames, then one closing frame, in order."""

    async def scenario():
        table = candles(10, 6)
        async with (
            Simulator(table, H1, speed=FAST / 2, start_at=4, bars=4, linger=0.05) as venue,
            dial(venue, path) as ws,
        ):
            seen, code = await rest_of(ws)
        assert closed(seen) == list(table["BTCUSDT"])[4:8]
        assert [k["t"] for k in seen] == sorted(k["t"] for k in seen)
        per_bar = [
            [k["x"] for k in seen if k["t"] == t] for t in dict.fromkeys(k["t"] for k in seen)
        ]
        assert all(flags.count(True) == 1 and flags[-1] for flags in per_bar)
        assert any(len(flags) == 3 for flags in per_bar), "two updates before the close"
        assert code == 1001
        assert venue.finished.is_set()

    run(scenario())


def test_combined_frames_carry_their_stream():
    """On /stream a push is wrapped with its stream's name; on /ws it is not."""

    async def scenario():
        async with Simulator(candles(9), H1, speed=FAST) as venue:
            async with dial(venue, "/stream") as ws:
                assert await ask(ws, "SUBSCRIBE", NAME, number=7) == {"result": None, "id": 7}
                frame = json.loads(await ws.recv())
                assert frame["stream"] == NAME
                assert frame["data"]["e"] == "kline"
            async with dial(venue, "/ws") as ws:
                await ask(ws, "SUBSCRIBE", NAME)
                assert json.loads(await ws.recv())["e"] == "kline"

    run(scenario())


def test_clock_stands_still_until_the_first_request():
    """Venue time is the start of the first played bar until somebody asks anything."""

    async def scenario():
        async with Simulator(candles(9), H1, speed=FAST, start_at=3) as venue:
            await asyncio.sleep(0.1)
            assert not venue.started.is_set()
            assert venue.now_ms() == START + 3 * HOUR
            first = (await get(venue, "/api/v3/time")).json()["serverTime"]
            assert START + 3 * HOUR <= first < START + 3.5 * HOUR
            await until(lambda: venue.now_ms() >= START + 5 * HOUR, "the clock runs")

    run(scenario())


def test_clock_stops_after_the_last_bar():
    """When all bars have closed the clock stands, and REST still has them until the goodbye."""

    async def scenario():
        async with Simulator(
            candles(9), H1, speed=FAST * 9, start_at=1, bars=2, linger=0.4
        ) as venue:
            await get(venue, "/api/v3/ping")
            await until(lambda: venue.now_ms() >= START + 3 * HOUR, "the end")
            rows = await klines(venue)
            assert venue.now_ms() == START + 3 * HOUR
            assert not venue.finished.is_set()
            assert rows[:3] == list(candles(9)["BTCUSDT"])[:3]
            assert (len(rows), rows[3].volume) == (4, 0.0), "the next bar has just opened"
            await asyncio.wait_for(venue.finished.wait(), LIMIT_S)

    run(scenario())


def test_rest_equals_what_was_pushed():
    """Whenever REST is asked during the run, its closed rows are the frames pushed so far."""

    async def scenario():
        table = candles(24, 13, 14)
        pushed: list[Bar] = []

        async with (
            Simulator(table, H1, speed=FAST, start_at=8, linger=9) as venue,
            dial(venue, "/ws/" + NAME) as ws,
        ):
            history = list(table["BTCUSDT"])[:8]
            task = asyncio.create_task(rest_of(ws))
            answers = []
            while not venue.bursts or venue.bursts[-1].venue_ms < venue.clock.end_ms:
                rows = await klines(venue)
                answers.append((venue.requests[-1].venue_ms, rows))
            answers.append((venue.clock.end_ms, await klines(venue)))
            venue.drop_connections()
            pushed = closed((await task)[0])
        assert pushed == list(table["BTCUSDT"])[8:]
        assert len(answers) > 2
        for at, rows in answers:
            due = [bar for bar in history + pushed if H1.end(bar.open_time) <= at]
            assert [row for row in rows if H1.end(row.open_time) <= at] == due
            assert len(rows) - len(due) in (0, 1)

    run(scenario())


def test_close_instant_is_one_burst_to_all():
    """All symbols' closing frames of an instant reach every subscriber, none twice."""

    async def scenario():
        symbols = [f"S{i:03d}USDT" for i in range(300)]
        table = generate_many(1, symbols, H1, START, 8)
        names = [f"{symbol.lower()}@kline_1h" for symbol in symbols]
        async with Simulator(table, H1, speed=3600 * 4, start_at=4, bars=3, linger=0.1) as venue:
            async with dial(venue) as one, dial(venue) as two:
                await ask(one, "SUBSCRIBE", *names)
                await ask(two, "SUBSCRIBE", *names[:100])
                (first, _), (second, _) = await asyncio.gather(rest_of(one), rest_of(two))
            assert [burst.frames for burst in venue.bursts] == [400] * 3
        for seen, count in ((first, 300), (second, 100)):
            keys = [(k["t"], k["s"]) for k in seen if k["x"]]
            assert len(keys) == len(set(keys)) == 3 * count
            assert [t for t, _ in keys] == sorted(t for t, _ in keys)

    run(scenario())


def test_any_speed_sends_every_close_in_order():
    """At a speed that leaves no time for updates each closing frame still comes, in order."""

    async def scenario():
        table = candles(3000)
        async with (
            Simulator(table, H1, speed=1e12, linger=0.1) as venue,
            dial(venue, "/ws/" + NAME) as ws,
        ):
            seen, _ = await rest_of(ws)
        assert closed(seen) == list(table["BTCUSDT"])[-len(closed(seen)) :]
        assert len(closed(seen)) > 2900, "all but what closed before the handshake was through"

    run(scenario())


def test_unknown_and_misspelled_streams_are_acknowledged_and_silent():
    """As with Binance, an ack proves nothing."""

    async def scenario():
        wrong = ["nope@kline_1h", "BTCUSDT@kline_1h", "btcusdt@kline_1m"]
        async with (
            Simulator(candles(6), H1, speed=FAST * 2, linger=0.0) as venue,
            dial(venue) as ws,
        ):
            assert await ask(ws, "SUBSCRIBE", *wrong) == {"result": None, "id": 1}
            assert (await ask(ws, "LIST_SUBSCRIPTIONS", number=2))["result"] == wrong
            assert (await ask(ws, "DANCE"))["code"] == 2
            seen, _ = await rest_of(ws)
        assert seen == []

    run(scenario())


def test_client_frames_and_requests_are_recorded():
    """What clients sent is there for assertions, with its answer's status and venue time."""

    async def scenario():
        async with Simulator(candles(5), H1) as venue, dial(venue, "/ws") as ws:
            await ask(ws, "SUBSCRIBE", NAME)
            await get(venue, "/api/v3/klines", symbol="NOPE", interval="1h")
            assert [json.loads(f.data)["params"] for f in venue.frames] == [[NAME]]
            assert [(r.target.split("?")[0], r.status) for r in venue.requests] == [
                ("/ws", 101),
                ("/api/v3/klines", 400),
            ]
            assert venue.connections == 1
        assert venue.connections == 0

    run(scenario())


@pytest.mark.parametrize(("code", "expected"), [(1001, 1001), (1012, 1012), (None, 1006)])
def test_connections_can_be_dropped(code, expected):
    """A goodbye with a code, or a TCP reset, which a client sees as 1006; it may come back."""

    async def scenario():
        async with Simulator(candles(5), H1) as venue:
            async with dial(venue) as ws:
                await ask(ws, "SUBSCRIBE", NAME)
                venue.drop_connections(code)
                assert (await rest_of(ws))[1] == expected
            await until(lambda: venue.connections == 0, "the venue forgets it")
            async with dial(venue) as ws:
                assert (await ask(ws, "LIST_SUBSCRIPTIONS"))["result"] == []

    run(scenario())


def test_withheld_and_doubled_closes():
    """A close may never come on WS, be absent from REST, or come twice."""

    async def scenario():
        table = candles(8)
        at = table["BTCUSDT"].open_time.tolist()
        async with Simulator(table, H1, speed=FAST, start_at=2, linger=9) as venue:
            venue.faults.hide("BTCUSDT", at[3], rest=True)
            venue.faults.double("BTCUSDT", at[4])
            venue.faults.hide("BTCUSDT", at[6], ws=False, rest=True)
            async with dial(venue, "/ws/" + NAME) as ws:
                task = asyncio.create_task(rest_of(ws))
                await until(lambda: venue.now_ms() == venue.clock.end_ms, "the last close")
                absent = {row.open_time for row in await klines(venue)} ^ set(at)
                venue.faults.show("BTCUSDT", at[3])
                venue.faults.show("BTCUSDT", at[6])
                assert [row.open_time for row in await klines(venue)] == at
                venue.drop_connections()
                seen, _ = await task
        assert absent == {at[3], at[6]}
        assert [bar.open_time for bar in closed(seen)] == [at[2], at[4], at[4], *at[5:]]
        assert any(k["t"] == at[3] for k in seen), "its open frames came"

    run(scenario())


def test_hiding_ends_by_itself():
    """A row hidden for some seconds is there afterwards."""

    async def scenario():
        async with Simulator(candles(5), H1, start_at=4) as venue:
            venue.faults.hide("BTCUSDT", START, ws=False, rest=True, seconds=0.3)
            assert len(await klines(venue)) == 4
            await until(lambda: not venue.faults.in_force("rows"), "its end")
            assert len(await klines(venue)) == 5

    run(scenario())


def test_mute_venue_acknowledges_but_sends_nothing():
    """Muted, the venue answers methods and pings, and its bars are lost for good."""

    async def scenario():
        table = candles(12)
        async with Simulator(table, H1, speed=FAST, linger=0.1) as venue:
            venue.faults.mute()
            async with dial(venue, "/ws/" + NAME) as ws:
                await until(lambda: venue.now_ms() > START + 4 * HOUR, "some closes")
                assert (await ask(ws, "LIST_SUBSCRIPTIONS"))["result"] == [NAME]
                await asyncio.wait_for(await ws.ping(), LIMIT_S)
                assert venue.frames_sent == 0
                unmuted = venue.now_ms()
                venue.faults.unmute()
                seen, _ = await rest_of(ws)
        assert seen
        assert min(bar.close_time for bar in closed(seen)) >= unmuted - HOUR / 10
        assert [b.open_time for b in closed(seen)] == [
            t for t in table["BTCUSDT"].open_time.tolist() if t >= closed(seen)[0].open_time
        ]

    run(scenario())


def test_rest_can_be_slow_and_refuse():
    """Answers may be held back, and refused with a status and Retry-After, for a while."""

    async def scenario():
        async with Simulator(candles(5), H1) as venue:
            venue.faults.refuse_rest(429, retry_after_s=3)
            answer = await get(venue, "/api/v3/time")
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
            assert answer.json()["code"] == -1003
            venue.faults.refuse_rest(500, seconds=0.2)
            assert (await get(venue, "/api/v3/time")).status_code == 500
            await until(lambda: not venue.faults.in_force("answers"), "its end")
            venue.faults.delay_rest(0.2)
            began = time.monotonic()
            assert (await get(venue, "/fapi/v1/time")).status_code == 200
            assert time.monotonic() - began >= 0.2

    run(scenario())


def test_slow_consumer_is_dropped_and_blocks_nobody():
    """A client that does not read loses its connection; another gets every frame in time."""

    async def scenario():
        symbols = [f"S{i:03d}USDT" for i in range(300)]
        table = generate_many(1, symbols, H1, START, 60)
        names = [f"{symbol.lower()}@kline_1h" for symbol in symbols]
        venue = Simulator(table, H1, speed=FAST, updates=0, linger=0.1, max_buffer=200_000)
        async with venue:
            narrow = await narrow_socket(venue)
            async with (
                dial(venue, sock=narrow, max_queue=1, close_timeout=0.1) as deaf,
                dial(venue, max_queue=None) as good,
            ):
                await ask(deaf, "SUBSCRIBE", *names)
                await ask(good, "SUBSCRIBE", *names[:5])
                seen, code = await rest_of(good)
                assert code == 1001
                await until(lambda: venue.connections == 0, "the deaf one is dropped")
            alone = [burst.frames for burst in venue.bursts]
        assert 305 in alone, "both were served at first"
        assert alone[-1] == 5, "only the good one at the end"
        assert len({bar.open_time for bar in closed(seen)}) >= 55

    run(scenario())


def test_port_in_use_is_named():
    """A taken port is an error that names it."""

    async def scenario():
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(PortInUse, match=f"port {port} on 127.0.0.1 is in use"):
                async with Simulator(candles(2), H1, port=port):
                    pass

    run(scenario())


@pytest.mark.parametrize("host", ["0.0.0.0", "example.com", "192.168.0.1", ""])  # noqa: S104 - refused
def test_only_loopback_is_served(host):
    """The simulator refuses to be reachable by others."""
    with pytest.raises(ValueError, match="is not loopback"):
        Simulator(candles(2), H1, host=host)


def test_leaving_early_ends_everything():
    """Leaving the context while bars play and an answer is held back closes all at once."""

    async def scenario():
        async with Simulator(candles(50), H1, speed=FAST) as venue, dial(venue) as ws:
            await ask(ws, "SUBSCRIBE", NAME)
            venue.faults.delay_rest(60)
            waiting = asyncio.create_task(get(venue, "/api/v3/time"))
            await until(lambda: len(venue.requests) == 2, "the question")
            began = time.monotonic()
            await venue.__aexit__(None, None, None)
            assert time.monotonic() - began < 3
            assert (await rest_of(ws))[1] == 1001
            await waiting
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", venue.port)

    run(scenario())
