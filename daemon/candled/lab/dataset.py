"""What a model learns from: the rows of a table that can be used, and why the others cannot.

A row is one closed bar: its features, the class that its label rule gives it, and the bars that its
label looks at. Two ways to choose rows. As the notebook does it, by row: a hole between two bars is
not seen, and the last rows, whose future is not known yet, stay as class 0. Honestly: a row counts
only when every bar behind its features and ahead of its label is there, one slot after the other.

Knows no frames, no files and no model.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars, Interval, iso
from candled.core.features import FeatureSet
from candled.core.labels import LabelParams
from candled.lab.regimes import bar_regimes
from candled.lab.rules import Labelled, label_rule
from candled.lab.verify.leaks import refuse_denied_columns

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Classes = NDArray[np.int8]

FEWEST_ROWS: Final = 100


class TrainingError(Exception):
    """Bars that no model can be trained on, and what to change."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """How many bars gave no row, by the first reason that holds."""

    warm_up: int
    """The averages were not filled yet."""
    unlabelled: int
    """The label's future is not known yet."""
    gap_behind: int
    """A slot is absent among the bars that the features look at."""
    gap_ahead: int
    """A slot is absent among the bars that the label looks at."""
    not_finite: int
    """A feature is NaN or infinite."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """m rows in time order, of n bars."""

    open_time: NDArray[np.int64]
    """[m] UTC ms."""
    begin: Rows
    """[m] number of the row's bar among the n."""
    end: NDArray[np.int64]
    """[m] number of the bar at whose close the row's class was known."""
    features: Floats
    """[m, k]"""
    classes: Classes
    """[m] 0 no trade, 1 long, 2 short."""
    regimes: Classes
    """[m] confirmed regime of the row's bar."""
    dropped: Dropped

    def __len__(self) -> int:
        """Return m."""
        return len(self.begin)

    def __getitem__(self, rows: slice | Rows | NDArray[np.bool_]) -> Dataset:
        """Return some of the rows; `dropped` stays that of the whole."""
        return Dataset(
            self.open_time[rows],
            self.begin[rows],
            self.end[rows],
            self.features[rows],
            self.classes[rows],
            self.regimes[rows],
            self.dropped,
        )


def refuse_bad_bars(bars: Bars) -> None:
    """Raise TrainingError for bars out of order, doubled, or without a close above zero."""
    late = np.flatnonzero(np.diff(bars.open_time) <= 0)
    if len(late):
        row = int(late[0]) + 1
        raise TrainingError(
            f"bar {row} ({iso(int(bars.open_time[row]))}) does not come after the bar before it; "
            "sort the bars by open time and drop doubles"
        )
    bad = np.flatnonzero(~(np.isfinite(bars.close) & (bars.close > 0)))
    if len(bad):
        row = int(bad[0])
        raise TrainingError(
            f"bar {row} ({iso(int(bars.open_time[row]))}) has close {bars.close[row]}; "
            "a close must be a finite number above zero: fetch the bar again or drop it"
        )


def follows(bars: Bars, interval: Interval) -> NDArray[np.bool_]:
    """Return [n] whether each bar opens where the one before it ended; the first one does."""
    times = bars.open_time.tolist()
    joined = (interval.end(earlier) == later for earlier, later in itertools.pairwise(times))
    return np.fromiter(itertools.chain((True,), joined), np.bool_, len(times))


@dataclass(frozen=True, slots=True)
class Material:
    """n bars and what is known about each of them."""

    bars: Bars
    interval: Interval
    labels: Labelled
    """[n]"""
    regimes: Classes
    """[n] confirmed regime."""


def material(
    bars: Bars, interval: Interval, *, rule: str, params: LabelParams, regime: str
) -> Material:
    """Label all bars. Raises TrainingError for bad bars, ValueError for an unknown name."""
    refuse_bad_bars(bars)
    confirmed = bar_regimes(bars, interval, regime)[:, 1]
    return Material(bars, interval, label_rule(rule)(bars, params, confirmed), confirmed)


