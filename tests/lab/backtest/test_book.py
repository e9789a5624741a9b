"""The book trades as one would by hand, and never better than one could."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naive_backtest
from candled.core.bar import COLUMNS, HOUR, Interval
from candled.lab.backtest import Costs, Exits, Sizing, run, statistics
from candled.lab.backtest.book import Backtest
from candled.lab.backtest.tape import FOR_EVER, always_long
from candled.lab.backtest.ways import ENDINGS
from candles import bars_of, candles
from tapes import BTC, ETH, SOL, tape

FREE = Costs(0.0)
percents = st.floats(0.1, 4.0)
exit_sets = st.one_of(
    st.builds(
        Exits,
        st.integers(1, 30),
        st.none() | percents,
        st.none() | percents,
        st.sampled_from(["never", "opposite", "other"]),
        st.sampled_from(["both", "long", "short"]),
        st.none() | st.floats(0.01, 1.0),
    ),
    st.builds(
        Exits,
        leave=st.sampled_from(["never", "opposite", "other"]),
        limit_pct=st.none() | st.floats(0.01, 1.0),
    ),
)
cost_sets = st.builds(Costs, st.floats(0, 0.3), st.floats(0, 0.2), st.floats(-0.05, 0.05))


def _rows(test: Backtest, spoken) -> np.ndarray:
    return np.searchsorted(spoken.bars.open_time, test.trades.signal_open)


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(1, 120),
    seed=st.integers(0, 1_000_000),
    exits=exit_sets,
    costs=cost_sets,
    fraction=st.floats(0.1, 3.0),
)
def test_one_stream_is_traded_as_by_hand(count, seed, exits, costs, fraction):
    """Every trade and the equity of every bar equal a simulation that walks bar by bar."""
    spoken = tape(count, seed)
    found = run([spoken], exits, costs, Sizing(fraction))
    done, equity = naive_backtest.trade(spoken, exits, costs, fraction)
    trades = found.trades
    assert _rows(found, spoken).tolist() == [one.signal_row for one in done]
    assert trades.side.tolist() == [one.side for one in done]
    assert trades.entry.tolist() == [one.entry for one in done]
    assert trades.exit.tolist() == [one.exit for one in done]
    assert [ENDINGS[kind] for kind in trades.ending] == [one.ending for one in done]
    assert trades.exit_time.tolist() == [one.exit_time for one in done]
    np.testing.assert_allclose(trades.net_pct, [one.net_pct for one in done], atol=1e-9)
    np.testing.assert_allclose(trades.value, [one.value for one in done], rtol=1e-9)
    np.testing.assert_allclose(found.curve.equity, equity, rtol=1e-9, atol=1e-12)


def test_the_cases_hold_every_ending():
    """What the comparison by hand compares ends in every way there is."""
    seen = set()
    for seed in range(12):
        exits = Exits(9, 2.0, 1.5, "opposite")
        seen |= set(run([tape(120, seed, share=0.1)], exits).trades.ending.tolist())
    assert {ENDINGS[kind] for kind in seen} == set(ENDINGS)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(2, 120),
    seed=st.integers(0, 1_000_000),
    exits=exit_sets,
    costs=cost_sets,
    sizing=st.builds(Sizing, st.floats(0.1, 1.0), st.none() | st.integers(1, 3)),
)
def test_what_must_hold_of_any_trades(count, seed, exits, costs, sizing):
    """Fills lie in their bars, positions do not overlap, and the purse is the sum of the trades."""
    spoken = [tape(count, seed + at, stream=stream) for at, stream in enumerate((ETH, BTC, SOL))]
    found = run(spoken, exits, costs, sizing)
    trades = found.trades
    for one in spoken:
        mine = np.array([stream == one.stream for stream in trades.stream], dtype=bool)
        row = np.searchsorted(one.bars.open_time, trades.signal_open[mine])
        last = row + trades.bars[mine] + (trades.ending[mine] == ENDINGS.index("signal"))
        for at, price in ((row + 1, trades.entry[mine]), (last, trades.exit[mine])):
            assert (price <= one.bars.high[at] * (1 + 1e-15)).all()
            assert (price >= one.bars.low[at] * (1 - 1e-15)).all()
        if exits.limit_pct is None:
            assert (trades.entry[mine] == one.bars.open[row + 1]).all()
        assert (one.bars.open_time[row + 1] <= one.act_by[row]).all()
        assert (trades.entry_time[mine] == one.bars.open_time[row + 1]).all()
        assert (trades.exit_time[mine][:-1] <= trades.entry_time[mine][1:]).all()
        assert (trades.id[mine] == one.ids[row]).all()
    assert (np.diff(trades.entry_time) >= 0).all()
    most = sizing.max_positions or len(spoken)
    for time in trades.entry_time:
        held = (trades.entry_time <= time) & (trades.exit_time > time)
        assert np.count_nonzero(held) <= most
    over = [trades.profit[trades.exit_time <= time].sum() for time in trades.entry_time]
    np.testing.assert_allclose(trades.value, sizing.fraction * (1 + np.array(over)), rtol=1e-9)
    assert found.curve.equity[-1] == pytest.approx(1 + trades.profit.sum(), rel=1e-12)
    np.testing.assert_allclose(
        trades.net_pct, trades.gross_pct - trades.cost_pct - trades.funding_pct
    )


def test_one_stream_compounds():
    """Alone, the purse is the product of what each trade leaves of its part."""
    for fraction in (0.3, 1.0, 2.0):
        found = run([tape(400, 5)], Exits(12, 1.5, 1.0), Costs(0.05), Sizing(fraction))
        product = np.prod(1 + fraction * found.trades.net_pct / 100)
        assert len(found.trades) > 20
        assert found.curve.equity[-1] == pytest.approx(product, rel=1e-12)


def test_the_order_of_the_tapes_does_not_matter():
    """Streams given in another order make the same backtest, ties among entries included."""
    spoken = [tape(200, 7, stream=stream) for stream in (BTC, ETH, SOL)]
    one = run(spoken, Exits(8, 2.0, 1.0), sizing=Sizing(0.5, 1))
    other = run(spoken[::-1], Exits(8, 2.0, 1.0), sizing=Sizing(0.5, 1))
    assert one.trades.stream == other.trades.stream
    assert set(one.trades.stream) == {BTC}  # equal entries: the first name has it
    for field in dataclasses.fields(one.trades):
        if field.name != "stream":
            np.testing.assert_array_equal(
                getattr(one.trades, field.name), getattr(other.trades, field.name)
            )
    np.testing.assert_array_equal(one.curve.equity, other.curve.equity)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000_000), exits=exit_sets, fee=st.floats(0.001, 0.3))
def test_costs_only_cost(seed, exits, fee):
    """Twice the fee, or a slippage, never leaves more, at any bar; the trades are the same."""
    spoken = tape(100, seed)
    cheap, dear = run([spoken], exits, Costs(fee)), run([spoken], exits, Costs(2 * fee))
    slipping = run([spoken], exits, Costs(fee, fee))
    assert (dear.curve.equity <= cheap.curve.equity + 1e-12).all()
    if len(cheap.trades):
        assert dear.curve.equity[-1] < cheap.curve.equity[-1]
    np.testing.assert_array_equal(dear.curve.equity, slipping.curve.equity)


def test_no_signal_is_no_trade():
    """Silence leaves the purse as it is, and what cannot be said is None."""
    silent = dataclasses.replace(tape(50, 1), side=np.zeros(50, dtype=np.int8))
    found = run([silent], Exits(5, 1.0, 1.0))
    assert (found.curve.equity == 1.0).all()
    figures = statistics(found)
    assert (figures.trades, figures.costs, figures.exposure, figures.max_drawdown) == (0, 0, 0, 0)
    assert figures.net_pct is figures.sharpe is figures.profit_factor is figures.cost_share is None
    assert figures.cagr == 0.0


def test_buy_and_hold_is_the_ratio_of_prices_less_costs():
    """In at the second bar's open, out at the last close, each side paid for."""
    bars = candles(300, seed=2)
    spoken = always_long(dataclasses.replace(tape(300, 2), bars=bars))
    found = run([spoken], Exits(), Costs(0.1))
    ratio = bars.close[-1] / bars.open[1]
    assert len(found.trades) == 1
    assert found.curve.equity[-1] == pytest.approx(ratio - 0.001 * (1 + ratio))
    between = run([spoken], Exits(), FREE).curve.equity[1:]
    np.testing.assert_allclose(between, bars.close[1:] / bars.open[1])


