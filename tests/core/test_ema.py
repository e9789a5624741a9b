"""Exponential averages whose past is bounded: the rule, naively, and every way to compute it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import HOUR, Interval
from candled.core.features.ema import HISTORY, MEMORY, Averages, AverageState, epochs
from candles import HOURLY, closes, differing

ALPHA = 2.0 / (np.array([5.0, 20.0, 36.0]) + 1.0)
AVERAGES = Averages(ALPHA)


def naive(path, epoch, rows):
    """Compute the rule as it is said: find a bar's anchor, run the recursion from there."""
    out = np.empty((len(rows), len(ALPHA)))
    for at, row in enumerate(rows):
        anchor = 0
        for start in range(row - MEMORY + 1, 0, -1):
            if epoch[start] != epoch[start - 1]:
                anchor = start
                break
        value = np.full(len(ALPHA), path[anchor])
        for x in path[anchor + 1 : row + 1]:
            value = ALPHA * x + (1.0 - ALPHA) * value
        out[at] = value
    return out


def slots(n: int, longest_hole: int, seed: int) -> np.ndarray:
    """Return n ascending slots, up to `longest_hole` apart, in runs and holes."""
    random = np.random.default_rng(seed)
    holes = random.random(n) < random.random()
    return 4_000 + np.cumsum(np.where(holes, random.integers(1, longest_hole + 1, n), 1))


def series(n: int, longest_hole: int, seed: int):
    return closes(n, seed), epochs(slots(n, longest_hole, seed) * HOUR, HOURLY)


def pushed(path, epoch, state=None, row=0, begin=0):
    """Push bars one by one; return what is reported."""
    state = state or AverageState(AVERAGES, row + 1)
    at = np.array([row])
    return np.concatenate(
        [state.push(at, path[i : i + 1], epoch[i : i + 1]) for i in range(begin, len(path))]
    )


few = settings(max_examples=8, deadline=None)


@few
@given(st.sampled_from([1, 3, 40, 2_000]), st.integers(0, 99))
def test_path_and_pushes_are_the_rule(longest_hole, seed):
    """Batch and bar by bar give what the rule says, bit for bit, however sparse the bars are."""
    path, epoch = series(1_700, longest_hole, seed)
    rows = np.arange(seed % 17, 1_700, 17)
    expected = naive(path, epoch, rows)
    assert differing(AVERAGES.path(path, epoch)[rows], expected) == 0
    assert differing(pushed(path, epoch)[rows], expected) == 0


@few
@given(st.sampled_from([1, 3, 40, 2_000]), st.integers(0, 99), st.integers(0, 1_400))
def test_a_history_is_enough(longest_hole, seed, start):
    """After `HISTORY` bars, folded at once, pushes go on as if all bars before had been seen."""
    path, epoch = series(start + HISTORY + 30, longest_hole, seed)
    expected = AVERAGES.path(path, epoch)
    split = start + HISTORY
    tail = AVERAGES.tail(path[start:split], epoch[start:split], 6)
    state = AverageState(AVERAGES, 3)
    state.warm(2, tail, epoch[start:split])
    assert differing(tail.reported, expected[split - 6 : split]) == 0
    assert differing(pushed(path, epoch, state, 2, split), expected[split:]) == 0


@few
@given(st.integers(0, 99), st.integers(2, 700))
def test_a_short_history_goes_on_too(seed, split):
    """A history that begins with the listing may be short; pushes go on from it."""
    path, epoch = series(split + 30, 3, seed)
    state = AverageState(AVERAGES, 1)
    state.warm(0, AVERAGES.tail(path[:split], epoch[:split], 6), epoch[:split])
    expected = AVERAGES.path(path, epoch)
    assert differing(pushed(path, epoch, state, 0, split), expected[split:]) == 0


def test_streams_do_not_see_each_other():
    """Streams that are pushed together, one of them sparse, report what each alone reports."""
    dense, sparse = series(2_000, 1, 1), series(2_000, 900, 2)
    state, rows = AverageState(AVERAGES, 2), np.array([0, 1])
    together = [
        state.push(
            rows, np.array([dense[0][i], sparse[0][i]]), np.array([dense[1][i], sparse[1][i]])
        )
        for i in range(2_000)
    ]
    assert differing(np.array(together)[:, 0], AVERAGES.path(*dense)) == 0
    assert differing(np.array(together)[:, 1], AVERAGES.path(*sparse)) == 0


@few
@given(st.integers(0, 99), st.sampled_from([1, 500]))
def test_the_rule_is_pandas_recursion_to_the_last_digits(seed, longest_hole):
    """Against ewm(adjust=False) over the whole series an average differs by 1e-14 of it at most."""
    path, epoch = series(4_000, longest_hole, seed)
    ours = AVERAGES.path(path, epoch)
    for column, alpha in enumerate(ALPHA):
        theirs = pd.Series(path).ewm(alpha=alpha, adjust=False).mean().to_numpy()
        assert np.abs(ours[:, column] / theirs - 1.0).max() < 1e-14


def test_epochs_follow_the_interval():
    """An epoch is as many slots for a month as for a second."""
    for name in ("1s", "1h", "1M"):
        interval = Interval(name)
        start = 3 * MEMORY * interval.typical_ms
        times = np.array([start - 1, start, start + MEMORY * interval.typical_ms - 1])
        assert epochs(times, interval).tolist() == [2, 3, 3]
