"""Between pandas frames and bars: what a notebook has, and what everything else here takes.

A frame of candles has Binance's column names and a row for each closed bar. It is judged by the
rules that a candle file is judged by; knows no features, labels or models.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from candled.core.bar import COLUMNS, TIME_COLUMNS, Bars, Interval, iso
from candled.offline.files import candles_of, now_ms
from candled_adapters.candles.candlefile import CandleFile, checked
from candled_adapters.candles.candletable import CandleTable, strict
from candled_adapters.candles.names import REQUIRED, CandleForm, Header, positions
from candled_adapters.candles.rows import moments
from candled_adapters.candles.source import CandleFileError
from candled_adapters.simulator.generator import generate

_NAME: Final = Path("frame")  # what messages call it before they are translated
_SAMPLES: Final = 50
_TIME: Final = "open_time"
_WANTED: Final = (
    "give a DatetimeIndex or a column open_time, and columns "
    f"{', '.join(REQUIRED[1:])} (others are optional)"
)


class FrameError(ValueError):
    """A frame that is no table of candles; the text names the row and column, and the mend."""


@dataclass(frozen=True, slots=True)
class Candles:
    """A frame of candles, understood."""

    file: CandleFile
    """Its n closed bars, as if they had been read from a file."""
    index: pd.Index[Any]
    """[n] the frame's own, which what is made of the bars gets too."""

    @property
    def bars(self) -> Bars:
        """The n bars."""
        return self.file.bars

    @property
    def interval(self) -> Interval:
        """How long a bar is."""
        return self.file.interval

    def at(self, open_time: NDArray[np.int64]) -> pd.Index[Any]:
        """Return the labels of the bars that open at these times [m] (UTC ms)."""
        return self.index[np.searchsorted(self.bars.open_time, open_time)]


def read_candles(path: str | os.PathLike[str], interval: str | None = None) -> pd.DataFrame:
    """Read a candle file: CSV, gzip, zip or parquet, of any form that `candled fetch` knows.

    Args:
        path: of the file.
        interval: name such as ``1h``; None is the most common step between rows.

    Returns:
        A frame with one row for each closed bar, n in all. The index is ``open_time``, a
        `DatetimeIndex` in UTC. Columns: ``open, high, low, close`` in quote units, ``volume`` in
        base units, ``close_time`` (UTC, the bar's last millisecond), ``quote_volume, trades,
        taker_buy_base, taker_buy_quote``; NaN where the file has none. A last bar that has not
        closed yet is not there.

    Raises:
        CandleFileError: names the file, the row, the column, and the mend.
        ValueError: an unknown interval.

    >>> candled.synthetic_candles(50).to_csv("BTCUSDT_1h.csv")
    >>> candled.read_candles("BTCUSDT_1h.csv").shape
    (50, 10)
    """
    file = candles_of(Path(path), Interval(interval) if interval else None)
    return frame_of(file.bars)


def synthetic_candles(
    count: int = 5000,
    *,
    seed: int = 0,
    interval: str = "1h",
    start: str = "2024-01-01",
    price: float = 30_000.0,
) -> pd.DataFrame:
    """Make candles from a seed: a random walk that looks like a market and holds no information.

    Nothing in it can be predicted. A model that shows skill on it is wrong; use it to try things
    out. The same arguments give the same candles.

    Args:
        count: of bars.
        seed: of the walk, 0 or more.
        interval: name such as ``1h``.
        start: open of the first bar, UTC, on the interval's grid.
        price: first open, in quote units.

    Returns:
        A frame as `read_candles` gives it.

    Raises:
        ValueError: an unknown interval, a start off its grid, a negative count or seed.

    >>> candles = candled.synthetic_candles(3, seed=7)
    >>> candles["close"].tolist()
    [30005.66, 30113.04, 29894.07]
    """
    first = pd.Timestamp(start)
    first = first.tz_localize("UTC") if first.tz is None else first.tz_convert("UTC")
    return frame_of(
        generate(seed, Interval(interval), int(first.timestamp() * 1000), count, price=price)
    )


def bars(candles: pd.DataFrame, interval: str | None = None) -> Bars:
    """Turn a frame of candles into the program's own table of bars, after checking every row.

    Args:
        candles: n closed bars, oldest first. The time of a row is its open, UTC: the frame's
            `DatetimeIndex`, or a column ``open_time`` of timestamps, ISO text or whole numbers
            (milliseconds; seconds, micro- and nanoseconds are told by their size). A time without
            a zone is UTC. Needed are ``open, high, low, close, volume``; ``close_time,
            quote_volume, trades, taker_buy_base, taker_buy_quote`` are NaN where absent. The usual
            other spellings (``Open``, ``Date``, ``Number of trades``) are known too.
        interval: name such as ``1h``; None is the most common step between rows.

    Returns:
        `Bars`, a numpy array of n for each of the 11 columns; times are int64 UTC milliseconds.

    Raises:
        FrameError: a column that is not there, a cell that is no number or time, rows out of
            order or twice, prices that cannot be, times off the interval's grid, or a last bar
            that has not closed yet. Names the row and the column, and says what to do.
        ValueError: an unknown interval.

    >>> made = candled.bars(candled.synthetic_candles(100))
    >>> len(made), made.close.dtype
    (100, dtype('float64'))
    """
    return understood(candles, interval).bars


