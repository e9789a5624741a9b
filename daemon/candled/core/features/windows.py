"""Feature sets that are a pure function of a bounded window of bars: one kernel, fed two ways.

A set of this kind is a kernel and what it reads. The table cuts windows out of whole columns, the
live state keeps the newest bars of each stream; both hand the kernel the same numbers, so that a
live row is the batch row bit for bit, for any batch, start, restart and block size. Knows nothing
of what a kernel computes.

What a kernel must keep to: rows do not see each other, sums run in a fixed order (see `sums`), and
the rest is elementwise arithmetic. `candled verify` holds a set to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from candled.core.bar import Bars, Interval
from candled.core.features.ema import MEMORY, Averages, AverageState, epochs

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

_BLOCK: Final = 2000  # no power of two, or all columns of a block meet in the same cache lines


@dataclass(frozen=True, slots=True)
class Windows:
    """What a kernel sees of n rows; n is streams (live) or bars (batch). Not to be written to."""

    columns: Mapping[str, Floats]
    """By name of a bar's column, [n, window], newest first; NaN where there is no bar yet."""
    ema: Sequence[Floats] = ()
    """[n, spans] exponential averages of the close, for each lag that was asked for."""

    def __getitem__(self, name: str) -> Floats:
        """Return the windows [n, window] of a bar's column."""
        return self.columns[name]


Kernel = Callable[[Windows], Floats]
"""From the windows of n rows to their columns [n, k]."""


@dataclass(frozen=True, slots=True)
class Ema:
    """The exponential averages of the close that a kernel wants."""

    spans: tuple[int, ...]
    """Periods p; alpha is 2 / (p + 1)."""
    lags: tuple[int, ...] = (0,)
    """How many bars ago; 0 is the newest bar."""

    @property
    def depth(self) -> int:
        """How many bars back the oldest of them lies, and itself."""
        return max(self.lags) + 1

    @property
    def history(self) -> int:
        """How many bars make them independent of where the history starts."""
        return 2 * MEMORY + max(self.lags)

    def averages(self) -> Averages:
        """Return the recursion that computes them."""
        return Averages(2.0 / (np.array(self.spans, dtype=np.float64) + 1.0))


class WindowFeatures:
    """A feature set made of a kernel; see `FeatureSet` for what its members mean."""

    def __init__(
        self,
        name: str,
        columns: tuple[str, ...],
        window: int,
        kernel: Kernel,
        *,
        reads: tuple[str, ...] = ("close",),
        ema: Ema | None = None,
    ) -> None:
        """Describe a set; `reads` names the bar columns whose windows the kernel asks for."""
        self.name = name
        self.columns = columns
        self.window = window
        self.history = max(window, ema.history) if ema else window
        self.kernel = kernel
        self.reads = reads
        self.ema = ema

    def blocks(self, bars: Bars, interval: Interval, size: int = _BLOCK) -> Iterator[Floats]:
        """Yield the table of all bars in blocks of at most `size` rows, oldest first.

        Memory is bounded by the block, however many bars there are.
        """
        for start, end, averages in self._pieces(bars, interval):
            for first in range(start, end, size):
                last = min(first + size, end)
                lagged = [part[first - start : last - start] for part in averages]
                yield self.kernel(Windows(self._cut(bars, first, last), lagged))

    def table(self, bars: Bars, interval: Interval) -> Floats:
        """Return the whole table [n, k]; rows before the window is full hold NaN."""
        out = np.empty((len(bars), len(self.columns)))
        at = 0
        for block in self.blocks(bars, interval):
            out[at : at + len(block)] = block
            at += len(block)
        return out

    def state(self, capacity: int, interval: Interval) -> WindowState:
        """Return empty rolling windows for `capacity` streams of one interval."""
        return WindowState(self, capacity, interval)

    def _cut(self, bars: Bars, first: int, last: int) -> dict[str, Floats]:
        """Return the windows of the rows from `first` to before `last`, by column."""
        begin = first - self.window + 1
        windows = {}
        for name in self.reads:
            padded = np.full(last - begin, np.nan)
            padded[max(0, -begin) :] = getattr(bars, name)[max(0, begin) : last]
            windows[name] = sliding_window_view(padded, self.window)[:, ::-1]
        return windows

    def _pieces(self, bars: Bars, interval: Interval) -> Iterator[tuple[int, int, list[Floats]]]:
        """Yield consecutive ranges of rows, each with its averages at every lag."""
        if self.ema is None:
            yield 0, len(bars), []
            return
        back = self.ema.depth - 1
        before = np.full((back, len(self.ema.spans)), np.nan)
        path = self.ema.averages().pieces(bars.close, epochs(bars.open_time, interval))
        for start, piece in path:
            joined = np.concatenate([before, piece])
            end = len(joined)
            yield (
                start,
                start + len(piece),
                [joined[back - lag : end - lag] for lag in self.ema.lags],
            )
            before = joined[end - back :]


