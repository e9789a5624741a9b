"""The scale-free sets: free of scale, finite on every market, and one answer however asked."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import Bars
from candled.core.features import feature_set
from candled.core.features.scalefree import MEANINGS, SCALEFREE, SCALEFREE_OHLCV
from candles import (
    HOURLY,
    bars_at,
    bars_from_closes,
    candles,
    closes,
    differing,
    real_candles,
)

WINDOW = SCALEFREE.window
COLUMNS = SCALEFREE.columns
OF_TRADES = COLUMNS[len(SCALEFREE_OHLCV.columns) :]
PRICES = ("open", "high", "low", "close")
AMOUNTS = ("volume", "quote_volume", "taker_buy_base", "taker_buy_quote")
MEANS = ("volume_6_to_72", "volume_24_to_72", "trade_size_6_to_72", "trades_6_to_72")
few = settings(max_examples=12, deadline=None)
fewer = settings(max_examples=5, deadline=None)


def silent(bars: Bars, first: int, count: int) -> Bars:
    """Let nobody trade in some bars: no volume, no trades, the price of the bar before."""
    columns = {field.name: getattr(bars, field.name).copy() for field in dataclasses.fields(bars)}
    still = slice(first, first + count)
    for name in (*AMOUNTS, "trades"):
        columns[name][still] = 0.0
    for name in PRICES:
        columns[name][still] = columns["close"][max(0, first - 1)]
    return Bars(**columns)


def scaled(bars: Bars, prices: float, volumes: float) -> Bars:
    """Multiply all prices, and all volumes; the number of trades stays."""
    new = {name: getattr(bars, name) * prices for name in PRICES}
    new |= {name: getattr(bars, name) * volumes for name in ("volume", "taker_buy_base")}
    quoted = {name: getattr(bars, name) * prices * volumes for name in AMOUNTS if "quote" in name}
    return dataclasses.replace(bars, **new, **quoted)


def flat(n: int, price: float, volume: float) -> Bars:
    """Return bars of one price and one volume."""
    bars = bars_from_closes(np.full(n, price))
    same = np.full(n, volume)
    return dataclasses.replace(
        bars, open=bars.close, high=bars.close, low=bars.close, volume=same,
        trades=np.full(n, np.sign(volume)), taker_buy_base=same / 2,
    )  # fmt: skip


HARD = {
    "seeded": candles(500, seed=3),
    "tiny prices": candles(400, seed=5, price=3e-8, decimals=12),
    "huge prices": candles(400, seed=6, price=4e9, decimals=1),
    "one price": flat(400, 0.9998, 7.0),
    "nobody ever trades": flat(400, 0.3, 0.0),
    "a step": bars_from_closes(np.repeat([101.37, 55.55], 200)),
    "two ticks": bars_from_closes(np.where(np.arange(400) % 2, 1.0001, 1.0002)),
    "silence within": silent(silent(candles(500, seed=8), 200, 1), 260, 200),
    "a crash": bars_from_closes(np.concatenate([closes(250, 1), closes(250, 1) * 1e-4])),
    "dust": scaled(candles(400, seed=9), 1.0, 1e-12),
    "few bars": bars_at(candles(900, seed=10), np.sort(np.arange(900)[::2])),
}


@st.composite
def markets(draw: st.DrawFn) -> Bars:
    """Draw some 100 bars with stretches of rest, silence and wild moves, and holes in time."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(WINDOW, WINDOW + 60))
    pace = np.repeat(random.choice([0.0, 1e-5, 0.004, 0.2], 30), 10)[:n]
    path = np.exp(np.cumsum(random.normal(0.0, 1.0, n) * pace))
    price = 10.0 ** draw(st.integers(-8, 8))
    bars = bars_from_closes(path * price, seed=draw(st.integers(0, 99)))
    for _ in range(draw(st.integers(0, 3))):
        bars = silent(bars, draw(st.integers(0, n - 1)), draw(st.integers(1, 100)))
    traded = np.where(bars.volume > 0, random.integers(1, 900, n), 0.0)
    slots = np.cumsum(random.integers(1, draw(st.integers(2, 300)), n))
    return dataclasses.replace(bars, trades=traded, open_time=bars.open_time[0] + slots * 3_600_000)


