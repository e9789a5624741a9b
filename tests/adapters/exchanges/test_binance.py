"""Binance's dialect: bytes to facts and wishes to bytes, from its documents and from recordings."""

from __future__ import annotations

import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled.core.bar import INTERVALS, Bar, Stream
from candled_adapters.exchanges.binance import SPOT, USDM
from candled_adapters.exchanges.dialect import (
    Control,
    ControlKind,
    Kline,
    MalformedFrame,
    Page,
    RefusalKind,
    Sign,
)
from real import real_data

STREAM = Stream("binance", "BTCUSDT", "1h")
OPEN = 1_700_000_000_000 // 3_600_000 * 3_600_000
CANDLE = {
    "t": OPEN,
    "T": OPEN + 3_599_999,
    "s": "BTCUSDT",
    "i": "1h",
    "f": 100,
    "L": 200,
    "o": "37000.10000000",
    "c": "37010.20000000",
    "h": "37020.30000000",
    "l": "36990.40000000",
    "v": "12.34500000",
    "n": 101,
    "x": True,
    "q": "456789.01230000",
    "V": "6.00000000",
    "Q": "222222.00000000",
    "B": "0",
}
BAR = Bar(
    OPEN,
    37000.1,
    37020.3,
    36990.4,
    37010.2,
    12.345,
    OPEN + 3_599_999,
    456789.0123,
    101.0,
    6.0,
    222222.0,
)


def push(*, wrapped: bool = True, **changes) -> bytes:
    event = {"e": "kline", "E": OPEN + 3_600_123, "s": "BTCUSDT", "k": {**CANDLE, **changes}}
    message = {"stream": "btcusdt@kline_1h", "data": event} if wrapped else event
    return json.dumps(message, separators=(",", ":")).encode()


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_closed_bar_is_read_with_its_exact_numbers(wrapped):
    """Combined and raw streams give the same bar, floats as Python's float() reads them."""
    (kline,) = SPOT.parse(push(wrapped=wrapped))
    assert kline == Kline("BTCUSDT", "1h", BAR, closed=True, event_ms=OPEN + 3_600_123)


def test_an_open_bar_is_not_even_decoded():
    """A frame that says x:false is a sign of its stream's life, whatever else it holds."""
    assert SPOT.parse(push(x=False)) == (Sign("BTCUSDT", "1h"),)
    assert SPOT.parse(push(x=False)[:-40]) == (Sign("BTCUSDT", "1h"),)


def test_a_sign_of_life_names_its_stream_however_it_is_spelled():
    """A month is no minute, and a name in other letters comes escaped or not."""
    frame = push(x=False)
    assert SPOT.parse(frame.replace(b"kline_1h", b"kline_1M")) == (Sign("BTCUSDT", "1M"),)
    for name in ("币安人生usdt".encode(), b"\\u5e01\\u5b89\\u4eba\\u751fusdt"):
        assert SPOT.parse(frame.replace(b"btcusdt", name)) == (Sign("币安人生USDT", "1h"),)
    with pytest.raises(MalformedFrame, match="found"):
        SPOT.parse(frame.replace(b"@kline_", b"@trade"))


def test_an_open_bar_in_unusual_layout_is_decoded_and_open():
    """White space defeats the short cut, not the meaning."""
    frame = json.dumps(json.loads(push(x=False)), indent=2).encode()
    (kline,) = SPOT.parse(frame)
    assert isinstance(kline, Kline)
    assert not kline.closed


def test_keys_that_nobody_knows_are_ignored():
    """A venue may add fields at any level."""
    message = json.loads(push(new={"a": [1]}))
    message["data"]["more"] = None
    message["extra"] = 1
    (kline,) = SPOT.parse(json.dumps(message).encode())
    assert isinstance(kline, Kline)
    assert kline.bar == BAR


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"<html>502 Bad Gateway</html>",
        b"\xff\xfe\x00",
        b"[1,2",
        b"[]",
        b'{"data":[]}',
        push()[:-30],
        push(o=37000.1),
        push(o=None),
        push(o="dear"),
        push(t="now"),
        push(x="true"),
    ],
)
def test_malformed_frames_are_told_from_control(frame):
    """Truncated, binary, HTML, null, numbers for strings: one error with a sample."""
    with pytest.raises(MalformedFrame, match="found"):
        SPOT.parse(frame)


