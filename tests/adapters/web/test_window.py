"""What is answered over HTTP, and to whom."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.web.rig import NOW, Answer, Window, parsed, raw, window
from candled.core.bar import Stream
from candled.core.decision import Side
from candled.core.track import Outcome
from candled.ports import (
    Act,
    Hazard,
    Incident,
    ServiceState,
    StreamHealth,
    StreamState,
)
from candled_adapters.web import shapes
from candled_adapters.web.files import Asset
from fakes import BTC, EVENING_MS, Decisions

ETH = Stream("binance", "ETHUSDT", "1h")
ODD = Stream("binance", "A B/ü%2F?#", "1m".replace("/", ""))
PAGE = {"/": Asset(b"<p>hi", None, '"1"', "text/html; charset=utf-8")}
CARD = shapes.Card(
    digest="m", name="BTCUSDT_1h", role="champion", feature_set="mar", features=220,
    created_at=None, trained_until=None, expires_at=None, lookahead_bars=10, profit_pct=0.6,
    stop_pct=0.3, label_rule="window", threshold=0.6, regime="notebook", claims=(), signed=False,
)  # fmt: skip


def serve(body, *streams: Stream, **more) -> None:
    """Run a window over some streams for the length of a coroutine function."""

    async def go() -> None:
        async with window(streams or (BTC, ETH), **more) as shown:
            await body(shown)

    asyncio.run(go())


def overview(answer: Answer) -> shapes.Overview:
    assert answer.status == 200
    return msgspec.json.decode(answer.body, type=shapes.Overview)


# --- what is shown


def test_the_overview_is_all_that_a_first_look_shows():
    """Who it is, how it is, every stream by name, the models, the sinks and what happened."""
    decisions = Decisions()
    entries = [*decisions.some(3, Side.FLAT, ETH), *decisions.some(2, Side.LONG, BTC)]

    async def body(shown: Window) -> None:
        shown.outbox.mark("mqtt", entries[1].position)
        shown.board.set(ServiceState.DEGRADED, "mqtt: away")
        incident = Incident("binance", ETH, Hazard.GAP, Act.FLAG, "no bar", EVENING_MS + 5)
        shown.board.tell(incident, unsaid=4)
        shown.board.note(StreamHealth(ETH, StreamState.HOLDING, "bar 12:00 is missing"))
        said = overview(await shown.ask("/api/overview"))
        assert (said.version, said.config_digest, said.started) == ("1.2.3", "c0ffee", EVENING_MS)
        assert (said.epoch, said.now, said.ready) == ("epoch-1", NOW, True)
        assert (said.service.state, said.service.reasons) == ("degraded", ("mqtt: away",))
        assert said.service.sinks == (shapes.Sink(name="mqtt", behind=3),)
        assert said.cards == (CARD,)
        assert [line.stream for line in said.lines] == [BTC.path, ETH.path]
        btc, eth = said.lines
        assert (btc.exchange, btc.symbol, btc.interval) == ("binance", "BTCUSDT", "1m")
        assert (eth.state, eth.reason) == ("holding", "bar 12:00 is missing")
        assert (btc.decided.side, btc.decided.seq, btc.signal.seq) == ("long", 2, 2)
        assert btc.decided.lag_ms == 41
        assert btc.decided.probabilities == shapes.Odds(0.21, 0.6123, 0.1777)
        assert btc.decided.claim.precision == 0.328
        assert (eth.signal, eth.decided.side) == (None, "flat")
        assert btc.next_close == entries[4].decision.bar_close + 60_000
        (event,) = said.events
        assert (event.number, event.stream, event.hazard, event.act) == (1, ETH.path, "gap", "flag")
        assert (event.text, event.at, event.unsaid) == ("no bar", EVENING_MS + 5, 4)

    serve(body, BTC, ETH, entries=entries, cards=lambda: (CARD,))


def test_a_streams_history_is_its_newest_bars_and_what_was_decided_about_them():
    """As many as are asked for, oldest first, with each one's newest decision and outcomes."""
    decisions = Decisions()
    entries = decisions.some(30, Side.LONG)
    entries.append(decisions.correct(entries[-2], Side.FLAT))
    asked: list[tuple[Stream, int]] = []

    def outcomes(stream: Stream, since: int) -> list[Outcome]:
        asked.append((stream, since))
        d = entries[5].decision
        facts = (d.id, stream, "m", d.bar_open, d.bar_close, Side.LONG, 0.6123, True, "target", 0.6)
        return [Outcome(*facts, d.bar_open + 60_000, None)]

    async def body(shown: Window) -> None:
        said = msgspec.json.decode(
            (await shown.ask("/api/stream/binance/BTCUSDT/1m?bars=4")).body, type=shapes.History
        )
        assert said.stream == BTC.path
        opens = [entry.decision.bar_open for entry in entries[26:30]]
        assert [bar[0] for bar in said.bars] == opens
        assert [d.bar_open for d in said.decisions] == opens
        assert [d.side for d in said.decisions] == ["long", "long", "flat", "long"]
        assert said.decisions[2].revision == 1
        price = entries[26].decision.price
        assert said.bars[0][1:5] == (price, price + 1, price - 1, price)
        (outcome,) = said.outcomes
        assert (outcome.right, outcome.ended, outcome.gross_pct) == (True, "target", 0.6)
        assert asked[-1] == (BTC, entries[29].decision.bar_open - 4 * 60_000)
        every = (await shown.ask("/api/stream/binance/BTCUSDT/1m")).said
        assert len(every["bars"]) == 30
        assert shown.archive.asked[-1] == ("past", (BTC, 500, None))

    serve(body, entries=entries, outcomes=outcomes)


