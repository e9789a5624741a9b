"""OKX v5's words, websocket and REST. Pure.

https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-candlesticks-channel
https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

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

_HOURS: Final = {"1h": "1H", "2h": "2H", "4h": "4H"}
_UTC: Final = {"6h": "6Hutc", "12h": "12Hutc", "1d": "1Dutc", "3d": "3Dutc", "1w": "1Wutc"}
_NAMES: Final = {**_HOURS, **_UTC, "1M": "1Mutc"}
_MAX_LIMIT, _DEFAULT_LIMIT, _RECENT = 300, 100, 1440
_PATHS: Final = ("/api/v5/market/candles", "/api/v5/market/history-candles")
_CONTRACT: Final = 0.01  # base assets in one contract


@dataclass(frozen=True, slots=True)
class Okx(OneKind):
    """OKX, spot and contracts."""

    example: str = "BTC-USDT"
    flags: bool = True

    def spells(self, symbol: str) -> bool:
        """Whether it is upper case with dashes."""
        return re.fullmatch(r"[A-Z0-9]+(-[A-Z0-9]+)+", symbol) is not None

    def channel(self, symbol: str, interval: Interval) -> str:
        """Return ``candle1H BTC-USDT``."""
        return f"candle{_name(interval)} {symbol}"

    def session(self, target: str) -> Topics | None:
        """Open a session on the business path."""
        return Topics() if target == "/ws/v5/business" else None

    def replies(self, session: Topics, frame: str | bytes) -> list[bytes]:
        """Obey subscribe and unsubscribe, an answer for each channel, and the text ping."""
        if frame in ("ping", b"ping"):
            return [b"pong"]
        request = request_of(frame)
        op = request.get("op")
        if op not in ("subscribe", "unsubscribe"):
            error = {"event": "error", "code": "60012", "msg": f"Invalid request: {request}"}
            return [encoded({**error, "connId": "sim1"})]
        said = []
        for arg in request.get("args", []):
            channel = [f"{arg.get('channel')} {arg.get('instId')}"]
            if op == "subscribe":
                session.subscribe(channel)
            else:
                session.unsubscribe(channel)
            answer = {"id": request.get("id", ""), "event": op, "arg": arg}
            said.append(encoded({**answer, "connId": "sim1"}))
        return said

    def denial(self, frame: str | bytes) -> bytes:
        """Encode an error that names the request."""
        number = request_of(frame).get("id", "")
        error = {"event": "error", "code": "60014", "msg": "Requests too frequent"}
        return encoded({"id": number, **error, "connId": "sim1"})

    def farewell(self, now_ms: int, *, combined: bool) -> bytes | None:
        """Encode the notice 64008."""
        del now_ms, combined
        reason = "The connection will soon be closed for a service upgrade. Please reconnect."
        notice = {"event": "notice", "code": "64008", "msg": reason}
        return encoded({**notice, "connId": "sim1"})

    def push(self, tape: Tape, interval: Interval, push: Push) -> bytes:
        """Encode one push; it does not say when it was sent."""
        arg = {"channel": f"candle{_name(interval)}", "instId": tape.symbol}
        return encoded({"arg": arg, "data": [_row(tape.symbol, push.kline)]})

    def answer(self, asked: Asked) -> Answer:
        """Answer time and candles, newest first; `after` and `before` are exclusive."""
        if asked.path == "/api/v5/public/time":
            return _good([{"ts": str(asked.told_ms)}])
        wishes = asked.parameters
        tape = asked.market.tapes.get(wishes.get("instId", ""))
        if asked.path not in _PATHS:
            return Answer(404, b"")
        if tape is None or wishes.get("bar") != _name(asked.market.interval):
            return good({"code": "51001", "msg": "Instrument ID doesn't exist", "data": []})
        after, before = whole(wishes, "after"), whole(wishes, "before")
        limit = min(whole(wishes, "limit") or _DEFAULT_LIMIT, _MAX_LIMIT)
        query = Query(limit, None, None if after is None else after - 1)
        rows = [k for k in asked.klines(tape, query) if k.bar.open_time > (before or 0)]
        if asked.path == _PATHS[0]:
            reach = asked.now_ms - _RECENT * asked.market.interval.typical_ms
            rows = [kline for kline in rows if kline.bar.open_time > reach]
        return _good([_row(tape.symbol, kline) for kline in reversed(rows)])

    def refusal(self, status: int) -> bytes:
        """Encode an error."""
        return encoded({"code": "50011", "msg": f"Too Many Requests ({status})", "data": []})


def _name(interval: Interval) -> str:
    return _NAMES.get(interval.name, interval.name)


def _good(data: object) -> Answer:
    return good({"code": "0", "msg": "", "data": data})


def _row(symbol: str, kline: Kline) -> list[str]:
    """Write a row; spot counts in base and quote, contracts in contracts and base."""
    bar = kline.bar
    prices = [decimal(price) for price in (bar.open, bar.high, bar.low, bar.close)]
    base, quote = decimal(bar.volume), decimal(bar.quote_volume)
    spot = symbol.count("-") == 1
    amounts = [base, quote] if spot else [decimal(bar.volume / _CONTRACT), base]
    return [str(bar.open_time), *prices, *amounts, quote, "1" if kline.closed else "0"]
