"""What each dialect is put to the proof with: frames and answers written from the documents.

One `Case` per name in the registry; a dialect without one fails the suite.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from typing import Any

from candled.core.bar import COLUMNS, HOUR, Bar, Stream
from candled_adapters.exchanges.dialect import ControlKind, Dialect
from candled_adapters.exchanges.registry import DIALECTS

OPEN = 1_700_000_000_000 // (24 * HOUR) * (24 * HOUR)
NEXT = OPEN + HOUR
#: The bar that all frames below are about.
BAR = Bar(OPEN, 37000.1, 37020.3, 36990.4, 37010.2, 12.345, NEXT - 1, 456789.25, 101.0, 6.0, 2.5)
_P = {"o": "37000.1", "h": "37020.3", "l": "36990.4", "c": "37010.2", "v": "12.345"}
_QUOTE = "456789.25"
_ALL = frozenset(COLUMNS)
_TAKER = frozenset({"taker_buy_base", "taker_buy_quote"})


def encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Case:
    """One dialect's evidence."""

    name: str
    symbol: str
    missing: frozenset[str]
    """Columns that the venue does not have."""
    open: Any
    """A push of `BAR` while it is open."""
    closed: Any
    """The push that closes it, or None where no venue says so."""
    history: Any
    """A REST answer: `BAR`, then a bar that has opened at `NEXT` with the same numbers."""
    time: bytes
    """A REST answer that tells 1700000000000, or the second of it."""
    wrong: dict[str, str]
    """Misspelled symbols and what should be suggested."""
    frames: dict[bytes, ControlKind]
    """Frames without a candle."""
    refused: list[tuple[int, bytes, str]]
    """REST answers that are no data: status, body, kind."""
    no_interval: str = "8h"
    """An interval that the venue lacks."""
    spelled: tuple[str, ...] = field(default=())
    """More symbols that are well spelled."""
    named: dict[bytes, tuple[ControlKind, str]] = field(default_factory=dict)
    """Answers about one of a frame's streams, and whose."""

    @property
    def dialect(self) -> Dialect:
        return DIALECTS[self.name]

    @property
    def stream(self) -> Stream:
        return Stream("venue", self.symbol, "1h")

    def shown(self, bar: Bar) -> Bar:
        """Return a bar as this venue can show it."""
        return replace(bar, **dict.fromkeys(self.missing, math.nan))

    def valid_frames(self) -> list[bytes]:
        """Return every kind of frame that the venue pushes."""
        pushes = [self.open, *([] if self.closed is None else [self.closed])]
        return [encoded(push) for push in pushes] + list(self.frames)


def _binance(name: str, no_interval: str) -> Case:
    def push(*, closed: bool) -> dict[str, Any]:
        k = {"t": OPEN, "T": NEXT - 1, "s": "BTCUSDT", "i": "1h", "f": 1, "L": 101, **_P, "n": 101}
        k |= {"x": closed, "q": _QUOTE, "V": "6.0", "Q": "2.5", "B": "0"}
        event = {"e": "kline", "E": NEXT + 123, "s": "BTCUSDT", "k": k}
        return {"stream": "btcusdt@kline_1h", "data": event}

    prices = [_P["o"], _P["h"], _P["l"], _P["c"], _P["v"]]
    rows = [[at, *prices, at + HOUR - 1, _QUOTE, 101, "6.0", "2.5", "0"] for at in (OPEN, NEXT)]
    return Case(
        name=name,
        symbol="BTCUSDT",
        missing=frozenset(),
        open=push(closed=False),
        closed=push(closed=True),
        history=rows,
        time=b'{"serverTime":1700000000000}',
        wrong={"btcusdt": "BTCUSDT", "BTC-USDT": "BTCUSDT", "XBT/USDT": "BTCUSDT", "": ""},
        frames={
            b'{"result":null,"id":7}': ControlKind.ACK,
            b'{"code":2,"msg":"Invalid request","id":7}': ControlKind.ERROR,
            b'{"e":"serverShutdown","E":1770123456789}': ControlKind.SHUTDOWN,
            b'{"e":"somethingNew","E":1}': ControlKind.NOTICE,
        },
        refused=[
            (429, b"", "rate limit"),
            (418, b"<html>", "banned"),
            (400, b'{"code":-1121,"msg":"Invalid symbol."}', "unknown stream"),
            (500, b"\xff", "failed"),
        ],
        no_interval=no_interval,
        spelled=("1000SATSUSDT",),
    )


