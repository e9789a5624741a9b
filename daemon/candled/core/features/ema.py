"""Exponential averages with a bounded past: equal to the last bit wherever the history starts.

The plain recursion y = alpha * x + (1 - alpha) * y never forgets its seed for certain: two seeds
come within one bit of each other and stay there until a rounding happens to merge them, which took
more than 720 bars in some places of real data, and for ever where a price stands still.

So the average at a bar is defined by an anchor. Time is cut into epochs of `MEMORY` slots on a
grid that begins in 1970. The anchor of a bar is the first bar of the latest epoch that began at
least `MEMORY` bars ago, and the recursion is seeded there, with its close. The value is a function
of fewer than 2 * `MEMORY` bars, and so far from its seed that it is the plain recursion's to the
last bits: (1 - 2/37) ** 720 < 1e-17. Before there are so many bars, the first one is the anchor.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Interval

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

MEMORY: Final = 720
#: So many bars make an average, and the one 5 bars earlier, independent of where they begin.
HISTORY: Final = 2 * MEMORY + 5

_TOGETHER: Final = 64  # chains folded side by side
_NO_EPOCH: Final = -1


def epochs(open_time: NDArray[np.int64], interval: Interval) -> Rows:
    """Return the epoch of each bar [n]."""
    return open_time // (MEMORY * interval.typical_ms)


class Averages:
    """Exponential averages of closes with p smoothing factors."""

    def __init__(self, alpha: Floats) -> None:
        self.alpha = alpha
        self.decay = 1.0 - alpha

    def pieces(self, closes: Floats, epoch: Rows) -> Iterator[tuple[int, Floats]]:
        """Yield the averages at all closes, oldest first: a first row, and [m, p] from there on.

        The pieces follow each other without a gap; none is longer than some 46,000 rows.
        """
        chains = _chains(epoch)
        for at in range(0, len(chains.start), _TOGETHER):
            part = chains.part(at, at + _TOGETHER)
            first = int(part.first[0])
            out = np.empty((int(part.end[-1]) - first, len(self.alpha)))
            self._fold(closes, part, out)
            yield first, out

    def path(self, closes: Floats, epoch: Rows) -> Floats:
        """Return the averages [n, p] at each of n closes, oldest first."""
        none = np.empty((0, len(self.alpha)))
        return np.concatenate([none, *(piece for _, piece in self.pieces(closes, epoch))])

    def tail(self, closes: Floats, epoch: Rows, count: int) -> Tail:
        """Return what a live stream needs to go on from the end of a history."""
        n, reported = len(closes), np.empty((min(count, len(closes)), len(self.alpha)))
        base = n - len(reported)
        states, ages = [], []
        for start, first, end in _chains(epoch):
            if end <= base:
                continue
            path = self._chain(closes[start:])
            begin = max(first, base)
            reported[begin - base : end - base] = path[begin - start : end - start]
            if end == n:
                states.append(path[-1])
                ages.append(n - start)
        return Tail(reported, states, ages)

    def _fold(self, closes: Floats, chains: _Chains, out: Floats) -> None:
        """Fold chains side by side, a bar of each at a time; write what they report."""
        state = np.repeat(closes[chains.start][:, None], len(self.alpha), axis=1)
        for step in range(int((chains.end - chains.start).max())):
            rows = chains.start + step
            if step:
                x = closes[np.minimum(rows, len(closes) - 1)]
                state = self.alpha * x[:, None] + self.decay * state
            told = (rows >= chains.first) & (rows < chains.end)
            out[rows[told] - chains.first[0]] = state[told]

    def _chain(self, closes: Floats) -> Floats:
        """Fold one chain; return its states [n, p]."""
        path = self.alpha * closes[:, None]
        path[0] = closes[0]
        decayed = np.empty(len(self.alpha))
        for before, now in itertools.pairwise(path):
            np.multiply(self.decay, before, out=decayed)
            np.add(now, decayed, out=now)
        return path


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a history."""

    reported: Floats
    """[count, p] the averages of the newest bars, oldest first."""
    states: list[Floats]
    """[p] each: the chain that reports, then those that were seeded later, in order."""
    ages: list[int]
    """How many bars each of these chains has seen."""


