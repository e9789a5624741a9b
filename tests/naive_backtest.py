"""A backtest as one would do it by hand: one stream, bar after bar, one position, plain numbers.

Written from docs/backtest.md alone; nothing of the backtest is imported, so that its errors cannot
be errors here too.
"""

from __future__ import annotations

from dataclasses import dataclass

EIGHT_HOURS = 8 * 3_600_000


@dataclass
class Position:
    signal_row: int
    side: int
    entry: float
    entry_row: int
    limit: bool
    value: float


@dataclass(frozen=True)
class Done:
    signal_row: int
    side: int
    entry: float
    exit_row: int
    exit: float
    ending: str
    exit_time: int
    net_pct: float
    value: float


def trade(tape, exits, costs, fraction):  # noqa: C901 - one loop, read from top to bottom
    """Return the trades, and the equity at the end of each bar."""
    bars = list(tape.bars)
    sides, act_by = tape.side.tolist(), tape.act_by.tolist()
    end = tape.interval.end
    purse, held, done, equity = 1.0, None, [], []

    def leave(row, price, ending, time, moment):
        nonlocal purse, held
        sign = 1 if held.side == 1 else -1
        stamps = moment // EIGHT_HOURS - bars[held.entry_row].open_time // EIGHT_HOURS
        net = sign * (price - held.entry) / held.entry * 100
        net -= (costs.fee_pct + costs.slippage_pct) * (1 + price / held.entry)
        net -= sign * costs.funding_pct * stamps
        purse += held.value * net / 100
        done.append(
            Done(
                held.signal_row,
                held.side,
                held.entry,
                row,
                price,
                ending,
                time,
                net,
                held.value,
            )
        )
        held = None

    for row, bar in enumerate(bars):
        said = sides[row - 1] if row else 0
        # at the open: leave on the last bar's signal, then enter on it
        if held and exits.leave != "never" and row > held.entry_row:
            other = said not in (0, held.side)
            if other or (exits.leave == "other" and said != held.side):
                leave(row, bar.open, "signal", bar.open_time, bar.open_time)
        wanted = said and exits.sides in ("both", {1: "long", 2: "short"}[said])
        if not held and wanted and bar.open_time <= act_by[row - 1] and purse > 0:
            price = fill(bars[row - 1], bar, said, exits.limit_pct)
            if price is not None:
                is_limit = exits.limit_pct is not None
                held = Position(row - 1, said, price, row, is_limit, purse * fraction)
        # within the bar: the stop, then the target; at its close: the time limit
        if held:
            found = within(held, bar, row, exits)
            if found is None and row == len(bars) - 1:
                found = "end", bar.close
            if found is not None:
                ending, price = found
                over = end(bar.open_time)
                leave(row, price, ending, over, over - 1)
        now = purse
        if held:
            sign = 1 if held.side == 1 else -1
            gain = sign * (bar.close - held.entry) / held.entry
            now += held.value * (gain - (costs.fee_pct + costs.slippage_pct) / 100)
        equity.append(now)
    return done, equity


def fill(before, bar, side, limit_pct):
    if limit_pct is None:
        return bar.open
    if side == 1:
        limit = before.close * (1 - limit_pct / 100)
        return min(limit, bar.high) if bar.low < limit else None
    limit = before.close * (1 + limit_pct / 100)
    return max(limit, bar.low) if bar.high > limit else None


def within(held, bar, row, exits):
    """Return how and at what price a position is left in this bar, if it is."""
    if exits.max_bars is None:
        return None
    long = held.side == 1
    up = (bar.high - held.entry) / held.entry * 100
    down = (held.entry - bar.low) / held.entry * 100
    won, lost = (up, down) if long else (down, up)
    if exits.stop_pct is not None and lost >= exits.stop_pct:
        price = held.entry * (1 - exits.stop_pct / 100 if long else 1 + exits.stop_pct / 100)
        price = min(max(price, bar.low), bar.high)
        return "stop", min(price, bar.open) if long else max(price, bar.open)
    fresh = held.limit and row == held.entry_row
    if exits.target_pct is not None and won >= exits.target_pct and not fresh:
        price = held.entry * (1 + exits.target_pct / 100 if long else 1 - exits.target_pct / 100)
        return "target", min(max(price, bar.low), bar.high)
    if row - held.signal_row == exits.max_bars:
        return "time", bar.close
    return None
