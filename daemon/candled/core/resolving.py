"""What became of one signal: its label, and the trade that it stood for, once its bars are there.

Looks back from bars that have closed, with the arithmetic of `labels` and `touch`, which training
and the backtest use: the same bars give the same bits. A bar is a row: holes in time are not seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from candled.core.bar import Bars
from candled.core.decision import SIDES, Side, Target
from candled.core.labels import LabelParams, window_labels
from candled.core.touch import KINDS, barriers, first_row_touch_label, first_row_touches


@dataclass(frozen=True, slots=True)
class Resolved:
    """What became of the signal of a first bar."""

    right: bool
    """Whether the label of the bar is the signal's side."""
    ended: str
    """How a trade entered at the next open ended: target, stop or time."""
    gross_pct: float
    """What it brought before costs (percent of the entry)."""
    known_at: int
    """Row of the bar at whose close all of this was known."""


#: From bars, parameters and the first bar's regime to its class and the row in which it was known.
_Rule = Callable[[Bars, LabelParams, int], tuple[int, int]]


def _window(bars: Bars, params: LabelParams, regime: int) -> tuple[int, int]:
    regimes = np.full(len(bars), regime, dtype=np.int8)
    return int(window_labels(bars, params, regimes).signal[0]), params.lookahead_bars


def _first_touch(bars: Bars, params: LabelParams, regime: int) -> tuple[int, int]:
    made = first_row_touch_label(bars, params, np.array([regime], dtype=np.int8))
    return int(made.signal[0]), int(made.end[0])


RULES: Final[dict[str, _Rule]] = {"window": _window, "first_touch": _first_touch}


def can_resolve(target: Target | None) -> bool:
    """Whether it is known by which rule a model's signals turn out right or wrong."""
    if target is None or target.rule not in RULES:
        return False
    try:
        _params(target)
    except ValueError:  # an imported model may say what no label can be made with
        return False
    return True


def _params(target: Target) -> LabelParams:
    return LabelParams(target.lookahead_bars, target.profit_pct, target.stop_pct)


def resolve(bars: Bars, target: Target, side: Side, regime: int) -> Resolved | None:
    """Resolve the signal of the first of `bars`; None while its horizon has not passed.

    Args:
        bars: closed bars from the signal's own on, ascending.
        target: by which rule and parameters; `can_resolve` it.
        side: long or short.
        regime: confirmed, of the signal's bar; it settles a bar that qualifies both ways.
    """
    params = _params(target)
    if len(bars) <= params.lookahead_bars:
        return None
    seen = bars[: params.lookahead_bars + 1]
    number = SIDES.index(side)
    label, known = RULES[target.rule](seen, params, regime)
    trade = first_row_touches(seen, seen.open[1:2], barriers(params), number)
    return Resolved(
        right=label == number,
        ended=KINDS[trade.kind[0]],
        gross_pct=float(trade.gross_pct[0]),
        known_at=max(known, int(trade.bar[0])),
    )
