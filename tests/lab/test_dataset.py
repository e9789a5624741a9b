"""Rows that may be learned from: none that a hole reaches, none without a future, all counted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.features.mar import MAR
from candled.core.labels import LabelParams, window_labels
from candled.lab.dataset import (
    TrainingError,
    follows,
    honest_rows,
    material,
    notebook_rows,
)
from candled.lab.regimes import bar_regimes
from candles import HOURLY, bars_at, candles, differing

LOOKAHEAD = 12
PARAMS = LabelParams(LOOKAHEAD, profit_target_pct=1.0, stop_loss_pct=0.8)
BARS = candles(900, seed=3)
WINDOW = MAR.window


def _material(bars, rule="window"):
    return material(bars, HOURLY, rule=rule, params=PARAMS, regime="notebook")


@settings(max_examples=40, deadline=None)
@given(
    holes=st.lists(st.tuples(st.integers(1, 880), st.integers(1, 4)), max_size=4),
    rule=st.sampled_from(["window", "first_touch"]),
)
def test_an_honest_row_has_every_bar_that_it_looks_at(holes, rule):
    """A row is there exactly when the bars behind its features and ahead of its label all are."""
    gone = np.unique([at + step for at, length in holes for step in range(length)])
    bars = bars_at(BARS, np.setdiff1d(np.arange(len(BARS)), gone))
    times = bars.open_time.tolist()
    whole = [
        row
        for row in range(WINDOW - 1, len(bars) - LOOKAHEAD)
        if times[row + LOOKAHEAD] - times[row - WINDOW + 1]
        == (LOOKAHEAD + WINDOW - 1) * HOURLY.typical_ms
    ]
    found = honest_rows(_material(bars, rule), MAR, LOOKAHEAD)
    assert found.begin.tolist() == whole
    told = dataclasses.astuple(found.dropped)
    assert len(found) + sum(told) == len(bars)
    assert (found.open_time == bars.open_time[found.begin]).all()


def test_the_notebook_takes_bars_by_row():
    """Holes are not seen, and the tail without a future stays."""
    bars = bars_at(BARS, np.setdiff1d(np.arange(len(BARS)), [300, 301]))
    found = notebook_rows(_material(bars), MAR)
    assert found.begin.tolist() == list(range(WINDOW - 1, len(bars)))
    assert sum(dataclasses.astuple(found.dropped)) == WINDOW - 1


def test_rows_carry_what_the_table_and_the_labels_say():
    """Features, classes, ends and regimes are those of the row's own bar."""
    found = honest_rows(_material(BARS), MAR, LOOKAHEAD)
    assert differing(found.features, MAR.table(BARS, HOURLY)[found.begin]) == 0
    regime = bar_regimes(BARS, HOURLY, "notebook")[:, 1]
    assert (found.classes == window_labels(BARS, PARAMS, regime).signal[found.begin]).all()
    assert (found.regimes == regime[found.begin]).all()
    assert (found.end == found.begin + LOOKAHEAD).all()


def test_quick_labels_near_the_end_are_left_out():
    """A class that was known early does not enter when slower neighbours could not be known."""
    found = honest_rows(_material(BARS, "first_touch"), MAR, LOOKAHEAD)
    assert found.begin[-1] == len(BARS) - LOOKAHEAD - 1
    assert (found.end < found.begin + LOOKAHEAD).any()
    assert found.dropped.unlabelled == LOOKAHEAD


def test_some_rows_of_a_dataset_are_a_dataset():
    """Any choice of rows keeps all columns together."""
    found = honest_rows(_material(BARS), MAR, LOOKAHEAD)
    some = found[np.array([5, 9, 200])]
    assert some.begin.tolist() == found.begin[[5, 9, 200]].tolist()
    assert differing(some.features, found.features[[5, 9, 200]]) == 0
    assert some.classes.tolist() == found.classes[[5, 9, 200]].tolist()


class _WithColumn:
    """The set `mar` with one more column."""

    name = "mar-and-one"
    columns = (*MAR.columns, "taker")
    window = MAR.window
    history = MAR.history

    def __init__(self, values):
        self.values = values

    def blocks(self, bars, interval, size=4096):
        start = 0
        for block in MAR.blocks(bars, interval, size):
            column = self.values[start : start + len(block)]
            yield np.column_stack([block, column])
            start += len(block)


def test_a_column_without_a_value_is_named():
    """What no row can have is an error that says which column and why."""
    features = _WithColumn(np.full(len(BARS), np.nan))
    with pytest.raises(TrainingError, match=r"1 column.*mar-and-one.*taker"):
        honest_rows(_material(BARS), features, LOOKAHEAD)


def test_rows_with_a_value_missing_are_dropped_and_counted():
    """A NaN here and there costs these rows and no others."""
    values = np.ones(len(BARS))
    values[[100, 101, 500]] = (np.nan, np.inf, -np.inf)
    found = honest_rows(_material(BARS), _WithColumn(values), LOOKAHEAD)
    assert found.dropped.not_finite == 3
    assert not set(found.begin.tolist()) & {100, 101, 500}


def test_too_few_rows_say_where_they_went():
    """The error counts what the warm-up, the tail and the gaps took."""
    with pytest.raises(TrainingError, match=r"120 bars give 68 rows.*12 have no known future"):
        honest_rows(_material(BARS[:120]), MAR, LOOKAHEAD)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t[[0, 2, 1, 3]], "bar 2 .* does not come after"),
        (lambda t: t[[0, 1, 1, 2]], "bar 2 .* does not come after"),
    ],
)
def test_bars_out_of_order_are_refused(change, says):
    """Doubles and disorder are named by bar and time."""
    with pytest.raises(TrainingError, match=says):
        _material(bars_at(BARS, change(np.arange(4))))


def test_the_first_bar_follows_and_a_hole_is_seen():
    """Each bar is compared with the end of the slot before it."""
    bars = bars_at(BARS, np.array([0, 1, 4, 5]))
    assert follows(bars, HOURLY).tolist() == [True, True, False, True]
