"""Bars and intervals: the grid of time, tables of candles, and the rules at the door."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled.core.bar import (
    COLUMNS,
    DAY,
    INTERVALS,
    RULES,
    Bar,
    Bars,
    Interval,
    Stream,
    broken_rule,
    iso,
)
from candles import candles

HOURLY = Interval("1h")
GOOD = candles(50, seed=2).row(30)
ANY_TIME = st.integers(1_000_000_000_000, 4_000_000_000_000)
every_interval = pytest.mark.parametrize("interval", INTERVALS, ids=str)


def _utc(*parts):
    return int(dt.datetime(*parts, tzinfo=dt.UTC).timestamp()) * 1000


def _slot_of(interval, moment):
    """Return the open time of a slot near `moment`, found without the interval's own arithmetic."""
    at = dt.datetime.fromtimestamp(moment / 1000, dt.UTC)
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if interval.name == "1M":
        return int(midnight.replace(day=1).timestamp()) * 1000
    if interval.name == "1w":
        monday = midnight - dt.timedelta(days=midnight.weekday())
        return int(monday.timestamp()) * 1000
    if interval.name == "3d":
        return int(midnight.timestamp()) * 1000
    return moment - moment % interval.typical_ms


@every_interval
@given(moment=ANY_TIME, count=st.integers(0, 40))
def test_slots_follow_one_another(interval, moment, count):
    """Ends are on the grid and are the next opens; going back undoes going on."""
    first = _slot_of(interval, moment)
    assert interval.on_grid(first)
    last = first
    for _ in range(count):
        last = interval.end(last)
        assert interval.on_grid(last)
    assert interval.back(last, count) == first


@every_interval
@given(moment=ANY_TIME)
def test_no_slot_opens_inside_another(interval, moment):
    """A millisecond after an open or before an end is off the grid."""
    first = _slot_of(interval, moment)
    assert not interval.on_grid(first + 1)
    assert not interval.on_grid(interval.end(first) - 1)


def test_months_have_their_own_lengths():
    """A month ends where the next begins, in leap years and over new year too."""
    month = Interval("1M")
    assert month.end(_utc(2024, 2, 1)) == _utc(2024, 3, 1)
    assert month.end(_utc(2024, 2, 1)) - _utc(2024, 2, 1) == 29 * DAY
    assert month.end(_utc(2023, 12, 1)) == _utc(2024, 1, 1)
    assert month.back(_utc(2024, 1, 1), 14) == _utc(2022, 11, 1)
    assert not month.on_grid(_utc(2024, 1, 2))


def test_weeks_open_on_mondays():
    """2024-01-01 was a Monday; the day after is no week's open."""
    assert Interval("1w").on_grid(_utc(2024, 1, 1))
    assert not Interval("1w").on_grid(_utc(2024, 1, 2))


@pytest.mark.parametrize("name", ["1H", "60m", "", "1Mo", "7d"])
def test_an_unknown_interval_is_refused_with_the_known_ones(name):
    """Case matters, and the message lists what there is."""
    with pytest.raises(ValueError, match=r"unknown interval .*1m, .*1h, .*1M \(case matters\)"):
        Interval(name)


def test_a_minute_is_not_a_month():
    """`1m` and `1M` differ in case alone, and by four orders of magnitude."""
    assert Interval("1m").typical_ms == 60_000
    assert Interval("1M").typical_ms == 30 * DAY


@given(ANY_TIME)
def test_iso_text_reads_back(moment):
    """ISO text ends in Z and names the very millisecond."""
    text = iso(moment)
    assert text.endswith("Z")
    read = dt.datetime.fromisoformat(text)
    assert round(read.timestamp() * 1000) == moment


@pytest.mark.parametrize("wrong", [1_700_000_000_000_000, 10**30, -(10**15), 253_402_300_800_000])
def test_times_that_no_calendar_has_can_be_named(wrong):
    """Microseconds where milliseconds should be are told, and break nothing."""
    assert iso(wrong) == f"{wrong} ms"
    assert iso(253_402_300_799_999) == "9999-12-31T23:59:59.999Z"