def _bybit(category: str, symbol: str, *spelled: str, wrong: dict[str, str]) -> Case:
    first, second = (_P["v"], _QUOTE) if category != "inverse" else (_QUOTE, _P["v"])

    def push(*, closed: bool) -> dict[str, Any]:
        candle = {"start": OPEN, "end": NEXT - 1, "interval": "60", "open": _P["o"]}
        candle |= {"close": _P["c"], "high": _P["h"], "low": _P["l"], "volume": first}
        candle |= {"turnover": second, "confirm": closed, "timestamp": NEXT + 100}
        topic = f"kline.60.{symbol}"
        return {"topic": topic, "data": [candle], "ts": NEXT + 123, "type": "snapshot"}

    prices = [_P["o"], _P["h"], _P["l"], _P["c"]]
    rows = [[str(at), *prices, first, second] for at in (NEXT, OPEN)]
    result = {"category": category, "symbol": symbol, "list": rows}
    ack = {"success": True, "ret_msg": "subscribe", "conn_id": "a", "req_id": "7"}
    return Case(
        name=f"bybit-{category}",
        symbol=symbol,
        missing=_TAKER | {"trades"},
        open=push(closed=False),
        closed=push(closed=True),
        history={"retCode": 0, "retMsg": "OK", "result": result, "time": NEXT + 5},
        time=b'{"retCode":0,"retMsg":"OK","result":{"timeSecond":"1"},"time":1700000000000}',
        wrong=wrong,
        frames={
            encoded({**ack, "op": "subscribe"}): ControlKind.ACK,
            encoded({**ack, "success": False, "op": "subscribe"}): ControlKind.ERROR,
            encoded({**ack, "ret_msg": "pong", "op": "ping"}): ControlKind.PONG,
            b'{"success":true,"conn_id":"a","data":{"failTopics":[],"successTopics":[]},'
            b'"type":"COMMAND_RESP"}': ControlKind.ACK,
            b'{"op":"pong","args":["1675418560633"],"conn_id":"a"}': ControlKind.PONG,
            b'{"topic":"news","type":"snapshot"}': ControlKind.NOTICE,
        },
        refused=[
            (200, b'{"retCode":10006,"retMsg":"Too many visits!","result":{}}', "rate limit"),
            (200, b'{"retCode":10001,"retMsg":"params error: symbol"}', "unknown stream"),
            (200, b'{"retCode":10016,"retMsg":"Server error."}', "failed"),
            (403, b"<html>access too frequent</html>", "failed"),
        ],
        spelled=spelled,
    )


def _okx(symbol: str = "BTC-USDT") -> Case:
    spot = symbol.count("-") == 1
    amounts = [_P["v"], _QUOTE, _QUOTE] if spot else ["1234.5", _P["v"], _QUOTE]

    def row(at: int, confirm: str) -> list[str]:
        return [str(at), _P["o"], _P["h"], _P["l"], _P["c"], *amounts, confirm]

    arg = {"channel": "candle1H", "instId": symbol}
    return Case(
        name="okx",
        symbol=symbol,
        missing=_TAKER | {"trades"},
        open={"arg": arg, "data": [row(OPEN, "0")]},
        closed={"arg": arg, "data": [row(OPEN, "1")]},
        history={"code": "0", "msg": "", "data": [row(NEXT, "0"), row(OPEN, "1")]},
        time=b'{"code":"0","data":[{"ts":"1700000000000"}],"msg":""}',
        wrong={"BTCUSDT": "BTC-USDT", "btc-usdt": "BTC-USDT", "XBT/USD": "BTC-USD", "": ""},
        frames={
            b"pong": ControlKind.PONG,
            encoded({"id": "7", "event": "subscribe", "arg": arg}): ControlKind.ACK,
            b'{"id":"7","event":"error","code":"60018","msg":"Wrong URL"}': ControlKind.ERROR,
            b'{"event":"notice","code":"64008","msg":"closed soon"}': ControlKind.SHUTDOWN,
            b'{"event":"channel-conn-count","connCount":"1"}': ControlKind.NOTICE,
        },
        refused=[
            (429, b'{"code":"50011","msg":"Too Many Requests"}', "rate limit"),
            (200, b'{"code":"50011","msg":"Too Many Requests","data":[]}', "rate limit"),
            (200, b'{"code":"51001","msg":"does not exist","data":[]}', "unknown stream"),
            (400, b'{"code":"51000","msg":"Parameter bar error"}', "unknown stream"),
            (200, b'{"code":"50001","msg":"Service unavailable"}', "failed"),
        ],
        spelled=("BTC-USD-SWAP", "BTC-USD-260327"),
        named={
            encoded({"id": "7", "event": "subscribe", "arg": arg}): (ControlKind.ACK, symbol),
            b'{"id":"7","event":"error","code":"60018","msg":"Wrong URL or channel:candle1H,instId:'
            b"NOPE-USDT doesn't exist. Please use the correct URL, channel and parameters.\"}": (
                ControlKind.ERROR,
                "NOPE-USDT",
            ),
        },
    )


