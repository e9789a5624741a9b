"""The exported feature table: bars, the 220 columns, regimes and labels in one frame.

Feature values come from the set's own kernel and regimes from the core's machine. This file adds
only what an exported table has beyond them: the warm-up rows as plain pandas makes them, whole
numbers as integers, and a text form that reads back to the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from candled.core.bar import Bars, Interval
from candled.core.features import feature_set
from candled.core.features.mar import COLUMNS, PERIODS, TYPES
from candled.core.regime import INPUTS, regime_rule, regimes
from candled.lab.labels import LabelParams, window_labels
from candled.lab.textfile import write_chunks

Floats = NDArray[np.float64]

_SET: Final = "mar"
_AT: Final = {name: index for index, name in enumerate(COLUMNS)}
_FLAGS: Final = ("compression", "expansion", "cross_above", "cross_below")
_COUNTS: Final = tuple(f"{side}_count_{t}" for side in ("bullish", "bearish") for t in TYPES)
_WHOLE: Final = frozenset((*_FLAGS, *_COUNTS))
_ROWS_A_CHUNK: Final = 2048


def feature_table(
    bars: Bars,
    interval: Interval,
    *,
    regime: str = "notebook",
    labels: LabelParams | None = None,
) -> pd.DataFrame:
    """Return a frame with one row for each of the n bars, warm-up rows included.

    Columns: ``open_time`` (UTC ms), ``close``, the 220 features in order, ``raw_regime`` and
    ``regime`` of the preset called `regime`; with `labels` also ``future_high``, ``future_low``,
    ``future_return_up``, ``future_return_down``, ``signal_long``, ``signal_short``, ``signal``.
    The first 40 rows are warm-up: averages that are not there yet are NaN, counts are 0.

    Raises:
        ValueError: an unknown preset.
    """
    table = feature_set(_SET).table(bars, interval)
    both = table_regimes(table, regime)
    _complete_warm_up(table[: feature_set(_SET).window - 1])
    columns: dict[str, NDArray[np.generic]] = {"open_time": bars.open_time, "close": bars.close}
    columns.update((name, _exported(name, table[:, at])) for name, at in _AT.items())
    columns["raw_regime"] = both[:, 0].astype(np.int64)
    columns["regime"] = both[:, 1].astype(np.int64)
    if labels is not None:
        columns.update(_label_columns(bars, labels, both[:, 1]))
    return pd.DataFrame(columns)


def table_regimes(table: Floats, preset: str) -> NDArray[np.int8]:
    """Return raw and confirmed regimes [n, 2] of the kernel's table [n, 220], from its first row.

    Raises ValueError for an unknown preset.
    """
    return regimes(regime_rule(preset), table[:, [_AT[name] for name in INPUTS]])


def _label_columns(
    bars: Bars, params: LabelParams, regime: NDArray[np.int8]
) -> dict[str, NDArray[np.generic]]:
    made = window_labels(bars, params, regime)
    return {
        "future_high": made.future_high,
        "future_low": made.future_low,
        "future_return_up": made.future_return_up,
        "future_return_down": made.future_return_down,
        "signal_long": made.signal_long.astype(np.int64),
        "signal_short": made.signal_short.astype(np.int64),
        "signal": made.signal.astype(np.int64),
    }


def _exported(name: str, values: Floats) -> NDArray[np.generic]:
    return values.astype(np.int64) if name in _WHOLE else values


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
        return np.asarray(np.nansum(values, axis=1) / _present(values))


def _present(values: Floats) -> NDArray[np.intp]:
    return np.asarray(np.count_nonzero(~np.isnan(values), axis=1))


def _std_of_present(values: Floats) -> Floats:
    deviation = values - _mean_of_present(values)[:, None]
    present = _present(values)
    freedom = np.where(present > 1, present - 1, np.nan)
    return np.asarray(np.sqrt(np.nansum(deviation * deviation, axis=1) / freedom))


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame of numbers as CSV, or gzipped CSV if `path` ends in ``.gz``.

    Floats are written with the fewest digits that read back to the same bits, NaN as nothing. (To
    read them so, pandas before 3 must be told ``float_precision="round_trip"``.) The same frame
    gives the same bytes. The file appears whole or not at all.

    Raises:
        ValueError: a column that is not of numbers, or that holds an infinity.
        OSError: the file cannot be written.
    """
    for name in frame.columns:
        _refuse_unwritable(str(name), frame[name])
    write_chunks(path, _csv(frame))


def _refuse_unwritable(name: str, column: pd.Series) -> None:
    if column.dtype.kind not in "iuf":
        raise ValueError(f"column {name!r} is of type {column.dtype}; only numbers can be written")
    rows = np.flatnonzero(np.isinf(column.to_numpy()))
    if len(rows):
        raise ValueError(f"column {name!r} is infinite in row {rows[0]}; mend the bars behind it")


def _csv(frame: pd.DataFrame) -> Iterator[bytes]:
    yield (",".join(map(str, frame.columns)) + "\n").encode()
    encode = msgspec.json.Encoder().encode
    for start in range(0, len(frame), _ROWS_A_CHUNK):
        part = frame.iloc[start : start + _ROWS_A_CHUNK]
        rows = zip(*(part[name].tolist() for name in part.columns), strict=True)
        lines = b"\n".join(encode(row)[1:-1] for row in rows)
        yield lines.replace(b"null", b"") + b"\n"
