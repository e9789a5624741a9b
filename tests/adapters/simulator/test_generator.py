"""Synthetic candles: reproducible, sane, and with the statistics of the real market."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import COLUMNS, HOUR, INTERVALS, RULES, Interval
from candled_adapters.simulator.generator import generate, generate_many, label

H1 = Interval("1h")
START = 1_640_995_200_000
MONDAY = 1_641_168_000_000


def same(left, right) -> bool:
    return all(getattr(left, c).tobytes() == getattr(right, c).tobytes() for c in COLUMNS)


@given(seed=st.integers(0, 2**32), count=st.integers(0, 300), more=st.integers(0, 300))
@settings(deadline=None, max_examples=60)
def test_longer_run_begins_with_the_shorter(seed, count, more):
    """The first k bars of any run are, to the bit, the run of length k of the same seed."""
    short = generate(seed, H1, START, count)
    assert len(short) == count
    assert same(generate(seed, H1, START, count + more)[:count], short)


def test_seeds_differ():
    """Another seed, and another symbol of one seed, is another walk."""
    first, second = generate_many(7, ["A", "B"], H1, START, 50).values()
    assert not np.array_equal(first.close, second.close)
    assert same(first, generate(7, H1, START, 50))
    assert "synthetic" in label(7)
    assert "7" in label(7)


@pytest.mark.parametrize("interval", INTERVALS, ids=str)
def test_bars_are_sane_for_every_interval(interval):
    """Every bar obeys the rules at the door, on the grid, without holes, taker part within."""
    bars = generate(3, interval, MONDAY if interval.name == "1w" else START, 400)
    for rule in RULES:
        assert np.all(rule.holds(bars)), rule
    opens = bars.open_time.tolist()
    assert all(map(interval.on_grid, opens))
    assert opens[1:] == [interval.end(opened) for opened in opens[:-1]]
    assert bars.close_time.tolist() == [interval.end(opened) - 1 for opened in opens]
    assert np.all(bars.taker_buy_base <= bars.volume)
    assert np.all(bars.taker_buy_quote <= bars.quote_volume)
    assert np.all(bars.trades >= 1)


def test_decimals_are_those_of_the_market():
    """Prices have at most 2 decimals, volumes 5, trades none: as the venue quotes them."""
    bars = generate(5, H1, START, 2000)
    for column, digits in (("open", 2), ("high", 2), ("low", 2), ("close", 2), ("volume", 5)):
        values = getattr(bars, column).tolist()
        assert all(float(f"{value:.{digits}f}") == value for value in values), column
    assert np.array_equal(bars.trades, np.round(bars.trades))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_statistics_are_those_of_real_bitcoin(seed):
    """Return sd 0.548 %, excess kurtosis about 13, taker share, and half of the opens at close."""
    bars = generate(seed, H1, START, 20_000)
    returns = np.diff(np.log(bars.close))
    kurtosis = np.mean((returns - returns.mean()) ** 4) / returns.var() ** 2 - 3
    share = bars.taker_buy_base / bars.volume
    size = np.abs(returns)
    assert returns.std() == pytest.approx(0.00548, rel=0.1)
    assert 9 < kurtosis < 18
    assert share.mean() == pytest.approx(0.489, abs=0.003)
    assert share.std() == pytest.approx(0.062, abs=0.003)
    assert np.mean(bars.close[:-1] == bars.open[1:]) == pytest.approx(0.5, abs=0.02)
    assert 0.08 < np.corrcoef(size[1:], size[:-1])[0, 1] < 0.35, "mild volatility clustering"
    assert abs(np.corrcoef(returns[1:], returns[:-1])[0, 1]) < 0.03, "and no foresight"


def test_returns_scale_with_the_interval():
    """A bar four times as long moves twice as much."""
    spread = [
        np.diff(np.log(generate(1, Interval(name), START, 20_000).close)).std()
        for name in ("1h", "4h")
    ]
    assert spread[1] / spread[0] == pytest.approx(2.0, rel=0.02)


def test_bad_requests_are_refused():
    """A start off the grid, a negative count and a price below a tick are errors that say so."""
    with pytest.raises(ValueError, match="not on the 1h grid"):
        generate(1, H1, START + 1, 5)
    with pytest.raises(ValueError, match="count -1 is negative"):
        generate(1, H1, START, -1)
    with pytest.raises(ValueError, match="below one tick"):
        generate(1, H1, START, 5, price=0.0)
    assert generate(1, H1, START + HOUR, 0).open_time.tolist() == []
