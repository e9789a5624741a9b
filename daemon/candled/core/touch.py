"""Which barrier is touched first: a target, a stop or the time limit, for every bar at once.

The triple barrier of Lopez de Prado (Advances in Financial Machine Learning, 2018, chapter 3),
with the order inside a bar settled against the trader. On it stand the labels `first_touch` and
the outcomes of trades entered at the next open. Pure arithmetic on columns of bars; knows no
model, no cost and no position. It looks ahead: no decision may rest on it; see `labels`.

The rules, the same for labels, outcomes and the backtest:

- A barrier is touched when the bar's high or low is at least the target, or the stop, away from the
  entry, in percent of the entry and in the order of operations of `labels`; NaNs touch nothing.
- A bar that touches both is a stop.
- A touched barrier fills at its own price. A bar that opens beyond the stop fills at its open,
  which is worse; one that opens beyond the target fills no better than the target. No fill lies
  outside the bar: where a whole bar lies beyond the target, it fills at the bar's end that is
  nearest to it.
- What has touched nothing by the last bar of the limit leaves at that bar's close.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars
from candled.core.labels import LONG, SHORT, LabelParams, settled

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Flags = NDArray[np.bool_]

UNRESOLVED: Final = 0
TARGET: Final = 1
STOP: Final = 2
TIME: Final = 3
KINDS: Final = ("unresolved", "target", "stop", "time")


@dataclass(frozen=True, slots=True)
class Barriers:
    """What ends a position."""

    limit_bars: int
    """It is left at the close of this many bars after its row, if nothing else ended it."""
    target_pct: float = math.inf
    """Percent of the entry won; infinite: no target."""
    stop_pct: float = math.inf
    """Percent of the entry lost; infinite: no stop."""


def barriers(params: LabelParams) -> Barriers:
    """Return the barriers that a label's parameters mean."""
    return Barriers(params.lookahead_bars, params.profit_target_pct, params.stop_loss_pct)


@dataclass(frozen=True, slots=True)
class Touches:
    """How one side ends when entered for each of n rows, one array a column."""

    kind: NDArray[np.int8]
    """[n] an index of `KINDS`; unresolved where the bars end before the trade does."""
    bar: NDArray[np.int64]
    """[n] index of the bar in which it ends; where unresolved, of the limit's last bar, which is
    beyond the table."""
    price: Floats
    """[n] what it leaves at; NaN where unresolved, or where a price is absent."""
    gross_pct: Floats
    """[n] percent of the entry won, negative when lost, before costs; NaN as `price` is."""


def first_touches(
    bars: Bars, entry: Floats, around: Barriers, side: int, targets_from: int = 1
) -> Touches:
    """Follow a position of each row over the `limit_bars` bars after it.

    Args:
        bars: n closed bars, ascending; gaps in time are not seen, a bar is a row.
        entry: [n] what each row enters at; NaN enters, and touches, nothing.
        around: limit, target and stop.
        side: LONG or SHORT.
        targets_from: which bar after the row is the first that may touch the target. 2 is for a
            position entered somewhere within bar 1, whose best price may have been before.
    """
    count, limit = len(bars), around.limit_bars
    sign = 1.0 if side == LONG else -1.0
    best, worst = (bars.high, bars.low) if side == LONG else (bars.low, bars.high)
    kind = np.zeros(count, dtype=np.int8)
    end = np.arange(count, dtype=np.int64) + limit
    waiting: Rows = np.arange(count)
    for step in range(1, limit + 1):
        waiting = waiting[: np.searchsorted(waiting, count - step)]
        at, paid = waiting + step, entry[waiting]
        stopped, reached = _touched(paid, best[at], worst[at], around, sign)
        if step < targets_from:
            reached[:] = False
        kind[waiting[reached]] = TARGET
        kind[waiting[stopped]] = STOP
        over = stopped | reached
        end[waiting[over]] = at[over]
        waiting = waiting[~over]
    kind[waiting] = TIME
    price = _prices(bars, entry, around, sign=sign, kind=kind, end=end)
    return Touches(kind, end, price, sign * (price - entry) / entry * 100)


def first_row_touches(bars: Bars, entry: Floats, around: Barriers, side: int) -> Touches:
    """Return the first row alone of what `first_touches` returns, at the cost of one row.

    `entry` is [1], what that row enters at; every column of the result is [1] too.
    """
    sign = 1.0 if side == LONG else -1.0
    best, worst = (bars.high, bars.low) if side == LONG else (bars.low, bars.high)
    ahead = slice(1, around.limit_bars + 1)
    stopped, reached = _touched(entry, best[ahead], worst[ahead], around, sign)
    over = np.flatnonzero(stopped | reached)[:1]
    kind, end = np.array([UNRESOLVED], dtype=np.int8), np.array([around.limit_bars])
    if len(over):
        kind[:], end[:] = np.where(stopped[over], STOP, TARGET), over + 1
    elif len(bars) > around.limit_bars:
        kind[:] = TIME
    price = _prices(bars, entry, around, sign=sign, kind=kind, end=end)
    return Touches(kind, end, price, sign * (price - entry) / entry * 100)


