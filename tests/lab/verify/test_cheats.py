"""Planted faults: each is found, its column is named, and nothing else is.

The faults are those that people make: peeks at what comes after a bar, statistics over a whole
table, sums that remember where they began, and code that differs between training and live.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import time
from collections.abc import Callable

import numpy as np
import pytest

from candled.core.bar import HOUR, Bars
from candled.core.features.mar import MAR
from candled.core.model import Booster
from candled.core.regime import regime_rule, regimes
from candled.lab.verify import CHECKS, Verification, verify
from candled.lab.verify.series import patchy
from candles import HOURLY, candles
from models import model, spec
from toys import HISTORY, WINDOW, Toy, ToyState, mean, shifted, windows

BARS = candles(700, seed=9)
TREND = candles(600, seed=12)


def verified(toy: Toy, bars: Bars = BARS, without: str = "") -> Verification:
    """Verify a toy with all checks but one."""
    return verify(toy, bars, HOURLY, checks=[name for name in CHECKS if name != without])


# --- peeks


def _one_ahead(bars: Bars):
    return shifted(bars.close, -1) / bars.close


def _centred(bars: Bars):
    return shifted(mean(bars.close, 5), -2)


def _z_score(bars: Bars):
    return (bars.close - bars.close.mean()) / bars.close.std()


def _min_max(bars: Bars):
    return (bars.close - bars.close.min()) / (bars.close.max() - bars.close.min())


def _of_the_last(bars: Bars):
    return bars.close / bars.close[-1]


def _filled_backwards(bars: Bars):
    """Fill what the first rows lack with what comes later."""
    values = mean(bars.close, 5)
    values[:4] = values[4] if len(values) > 4 else np.nan
    return values


def _holes_filled_backwards(bars: Bars):
    """Fill what a venue did not tell with what it told later."""
    values, known = bars.taker_buy_base.copy(), np.nan
    for at in range(len(values) - 1, -1, -1):
        known = values[at] if np.isfinite(values[at]) else known
        values[at] = known
    return values


def _when_there_are_many(bars: Bars):
    return shifted(bars.close, -1) if len(bars) > 500 else bars.close.copy()


def _after_a_big_move(bars: Bars):
    """Peek in one row of a hundred."""
    move = np.abs(np.diff(np.log(bars.close), prepend=np.log(bars.close[0])))
    return np.where(move > 0.016, shifted(bars.close, -1), bars.close)


PEEKS = {
    "the next bar": _one_ahead,
    "a centred mean": _centred,
    "a z-score over the table": _z_score,
    "min-max over the table": _min_max,
    "the last bar of the table": _of_the_last,
    "the first rows filled from later ones": _filled_backwards,
    "only when there are more than 500 bars": _when_there_are_many,
    "only after a big move": _after_a_big_move,
}


@pytest.mark.parametrize("name", PEEKS)
def test_a_peek_is_found_and_named(name):
    """A column that looks ahead is found with that column's name and no other."""
    assert verified(Toy(PEEKS[name])).columns == {"bad"}


def test_the_rare_peek_is_rare():
    """The condition of the rare peek holds in about one row of a hundred."""
    rows = np.count_nonzero(_after_a_big_move(BARS)[:-1] != BARS.close[:-1])
    assert 5 <= rows <= 15


def test_holes_filled_from_later_bars_are_found_where_there_are_holes():
    """Where every cell is told nothing is filled, and nothing found; else the column is named."""
    toy = Toy(_holes_filled_backwards)
    assert verified(toy, without="future absent").ok
    assert verified(toy, patchy(BARS, 1)).columns == {"bad"}


@pytest.mark.parametrize("side", ["table", "live"])
def test_a_fault_on_one_side_only_is_found(side):
    """A peek in the table, or a wrong value in live windows, is found when the other is honest."""
    honest, wrong = (
        (lambda bars: bars.close.copy()),
        (lambda bars: np.nextafter(bars.close, np.inf)),
    )
    toy = Toy(_one_ahead, live=honest) if side == "table" else Toy(honest, live=wrong)
    assert verified(toy).columns == {"bad"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("the next bar", "changes when the bar, 1 after it, changes"),
        ("a centred mean", "changes when the bar, 2 after it, changes"),
        ("a z-score over the table", "changes when the last bar of the table, "),
        ("the last bar of the table", "changes when the last bar of the table, "),
    ],
)
def test_a_finding_says_how_far_the_column_looks_ahead(name, says):
    """The statement is the smallest: which bar ahead changes the cell, at which time."""
    (found,) = verify(Toy(PEEKS[name]), BARS, HOURLY, checks=["future elsewhere"]).findings
    assert found.says.startswith(says)
    assert found.row is not None
    assert found.open_time == BARS.open_time[found.row]
    assert found.text.startswith("bad at 20")


