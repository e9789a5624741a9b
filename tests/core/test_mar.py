"""The ribbon kernel: its columns, its values, and one answer however it is asked."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from candled.core.bar import Bars
from candled.core.features import feature_set
from candled.core.features.mar import COLUMNS, MAR
from candles import HOURLY, bars_at, bars_from_closes, candles, closes, differing, real_candles

DIGEST = "e7047f2fae578e94ecc9ed8fd76709c7d1d79785cda59b62c05c288c6742720e"
BARS = candles(2_600, seed=3)
TABLE = MAR.table(BARS, HOURLY)
FIXED = [at for at, name in enumerate(COLUMNS) if not name.endswith("_ema")]
HARD = {
    "tiny prices": candles(400, seed=5, price=3e-8, decimals=12),
    "huge prices": candles(400, seed=6, price=4e6, decimals=1),
    "one price": bars_from_closes(np.full(400, 0.9998)),
    "a step": bars_from_closes(np.repeat([101.37, 55.55], 200)),
    "two ticks": bars_from_closes(np.where(np.arange(400) % 2, 1.0001, 1.0002)),
}
few = settings(max_examples=15, deadline=None)


def _against_pandas(bars: Bars) -> int:
    """Assert the stated bounds for every complete row; return how many toss-ups fell otherwise."""
    close = pd.Series(bars.close)
    expected = reference.features(close)
    may = {
        name: np.asarray(cells)[40:] for name, cells in reference.toss_ups(expected, close).items()
    }
    assert tuple(expected.columns) == COLUMNS
    table, price = MAR.table(bars, HOURLY)[40:], bars.close[40:]
    fallen = 0
    for at, name in enumerate(COLUMNS):
        off = np.abs(table[:, at] - expected[name].to_numpy(np.float64)[40:])
        if name in may:
            assert (off <= may[name]).all(), name
            fallen += int(np.count_nonzero(off))
        elif name in ("spread_pct", "ma_range_pct"):
            assert off.max() <= 1e-10, name
        else:
            assert (off <= 1e-12 * price).all(), name
    return fallen


def test_the_columns_are_the_contract():
    """There are 220 columns, grouped as the notebook groups them, each name once."""
    slopes = [name for name in COLUMNS if "slope" in name]
    spreads = [name for name in COLUMNS if name.startswith("spread")]
    assert len(slopes) == 99
    assert len(spreads) == 4
    assert sum(name.startswith("ma") for name in COLUMNS) == 103
    assert len(set(COLUMNS)) == len(COLUMNS) == 220
    assert COLUMNS[0] == "ma5_sma"
    assert COLUMNS[96:106] == (
        "spread_sma", "spread_ema", "spread_wma", "spread_pct",
        "ma_std_sma", "ma_range_sma", "ma_std_ema", "ma_range_ema", "ma_std_wma", "ma_range_wma",
    )  # fmt: skip
    assert COLUMNS[-3:] == ("price_position", "cross_above", "cross_below")


def test_the_table_is_that_of_plain_pandas():
    """On seeded candles every cell of a complete row is within the stated bounds of pandas."""
    assert _against_pandas(BARS) == 0


@pytest.mark.parametrize("name", ["tiny prices", "huge prices"])
def test_the_bounds_hold_at_any_price(name):
    """The bounds are relative to the price: a coin at 3e-8 and one at 4e6 satisfy them too."""
    assert _against_pandas(HARD[name]) <= 5


@pytest.mark.parametrize("name", ["one price", "a step", "two ticks"])
def test_only_toss_ups_may_differ_where_prices_repeat(name):
    """With repeated prices, counts and flags differ from pandas only where rounding decides."""
    _against_pandas(HARD[name])


def test_all_real_candles_agree_with_plain_pandas():
    """Over 37,883 real rows no cell is out of bounds, and at most 40 toss-ups fall otherwise."""
    assert _against_pandas(real_candles()) <= 40


def test_the_first_complete_row_is_41st():
    """Row 39 still lacks a value, row 40 and all that follow are finite."""
    assert not np.isfinite(TABLE[39]).all()
    assert np.isfinite(TABLE[40:]).all()
    assert MAR.window == 41


@pytest.mark.parametrize("name", ["seeded", *HARD])
def test_live_rows_from_the_first_bar_are_the_batch_rows(name):
    """Pushing bar after bar from an empty state gives every row of the table, bit for bit."""
    bars = {"seeded": BARS[:1_000], **HARD}[name]
    state = MAR.state(1, HOURLY)
    rows = [state.push(np.array([0]), bars[at : at + 1]) for at in range(len(bars))]
    assert differing(np.concatenate(rows), MAR.table(bars, HOURLY)) == 0


@few
@given(st.one_of(st.integers(1, 7), st.integers(1, 300)), st.integers(1, 300))
def test_blocks_of_any_size_give_the_same_table(size, length):
    """How the table is cut into blocks changes no bit."""
    bars = BARS[:length]
    blocks = list(MAR.blocks(bars, HOURLY, size))
    assert all(len(block) <= size for block in blocks)
    assert differing(np.concatenate(blocks), MAR.table(bars, HOURLY)) == 0


@few
@given(st.integers(1, len(BARS)))
def test_later_bars_never_change_a_row(length):
    """The table of a truncated history is the beginning of the whole one."""
    assert differing(MAR.table(BARS[:length], HOURLY), TABLE[:length]) == 0


@pytest.mark.parametrize("count", [1, 2, 7, 100])
@few
@given(data=st.data())
def test_any_grouping_of_streams_gives_the_batch_rows(count, data):
    """Streams with different pasts, pushed together in any groups and order, keep their bits."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    ends = random.integers(50, len(BARS) - 3, count)
    state = MAR.state(count, HOURLY)
    for row, end in enumerate(ends):
        state.warm(row, BARS[:end])
    for at in (ends, ends + 1, ends + 2):
        order = random.permutation(count)
        cuts = np.sort(random.integers(0, count + 1, data.draw(st.integers(0, 3))))
        for group in filter(len, np.split(order, cuts)):
            rows = state.push(group, bars_at(BARS, at[group]))
            assert differing(rows, TABLE[at[group]]) == 0