class WindowState:
    """The rolling windows of `capacity` streams of one interval.

    A stream's bars lie newest first in a buffer of twice the window. Each new bar is put before the
    last one; when the front is reached, the newest part moves to the back. So a window is always
    one piece of memory, and streams that have seen different numbers of bars go together.
    """

    def __init__(self, features: WindowFeatures, capacity: int, interval: Interval) -> None:
        self._features = features
        self._window = features.window
        self._buffer = np.full((len(features.reads), capacity, 2 * features.window), np.nan)
        self._windows = sliding_window_view(self._buffer, features.window, axis=2)
        self._newest = np.full(capacity, features.window, dtype=np.intp)
        self._ema = _LaggedState(features.ema, capacity, interval) if features.ema else None

    def warm(self, row: int, bars: Bars) -> None:
        """Begin stream `row` anew with its history, oldest first."""
        newest = _columns(self._features.reads, bars[-self._window :])[:, ::-1]
        self._buffer[:, row] = np.nan
        self._buffer[:, row, self._window : self._window + newest.shape[1]] = newest
        self._newest[row] = self._window
        if self._ema:
            self._ema.warm(row, bars)

    def push(self, rows: Rows, bars: Bars) -> Floats:
        """Append one bar to each of the distinct `rows` [n]; return their features [n, k]."""
        at = self._newest[rows] - 1
        full = at < 0
        if full.any():
            self._move_back(rows[full])
            at[full] = self._window
        self._newest[rows] = at
        self._buffer[:, rows, at] = _columns(self._features.reads, bars)
        windows = dict(zip(self._features.reads, self._windows[:, rows, at], strict=True))
        ema = self._ema.push(rows, bars) if self._ema else ()
        return self._features.kernel(Windows(windows, ema))

    def _move_back(self, rows: Rows) -> None:
        keep = self._window - 1
        self._buffer[:, rows, self._window + 1 :] = self._buffer[:, rows, :keep]


class _LaggedState:
    """The exponential averages of many live streams, now and some bars ago."""

    def __init__(self, ema: Ema, capacity: int, interval: Interval) -> None:
        self._ema = ema
        self._interval = interval
        self._averages = ema.averages()
        self._chains = AverageState(self._averages, capacity)
        self._ring = np.full((capacity, ema.depth, len(ema.spans)), np.nan)
        self._pushed = np.zeros(capacity, dtype=np.intp)

    def warm(self, row: int, bars: Bars) -> None:
        count, depth = len(bars), self._ema.depth
        epoch = epochs(bars.open_time, self._interval)
        tail = self._averages.tail(bars.close, epoch, depth)
        self._chains.warm(row, tail, epoch)
        self._ring[row] = np.nan
        self._ring[row, np.arange(count - len(tail.reported), count) % depth] = tail.reported
        self._pushed[row] = count

    def push(self, rows: Rows, bars: Bars) -> list[Floats]:
        """Append one close to each of `rows` [n]; return the averages [n, spans] at each lag."""
        age, depth = self._pushed[rows], self._ema.depth
        epoch = epochs(bars.open_time, self._interval)
        self._ring[rows, age % depth] = self._chains.push(rows, bars.close, epoch)
        self._pushed[rows] = age + 1
        return [self._ring[rows, (age - lag) % depth] for lag in self._ema.lags]


def _columns(names: Sequence[str], bars: Bars) -> Floats:
    """Return some columns of n bars as one array [columns, n]."""
    return np.array([getattr(bars, name) for name in names], dtype=np.float64)
