"""What acting on each row of a tape would lead to, whether or not it is acted on.

Everything about a position but its size: entry, exit and price depend on the bars and the signals
alone, so they are computed for all rows at once; the book then only chooses among the rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars, iso
from candled.core.labels import LONG, SHORT
from candled.core.touch import KINDS, UNRESOLVED, Barriers, Touches, first_touches, next_opens
from candled.lab.backtest.rules import FUNDING_MS, Costs, Exits
from candled.lab.backtest.tape import Tape

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]

END: Final = UNRESOLVED
SIGNAL: Final = len(KINDS)
#: How a position ended; where a touch is unresolved, the bars ended first.
ENDINGS: Final = ("end", *KINDS[1:], "signal")


@dataclass(frozen=True, slots=True)
class Leg:
    """A position of one side at every row, as its barriers end it."""

    entry: Floats
    """[n] NaN where it is not filled."""
    touches: Touches


@dataclass(frozen=True, slots=True)
class Legs:
    """What a tape's bars and the exits alone decide, whatever the signals."""

    long: Leg
    short: Leg
    ends: Rows
    """[n] of the bars, exclusive (UTC ms)."""


@dataclass(frozen=True, slots=True)
class Ways:
    """Where each of n rows leads; only rows of `open_to` mean anything."""

    open_to: Flags
    """[n] whether there is a signal here that can be entered."""
    sign: Floats
    """[n] 1 long, -1 short."""
    entry: Floats
    exit: Floats
    kind: NDArray[np.int8]
    """[n] an index of `ENDINGS`."""
    exit_row: Rows
    """[n] the bar that it is left in; the entry is in the bar after the row."""
    exit_time: Rows
    """[n] when it is known to be over (UTC ms): the end of `exit_row`, or its open."""
    free: Rows
    """[n] the first row whose signal can be acted on afterwards."""
    funding: Floats
    """[n] stamps at which it pays funding; negative, at which it receives."""

    @property
    def gross_pct(self) -> Floats:
        """[n] won, before costs (percent of the entry)."""
        return self.sign * (self.exit - self.entry) / self.entry * 100


def legs(tape: Tape, exits: Exits) -> Legs:
    """Follow a long and a short of every row; no signal is looked at.

    Raises ValueError for a price that is not a number: what would be traded there is unknown.
    """
    _refuse_bad_prices(tape)
    return Legs(_leg(tape.bars, exits, LONG), _leg(tape.bars, exits, SHORT), tape.ends)


def _refuse_bad_prices(tape: Tape) -> None:
    bars = tape.bars
    prices = np.array([bars.open, bars.high, bars.low, bars.close])
    bad = np.flatnonzero(~(np.isfinite(prices) & (prices > 0)).all(axis=0))
    if len(bad):
        row = int(bad[0])
        raise ValueError(
            f"{tape.stream.path}: bar {row} ({iso(int(bars.open_time[row]))}) has a price that is "
            "no number above zero; mend the bar or drop it"
        )


def _leg(bars: Bars, exits: Exits, side: int) -> Leg:
    entry = next_opens(bars)
    if exits.limit_pct is not None:
        entry = _limit_fills(bars, exits.limit_pct, side)
    if exits.max_bars is None:
        return Leg(entry, _untouched(len(bars)))
    around = Barriers(
        exits.max_bars,
        math.inf if exits.target_pct is None else exits.target_pct,
        math.inf if exits.stop_pct is None else exits.stop_pct,
    )
    targets_from = 1 if exits.limit_pct is None else 2
    return Leg(entry, first_touches(bars, entry, around, side, targets_from))


def _limit_fills(bars: Bars, better_pct: float, side: int) -> Floats:
    """Return what a limit order of each row fills at in the next bar; NaN where it does not.

    The price must have gone through the limit, not only to it. Where the bar opens beyond the
    limit the order gets no better price than its own, as far as the bar traded there at all.
    """
    price = np.full(len(bars), np.nan)
    high, low = bars.high[1:], bars.low[1:]
    if side == LONG:
        limit = bars.close[:-1] * (1 - better_pct / 100)
        price[:-1] = np.where(low < limit, np.minimum(limit, high), np.nan)
    else:
        limit = bars.close[:-1] * (1 + better_pct / 100)
        price[:-1] = np.where(high > limit, np.maximum(limit, low), np.nan)
    return price


