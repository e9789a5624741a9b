"""Raw clients of the simulated venues: each venue's words, read without candled's own dialects.

All speak of bars of five minutes, because Coinbase pushes no others.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from candled.core.bar import MINUTE, Bars, Interval
from candled_adapters.simulator.generator import generate_many
from candled_adapters.simulator.server import Simulator
from candled_adapters.simulator.venues import VENUES

FIVE = Interval("5m")
STEP = 5 * MINUTE
START = 1_700_000_100_000 // STEP * STEP
LIMIT_S = 10.0


@dataclass(frozen=True)
class Candle:
    """What a push or a row says of a bar."""

    symbol: str
    open_time: int
    open: float
    close: float
    volume: float
    closed: bool | None = None
    told_ms: int | None = None


@dataclass(frozen=True, eq=False)
class Words:
    """How one venue is spoken to."""

    name: str
    symbol: str
    other: str
    path: str
    subscribe: Callable[[list[str]], list[dict[str, Any]]]
    unsubscribe: Callable[[list[str]], list[dict[str, Any]]]
    candles: Callable[[dict[str, Any]], list[Candle]]
    question: Callable[[str], tuple[str, str, Any]]
    rows: Callable[[Any], list[tuple[int, float, float]]]
    """Open time, close, volume of each row."""
    time: tuple[str, str, Any]
    time_of: Callable[[Any], int]
    unknown: Callable[[httpx.Response], bool]
    """Whether an answer says that the symbol is not known."""

    @property
    def flags(self) -> bool:
        return VENUES[self.name].flags


def _ns(text: str) -> int:
    return int(dt.datetime.fromisoformat(text[:19] + "+00:00").timestamp() * 1000)


def _binance(method: str):
    return lambda symbols: [
        {"method": method, "params": [f"{s.lower()}@kline_5m" for s in symbols], "id": 1}
    ]


def _binance_candles(m: dict[str, Any]) -> list[Candle]:
    m = m.get("data", m)
    if m.get("e") != "kline":
        return []
    k = m["k"]
    return [Candle(m["s"], k["t"], float(k["o"]), float(k["c"]), float(k["v"]), k["x"], m["E"])]


BINANCE = Words(
    "binance-spot", "BTCUSDT", "ETHUSDT", "/ws",
    _binance("SUBSCRIBE"), _binance("UNSUBSCRIBE"), _binance_candles,
    lambda s: ("GET", f"/api/v3/klines?symbol={s}&interval=5m&limit=1000", None),
    lambda a: [(r[0], float(r[4]), float(r[5])) for r in a],
    ("GET", "/api/v3/time", None), lambda a: a["serverTime"],
    lambda r: r.status_code == 400 and r.json()["code"] == -1121,
)  # fmt: skip


def _bybit(op: str):
    return lambda symbols: [{"op": op, "args": [f"kline.5.{s}" for s in symbols], "req_id": "1"}]


def _bybit_candles(m: dict[str, Any]) -> list[Candle]:
    return [
        Candle(
            m["topic"].split(".")[2], d["start"], float(d["open"]), float(d["close"]),
            float(d["volume"]), d["confirm"], m["ts"],
        )
        for d in (m.get("data", []) if "topic" in m else [])
    ]  # fmt: skip


BYBIT = Words(
    "bybit-linear", "BTCUSDT", "ETHUSDT", "/v5/public/linear",
    _bybit("subscribe"), _bybit("unsubscribe"), _bybit_candles,
    lambda s: ("GET", f"/v5/market/kline?category=linear&symbol={s}&interval=5&limit=1000", None),
    lambda a: [(int(r[0]), float(r[4]), float(r[5])) for r in reversed(a["result"]["list"])],
    ("GET", "/v5/market/time", None), lambda a: a["time"],
    lambda r: r.json()["retCode"] == 10001,
)  # fmt: skip


def _okx(op: str):
    return lambda symbols: [
        {"op": op, "args": [{"channel": "candle5m", "instId": s} for s in symbols], "id": "1"}
    ]


def _okx_candles(m: dict[str, Any]) -> list[Candle]:
    return [
        Candle(m["arg"]["instId"], int(r[0]), float(r[1]), float(r[4]), float(r[5]), r[8] == "1")
        for r in (m.get("data", []) if "arg" in m else [])
    ]


OKX = Words(
    "okx", "BTC-USDT", "ETH-USDT", "/ws/v5/business",
    _okx("subscribe"), _okx("unsubscribe"), _okx_candles,
    lambda s: ("GET", f"/api/v5/market/history-candles?instId={s}&bar=5m&limit=300", None),
    lambda a: [(int(r[0]), float(r[4]), float(r[5])) for r in reversed(a["data"])],
    ("GET", "/api/v5/public/time", None), lambda a: int(a["data"][0]["ts"]),
    lambda r: r.json()["code"] == "51001",
)  # fmt: skip


def _kraken(method: str):
    return lambda symbols: [
        {
            "method": method,
            "params": {
                "channel": "ohlc",
                "symbol": [s.replace("-", "/") for s in symbols],
                "interval": 5,
            },
            "req_id": 1,
        }
    ]


def _kraken_candles(m: dict[str, Any]) -> list[Candle]:
    return [
        Candle(
            d["symbol"].replace("/", "-"), _ns(d["interval_begin"]), float(d["open"]),
            float(d["close"]), float(d["volume"]), None, _ns(m["timestamp"]),
        )
        for d in (m["data"] if m.get("channel") == "ohlc" else [])
    ]  # fmt: skip


KRAKEN = Words(
    "kraken", "BTC-USD", "ETH-USD", "/v2",
    _kraken("subscribe"), _kraken("unsubscribe"), _kraken_candles,
    lambda s: (
        "GET", f"/0/public/OHLC?pair={s.replace('BTC', 'XBT').replace('-', '')}&interval=5", None,
    ),
    lambda a: [
        (r[0] * 1000, float(r[4]), float(r[6]))
        for name, rows in a["result"].items() if name != "last" for r in rows
    ],
    ("GET", "/0/public/Time", None), lambda a: a["result"]["unixtime"] * 1000,
    lambda r: r.json()["error"] == ["EQuery:Unknown asset pair"],
)  # fmt: skip


def _hyperliquid(method: str):
    return lambda symbols: [
        {"method": method, "subscription": {"type": "candle", "coin": s, "interval": "5m"}}
        for s in symbols
    ]


def _hyperliquid_candles(m: dict[str, Any]) -> list[Candle]:
    d = m.get("data")
    if m.get("channel") != "candle":
        return []
    return [Candle(d["s"], d["t"], float(d["o"]), float(d["c"]), float(d["v"]))]


HYPERLIQUID = Words(
    "hyperliquid", "BTC", "ETH", "/ws",
    _hyperliquid("subscribe"), _hyperliquid("unsubscribe"), _hyperliquid_candles,
    lambda s: ("POST", "/info", {
        "type": "candleSnapshot",
        "req": {"coin": s, "interval": "5m", "startTime": 0, "endTime": 10**14},
    }),
    lambda a: [(r["t"], float(r["c"]), float(r["v"])) for r in a],
    ("POST", "/info", {"type": "l2Book", "coin": "BTC"}), lambda a: a["time"],
    lambda r: (r.status_code, r.content) == (500, b"null"),
)  # fmt: skip


def _coinbase(kind: str):
    return lambda symbols: [{"type": kind, "product_ids": symbols, "channel": "candles"}]


def _coinbase_candles(m: dict[str, Any]) -> list[Candle]:
    return [
        Candle(
            c["product_id"], int(c["start"]) * 1000, float(c["open"]), float(c["close"]),
            float(c["volume"]), None, _ns(m["timestamp"]),
        )
        for event in (m["events"] if m.get("channel") == "candles" else [])
        for c in event["candles"]
    ]  # fmt: skip


COINBASE = Words(
    "coinbase", "BTC-USD", "ETH-USD", "/",
    _coinbase("subscribe"), _coinbase("unsubscribe"), _coinbase_candles,
    lambda s: (
        "GET",
        f"/api/v3/brokerage/market/products/{s}/candles?granularity=FIVE_MINUTE&"
        + urlencode({"start": START // 1000, "end": (START + 350 * STEP) // 1000}),
        None,
    ),
    lambda a: [
        (int(r["start"]) * 1000, float(r["close"]), float(r["volume"]))
        for r in reversed(a["candles"])
    ],
    ("GET", "/api/v3/brokerage/time", None), lambda a: int(a["epochMillis"]),
    lambda r: r.status_code == 404,
)  # fmt: skip

ALL = (BINANCE, BYBIT, OKX, KRAKEN, COINBASE, HYPERLIQUID)


def tables(words: Words, count: int) -> dict[str, Bars]:
    """Generate two symbols' bars."""
    return generate_many(5, [words.symbol, words.other], FIVE, START, count)