def _foresight(bars) -> np.ndarray:
    """Say at each close what the bar after the next open will do."""
    rises = bars.close[1:] > bars.open[1:]
    return np.append(np.where(rises, 1, 2), 0).astype(np.int8)


def test_foresight_pays_and_late_foresight_does_not():
    """Signals that know the next bar win every trade; the same a bar later win nothing sure."""
    bars = candles(600, seed=3)
    base = tape(600, 3)
    knowing = dataclasses.replace(
        base, bars=bars, side=_foresight(bars), act_by=np.full(600, FOR_EVER)
    )
    late = dataclasses.replace(knowing, side=np.append(0, knowing.side[:-1]).astype(np.int8))
    early, tardy = (statistics(run([one], Exits(1), FREE)) for one in (knowing, late))
    moved = np.mean(bars.close[1:] != bars.open[1:])
    assert early.hit_rate == pytest.approx(moved)
    assert early.total_return > 5
    assert tardy.hit_rate is not None
    assert 0.35 < tardy.hit_rate < 0.65
    assert tardy.total_return < early.total_return / 5


def test_shuffled_signals_or_reversed_time_are_another_backtest():
    """The order of signals and of bars matters."""
    spoken = tape(300, 4)
    base = run([spoken], Exits(6, 1.0, 1.0)).curve.equity[-1]
    shuffled = np.random.default_rng(0).permutation(spoken.side)
    backwards = bars_of(
        {name: getattr(spoken.bars, name)[::-1] for name in COLUMNS}
        | {name: getattr(spoken.bars, name) for name in ("open_time", "close_time")}
    )
    for other in (
        dataclasses.replace(spoken, side=shuffled),
        dataclasses.replace(spoken, bars=backwards),
    ):
        assert run([other], Exits(6, 1.0, 1.0)).curve.equity[-1] != base


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000_000), cut=st.integers(2, 98), exits=exit_sets)
def test_nothing_is_known_early(seed, cut, exits):
    """What is over before a bar is the same whatever that bar and all later ones hold."""
    spoken = tape(100, seed)
    other = tape(100, seed + 7)
    level = spoken.bars.close[cut - 1] / other.bars.close[cut - 1]
    columns = {}
    for name in COLUMNS:
        tail = getattr(other.bars, name)[cut:]
        times = name in ("open_time", "close_time")
        tail = getattr(spoken.bars, name)[cut:] if times else tail * level
        columns[name] = np.concatenate([getattr(spoken.bars, name)[:cut], tail])
    changed = dataclasses.replace(
        spoken,
        bars=bars_of(columns),
        side=np.append(spoken.side[:cut], other.side[cut:]),
    )
    one, two = run([spoken], exits), run([changed], exits)
    known = int(spoken.ends[cut - 1])
    early, also = (
        test.trades.exit_time - (test.trades.ending != ENDINGS.index("signal")) < known
        for test in (one, two)
    )
    for name in ("signal_open", "entry", "exit", "ending", "net_pct", "value"):
        np.testing.assert_array_equal(
            getattr(one.trades, name)[early], getattr(two.trades, name)[also]
        )
    np.testing.assert_allclose(one.curve.equity[:cut], two.curve.equity[:cut], rtol=1e-12)


