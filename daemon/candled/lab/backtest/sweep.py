"""Many thresholds and costs over answers that are already there.

For one stream in one position at a time: which trades are made depends on the threshold, not on
what they cost, so a threshold is walked through once for all costs. The best cell of a sweep is
the best of many tries on the same bars: it says how many, and is no forecast.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candled.lab.backtest.book import START
from candled.lab.backtest.rules import Costs, Exits, Sizing
from candled.lab.backtest.tape import Tape, gated, told
from candled.lab.backtest.ways import Ways, legs, ways

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sweep:
    """A grid of a thresholds and b costs."""

    thresholds: Floats
    """[a]"""
    side_pct: Floats
    """[b] fee and slippage of one side (percent)."""
    trades: NDArray[np.int64]
    """[a, b]"""
    net_pct: Floats
    """[a, b] mean of the trades; NaN without trades."""
    hit_rate: Floats
    """[a, b] share of trades with a net gain; NaN without trades."""
    final_equity: Floats
    """[a, b] the purse, which began with 1."""

    @property
    def tried(self) -> int:
        """How many configurations were looked at."""
        return self.final_equity.size


def sweep(
    tape: Tape,
    exits: Exits,
    thresholds: Sequence[float],
    costs: Sequence[Costs],
    sizing: Sizing | None = None,
    *,
    regime_gate: bool = False,
) -> Sweep:
    """Trade the tape's probabilities at every threshold and every cost.

    Each cell is what `run` makes of the one tape ``told`` at that threshold (and ``gated``).

    Raises:
        ValueError: no bars.
    """
    if not len(tape):
        raise ValueError("there are no bars to trade; give a longer stretch")
    fraction = (sizing or Sizing()).fraction
    both = legs(tape, exits)
    cells = []
    for threshold in thresholds:
        spoken = told(tape, threshold)
        made = ways(gated(spoken) if regime_gate else spoken, both, exits)
        cells.append(_cells(made, _in_turn(made), costs, fraction))
    trades, net, hits, equity = (np.array(grid) for grid in zip(*cells, strict=True))
    return Sweep(
        thresholds=np.array(thresholds, dtype=np.float64),
        side_pct=np.array([cost.side_pct for cost in costs]),
        trades=trades,
        net_pct=net,
        hit_rate=hits,
        final_equity=equity,
    )


def _in_turn(made: Ways) -> NDArray[np.intp]:
    """Return the rows that are entered when each position must end before the next begins."""
    candidates = np.flatnonzero(made.open_to)
    rows, free = candidates.tolist(), made.free[candidates].tolist()
    taken, at = [], 0
    while at < len(rows):
        taken.append(rows[at])
        at = bisect_left(rows, free[at], at + 1)
    return np.array(taken, dtype=np.intp)


def _cells(
    made: Ways, rows: NDArray[np.intp], costs: Sequence[Costs], fraction: float
) -> tuple[NDArray[np.int64], Floats, Floats, Floats]:
    """Return trades, mean net, hit rate and final equity [b] of the same trades at b costs."""
    gross, traded = made.gross_pct[rows], 1 + made.exit[rows] / made.entry[rows]
    side_pct = np.array([cost.side_pct for cost in costs])
    funding_pct = np.array([cost.funding_pct for cost in costs])
    net = gross[:, None] - traded[:, None] * side_pct - made.funding[rows, None] * funding_pct
    purse = np.cumprod(
        np.concatenate([np.full((1, len(costs)), START), 1 + net * fraction / 100]), axis=0
    )
    alive = np.minimum.accumulate(purse, axis=0) > 0
    made_it = alive[:-1]  # what is lost enters nothing more
    count = made_it.sum(axis=0)
    with np.errstate(invalid="ignore"):  # no trade: 0 / 0 is the NaN that is wanted
        mean = np.where(made_it, net, 0.0).sum(axis=0) / count
        hits = (made_it & (net > 0)).sum(axis=0) / count
    return count, mean, hits, purse[count, np.arange(len(costs))]
