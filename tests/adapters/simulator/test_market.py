"""The venue without sockets: what it knows when, its clock, and the bytes it says it with."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import COLUMNS, HOUR, RULES, Bar, Bars, Interval
from candled_adapters.candles.candlefile import read_candles
from candled_adapters.simulator import binance, rest
from candled_adapters.simulator.generator import generate
from candled_adapters.simulator.market import Kline, Market, Query, Tape, partial_bar
from candled_adapters.simulator.session import Session
from candled_adapters.simulator.venue import Answer, Asked
from real import REAL, needs_real_data

H1 = Interval("1h")
START = 1_640_995_200_000


def holed(count: int, *absent: int, seed: int = 1) -> Bars:
    """Generate bars and leave some slots out."""
    rows = list(generate(seed, H1, START, count))
    return Bars.of([row for index, row in enumerate(rows) if index not in absent])


def as_bar(row: list) -> Bar:
    """Read a REST row as a client does."""
    return Bar(
        row[0], *map(float, row[1:6]), row[6], float(row[7]), float(row[8]), *map(float, row[9:11])
    )


def as_pushed(frame: bytes) -> tuple[str, Bar, bool]:
    """Read a raw push frame as a client does: symbol, bar, closed."""
    k = json.loads(frame)["k"]
    prices = [float(k[key]) for key in "ohlcv"]
    rest_ = [float(k["q"]), float(k["n"]), float(k["V"]), float(k["Q"])]
    return k["s"], Bar(k["t"], *prices, k["T"], *rest_), k["x"]


def ask(market: Market, now_ms: int, path: str = "/api/v3/klines", **parameters) -> Answer:
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return rest.answer(Asked(market, f"{path}?{query}", b"", now_ms, now_ms))


def klines(market: Market, now_ms: int, **parameters) -> list[Bar]:
    asked = {"symbol": "BTCUSDT", "interval": "1h"} | parameters
    answer = ask(market, now_ms, **asked)
    assert answer.status == 200, answer.body
    return [as_bar(row) for row in json.loads(answer.body)]


# Decimal strings


@given(number=st.floats(min_value=0, allow_infinity=False))
@settings(max_examples=300)
def test_decimal_strings_give_the_double_back(number):
    """A number written for the wire reads back to the bit, without an exponent."""
    text = binance.decimal(number)
    assert float(text) == number
    assert set(text) <= set("0123456789.")


def test_decimals_look_like_binances():
    """Ordinary numbers have 8 decimals; finer ones have as many as they need; absent is zero."""
    assert binance.decimal(28080.0) == "28080.00000000"
    assert binance.decimal(69879986.3904993) == "69879986.39049930"
    assert binance.decimal(0.0) == "0.00000000"
    assert binance.decimal(1e-9) == "0.000000001"
    assert binance.decimal(1e16) == "10000000000000000.00000000"
    assert binance.decimal(math.nan) == "0.00000000"


# Partial bars


@st.composite
def bars(draw) -> Bar:
    price = st.floats(min_value=0.01, max_value=1e5).map(lambda x: round(x, 2))
    low, one, other, high = sorted(draw(st.tuples(price, price, price, price)))
    open_, close = (one, other) if draw(st.booleans()) else (other, one)
    volume = draw(st.floats(min_value=1e-8, max_value=1e6))
    share = draw(st.floats(min_value=0, max_value=1))
    trades = draw(st.one_of(st.just(math.nan), st.integers(1, 10**6).map(float)))
    return Bar(
        START, open_, high, low, close, volume, START + HOUR - 1,
        volume * close, trades, volume * share, volume * share * close,
    )  # fmt: skip


@given(bar=bars(), moments=st.lists(st.floats(0, 0.999999), min_size=2, max_size=6))
@settings(deadline=None, max_examples=200)
def test_open_bars_grow_into_the_closed_one(bar, moments):
    """Open bars are coherent; high, low, volumes and trades only grow, up to the final ones."""
    seen = [partial_bar(bar, START + HOUR, moment, 2) for moment in sorted(moments)]
    for now in seen:
        assert all(rule.holds(now) for rule in RULES), now
        assert now.open == bar.open
    for earlier, later in pairwise([*seen, bar]):
        assert earlier.high <= later.high
        assert earlier.low >= later.low
        assert earlier.volume <= round(later.volume, 8)
        if not math.isnan(bar.trades):
            assert earlier.trades <= later.trades


def test_open_bar_visits_both_extremes_before_the_close():
    """A rising bar falls to its low first, a falling one rises to its high first."""
    rising = Bar(START, 100, 110, 90, 105, 10, START + HOUR - 1, 1000, 100, 5, 500)
    falling = replace(rising, close=95)
    third = partial_bar(rising, START + HOUR, 1 / 3)
    assert (third.high, third.low, third.close) == (100, 90, 90), "the high is still to come"
    assert partial_bar(rising, START + HOUR, 2 / 3).close == pytest.approx(110)
    assert partial_bar(falling, START + HOUR, 1 / 3).close == 110
    assert partial_bar(rising, START + HOUR, 0.0) == Bar(
        START, 100, 100, 100, 100, 0, START + HOUR - 1, 0, 0, 0, 0
    )


# Time


def test_clock_is_affine_between_its_ends():
    """Venue time starts at the first played slot, runs at speed, and stops after the last."""
    clock = Market.of({"BTCUSDT": holed(10)}, H1, start_at=4, bars=3).clock(3600)
    assert clock.at(-1.0) == clock.at(0.0) == START + 4 * HOUR
    assert clock.at(1.5) == START + int(5.5 * HOUR)
    assert clock.at(99.0) == clock.end_ms == START + 7 * HOUR
    assert clock.due(START + 6 * HOUR) == 2.0


def test_instants_are_in_order_and_skip_holes():
    """Each played slot has its updates and then its end; venue time passes over a hole."""
    market = Market.of({"BTCUSDT": holed(5, 2)}, H1, start_at=1)
    instants = list(market.instants(2))
    assert [i.venue_ms for i in instants] == sorted(i.venue_ms for i in instants)
    assert [i.venue_ms for i in instants if i.closing] == [START + n * HOUR for n in (2, 4, 5)]
    assert [i.venue_ms - START for i in instants[:2]] == [HOUR * 4 // 3, HOUR * 5 // 3]


def test_markets_that_cannot_be_played_are_refused():
    """Bad symbols, indexes, speeds and tables are errors that say what to do."""
    table = holed(3)
    with pytest.raises(ValueError, match="start_at is 3, but the candles have 3 slots"):
        Market.of({"A": table}, H1, start_at=3)
    with pytest.raises(ValueError, match="bars is 0; play at least 1"):
        Market.of({"A": table}, H1, bars=0)
    with pytest.raises(ValueError, match="no candles to play"):
        Market.of({}, H1)
    with pytest.raises(ValueError, match="speed is 0"):
        Market.of({"A": table}, H1).clock(0)
    with pytest.raises(ValueError, match="symbol 'BTC/USDT' must be one word"):
        Market.of({"BTC/USDT": table}, H1)
    with pytest.raises(ValueError, match="not on the 1d grid"):
        Market.of({"A": table}, Interval("1d"))
    with pytest.raises(ValueError, match="not strictly ascending"):
        Market.of({"A": Bars.of([table.row(1), table.row(0)])}, H1)


# Klines

MARKET = Market.of({"BTCUSDT": holed(40, 7, 8, 20)}, H1)
TABLE = MARKET.tapes["BTCUSDT"].bars
moments = st.integers(START, START + 41 * HOUR)


@given(
    now_ms=moments, start_ms=st.integers(START - HOUR, START + 41 * HOUR), limit=st.integers(1, 9)
)
@settings(deadline=None, max_examples=150)
def test_paging_returns_each_bar_once(now_ms, start_ms, limit):
    """Paging from any time with any limit gives every opened bar from there on, once, in order."""
    seen: list[Bar] = []
    asked = start_ms
    while page := klines(MARKET, now_ms, startTime=max(asked, 0), limit=limit):
        assert len(page) <= limit
        seen += page
        asked = page[-1].open_time + 1
    opens = TABLE.open_time
    due = opens[(opens >= start_ms) & (opens <= now_ms)].tolist()
    assert [bar.open_time for bar in seen] == due
    closed = [bar for bar in seen if H1.end(bar.open_time) <= now_ms]
    assert closed == [
        bar for bar in TABLE if bar.open_time in due and H1.end(bar.open_time) <= now_ms
    ]
    assert len(seen) - len(closed) <= 1, "one open bar at most"


@given(now_ms=moments, limit=st.integers(1, 9), end_ms=st.none() | moments)
@settings(deadline=None, max_examples=100)
def test_newest_rows_without_a_start(now_ms, limit, end_ms):
    """Without startTime the newest rows up to endTime come, ascending."""
    parameters = {} if end_ms is None else {"endTime": end_ms}
    page = klines(MARKET, now_ms, limit=limit, **parameters)
    latest = now_ms if end_ms is None else min(now_ms, end_ms)
    due = [opened for opened in TABLE.open_time.tolist() if opened <= latest]
    assert [bar.open_time for bar in page] == due[-limit:]


@given(now_ms=moments)
@settings(deadline=None, max_examples=100)
def test_rest_gives_what_was_pushed(now_ms):
    """At any time, the closed rows of REST are the closing frames pushed until then, to the bit."""
    tape = MARKET.tapes["BTCUSDT"]
    pushed = []
    for instant in MARKET.instants(2):
        index = tape.find(instant.open_time)
        assert index is not None
        if instant.venue_ms <= now_ms:
            kline = tape.kline(index, instant.venue_ms)
            symbol, bar, closed = as_pushed(binance.push("BTCUSDT", "1h", kline, instant.venue_ms))
            assert (symbol, closed) == ("BTCUSDT", instant.closing)
            pushed += [bar] * closed
    rows = klines(MARKET, now_ms, limit=1000)
    assert [row for row in rows if H1.end(row.open_time) <= now_ms] == pushed


def test_limits_are_binances():
    """500 rows without a limit; at most 1000 for spot and 1500 for USD-M."""
    market = Market.of({"BTCUSDT": holed(1600)}, H1)
    now_ms = START + 1600 * HOUR
    assert len(klines(market, now_ms)) == 500
    assert len(klines(market, now_ms, limit=5000)) == 1000
    futures = ask(market, now_ms, "/fapi/v1/klines", symbol="BTCUSDT", interval="1h", limit=5000)
    assert len(json.loads(futures.body)) == 1500


def test_hidden_rows_do_not_count():
    """A row withheld from klines makes room for another."""
    last = int(TABLE.open_time[-1])
    query = Query(limit=2)
    tape = MARKET.tapes["BTCUSDT"]

    def without_last(klines: list[Kline]) -> list[Kline]:
        return [kline for kline in klines if kline.bar.open_time != last]

    shown = [k.bar.open_time for k in tape.klines(query, last + HOUR, without_last)]
    assert shown == TABLE.open_time[-3:-1].tolist()


@given(kept=st.sets(st.integers(0, 36)), limit=st.integers(1, 40), forward=st.booleans())
@settings(deadline=None, max_examples=100)
def test_however_many_rows_are_withheld_the_page_is_full(kept, limit, forward):
    """As if the tape had the others alone, from either end."""
    tape = MARKET.tapes["BTCUSDT"]
    opens = TABLE.open_time.tolist()
    shown = {opens[index] for index in kept}
    query = Query(limit, opens[0] if forward else None)
    found = tape.klines(
        query, opens[-1] + HOUR, lambda rows: [k for k in rows if k.bar.open_time in shown]
    )
    due = sorted(shown)[:limit] if forward else sorted(shown)[-limit:]
    assert [kline.bar.open_time for kline in found] == due


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"symbol": "NOPE", "interval": "1h"}, -1121),
        ({"symbol": "BTCUSDT", "interval": "1H"}, -1120),
        ({"symbol": "BTCUSDT", "interval": "5m"}, -1120),
        ({"interval": "1h"}, -1102),
        ({"symbol": "BTCUSDT"}, -1102),
        ({"symbol": "BTCUSDT", "interval": "1h", "limit": "-1"}, -1100),
        ({"symbol": "BTCUSDT", "interval": "1h", "limit": "0"}, -1130),
        ({"symbol": "BTCUSDT", "interval": "1h", "startTime": "now"}, -1100),
    ],
)
def test_bad_questions_get_binances_errors(parameters, code):
    """A question that Binance refuses is refused with its status and code."""
    answer = ask(MARKET, START, **parameters)
    assert answer.status == 400
    assert json.loads(answer.body)["code"] == code


def test_unknown_symbol_and_interval_word_for_word():
    """The two errors that clients tell apart are Binance's to the byte."""
    assert ask(MARKET, START, symbol="X", interval="1h").body == (
        b'{"code":-1121,"msg":"Invalid symbol."}'
    )
    assert ask(MARKET, START, symbol="BTCUSDT", interval="x").body == (
        b'{"code":-1120,"msg":"Invalid interval."}'
    )