# --- the past, and the two sides


def _running_mean(bars: Bars):
    """Take differences of a running sum: the last bits remember where it began."""
    total = np.cumsum(bars.close)
    return (total - shifted(total, 5)) / 5.0


def _long_average(bars: Bars):
    """Average recursively with a memory of some 2,000 bars."""
    out, value = np.empty(len(bars)), bars.close[0] if len(bars) else 0.0
    for at, close in enumerate(bars.close.tolist()):
        out[at] = value = 0.02 * close + 0.98 * value
    return out


@pytest.mark.parametrize("column", [_running_mean, _long_average])
def test_a_column_that_remembers_the_beginning_is_found(column):
    """Running sums and averages that remember more than `history` bars are named."""
    assert verified(Toy(column, memory=10_000)).columns == {"bad"}


def test_a_finding_says_how_many_bars_a_column_needs():
    """A column that looks 45 bars back, in a set that declares 30, is said to need 46."""
    toy = Toy(lambda bars: shifted(bars.close, 45), memory=100)
    (found,) = verify(toy, BARS, HOURLY, checks=["cold start"]).findings
    assert found.says == "depends on 46 bars, but `history` declares 30"


def test_live_streams_get_no_more_past_than_is_declared():
    """A column that needs one bar more than `history` is found in streams warmed with that."""
    toy = Toy(lambda bars: shifted(bars.close, HISTORY), memory=100)
    assert verify(toy, BARS, HOURLY, checks=["live in groups"]).columns == {"bad"}


def test_a_row_that_is_complete_one_bar_too_early_is_found():
    """Also the last row before the window is full must not look complete and be wrong."""
    toy = _FewWillDo(least=WINDOW - 1)
    assert verify(toy, BARS, HOURLY, checks=["warm-up"]).columns == {"bad"}
    assert verify(_FewWillDo(least=WINDOW), BARS, HOURLY, checks=["warm-up"]).ok


def test_the_cold_start_is_tried_as_soon_as_there_is_one_bar_more():
    """With `history` + 1 bars one row is compared; with `history` there is nothing to leave out."""
    rows = [
        verify(Toy(), BARS[: HISTORY + more], HOURLY, checks=["cold start"]).checks[0].rows
        for more in (0, 1)
    ]
    assert rows == [0, 1]


def test_a_window_that_is_declared_too_short_is_found():
    """A column that needs 20 bars, in a set that declares a window of 10, is told to need 20."""
    (found,) = verified(Toy(lambda bars: mean(bars.close, 20))).findings
    assert (found.column, found.says) == ("bad", "needs 20 bars, but `window` declares 10")


class _Batched(Toy):
    """Sums all rows of a batch by numpy's `sum`, in single precision when there are many."""

    def state(self, capacity, interval):  # noqa: ARG002 - the protocol's
        toy = self

        class State(ToyState):
            def push(self, rows, bars):
                out = super().push(rows, bars)
                if len(rows) > 8:
                    out[:, -1] = out[:, -1].astype(np.float32)
                return out

        return State(toy, capacity)


def test_a_value_that_depends_on_the_batch_is_found():
    """Another precision in large batches is named."""
    assert verified(_Batched(lambda bars: mean(bars.close, 3))).columns == {"bad"}


def test_noise_and_memory_between_calls_are_found():
    """Chance from a global generator, and a count of calls, are named."""
    calls = itertools.count()
    chance = Toy(lambda bars: bars.close + np.random.rand(len(bars)))  # noqa: NPY002 - the fault
    counting = Toy(lambda bars: bars.close + next(calls))
    assert verified(chance).columns == {"bad"}
    assert verified(counting).columns == {"bad"}


def test_a_set_that_cannot_answer_is_found():
    """An exception for some bars is a finding with its text, not the end of the verification."""

    def fails(bars: Bars):
        if len(bars) < 3:
            raise IndexError("no third bar")
        return bars.close.copy()

    found = verified(Toy(fails)).findings
    assert {finding.column for finding in found} == {"*"}
    assert "cannot be computed: IndexError: no third bar" in found[0].text