def test_a_volume_that_the_venue_does_not_tell_is_null():
    """JSON has no NaN, and zero would be a lie."""

    async def body(shown: Window) -> None:
        said = (await shown.ask("/api/stream/binance/BTCUSDT/1m")).said
        volumes = {bar[5] for bar in said["bars"]}
        assert volumes == {None, 3.5}

    serve(body, entries=Decisions().some(14, Side.FLAT))


def test_a_stream_without_bars_has_an_empty_history():
    """It is served, and nothing has come yet."""

    async def body(shown: Window) -> None:
        said = (await shown.ask("/api/stream/binance/ETHUSDT/1h?bars=2000")).said
        assert (said["bars"], said["decisions"], said["outcomes"]) == ([], [], [])

    serve(body)


def test_a_name_with_any_sign_in_it_is_asked_for_percent_encoded():
    """But for the slash, which no name of a stream has."""
    odd = Stream("binance", "A B?#%2Fü", "1m")

    async def body(shown: Window) -> None:
        answer = await shown.ask("/api/stream/binance/A%20B%3F%23%252F%C3%BC/1m?bars=1")
        assert answer.said["stream"] == odd.path

    serve(body, odd)


@pytest.mark.parametrize(
    "count", ["0", "-1", "2001", "10000", "1.5", "x", "", "1&bars=2", "%D9%A3", "1e3", "+5"]
)
def test_a_number_of_bars_that_is_none_is_refused(count: str):
    """With what it may be."""

    async def body(shown: Window) -> None:
        answer = await shown.ask(f"/api/stream/binance/BTCUSDT/1m?bars={count}")
        assert answer.status == 400
        assert answer.said == {"error": "bars must be a whole number from 1 to 2000"}

    serve(body)


@pytest.mark.parametrize(
    "path",
    ["", "/", "/binance", "/binance/BTCUSDT", "/binance/BTCUSDT/1m/x", "/binance/btcusdt/1m",
     "/binance/BTCUSDT/2m", "/%00/%ff/x"],
)  # fmt: skip
def test_a_stream_that_is_not_served_is_not_found(path: str):
    """And the answer says where the names are."""

    async def body(shown: Window) -> None:
        answer = await shown.ask(f"/api/stream{path}?bars=5")
        assert answer.status == 404
        assert "error" in answer.said

    serve(body)


def test_an_archive_that_cannot_be_read_is_an_answer_of_its_own(caplog: pytest.LogCaptureFixture):
    """500 for who asks; everything else goes on."""

    async def body(shown: Window) -> None:
        shown.archive.broken = OSError("the disk is a toaster")
        answer = await shown.ask("/api/stream/binance/BTCUSDT/1m")
        assert (answer.status, answer.said["error"][:11]) == (500, "this failed")
        assert (await shown.ask("/api/overview")).status == 200
        shown.archive.broken = None
        assert (await shown.ask("/api/stream/binance/BTCUSDT/1m")).status == 200

    with caplog.at_level(logging.CRITICAL):
        serve(body, entries=Decisions().some(2, Side.FLAT))


# --- health


