"""Hyperliquid's words, websocket and REST (which is asked by POST). Pure.

https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket/subscriptions
https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from candled.core.bar import Interval
from candled_adapters.simulator.decimals import count, decimal
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
)

_KEPT: Final = 5000


@dataclass(frozen=True, slots=True)
class Hyperliquid(OneKind):
    """Hyperliquid, perpetuals and spot."""

    example: str = "BTC"
    flags: bool = False

    def spells(self, symbol: str) -> bool:
        """Whether it is a coin, or a spot pair with a dash for the venue's slash."""
        return re.fullmatch(r"@\d+|([a-z]+:)?k?[A-Z0-9]+(-[A-Z]+)?", symbol) is not None

    def channel(self, symbol: str, interval: Interval) -> str:
        """Return ``BTC 1h``."""
        return f"{symbol.replace('-', '/')} {interval}"

    def session(self, target: str) -> Topics | None:
        """Open a session on its only path."""
        return Topics() if target == "/ws" else None

    def replies(self, session: Topics, frame: str | bytes) -> list[bytes]:
        """Obey subscribe and unsubscribe, repeating what was asked, and ping."""
        request = request_of(frame)
        method, asked = request.get("method"), request.get("subscription", {})
        if method == "ping":
            return [encoded({"channel": "pong"})]
        if method not in ("subscribe", "unsubscribe") or asked.get("type") != "candle":
            return [encoded({"channel": "error", "data": f"Invalid subscription {request}"})]
        channel = [f"{asked['coin']} {asked['interval']}"]
        if method == "subscribe":
            session.subscribe(channel)
        elif not session.unsubscribe(channel):
            return [encoded({"channel": "error", "data": f"Already unsubscribed: {asked}"})]
        data = {"method": method, "subscription": asked}
        return [encoded({"channel": "subscriptionResponse", "data": data})]

    def denial(self, frame: str | bytes) -> bytes:
        """Encode an error that repeats the request."""
        return encoded({"channel": "error", "data": f"Invalid subscription {request_of(frame)}"})

    def push(self, tape: Tape, interval: Interval, push: Push) -> bytes:
        """Encode one push; it does not say when it was sent."""
        return encoded({"channel": "candle", "data": _candle(tape.symbol, interval, push.kline)})

    def answer(self, asked: Asked) -> Answer:
        """Answer l2Book, for its time, and candleSnapshot; an unknown coin is a 500 with null."""
        request = request_of(asked.body)
        if asked.path != "/info":
            return Answer(404, b"")
        if request.get("type") == "l2Book":
            return good({"coin": request["coin"], "time": asked.told_ms, "levels": [[], []]})
        wishes = request.get("req", {})
        interval = asked.market.interval
        tape = asked.market.tapes.get(str(wishes.get("coin")).replace("/", "-"))
        if request.get("type") != "candleSnapshot" or wishes.get("interval") != interval.name:
            return Answer(422, b"Failed to deserialize the JSON body into the target type")
        if tape is None:
            return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"null")
        oldest = asked.now_ms - _KEPT * interval.typical_ms
        query = Query(_KEPT, max(oldest, wishes["startTime"]), wishes["endTime"])
        return good([_candle(tape.symbol, interval, k) for k in asked.klines(tape, query)])

    def refusal(self, status: int) -> bytes:
        """Encode an error: there is nothing to say."""
        return b"null" if status == HTTPStatus.TOO_MANY_REQUESTS else b""


def _candle(symbol: str, interval: Interval, kline: Kline) -> dict[str, Any]:
    bar = kline.bar
    return {
        "t": bar.open_time,
        "T": bar.close_time,
        "s": symbol.replace("-", "/"),
        "i": interval.name,
        "o": decimal(bar.open),
        "c": decimal(bar.close),
        "h": decimal(bar.high),
        "l": decimal(bar.low),
        "v": decimal(bar.volume),
        "n": count(bar.trades),
    }