# --- each check is needed: a fault that all others miss


class _CutShort(Toy):
    """Remembers rare rows of its last long table, which tell how many bars there were."""

    def __init__(self, times: list[int]) -> None:
        super().__init__(self.column)
        self.times = times
        self.told: dict[int, float] = {}

    def column(self, bars: Bars):
        values = bars.close.copy()
        for row in np.flatnonzero(np.isin(bars.open_time, self.times)).tolist():
            if len(bars) > 200:
                self.told[int(bars.open_time[row])] = float(len(bars) % 7 + 1)
            values[row] = self.told.get(int(bars.open_time[row]), values[row])
        return values


def _gap_ahead(bars: Bars):
    return np.append(np.diff(bars.open_time) > HOUR, [False] * min(1, len(bars))).astype(float)


def _crash_at_the_end(bars: Bars):
    """Give all rows another value when the last two bars both more than halved or doubled."""
    moves = np.abs(np.diff(np.log(bars.close[-3:])))
    return bars.close + float(len(moves) == 2 and moves.min() > 0.7)


def _any_absent(bars: Bars):
    return bars.close * (0.5 if np.isnan(bars.trades).any() else 1.0)


class _Tired(Toy):
    """Gives a stream that was pushed more than 200 times, alone, another value."""

    def state(self, capacity, interval):  # noqa: ARG002 - the protocol's
        class State(ToyState):
            pushed = 0

            def push(self, rows, bars):
                self.pushed += 1
                out = super().push(rows, bars)
                out[:, -1] += len(self.kept) == 1 and self.pushed > 200
                return out

        return State(self, capacity)


class _Misplaced(Toy):
    """Takes a stream's windows by its place in the batch."""

    def state(self, capacity, interval):  # noqa: ARG002 - the protocol's
        class State(ToyState):
            def push(self, rows, bars):
                out = super().push(rows, bars)
                out[:, -1] += rows != np.arange(len(rows))
                return out

        return State(self, capacity)


class _Sorted(Toy):
    """Gives the rows of a batch in the order of its streams, not in the order that was asked."""

    def state(self, capacity, interval):  # noqa: ARG002 - the protocol's
        class State(ToyState):
            def push(self, rows, bars):
                out = super().push(rows, bars)
                out[:, -1] = out[np.argsort(rows), -1]
                return out

        return State(self, capacity)


def test_rows_that_come_in_another_order_are_found():
    """Streams are pushed in any order; a set that sorts them is named."""
    assert verified(_Sorted(lambda bars: bars.close.copy())).columns == {"bad"}


class _Blockwise(Toy):
    """Counts the rows of a block."""

    def blocks(self, bars, interval, size=4096):
        for block in super().blocks(bars, interval, size):
            block[:, -1] += len(block) < min(size, 1_000)
            yield block


def _now_and_then(bars: Bars):
    """Look one bar further back than declared, but in one row of 61 only."""
    slot = bars.open_time // HOUR % 61
    return np.where(slot == 12, shifted(bars.close, HISTORY), bars.close)


class _FewWillDo(Toy):
    """Averages over as many bars as there are, from `least` to ten; has no other column."""

    def __init__(self, least: int = 1) -> None:
        super().__init__(self.column)
        self.least = least
        self.functions = self.live = {"bad": self.column}
        self.columns = ("bad",)

    def column(self, bars: Bars):
        window = windows(bars.close, WINDOW)
        present = np.isfinite(window)
        total = np.cumsum(np.where(present, window, 0.0), axis=1)[:, -1]
        count = present.sum(axis=1)
        return np.where(count < self.least, np.nan, total / count)


def _by_the_hour(bars: Bars):
    return bars.close + time.gmtime().tm_hour + dt.datetime.now(dt.UTC).day


def _looked_up(bars: Bars):
    """Join a column that was made from all bars, by time."""
    return np.interp(bars.open_time, BARS.open_time, _one_ahead(BARS), right=np.nan)


def _scribbling(bars: Bars):
    bars.quote_volume[-1:] = -1.0
    return bars.close.copy()


