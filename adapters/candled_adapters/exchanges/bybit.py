"""Bybit v5, spot, linear and inverse: one dialect, three sets of data. Pure.

Push of topic ``kline.5.BTCUSDT``; `data` is an array, `confirm` says whether a bar is closed, and
while nobody trades pushes may be a minute apart:
    {"topic":"kline.5.BTCUSDT","data":[{"start":1672324800000,"end":1672325099999,"interval":"5",
    "open":"16649.5","close":"16677","high":"16677","low":"16608","volume":"2.081",
    "turnover":"34666.4005","confirm":false,"timestamp":1672324988882}],"ts":1672324988882,
    "type":"snapshot"}
    https://bybit-exchange.github.io/docs/v5/websocket/public/kline
Acknowledgement {"success":true,"ret_msg":"subscribe","conn_id":"...","req_id":"1",
"op":"subscribe"} (some gateways say {"success":true,"data":{"successTopics":[...]},"type":
"COMMAND_RESP"}), refusal the same with "success":false: then none of the frame's topics counts, and
one that is subscribed to already is a reason. Pong with "op":"ping" or "pong".
    https://bybit-exchange.github.io/docs/v5/ws/connect
REST, GET /v5/market/kline, DESCENDING, the open bar first:
    {"retCode":0,"retMsg":"OK","result":{"category":"linear","symbol":"BTCUSDT","list":[
    ["1670608800000","17071","17073","17027","17055.5","268611","15.74462667"]]},"time":1672025956592}
    https://bybit-exchange.github.io/docs/v5/market/kline
A rate limit is HTTP 200 with retCode 10006. Inverse contracts count `volume` in quote (USD) and
`turnover` in base; the others the other way round. Trades and taker columns do not exist.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar
from urllib.parse import urlencode

import msgspec

from candled.core.bar import Bar, Bars, Interval, Stream
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
    RefusalKind,
    Request,
    Rows,
    Sign,
    Subscription,
)
from candled_adapters.exchanges.wire import (
    ABSENT,
    UNREADABLE,
    Spelling,
    bounds,
    malformed,
    milliseconds,
    rate_limited,
    reading,
    refusal,
    table,
)

T = TypeVar("T")
_INTERVALS: Final = {
    "1m": "1",
    "3m": "3",
    "5m": "5",
    "15m": "15",
    "30m": "30",
    "1h": "60",
    "2h": "120",
    "4h": "240",
    "6h": "360",
    "12h": "720",
    "1d": "D",
    "1w": "W",
    "1M": "M",
}
_NAMES: Final = {theirs: ours for ours, theirs in _INTERVALS.items()}
_OPEN_BAR: Final = b'"confirm":false'
_CLOSED_BAR: Final = b'"confirm":true'
_TOPIC: Final = b'"topic":"kline.'
_GOOD: Final = b'"retCode":0'
_RATE_LIMITS: Final = (10006, 10018)
_UNKNOWN: Final = (10001,)  # parameter error: the symbol or the interval


class _Candle(msgspec.Struct, gc=False):
    start: int
    end: int
    interval: str
    open: str
    close: str
    high: str
    low: str
    volume: str
    turnover: str
    confirm: bool


class _Frame(msgspec.Struct, gc=False):
    topic: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    type: str = ""
    ts: int = 0
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""


class _List(msgspec.Struct):
    rows: list[tuple[str, str, str, str, str, str, str]] = msgspec.field(name="list")


class _Answer(msgspec.Struct):
    result: _List


class _Head(msgspec.Struct):
    retCode: int = 0  # noqa: N815 - the venue's name
    retMsg: str = ""  # noqa: N815 - the venue's name


class _Time(msgspec.Struct):
    time: int


_frames: Final = msgspec.json.Decoder(_Frame)
_candles: Final = msgspec.json.Decoder(list[_Candle])
_answers: Final = msgspec.json.Decoder(_Answer)
_heads: Final = msgspec.json.Decoder(_Head)
_times: Final = msgspec.json.Decoder(_Time)


@dataclass(frozen=True, slots=True)
class Bybit:
    """One of Bybit's markets; see `SPOT`, `LINEAR` and `INVERSE`."""

    name: str
    category: str
    """As in the paths and queries."""
    args_per_frame: int
    spelling: Spelling
    limits: Limits
    websocket_base: str = "wss://stream.bybit.com"
    rest_base: str = "https://api.bybit.com"
    intervals: frozenset[str] = frozenset(_INTERVALS)
    closing: Closing = Closing.FLAG
    keepalive: KeepAlive | None = KeepAlive(b'{"op":"ping"}', 20.0)  # noqa: RUF009 - frozen

    def symbol_problem(self, symbol: str) -> str:
        """Return what is wrong with a symbol's spelling."""
        return self.spelling.problem(self.name, symbol)

    def pushed_interval(self, interval: str) -> str:
        """Return the interval itself: each has a topic of its own."""
        return interval

    def websocket_url(self, base: str, streams: Sequence[Stream]) -> str:
        """Return the market's public URL; what it carries is said by `subscribe`."""
        del streams
        return f"{base.rstrip('/')}/v5/public/{self.category}"

    def subscribe(self, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
        """Return frames like ``{"req_id":"1","op":"subscribe","args":["kline.60.BTCUSDT"]}``."""
        return self._frames("subscribe", streams, first_id)

    def unsubscribe(self, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
        """Return the same with ``"op":"unsubscribe"``."""
        return self._frames("unsubscribe", streams, first_id)

    def _frames(self, op: str, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
        starts = range(0, len(streams), self.args_per_frame)
        return [
            _subscription(op, number, streams[start : start + self.args_per_frame])
            for number, start in enumerate(starts, start=first_id)
        ]

    def parse(self, frame: bytes) -> Sequence[Fact]:
        """Read a frame; of one whose bytes say that its bars are all open only the topic is."""
        try:
            if _OPEN_BAR in frame and _CLOSED_BAR not in frame and _TOPIC in frame:
                start = frame.find(_TOPIC) + len(_TOPIC)
                return _sign(frame[start : frame.find(b'"', start)])
            message = _frames.decode(frame)
            if not message.topic.startswith("kline."):
                return (_control(message),)
            symbol, candles = message.topic.split(".", 2)[2], _candles.decode(message.data)
            return tuple(self._kline(symbol, candle, message.ts) for candle in candles)
        except (*UNREADABLE, LookupError) as error:
            raise malformed("frame", error, frame) from error

    def _kline(self, symbol: str, candle: _Candle, sent_ms: int) -> Kline:
        base, quote = self._amounts(float(candle.volume), float(candle.turnover))
        bar = Bar(
            milliseconds(candle.start),
            float(candle.open),
            float(candle.high),
            float(candle.low),
            float(candle.close),
            base,
            candle.end,
            quote,
            ABSENT,
            ABSENT,
            ABSENT,
        )
        return Kline(symbol, _NAMES[candle.interval], bar, candle.confirm, sent_ms)

    def _amounts(self, volume: T, turnover: T) -> tuple[T, T]:
        """Return what was traded in base and in quote."""
        return (turnover, volume) if self.category == "inverse" else (volume, turnover)

    def time_request(self) -> Request:
        """Ask ``/v5/market/time``."""
        return Request("/v5/market/time")

    def parse_time(self, body: bytes) -> int:
        """Return the server time (UTC ms), which stands in every answer."""
        with reading("server time", body):
            return milliseconds(_times.decode(body).time)

    def history_request(self, stream: Stream, page: Page) -> Request:
        """Ask ``/v5/market/kline``; the bounds are inclusive and about open times."""
        start, end = bounds(page, Interval(stream.interval))
        wishes = {
            "category": self.category,
            "symbol": stream.symbol,
            "interval": _INTERVALS[stream.interval],
            **({} if page.start_ms is None else {"start": start}),
            "end": end,
            "limit": page.limit,
        }
        return Request(f"/v5/market/kline?{urlencode(wishes)}")

    def parse_history(self, body: bytes, stream: Stream) -> Rows:
        """Return the rows of an answer as columns, oldest first."""
        with reading(f"history of {stream.path}", body):
            return Rows(self._table(_answers.decode(body).result.rows, stream))

    def _table(self, rows: Sequence[tuple[str, ...]], stream: Stream) -> Bars:
        if not rows:
            return Bars.of([])
        opens, open_, high, low, close, volume, turnover = zip(*rows, strict=True)
        base, quote = self._amounts(volume, turnover)
        prices = {"open": open_, "high": high, "low": low, "close": close}
        columns = {**prices, "volume": base, "quote_volume": quote}
        return table(map(int, opens), Interval(stream.interval), columns)

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Refusal | None:
        """Return why an answer is not data, or None when it is; HTTP 200 is not enough."""
        refused = refusal(self.name, status, headers, body)
        if refused is not None or _GOOD in body[:32]:
            return refused
        head = _head(body)
        said = f"{head.retCode} {head.retMsg}"
        if head.retCode in _RATE_LIMITS:
            return rate_limited(self.name, said, headers)
        kind = RefusalKind.UNKNOWN_STREAM if head.retCode in _UNKNOWN else RefusalKind.FAILED
        return Refusal(kind, f"{self.name}: {said}", 0.0) if head.retCode else None


@lru_cache(maxsize=8192)
def _sign(topic: bytes) -> tuple[Sign]:
    """Read what follows ``kline.`` in a topic."""
    interval, symbol = topic.decode().split(".")
    return (Sign(symbol, _NAMES[interval]),)


def _subscription(op: str, number: int, streams: Sequence[Stream]) -> Subscription:
    topics = [f"kline.{_INTERVALS[stream.interval]}.{stream.symbol}" for stream in streams]
    frame = {"req_id": str(number), "op": op, "args": topics}
    return Subscription(number, tuple(streams), msgspec.json.encode(frame))


def _control(message: _Frame) -> Control:
    number = int(message.req_id) if message.req_id.isdecimal() else None
    if message.success is False:
        return Control(ControlKind.ERROR, message.ret_msg, number)
    if message.op in ("ping", "pong"):
        return Control(ControlKind.PONG, "")
    if message.op in ("subscribe", "unsubscribe") or message.type == "COMMAND_RESP":
        return Control(ControlKind.ACK, "", number)
    return Control(ControlKind.NOTICE, message.op or message.topic or "unknown frame")


def _head(body: bytes) -> _Head:
    try:
        return _heads.decode(body)
    except UNREADABLE:
        return _Head()  # not the venue's JSON: the parser of data will say what it is


_ALIASES: Final = {"XBT": "BTC"}
_LIMITS: Final = Limits(
    streams_per_connection=500,  # all topics together may be 21,000 characters
    frames_per_second=5,
    connects=500,
    connect_window_s=300,
    questions=600,
    question_window_s=5,
    history_page=1000,
    max_age_s=float("inf"),
    lateness_ms=5_000,
)

SPOT: Final = Bybit(
    name="bybit spot",
    category="spot",
    args_per_frame=10,
    spelling=Spelling(re.compile(r"[A-Z0-9]{2,}"), "BTCUSDT", "{base}{quote}", _ALIASES),
    limits=_LIMITS,
)
#: USDT and USDC contracts: BTCUSDT, BTCPERP, BTC-27DEC24, BTCUSDT-27DEC24.
LINEAR: Final = Bybit(
    name="bybit linear",
    category="linear",
    args_per_frame=100,
    spelling=Spelling(
        re.compile(r"[A-Z0-9]{2,}(-\d{1,2}[A-Z]{3}\d{2})?"), "BTCUSDT", "{base}{quote}", _ALIASES
    ),
    limits=_LIMITS,
)
#: Contracts settled in the base asset: BTCUSD, BTCUSDZ24.
INVERSE: Final = Bybit(
    name="bybit inverse",
    category="inverse",
    args_per_frame=100,
    spelling=Spelling(
        re.compile(r"[A-Z0-9]{2,}USD([FGHJKMNQUVXZ]\d{2})?"), "BTCUSD", "{base}USD", _ALIASES
    ),
    limits=_LIMITS,
)
