"""Candle files as tables of closed bars of one interval: every form in, one form out.

Reads into `Bars` and refuses whatever could not be such a table, naming file, row, column and mend.
Holes are facts, not errors: they are reported. Knows nothing of exchanges, models or pandas.

The layout written is that of Binance's bulk dumps,
https://github.com/binance/binance-public-data#klines ::

    open_time,open,high,low,close,volume,close_time,quote_volume,trades,taker_buy_base,taker_buy_quote,ignore
    1640995200000,46216.93,46731.39,46208.37,46656.13,1503.33095,1640998799999,69879986.3904993,38608,...,0

The same columns are read with or without a header, with times in any unit (the dumps of spot are in
microseconds since 2025), from CSV, gzip, zip, parquet and lists in JSON; other exports by the names
of their columns (see `names`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import RULES, Bars, Interval, iso
from candled_adapters.candles import slots
from candled_adapters.candles.candletable import CandleTable, merged, read_table
from candled_adapters.candles.names import CandleForm
from candled_adapters.candles.slots import infer_interval
from candled_adapters.candles.source import CandleFileError
from candled_adapters.candles.writing import write_candles

__all__ = [
    "CandleFile",
    "CandleFileError",
    "import_candles",
    "infer_interval",
    "read_candles",
    "write_candles",
]


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
    repeated: int = 0
    """Rows that were there more than once, equal; only `import_candles` allows them."""


def read_candles(
    path: Path,
    interval: Interval | None = None,
    *,
    now_ms: int | None = None,
    form: CandleForm | None = None,
) -> CandleFile:
    """Read the bars of one file.

    How it is packed and what form it has is told by its content and its column names; `form` says
    what they do not. `open_time`, OHLC and volume are required; another absent column or empty cell
    is NaN, and an absent `close_time` is the end of the slot minus 1 ms. Columns that mean nothing
    here are ignored. Rows may descend; otherwise each time must come after the last. Without
    `interval` the most common step between rows is taken. With `now_ms` (UTC ms) a last bar that
    has not closed by then is dropped. Raises `CandleFileError`.
    """
    return checked(read_table(path, form or CandleForm()), interval, now_ms=now_ms)


def import_candles(
    paths: Sequence[Path],
    interval: Interval | None = None,
    *,
    now_ms: int | None = None,
    form: CandleForm | None = None,
) -> CandleFile:
    """Read one or more files as one table: joined in order of time, equal repetitions dropped.

    Otherwise as `read_candles`; rows of the same time that differ are refused.
    """
    tables = [read_table(path, form or CandleForm()) for path in paths]
    name = paths[0] if len(paths) == 1 else Path(f"{len(paths)} files")
    whole, repeated = merged(name, tables)
    return checked(whole, interval, now_ms=now_ms, repeated=repeated)


def checked(
    table: CandleTable, interval: Interval | None, *, now_ms: int | None = None, repeated: int = 0
) -> CandleFile:
    """Make a candle file of a table that has nothing wrong with it. Raises `CandleFileError`."""
    _check_order(table)
    interval = interval or _inferred(table)
    _check_grid(table, interval)
    bars = table.bars(interval)
    _check_rules(table, bars)
    _check_ends(table, interval, bars)
    kept = len(bars) - _still_open(table, bars, now_ms)
    closed = bars[:kept]
    return CandleFile(
        path=table.path,
        interval=interval,
        bars=closed,
        gaps=slots.gaps(interval, closed.open_time),
        dropped_open_bar=kept < len(bars),
        repeated=repeated,
    )


def _check_order(table: CandleTable) -> None:
    opens = table.opens
    wrong = np.flatnonzero(np.diff(opens) <= 0)
    if not len(wrong):
        return
    index = int(wrong[0]) + 1
    at = iso(int(opens[index]))
    if opens[index] == opens[index - 1]:
        what = f"{at} is there twice (also in {table.at(index - 1)})"
        raise table.error(index, "open_time", what, "remove the duplicate")
    what = f"{at} comes after the later {iso(int(opens[index - 1]))}"
    mend = "sort the rows by open_time, oldest first (`candled candles import` does)"
    raise table.error(index, "open_time", what, mend)


def _inferred(table: CandleTable) -> Interval:
    try:
        return infer_interval(table.opens)
    except ValueError as error:
        mend = "say which interval the file has"
        raise CandleFileError(table.path, None, "open_time", str(error), mend) from None


def _check_grid(table: CandleTable, interval: Interval) -> None:
    """Refuse rows off the grid, and a file whose steps are all longer than the interval."""
    opens = table.opens
    off = np.flatnonzero(~slots.on_grid(interval, opens))
    if len(off):
        index = int(off[0])
        what = f"{iso(int(opens[index]))} is not on the {interval} grid (UTC){hint(opens)}"
        raise table.error(index, "open_time", what, "check the interval and the time zone")
    steps = slots.steps(interval, opens)
    if len(steps) > 1 and steps.min() > 1:
        what = f"no two rows are one {interval} apart{hint(opens)}"
        raise CandleFileError(table.path, None, "open_time", what, "check the interval")
    broken = np.flatnonzero(steps % 1)
    if len(broken):
        index = int(broken[0]) + 1
        what = f"{iso(int(opens[index]))} is not a whole number of {interval} after the last row"
        raise table.error(index, "open_time", what, "check the interval")


def hint(opens: NDArray[np.int64]) -> str:
    """Say which interval the steps suggest, or nothing."""
    try:
        return f"; by its steps the file has {infer_interval(opens)}"
    except ValueError:
        return ""


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
    ends = slots.ends(interval, bars.open_time)
    long = np.flatnonzero(bars.close_time >= ends)
    if len(long):
        index = int(long[0])
        what = f"{iso(int(bars.close_time[index]))} is not before the end of the {interval} bar"
        mend = "check the interval; the last millisecond of a bar is its close_time"
        raise table.error(index, "close_time", what + hint(bars.open_time), mend)
    if not np.any(bars.close_time == ends - 1):
        what = f"no row ends where a {interval} bar ends{hint(bars.open_time)}"
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