def test_a_signal_after_a_gap_is_too_late():
    """The next bar there is comes after the signal's time: nothing is entered."""
    spoken = dataclasses.replace(
        tape(4, 1),
        bars=dataclasses.replace(
            candles(4, seed=1),
            open_time=candles(4, seed=1).open_time + HOUR * np.array([0, 0, 5, 5]),
        ),
        side=np.array([0, 1, 0, 0], dtype=np.int8),
    )
    opens = spoken.bars.open_time
    for hours, entered in ((1, 0), (5, 0), (6, 1), (7, 1)):
        late = dataclasses.replace(spoken, act_by=opens + HOUR * hours)
        assert len(run([late], Exits(1)).trades) == entered


def test_funding_is_paid_by_longs_to_shorts():
    """Held from 23:00 over two stamps: a long pays twice, a short receives as much."""
    bars = candles(30, seed=1)
    day = bars.open_time[0] // (24 * HOUR) * 24 * HOUR
    bars = dataclasses.replace(bars, open_time=day + HOUR * (22 + np.arange(30)))
    for side, sign in ((1, 1), (2, -1)):
        said = np.zeros(30, dtype=np.int8)
        said[0] = side
        spoken = dataclasses.replace(
            tape(30, 1), bars=bars, side=said, act_by=np.full(30, FOR_EVER)
        )
        for bars_held, stamps in ((1, 0), (2, 1), (9, 1), (10, 2)):
            trades = run([spoken], Exits(bars_held), Costs(0.0, 0.0, 0.01)).trades
            assert trades.funding_pct.tolist() == [sign * 0.01 * stamps]


