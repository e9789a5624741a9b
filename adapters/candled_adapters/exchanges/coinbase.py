"""Coinbase Advanced Trade. Pure; no socket, no clock.

Push of the candles channel, which has 5-minute buckets only and never says that one is closed:
    {"channel":"candles","client_id":"","timestamp":"2023-06-09T20:19:35.39625135Z",
    "sequence_num":0,"events":[{"type":"snapshot","candles":[{"start":"1688998200","high":
    "1867.72","low":"1865.63","open":"1867.38","close":"1866.81","volume":"0.20269406",
    "product_id":"ETH-USD"}]}]}
    https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels
Acknowledgement {"channel":"subscriptions","events":[{"subscriptions":{"candles":["ETH-USD"]}}]},
error {"type":"error","message":"..."}. The heartbeats channel speaks every second; without it
a quiet connection is cut after 60 to 90 s.
REST, GET /api/v3/brokerage/market/products/{id}/candles, DESCENDING, times in SECONDS, both bounds
inclusive and at most 350 slots apart; a slot without a trade has no row:
    {"candles":[{"start":"1639508050","low":"140.21","high":"140.21","open":"140.21",
    "close":"140.21","volume":"56437345"}]}
    https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/products/get-public-product-candles

Longer bars are not put together from pushed buckets: a lost or revised bucket would spoil them
unseen. A bucket that opens at or after a bar's end is the sign to ask, and the venue's own bar of
the wanted granularity is what goes out. Quote volume, trades and taker columns do not exist.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    Request,
    Rows,
    Subscription,
)
from candled_adapters.exchanges.wire import (
    ABSENT,
    UNREADABLE,
    Spelling,
    bounds,
    close_ms,
    iso_ms,
    malformed,
    milliseconds,
    reading,
    refusal,
    table,
)

_INTERVALS: Final = {
    "5m": "FIVE_MINUTE",
    "15m": "FIFTEEN_MINUTE",
    "30m": "THIRTY_MINUTE",
    "1h": "ONE_HOUR",
    "2h": "TWO_HOUR",
    "4h": "FOUR_HOUR",
    "6h": "SIX_HOUR",
    "1d": "ONE_DAY",
}
_BUCKET: Final = Interval("5m")
_CHANNEL: Final = "candles"
_PRODUCTS_PER_FRAME: Final = 100
_UNKNOWN: Final = (b"NOT_FOUND", b"INVALID_ARGUMENT")
_BAD_REQUEST, _NOT_FOUND = 400, 404
_SPELLING: Final = Spelling(
    re.compile(r"[A-Z0-9]+-[A-Z0-9]+(-[A-Z0-9]+)*"), "BTC-USD", "{base}-{quote}", {"XBT": "BTC"}
)


class _Candle(msgspec.Struct, gc=False):
    start: str
    high: str
    low: str
    open: str
    close: str
    volume: str
    product_id: str = ""


class _Event(msgspec.Struct, gc=False):
    candles: list[_Candle] | None = None


class _Frame(msgspec.Struct, gc=False):
    channel: str = ""
    timestamp: str = ""
    events: list[_Event] = []
    type: str = ""
    message: str = ""


class _Answer(msgspec.Struct):
    candles: list[_Candle]


class _Time(msgspec.Struct):
    epochMillis: str  # noqa: N815 - the venue's name


_frames: Final = msgspec.json.Decoder(_Frame)
_answers: Final = msgspec.json.Decoder(_Answer)
_times: Final = msgspec.json.Decoder(_Time)


@dataclass(frozen=True, slots=True)
class Coinbase:
    """Coinbase's language; see `COINBASE`."""

    name: str
    limits: Limits
    websocket_base: str = "wss://advanced-trade-ws.coinbase.com"
    rest_base: str = "https://api.coinbase.com"
    intervals: frozenset[str] = frozenset(_INTERVALS)
    closing: Closing = Closing.SUCCESSOR
    keepalive: KeepAlive | None = None
    """The heartbeats channel keeps the connection."""

    def symbol_problem(self, symbol: str) -> str:
        """Return what is wrong with a symbol's spelling."""
        return _SPELLING.problem(self.name, symbol)

    def pushed_interval(self, interval: str) -> str:
        """Return the only interval that is pushed."""
        del interval
        return _BUCKET.name

    def websocket_url(self, base: str, streams: Sequence[Stream]) -> str:
        """Return the URL; what it carries is said by `subscribe`."""
        del streams
        return base

    def subscribe(self, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
        """Ask for heartbeats, then for the candles of each product, whatever its intervals."""
        del first_id  # the venue does not number its answers
        beat = msgspec.json.encode({"type": "subscribe", "channel": "heartbeats"})
        asked = [_subscription("subscribe", part, streams) for part in _parts(streams)]
        return [Subscription("heartbeats", (), beat), *asked]

    def unsubscribe(self, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
        """Return frames with ``"type":"unsubscribe"``; heartbeats go on."""
        del first_id
        return [_subscription("unsubscribe", part, streams) for part in _parts(streams)]

    def parse(self, frame: bytes) -> Sequence[Fact]:
        """Read a frame; every bucket counts as open, also those of a snapshot."""
        try:
            message = _frames.decode(frame)
            if message.channel != _CHANNEL:
                return _controls(message, frame)
            sent_ms = iso_ms(message.timestamp)
            buckets = [candle for event in message.events for candle in event.candles or ()]
            return tuple(_kline(bucket, sent_ms) for bucket in buckets)
        except UNREADABLE as error:
            raise malformed("frame", error, frame) from error

    def time_request(self) -> Request:
        """Ask ``/time``, which answers ``{"epochMillis":"1688669448123",...}``."""
        return Request("/api/v3/brokerage/time")

    def parse_time(self, body: bytes) -> int:
        """Return the server time (UTC ms)."""
        with reading("server time", body):
            return milliseconds(int(_times.decode(body).epochMillis))

    def history_request(self, stream: Stream, page: Page) -> Request:
        """Ask for a span of at most `limit` slots; bounds are inclusive, in seconds."""
        start, end = bounds(page, Interval(stream.interval))
        wishes = {
            "start": -(-start // SECOND),
            "end": end // SECOND,
            "granularity": _INTERVALS[stream.interval],
            "limit": page.limit,
        }
        path = f"/api/v3/brokerage/market/products/{stream.symbol}/candles"
        return Request(f"{path}?{urlencode(wishes)}")

    def parse_history(self, body: bytes, stream: Stream) -> Rows:
        """Return the rows of an answer as columns, oldest first."""
        with reading(f"history of {stream.path}", body):
            return Rows(_table(_answers.decode(body).candles, stream))

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Refusal | None:
        """Return why an answer is not data, or None when it is."""
        unknown = status in (_BAD_REQUEST, _NOT_FOUND) and any(word in body for word in _UNKNOWN)
        return refusal(self.name, status, headers, body, unknown=unknown)


def _parts(streams: Sequence[Stream]) -> list[list[str]]:
    """Part the products of streams by how many a frame may hold."""
    products = list(dict.fromkeys(stream.symbol for stream in streams))
    starts = range(0, len(products), _PRODUCTS_PER_FRAME)
    return [products[start : start + _PRODUCTS_PER_FRAME] for start in starts]


def _subscription(kind: str, products: list[str], streams: Sequence[Stream]) -> Subscription:
    """Name the answer by its products: the venue lists all that it has accepted so far."""
    frame = {"type": kind, "channel": _CHANNEL, "product_ids": products}
    carried = tuple(stream for stream in streams if stream.symbol in products)
    return Subscription(products[-1], carried, msgspec.json.encode(frame))


def _kline(bucket: _Candle, sent_ms: int) -> Kline:
    open_time = int(bucket.start) * SECOND
    prices = (float(bucket.open), float(bucket.high), float(bucket.low), float(bucket.close))
    end = close_ms(open_time, _BUCKET)
    absent = (ABSENT, ABSENT, ABSENT, ABSENT)
    bar = Bar(open_time, *prices, float(bucket.volume), end, *absent)
    return Kline(bucket.product_id, _BUCKET.name, bar, closed=False, event_ms=sent_ms)


def _table(rows: Sequence[_Candle], stream: Stream) -> Bars:
    columns = {
        name: [getattr(row, name) for row in rows]
        for name in ("open", "high", "low", "close", "volume")
    }
    opens = (int(row.start) * SECOND for row in rows)
    return table(opens, Interval(stream.interval), columns)


class _Accepted(msgspec.Struct):
    subscriptions: dict[str, list[str]] = {}


class _Acknowledgement(msgspec.Struct):
    events: list[_Accepted]


_acknowledgements: Final = msgspec.json.Decoder(_Acknowledgement)


def _controls(message: _Frame, frame: bytes) -> tuple[Control, ...]:
    if message.type == "error":
        return (Control(ControlKind.ERROR, message.message),)
    if message.channel == "heartbeats":
        return (Control(ControlKind.PONG, ""),)
    if message.channel != "subscriptions":
        return (Control(ControlKind.NOTICE, message.channel or message.type or "unknown frame"),)
    accepted = _acknowledgements.decode(frame).events
    names = [name for event in accepted for name in event.subscriptions.get(_CHANNEL, ())]
    return tuple(Control(ControlKind.ACK, "", name) for name in names)


COINBASE: Final = Coinbase(
    name="coinbase",
    limits=Limits(
        streams_per_connection=200,
        frames_per_second=5,
        connects=8,
        connect_window_s=1,
        questions=10,
        question_window_s=1,
        history_page=300,
        max_age_s=float("inf"),
        by_span=True,
        frames_per_second_in_all=8,
    ),
)