@pytest.mark.parametrize("prefix", ["/api/v3", "/fapi/v1"])
def test_small_endpoints(prefix):
    """Ping, time and exchangeInfo answer on both markets; other paths are not found."""
    assert ask(MARKET, START, f"{prefix}/ping").body == b"{}"
    assert json.loads(ask(MARKET, START, f"{prefix}/time").body) == {"serverTime": START}
    info = json.loads(ask(MARKET, START, f"{prefix}/exchangeInfo").body)
    assert info["symbols"] == [
        {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT"}
    ]
    assert ask(MARKET, START, f"{prefix}/exchangeInfo", symbol="NOPE").status == 400
    assert ask(MARKET, START, f"{prefix}/depth").status == 404
    assert ask(MARKET, START, "/").status == 404


# Push frames and methods


def test_trade_ids_follow_each_other():
    """A bar's ids begin after those of the bar before; a bar without trades has -1 and -1."""
    rows = list(generate(1, H1, START, 3))
    flat = rows[1].open
    rows[1] = replace(
        rows[1], high=flat, low=flat, close=flat, volume=0.0, quote_volume=0.0, trades=0.0,
        taker_buy_base=0.0, taker_buy_quote=0.0,
    )  # fmt: skip
    tape = Tape.of("BTCUSDT", Bars.of(rows), H1)
    ids = []
    for index in range(3):
        frame = binance.push("BTCUSDT", "1h", tape.kline(index, START + 9 * HOUR), START)
        ids.append(tuple(json.loads(frame)["k"][key] for key in "fLn"))
    first = int(rows[0].trades)
    assert ids == [
        (1, first, first),
        (-1, -1, 0),
        (first + 1, first + int(rows[2].trades), int(rows[2].trades)),
    ]


def test_methods_are_obeyed_and_answered():
    """Subscribing, listing and unsubscribing work; any name is acknowledged, as Binance does."""
    session = Session.of("/ws/a@kline_1h/b@kline_1h")
    assert session is not None
    ack = session.answer(b'{"method":"SUBSCRIBE","params":["no@such"],"id":1}')
    assert ack == b'{"result":null,"id":1}'
    session.answer('{"method":"UNSUBSCRIBE","params":["a@kline_1h"],"id":2}')
    listed = session.answer('{"method":"LIST_SUBSCRIPTIONS","id":"three"}')
    assert json.loads(listed) == {"result": ["b@kline_1h", "no@such"], "id": "three"}


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", 3),
        (b"\xff", 3),
        ("[1]", 2),
        ('{"id":1}', 2),
        ('{"method":"JUMP","id":1}', 2),
        ('{"method":["SUBSCRIBE"],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":"a@kline_1h","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2),
    ],
)
def test_bad_frames_get_binances_errors(frame, code):
    """A frame that is no request is answered with code 2 or 3 and changes nothing."""
    session = Session.of("/stream")
    assert session is not None
    assert json.loads(session.answer(frame))["code"] == code
    assert not session.streams


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/ws", (False, [])),
        ("/ws/a@kline_1h", (False, ["a@kline_1h"])),
        ("/ws/a@kline_1h/b@kline_1h", (False, ["a@kline_1h", "b@kline_1h"])),
        ("/stream", (True, [])),
        ("/stream?streams=a@kline_1h/b@kline_1h", (True, ["a@kline_1h", "b@kline_1h"])),
        ("/stream?streams=a%40kline_1h", (True, ["a@kline_1h"])),
        ("/market/ws", (False, [])),
        ("/market/stream?streams=a@kline_1h", (True, ["a@kline_1h"])),
        ("/api/v3/time", None),
        ("/wsx", None),
        ("/", None),
    ],
)
def test_paths_open_sessions(target, expected):
    """Raw and combined paths of spot and USD-M are websockets; others are not."""
    session = Session.of(target)
    assert (session and (session.combined, list(session.streams))) == expected


