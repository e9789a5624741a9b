"""Hyperliquid, perpetuals and spot. Pure; no socket, no clock.

Push of a candle subscription; nothing says that a bar is closed. `T` is its end, inclusive:
    {"channel":"candle","data":{"t":1681923600000,"T":1681927199999,"s":"BTC","i":"1h",
    "o":"29295.0","c":"29258.0","h":"29309.0","l":"29250.0","v":"0.98639","n":189}}
    https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/subscriptions
Acknowledgement {"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":
{"type":"candle","coin":"BTC","interval":"1h"}}}, error {"channel":"error","data":"..."}, pong
{"channel":"pong"}. A connection that has been idle for 60 s is closed.
REST, POST /info, ascending, bounds inclusive, only the newest 5,000:
    {"type":"candleSnapshot","req":{"coin":"BTC","interval":"1h","startTime":1681923600000,
    "endTime":1681927200000}}   ->   [{"T":...,"t":...,"s":"BTC","i":"1h","o":"29295.0",...}]
    https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint
There is no question for the server time: an order book says when its block was made, at most a
second or so ago. Quote volume and taker columns do not exist. Spot pairs are written with a dash
here (PURR-USDC for PURR/USDC): a slash parts the words of a stream's name. Weeks are left out: the
documents do not say on which day they begin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from candled.core.bar import SECOND, Bar, Interval, Stream
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
    Subscription,
)
from candled_adapters.exchanges.wire import (
    ABSENT,
    UNREADABLE,
    Spelling,
    bounds,
    malformed,
    milliseconds,
    reading,
    refusal,
    table,
)

_INTERVALS: Final = (
    *("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "3d", "1M"),
)
_UNKNOWN: Final = (b"null", b"Failed to deserialize")
_SERVER_ERROR, _UNPROCESSABLE = 500, 422
_QUOTED_COIN: Final = re.compile(r"""["']coin["']:\s*["']([^"']+)["']""")
_QUOTED_INTERVAL: Final = re.compile(r"""["']interval["']:\s*["']([^"']+)["']""")
#: BTC, kPEPE, @107, PURR-USDC, and of a builder's exchange xyz:TSLA.
_SPELLING: Final = Spelling(
    re.compile(r"(?!\w+(USDT|USDC|USD|-PERP)$)([a-z]+:)?k?[A-Z0-9]+(-USDC|-USDH)?|@\d+"),
    "BTC",
    "{base}",
    {"XBT": "BTC"},
)


class _Candle(msgspec.Struct, gc=False):
    t: int
    T: int
    s: str
    i: str
    o: str
    c: str
    h: str
    l: str  # noqa: E741 - the venue's name
    v: str
    n: int


class _Frame(msgspec.Struct, gc=False):
    channel: str
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Asked(msgspec.Struct):
    coin: str = ""
    interval: str = ""


class _Response(msgspec.Struct):
    method: str
    subscription: _Asked


class _Book(msgspec.Struct):
    time: int


_frames: Final = msgspec.json.Decoder(_Frame)
_pushes: Final = msgspec.json.Decoder(_Candle | list[_Candle])
_responses: Final = msgspec.json.Decoder(_Response)
_texts: Final = msgspec.json.Decoder(str)
_rows: Final = msgspec.json.Decoder(list[_Candle])
_books: Final = msgspec.json.Decoder(_Book)


@dataclass(frozen=True, slots=True)
class Hyperliquid:
    """Hyperliquid's language; see `HYPERLIQUID`."""

    name: str
    limits: Limits
    websocket_base: str = "wss://api.hyperliquid.xyz"
    rest_base: str = "https://api.hyperliquid.xyz"
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
        """Return the URL; what it carries is said by `subscribe`."""
        del streams
        return f"{base.rstrip('/')}/ws"

    def subscribe(self, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
        """Return one frame for each stream; the answer repeats what was asked."""
        del first_id
        return [_subscription("subscribe", stream) for stream in streams]

    def unsubscribe(self, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
        """Return the same with ``"method":"unsubscribe"``."""
        del first_id
        return [_subscription("unsubscribe", stream) for stream in streams]

    def parse(self, frame: bytes) -> Sequence[Fact]:
        """Read a frame; every bar counts as open."""
        try:
            message = _frames.decode(frame)
            if message.channel != "candle":
                return (_control(message),)
            found = _pushes.decode(message.data)
            return tuple(map(_kline, found if isinstance(found, list) else (found,)))
        except UNREADABLE as error:
            raise malformed("frame", error, frame) from error

    def time_request(self) -> Request:
        """Ask for a coarse order book, which says when it was."""
        return _info({"type": "l2Book", "coin": "BTC", "nSigFigs": 2})

    def parse_time(self, body: bytes) -> int:
        """Return the time of the venue's newest block (UTC ms)."""
        with reading("server time", body):
            return milliseconds(_books.decode(body).time)

    def history_request(self, stream: Stream, page: Page) -> Request:
        """Ask for a span of at most `limit` slots."""
        start, end = bounds(page, Interval(stream.interval))
        asked = {"coin": _coin(stream.symbol), "interval": stream.interval}
        span = {"startTime": start, "endTime": end}
        return _info({"type": "candleSnapshot", "req": {**asked, **span}})

    def parse_history(self, body: bytes, stream: Stream) -> Rows:
        """Return the rows of an answer as columns."""
        names = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "trades": "n"}
        with reading(f"history of {stream.path}", body):
            rows = _rows.decode(body)
            columns = {name: [getattr(row, at) for row in rows] for name, at in names.items()}
            return Rows(table((row.t for row in rows), Interval(stream.interval), columns))

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Refusal | None:
        """Return why an answer is not data, or None when it is."""
        unknown = status in (_SERVER_ERROR, _UNPROCESSABLE) and body.startswith(_UNKNOWN)
        return refusal(self.name, status, headers, body, unknown=unknown)


def _info(question: dict[str, Any]) -> Request:
    return Request("/info", "POST", msgspec.json.encode(question))


def _coin(symbol: str) -> str:
    return symbol.replace("-", "/")


def _subscription(method: str, stream: Stream) -> Subscription:
    asked = {"type": "candle", "coin": _coin(stream.symbol), "interval": stream.interval}
    frame = msgspec.json.encode({"method": method, "subscription": asked})
    return Subscription(_key(asked["coin"], stream.interval), (stream,), frame)


def _key(coin: str, interval: str) -> str:
    return f"{coin} {interval}"


def _kline(candle: _Candle) -> Kline:
    """Read a bar; that it is pushed proves that it has begun, and nothing more."""
    prices = (float(candle.o), float(candle.h), float(candle.l), float(candle.c))
    volume, trades = float(candle.v), float(candle.n)
    bar = Bar(milliseconds(candle.t), *prices, volume, candle.T, ABSENT, trades, ABSENT, ABSENT)
    symbol = candle.s.replace("/", "-")
    return Kline(symbol, candle.i, bar, closed=False, event_ms=candle.t)


def _control(message: _Frame) -> Control:
    if message.channel == "pong":
        return Control(ControlKind.PONG, "")
    if message.channel == "error":
        return _error(_texts.decode(message.data))
    if message.channel == "subscriptionResponse":
        said = _responses.decode(message.data)
        if said.method != "subscribe":  # it repeats what was asked, and is no answer to a wish
            return Control(ControlKind.NOTICE, said.method)
        asked = said.subscription
        return Control(ControlKind.ACK, "", _key(asked.coin, asked.interval))
    return Control(ControlKind.NOTICE, message.channel)


def _error(text: str) -> Control:
    """Read a refusal, which often quotes what was asked."""
    coin, interval = _QUOTED_COIN.search(text), _QUOTED_INTERVAL.search(text)
    key = _key(coin[1], interval[1]) if coin and interval else None
    return Control(ControlKind.ERROR, text, key)


HYPERLIQUID: Final = Hyperliquid(
    name="hyperliquid",
    limits=Limits(
        streams_per_connection=500,
        frames_per_second=20,
        connects=30,
        connect_window_s=60,
        questions=50,
        question_window_s=60,
        history_page=1000,
        max_age_s=float("inf"),
        reach=5000,
        by_span=True,
        time_step_ms=SECOND,
        frames_per_second_in_all=30,  # 2,000 a minute
        streams_in_all=1000,
    ),
)