@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_but_malformed_frame(frame):
    """Whatever arrives is a fact or a `MalformedFrame`."""
    with contextlib.suppress(MalformedFrame):
        assert isinstance(SPOT.parse(frame), tuple)


@pytest.mark.parametrize(
    ("frame", "control"),
    [
        (b'{"result":null,"id":7}', Control(ControlKind.ACK, "", 7)),
        (b'{"result":null,"id":"x"}', Control(ControlKind.ACK, "")),
        (
            b'{"code":2,"msg":"Invalid request"}',
            Control(ControlKind.ERROR, "2 Invalid request"),
        ),
        (
            b'{"error":{"code":2,"msg":"bad"},"id":3}',
            Control(ControlKind.ERROR, "{'code': 2, 'msg': 'bad'}", 3),
        ),
        (
            b'{"e":"serverShutdown","E":1770123456789}',
            Control(ControlKind.SHUTDOWN, "the venue announced a shutdown"),
        ),
        (
            b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
            Control(ControlKind.SHUTDOWN, "the venue announced a shutdown"),
        ),
        (b'{"e":"somethingNew","E":1}', Control(ControlKind.NOTICE, "somethingNew")),
    ],
)
def test_frames_without_a_candle_are_control(frame, control):
    """Acks, refusals, shutdown notices and what is yet unknown."""
    assert SPOT.parse(frame) == (control,)


def test_subscriptions_are_numbered_and_chunked():
    """Lower-case symbols, the interval's case kept, at most 200 streams a frame."""
    streams = [Stream("binance", f"S{n}USDT", "1M") for n in range(450)]
    subscriptions = SPOT.subscribe(streams, 5)
    assert [subscription.id for subscription in subscriptions] == [5, 6, 7]
    assert [stream for one in subscriptions for stream in one.streams] == streams
    first = json.loads(subscriptions[0].frame)
    assert first["method"] == "SUBSCRIBE"
    assert first["id"] == 5
    assert first["params"][:2] == ["s0usdt@kline_1M", "s1usdt@kline_1M"]
    assert len(first["params"]) == 200


def test_addresses_are_the_venues():
    """Combined streams of spot, the routed path of USD-M, and whatever host is configured."""
    spot, usdm = SPOT, USDM
    assert spot.websocket_url(spot.websocket_base, []) == "wss://stream.binance.com:9443/stream"
    assert usdm.websocket_url(usdm.websocket_base, []) == "wss://fstream.binance.com/market/stream"
    assert spot.websocket_url("ws://127.0.0.1:1/", []) == "ws://127.0.0.1:1/stream"
    assert spot.time_request().target == "/api/v3/time"
    assert usdm.time_request().target == "/fapi/v1/time"


def test_markets_differ_in_limits_and_intervals():
    """1s is spot's alone; pages and message rates are each their own."""
    assert SPOT.intervals == {interval.name for interval in INTERVALS}
    assert SPOT.intervals - USDM.intervals == {"1s"}
    assert (SPOT.limits.history_page, USDM.limits.history_page) == (1000, 1500)
    assert (SPOT.limits.frames_per_second, USDM.limits.frames_per_second) == (5, 10)


def test_history_is_asked_with_inclusive_bounds():
    """Only the bounds that are wanted are sent."""
    asked = SPOT.history_request(STREAM, Page(1000, None, 3, 0)).target
    assert asked == "/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime=1000&limit=3"
    asked = USDM.history_request(STREAM, Page(None, 2000, 1500, 0)).target
    assert asked == "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&endTime=2000&limit=1500"


def row(slot: int) -> list:
    t = OPEN + slot * 3_600_000
    k = CANDLE
    prices = [k["o"], k["h"], k["l"], k["c"], k["v"]]
    return [t, *prices, t + 3_599_999, k["q"], 101, k["V"], k["Q"], "0"]


def test_history_rows_become_the_same_bars_as_pushes():
    """REST's row and the push of one candle are equal to the bit."""
    bars = SPOT.parse_history(json.dumps([row(0), row(1)]).encode(), STREAM).bars
    assert bars.row(0) == BAR
    assert len(bars) == 2
    assert len(SPOT.parse_history(b"[]", STREAM).bars) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[[1]]",
        b"<html>",
        json.dumps([row(1), row(0)]).encode(),
        json.dumps([row(0), row(0)]).encode(),
        json.dumps([[*row(0)[:1], 1.5, *row(0)[2:]]]).encode(),
    ],
)
def test_malformed_history_names_the_stream(body):
    """Wrong shapes, numbers for strings, rows out of order or twice."""
    with pytest.raises(MalformedFrame, match="binance/BTCUSDT/1h"):
        SPOT.parse_history(body, STREAM)