# Against recordings


@needs_real_data
def test_rest_equals_the_recorded_month():
    """Klines for March 2023 are, in value, the rows that Binance gave, outage included."""
    recorded = json.loads((REAL / "candles/binance_rest_BTCUSDT_1h_2023-03.json").read_text())
    table = read_candles(REAL / "candles/BTCUSDT_1h.csv.gz", H1).bars
    market = Market.of({"BTCUSDT": table}, H1)
    first, last = recorded[0][0], recorded[-1][0]
    rows = klines(market, last + HOUR, startTime=first, endTime=last, limit=1000)
    assert rows == [as_bar(row) for row in recorded]
    assert len(rows) == 743


@needs_real_data
def test_frames_look_like_the_recorded_ones():
    """Our combined frames have the recorded keys in the recorded order, and kinds of values."""
    recorded = [
        json.loads(text.split(": ", 1)[1])
        for venue in ("binance_spot", "binance_us", "binance_usdm")
        for path in (REAL / "wire" / venue).glob("cryptofeed_*")
        for text in path.read_text().splitlines()
        if '"e":"kline"' in text
    ]
    assert len(recorded) > 10
    bar = Bar(START, 2.0, 3.0, 1.0, 2.5, 7.0, START + HOUR - 1, 14.0, 3.0, 1.0, 2.0)
    frame = binance.push("OMGBUSD", "1h", Kline(bar, 5, closed=True), START + HOUR)
    ours = json.loads(binance.combined("omgbusd@kline_1h", frame))
    for theirs in recorded:
        for mine, real in (
            (ours, theirs),
            (ours["data"], theirs["data"]),
            (ours["data"]["k"], theirs["data"]["k"]),
        ):
            assert list(mine) == list(real)
            assert [type(x) for x in mine.values()] == [type(x) for x in real.values()]


@needs_real_data
def test_recorded_frame_is_encoded_to_the_byte():
    """A recorded closing frame, taken apart and encoded again, is the recorded bytes."""
    path = REAL / "wire/binance_us/cryptofeed_BINANCE_US.ws.1.0.candles.txt"
    text = next(t for t in path.read_text().splitlines() if '"x":true' in t).split(": ", 1)[1]
    data = json.loads(text)["data"]
    _, bar, closed = as_pushed(json.dumps(data).encode())
    frame = binance.push(data["s"], "1m", Kline(bar, data["k"]["f"], closed), data["E"])
    assert binance.combined("omgbusd@kline_1m", frame) == text.encode()


def test_absent_columns_are_sent_as_zero():
    """Candles without the optional columns can be played; Binance's frames have them all."""
    table = holed(3)
    nothing = np.full(len(table), np.nan)
    lost = ("quote_volume", "trades", "taker_buy_base", "taker_buy_quote")
    bare = Bars(**{c: nothing if c in lost else getattr(table, c) for c in COLUMNS})
    market = Market.of({"BTCUSDT": bare}, H1)
    row = klines(market, START + 2 * HOUR)[0]
    assert (row.close, row.quote_volume, row.trades) == (table.row(0).close, 0.0, 0.0)
