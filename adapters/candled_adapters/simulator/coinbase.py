"""Coinbase Advanced Trade's words, websocket and REST. Pure.

https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels
https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/products/get-public-product-candles

The buckets that are pushed are not those of the tape when that has longer bars: their times are
right, their prices are what the longer bar shows so far.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from candled.core.bar import MINUTE, Interval, iso
from candled_adapters.simulator.decimals import decimal
from candled_adapters.simulator.fault import Push
from candled_adapters.simulator.market import Kline, Query, Tape
from candled_adapters.simulator.venue import (
    Answer,
    Asked,
    OneKind,
    Topics,
    encoded,
    good,
    request_of,
    whole,
)

_GRANULARITIES: Final = {
    "5m": "FIVE_MINUTE",
    "15m": "FIFTEEN_MINUTE",
    "30m": "THIRTY_MINUTE",
    "1h": "ONE_HOUR",
    "2h": "TWO_HOUR",
    "4h": "FOUR_HOUR",
    "6h": "SIX_HOUR",
    "1d": "ONE_DAY",
}
_BUCKET_MS: Final = 5 * MINUTE
_MOST: Final = 350
_PATH: Final = re.compile(r"/api/v3/brokerage/market/products/([^/]+)/candles")


@dataclass(frozen=True, slots=True)
class Coinbase(OneKind):
    """Coinbase's spot market."""

    example: str = "BTC-USD"
    flags: bool = False

    def spells(self, symbol: str) -> bool:
        """Whether it is upper case with dashes."""
        return re.fullmatch(r"[A-Z0-9]+(-[A-Z0-9]+)+", symbol) is not None

    def channel(self, symbol: str, interval: Interval) -> str:
        """Return the product: its buckets are of five minutes, whatever is wanted."""
        del interval
        return symbol

    def session(self, target: str) -> Topics | None:
        """Open a session on the root."""
        return Topics() if target in ("", "/") else None

    def replies(self, session: Topics, frame: str | bytes) -> list[bytes]:
        """Obey subscribe and unsubscribe; the answer lists all that is subscribed to."""
        request = request_of(frame)
        kind, channel = request.get("type"), request.get("channel")
        known = kind in ("subscribe", "unsubscribe") and channel in ("candles", "heartbeats")
        if not known:
            return [encoded({"type": "error", "message": "failure to subscribe"})]
        if channel == "candles":
            obey = session.subscribe if kind == "subscribe" else session.unsubscribe
            obey(request.get("product_ids", []))
        accepted = {"heartbeats": ["heartbeats"], "candles": list(session.streams)}
        events = [{"subscriptions": {name: ids for name, ids in accepted.items() if ids}}]
        head = {"channel": "subscriptions", "client_id": "", "sequence_num": 0}
        return [encoded({**head, "timestamp": iso(0), "events": events})]

    def denial(self, frame: str | bytes) -> bytes:
        """Encode the error, which does not say what it is about."""
        del frame
        return encoded({"type": "error", "message": "rate limit exceeded"})

    def push(self, tape: Tape, interval: Interval, push: Push) -> bytes:
        """Encode the bucket of the moment."""
        del interval
        bar = push.kline.bar
        candle = {
            "start": str(push.at_ms // _BUCKET_MS * _BUCKET_MS // 1000),
            "high": decimal(bar.high),
            "low": decimal(bar.low),
            "open": decimal(bar.open),
            "close": decimal(bar.close),
            "volume": decimal(bar.volume),
            "product_id": tape.symbol,
        }
        head = {
            "channel": "candles",
            "client_id": "",
            "timestamp": iso(push.told_ms),
            "sequence_num": 1,
        }
        return encoded({**head, "events": [{"type": "update", "candles": [candle]}]})

    def answer(self, asked: Asked) -> Answer:
        """Answer time and candles, newest first; a span that is too long is refused."""
        if asked.path == "/api/v3/brokerage/time":
            millis = str(asked.told_ms)
            seconds = str(asked.told_ms // 1000)
            times = {"epochSeconds": seconds, "epochMillis": millis}
            return good({"iso": iso(asked.told_ms), **times})
        found, wishes = _PATH.fullmatch(asked.path), asked.parameters
        if found is None:
            return Answer(404, b"")
        interval = asked.market.interval
        tape = asked.market.tapes.get(found[1])
        if tape is None or wishes.get("granularity") != _GRANULARITIES.get(interval.name):
            return Answer(404, encoded({"error": "NOT_FOUND", "message": "Product not found"}))
        start, end = whole(wishes, "start"), whole(wishes, "end")
        if start is None or end is None or (end - start) * 1000 > _MOST * interval.typical_ms:
            reason = "start and end argument is invalid - number of candles requested is too large"
            return Answer(400, encoded({"error": "INVALID_ARGUMENT", "message": reason}))
        rows = asked.klines(tape, Query(_MOST, start * 1000, end * 1000))
        return good({"candles": [_row(kline) for kline in reversed(rows)]})

    def refusal(self, status: int) -> bytes:
        """Encode an error."""
        return encoded({"error": "unknown", "error_details": "too many requests", "code": status})


def _row(kline: Kline) -> dict[str, str]:
    bar = kline.bar
    prices = {name: decimal(getattr(bar, name)) for name in ("low", "high", "open", "close")}
    return {"start": str(bar.open_time // 1000), **prices, "volume": decimal(bar.volume)}
