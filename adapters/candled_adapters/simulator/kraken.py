"""Kraken's words: websocket v2, REST of v1. Pure.

https://docs.kraken.com/api/docs/websocket-v2/ohlc
https://docs.kraken.com/api/docs/rest-api/get-ohlc-data
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from candled.core.bar import Interval, iso
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
    whole,
)

_MINUTE_MS: Final = 60_000
_KEPT: Final = 720
_ASSETS: Final = {"BTC": "XBT", "DOGE": "XDG"}


@dataclass(frozen=True, slots=True)
class Kraken(OneKind):
    """Kraken's spot market."""

    example: str = "BTC-USD"
    flags: bool = False

    def spells(self, symbol: str) -> bool:
        """Whether it is a pair with a dash for the venue's slash."""
        return re.fullmatch(r"[A-Z0-9.]+-[A-Z0-9.]+", symbol) is not None

    def channel(self, symbol: str, interval: Interval) -> str:
        """Return ``60 BTC/USD``."""
        return f"{_minutes(interval)} {symbol.replace('-', '/')}"

    def session(self, target: str) -> Topics | None:
        """Open a session on the path of version 2."""
        return Topics() if target == "/v2" else None

    def replies(self, session: Topics, frame: str | bytes) -> list[bytes]:
        """Obey subscribe and unsubscribe, with an answer for each symbol, and ping."""
        request = request_of(frame)
        method, wishes = request.get("method"), request.get("params", {})
        if method == "ping":
            return [encoded({"method": "pong", "req_id": request.get("req_id", 0)})]
        if method not in ("subscribe", "unsubscribe") or wishes.get("channel") != "ohlc":
            error = {"error": "Method not found", "method": method, "success": False}
            return [encoded({**error, "req_id": request.get("req_id")})]
        said = []
        for symbol in wishes["symbol"]:
            channel = [f"{wishes['interval']} {symbol}"]
            answer = {"method": method, "result": {**wishes, "symbol": symbol}, "success": True}
            if method == "subscribe":
                session.subscribe(channel)
            elif not session.unsubscribe(channel):
                error = {"error": "Subscription Not Found", "success": False, "symbol": symbol}
                answer = {"method": method, **error}
            said.append(encoded({**answer, "req_id": request.get("req_id")}))
        return said

    def denial(self, frame: str | bytes) -> bytes:
        """Encode an error that names the request."""
        error = {"error": "Exceeded msg rate", "method": "subscribe", "success": False}
        return encoded({**error, "req_id": request_of(frame).get("req_id")})

    def push(self, tape: Tape, interval: Interval, push: Push) -> bytes:
        """Encode one push; its numbers are JSON's own."""
        bar = push.kline.bar
        candle = {
            "symbol": tape.symbol.replace("-", "/"),
            "open": bar.open,
            "high": bar.high,
            "low": bar.low,
            "close": bar.close,
            "trades": count(bar.trades),
            "volume": bar.volume,
            "vwap": _vwap(push.kline),
            "interval_begin": _nanoseconds(bar.open_time),
            "interval": _minutes(interval),
            "timestamp": _nanoseconds(bar.close_time + 1),
        }
        head = {"channel": "ohlc", "type": "update", "timestamp": _nanoseconds(push.told_ms)}
        return encoded({**head, "data": [candle]})

    def answer(self, asked: Asked) -> Answer:
        """Answer Time and OHLC: the newest 720 rows, or those after `since`; the open one last."""
        if asked.path == "/0/public/Time":
            return _good({"unixtime": asked.told_ms // 1000})
        wishes = asked.parameters
        if asked.path != "/0/public/OHLC":
            return Answer(404, b"")
        tapes = {_pair(symbol): tape for symbol, tape in asked.market.tapes.items()}
        tape = tapes.get(wishes.get("pair", ""))
        if tape is None or whole(wishes, "interval") != _minutes(asked.market.interval):
            return good({"error": ["EQuery:Unknown asset pair"]})
        since = whole(wishes, "since") or 0
        rows = asked.klines(tape, Query(_KEPT))
        last = max((k.bar.open_time // 1000 for k in rows if k.closed), default=0)
        table = [_row(kline) for kline in rows if kline.bar.open_time // 1000 > since]
        return _good({wishes["pair"]: table, "last": last})

    def refusal(self, status: int) -> bytes:
        """Encode an error."""
        return encoded({"error": [f"EGeneral:Too many requests ({status})"]})


def _minutes(interval: Interval) -> int:
    return interval.typical_ms // _MINUTE_MS


def _nanoseconds(ms: int) -> str:
    """Write a time with nine decimals."""
    text = iso(ms).removesuffix("Z")
    whole_seconds, _, rest = text.partition(".")
    return f"{whole_seconds}.{rest.ljust(9, '0')}Z"


def _pair(symbol: str) -> str:
    return "".join(_ASSETS.get(asset, asset) for asset in symbol.split("-"))


def _vwap(kline: Kline) -> float:
    bar = kline.bar
    return bar.quote_volume / bar.volume if bar.volume else 0.0


def _good(result: object) -> Answer:
    return good({"error": [], "result": result})


def _row(kline: Kline) -> list[Any]:
    bar = kline.bar
    prices = [decimal(price) for price in (bar.open, bar.high, bar.low, bar.close)]
    amounts = [decimal(_vwap(kline)), decimal(bar.volume), count(bar.trades)]
    return [bar.open_time // 1000, *prices, *amounts]
