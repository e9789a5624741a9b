"""Recorded and documented frames of the venues, where they are at hand: each is read, exactly.

The recordings are not part of the project; `real` says where they are looked for.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from candled.core.bar import HOUR, MINUTE, Bars, Interval, Stream
from candled_adapters.exchanges.dialect import Control, ControlKind, Kline, Sign
from candled_adapters.exchanges.registry import DIALECTS
from candled_adapters.feeds.backlog import first_broken
from real import real_data


def wire(name: str) -> Path:
    return real_data() / "wire" / name


def frame(name: str) -> bytes:
    """Return a file's JSON in one line."""
    return json.dumps(json.loads(wire(name).read_bytes())).encode()


def compact(name: str) -> bytes:
    """Return a file's JSON without a blank, as venues send it."""
    return json.dumps(json.loads(frame(name)), separators=(",", ":")).encode()


def klines(dialect: str, body: bytes) -> list[Kline]:
    facts = DIALECTS[dialect].parse(body)
    assert all(isinstance(fact, Kline) for fact in facts)
    return [fact for fact in facts if isinstance(fact, Kline)]


def controls(dialect: str, name: str) -> list[ControlKind]:
    facts = DIALECTS[dialect].parse(frame(name))
    assert all(isinstance(fact, Control) for fact in facts)
    return [fact.kind for fact in facts if isinstance(fact, Control)]


def test_bybit():
    """An open push, an acknowledgement, a refusal, a page of history."""
    push = compact("bybit/nautilus_ws_kline.json")
    assert DIALECTS["bybit-linear"].parse(push) == (Sign("BTCUSDT", "5m"),)
    spread = wire("bybit/nautilus_ws_kline.json").read_bytes()
    closed = spread.replace(b'"confirm": false', b'"confirm": true')
    (kline,) = klines("bybit-linear", closed)
    assert (kline.symbol, kline.interval, kline.closed) == ("BTCUSDT", "5m", True)
    assert (kline.bar.open_time, kline.bar.close) == (1672324800000, 16677.0)
    assert (kline.bar.volume, kline.bar.quote_volume) == (2.081, 34666.4005)
    assert controls("bybit-spot", "bybit/nautilus_ws_subscription_ack.json") == [ControlKind.ACK]
    refused = controls("bybit-spot", "bybit/nautilus_ws_subscription_failure.json")
    assert refused == [ControlKind.ERROR]
    body = wire("bybit/nautilus_http_get_klines_linear.json").read_bytes()
    assert DIALECTS["bybit-linear"].parse_error(200, {}, body) is None
    rows = DIALECTS["bybit-linear"].parse_history(body, Stream("b", "BTCUSDT", "1m"))
    assert rows.bars.volume.tolist() == [123.45]


def test_okx():
    """A closed push, and a page of a swap: contracts are not base assets."""
    (kline,) = klines("okx", frame("okx/nautilus_ws_candle.json").replace(b"1D", b"1Dutc"))
    assert (kline.symbol, kline.interval, kline.closed) == ("BTC-USDT", "1d", True)
    body = wire("okx/nautilus_http_get_candlesticks_full.json").read_bytes()
    swap = DIALECTS["okx"].parse_history(body, Stream("o", "BTC-USDT-SWAP", "1m"))
    assert swap.bars.open_time.tolist() == [1747093980000, 1747094040000]
    assert swap.bars.volume.tolist() == [71.6404, 10.4037]
    assert swap.closed == 2
    assert first_broken(swap.bars, Interval("1m")) is None
    open_rows = wire("okx/nautilus_http_get_candlesticks.json").read_bytes()
    assert DIALECTS["okx"].parse_history(open_rows, Stream("o", "BTC-USDT", "1m")).closed == 0