NEEDED: dict[str, tuple[Callable[[], Toy], Bars]] = {
    "future elsewhere": (lambda: Toy(_gap_ahead), BARS),
    "future extreme": (lambda: Toy(_crash_at_the_end), BARS),
    "future absent": (lambda: Toy(_any_absent), BARS),
    "live alone": (lambda: _Tired(lambda bars: bars.close.copy()), BARS),
    "live in groups": (lambda: _Misplaced(lambda bars: bars.close.copy()), BARS),
    "blocks": (lambda: _Blockwise(lambda bars: bars.close.copy()), BARS),
    "cold start": (lambda: Toy(_now_and_then, memory=100), BARS),
    "warm-up": (_FewWillDo, BARS),
    "repeat": (lambda: Toy(_by_the_hour), BARS),
    "leaks": (lambda: Toy(_looked_up), BARS),
    "inputs": (lambda: Toy(_scribbling), BARS),
}


@pytest.mark.parametrize("check", NEEDED)
def test_each_check_finds_what_no_other_does(check):
    """Without the check its fault goes unseen; with it the column is named, and nothing else."""
    make, bars = NEEDED[check]
    assert verified(make(), bars, without=check).ok
    found = verified(make(), bars).findings
    named = "bars.quote_volume" if check == "inputs" else "bad"
    assert [(finding.check, finding.column) for finding in found] == [(check, named)]


def test_a_set_that_counts_the_bars_to_come_is_found_by_dropping_them_alone():
    """What only the number of bars decides, in rare rows, is seen when bars are dropped."""
    bars = candles(1_500, seed=3)
    times = bars.open_time[[401, 802]].tolist()
    others = [name for name in CHECKS if name != "future dropped"]
    assert verify(_CutShort(times), bars, HOURLY, samples=12, checks=others).ok
    assert verify(_CutShort(times), bars, HOURLY, samples=12).columns == {"bad"}


def _repainted(preset, inputs):
    """Merge segments of fewer than five rows into the one before, afterwards."""
    found = regimes(regime_rule(preset), inputs)
    for column in found.T:
        borders = [0, *(np.flatnonzero(np.diff(column)) + 1).tolist(), len(column)]
        for start, end in itertools.pairwise(borders):
            if start > 0 and end - start < 5 and end < len(column):
                column[start:end] = column[start - 1]
    return found


def test_repainted_regimes_are_found_by_the_check_of_regimes_alone():
    """A regime that merges short segments afterwards is named; no other check sees it."""
    others = [name for name in CHECKS if name not in ("regimes", "live alone")]
    assert verify(MAR, TREND, HOURLY, samples=6, checks=others, regimes=_repainted).ok
    done = verify(MAR, TREND, HOURLY, checks=["regimes"], regimes=_repainted)
    assert "raw_regime[notebook]" in done.columns
    assert all(column.endswith("]") for column in done.columns)
    assert verify(MAR, TREND, HOURLY, checks=["regimes"]).ok


def _rarely_repainted(preset, inputs):
    """Change one regime once more than 900 rows are there."""
    found = regimes(regime_rule(preset), inputs)
    if len(found) > 900:
        found[300, 1] = (found[300, 1] + 1) % 3
    return found


def test_a_single_repainted_row_is_found_wherever_it_is():
    """Every row is compared with the live machine's, so that one row of many cannot hide."""
    bars = candles(1_000, seed=12)
    done = verify(MAR, bars, HOURLY, samples=1, checks=["regimes"], regimes=_rarely_repainted)
    assert [(one.row, one.cells) for one in done.findings] == [(300, 1)] * 4
    assert {one.column[:7] for one in done.findings} == {"regime["}


class _Hasty(Booster):
    """Answers a single row otherwise, by one bit."""

    def predict(self, rows):
        answers = super().predict(rows)
        return np.nextafter(answers, np.float32(1)) if len(rows) == 1 else answers


class _Shrunk(Booster):
    """Answers otherwise than XGBoost's own package does."""

    def predict(self, rows):
        return np.nextafter(super().predict(rows), np.float32(0))


@pytest.mark.parametrize("booster", [_Hasty, _Shrunk])
def test_a_model_that_answers_otherwise_is_found_by_the_check_of_models(booster):
    """One bit between a row alone and in a batch, or from XGBoost's package, is named."""
    odd = dataclasses.replace(model(), booster=booster(spec().booster))
    assert verify(MAR, TREND, HOURLY, model=model(), checks=["model"]).ok
    done = verify(MAR, TREND, HOURLY, model=odd, checks=["model"])
    assert done.columns <= {"prob_no_trade", "prob_long", "prob_short"}
    assert not done.ok
