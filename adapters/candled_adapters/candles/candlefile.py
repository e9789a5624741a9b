"""Candle files: CSV, plain or gzipped, with Binance's kline columns, in and out.

Reads into `Bars` and refuses whatever could not be a table of closed bars of one interval, naming
file, row, column and mend. Holes are facts, not errors: they are reported. Knows nothing of
exchanges, models or pandas.

The layout is that of Binance's bulk dumps, https://github.com/binance/binance-public-data#klines ::

    open_time,open,high,low,close,volume,close_time,quote_volume,trades,taker_buy_base,taker_buy_quote,ignore
    1640995200000,46216.93,46731.39,46208.37,46656.13,1503.33095,1640998799999,69879986.3904993,38608,...,0
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import COLUMNS, DAY, INTERVALS, RULES, Bars, Interval, iso
from candled_adapters.candles.candletable import LAYOUT, TIMES, CandleFileError, CandleTable

_MONTH: Final = Interval("1M")

__all__ = ["CandleFile", "CandleFileError", "infer_interval", "read_candles", "write_candles"]


@dataclass(frozen=True, slots=True)
class CandleFile:
    """What a candle file holds."""

    path: Path
    interval: Interval
    bars: Bars
    """Closed bars, strictly ascending by open time, each sane by `candled.core.bar.RULES`."""
    gaps: tuple[tuple[int, int], ...]
    """Absent slots between the bars as (open time of the first, how many in a row)."""
    dropped_open_bar: bool
    """Whether the last row was a bar that had not closed at `now_ms`; it is not in `bars`."""


def read_candles(
    path: Path, interval: Interval | None = None, *, now_ms: int | None = None
) -> CandleFile:
    """Read the bars of one file.

    Gzip is told by content. A header is optional: without one the file has Binance's 11 or 12
    columns in order. `open_time`, OHLC and volume are required; another absent column or empty cell
    is NaN, and an absent `close_time` is the end of the slot minus 1 ms. Columns that mean nothing
    here are ignored. Without `interval` the most common step between rows is taken. With `now_ms`
    (UTC ms) a last bar that has not closed by then is dropped. Raises `CandleFileError`.
    """
    table = CandleTable.read(path)
    opens = table.times("open_time")
    _check_order(table, opens)
    interval = interval or _inferred(table, opens)
    _check_grid(table, interval, opens)
    bars = _bars(table, interval, opens)
    _check_rules(table, bars)
    _check_ends(table, interval, bars)
    kept = len(bars) - _still_open(table, bars, now_ms)
    closed = bars[:kept]
    return CandleFile(path, interval, closed, _gaps(interval, closed), kept < len(bars))


def write_candles(path: Path, bars: Bars) -> None:
    """Write the bars with all 12 columns, gzipped when the name ends in ``.gz``.

    Floats are written as their shortest exact decimal, NaN as an empty cell; the same bars give the
    same bytes. The file appears whole or not at all. Raises `OSError`.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(LAYOUT)
    cells = [[_cell(x) for x in getattr(bars, name).tolist()] for name in COLUMNS]
    writer.writerows(zip(*cells, ["0"] * len(bars), strict=True))
    data = out.getvalue().encode()
    _replace(path, gzip.compress(data, 6, mtime=0) if path.name.endswith(".gz") else data)


def infer_interval(open_times: Sequence[int] | NDArray[np.int64]) -> Interval:
    """Return the interval whose length is the most common step. Raises `ValueError` without one."""
    steps, counts = np.unique(np.diff(np.asarray(open_times, dtype=np.int64)), return_counts=True)
    if not len(steps):
        raise ValueError("one row alone does not tell its interval")
    step = int(steps[np.argmax(counts)])
    if 28 * DAY <= step <= 31 * DAY:
        return _MONTH
    for interval in INTERVALS:
        if interval != _MONTH and interval.typical_ms == step:
            return interval
    raise ValueError(f"the most common step between rows is {step} ms, which is no known interval")


def _check_order(table: CandleTable, opens: NDArray[np.int64]) -> None:
    wrong = np.flatnonzero(np.diff(opens) <= 0)
    if not len(wrong):
        return
    index = int(wrong[0]) + 1
    at = iso(int(opens[index]))
    if opens[index] == opens[index - 1]:
        what = f"{at} is there twice (also in row {table.rows[index - 1]})"
        raise table.error(index, "open_time", what, "remove the duplicate")
    what = f"{at} comes after the later {iso(int(opens[index - 1]))}"
    raise table.error(index, "open_time", what, "sort the rows by open_time, oldest first")


