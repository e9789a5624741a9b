"""Kraken spot: websocket v2, REST of v1. Pure; no socket, no clock.

Push, made by trades alone; nothing says that a bar is closed, and `timestamp` is its END:
    {"channel":"ohlc","type":"update","timestamp":"2023-10-04T16:26:30.524394914Z","data":[{
    "symbol":"MATIC/USD","open":0.5624,"high":0.5628,"low":0.5622,"close":0.5627,"trades":12,
    "volume":30927.68066226,"vwap":0.5626,"interval_begin":"2023-10-04T16:25:00.000000000Z",
    "interval":5,"timestamp":"2023-10-04T16:30:00.000000Z"}]}
    https://docs.kraken.com/api/docs/websocket-v2/ohlc
Acknowledgement {"method":"subscribe","success":true,"result":{...},"req_id":1} for each symbol,
refusal {"error":"Currency pair not supported ABC/USD","method":"subscribe","success":false,
"req_id":1}, pong {"method":"pong",...}, and {"channel":"heartbeat"} every second.
REST, GET /0/public/OHLC, ascending, times in SECONDS, never more than the newest 720; what
opens after `last` is not yet committed:
    {"error":[],"result":{"XXBTZUSD":[[1688671200,"30306.1","30306.2","30305.7","30305.7",
    "30306.1","3.39243896",23]],"last":1688672160}}
    https://docs.kraken.com/api/docs/rest-api/get-ohlc-data
Row: open s, open, high, low, close, vwap, volume, trades. Errors are HTTP 200 with
{"error":["EGeneral:Too many requests"]}. Server time comes in whole seconds. Quote volume and
taker columns do not exist. REST says XBT and XDG where websocket v2 says BTC and DOGE. Symbols are
written with a dash here (BTC-USD for BTC/USD): a slash parts the words of a stream's name. Weeks
are left out: Kraken's begin on Thursdays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final
from urllib.parse import urlencode

import msgspec

from candled.core.bar import SECOND, Bar, Bars, Interval, Stream
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
    Subscription,
)
from candled_adapters.exchanges.wire import (
    ABSENT,
    UNREADABLE,
    Spelling,
    close_ms,
    iso_ms,
    leading,
    malformed,
    milliseconds,
    rate_limited,
    reading,
    refusal,
    table,
)

#: Minutes.
_INTERVALS: Final = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}
_NAMES: Final = {theirs: ours for ours, theirs in _INTERVALS.items()}
_REST_ASSETS: Final = {"BTC": "XBT", "DOGE": "XDG"}
_SYMBOLS_PER_FRAME: Final = 100
_SPELLING: Final = Spelling(
    re.compile(r"(?!XBT-|XDG-)[A-Z0-9.]+-[A-Z0-9.]+"),
    "BTC-USD",
    "{base}-{quote}",
    {"XBT": "BTC", "XDG": "DOGE"},
)


class _Candle(msgspec.Struct, gc=False):
    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int
    interval_begin: str
    interval: int


class _Result(msgspec.Struct, gc=False):
    symbol: str = ""


class _Frame(msgspec.Struct, gc=False):
    channel: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    timestamp: str = ""
    method: str = ""
    success: bool | None = None
    error: str = ""
    req_id: int | None = None
    symbol: str = ""
    result: _Result | None = None


class _Head(msgspec.Struct):
    error: list[str] = []


class _Answer(msgspec.Struct):
    result: dict[str, int | list[tuple[int, str, str, str, str, str, str, int]]]


class _Moment(msgspec.Struct):
    unixtime: int


class _Time(msgspec.Struct):
    result: _Moment


_frames: Final = msgspec.json.Decoder(_Frame)
_candles: Final = msgspec.json.Decoder(list[_Candle])
_heads: Final = msgspec.json.Decoder(_Head)
_answers: Final = msgspec.json.Decoder(_Answer)
_times: Final = msgspec.json.Decoder(_Time)


@dataclass(frozen=True, slots=True)
class Kraken:
    """Kraken's language; see `KRAKEN`."""

    name: str
    limits: Limits
    websocket_base: str = "wss://ws.kraken.com"
    rest_base: str = "https://api.kraken.com"
    intervals: frozenset[str] = frozenset(_INTERVALS)
    closing: Closing = Closing.SUCCESSOR
    keepalive: KeepAlive | None = KeepAlive(b'{"method":"ping"}', 30.0)  # noqa: RUF009 - frozen

    def symbol_problem(self, symbol: str) -> str:
        """Return what is wrong with a symbol's spelling."""
        return _SPELLING.problem(self.name, symbol)

    def pushed_interval(self, interval: str) -> str:
        """Return the interval itself: each is subscribed to on its own."""
        return interval

    def websocket_url(self, base: str, streams: Sequence[Stream]) -> str:
        """Return the public URL; what it carries is said by `subscribe`."""
        del streams
        return f"{base.rstrip('/')}/v2"

    def subscribe(self, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
        """Return a frame for each interval and at most 100 symbols."""
        parts = enumerate(_parts(streams), first_id)
        return [_subscription("subscribe", number, part) for number, part in parts]

    def unsubscribe(self, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
        """Return the same with ``"method":"unsubscribe"``."""
        parts = enumerate(_parts(streams), first_id)
        return [_subscription("unsubscribe", number, part) for number, part in parts]

    def parse(self, frame: bytes) -> Sequence[Fact]:
        """Read a frame; every bar counts as open, also those of a snapshot."""
        try:
            message = _frames.decode(frame)
            if message.channel != "ohlc":
                return (_control(message),)
            sent_ms = iso_ms(message.timestamp) if message.timestamp else 0
            return tuple(_kline(candle, sent_ms) for candle in _candles.decode(message.data))
        except (*UNREADABLE, LookupError) as error:
            raise malformed("frame", error, frame) from error

    def time_request(self) -> Request:
        """Ask ``/0/public/Time``, which answers ``{"result":{"unixtime":1688669448}}``."""
        return Request("/0/public/Time")

    def parse_time(self, body: bytes) -> int:
        """Return the server time (UTC ms), rounded down to a second."""
        with reading("server time", body):
            return milliseconds(_times.decode(body).result.unixtime * SECOND)

    def history_request(self, stream: Stream, page: Page) -> Request:
        """Ask for everything after `since` (exclusive, s), or for all 720; there is no end."""
        wishes: dict[str, str | int] = {
            "pair": _pair(stream.symbol),
            "interval": _INTERVALS[stream.interval],
        }
        if page.start_ms is not None:
            wishes["since"] = (page.start_ms - 1) // SECOND
        return Request(f"/0/public/OHLC?{urlencode(wishes)}")

    def parse_history(self, body: bytes, stream: Stream) -> Rows:
        """Return the rows of an answer as columns, and how many are committed."""
        with reading(f"history of {stream.path}", body):
            result = _answers.decode(body).result
            last = result.pop("last", 0)
            rows = next(iter(result.values()), [])
            if not isinstance(last, int) or isinstance(rows, int):
                raise ValueError("rows and `last` are not what they should be")  # noqa: TRY004
            return Rows(_table(rows, stream), closed=leading(row[0] <= last for row in rows))

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Refusal | None:
        """Return why an answer is not data, or None when it is; HTTP 200 is not enough."""
        said = _errors(body)
        unknown = "Unknown asset pair" in said or "Invalid arguments" in said
        refused = refusal(self.name, status, headers, body, unknown=unknown)
        if refused is not None or not said:
            return refused
        if "Too many requests" in said or "Rate limit" in said:
            return rate_limited(self.name, said, headers)
        kind = RefusalKind.UNKNOWN_STREAM if unknown else RefusalKind.FAILED
        return Refusal(kind, f"{self.name}: {said}", 0.0)


def _parts(streams: Sequence[Stream]) -> list[tuple[Stream, ...]]:
    """Part streams by interval, and by how many symbols a frame may hold."""
    ordered = sorted(streams, key=lambda stream: stream.interval)
    parts: list[tuple[Stream, ...]] = []
    for _, group in groupby(ordered, key=lambda stream: stream.interval):
        same = tuple(group)
        starts = range(0, len(same), _SYMBOLS_PER_FRAME)
        parts += [same[start : start + _SYMBOLS_PER_FRAME] for start in starts]
    return parts


def _subscription(method: str, number: int, streams: tuple[Stream, ...]) -> Subscription:
    params = {
        "channel": "ohlc",
        "symbol": [stream.symbol.replace("-", "/") for stream in streams],
        "interval": _INTERVALS[streams[0].interval],
        **({"snapshot": True} if method == "subscribe" else {}),
    }
    frame = {"method": method, "params": params, "req_id": number}
    return Subscription(number, streams, msgspec.json.encode(frame))


def _pair(symbol: str) -> str:
    """Spell a pair as REST does: XBTUSD for BTC-USD."""
    return "".join(_REST_ASSETS.get(asset, asset) for asset in symbol.split("-"))


def _kline(candle: _Candle, sent_ms: int) -> Kline:
    name = _NAMES[candle.interval]
    open_time = iso_ms(candle.interval_begin)
    bar = Bar(
        open_time,
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        candle.volume,
        close_ms(open_time, Interval(name)),
        ABSENT,
        float(candle.trades),
        ABSENT,
        ABSENT,
    )
    symbol = candle.symbol.replace("/", "-")
    return Kline(symbol, name, bar, closed=False, event_ms=sent_ms or open_time)


def _table(rows: Sequence[tuple[int, str, str, str, str, str, str, int]], stream: Stream) -> Bars:
    if not rows:
        return Bars.of([])
    opens, open_, high, low, close, _, volume, trades = zip(*rows, strict=True)
    prices = {"open": open_, "high": high, "low": low, "close": close}
    columns = {**prices, "volume": volume, "trades": trades}
    return table((time * SECOND for time in opens), Interval(stream.interval), columns)


def _control(message: _Frame) -> Control:
    named = message.symbol or (message.result.symbol if message.result is not None else "")
    symbol = named.replace("/", "-")
    if message.error or message.success is False:
        return Control(ControlKind.ERROR, message.error or "refused", message.req_id, symbol)
    if message.method == "pong":
        return Control(ControlKind.PONG, "")
    if message.method in ("subscribe", "unsubscribe"):
        return Control(ControlKind.ACK, "", message.req_id, symbol)
    return Control(ControlKind.NOTICE, message.channel or message.method or "unknown frame")


def _errors(body: bytes) -> str:
    try:
        return ", ".join(_heads.decode(body).error)
    except UNREADABLE:
        return ""  # not the venue's JSON: the parser of data will say what it is


KRAKEN: Final = Kraken(
    name="kraken",
    limits=Limits(
        streams_per_connection=200,
        frames_per_second=2,
        connects=150,
        connect_window_s=600,
        questions=15,
        question_window_s=15,
        history_page=720,
        max_age_s=float("inf"),
        reach=720,
        time_step_ms=SECOND,
    ),
)