def test_a_stream_names_its_path():
    """Exchange, symbol and interval, as topics and ids have them."""
    assert Stream("okx", "BTC-USDT", "5m").path == "okx/BTC-USDT/5m"


def test_tables_and_single_bars_hold_the_same():
    """A table built of its own rows is the same table; slices are slices of its rows."""
    bars = candles(20)
    again = Bars.of(list(bars))
    for name in COLUMNS:
        assert getattr(again, name).tolist() == getattr(bars, name).tolist()
        assert getattr(again, name).dtype == getattr(bars, name).dtype
    assert [bars.row(at) for at in range(5, 9)] == list(bars[5:9])
    assert len(bars[5:9]) == 4
    assert len(Bars.of([])) == 0


def test_rows_are_python_numbers():
    """A single bar holds plain int and float, so that it can be compared, hashed and written."""
    kinds = {name: type(getattr(GOOD, name)) for name in COLUMNS}
    assert kinds == {name: int if name.endswith("_time") else float for name in COLUMNS}


def test_seeded_candles_may_enter():
    """A sane bar breaks no rule, and neither do 500 of them."""
    assert all(broken_rule(bar, HOURLY) is None for bar in candles(500, seed=1))


def test_a_column_that_the_venue_lacks_may_be_absent():
    """NaN in volumes and trades means that the venue does not say."""
    nan = float("nan")
    bar = replace(
        GOOD, volume=nan, quote_volume=nan, trades=nan, taker_buy_base=nan, taker_buy_quote=nan
    )
    assert broken_rule(bar, HOURLY) is None


def test_a_bar_without_trades_may_enter():
    """Zero volume is sane when the price stood still."""
    price = GOOD.close
    still = replace(GOOD, open=price, high=price, low=price, volume=0.0, trades=0.0)
    assert broken_rule(still, HOURLY) is None


BROKEN = {
    "seconds": ({"open_time": GOOD.open_time // 1000}, "open_time"),
    "microseconds": ({"open_time": GOOD.open_time * 1000}, "open_time"),
    "no duration": ({"close_time": GOOD.open_time}, "close_time"),
    "NaN close": ({"close": float("nan")}, "close"),
    "zero low": ({"low": 0.0}, "low"),
    "negative open": ({"open": -1.0}, "open"),
    "infinite high": ({"high": float("inf")}, "high"),
    "high below close": ({"high": min(GOOD.open, GOOD.close) * 0.999}, "high"),
    "low above open": ({"low": max(GOOD.open, GOOD.close) * 1.0001, "high": 1e9}, "low"),
    "negative volume": ({"volume": -0.1}, "volume"),
    "infinite trades": ({"trades": float("inf")}, "trades"),
    "moved without volume": ({"volume": 0.0, "open": GOOD.close, "close": GOOD.open}, "volume"),
    "off the grid": ({"open_time": GOOD.open_time + 60_000}, "open_time"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_bar_that_breaks_a_rule_is_named_by_its_field(case):
    """Each kind of damage is found, and the rule says which field and what is demanded."""
    damage, field = BROKEN[case]
    rule = broken_rule(replace(GOOD, **damage), HOURLY)
    assert rule is not None
    assert rule.field == field
    assert rule.demand


odd_prices = st.sampled_from([0.0, -1.0, 5.0, float("nan"), float("inf"), 1e300])
odd_times = st.sampled_from([0, 5, GOOD.open_time, 10**12, 10**13])


@given(
    st.fixed_dictionaries(
        {},
        optional={name: odd_times if name.endswith("_time") else odd_prices for name in COLUMNS},
    )
)
def test_rules_say_the_same_of_a_bar_and_of_a_table(damage):
    """Each rule holds for a row of a table exactly where it holds for the bar."""
    both = [GOOD, replace(GOOD, **damage)]
    table = Bars.of(both)
    for rule in RULES:
        assert np.asarray(rule.holds(table)).tolist() == [bool(rule.holds(bar)) for bar in both]


def test_a_bar_is_a_fact():
    """Two bars of equal values are equal; none can be changed."""
    assert Bar(*(getattr(GOOD, name) for name in COLUMNS)) == GOOD
    with pytest.raises(AttributeError):
        GOOD.close = 1.0