def _touched(
    paid: Floats, best: Floats, worst: Floats, around: Barriers, sign: float
) -> tuple[Flags, Flags]:
    """Return which bars touch the stop and which the target, of the position entered at `paid`."""
    stopped = sign * (paid - worst) / paid * 100 >= around.stop_pct
    reached = sign * (best - paid) / paid * 100 >= around.target_pct
    return stopped, reached


def _prices(
    bars: Bars,
    entry: Floats,
    around: Barriers,
    *,
    sign: float,
    kind: NDArray[np.int8],
    end: NDArray[np.int64],
) -> Floats:
    price = np.full(len(kind), np.nan)
    rows = np.flatnonzero(kind == TIME)
    price[rows] = bars.close[end[rows]]
    rows = np.flatnonzero(kind == TARGET)
    price[rows] = _inside(bars, end[rows], entry[rows] * (1 + sign * around.target_pct / 100))
    rows = np.flatnonzero(kind == STOP)
    stop = _inside(bars, end[rows], entry[rows] * (1 - sign * around.stop_pct / 100))
    worse = np.fmin if sign > 0 else np.fmax
    price[rows] = worse(stop, bars.open[end[rows]])
    return price


def _inside(bars: Bars, at: NDArray[np.int64], price: Floats) -> Floats:
    """Return the prices nearest to `price` that bars `at` traded at."""
    return np.asarray(np.fmin(np.fmax(price, bars.low[at]), bars.high[at]))


@dataclass(frozen=True, slots=True)
class TouchLabels:
    """The first-touch labels of n bars. A position is entered at the bar's own close."""

    long: Touches
    """What became of a long."""
    short: Touches
    """What became of a short."""
    signal: NDArray[np.int8]
    """[n] the class: 0 no trade, 1 long, 2 short; 0 too where nothing can be said yet."""
    end: NDArray[np.int64]
    """[n] index of the bar at whose close the class was known; beyond the table where it is not."""


def first_touch_labels(
    bars: Bars, params: LabelParams, regime: NDArray[np.integer] | None = None
) -> TouchLabels:
    """Label every bar by what is touched first over the `lookahead_bars` bars after it.

    A side wins when its target is touched before its stop and within the limit. Where both win
    (possible only with a stop wider than the target) it is the one that won in the earlier bar; in
    the same bar the confirmed `regime` [n] decides as for the `window` rule. A winner is known in
    the bar in which it wins; that nobody wins is known when both sides have ended.

    Raises:
        ValueError: `regime` has not one value for each bar.
    """
    around = barriers(params)
    long = first_touches(bars, bars.close, around, LONG)
    short = first_touches(bars, bars.close, around, SHORT)
    return _judged(long, short, regime)


def first_row_touch_label(
    bars: Bars, params: LabelParams, regime: NDArray[np.integer] | None = None
) -> TouchLabels:
    """Return the first row alone of `first_touch_labels`, at the cost of one row; `regime` [1]."""
    around, entry = barriers(params), bars.close[:1]
    long = first_row_touches(bars, entry, around, LONG)
    short = first_row_touches(bars, entry, around, SHORT)
    return _judged(long, short, regime)


def _judged(long: Touches, short: Touches, regime: NDArray[np.integer] | None) -> TouchLabels:
    is_long, is_short = long.kind == TARGET, short.kind == TARGET
    first_long = is_long & ~(is_short & (short.bar < long.bar))
    first_short = is_short & ~(is_long & (long.bar < short.bar))
    signal = settled(first_long, first_short, regime)
    end = np.maximum(long.bar, short.bar)
    end[signal == LONG] = long.bar[signal == LONG]
    end[signal == SHORT] = short.bar[signal == SHORT]
    return TouchLabels(long, short, signal, end)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a trade decided at each of n bars brings: entered at the next bar's open, stop first."""

    entry: Floats
    """[n] open of the next bar; NaN for the last row, which has none."""
    long: Touches
    short: Touches


def outcomes(bars: Bars, params: LabelParams) -> Outcomes:
    """Follow a long and a short of every bar from the open of the next bar on.

    The bar of the entry counts: a trade lasts at most `lookahead_bars` bars, the first from its
    open and the last to its close. Gross, in percent of the entry; costs are the caller's.
    """
    entry, around = next_opens(bars), barriers(params)
    return Outcomes(
        entry,
        long=first_touches(bars, entry, around, LONG),
        short=first_touches(bars, entry, around, SHORT),
    )


def next_opens(bars: Bars) -> Floats:
    """Return the open of the bar after each [n]; NaN for the last, which has none."""
    entry = np.full(len(bars), np.nan)
    entry[:-1] = bars.open[1:]
    return entry