def test_health_is_well_while_the_pipeline_works():
    """Degraded is told and is no failure; a service that ends is 503 and says why."""

    async def body(shown: Window) -> None:
        answer = await shown.ask("/healthz")
        assert (answer.status, answer.said["state"], answer.said["reasons"]) == (200, "online", [])
        shown.board.set(ServiceState.DEGRADED, "mqtt: away")
        answer = await shown.ask("/healthz")
        assert (answer.status, answer.said["state"]) == (200, "degraded")
        shown.board.fail("decider", RuntimeError("no"))
        answer = await shown.ask("/healthz")
        assert (answer.status, answer.said["state"]) == (503, "offline")
        assert answer.said["reasons"][0].startswith("decider failed: RuntimeError: no")
        assert overview(await shown.ask("/api/overview")).service.state == "offline"

    serve(body)


@pytest.mark.parametrize("state", list(StreamState))
def test_it_is_ready_once_no_stream_waits_for_its_history(state: StreamState):
    """However the stream is doing then; and one that nothing is known of is waited for."""

    async def body(shown: Window) -> None:
        answer = await shown.ask("/readyz")
        assert answer.status == 503
        assert answer.said["reasons"] == [f"{s.path}: waits for its history" for s in (BTC, ETH)]
        shown.board.note(StreamHealth(BTC, StreamState.LIVE, ""))
        shown.board.note(StreamHealth(ETH, state, ""))
        answer = await shown.ask("/readyz")
        assert answer.status == (503 if state is StreamState.WARMING else 200)
        assert answer.said["ready"] == (state is not StreamState.WARMING)
        assert overview(await shown.ask("/api/overview")).ready == answer.said["ready"]

    serve(body, BTC, ETH, live=False)


def test_it_is_not_ready_while_something_is_waited_for_or_when_it_ends():
    """The broker, say; and every reason is told, or counted."""
    missing = ["mqtt: the broker has not been reached yet"]

    async def body(shown: Window) -> None:
        answer = await shown.ask("/readyz")
        assert (answer.status, answer.said["reasons"]) == (503, missing)
        missing.clear()
        assert (await shown.ask("/readyz")).status == 200
        missing.extend(f"reason {number}" for number in range(30))
        reasons = (await shown.ask("/readyz")).said["reasons"]
        assert (len(reasons), reasons[-1]) == (21, "and 10 more")
        missing.clear()
        shown.board.fail("journal", RuntimeError("no"))
        assert (await shown.ask("/readyz")).status == 503

    serve(body, waiting=lambda: missing)


def test_figures_are_asked_for_in_the_form_that_is_wanted():
    """Without them there is nothing at /metrics; one that fails breaks nothing else."""

    async def figures(accept: str) -> tuple[bytes, str]:
        if accept == "fail":
            raise RuntimeError("no figures")
        return b"up 1\n", f"text/plain; of={accept}"

    async def body(shown: Window) -> None:
        answer = await shown.ask("/metrics", headers={"Accept": "x/y"})
        assert (answer.status, answer.body) == (200, b"up 1\n")
        assert answer.headers["content-type"] == "text/plain; of=x/y"
        assert (await shown.ask("/metrics", headers={"Accept": "fail"})).status == 500
        assert (await shown.ask("/healthz")).status == 200

    serve(body, metrics=figures)

    async def without(shown: Window) -> None:
        assert (await shown.ask("/metrics")).status == 404

    serve(without)


# --- the page, and what a browser is forbidden


def test_a_page_may_load_nothing_from_elsewhere_and_run_nothing_inline():
    """And may be framed by nobody; every answer is what its type says."""

    async def body(shown: Window) -> None:
        page = await shown.ask("/")
        parts = page.headers["content-security-policy"].split(";")
        policy = dict(part.strip().split(" ", 1) for part in parts)
        assert policy["default-src"] == "'none'"
        assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        said = " ".join(policy.values())
        assert not any(word in said for word in ("unsafe", "http", "*"))
        for path in ("/", "/api/overview", "/healthz", "/nothing"):
            headers = (await shown.ask(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["x-frame-options"] == "DENY"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert "access-control-allow-origin" not in headers
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "server" not in headers
        assert (await shown.ask("/api/overview")).headers["cache-control"] == "no-store"

    serve(body, files=PAGE)


def test_without_a_page_there_are_no_files():
    """The rest is there all the same."""

    async def body(shown: Window) -> None:
        assert (await shown.ask("/")).status == 404
        assert (await shown.ask("/api/overview")).status == 200

    serve(body)


@pytest.mark.parametrize(
    "path",
    ["/../config.toml", "/..%2fconfig.toml", "/%2e%2e/x", "//etc/passwd", "/./", "/\\..\\x",
     "/page/../../shapes.py", "http://127.0.0.1/x"],
)  # fmt: skip
def test_nothing_but_the_pages_files_can_be_had(path: str):
    """Paths are names in a table; no file is opened for a request."""

    async def body(shown: Window) -> None:
        assert (await shown.ask(path)).status == 404

    serve(body, files=PAGE)


# --- who is answered


def test_who_comes_by_another_name_is_refused_everywhere():
    """A page whose owner points its name to 127.0.0.1 reads nothing (DNS rebinding)."""

    async def body(shown: Window) -> None:
        for path in ("/", "/api/overview", "/healthz", "/metrics", "/live", "/nothing"):
            answer = await shown.ask(path, host="evil.example")
            assert (answer.status, list(answer.said)) == (403, ["error"])
        assert (await shown.ask("/healthz", host="localhost:99")).status == 200

    serve(body, files=PAGE)


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "X" * 50]
)
def test_nothing_can_be_changed(method: str):
    """Any method but GET and HEAD is refused on every path, with or without a body."""

    async def body(shown: Window) -> None:
        for path in ("/api/overview", "/live", "/"):
            for content in (b"", b"x" * 100_000):
                answer = await shown.ask(path, method=method, body=content)
                assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
                assert "nothing can be changed" in answer.said["error"]

    serve(body)


