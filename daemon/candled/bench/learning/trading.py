"""Many thresholds and costs: one sweep against a backtest for each of its cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from candled.bench.learning.facts import Agreement, Candles, Part, close_to, same
from candled.bench.learning.timing import turns
from candled.core.decision import Decision
from candled.core.labels import LabelParams
from candled.lab.backtest import (
    Costs,
    Exits,
    Sweep,
    Tape,
    exits_of,
    run,
    sweep,
    tape_of_decisions,
    told,
)
from candled.lab.trained import target

_LOWEST: Final = 0.35
_HIGHEST: Final = 0.9
_COST_STEP_PCT: Final = 0.02
_BOUND: Final = 1e-9
_TRIED: Final = (4, 2)  # thresholds and costs that are traded one by one

Cells = list[tuple[int, float, float, float]]
"""Trades, mean net, hit rate and final equity of each."""


def sweep_part(
    candles: Candles, decisions: Sequence[Decision], shape: tuple[int, int], rounds: int
) -> Part:
    """Trade a grid of thresholds and costs; a few of its cells one by one, for the comparison."""
    tape = tape_of_decisions(candles.bars, decisions)
    exits = exits_of(target(LabelParams()))
    thresholds = np.linspace(_LOWEST, _HIGHEST, shape[0]).tolist()
    costs = [Costs(_COST_STEP_PCT * number) for number in range(shape[1])]
    rows, columns = (_spread(size, most) for size, most in zip(shape, _TRIED, strict=True))
    at = [(row, column) for row in rows for column in columns]
    taken = turns(
        lambda: [_cell(tape, exits, thresholds[row], costs[column]) for row, column in at],
        lambda: sweep(tape, exits, thresholds, costs),
        rounds,
    )
    grid = shape[0] * shape[1]
    return Part(
        f"sweep, {shape[0]} thresholds x {shape[1]} costs",
        len(tape),
        candles.name,
        {
            "a backtest for each": [spent * grid / len(at) for spent in taken.baseline_s],
            "candled": taken.candled_s,
        },
        _agreements(taken.candled, taken.baseline, at),
        {"cells traded one by one": float(len(at))},
        f"the baseline is extrapolated from {len(at)} of {grid} cells",
    )


def _spread(size: int, most: int) -> list[int]:
    """Return at most so many places, from the first to the last."""
    return sorted({int(place) for place in np.linspace(0, size - 1, most)})


def _cell(
    tape: Tape, exits: Exits, threshold: float, cost: Costs
) -> tuple[int, float, float, float]:
    test = run([told(tape, threshold)], exits, cost)
    net, count = test.trades.net_pct, len(test.trades)
    mean, hits = (float(net.mean()), float((net > 0).mean())) if count else (np.nan, np.nan)
    return count, mean, hits, float(test.curve.equity[-1])


def _agreements(
    swept: Sweep, cells: Cells, at: Sequence[tuple[int, int]]
) -> tuple[Agreement, Agreement]:
    rows, columns = (np.array(places) for places in zip(*at, strict=True))
    counts, *figures = (np.array(column) for column in zip(*cells, strict=True))
    grids = (swept.net_pct, swept.hit_rate, swept.final_equity)
    size = np.maximum(1.0, np.abs(figures))  # a purse may have grown a millionfold
    unlike = int(np.count_nonzero(swept.trades[rows, columns] != counts))
    return (
        same("numbers of trades", len(at), unlike),
        close_to(
            "mean, hit rate and final equity (relative above 1)",
            np.array([grid[rows, columns] for grid in grids]) / size,
            np.array(figures) / size,
            _BOUND,
        ),
    )