def frame_of(table: Bars) -> pd.DataFrame:
    """Return bars as a frame, indexed by ``open_time`` (UTC); `bars` gives the same bars back."""
    columns: dict[str, Any] = {name: getattr(table, name) for name in COLUMNS if name != _TIME}
    columns["close_time"] = _utc(table.close_time)
    return pd.DataFrame(columns, index=pd.DatetimeIndex(_utc(table.open_time), name=_TIME))


def understood(candles: pd.DataFrame, interval: str | None) -> Candles:
    """Check a frame and return its bars; raises as `bars` does."""
    if not isinstance(candles, pd.DataFrame):
        raise FrameError(f"candles are a {type(candles).__name__}, not a data frame; {_WANTED}")
    if candles.empty:
        raise FrameError(f"the frame is empty; {_WANTED}")
    asked = Interval(interval) if interval else None
    try:
        timed = _with_times(candles)
        file = checked(_table(timed, _columns(timed)), asked)
    except CandleFileError as error:
        raise _told(error, candles) from None
    _refuse_open_bar(file.bars, file.interval)
    return Candles(file, candles.index)


def _with_times(candles: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its index as the column of times, where that is what tells them."""
    index = candles.index
    if not isinstance(index, pd.DatetimeIndex):
        return candles
    if _TIME not in candles.columns:
        return candles.assign(**{_TIME: index})
    column = _times(candles[_TIME], _TIME)
    differs = np.flatnonzero(column != _times(index.to_series(), _TIME))
    if len(differs):
        raise FrameError(
            f"row {differs[0]}: the index says {index[differs[0]]}, the column open_time "
            f"{iso(int(column[differs[0]]))}; drop the one that is not the bar's open"
        )
    return candles


def _columns(candles: pd.DataFrame) -> dict[str, int]:
    """Return the position of each column of a bar."""
    names = [str(name) for name in candles.columns]
    head = candles.head(_SAMPLES).astype(str).to_numpy().tolist()
    try:
        return positions(_NAME, Header(names, None, 0), head, CandleForm())
    except CandleFileError as error:
        raise FrameError(f"column {error.column}: {error.what}; {_WANTED}") from None


def _table(candles: pd.DataFrame, where: dict[str, int]) -> CandleTable:
    columns: dict[str, NDArray[Any]] = {}
    for name, at in where.items():
        read = _times if name in TIME_COLUMNS else _numbers
        columns[name] = read(candles.iloc[:, at], name)
    rows = np.arange(len(candles), dtype=np.int64)
    return CandleTable(_NAME, columns, rows, np.zeros(len(rows), np.int32), (_NAME,), ())


def _times(column: pd.Series[Any], name: str) -> NDArray[np.int64]:
    """Return a column of times as UTC ms."""
    if column.isna().any():
        raise CandleFileError(_NAME, int(column.isna().argmax()), name, "no time", "drop the row")
    cells: Sequence[str] | NDArray[np.int64]
    if column.dtype.kind == "M" or isinstance(column.dtype, pd.DatetimeTZDtype):
        cells = _epochs(pd.DatetimeIndex(column))
    elif column.dtype.kind in "iu":
        cells = column.to_numpy(dtype=np.int64)
    else:
        cells = column.astype(str).tolist()
    numbers = np.arange(len(column), dtype=np.int64)
    good = np.ones(len(column), dtype=np.bool_)
    return moments(_NAME, name, cells, numbers=numbers, good=good, complain=strict)


def _epochs(times: pd.DatetimeIndex) -> NDArray[np.int64]:
    """Return nanoseconds since 1970; what has no zone is UTC."""
    utc = times if times.tz is None else times.tz_convert("UTC").tz_localize(None)
    return utc.to_numpy().astype("datetime64[ns]").astype(np.int64)


def _numbers(column: pd.Series[Any], name: str) -> NDArray[np.float64]:
    """Return a column as float64; text is read as Python's float() reads it."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan).copy()
    made = np.empty(len(column), dtype=np.float64)
    for row, cell in enumerate(column.tolist()):
        try:
            made[row] = float(cell) if isinstance(cell, str) or not pd.isna(cell) else np.nan
        except (TypeError, ValueError):
            what, mend = f"{cell!r} is not a number", "give a number, or drop the row"
            raise CandleFileError(_NAME, row, name, what, mend) from None
    return made


def _told(error: CandleFileError, candles: pd.DataFrame) -> FrameError:
    """Say of a frame what the reader says of a file."""
    where = []
    if error.row is not None:
        where.append(f"row {error.row} (index {candles.index[error.row]!s})")
    if error.column is not None:
        where.append(f"column {error.column}")
    return FrameError(f"{', '.join(where) or 'the frame'}: {error.what}; {error.mend}")


def _refuse_open_bar(table: Bars, interval: Interval) -> None:
    """Refuse a bar that is still forming: what is made of it is not what a daemon would see."""
    last = int(table.open_time[-1])
    if interval.end(last) > now_ms():
        raise FrameError(
            f"row {len(table) - 1}: the bar that opens at {iso(last)} has not closed yet; leave it "
            "out: candles.iloc[:-1]"
        )


def _utc(ms: NDArray[np.int64]) -> pd.DatetimeIndex:
    return pd.to_datetime(ms, unit="ms", utc=True)
