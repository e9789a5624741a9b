"""Binance spot and USD-M futures: one dialect, two sets of data. Pure; no socket, no clock.

Push of a combined stream (spot; USD-M is the same but for fewer decimals):
    {"stream":"bnbbtc@kline_1m","data":{"e":"kline","E":1672515782136,"s":"BNBBTC","k":{
    "t":1672515780000,"T":1672515839999,"s":"BNBBTC","i":"1m","f":100,"L":200,"o":"0.0010",
    "c":"0.0020","h":"0.0025","l":"0.0010","v":"1000","n":100,"x":false,"q":"1.0000",
    "V":"500","Q":"0.500","B":"123456"}}}
A raw stream sends what is in "data" alone. `x` says whether the bar is closed.
    https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
    https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
Acknowledgement {"result":null,"id":1} (even of a stream that does not exist), error
{"code":2,"msg":"..."}, notice before a cut {"e":"serverShutdown","E":1672515782136}.
REST row of GET /api/v3/klines and /fapi/v1/klines, ascending, the open bar last:
    [1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",
    1499644799999,"2434.19055334",308,"1756.87402397","28.46694368","0"]
    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
Refusal {"code":-1121,"msg":"Invalid symbol."}; 429, then 418, with Retry-After in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
import numpy as np

from candled.core.bar import INTERVALS, Bar, Bars, Stream
from candled_adapters.exchanges.dialect import (
    Closing,
    Control,
    ControlKind,
    Fact,
    KeepAlive,
    Kline,
    Limits,
    Page,
    Refusal,
    Request,
    Rows,
    Sign,
    Subscription,
)
from candled_adapters.exchanges.wire import (
    UNREADABLE,
    Spelling,
    floats,
    malformed,
    milliseconds,
    reading,
    refusal,
)

_OPEN_BAR: Final = b'"x":false'
_COMBINED: Final = b'{"stream":"'
_STREAMS_PER_FRAME: Final = 200
_INVALID: Final = (-1120, -1121)  # interval, symbol


class _Candle(msgspec.Struct, gc=False):
    t: int
    T: int
    i: str
    o: str
    c: str
    h: str
    l: str  # noqa: E741 - the venue's name
    v: str
    n: int
    x: bool
    q: str
    V: str
    Q: str


class _Event(msgspec.Struct, gc=False):
    e: str = ""
    E: int = 0
    s: str = ""
    k: _Candle | None = None


class _Frame(_Event, gc=False):
    data: _Event | None = None
    result: Any = msgspec.UNSET
    error: Any = None
    id: int | str | None = None
    code: int | None = None
    msg: str = ""


class _Time(msgspec.Struct):
    serverTime: int  # noqa: N815 - the venue's name


class _Error(msgspec.Struct):
    code: int = 0


_Row = tuple[int, str, str, str, str, str, int, str, int, str, str, Any]
_frames: Final = msgspec.json.Decoder(_Frame)
_rows: Final = msgspec.json.Decoder(list[_Row])
_times: Final = msgspec.json.Decoder(_Time)
_errors: Final = msgspec.json.Decoder(_Error)


@dataclass(frozen=True, slots=True)
class Binance:
    """One of Binance's markets; see `SPOT` and `USDM`."""

    name: str
    limits: Limits
    intervals: frozenset[str]
    rest_path: str
    """What stands before ``/klines`` and ``/time``."""
    websocket_base: str
    """The venue's own address, for who has no other."""
    rest_base: str
    spelling: Spelling
    closing: Closing = Closing.FLAG
    keepalive: KeepAlive | None = None
    """The venue pings in the websocket protocol, every 20 s (spot) or 3 min (USD-M)."""

    def symbol_problem(self, symbol: str) -> str:
        """Return what is wrong with a symbol's spelling."""
        return self.spelling.problem(self.name, symbol)

    def pushed_interval(self, interval: str) -> str:
        """Return the interval itself: each has a stream of its own."""
        return interval

    def websocket_url(self, base: str, streams: Sequence[Stream]) -> str:
        """Return the combined stream's URL; what it carries is said by `subscribe`."""
        del streams
        return f"{base.rstrip('/')}/stream"

    def subscribe(self, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
        """Return frames like ``{"method":"SUBSCRIBE","params":["btcusdt@kline_1h"],"id":1}``."""
        starts = range(0, len(streams), _STREAMS_PER_FRAME)
        return [
            _subscription("SUBSCRIBE", number, streams[start : start + _STREAMS_PER_FRAME])
            for number, start in enumerate(starts, start=first_id)
        ]

    def unsubscribe(self, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
        """Return frames like ``{"method":"UNSUBSCRIBE","params":["btcusdt@kline_1h"],"id":2}``."""
        starts = range(0, len(streams), _STREAMS_PER_FRAME)
        return [
            _subscription("UNSUBSCRIBE", number, streams[start : start + _STREAMS_PER_FRAME])
            for number, start in enumerate(starts, start=first_id)
        ]

    def parse(self, frame: bytes) -> Sequence[Fact]:
        """Read a frame; of one whose bytes say that its bar is open only the name is read."""
        try:
            if _OPEN_BAR in frame and frame.startswith(_COMBINED):
                return _sign(frame[len(_COMBINED) : frame.find(b'"', len(_COMBINED))])
            message = _frames.decode(frame)
            event = message.data or message
            if event.k is None:
                return (_control(message, event),)
            return (Kline(event.s, event.k.i, _bar(event.k), event.k.x, event.E),)
        except UNREADABLE as error:
            raise malformed("frame", error, frame) from error

    def time_request(self) -> Request:
        """Ask ``/time``, which answers ``{"serverTime":1499827319559}``."""
        return Request(f"{self.rest_path}/time")

    def parse_time(self, body: bytes) -> int:
        """Return the server time (UTC ms)."""
        with reading("server time", body):
            return milliseconds(_times.decode(body).serverTime)

    def history_request(self, stream: Stream, page: Page) -> Request:
        """Ask ``/klines``; the bounds are inclusive and about open times."""
        wishes = {
            "symbol": stream.symbol,
            "interval": stream.interval,
            "startTime": page.start_ms,
            "endTime": page.end_ms,
            "limit": page.limit,
        }
        query = urlencode({key: value for key, value in wishes.items() if value is not None})
        return Request(f"{self.rest_path}/klines?{query}")

    def parse_history(self, body: bytes, stream: Stream) -> Rows:
        """Return the rows of an answer as columns."""
        with reading(f"history of {stream.path}", body):
            return Rows(_table(_rows.decode(body)))

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Refusal | None:
        """Return why an answer is not data, or None when it is."""
        return refusal(self.name, status, headers, body, unknown=_code(body) in _INVALID)


def _subscription(method: str, number: int, streams: Sequence[Stream]) -> Subscription:
    names = [f"{stream.symbol.lower()}@kline_{stream.interval}" for stream in streams]
    frame = {"method": method, "params": names, "id": number}
    return Subscription(number, tuple(streams), msgspec.json.encode(frame))


@lru_cache(maxsize=8192)
def _sign(name: bytes) -> tuple[Sign]:
    """Read the name of a stream, as it stands between the quotes of its JSON."""
    symbol, interval = msgspec.json.decode(b'"%s"' % name, type=str).split("@kline_")
    return (Sign(symbol.upper(), interval),)


def _bar(k: _Candle) -> Bar:
    return Bar(
        k.t,
        float(k.o),
        float(k.h),
        float(k.l),
        float(k.c),
        float(k.v),
        k.T,
        float(k.q),
        float(k.n),
        float(k.V),
        float(k.Q),
    )


def _control(message: _Frame, event: _Event) -> Control:
    number = message.id if isinstance(message.id, int) else None
    if message.code is not None or message.error is not None:
        text = message.msg or str(message.error)
        return Control(ControlKind.ERROR, f"{message.code or ''} {text}".strip(), number)
    if event.e == "serverShutdown":
        return Control(ControlKind.SHUTDOWN, "the venue announced a shutdown")
    if message.result is not msgspec.UNSET:
        return Control(ControlKind.ACK, "", number)
    return Control(ControlKind.NOTICE, event.e or "unknown frame")


def _table(rows: list[_Row]) -> Bars:
    if not rows:
        return Bars.of([])
    t, o, h, l, c, v, end, q, n, tb, tq, _ = zip(*rows, strict=True)  # noqa: E741 - as in the row
    open_time = np.array([milliseconds(time) for time in t], dtype=np.int64)
    if (np.diff(open_time) <= 0).any():
        raise ValueError("rows are not in order of open time")
    return Bars(
        open_time,
        floats(o),
        floats(h),
        floats(l),
        floats(c),
        floats(v),
        np.array(end, dtype=np.int64),
        floats(q),
        floats(n),
        floats(tb),
        floats(tq),
    )


def _code(body: bytes) -> int:
    try:
        return _errors.decode(body).code
    except UNREADABLE:
        return 0


_NAMES: Final = frozenset(interval.name for interval in INTERVALS)

SPOT: Final = Binance(
    name="binance spot",
    limits=Limits(
        streams_per_connection=1024,
        frames_per_second=5,
        connects=300,
        connect_window_s=300,
        questions=3000,  # weight 2 of 6000 for a full page
        question_window_s=60,
        history_page=1000,
        max_age_s=24 * 3600,
    ),
    intervals=_NAMES,
    rest_path="/api/v3",
    websocket_base="wss://stream.binance.com:9443",
    rest_base="https://api.binance.com",
    spelling=Spelling(re.compile(r"[^\W_a-z]{2,}"), "BTCUSDT", "{base}{quote}", {"XBT": "BTC"}),
)

USDM: Final = Binance(
    name="binance usd-m",
    limits=Limits(
        streams_per_connection=1024,
        frames_per_second=10,
        connects=300,
        connect_window_s=300,
        questions=240,  # weight 10 of 2400 for a full page
        question_window_s=60,
        history_page=1500,
        max_age_s=24 * 3600,
    ),
    intervals=_NAMES - {"1s"},
    rest_path="/fapi/v1",
    websocket_base="wss://fstream.binance.com/market",
    rest_base="https://fapi.binance.com",
    spelling=Spelling(
        re.compile(r"[^\W_a-z]{2,}(_\d{6})?"), "BTCUSDT", "{base}{quote}", {"XBT": "BTC"}
    ),
)
