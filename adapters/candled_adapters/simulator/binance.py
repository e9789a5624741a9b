"""Binance's words: klines as push frames and REST rows, acknowledgements and errors. Pure.

Push (one closing frame as recorded from a combined stream; a raw stream sends `data` alone)::

    {"stream":"omgbusd@kline_1m","data":{"e":"kline","E":1633998301755,"s":"OMGBUSD","k":{
    "t":1633998240000,"T":1633998299999,"s":"OMGBUSD","i":"1m","f":439572,"L":439585,
    "o":"13.72120000","c":"13.76640000","h":"13.80760000","l":"13.72120000","v":"316.42000000",
    "n":14,"x":true,"q":"7387.12073500","V":"231.60000000","Q":"3187.75743000","B":"0"}}}

REST row (`GET /api/v3/klines`, `GET /fapi/v1/klines`)::

    [1677628800000,"23141.57000000","23219.99000000","23020.03000000","23101.00000000",
    "12736.94918000",1677632399999,"294608802.25086680",430193,"6319.19996000",
    "146161637.97230100","0"]

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams

Every decimal string gives the same double back through float(). Binance sends every column, so one
that the candles lack (NaN) is sent as zero.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from candled_adapters.simulator.decimals import count, decimal
from candled_adapters.simulator.market import Kline

INVALID_SYMBOL: Final = b'{"code":-1121,"msg":"Invalid symbol."}'
INVALID_INTERVAL: Final = b'{"code":-1120,"msg":"Invalid interval."}'
_QUOTES: Final = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USD", "BTC", "ETH", "BNB", "EUR", "TRY")


def stream_name(symbol: str, interval: str) -> str:
    """Name of a symbol's kline stream, e.g. ``btcusdt@kline_1h``."""
    return f"{symbol.lower()}@kline_{interval}"


def push(symbol: str, interval: str, kline: Kline, event_ms: int) -> bytes:
    """Encode one raw push frame, sent at `event_ms` (UTC ms)."""
    bar = kline.bar
    trades = count(bar.trades)
    first, last = (kline.first_trade, kline.first_trade + trades - 1) if trades else (-1, -1)
    name = _quoted(symbol)
    return (
        f'{{"e":"kline","E":{event_ms},"s":{name},"k":{{"t":{bar.open_time},"T":{bar.close_time},'
        f'"s":{name},"i":"{interval}","f":{first},"L":{last},"o":"{decimal(bar.open)}",'
        f'"c":"{decimal(bar.close)}","h":"{decimal(bar.high)}","l":"{decimal(bar.low)}",'
        f'"v":"{decimal(bar.volume)}","n":{trades},"x":{"true" if kline.closed else "false"},'
        f'"q":"{decimal(bar.quote_volume)}","V":"{decimal(bar.taker_buy_base)}",'
        f'"Q":"{decimal(bar.taker_buy_quote)}","B":"0"}}}}'
    ).encode()


def combined(stream: str, frame: bytes) -> bytes:
    """Wrap a raw push frame as a combined stream does."""
    return b'{"stream":%s,"data":%s}' % (_quoted(stream).encode(), frame)


def rows(klines: Iterable[Kline]) -> bytes:
    """Encode the answer of the klines endpoint."""
    return f"[{','.join(map(_row, klines))}]".encode()


def acknowledge(request_id: object, result: list[str] | None = None) -> bytes:
    """Encode the answer to a method: null, or the list of subscriptions."""
    return _json({"result": result, "id": request_id})


def error(code: int, message: str) -> bytes:
    """Encode an error, of a websocket method (code 0 to 3) or of REST (code below 0)."""
    return _json({"code": code, "msg": message})


def denial(request_id: object) -> bytes:
    """Encode the error of a subscription that is refused."""
    return _json({"code": 2, "msg": "Invalid request: try again later", "id": request_id})


def shutdown(now_ms: int, *, combined: bool) -> bytes:
    """Encode the notice that this connection will be closed within minutes."""
    event = {"e": "serverShutdown", "E": now_ms}
    return _json({"stream": "!serverShutdown", "data": event} if combined else event)


def refusal(status: int) -> bytes:
    """Encode the body that goes with an HTTP error of the venue's own making."""
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.IM_A_TEAPOT):
        return error(-1003, "Too many requests; current limit is 6000 request weight per 1 MINUTE.")
    return error(-1000, "An unknown error occurred while processing the request.")


def server_time(now_ms: int) -> bytes:
    """Encode the answer of the time endpoint."""
    return _json({"serverTime": now_ms})


def exchange_info(symbols: Iterable[str], now_ms: int) -> bytes:
    """Encode the answer of the exchangeInfo endpoint, with every symbol trading."""
    return _json(
        {
            "timezone": "UTC",
            "serverTime": now_ms,
            "rateLimits": [],
            "exchangeFilters": [],
            "symbols": [_symbol_info(symbol) for symbol in symbols],
        }
    )


def _symbol_info(symbol: str) -> dict[str, str]:
    quote = next((q for q in _QUOTES if symbol.endswith(q) and symbol != q), "")
    base = symbol.removesuffix(quote)
    return {"symbol": symbol, "status": "TRADING", "baseAsset": base, "quoteAsset": quote}


def _row(kline: Kline) -> str:
    bar = kline.bar
    return (
        f'[{bar.open_time},"{decimal(bar.open)}","{decimal(bar.high)}","{decimal(bar.low)}",'
        f'"{decimal(bar.close)}","{decimal(bar.volume)}",{bar.close_time},'
        f'"{decimal(bar.quote_volume)}",{count(bar.trades)},"{decimal(bar.taker_buy_base)}",'
        f'"{decimal(bar.taker_buy_quote)}","0"]'
    )


@functools.cache
def _quoted(name: str) -> str:
    """Write a name of a few thousand, each time it is pushed, as JSON."""
    return json.dumps(name)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