def notebook_rows(of: Material, features: FeatureSet) -> Dataset:
    """Return every complete row, by row, those without a future included.

    Raises TrainingError, or VerificationError for a column that is called like a label.
    """
    everything = np.ones(len(of.bars), dtype=np.bool_)
    return _dataset(of, features, _Fit(everything, everything, everything))


def honest_rows(of: Material, features: FeatureSet, lookahead: int) -> Dataset:
    """Return the rows whose future is there and that no hole reaches; raises as `notebook_rows`.

    A row needs all `lookahead` bars ahead of it, also where its class is known earlier: near the
    end of the bars, only the quick ones would be left.
    """
    breaks = np.cumsum(~follows(of.bars, of.interval))
    at = np.arange(len(of.bars))
    first_seen = np.maximum(at - (features.window - 1), 0)
    last_seen = np.minimum(at + lookahead, len(at) - 1)
    fit = _Fit(
        known=at + lookahead < len(at),
        whole_behind=breaks[at] == breaks[first_seen],
        whole_ahead=breaks[last_seen] == breaks[at],
    )
    return _dataset(of, features, fit)


@dataclass(frozen=True, slots=True)
class _Fit:
    """Which bars [n] can be rows, but for their features."""

    known: NDArray[np.bool_]
    whole_behind: NDArray[np.bool_]
    whole_ahead: NDArray[np.bool_]


def _dataset(of: Material, features: FeatureSet, fit: _Fit) -> Dataset:
    refuse_denied_columns(features.columns)
    count = len(of.bars)
    warm = np.arange(count) >= features.window - 1
    behind = warm & fit.known & fit.whole_behind
    usable = behind & fit.whole_ahead
    kept, finite = _features(of, features, usable)
    rows = np.flatnonzero(usable)[finite]
    dropped = Dropped(
        warm_up=int(np.count_nonzero(~warm)),
        unlabelled=int(np.count_nonzero(warm & ~fit.known)),
        gap_behind=int(np.count_nonzero(warm & fit.known & ~behind)),
        gap_ahead=int(np.count_nonzero(behind & ~usable)),
        not_finite=int(np.count_nonzero(~finite)),
    )
    _refuse_few(count, len(rows), features, dropped)
    return Dataset(
        of.bars.open_time[rows],
        rows,
        of.labels.ends[rows],
        kept,
        of.labels.classes[rows],
        of.regimes[rows],
        dropped,
    )


def _features(
    of: Material, features: FeatureSet, usable: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the finite ones of the usable rows, and which of the usable rows they are."""
    parts, finite, start = [], [], 0
    absent = np.ones(len(features.columns), dtype=np.bool_)
    for block in features.blocks(of.bars, of.interval):
        rows = block[usable[start : start + len(block)]]
        whole = np.asarray(np.isfinite(rows))
        absent &= ~whole.any(axis=0)
        finite.append(whole.all(axis=1))
        parts.append(rows[finite[-1]])
        start += len(block)
    if usable.any() and absent.any():
        raise TrainingError(_absent_columns(features, absent))
    if not parts:
        return np.empty((0, len(features.columns))), np.zeros(0, dtype=np.bool_)
    return np.concatenate(parts), np.concatenate(finite)


def _absent_columns(features: FeatureSet, absent: NDArray[np.bool_]) -> str:
    names = [name for name, gone in zip(features.columns, absent, strict=True) if gone]
    return (
        f"{len(names)} column(s) of the feature set {features.name!r} have no finite value in any "
        f"row ({', '.join(names[:5])}): the candles lack what these are made of; fetch candles "
        "that have it, or choose a feature set that does not need it"
    )


def _refuse_few(bars: int, rows: int, features: FeatureSet, dropped: Dropped) -> None:
    if rows >= FEWEST_ROWS:
        return
    raise TrainingError(
        f"{bars} bars give {rows} rows (the first {features.window - 1} only fill the averages; "
        f"{dropped.unlabelled} have no known future, {dropped.gap_behind + dropped.gap_ahead} are "
        f"reached by a gap, {dropped.not_finite} are not finite); training needs {FEWEST_ROWS} "
        "rows or more: fetch a longer history"
    )