def test_a_head_is_a_get_without_its_body():
    """Monitors ask like this."""

    async def body(shown: Window) -> None:
        for path in ("/healthz", "/", "/nothing"):
            got, head = await shown.ask(path), await shown.ask(path, method="HEAD")
            assert (head.status, head.body) == (got.status, b"")
            assert head.headers == got.headers

    serve(body, files=PAGE)


def test_a_request_may_come_in_pieces():
    """As slow lines bring it."""

    async def body(shown: Window) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", shown.port)
        for byte in f"GET /healthz HTTP/1.1\r\nHost: localhost:{shown.port}\r\n\r\n".encode():
            writer.write(bytes([byte]))
            await writer.drain()
        answer = parsed(await reader.read())
        writer.close()
        assert answer.status == 200

    serve(body)


LONG = "b" * 9_000
ANSWERS = {200, 304, 400, 403, 404, 405, 414, 426, 431}
requests = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda method, path, head: f"{method} {path} HTTP/1.1\r\n{head}\r\n\r\n".encode(
            "utf-8", "surrogatepass"
        ),
        st.sampled_from(["GET", "HEAD", "POST", " ", "G"]),
        st.text(max_size=60).map(lambda text: "/" + text),
        st.sampled_from(
            [
                "Host: localhost",
                "Host: localhost\r\nUpgrade: websocket",
                "Host",
                "",
                "a: " + LONG,
            ]
        ),
    ),
)


def test_no_request_breaks_anything():
    """Whatever bytes come, the answer is one of ours or none, and the next request is answered."""

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(requests)
    def each(request: bytes) -> None:
        answer = loop.run_until_complete(hostile(shown.port, request))
        assert answer == b"" or int(answer.split(b" ", 2)[1]) in ANSWERS
        assert b"Traceback" not in answer

    loop = asyncio.new_event_loop()
    context = window((BTC,), files=PAGE)
    shown = loop.run_until_complete(context.__aenter__())
    try:
        each()
        assert loop.run_until_complete(shown.ask("/healthz")).status == 200
        assert not shown.task.done()
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()


async def hostile(port: int, request: bytes) -> bytes:
    """Send bytes and an end; return what comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """Who holds many open keeps others out for a while, and costs no more than that."""
    monkeypatch.setattr("candled_adapters.web.server._MOST_CONNECTIONS", 5)

    async def body(shown: Window) -> None:
        held = [await asyncio.open_connection("127.0.0.1", shown.port) for _ in range(5)]
        with pytest.raises((ConnectionError, IndexError)):
            await shown.ask("/healthz")
        held.pop()[1].close()
        while True:
            try:
                assert (await shown.ask("/healthz")).status == 200
            except (ConnectionError, IndexError):
                await asyncio.sleep(0.01)
            else:
                break
        for _, writer in held:
            writer.close()

    serve(body)


def test_who_never_ends_a_request_is_hung_up_on(monkeypatch: pytest.MonkeyPatch):
    """A connection is nobody's for good."""
    monkeypatch.setattr("candled_adapters.web.server._REQUEST_S", 0.2)

    async def body(shown: Window) -> None:
        assert await raw(shown.port, b"GET /healthz HTTP/1.1\r\nHost: local") == b""
        assert await raw(shown.port, b"GE") == b""

    serve(body)
