"""Bootstrap intervals: they hold the truth as often as they say, overlap or not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.lab.bootstrap import BLOCK, Interval, _redrawn_sums, mean_interval, ratio_interval


def _autoregressive(random, n, memory=0.8):
    noise = random.normal(size=n)
    path = np.empty(n)
    path[0] = noise[0] / np.sqrt(1 - memory**2)
    for i in range(1, n):
        path[i] = memory * path[i - 1] + noise[i]
    return path


def _share_that_hold_zero(block, runs):
    random = np.random.default_rng(8)
    held = 0
    for run in range(runs):
        found = mean_interval(_autoregressive(random, 1_000), block=block, draws=300, seed=run)
        held += found.low <= 0.0 <= found.high
    return held / runs


def test_intervals_of_dependent_rows_hold_the_truth():
    """For an AR(1) series a 95 % interval holds the mean about as often as that."""
    assert 0.88 <= _share_that_hold_zero(block=48, runs=200) <= 0.99


def test_without_blocks_they_would_not():
    """Rows redrawn one by one pretend to be independent; their intervals miss far too often."""
    assert _share_that_hold_zero(block=1, runs=50) < 0.65


def test_a_precision_has_the_interval_of_its_selected_rows():
    """For independent rows, hits among the selected have the binomial interval."""
    random = np.random.default_rng(3)
    selected = random.random(20_000) < 0.1
    hit = random.random(20_000) < 0.3
    found = ratio_interval(hit & selected, selected, block=5)
    n = int(selected.sum())
    assert (found.n, found.estimate) == (n, (hit & selected).sum() / n)
    half = 1.96 * np.sqrt(found.estimate * (1 - found.estimate) / n)
    assert found.high - found.estimate == pytest.approx(half, rel=0.1)
    assert found.estimate - found.low == pytest.approx(half, rel=0.1)


def test_a_mean_is_a_ratio_with_ones_below():
    """Mean and ratio agree to the bit; a wider level gives a wider interval."""
    values = np.random.default_rng(1).normal(size=700)
    found = mean_interval(values, seed=4)
    assert found == ratio_interval(values, np.ones(700), seed=4)
    assert found.estimate == pytest.approx(values.mean())
    wide = mean_interval(values, seed=4, level=0.99)
    assert wide.low < found.low < found.high < wide.high


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.data())
def test_each_draw_is_whole_blocks_of_neighbours(m, data):
    """Each draw has m rows in runs of `block` rows, the last cut off, wrapping at the end."""
    block = data.draw(st.integers(1, m))
    columns = np.array([np.ones(m), np.arange(m) ** 2.0])
    counts, squares = _redrawn_sums(columns, block, 4, seed=m)
    assert (counts == m).all()
    full, rest = divmod(m, block)
    starts = np.random.default_rng(m).integers(0, m, (4, full + 1))
    sizes = [block] * full + [rest]
    for draw in range(4):
        runs = zip(starts[draw], sizes, strict=True)
        rows = [(start + step) % m for start, size in runs for step in range(size)]
        assert squares[draw] == sum(row**2 for row in rows)


def test_equal_arguments_give_equal_bits_and_memory_is_bounded(monkeypatch):
    """A seed decides all of it, however many starts are drawn at once."""
    values = np.random.default_rng(2).normal(size=3_000)
    found = mean_interval(values, block=7, seed=5)
    assert found == mean_interval(values, block=7, seed=5)
    assert found != mean_interval(values, block=7, seed=6)
    monkeypatch.setattr("candled.lab.bootstrap._STARTS_AT_ONCE", 1_000)
    assert found == mean_interval(values, block=7, seed=5)


def test_what_cannot_be_told_is_none():
    """Nothing selected has no figure; few blocks or no variation have no interval."""
    m = 10 * BLOCK
    none, every = np.zeros(m), np.ones(m)
    assert ratio_interval(none, none) == Interval(None, None, None, 0)
    assert mean_interval(np.empty(0)) == Interval(None, None, None, 0)
    assert mean_interval(np.arange(4 * BLOCK)).low is None
    assert mean_interval(np.arange(4 * BLOCK + 1)).low is not None
    few = np.zeros(m)
    few[: 4 * BLOCK] = 1
    hits = few * (np.arange(m) % 2)
    assert ratio_interval(hits, few) == Interval(0.5, None, None, 4 * BLOCK)
    assert ratio_interval(every, every) == Interval(1.0, None, None, m)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=20, max_size=60))
def test_an_interval_holds_its_own_estimate(rows):
    """However few and lopsided the blocks are, and a share stays within 0 and 1."""
    hit, selected = np.array(rows).T
    found = ratio_interval(hit & selected, selected, block=3, draws=20, level=0.2)
    if found.low is not None:
        assert 0 <= found.low <= found.estimate <= found.high <= 1


def test_an_interval_moves_with_a_cost():
    """Shifting moves all that is known and leaves unknown what is not."""
    assert Interval(1.0, 0.5, 2.0, 9).shifted(-1.0) == Interval(0.0, -0.5, 1.0, 9)
    assert Interval(1.0, None, None, 9).shifted(2.0) == Interval(3.0, None, None, 9)
    assert Interval(None, None, None, 0).shifted(2.0) == Interval(None, None, None, 0)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"block": 0}, "block"), ({"draws": 0}, "draws"), ({"level": 1.0}, "level")],
)
def test_settings_out_of_range_are_refused(change, says):
    """Named, with the value."""
    with pytest.raises(ValueError, match=says):
        mean_interval(np.ones(9), **change)


def test_a_value_that_is_not_finite_is_refused():
    """A NaN must not become the mean of everything."""
    with pytest.raises(ValueError, match="row 1 is not finite"):
        mean_interval(np.array([1.0, np.nan]))


def test_outcomes_that_are_all_alike_do_not_say_how_sure_they_are():
    """Equal values whose redrawn means differ by rounding alone have no interval."""
    selected = np.zeros(4_000)
    selected[::250] = 1.0
    found = ratio_interval(1.5000000000000302 * selected, selected)
    assert (found.low, found.high) == (None, None)
    assert found.estimate == pytest.approx(1.5)
