"""Bybit v5's words, websocket and REST. Pure.

https://bybit-exchange.github.io/docs/v5/websocket/public/kline
https://bybit-exchange.github.io/docs/v5/market/kline
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from candled.core.bar import Interval
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

_LETTERS: Final = {"1d": "D", "1w": "W", "1M": "M"}
_MINUTE_MS: Final = 60_000
_MAX_LIMIT, _DEFAULT_LIMIT = 1000, 200
_PARAMETER_ERROR, _TOO_MANY = 10001, 10006
_MOST_SPOT_ARGS: Final = 10


@dataclass(frozen=True, slots=True)
class Bybit(OneKind):
    """One of Bybit's markets."""

    category: str
    example: str
    flags: bool = True

    def spells(self, symbol: str) -> bool:
        """Whether it is upper case without separators, but for a date."""
        return re.fullmatch(r"[A-Z0-9]+(-[A-Z0-9]+)?", symbol) is not None

    def channel(self, symbol: str, interval: Interval) -> str:
        """Return ``kline.60.BTCUSDT``."""
        return f"kline.{_name(interval)}.{symbol}"

    def session(self, target: str) -> Topics | None:
        """Open a session on the market's own public path alone."""
        return Topics() if target == f"/v5/public/{self.category}" else None

    def replies(self, session: Topics, frame: str | bytes) -> list[bytes]:
        """Obey subscribe, unsubscribe and ping; a topic without ``kline.`` is refused."""
        request = request_of(frame)
        op, topics = request.get("op"), request.get("args", [])
        said = {"conn_id": "sim-1", "req_id": request.get("req_id", ""), "op": op}
        if op == "ping":
            return [encoded({"success": True, "ret_msg": "pong", **said})]
        too_many = self.category == "spot" and len(topics) > _MOST_SPOT_ARGS
        wrong = [topic for topic in topics if not topic.startswith("kline.")]
        if op not in ("subscribe", "unsubscribe") or too_many or wrong:
            reason = f"Invalid request: {op}, {len(topics)} args, {wrong}"
            return [encoded({"success": False, "ret_msg": reason, **said})]
        if op == "subscribe":
            session.subscribe(topics)
        else:
            session.unsubscribe(topics)
        return [encoded({"success": True, "ret_msg": op, **said})]

    def denial(self, frame: str | bytes) -> bytes:
        """Encode a failed acknowledgement."""
        number = request_of(frame).get("req_id", "")
        said = {"success": False, "ret_msg": "Request failed, try again later"}
        return encoded({**said, "conn_id": "sim-1", "req_id": number, "op": "subscribe"})

    def push(self, tape: Tape, interval: Interval, push: Push) -> bytes:
        """Encode one push."""
        bar = push.kline.bar
        volume, turnover = self._amounts(push.kline)
        candle = {
            "start": bar.open_time,
            "end": bar.close_time,
            "interval": _name(interval),
            "open": decimal(bar.open),
            "close": decimal(bar.close),
            "high": decimal(bar.high),
            "low": decimal(bar.low),
            "volume": volume,
            "turnover": turnover,
            "confirm": push.kline.closed,
            "timestamp": push.told_ms,
        }
        topic = self.channel(tape.symbol, interval)
        return encoded({"topic": topic, "data": [candle], "ts": push.told_ms, "type": "snapshot"})

    def answer(self, asked: Asked) -> Answer:
        """Answer ``/v5/market/time`` and ``/v5/market/kline``, newest first."""
        if asked.path == "/v5/market/time":
            return self._good(asked, {"timeSecond": str(asked.told_ms // 1000)})
        wishes = asked.parameters
        tape = asked.market.tapes.get(wishes.get("symbol", ""))
        fits = wishes.get("interval") == _name(asked.market.interval)
        if asked.path != "/v5/market/kline" or wishes.get("category") != self.category:
            return Answer(404, b"")
        if tape is None or not fits:
            return good(_error(_PARAMETER_ERROR, "params error: Symbol Is Invalid"))
        limit = min(whole(wishes, "limit") or _DEFAULT_LIMIT, _MAX_LIMIT)
        first = whole(wishes, "start") or 0
        query = Query(limit, None, whole(wishes, "end"))
        rows = [k for k in asked.klines(tape, query) if k.bar.open_time >= first]
        table = [self._row(kline) for kline in reversed(rows)]
        result = {"category": self.category, "symbol": tape.symbol, "list": table}
        return self._good(asked, result)

    def refusal(self, status: int) -> bytes:
        """Encode an error."""
        return encoded(_error(_TOO_MANY, f"Too many visits! (HTTP {status})"))

    def _good(self, asked: Asked, result: object) -> Answer:
        head = {"retCode": 0, "retMsg": "OK"}
        return good({**head, "result": result, "retExtInfo": {}, "time": asked.told_ms})

    def _row(self, kline: Kline) -> list[str]:
        bar = kline.bar
        prices = [decimal(price) for price in (bar.open, bar.high, bar.low, bar.close)]
        return [str(bar.open_time), *prices, *self._amounts(kline)]

    def _amounts(self, kline: Kline) -> tuple[str, str]:
        """Return volume and turnover: inverse contracts count in quote first."""
        base, quote = decimal(kline.bar.volume), decimal(kline.bar.quote_volume)
        return (quote, base) if self.category == "inverse" else (base, quote)


def _name(interval: Interval) -> str:
    return _LETTERS.get(interval.name) or str(interval.typical_ms // _MINUTE_MS)


def _error(code: int, message: str) -> dict[str, Any]:
    return {"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}}
