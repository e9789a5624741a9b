"""The exported feature table: bars, a set's columns, regimes and labels, block by block or whole.

Feature values come from the set's own kernel and regimes from the core's machine. This file adds
only what an exported table has beyond them: regimes and labels across the borders of blocks, and
for `mar` the warm-up rows as plain pandas makes them and whole numbers as integers. How a table
becomes a file is not known here; see `tablefile`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from candled.core.bar import COLUMNS as BAR_COLUMNS
from candled.core.bar import Bars, Interval
from candled.core.features import FeatureSet
from candled.core.features.mar import COLUMNS, MAR, PERIODS, REGIME_INPUTS, TYPES
from candled.core.features.sums import total
from candled.core.labels import LabelParams, WindowLabels, window_labels
from candled.core.regime import NAMES, RegimeMachine, regime_rule

Floats = NDArray[np.float64]
Columns = dict[str, NDArray[Any]]
"""Some rows of a table: arrays of one length by name, in the table's order."""

REGIMES: Final = ("raw_regime", "regime")
LABELS: Final = tuple(WindowLabels.__dataclass_fields__)

_AT: Final = {name: index for index, name in enumerate(COLUMNS)}
_FLAGS: Final = ("compression", "expansion", "cross_above", "cross_below")
_COUNTS: Final = tuple(f"{side}_count_{t}" for side in ("bullish", "bearish") for t in TYPES)
_WHOLE: Final = frozenset((*_FLAGS, *_COUNTS))
_NAMES: Final = np.array(NAMES, dtype=object)
_BLOCK: Final = 2000


def feature_table(
    bars: Bars,
    interval: Interval,
    *,
    features: FeatureSet = MAR,
    regime: str = "notebook",
    labels: LabelParams | None = None,
    raw: bool = False,
) -> pd.DataFrame:
    """Return a frame with one row for each of the n bars, warm-up rows included.

    Columns: ``open_time`` (UTC ms), ``close``, the k features in order, ``raw_regime`` and
    ``regime`` of the preset called `regime`; with `labels` also ``future_high``, ``future_low``,
    ``future_return_up``, ``future_return_down``, ``signal_long``, ``signal_short``, ``signal``.
    With `raw` it is the notebook's own table: all 11 columns of the bars instead of two, and
    ``regime_name`` after ``regime``. Rows before the set's window is full are warm-up: of `mar`
    the first 40, in which averages that are not there yet are NaN and counts are 0.

    Raises:
        ValueError: an unknown preset, or a set with a column that the table has already.
    """
    blocks = list(
        table_blocks(bars, interval, features=features, regime=regime, labels=labels, raw=raw)
    )
    return pd.DataFrame({name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]})


def table_blocks(
    bars: Bars,
    interval: Interval,
    *,
    features: FeatureSet = MAR,
    regime: str = "notebook",
    labels: LabelParams | None = None,
    raw: bool = False,
    size: int = _BLOCK,
) -> Iterator[Columns]:
    """Yield the rows of `feature_table` in blocks of at most `size` rows, oldest first.

    Put together they are the whole table, bit for bit, for any size; memory is bounded by the
    block. Without bars there is one block, of no rows. Raises ValueError, like `feature_table`.
    """
    machine = RegimeMachine(regime_rule(regime))
    bar_columns = BAR_COLUMNS if raw else ("open_time", "close")
    _refuse_doubles(features, bar_columns)
    start = 0
    nothing = np.empty((0, len(features.columns)))
    for block in chain(features.blocks(bars, interval, size), () if len(bars) else (nothing,)):
        end = start + len(block)
        columns: Columns = {name: getattr(bars, name)[start:end] for name in bar_columns}
        columns |= _feature_columns(features, block, start)
        both = machine.steps(_regime_inputs(bars, interval, start, end))
        columns |= _regime_columns(both, named=raw)
        if labels is not None:
            columns |= _label_columns(bars, labels, both[:, 1], start)
        yield columns
        start = end


def _refuse_doubles(features: FeatureSet, bar_columns: tuple[str, ...]) -> None:
    others = {*bar_columns, *REGIMES, "regime_name", *LABELS}
    doubled = [name for name in features.columns if name in others]
    if doubled:
        raise ValueError(
            f"feature set {features.name!r} has a column {doubled[0]!r}, and so has every table; "
            "give the set's column another name"
        )


def _regime_inputs(bars: Bars, interval: Interval, start: int, end: int) -> Floats:
    """Return the rows from `start` to before `end`; they need a window of bars before them."""
    first = max(0, start - REGIME_INPUTS.window + 1)
    return REGIME_INPUTS.table(bars[first:end], interval)[start - first :]


def _regime_columns(both: NDArray[np.int8], *, named: bool) -> Columns:
    columns: Columns = {name: both[:, at].astype(np.int64) for at, name in enumerate(REGIMES)}
    return columns | ({"regime_name": _NAMES[both[:, 1]]} if named else {})


def _label_columns(
    bars: Bars, params: LabelParams, regime: NDArray[np.int8], start: int
) -> Columns:
    """Label the rows that have these regimes [m]; they need the bars ahead of them."""
    count = len(regime)
    seen = bars[start : start + count + params.lookahead_bars]
    settled = np.zeros(len(seen), dtype=np.int8)
    settled[:count] = regime
    made = window_labels(seen, params, settled)
    columns = {name: getattr(made, name)[:count] for name in LABELS}
    return {n: c.astype(np.int64) if c.dtype.kind == "i" else c for n, c in columns.items()}


def _feature_columns(features: FeatureSet, block: Floats, start: int) -> Columns:
    if features.name != MAR.name:
        return dict(zip(features.columns, block.T, strict=True))
    _complete_warm_up(block[: max(0, MAR.window - 1 - start)])
    return {
        name: block[:, at].astype(np.int64) if name in _WHOLE else block[:, at]
        for name, at in _AT.items()
    }


def _complete_warm_up(rows: Floats) -> None:
    """Fill what pandas, which skips NaN, has before all 32 averages are there.

    In place, and only where the kernel gave NaN: the rows are not for models, but a table that
    people compare with their own should agree from the first row on.
    """
    for t in TYPES:
        first, slope = _AT[f"ma{PERIODS[0]}_{t}"], _AT[f"slope_ma{PERIODS[0]}_{t}"]
        ribbon = rows[:, first : first + len(PERIODS)]
        slopes = rows[:, slope : slope + len(PERIODS)]
        _fill(rows[:, _AT[f"ma_std_{t}"]], _std_of_present(ribbon))
        _fill(rows[:, _AT[f"avg_slope_{t}"]], _mean_of_present(slopes))


def _fill(column: Floats, values: Floats) -> None:
    absent = np.isnan(column)
    column[absent] = values[absent]


def _mean_of_present(values: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # none present: 0 / 0 is the NaN that is wanted
        return np.asarray(_total_of_present(values) / _present(values))


def _total_of_present(values: Floats) -> Floats:
    return total(np.where(np.isnan(values), 0.0, values))


def _present(values: Floats) -> NDArray[np.intp]:
    return np.asarray(np.count_nonzero(~np.isnan(values), axis=1))


def _std_of_present(values: Floats) -> Floats:
    deviation = values - _mean_of_present(values)[:, None]
    present = _present(values)
    freedom = np.where(present > 1, present - 1, np.nan)
    return np.asarray(np.sqrt(_total_of_present(deviation * deviation) / freedom))