def pushed(features, bars: Bars, state=None, begin: int = 0):
    state = state or features.state(1, HOURLY)
    row = np.array([0])
    return np.concatenate([state.push(row, bars[at : at + 1]) for at in range(begin, len(bars))])


# --- what they are


def test_the_sets_are_known_by_name():
    """Both are built in, share their columns in order, and each column says what it means once."""
    assert feature_set("mar-scalefree") is SCALEFREE
    assert feature_set("mar-scalefree-ohlcv") is SCALEFREE_OHLCV
    assert COLUMNS[: len(SCALEFREE_OHLCV.columns)] == SCALEFREE_OHLCV.columns
    assert tuple(MEANINGS) == COLUMNS
    assert len(set(MEANINGS.values())) == len(COLUMNS) == 98
    assert len(OF_TRADES) == 10


@pytest.mark.parametrize("features", [SCALEFREE, SCALEFREE_OHLCV], ids=lambda f: f.name)
@pytest.mark.parametrize("name", HARD)
def test_complete_rows_are_finite_on_every_market(features, name):
    """Rest, silence, crashes, dust: from row 72 on every cell is finite, and no row before is."""
    table = features.table(HARD[name], HOURLY)
    assert np.isfinite(table[WINDOW - 1 :]).all()
    assert np.isnan(table[WINDOW - 2]).any()


def test_a_market_at_rest_says_nothing():
    """With one price every column is 0, but for means that equal each other where some trade."""
    for market, same in (("one price", 1.0), ("nobody ever trades", 0.0)):
        expected = np.where([name in MEANS for name in COLUMNS], same, 0.0)
        off = np.abs(SCALEFREE.table(HARD[market], HOURLY)[WINDOW - 1 :] - expected)
        assert off.max() < 1e-8, market


# --- free of scale


@few
@given(markets(), st.integers(-30, 30), st.integers(-30, 30))
def test_powers_of_two_change_no_bit(bars, price, volume):
    """Other units that binary numbers can express leave every cell as it is, to the bit."""
    other = scaled(bars, 2.0**price, 2.0**volume)
    assert differing(SCALEFREE.table(other, HOURLY), SCALEFREE.table(bars, HOURLY)) == 0


@few
@given(markets(), st.floats(1e-9, 1e9), st.floats(1e-9, 1e9))
def test_any_other_unit_changes_nothing_that_counts(bars, price, volume):
    """Multiplied by any number, prices and volumes give the same cells within 1e-8.

    An average of 36 prices rounds by some 1e-14 of the price and may be divided by the floor.
    """
    one = SCALEFREE.table(bars, HOURLY)[WINDOW - 1 :]
    other = SCALEFREE.table(scaled(bars, price, volume), HOURLY)[WINDOW - 1 :]
    off = np.abs(one - other) / np.maximum(1.0, np.abs(one))
    worst = np.unravel_index(np.argmax(off), off.shape)
    assert off[worst] <= 1e-8, COLUMNS[worst[1]]


# --- live, batch, restart, causality


@pytest.mark.parametrize("features", [SCALEFREE, SCALEFREE_OHLCV], ids=lambda f: f.name)
@fewer
@given(bars=markets(), size=st.integers(1, 90))
def test_live_rows_and_blocks_are_the_table(features, bars, size):
    """Bar by bar and in blocks of any size, every cell of the table comes out to the bit."""
    table = features.table(bars, HOURLY)
    assert differing(pushed(features, bars), table) == 0
    assert differing(np.concatenate(list(features.blocks(bars, HOURLY, size))), table) == 0


LONG = candles(SCALEFREE.history + 400, seed=12)
TABLE = SCALEFREE.table(LONG, HOURLY)


@fewer
@given(st.integers(0, 370))
def test_a_restart_changes_nothing(start):
    """Rows after a warm start of `history` bars are the batch rows, bit for bit."""
    split = start + SCALEFREE.history
    state = SCALEFREE.state(1, HOURLY)
    state.warm(0, LONG[start:split])
    rows = pushed(SCALEFREE, LONG[: split + 20], state, split)
    assert differing(rows, TABLE[split : split + 20]) == 0