@few
@given(st.integers(0, len(BARS) - MAR.history - 20))
def test_a_restart_changes_nothing(start):
    """Rows after a warm start of `history` bars are the batch rows, bit for bit."""
    split = start + MAR.history
    state = MAR.state(3, HOURLY)
    state.warm(1, BARS[start:split])
    for at in range(split, split + 20):
        row = state.push(np.array([1]), BARS[at : at + 1])
        assert differing(row, TABLE[at : at + 1]) == 0


def test_no_cold_start_differs_after_the_history():
    """Of 400 cold starts none differs from the batch in a single bit from `history` bars on."""
    starts = np.linspace(1, len(BARS) - MAR.history - 30, 400).astype(int)
    lanes = np.arange(len(starts))
    state, last_wrong = MAR.state(len(lanes), HOURLY), np.zeros(len(lanes), dtype=int)
    for age in range(MAR.history + 30):
        rows = state.push(lanes, bars_at(BARS, starts + age))
        wrong = (rows != TABLE[starts + age]) & ~(np.isnan(rows) & np.isnan(TABLE[starts + age]))
        last_wrong[wrong.any(axis=1)] = age
    assert last_wrong.min() > 200  # so the test can see a memory
    assert last_wrong.max() < MAR.history - 1


def test_a_restart_in_a_market_that_stands_still_changes_nothing():
    """After `history` bars of one price, a row does not depend on what was before them."""
    path = np.concatenate([closes(300, seed=4), np.full(MAR.history + 1, 30_123.45)])
    bars = bars_from_closes(path)
    assert differing(MAR.table(bars[300:], HOURLY)[-1], MAR.table(bars, HOURLY)[-1]) == 0


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_real_candles_are_the_same_from_everywhere(symbol):
    """Real averages are pandas' to the bit, and restarts all along change no bit of a row."""
    bars = real_candles(symbol)
    table = MAR.table(bars, HOURLY)
    for period in (5, 20, 36):
        plain = pd.Series(bars.close).ewm(span=period, adjust=False).mean().to_numpy()
        assert differing(table[:, COLUMNS.index(f"ma{period}_ema")], plain) == 0
    for start in range(0, len(bars) - MAR.history - 12, 1_000):
        split = start + MAR.history
        state = MAR.state(1, HOURLY)
        state.warm(0, bars[start:split])
        rows = [state.push(np.array([0]), bars[at : at + 1]) for at in range(split, split + 12)]
        assert differing(np.concatenate(rows), table[split : split + 12]) == 0


