"""Any kernel of a bounded window: one answer however it is fed. Sums: one order, whatever shape."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import Bars
from candled.core.features.ema import Averages, epochs
from candled.core.features.mar import COLUMNS, MAR, REGIME_INPUTS
from candled.core.features.sums import running, share, total
from candled.core.features.windows import Ema, WindowFeatures, Windows
from candled.core.regime import INPUTS
from candles import HOURLY, bars_at, bars_from_closes, candles, differing

few = settings(max_examples=15, deadline=None)
BARS = candles(1_700, seed=41)


def summed(w: Windows) -> np.ndarray:
    """All that a kernel may see, folded into four columns."""
    close, volume = w["close"], w["volume"]
    averages = [part.sum(axis=1) if part.shape[1] == 1 else total(part) for part in w.ema]
    lagged = averages[0] - averages[-1] if averages else total(close - volume)
    columns = [total(close), total(close * volume), close[:, -1] - close[:, 0], lagged]
    return np.stack(columns, axis=1)


def a_set(window: int, ema: Ema | None = None) -> WindowFeatures:
    columns = ("sum", "weighted", "change", "lagged")
    return WindowFeatures("mine", columns, window, summed, reads=("close", "volume"), ema=ema)


SETS = {
    "one bar": a_set(1),
    "two bars": a_set(2),
    "a window": a_set(23),
    "averages": a_set(3, Ema((4, 9), lags=(0, 7))),
    "old averages only": a_set(9, Ema((30,), lags=(2,))),
}


@pytest.mark.parametrize("name", SETS)
@few
@given(size=st.integers(1, 50), length=st.integers(0, 90))
def test_blocks_and_live_rows_are_the_table(name, size, length):
    """Blocks of any size and pushes from an empty state give the table, bit for bit."""
    features, bars = SETS[name], BARS[:length]
    table = features.table(bars, HOURLY)
    blocks = list(features.blocks(bars, HOURLY, size))
    assert all(0 < len(block) <= size for block in blocks)
    assert differing(np.concatenate([table[:0], *blocks]), table) == 0
    state, row = features.state(2, HOURLY), np.array([1])
    rows = [state.push(row, bars[at : at + 1]) for at in range(length)]
    assert differing(np.concatenate([table[:0], *rows]), table) == 0


@pytest.mark.parametrize("name", SETS)
@few
@given(data=st.data())
def test_streams_of_any_age_go_together(name, data):
    """Warmed anywhere, pushed in any groups: every row is the batch row of its bar."""
    features = SETS[name]
    table = features.table(BARS, HOURLY)
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    count = data.draw(st.integers(1, 12))
    at = random.integers(0, len(BARS) - 60, count)
    state = features.state(count, HOURLY)
    for row, end in enumerate(at):
        state.warm(row, BARS[:end])
    for _ in range(data.draw(st.integers(1, 50))):
        rows = np.flatnonzero(random.random(count) < 0.7)
        if len(rows):
            assert differing(state.push(rows, bars_at(BARS, at[rows])), table[at[rows]]) == 0
            at[rows] += 1


@pytest.mark.parametrize("name", SETS)
@few
@given(start=st.integers(0, 200))
def test_history_is_enough(name, start):
    """Warmed with `history` bars from anywhere, the next rows do not know where that was."""
    features = SETS[name]
    split = start + features.history
    state = features.state(1, HOURLY)
    state.warm(0, BARS[:9])  # is forgotten
    state.warm(0, BARS[start:split])
    rows = [state.push(np.array([0]), BARS[at : at + 1]) for at in range(split, split + 3)]
    assert differing(np.concatenate(rows), features.table(BARS, HOURLY)[split : split + 3]) == 0


def test_windows_are_newest_first():
    """Column 0 is the bar itself, column 1 the one before; what is not there yet is NaN."""
    seen: list[np.ndarray] = []

    def keep(w: Windows) -> np.ndarray:
        seen.append(np.array(w["close"]))
        return w["close"][:, :1]

    features = WindowFeatures("mine", ("close",), 4, keep)
    features.table(BARS[:6], HOURLY)
    assert np.isnan(seen[0][0, 1:]).all()
    assert seen[0][5].tolist() == BARS.close[5:1:-1].tolist()


def test_lags_count_bars():
    """The averages of lag 7 are those of 7 bars earlier."""
    seen: list[list[np.ndarray]] = []

    def keep(w: Windows) -> np.ndarray:
        seen.append([np.array(part) for part in w.ema])
        return w["close"][:, :1]

    WindowFeatures("m", ("c",), 2, keep, ema=Ema((4, 9), lags=(7, 0))).table(BARS, HOURLY)
    path = Averages(2.0 / np.array([5.0, 10.0])).path(BARS.close, epochs(BARS.open_time, HOURLY))
    assert differing(seen[0][1], path) == 0
    assert differing(seen[0][0][7:], path[:-7]) == 0
    assert np.isnan(seen[0][0][:7]).all()


def test_long_histories_come_in_pieces_without_a_seam():
    """Averages of more bars than a piece holds are those of one recursion over all of them."""
    bars = candles(100_000, seed=5)
    averages = Averages(np.array([2.0 / 37.0]))
    pieces = list(averages.pieces(bars.close, epochs(bars.open_time, HOURLY)))
    assert len(pieces) > 2
    assert max(len(piece) for _, piece in pieces) < 48_000
    starts = [start for start, _ in pieces]
    assert starts == [0, *itertools.accumulate(len(piece) for _, piece in pieces)][:-1]
    joined = np.concatenate([piece for _, piece in pieces])
    plain = pd.Series(bars.close).ewm(alpha=2.0 / 37.0, adjust=False).mean().to_numpy()
    assert np.abs(joined[:, 0] / plain - 1.0).max() < 1e-15
    features = WindowFeatures("m", ("c",), 2, lambda w: w.ema[0], ema=Ema((36,), lags=(5,)))
    assert differing(features.table(bars, HOURLY)[5:], joined[:-5]) == 0


RESTING = bars_from_closes(np.concatenate([np.full(60, 64.0), np.full(60, 65.0)]))


@pytest.mark.parametrize("bars", [BARS, RESTING], ids=["moving", "resting"])
def test_regime_inputs_are_those_columns_of_mar(bars: Bars):
    """The three columns that a regime reads are computed alone to the same bits as with all."""
    picked = MAR.table(bars, HOURLY)[:, [COLUMNS.index(name) for name in INPUTS]]
    assert differing(REGIME_INPUTS.table(bars, HOURLY), np.ascontiguousarray(picked)) == 0


def test_warming_again_forgets_the_old_stream():
    """A row that is warmed anew, with little or nothing, holds no trace of what it was."""
    features = SETS["averages"]
    state = features.state(1, HOURLY)
    for begin in (0, 1):
        state.warm(0, BARS[500:900])
        state.warm(0, BARS[:begin])
        rows = [state.push(np.array([0]), BARS[at : at + 1]) for at in range(begin, 9)]
        assert differing(np.concatenate(rows), features.table(BARS[:9], HOURLY)[begin:]) == 0


@few
@given(st.integers(1, 400), st.integers(1, 60), st.integers(0, 999), st.booleans())
def test_sums_have_one_order(n, m, seed, column_major):
    """Sums of many rows are those of each row alone, left to right, in either memory layout."""
    values = np.random.default_rng(seed).normal(size=(n, m)) * 10.0 ** np.arange(m)
    given_values = np.asfortranarray(values) if column_major else values
    plain = np.array([list(itertools.accumulate(row)) for row in values.tolist()])
    assert differing(np.ascontiguousarray(running(given_values)), plain) == 0
    assert differing(total(given_values), np.ascontiguousarray(plain[:, -1])) == 0
    alone = np.concatenate([running(values[at : at + 1]) for at in range(n)])
    assert differing(alone, plain) == 0


def test_shares_count():
    """A share is what part of a row is true."""
    assert share(np.array([[True, False, True, True], [False] * 4])).tolist() == [0.75, 0.0]
