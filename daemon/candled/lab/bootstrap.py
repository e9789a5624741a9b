"""How far a figure may be off when neighbouring rows are not independent.

Circular moving-block bootstrap with percentile intervals: rows are redrawn in blocks of
neighbours, the end joined to the beginning, so that what overlapping labels share stays together.
Source: D. N. Politis, J. P. Romano, "A circular block-resampling procedure for stationary data"
(1992). Seeded: equal arguments give equal bits. Knows numbers in time order and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.number] | NDArray[np.bool_]

BLOCK: Final = 48
"""Rows in a block: twice the lookahead of the usual labels. Never fewer than the lookahead."""
DRAWS: Final = 2_000
LEVEL: Final = 0.95
FEWEST_BLOCKS: Final = 5
"""With data in fewer blocks than this there is nothing to redraw."""

_ROUNDING: Final = 1e-9
_STARTS_AT_ONCE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the interval that holds its true value at the level asked for."""

    estimate: float | None
    """None where there was nothing to count."""
    low: float | None
    """None where the data do not say how sure the figure is: too few blocks, or no variation."""
    high: float | None
    """None together with `low`."""
    n: int
    """How many rows the figure is of."""

    def shifted(self, by: float) -> Interval:
        """Return the interval of the figure plus a constant, such as a cost."""
        if self.estimate is None or self.low is None or self.high is None:
            moved = None if self.estimate is None else self.estimate + by
            return Interval(moved, None, None, self.n)
        return Interval(self.estimate + by, self.low + by, self.high + by, self.n)


def mean_interval(
    values: Numbers,
    *,
    block: int = BLOCK,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return the mean of values [m] with its interval.

    For two models' losses on the same rows, give the differences: rows are redrawn in pairs.

    Raises:
        ValueError: a value that is not finite, or settings out of range.
    """
    whole = np.ones(len(values))
    return ratio_interval(values, whole, block=block, draws=draws, level=level, seed=seed)


def ratio_interval(
    part: Numbers,
    whole: Numbers,
    *,
    block: int = BLOCK,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return sum(part) / sum(whole) with its interval; both [m], rows redrawn together.

    The precision of the selected rows is ``ratio_interval(hit & selected, selected)``, their mean
    outcome ``ratio_interval(outcome * selected, selected)``. `n` is the number of rows where
    `whole` is not 0; draws in which it sums to 0 are left out. The interval is widened to hold its
    estimate where few and lopsided blocks would leave that outside.

    Raises:
        ValueError: lengths that differ, a value that is not finite, or settings out of range.
    """
    _refuse_bad_settings(block, draws, level)
    both = np.array([part, whole], dtype=np.float64)
    if not np.isfinite(both).all():
        row = int(np.flatnonzero(~np.isfinite(both).all(axis=0))[0])
        raise ValueError(f"row {row} is not finite; leave such rows out and count them")
    counted = np.flatnonzero(both[1])
    total = both.sum(axis=1)
    if not len(counted) or total[1] == 0:
        return Interval(None, None, None, len(counted))
    estimate = float(total[0] / total[1])
    if len(np.unique(counted // block)) < FEWEST_BLOCKS:
        return Interval(estimate, None, None, len(counted))
    sums = _redrawn_sums(both, block, draws, seed)
    ratios = sums[0, sums[1] != 0] / sums[1, sums[1] != 0]
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2]).tolist()
    if high - low <= _ROUNDING * max(abs(low), abs(high)):  # all draws are equal but for rounding
        return Interval(estimate, None, None, len(counted))
    return Interval(estimate, min(low, estimate), max(high, estimate), len(counted))


def _redrawn_sums(columns: Floats, block: int, draws: int, seed: int) -> Floats:
    """Return [c, draws] the sums of columns [c, m] over m redrawn rows each; block <= m."""
    m = columns.shape[1]
    full, rest = divmod(m, block)
    ahead = np.concatenate([columns, columns[:, :block]], axis=1)
    until = np.concatenate([np.zeros((len(columns), 1)), np.cumsum(ahead, axis=1)], axis=1)
    blocks = until[:, block : block + m] - until[:, :m]  # [c, m] by first row
    tails = until[:, rest : rest + m] - until[:, :m]
    random = np.random.default_rng(seed)
    result = np.empty((len(columns), draws))
    at_once = max(1, _STARTS_AT_ONCE // (full + 1))
    for first in range(0, draws, at_once):
        some = slice(first, min(first + at_once, draws))
        starts = random.integers(0, m, (some.stop - some.start, full + 1))
        for column in range(len(columns)):
            sums = np.cumsum(blocks[column][starts[:, :full]], axis=1)[:, -1]
            result[column, some] = sums + tails[column][starts[:, full]]
    return result


def _refuse_bad_settings(block: int, draws: int, level: float) -> None:
    if block < 1:
        raise ValueError(f"block must be 1 row or more; it is {block}")
    if draws < 1:
        raise ValueError(f"draws must be 1 or more; it is {draws}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1; it is {level}")
