"""The window labels: the notebook's loop, in one pass, to the bit."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from candled.core.bar import COLUMNS
from candled.core.labels import LabelParams, WindowLabels, window_labels
from candles import bars_from_closes, bars_of, candles, differing

BARS = candles(700, seed=21)
NAMES = tuple(field.name for field in fields(WindowLabels))


def _with(bars, **columns):
    return bars_of({name: columns.get(name, getattr(bars, name)) for name in COLUMNS})


def _assert_equals_the_loop(bars, params, regime=None):
    frame = pd.DataFrame({"high": bars.high, "low": bars.low, "close": bars.close})
    expected = reference.label_loop(
        frame, params.lookahead_bars, params.profit_target_pct, params.stop_loss_pct, regime
    )
    found = window_labels(bars, params, None if regime is None else np.array(regime))
    for name in NAMES:
        one, other = getattr(found, name), expected[name].to_numpy()
        if name.startswith("signal"):
            assert one.tolist() == other.tolist(), name
        else:
            assert differing(one, other.astype(np.float64)) == 0, name
    return found


def test_labels_are_those_of_the_notebooks_loop():
    """With the notebook's parameters every column equals the row-by-row loop, bit for bit."""
    found = _assert_equals_the_loop(BARS, LabelParams())
    assert np.bincount(found.signal, minlength=3).min() > 20  # all classes occur


@settings(max_examples=25, deadline=None)
@given(
    length=st.integers(1, 80),
    start=st.integers(0, 600),
    params=st.builds(LabelParams, st.integers(1, 90), st.floats(0.05, 3.0), st.floats(0.05, 3.0)),
    seed=st.integers(0, 1_000),
)
def test_any_parameters_give_the_loops_labels(length, start, params, seed):
    """For any lookahead, target, stop and regimes, wider stops than targets included."""
    regime = np.random.default_rng(seed).integers(0, 3, length).tolist()
    bars = BARS[start : start + length]
    _assert_equals_the_loop(bars, params, regime[: len(bars)])


def test_the_order_of_operations_is_kept():
    """A high of 12345.67 * 1.015 is a hair below 1.5 %, so it misses a target of 1.5."""
    close = 12345.67
    closes = np.full(3, close)
    bars = bars_from_closes(closes)
    high = np.array([close, close * 1.015, close])
    found = window_labels(_with(bars, high=high, low=closes), LabelParams(lookahead_bars=1))
    assert found.future_return_up[0] == 1.4999999999999858
    assert found.signal[0] == 0
    higher = np.array([close, np.nextafter(close * 1.015, np.inf) + 2e-12, close])
    found = window_labels(_with(bars, high=higher, low=closes), LabelParams(lookahead_bars=1))
    assert found.future_return_up[0] >= 1.5
    assert found.signal[0] == 1


@pytest.mark.parametrize(("regime", "signal"), [(None, 2), (0, 2), (1, 1), (2, 2)])
def test_the_regime_settles_what_qualifies_both_ways(regime, signal):
    """With a stop wider than the target a bar can be both; the regime at that bar decides."""
    closes = np.full(2, 100.0)
    bars = _with(bars_from_closes(closes), high=closes + 2.0, low=closes - 2.0)
    regimes = None if regime is None else np.array([regime, 0])
    found = window_labels(bars, LabelParams(1, 1.5, 3.0), regimes)
    assert (found.signal_long[0], found.signal_short[0]) == (1, 1)
    assert found.signal[0] == signal


def test_a_move_of_the_stop_itself_is_too_much():
    """A drawdown equal to the stop disqualifies; a return equal to the target qualifies."""
    closes = np.full(2, 128.0)
    bars = _with(bars_from_closes(closes), high=closes * 1.0625, low=closes * 0.96875)
    assert window_labels(bars, LabelParams(1, 6.25, 3.125)).signal[0] == 0
    assert window_labels(bars, LabelParams(1, 6.25, 3.1251)).signal[0] == 1
    assert window_labels(bars, LabelParams(1, 6.2501, 3.1251)).signal[0] == 0


def test_absent_highs_and_lows_are_skipped():
    """NaN among the bars ahead counts for nothing; only NaN ahead leaves no label."""
    random = np.random.default_rng(4)
    high, low = BARS.high.copy(), BARS.low.copy()
    high[random.random(len(high)) < 0.3] = np.nan
    low[random.random(len(low)) < 0.3] = np.nan
    high[300:340] = np.nan
    found = _assert_equals_the_loop(_with(BARS, high=high, low=low), LabelParams(lookahead_bars=7))
    assert np.isnan(found.future_high[305])
    assert found.signal[305] == 0


def test_the_last_rows_have_no_future():
    """The last `lookahead_bars` rows hold NaN and class 0; the row before them is complete."""
    found = window_labels(BARS, LabelParams(lookahead_bars=24))
    for name in NAMES[:4]:
        assert np.isnan(getattr(found, name)[-24:]).all()
        assert np.isfinite(getattr(found, name)[:-24]).all()
    assert not found.signal[-24:].any()


@pytest.mark.parametrize("length", [0, 1, 24])
def test_a_history_no_longer_than_the_lookahead_has_no_labels(length):
    """Nothing can be said about any of its bars, and nothing is."""
    found = window_labels(BARS[:length], LabelParams())
    assert np.isnan(found.future_high).all()
    assert len(found.signal) == length
    assert not found.signal.any()


@pytest.mark.parametrize("lookahead", [0, -3, 2.0, True, "24"])
def test_a_lookahead_that_is_no_count_of_bars_is_refused(lookahead):
    """The message names the parameter and what was found."""
    with pytest.raises(ValueError, match="lookahead_bars must be a whole number"):
        LabelParams(lookahead_bars=lookahead)


@pytest.mark.parametrize("name", ["profit_target_pct", "stop_loss_pct"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "1.5", True, None])
def test_a_percentage_that_is_none_is_refused(name, value):
    """Targets and stops are numbers above zero, in percent."""
    with pytest.raises(ValueError, match=f"{name} must be a number above 0 in percent"):
        LabelParams(**{name: value})


def test_regimes_must_be_one_a_bar():
    """A regime column of another length is refused with both lengths."""
    with pytest.raises(ValueError, match="regime has 3 values for 700 bars"):
        window_labels(BARS, LabelParams(), np.zeros(3, dtype=np.int8))