def _untouched(count: int) -> Touches:
    nothing = np.full(count, np.nan)
    return Touches(
        np.full(count, UNRESOLVED, dtype=np.int8),
        np.full(count, count, dtype=np.int64),
        nothing,
        nothing,
    )


def ways(tape: Tape, both: Legs, exits: Exits) -> Ways:
    """Choose each row's leg by its signal, and let later signals and the last bar end it."""
    is_long, is_short = tape.side == LONG, tape.side == SHORT
    wanted = {"both": is_long | is_short, "long": is_long, "short": is_short}[exits.sides]
    entry = np.where(is_long, both.long.entry, both.short.entry)
    kind, price, row = _endings(tape, both, exits, is_long)
    opens, by_signal = tape.bars.open_time, kind == SIGNAL
    entered_at = np.append(opens[1:], opens[-1:])
    exit_time = np.where(by_signal, opens[row], both.ends[row])
    sign = np.where(is_long, 1.0, -1.0)
    return Ways(
        open_to=wanted & (entered_at < tape.act_by) & np.isfinite(entry),
        sign=sign,
        entry=entry,
        exit=price,
        kind=kind,
        exit_row=row,
        exit_time=exit_time,
        free=row - by_signal,  # left at an open: the signal of the bar before can be acted on
        funding=sign * _stamps(entered_at, exit_time - ~by_signal),
    )


def _endings(
    tape: Tape, both: Legs, exits: Exits, is_long: Flags
) -> tuple[NDArray[np.int8], Floats, Rows]:
    """Return [n] how each row's position ends, at which price, and in which bar."""
    count, (long, short) = len(tape), (both.long.touches, both.short.touches)
    kind = np.where(is_long, long.kind, short.kind)
    price = np.where(is_long, long.price, short.price)
    row = np.where(is_long, long.bar, short.bar)
    left = np.where(is_long, _left(tape, exits, LONG), _left(tape, exits, SHORT))
    by_signal = (left < count) & (left <= row)
    kind[by_signal], row[by_signal] = SIGNAL, left[by_signal]
    price[by_signal] = tape.bars.open[left[by_signal]]
    at_end = kind == END
    row[at_end], price[at_end] = count - 1, tape.bars.close[-1:]
    return kind, price, row


def _stamps(after: Rows, until: Rows) -> Rows:
    return np.asarray(until // FUNDING_MS - after // FUNDING_MS)


def _left(tape: Tape, exits: Exits, side: int) -> Rows:
    """Return [n] the bar at whose open a later signal ends a position of each row; n: none does.

    The first signal that can is that of the entry's own bar. Leaving is never too late: it is done
    at the next open there is.
    """
    count = len(tape)
    if exits.leave == "never":
        return np.full(count, count, dtype=np.int64)
    opposite = SHORT if side == LONG else LONG
    ends_it = tape.side == opposite if exits.leave == "opposite" else tape.side != side
    at = np.where(ends_it, np.arange(count), count)
    following = np.minimum.accumulate(at[::-1])[::-1]
    return np.asarray(np.minimum(np.append(following[1:], count) + 1, count)[:count])


def cost_pct(made: Ways, costs: Costs) -> tuple[Floats, Floats]:
    """Return [n] what each position pays, in percent of the entry: fees and slippage; funding.

    Each side pays of what is traded: the entry's value, then the exit's. Funding is paid at the
    stamps after the entry up to the exit; a position left within or at the end of a bar has paid up
    to the last moment of that bar.
    """
    traded = costs.side_pct * (1 + made.exit / made.entry)
    return traded, costs.funding_pct * made.funding + 0.0  # nothing received is 0.0, not -0.0