@fewer
@given(st.data())
def test_any_grouping_of_streams_gives_the_batch_rows(data):
    """Streams with different pasts, pushed together in any groups and order, keep their bits."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    count = data.draw(st.sampled_from([2, 9, 160]))
    ends = random.integers(LONG.close.size - 390, LONG.close.size - 3, count)
    state = SCALEFREE.state(count, HOURLY)
    for row, end in enumerate(ends):
        state.warm(row, LONG[:end])
    for at in (ends, ends + 1, ends + 2):
        for group in filter(len, np.split(random.permutation(count), [count // 3])):
            rows = state.push(group, bars_at(LONG, at[group]))
            assert differing(rows, TABLE[at[group]]) == 0


@few
@given(st.integers(1, len(LONG)))
def test_later_bars_never_change_a_row(length):
    """The table of a truncated history is the beginning of the whole one."""
    assert differing(SCALEFREE.table(LONG[:length], HOURLY), TABLE[:length]) == 0


def test_only_what_the_venue_lacks_is_absent():
    """Without takers and trades their columns are NaN, live too, and all others keep their bits."""
    bars, nothing = LONG[:220], np.full(220, np.nan)
    bare = dataclasses.replace(bars, trades=nothing, taker_buy_base=nothing)
    table = SCALEFREE.table(bare, HOURLY)
    kept = len(SCALEFREE_OHLCV.columns)
    assert np.isnan(table[WINDOW - 1 :, kept:]).all()
    assert differing(table[:, :kept], TABLE[:220, :kept]) == 0
    assert differing(SCALEFREE_OHLCV.table(bare, HOURLY), TABLE[:220, :kept]) == 0
    assert differing(pushed(SCALEFREE, bare), table) == 0


# --- what the columns say


def row(bars: Bars) -> dict[str, float]:
    return dict(zip(COLUMNS, SCALEFREE.table(bars, HOURLY)[-1].tolist(), strict=True))


def test_a_known_rise():
    """On closes that rise by one each bar, columns are what arithmetic says."""
    found = row(bars_from_closes(np.arange(101.0, 301.0)))
    assert found["return_1_pct"] == pytest.approx(100.0 / 299.0)
    assert found["return_72_pct"] == pytest.approx(72.0 / 228.0 * 100.0)
    assert found["dist_ma5_sma_pct"] == pytest.approx(2.0 / 3.0)
    assert found["spread_sma_pct"] == pytest.approx(15.5 / 3.0)
    assert found["slope_ma36_wma_pct"] == pytest.approx(1.0 / 3.0)
    for name in ("order_sma", "order_ema", "straight_72", "above_wma", "rising_ema"):
        assert found[name] == pytest.approx(1.0, abs=1e-4), name
    assert found["down_share_24"] == 0.0


def test_a_known_candle():
    """Body, wicks and location are shares of the range; volume and takers are told apart."""
    bars = flat(200, 100.0, 10.0)
    last = {"open": 100.0, "high": 104.0, "low": 98.0, "close": 102.0, "volume": 40.0,
            "taker_buy_base": 30.0, "trades": 4.0}  # fmt: skip
    columns = {name: getattr(bars, name).copy() for name in last}
    for name, value in last.items():
        columns[name][-1] = value
    found = row(dataclasses.replace(bars, **columns))
    expected = {
        "body": 1 / 3, "wick_up": 1 / 3, "wick_down": 1 / 3, "location": 1 / 3,
        "body_pct": 200 / 102, "range_pct": 600 / 102, "gap_pct": 0.0, "place_24": 1 / 3,
        "atr_6_pct": 100 / 102, "volume_z_24": np.sqrt(23), "taker_imbalance_1": 0.5,
        "taker_imbalance_6": 20 / 90, "trade_size_z_24": 0.0, "trades_z_24": np.sqrt(23),
        "volume_6_to_72": 1.5 / (750 / 720), "pressure_6": 4 / 27,
    }  # fmt: skip
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-4), name


def test_real_candles_are_complete_and_restart_alike():
    """On real candles, silent bars and a hole included, rows are finite and restarts exact."""
    bars = real_candles()
    table = SCALEFREE.table(bars, HOURLY)
    assert np.isfinite(table[WINDOW - 1 :]).all()
    for start in range(0, len(bars) - SCALEFREE.history - 6, 9_000):
        split = start + SCALEFREE.history
        state = SCALEFREE.state(1, HOURLY)
        state.warm(0, bars[start:split])
        rows = pushed(SCALEFREE, bars[: split + 5], state, split)
        assert differing(rows, table[split : split + 5]) == 0