def test_a_lost_purse_trades_no_more():
    """A short without a stop can lose everything; nothing is entered afterwards."""
    bars = candles(40, seed=1)
    level = np.where(np.arange(40) > 5, 3.0, 1.0)
    moved = {name: getattr(bars, name) * level for name in ("open", "high", "low", "close")}
    spoken = dataclasses.replace(
        tape(40, 1),
        bars=dataclasses.replace(bars, **moved),
        side=np.full(40, 2, dtype=np.int8),
        act_by=np.full(40, FOR_EVER),
    )
    found = run([spoken], Exits(8))
    assert len(found.trades) == 1
    figures = statistics(found)
    assert figures.total_return < -1
    assert figures.cagr is figures.sharpe is figures.calmar is None


def test_bars_of_different_lengths_trade_together():
    """Hours and days share a purse; the figures are by the shorter bars."""
    days = dataclasses.replace(BTC, interval="1d")
    bars = candles(40, seed=8)
    start = bars.open_time[0] // (24 * HOUR) * 24 * HOUR
    daily = dataclasses.replace(bars, open_time=start + 24 * HOUR * np.arange(40))
    slow = dataclasses.replace(tape(40, 8), stream=days, bars=daily, act_by=np.full(40, FOR_EVER))
    quick = tape(300, 9)
    found = run([slow, quick], Exits(3), sizing=Sizing(0.5))
    assert found.interval == Interval("1h")
    assert {stream.interval for stream in found.trades.stream} == {"1h", "1d"}
    assert found.curve.equity[-1] == pytest.approx(1 + found.trades.profit.sum())


def test_doubles_and_nothing_are_refused():
    """Two tapes of one stream, or no bars, are an error that says so."""
    with pytest.raises(ValueError, match="binance/BTCUSDT/1h is given twice"):
        run([tape(5, 1), tape(5, 2)], Exits())
    with pytest.raises(ValueError, match="no bars to trade"):
        run([tape(5, 1)[:0]], Exits())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Exits(target_pct=1.0), "needs a time limit"),
        (lambda: Exits(stop_pct=1.0), "needs a time limit"),
        (lambda: Exits(0), "max_bars must be 1 or more"),
        (lambda: Exits(3, -1.0), "target_pct must be a number above 0"),
        (lambda: Exits(3, stop_pct=float("nan")), "stop_pct must be a number above 0"),
        (lambda: Exits(limit_pct=0.0), "limit_pct must be a number above 0"),
        (lambda: Costs(-0.1), "fee_pct must be 0 or more"),
        (lambda: Costs(0.1, float("inf")), "slippage_pct must be 0 or more"),
        (lambda: Costs(funding_pct=float("nan")), "funding_pct must be a number"),
        (lambda: Sizing(0.0), "fraction must be above 0"),
        (lambda: Sizing(1.0, 0), "max_positions must be 1 or more"),
    ],
)
def test_rules_that_mean_nothing_are_refused(make, message):
    """Each message names the setting."""
    with pytest.raises(ValueError, match=message):
        make()