def _inferred(table: CandleTable, opens: NDArray[np.int64]) -> Interval:
    try:
        return infer_interval(opens)
    except ValueError as error:
        mend = "say which interval the file has"
        raise CandleFileError(table.path, None, "open_time", str(error), mend) from None


def _check_grid(table: CandleTable, interval: Interval, opens: NDArray[np.int64]) -> None:
    """Refuse rows off the grid, and a file whose steps are all longer than the interval."""
    for index, opened in enumerate(opens.tolist()):
        if not interval.on_grid(opened):
            what = f"{iso(opened)} is not on the {interval} grid (UTC){_hint(opens)}"
            raise table.error(index, "open_time", what, "check the interval and the time zone")
    steps = _steps(interval, opens)
    if len(steps) > 1 and min(steps) > 1:
        what = f"no two rows are one {interval} apart{_hint(opens)}"
        raise CandleFileError(table.path, None, "open_time", what, "check the interval")
    for index, step in enumerate(steps, 1):
        if step != int(step):
            what = (
                f"{iso(int(opens[index]))} is not a whole number of {interval} after the last row"
            )
            raise table.error(index, "open_time", what, "check the interval")


def _hint(opens: NDArray[np.int64]) -> str:
    try:
        return f"; by its steps the file has {infer_interval(opens)}"
    except ValueError:
        return ""


def _steps(interval: Interval, opens: NDArray[np.int64]) -> list[float]:
    """Distance between neighbouring rows, in slots."""
    if interval != _MONTH:
        return [float(step) for step in np.diff(opens) / interval.typical_ms]
    months = opens.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    return [float(step) for step in np.diff(months)]


def _bars(table: CandleTable, interval: Interval, opens: NDArray[np.int64]) -> Bars:
    columns: dict[str, Any] = {name: table.numbers(name) for name in COLUMNS if name not in TIMES}
    if "close_time" in table.columns:
        closes = table.times("close_time")
    else:
        closes = np.array([interval.end(x) - 1 for x in opens.tolist()], dtype=np.int64)
    return Bars(open_time=opens, close_time=closes, **columns)


def _check_rules(table: CandleTable, bars: Bars) -> None:
    """Raise for the first row that breaks a rule."""
    first: tuple[int, int] | None = None
    with np.errstate(invalid="ignore"):  # NaN and infinity are among the things looked for
        for number, rule in enumerate(RULES):
            broken = np.flatnonzero(~rule.holds(bars))
            if len(broken) and (first is None or broken[0] < first[0]):
                first = (int(broken[0]), number)
    if first is None:
        return
    index, number = first
    rule = RULES[number]
    found = getattr(bars, rule.field)[index].item()
    what = f"{rule.field} {found} {rule.demand}"
    raise table.error(index, rule.field, what, "fetch this candle again or remove the row")


def _check_ends(table: CandleTable, interval: Interval, bars: Bars) -> None:
    """Refuse bars that are longer than a slot, or all shorter than one."""
    ends = np.array([interval.end(x) for x in bars.open_time.tolist()], dtype=np.int64)
    long = np.flatnonzero(bars.close_time >= ends)
    if len(long):
        index = int(long[0])
        what = f"{iso(int(bars.close_time[index]))} is not before the end of the {interval} bar"
        mend = "check the interval; the last millisecond of a bar is its close_time"
        raise table.error(index, "close_time", what + _hint(bars.open_time), mend)
    if not np.any(bars.close_time == ends - 1):
        what = f"no row ends where a {interval} bar ends{_hint(bars.open_time)}"
        raise CandleFileError(table.path, None, "close_time", what, "check the interval")


def _still_open(table: CandleTable, bars: Bars, now_ms: int | None) -> int:
    """Return how many bars at the end have not closed by `now_ms`: 0 or 1."""
    if now_ms is None:
        return 0
    late = np.flatnonzero(bars.close_time >= now_ms)
    if len(late) > 1:
        index = int(late[1])
        what = f"{iso(int(bars.open_time[index]))} is in the future; it is now {iso(now_ms)}"
        raise table.error(index, "open_time", what, "check the clock and the file")
    return len(late)


def _gaps(interval: Interval, bars: Bars) -> tuple[tuple[int, int], ...]:
    steps = _steps(interval, bars.open_time)
    return tuple(
        (interval.end(int(bars.open_time[index])), int(step) - 1)
        for index, step in enumerate(steps)
        if step > 1
    )


def _cell(value: float) -> str:
    """Shortest exact decimal of a number; whole numbers without ``.0``, NaN as nothing."""
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return ""
    return repr(value).removesuffix(".0")


def _replace(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp's 0600 would hide the file from other accounts
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