@given(st.decimals(0, 10**9, places=8, allow_nan=False))
def test_decimal_strings_are_read_as_python_reads_them(price):
    """To the bit, on the way of pushes and on the way of history."""
    text = f"{price:.8f}"
    (kline,) = SPOT.parse(push(o=text))
    assert isinstance(kline, Kline)
    assert kline.bar.open == float(text)
    body = json.dumps([[OPEN, text, *row(0)[2:]]]).encode()
    assert SPOT.parse_history(body, STREAM).bars.open[0] == float(text)


def test_server_time_is_read():
    """And what is not a time is malformed."""
    assert SPOT.parse_time(b'{"serverTime":1499827319559}') == 1499827319559
    with pytest.raises(MalformedFrame):
        SPOT.parse_time(b'{"serverTime":"soon"}')


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "retry_after_s"),
    [
        (429, {"retry-after": "7"}, b"", RefusalKind.RATE_LIMIT, 7.0),
        (429, {}, b"", RefusalKind.RATE_LIMIT, 30.0),
        (418, {"retry-after": "120"}, b"<html>", RefusalKind.BANNED, 120.0),
        (400, {}, b'{"code":-1121,"msg":"Invalid symbol."}', RefusalKind.UNKNOWN_STREAM, 0.0),
        (400, {}, b'{"code":-1120,"msg":"Invalid interval."}', RefusalKind.UNKNOWN_STREAM, 0.0),
        (400, {}, b'{"code":-1100,"msg":"Illegal characters."}', RefusalKind.REJECTED, 0.0),
        (404, {}, b"<html>", RefusalKind.REJECTED, 0.0),
        (451, {}, b'{"code":0,"msg":"Restricted location."}', RefusalKind.REJECTED, 0.0),
        (403, {}, b"<html>", RefusalKind.FAILED, 0.0),
        (500, {}, b"<html>oops</html>", RefusalKind.FAILED, 0.0),
    ],
)
def test_refusals_say_what_to_do(status, headers, body, kind, retry_after_s):
    """Rate limits carry a pause, unknown symbols are told from passing trouble."""
    refusal = SPOT.parse_error(status, headers, body)
    assert refusal is not None
    assert (refusal.kind, refusal.retry_after_s) == (kind, retry_after_s)


def test_a_good_answer_is_no_refusal():
    """HTTP 200 is data."""
    assert SPOT.parse_error(200, {}, b"[]") is None


def recordings() -> list[tuple[str, bytes]]:
    """Return (file, frame) of every recorded push; skips the test when there are none."""
    root = real_data() / "wire"
    frames = []
    for folder in ("binance_spot", "binance_us", "binance_usdm"):
        for file in sorted((root / folder).glob("cryptofeed_*")):
            lines = file.read_text().splitlines()
            found = [re.fullmatch(r"[\d.]+: (\{.*\})", line) for line in lines]
            frames += [(file.name, match[1].encode()) for match in found if match]
        for file in sorted((root / folder).glob("nautilus_kline_stream_*")):
            frames.append((file.name, file.read_bytes()))
    return frames


def test_every_recorded_frame_is_read():
    """Each frame is a candle or control; each closed bar has exactly the numbers of its text."""
    frames = recordings()
    closed = 0
    for _, frame in frames:
        facts = SPOT.parse(frame)
        plain = json.loads(frame)
        k = plain.get("data", plain)["k"]
        if not k["x"]:
            (fact,) = facts
            assert (fact.symbol, fact.interval) == (k["s"], k["i"])
            assert not getattr(fact, "closed", False)
            continue
        (kline,) = facts
        assert isinstance(kline, Kline)
        assert kline.closed
        closed += 1
        numbers = [float(k[name]) for name in "ohlcv"]
        rest = [float(k["q"]), float(k["n"]), float(k["V"]), float(k["Q"])]
        assert kline.bar == Bar(k["t"], *numbers, k["T"], *rest)
        assert (kline.symbol, kline.interval) == (k["s"], k["i"])
    assert closed >= 5
    assert len(frames) >= 40
