"""What a decision asks of a receiver, and what it is called there."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled.core.bar import Stream
from candled.core.decision import Side
from candled_adapters.sinks.couriers import TRADINGVIEW, Wording, read_wording
from candled_adapters.sinks.orders import (
    NAMES,
    Wanted,
    body_of,
    fields_of,
    orders_of,
    sample,
    withdrawn,
)
from candled_adapters.sinks.pairs import pair_of
from fakes import BTC, Decisions

ALL = Wanted()
#: Every story of one bar: what is decided at first and what it becomes.
STORIES = st.lists(st.sampled_from([Side.LONG, Side.SHORT, Side.FLAT]), min_size=1, max_size=6)


def told(story):
    """Return the entries of a story; a revision that changes nothing but numbers is one too."""
    decisions = Decisions()
    entries = [decisions.make(story[0])]
    for side in story[1:]:
        entries.append(decisions.correct(entries[-1], side))
    return entries


@given(STORIES)
def test_who_does_every_order_holds_what_was_decided_last(story):
    """A receiver that enters and leaves as told is what the newest decision says: long or not."""
    held = None
    for entry in told(story):
        for order in orders_of(entry, ALL):
            if order.kind == "enter":
                assert held is None, "entered twice"
                held = (order.side, order.signal)
            else:
                assert held == (order.side, order.signal), "left what was not held"
                held = None
    assert (held[0] if held else "flat") == story[-1].value


@given(STORIES)
def test_no_two_orders_have_the_same_key(story):
    """Nor do two orders of one entry, and saying an entry again gives the same keys."""
    entries = told(story)
    keys = [order.key for entry in entries for order in orders_of(entry, ALL)]
    assert len(set(keys)) == len(keys)
    assert keys == [order.key for entry in entries for order in orders_of(entry, ALL)]


def test_a_correction_that_turns_a_signal_round_is_an_exit_first():
    """Whoever holds the long leaves it before the short is entered."""
    decisions = Decisions()
    long = decisions.make(Side.LONG)
    turned = decisions.correct(long, Side.SHORT)
    leave, enter = orders_of(turned, ALL)
    assert (leave.kind, leave.side, leave.signal) == ("exit", "long", long.decision.id)
    assert (enter.kind, enter.side, enter.signal) == ("enter", "short", turned.decision.id)
    assert withdrawn([long, turned]) == {long.decision.id}


def test_only_what_is_wanted_is_asked():
    """By stream, by side, and with or without exits."""
    decisions = Decisions()
    long = decisions.make(Side.LONG)
    flat = decisions.correct(long, Side.FLAT)
    assert orders_of(long, Wanted(streams=("okx/*", "*/ETHUSDT/*"))) == []
    assert len(orders_of(long, Wanted(streams=("okx/*", "binance/BTC*/1m")))) == 1
    assert orders_of(long, Wanted(sides=("short",))) == []
    assert orders_of(flat, Wanted(sides=("short",))) == []
    assert len(orders_of(flat, Wanted(sides=("long",)))) == 1
    assert orders_of(flat, Wanted(exits=False)) == []
    assert orders_of(decisions.make(Side.FLAT), ALL) == []
    assert orders_of(decisions.make(Side.NO_DECISION), ALL) == []


def test_a_signal_ends_with_its_validity_and_an_exit_later():
    """A late entry is harmful, a late exit often is not."""
    decisions = Decisions()
    long = decisions.make(Side.LONG)
    flat = decisions.correct(long, Side.FLAT)
    (enter,), (leave,) = orders_of(long, ALL), orders_of(flat, ALL)
    assert enter.until_ms == long.decision.valid_until
    assert leave.until_ms == flat.decided_ms + 300_000
    (leave,) = orders_of(flat, Wanted(exit_seconds=0))
    assert leave.until_ms == flat.decision.valid_until


def test_every_name_has_a_value_for_every_order():
    """Templates cannot meet a name that some decision lacks."""
    decisions = Decisions()
    long = decisions.make(Side.LONG)
    entries = [long, decisions.correct(long, Side.SHORT)]
    orders = [*sample(), *itertools.chain.from_iterable(orders_of(e, ALL) for e in entries)]
    for order in orders:
        assert fields_of(order, "e1", "X").keys() == NAMES
    assert fields_of(orders[0], "e1", "X")["target.profit_pct"] is None
    assert fields_of(orders[2], "e1", "X")["target.profit_pct"] == 0.6


def test_candleds_own_json_says_what_the_signal_says():
    """With the order's kind and key; nothing in it depends on when it is sent."""
    decisions = Decisions()
    long = decisions.make(Side.LONG)
    (enter,) = orders_of(long, ALL)
    (leave,) = orders_of(decisions.correct(long, Side.FLAT), ALL)
    body, kind = Wording().body(enter, "e1")
    said = json.loads(body)
    assert kind == "application/json"
    assert said == json.loads(json.dumps(body_of(enter, "e1")))
    assert (said["schema"], said["kind"], said["side"]) == ("candled.order/1", "enter", "long")
    assert said["key"] == said["id"] == said["signal"] == long.decision.id
    assert said["probabilities"] == {"no_trade": 0.21, "long": 0.6123, "short": 0.1777}
    assert said["expires_ms"] == said["valid_until_ms"]
    assert "published_at" not in said
    left = json.loads(Wording().body(leave, "e1")[0])
    assert (left["kind"], left["side"], left["signal"]) == ("exit", "long", long.decision.id)
    assert left["key"] != left["id"]