def _kraken() -> Case:
    candle = {"symbol": "BTC/USD", "open": 37000.1, "high": 37020.3, "low": 36990.4}
    candle |= {"close": 37010.2, "trades": 101, "volume": 12.345, "vwap": 37001.2}
    candle |= {"interval_begin": "2023-11-14T00:00:00.000000000Z", "interval": 60}
    candle |= {"timestamp": "2023-11-14T01:00:00.000000Z"}
    head = {"channel": "ohlc", "type": "update", "timestamp": "2023-11-14T00:59:30.524394914Z"}
    prices = [_P["o"], _P["h"], _P["l"], _P["c"], "37001.2", _P["v"], 101]
    rows = [[at // 1000, *prices] for at in (OPEN, NEXT)]
    return Case(
        name="kraken",
        symbol="BTC-USD",
        missing=_TAKER | {"quote_volume"},
        open={**head, "data": [candle]},
        closed=None,
        history={"error": [], "result": {"XXBTZUSD": rows, "last": OPEN // 1000}},
        time=b'{"error":[],"result":{"unixtime":1700000000,"rfc1123":"Tue, 14 Nov 23"}}',
        wrong={"BTC/USD": "BTC-USD", "XBT-USD": "BTC-USD", "XBTUSD": "BTC-USD", "": ""},
        frames={
            b'{"method":"subscribe","result":{},"success":true,"req_id":7}': ControlKind.ACK,
            b'{"error":"Currency pair not supported A/B","method":"subscribe","success":false,'
            b'"req_id":7,"symbol":"A/B"}': ControlKind.ERROR,
            b'{"method":"pong","req_id":42,"time_in":"a","time_out":"b"}': ControlKind.PONG,
            b'{"channel":"heartbeat"}': ControlKind.NOTICE,
            b'{"channel":"status","data":[{"system":"online"}]}': ControlKind.NOTICE,
        },
        refused=[
            (200, b'{"error":["EGeneral:Too many requests"]}', "rate limit"),
            (200, b'{"error":["EQuery:Unknown asset pair"]}', "unknown stream"),
            (200, b'{"error":["EService:Unavailable"]}', "failed"),
            (520, b"<html>", "failed"),
        ],
        spelled=("DOGE-EUR", "USDT-USD"),
        named={
            b'{"method":"subscribe","result":{"channel":"ohlc","symbol":"BTC/USD","interval":60},'
            b'"success":true,"req_id":7}': (ControlKind.ACK, "BTC-USD"),
            b'{"error":"Currency pair not supported NO/PE","method":"subscribe","success":false,'
            b'"req_id":7,"symbol":"NO/PE"}': (ControlKind.ERROR, "NO-PE"),
        },
    )


def _coinbase() -> Case:
    # What is pushed are buckets of five minutes; the case's stream is of one hour.
    bucket = {"start": str(OPEN // 1000), "high": _P["h"], "low": _P["l"], "open": _P["o"]}
    bucket |= {"close": _P["c"], "volume": _P["v"], "product_id": "BTC-USD"}
    head = {"channel": "candles", "client_id": "", "timestamp": "2023-11-14T00:00:30.39625135Z"}
    row = {key: value for key, value in bucket.items() if key != "product_id"}
    return Case(
        name="coinbase",
        symbol="BTC-USD",
        missing=_TAKER | {"quote_volume", "trades"},
        open={**head, "sequence_num": 0, "events": [{"type": "update", "candles": [bucket]}]},
        closed=None,
        history={"candles": [{**row, "start": str(NEXT // 1000)}, row]},
        time=b'{"iso":"2023-11-14T22:13:20Z","epochSeconds":"1700000000",'
        b'"epochMillis":"1700000000000"}',
        wrong={"BTCUSD": "BTC-USD", "btc-usd": "BTC-USD", "XBT/EUR": "BTC-EUR", "": ""},
        frames={
            b'{"channel":"subscriptions","events":[{"subscriptions":{"candles":["BTC-USD"]}}]}': (
                ControlKind.ACK
            ),
            b'{"type":"error","message":"failure"}': ControlKind.ERROR,
            b'{"channel":"heartbeats","events":[{"heartbeat_counter":42}]}': ControlKind.PONG,
            b'{"channel":"status","events":[]}': ControlKind.NOTICE,
        },
        refused=[
            (429, b"Too Many Requests", "rate limit"),
            (404, b'{"error":"NOT_FOUND","message":"not found"}', "unknown stream"),
            (400, b'{"error":"INVALID_ARGUMENT"}', "unknown stream"),
            (503, b"<html>", "failed"),
        ],
        spelled=("BIT-31JUL26-CDE",),
    )


def _hyperliquid() -> Case:
    def candle(at: int) -> dict[str, Any]:
        return {"t": at, "T": at + HOUR - 1, "s": "BTC", "i": "1h", **_P, "n": 101}

    asked = {"method": "subscribe", "subscription": {"type": "candle", "coin": "BTC"}}
    asked["subscription"] |= {"interval": "1h"}
    return Case(
        name="hyperliquid",
        symbol="BTC",
        missing=_TAKER | {"quote_volume"},
        open={"channel": "candle", "data": candle(OPEN)},
        closed=None,
        history=[candle(OPEN), candle(NEXT)],
        time=b'{"coin":"BTC","time":1700000000000,"levels":[[],[]]}',
        wrong={"BTCUSDT": "BTC", "BTC-PERP": "BTC", "btc": "BTC", "BTC-USD": "BTC", "": ""},
        frames={
            encoded({"channel": "subscriptionResponse", "data": asked}): ControlKind.ACK,
            b'{"channel":"error","data":"Invalid subscription"}': ControlKind.ERROR,
            b'{"channel":"pong"}': ControlKind.PONG,
            b'{"channel":"notification","data":{"notification":"x"}}': ControlKind.NOTICE,
            encoded(
                {"channel": "subscriptionResponse", "data": {**asked, "method": "unsubscribe"}}
            ): (ControlKind.NOTICE),
        },
        refused=[
            (429, b"null", "rate limit"),
            (500, b"null", "unknown stream"),
            (422, b"Failed to deserialize the JSON body", "unknown stream"),
            (502, b"<html>", "failed"),
        ],
        no_interval="6h",
        spelled=("kPEPE", "@107", "PURR-USDC", "xyz:TSLA"),
    )


_PLAIN = {"btcusdt": "BTCUSDT", "BTC-USDT": "BTCUSDT", "BTC/USDT": "BTCUSDT", "": ""}
CASES: list[Case] = [
    _binance("binance-spot", "2m"),
    _binance("binance-usdm", "1s"),
    _bybit("spot", "BTCUSDT", "1INCHUSDC", wrong=_PLAIN),
    _bybit("linear", "BTCUSDT", "BTCPERP", "BTC-27DEC24", "BTCUSDT-27DEC24", wrong=_PLAIN),
    _bybit("inverse", "BTCUSD", "BTCUSDZ24", wrong={"BTCUSDT": "BTCUSD", "btcusd": "BTCUSD"}),
    _okx(),
    _okx("BTC-USDT-SWAP"),
    _kraken(),
    _coinbase(),
    _hyperliquid(),
]
