"""What is said about a backtest: figures, comparisons, sweeps, frames and what a page draws."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.lab.backtest import (
    Costs,
    Exits,
    Sizing,
    comparison,
    curve_frame,
    drawdown_lines,
    equity_lines,
    gated,
    heat,
    regime_columns,
    run,
    statistics,
    statistics_frame,
    sweep,
    tape_of_answers,
    told,
    trades_frame,
)
from candled.lab.backtest.statistics import YEAR_MS, mean_interval
from candles import real_candles
from tapes import BTC, ETH, tape

EXITS = Exits(12, 1.5, 1.0)


# --- figures


def test_the_figures_are_those_of_pandas():
    """Drawdown, ratios, growth and trade figures equal what pandas makes of the two frames."""
    test = run([tape(900, 11)], EXITS, Costs(0.02))
    figures, curve, trades = statistics(test), curve_frame(test), trades_frame(test)
    equity = pd.concat([pd.Series([1.0]), curve["equity"]], ignore_index=True)
    returns = equity.pct_change().dropna()
    a_year = 365 * 24
    assert figures.volatility == pytest.approx(returns.std() * a_year**0.5)
    assert figures.sharpe == pytest.approx(returns.mean() / returns.std() * a_year**0.5)
    downside = (returns.clip(upper=0) ** 2).mean() ** 0.5
    assert figures.sortino == pytest.approx(returns.mean() / downside * a_year**0.5)
    fall = 1 - equity / equity.cummax()
    assert figures.max_drawdown == pytest.approx(fall.max())
    assert figures.cagr is not None
    assert (1 + figures.cagr) ** figures.years == pytest.approx(equity.iloc[-1])
    assert figures.calmar == pytest.approx(figures.cagr / fall.max())
    assert figures.total_return == pytest.approx(equity.iloc[-1] - 1)
    assert figures.exposure == pytest.approx((curve["invested"] > 0).mean())
    assert figures.hit_rate == pytest.approx((trades["net_pct"] > 0).mean())
    assert figures.net_pct == pytest.approx(trades["net_pct"].mean())
    won, lost = trades["profit"].clip(lower=0).sum(), trades["profit"].clip(upper=0).sum()
    assert figures.profit_factor == pytest.approx(won / -lost)
    paid = (trades["value"] * (trades["cost_pct"] + trades["funding_pct"]) / 100).sum()
    assert figures.costs == pytest.approx(paid)
    assert figures.trades == len(trades) > 50
    by_regime = trades.groupby("regime")["net_pct"].agg(["size", "mean"])
    assert set(by_regime.index) == {"Ranging", "Trending Up", "Trending Down", "unknown"}
    for name, row in by_regime.iterrows():
        assert figures.regimes[name].trades == row["size"]
        assert figures.regimes[name].net_pct == pytest.approx(row["mean"])
    assert sum(split.profit for split in figures.sides.values()) == pytest.approx(
        test.curve.equity[-1] - 1
    )
    assert figures.endings == {
        name: int((trades["ending"] == name).sum()) for name in figures.endings
    }


def test_the_longest_drawdown_is_measured_in_time():
    """From the last highest equity to the next one, or to the end."""
    test = run([tape(20, 1)], EXITS)
    hours = 3_600_000
    for equity, longest in (
        ([1.1, 1.0, 1.05, 1.2, 1.1], 3),
        ([0.9, 0.95, 1.0, 1.1, 1.2], 3),
        ([1.1, 1.2, 1.1, 1.1, 1.1], 3),
        ([1.0, 1.1, 1.2, 1.3, 1.4], 0),
    ):
        curve = dataclasses.replace(
            test.curve,
            time=test.start + hours * np.arange(1, 6),
            equity=np.array(equity),
            invested=np.zeros(5),
        )
        found = statistics(dataclasses.replace(test, curve=curve))
        assert found.drawdown_days * 24 == pytest.approx(longest)


def test_the_interval_of_a_mean_covers_it():
    """Over many samples with neighbours alike, about 95 % of the intervals hold the true mean."""
    random = np.random.default_rng(5)
    held = 0
    for _ in range(120):
        noise = random.normal(size=402)
        values = (noise[:-2] + noise[1:-1] + noise[2:]) / 3 + 0.5
        low, high = mean_interval(values)
        held += low <= 0.5 <= high
    assert 0.86 < held / 120 <= 1.0
    assert mean_interval(values) == mean_interval(values.copy())
    assert mean_interval(values[:9]) is None
    assert mean_interval(np.full(50, 2.0)) == pytest.approx((2.0, 2.0))


def test_a_growth_beyond_numbers_is_not_said():
    """A fortune within hours has no yearly growth that a number holds."""
    test = run([tape(5, 1)], Exits())
    curve = dataclasses.replace(test.curve, equity=np.full(5, 1e9))
    found = statistics(dataclasses.replace(test, curve=curve))
    assert found.cagr is None
    assert math.isfinite(found.total_return)


# --- side by side


def test_the_comparison_trades_all_ways_alike():
    """Five ways on the same bars; the gate is a subset, the regime follows the regime."""
    spoken = [tape(400, 3), tape(400, 4, stream=ETH)]
    tests = comparison(spoken, EXITS, Costs(0.05), Sizing(0.5))
    assert list(tests) == [
        "model",
        "model + regime gate",
        "regime",
        "regime, long only",
        "buy and hold",
    ]
    assert len({tuple(test.curve.time.tolist()) for test in tests.values()}) == 1
    assert len({test.start for test in tests.values()}) == 1
    gate = trades_frame(tests["model + regime gate"])
    assert set(zip(gate["side"], gate["regime"], strict=True)) <= {
        ("long", "Trending Up"),
        ("short", "Trending Down"),
    }
    long_only = trades_frame(tests["regime, long only"])
    assert set(long_only["side"]) == {"long"}
    assert set(long_only["ending"]) <= {"signal", "end"}
    assert len(tests["buy and hold"].trades) == 2
    assert tests["buy and hold"].trades.value.tolist() == [0.5, 0.5]


def test_following_the_regime_is_in_where_it_trends():
    """One stream: the position of each bar is that of the regime at the close before it."""
    spoken = tape(300, 6)
    curve = comparison([spoken], EXITS, Costs(0.0))["regime"].curve
    trending = np.isin(spoken.regime, (1, 2))
    assert (curve.invested[1:] > 0).tolist() == trending[:-1].tolist()


# --- sweeps


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 150),
    seed=st.integers(0, 1_000_000),
    exits=st.builds(
        Exits,
        st.integers(1, 20),
        st.none() | st.floats(0.3, 3.0),
        st.none() | st.floats(0.3, 3.0),
        st.sampled_from(["never", "opposite", "other"]),
        st.sampled_from(["both", "long", "short"]),
    ),
    thresholds=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=3),
    costs=st.lists(
        st.builds(Costs, st.floats(0, 0.5), st.floats(0, 0.2), st.floats(-0.1, 0.1)),
        min_size=1,
        max_size=3,
    ),
    fraction=st.floats(0.1, 30.0),
    gate=st.booleans(),
)
def test_a_cell_of_a_sweep_is_the_plain_backtest(
    *, count, seed, exits, thresholds, costs, fraction, gate
):
    """One stream, one position: trades, mean, hit rate and purse equal those of `run`."""
    spoken, sizing = tape(count, seed), Sizing(fraction)
    grid = sweep(spoken, exits, thresholds, costs, sizing, regime_gate=gate)
    assert grid.tried == len(thresholds) * len(costs)
    for row, threshold in enumerate(thresholds):
        again = told(spoken, threshold)
        again = gated(again) if gate else again
        for column, cost in enumerate(costs):
            test = run([again], exits, cost, sizing)
            figures = statistics(test)
            cell = row, column
            assert grid.trades[cell] == figures.trades
            assert grid.final_equity[cell] == pytest.approx(
                test.curve.equity[-1], rel=1e-9, abs=1e-9
            )
            if figures.trades:
                assert grid.net_pct[cell] == pytest.approx(figures.net_pct, abs=1e-9)
                assert grid.hit_rate[cell] == figures.hit_rate
            else:
                assert np.isnan(grid.net_pct[cell])
                assert np.isnan(grid.hit_rate[cell])


def test_a_sweep_needs_bars():
    """No bars are an error that says so."""
    with pytest.raises(ValueError, match="no bars to trade"):
        sweep(tape(5, 1)[:0], EXITS, [0.5], [Costs()])


# --- frames and figures


def test_frames_hold_what_the_arrays_hold():
    """Times are UTC timestamps, names are words, and nothing is lost."""
    test = run([tape(200, 2), tape(200, 3, stream=ETH)], EXITS, sizing=Sizing(0.5))
    trades, curve = trades_frame(test), curve_frame(test)
    assert trades["id"].tolist() == test.trades.id.tolist()
    assert set(trades["stream"]) == {BTC.path, ETH.path}
    entered = trades["entry_time"].dt.as_unit("ms").astype("int64")
    assert entered.tolist() == test.trades.entry_time.tolist()
    assert str(trades["exit_time"].dt.tz) == "UTC"
    assert curve["equity"].tolist() == test.curve.equity.tolist()
    assert curve.index.is_monotonic_increasing
    table = statistics_frame({"one": test, "two": test})
    assert table.loc["trades", "two"] == len(trades)
    assert "regimes" not in table.index


def test_no_trades_make_empty_frames():
    """The columns are there, the rows are not."""
    silent = dataclasses.replace(tape(20, 1), side=np.zeros(20, dtype=np.int8))
    frame = trades_frame(run([silent], EXITS))
    assert len(frame) == 0
    assert "net_pct" in frame.columns


def test_figures_are_thinned_and_keep_their_ends():
    """Lines begin with the purse of 1 and end with the last value, at no more points than asked."""
    tests = comparison([tape(400, 3)], EXITS, Costs(0.05))
    for line in equity_lines(tests, most=50):
        assert len(line.time) == len(line.value) == 50
        assert (line.time[0], line.value[0]) == (tests[line.name].start, 1.0)
        assert line.time[-1] == tests[line.name].curve.time[-1]
        assert line.value[-1] == tests[line.name].curve.equity[-1]
    for line in drawdown_lines(tests):
        assert len(line.time) == 401
        assert line.value.min() == -tests[line.name].curve.drawdown.max()
        assert line.value.max() <= 0
    columns = {one.name: one for one in regime_columns(tests)}
    assert sum(columns["model"].trades) == len(tests["model"].trades)
    assert columns["regime"].labels == ("Ranging", "Trending Up", "Trending Down", "unknown")
    assert columns["regime"].trades[0] == 0
    assert columns["regime"].net_pct[0] is None
    grid = sweep(tape(100, 1), EXITS, [0.4, 0.5], [Costs(0.0), Costs(0.1), Costs(0.2)])
    drawn = heat(grid)
    assert drawn.z.shape == (len(drawn.y), len(drawn.x)) == (2, 3)
    assert drawn.tried == 6


def test_real_candles_hold_as_their_prices_do():
    """On real bars, gap included, buy and hold is the ratio of prices, over the real years."""
    bars = real_candles()
    answered = np.zeros((1, 3), dtype=np.float32)
    spoken = tape_of_answers(BTC, bars, bars.open_time[:1], answered, 0.5)
    test = comparison([spoken], EXITS, Costs(0.0))["buy and hold"]
    assert test.curve.equity[-1] == pytest.approx(bars.close[-1] / bars.open[1])
    assert statistics(test).years == pytest.approx(
        (bars.open_time[-1] - bars.open_time[0] + 3_600_000) / YEAR_MS
    )