@pytest.mark.parametrize(
    ("side", "kind", "words"),
    [
        (Side.LONG, "enter", ("enter_long", "buy", "long")),
        (Side.LONG, "exit", ("exit_long", "sell", "flat")),
        (Side.SHORT, "enter", ("enter_short", "sell", "short")),
        (Side.SHORT, "exit", ("exit_short", "buy", "flat")),
    ],
)
def test_an_order_has_the_words_of_other_receivers(side, kind, words):
    """What TradingView's strategies and 3Commas's bots call it."""
    decisions = Decisions()
    entry = decisions.make(side)
    if kind == "exit":
        entry = decisions.correct(entry, Side.FLAT)
    (order,) = orders_of(entry, ALL)
    values = fields_of(order, "e1", "X")
    assert (values["action"], values["order"], values["position"]) == words


def test_the_tradingview_preset_has_the_documented_fields():
    """As a 3Commas signal bot reads them: all texts, and nothing that it does not know."""
    secrets = {"token": 'to"ken', "bot_uuid": "u-1"}
    template = read_wording(TRADINGVIEW, secrets)
    (order,) = orders_of(Decisions().make(Side.LONG), ALL)
    body, kind = Wording(template, template, secrets, {"BTCUSDT": "BTCUSDT.P"}).body(order, "e1")
    assert kind == "application/json"
    assert json.loads(body) == {
        "secret": 'to"ken',
        "max_lag": "59",
        "timestamp": "2025-01-01T00:01:00.041Z",
        "trigger_price": "93576.01",
        "tv_exchange": "BINANCE",
        "tv_instrument": "BTCUSDT.P",
        "action": "enter_long",
        "bot_uuid": "u-1",
    }


@pytest.mark.parametrize(
    ("symbol", "market", "pair"),
    [
        ("BTCUSDT", "spot", "BTC/USDT"),
        ("BTCUSDT", "futures", "BTC/USDT:USDT"),
        ("1000PEPEUSDT", "futures", "1000PEPE/USDT:USDT"),
        ("ETHBTC", "spot", "ETH/BTC"),
        ("BTCFDUSD", "spot", "BTC/FDUSD"),
        ("BTC-USD", "spot", "BTC/USD"),
        ("BTC-USDT-SWAP", "futures", "BTC/USDT:USDT"),
        ("btc_usdt", "spot", "BTC/USDT"),
        ("BTC/USDT:USDT", "futures", "BTC/USDT:USDT"),
        ("BTC", "futures", None),
        ("USDT", "spot", None),
        ("A-B-C", "spot", None),
        ("-USDT", "spot", None),
        ("NONSENSE", "spot", None),
    ],
)
def test_a_symbol_has_its_unified_name_or_none(symbol, market, pair):
    """A pair is never guessed: a wrong one would be traded."""
    assert pair_of(symbol, market) == pair


def test_the_stream_of_an_order_is_that_of_its_entry():
    """A symbol with a ticker of its own changes the ticker alone."""
    stream = Stream("okx", "BTC-USDT-SWAP", "1m")
    (order,) = orders_of(Decisions().make(Side.LONG, stream), ALL)
    values = fields_of(order, "e1", "BTCUSDT.P")
    assert (values["symbol"], values["ticker"]) == ("BTC-USDT-SWAP", "BTCUSDT.P")
    assert (values["exchange"], values["tv_exchange"]) == ("okx", "OKX")
    assert BTC.exchange == "binance"