def test_okcoin_speaks_as_okx():
    """Truly recorded: every candle frame is read, the closed ones with their exact numbers."""
    lines = wire("okcoin_v5/cryptofeed_OKCOIN.ws.1.0.candles.txt").read_text().splitlines()
    found = [match[1] for line in lines if (match := re.fullmatch(r"[\d.]+: (\{.*\})", line))]
    closed = 0
    for text in found:
        for fact in DIALECTS["okx"].parse(text.encode()):
            if not isinstance(fact, Kline):
                continue
            (row,) = json.loads(text)["data"]
            assert fact.closed == (row[8] == "1")
            closed += fact.closed
            bar = fact.bar
            assert [bar.open, bar.high, bar.low, bar.close, bar.volume] == list(
                map(float, row[1:6])
            )
            assert bar.open_time == int(row[0])
            assert bar.close_time == int(row[0]) + MINUTE - 1
    assert len(found) >= 5
    assert closed >= 1


def test_kraken():
    """Real history of 720 rows without a broken one; the last is not committed."""
    stream = Stream("k", "BTC-USDT", "1m")
    body = wire("kraken/nautilus_http_ohlc.json").read_bytes()
    assert DIALECTS["kraken"].parse_error(200, {}, body) is None
    rows = DIALECTS["kraken"].parse_history(body, stream)
    answer = json.loads(body)["result"]
    found = answer["XBTUSDT"]
    assert len(rows.bars) == len(found)
    assert rows.closed == sum(row[0] <= answer["last"] for row in found) < len(found) + 1
    assert rows.bars.volume.tolist() == [float(row[6]) for row in found]
    assert first_broken(rows.bars, Interval("1m")) is None
    (kline,) = klines("kraken", frame("kraken/nautilus_ws_ohlc_update.json"))
    assert (kline.symbol, kline.interval, kline.bar.trades) == ("BTC-USD", "1m", 12.0)
    assert controls("kraken", "kraken/nautilus_ws_pong.json") == [ControlKind.PONG]
    assert controls("kraken", "kraken/nautilus_ws_subscribe_response.json") == [ControlKind.ACK]


def test_coinbase():
    """A bucket, a heartbeat, an acknowledgement of other channels, a page of history."""
    (kline,) = klines("coinbase", frame("coinbase/nautilus_ws_candles.json"))
    assert (kline.symbol, kline.interval) == ("BTC-USD", "5m")
    assert (kline.bar.open_time, kline.bar.close) == (1775521800000, 68920.5)
    assert controls("coinbase", "coinbase/nautilus_ws_heartbeats.json") == [ControlKind.PONG]
    assert controls("coinbase", "coinbase/nautilus_ws_subscriptions.json") == []
    body = wire("coinbase/nautilus_http_candles.json").read_bytes()
    bars: Bars = DIALECTS["coinbase"].parse_history(body, Stream("c", "BTC-USD", "1h")).bars
    assert bars.open_time.tolist() == [1712188800000, 1712192400000]
    assert bars.close_time.tolist()[0] == 1712188800000 + HOUR - 1
    assert bars.close.tolist() == [66314.59, 66181.6]


@pytest.mark.parametrize("venue", ["binance_spot", "binance_usdm", "bybit", "okx"])
def test_documented_examples_are_read(venue: str):
    """Pushes from other clients' test data, one JSON a line or spread over lines."""
    dialect = {"binance_spot": "binance-spot", "binance_usdm": "binance-usdm"}.get(venue, venue)
    dialect = "bybit-linear" if dialect == "bybit" else dialect
    lines = wire(f"{venue}/jkorf_Klines.txt").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith(">"))  # what a client said
    decoder, at, frames = json.JSONDecoder(), 0, []
    while (start := text.find("{", at)) >= 0:
        try:
            value, at = decoder.raw_decode(text, start)
            frames.append(value)
        except ValueError:
            at = start + 1
    assert frames
    for value in frames:
        for fact in DIALECTS[dialect].parse(json.dumps(value, indent=1).encode()):
            assert isinstance(fact, Kline | Control)