def simulator(words: Words, count: int = 60, **options: Any) -> Simulator:
    return Simulator(tables(words, count), FIVE, venue=VENUES[words.name], **options)


def run(scenario: Any) -> Any:
    """Run an async test body, but not for ever."""
    return asyncio.run(asyncio.wait_for(scenario, 30))


async def until(holds: Callable[[], object], what: str) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline, f"never came: {what}"
        await asyncio.sleep(0.003)


def dial(words: Words, venue: Simulator, path: str | None = None) -> connect:
    target = words.path if path is None else path
    return connect(
        venue.ws_url + target, proxy=None, compression=None, max_queue=None, close_timeout=1
    )


async def get(venue: Simulator, question: tuple[str, str, Any]) -> httpx.Response:
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # no TLS here; loading certificates is slow
    method, target, body = question
    async with httpx.AsyncClient(trust_env=False, verify=bare, timeout=LIMIT_S) as client:
        return await client.request(method, venue.rest_url + target, json=body)


async def rows(
    words: Words, venue: Simulator, symbol: str | None = None
) -> list[tuple[int, float, float]]:
    """Ask for all rows; open time, close and volume of each."""
    answer = await get(venue, words.question(symbol or words.symbol))
    assert answer.status_code == 200, answer.text
    return words.rows(answer.json())


class Ears:
    """Listens on a connection and keeps everything."""

    def __init__(self, words: Words, ws: ClientConnection) -> None:
        self.words = words
        self.ws = ws
        self.frames: list[bytes] = []
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.frames.append(await self.ws.recv(decode=False))

    async def say(self, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            await self.ws.send(json.dumps(message))

    async def closed(self) -> int | None:
        """Wait for the end and return its code."""
        await asyncio.wait_for(self._task, LIMIT_S)
        return self.ws.close_code

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What can be read."""
        found = []
        for frame in self.frames:
            with contextlib.suppress(ValueError):
                message = json.loads(frame)
                if isinstance(message, dict):
                    found.append(message)
        return found

    @property
    def replies(self) -> list[dict[str, Any]]:
        """What can be read and holds no candle."""
        return [message for message in self.messages if not self.words.candles(message)]

    def candles(self, symbol: str | None = None) -> list[Candle]:
        """Return the candles of a symbol in the order in which they came; of frames in order."""
        found = []
        for message in self.messages:
            with contextlib.suppress(TypeError, ValueError, KeyError):
                found += self.words.candles(message)
        return [candle for candle in found if candle.symbol == (symbol or self.words.symbol)]