@dataclass(frozen=True, slots=True)
class _Chains:
    """The recursions that make up a series: where each is seeded, and which rows it reports."""

    start: Rows
    first: Rows
    end: Rows
    """Exclusive."""

    def part(self, begin: int, end: int) -> _Chains:
        return _Chains(self.start[begin:end], self.first[begin:end], self.end[begin:end])

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        columns = (self.start.tolist(), self.first.tolist(), self.end.tolist())
        return zip(*columns, strict=True)


def _chains(epoch: Rows) -> _Chains:
    """Find the chains of a series from the epochs of its rows [n].

    The first row begins one that reports at once; each new epoch begins another, which reports
    from its own bar number `MEMORY` on, until the next one does.
    """
    n = len(epoch)
    start = np.concatenate([np.zeros(min(n, 1), np.int64), np.flatnonzero(np.diff(epoch)) + 1])
    first = start + MEMORY - 1
    first[:1] = 0
    end = np.append(first[1:], np.full(min(n, 1), n))
    return _Chains(start, np.minimum(first, n), np.minimum(end, n))


class AverageState:
    """The chains of many live streams, one numpy row each.

    Slot 0 of a row reports; the others were seeded at later epochs and take over in turn. Two
    slots are enough where bars are dense; more are made when a stream needs them.
    """

    def __init__(self, averages: Averages, capacity: int) -> None:
        self._averages = averages
        self._states = np.full((capacity, 2, len(averages.alpha)), np.nan)
        self._ages = np.zeros((capacity, 2), dtype=np.int64)
        self._epoch = np.full(capacity, _NO_EPOCH, dtype=np.int64)

    def warm(self, row: int, tail: Tail, epoch: Rows) -> None:
        """Begin stream `row` anew from the end of a history with these epochs [n]."""
        while len(tail.states) > self._states.shape[1]:
            self._grow()
        self._states[row] = np.nan
        self._ages[row] = 0
        self._epoch[row] = epoch[-1] if len(epoch) else _NO_EPOCH
        for slot, (state, age) in enumerate(zip(tail.states, tail.ages, strict=True)):
            self._states[row, slot] = state
            self._ages[row, slot] = age

    def push(self, rows: NDArray[np.intp], closes: Floats, epoch: Rows) -> Floats:
        """Append one close to each of the distinct `rows` [n]; return their averages [n, p]."""
        averages = self._averages
        new = np.flatnonzero(epoch != self._epoch[rows])
        slots = np.count_nonzero(self._ages[rows[new]], axis=1)
        while len(new) and slots.max() >= self._states.shape[1]:
            self._grow()
        states = averages.alpha * closes[:, None, None] + averages.decay * self._states[rows]
        ages = self._ages[rows]
        ages += ages > 0
        states[new, slots] = closes[new, None]
        ages[new, slots] = 1
        ready = np.flatnonzero(ages[:, 1] >= MEMORY)
        if len(ready):
            _promote(states, ages, ready)
        self._states[rows], self._ages[rows], self._epoch[rows] = states, ages, epoch
        reported: Floats = states[:, 0]
        return reported

    def _grow(self) -> None:
        """Make room for another chain in every stream."""
        self._states = np.pad(self._states, ((0, 0), (0, 1), (0, 0)), constant_values=np.nan)
        self._ages = np.pad(self._ages, ((0, 0), (0, 1)))


def _promote(states: Floats, ages: Rows, ready: NDArray[np.intp]) -> None:
    """Let the second chain of some streams report from now on."""
    states[ready, :-1] = states[ready, 1:]
    states[ready, -1] = np.nan
    ages[ready, :-1] = ages[ready, 1:]
    ages[ready, -1] = 0