@few
@given(st.integers(0, len(BARS) - 60))
def test_simple_and_weighted_columns_need_41_bars_only(start):
    """All but the exponential columns are a function of the newest 41 closes and nothing else."""
    short = MAR.table(BARS[start : start + 60], HOURLY)
    assert differing(short[40:, FIXED], TABLE[start + 40 : start + 60, FIXED]) == 0


def test_warming_again_forgets_the_old_stream():
    """A row that is warmed anew, even with nothing, holds no trace of what it was."""
    state = MAR.state(1, HOURLY)
    state.warm(0, BARS[500:1300])
    state.warm(0, BARS[:0])
    row = np.array([0])
    pushed = [state.push(row, BARS[at : at + 1]) for at in range(60)]
    assert differing(np.concatenate(pushed), TABLE[:60]) == 0


def test_an_unknown_set_is_refused_by_name():
    """Asking for a set that does not exist names those that do."""
    assert feature_set("mar") is MAR
    with pytest.raises(
        ValueError, match=r"'mars'.*known are mar, mar-scalefree, mar-scalefree-ohlcv"
    ):
        feature_set("mars")


def test_ribbon_of_a_known_ramp():
    """On closes 1, 2, 3, ... the averages, slopes and counts are what arithmetic says."""
    row = dict(
        zip(COLUMNS, MAR.table(bars_from_closes(np.arange(1.0, 61.0)), HOURLY)[59], strict=True)
    )
    assert row["ma5_sma"] == 58.0  # (56 + ... + 60) / 5
    assert row["ma36_sma"] == 42.5  # (25 + ... + 60) / 36
    assert row["ma5_wma"] == pytest.approx(880 / 15)  # (56 + 2*57 + 3*58 + 4*59 + 5*60) / 15
    assert row["slope_ma36_sma"] == row["slope_ma5_wma"] == pytest.approx(1.0)
    assert row["bullish_count_ema"] == 32
    assert row["bearish_count_sma"] == 0
    assert row["price_position"] == 1.0
    assert row["ma_std_sma"] == pytest.approx(np.std(np.arange(5, 37) / 2, ddof=1))


def test_equal_is_neither_above_nor_below():
    """On one price nothing rises, falls, lies below or crosses; the first move away crosses."""
    for last, side in ((65.0, "cross_above"), (63.0, "cross_below")):
        path = np.concatenate([np.full(60, 64.0), [last]])  # averages of 64 are exact
        still, moved = (
            dict(zip(COLUMNS, row, strict=True))
            for row in MAR.table(bars_from_closes(path), HOURLY)[59:]
        )
        names = [f"{way}_count_{t}" for way in ("bullish", "bearish") for t in ("sma", "wma")]
        names += ["price_position", "expansion", "cross_above", "cross_below"]
        assert [still[name] for name in names] == [0.0] * len(names)
        assert (still["compression"], still["ma_std_sma"]) == (1.0, 0.0)
        assert moved["cross_above"] + moved["cross_below"] == moved[side] == 1.0


def test_the_bits_themselves_are_a_contract():
    """The table of 300 known closes has this digest: any other order of sums shows here."""
    steps = np.cumsum([(at * at * 7919 + at * 104_729) % 2_001 - 1_000 for at in range(300)])
    table = MAR.table(bars_from_closes((4_000_000 + steps) / 100.0), HOURLY)[40:]
    assert hashlib.sha256(table.astype("<f8").tobytes()).hexdigest() == DIGEST


def test_crossings_are_flagged_on_the_bar_that_crosses():
    """A jump out of a flat market flags `cross_above` once, a fall back `cross_below` once."""
    path = np.concatenate([closes(60, seed=9, price=100.0), [150.0, 151.0], [40.0, 39.0]])
    table = MAR.table(bars_from_closes(path), HOURLY)[60:]
    assert table[:, COLUMNS.index("cross_above")].tolist() == [1, 0, 0, 0]
    assert table[:, COLUMNS.index("cross_below")].tolist() == [0, 0, 1, 0]
