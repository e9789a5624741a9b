"""The book: one event after the other, over all streams, with one purse.

The only loop of the backtest, and only over signals that can be entered. Positions are sized by
the purse as it is known at their entry; everything else was computed before for all rows.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Interval, Stream
from candled.lab.backtest.rules import Costs, Exits, Sizing
from candled.lab.backtest.tape import Tape
from candled.lab.backtest.ways import SIGNAL, Ways, cost_pct, legs, ways

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

START: Final = 1.0


@dataclass(frozen=True, slots=True)
class Trades:
    """m trades in the order of their entries, one array a column."""

    stream: tuple[Stream, ...]
    """Of each trade."""
    signal_open: Rows
    """[m] open of the bar whose signal it was (UTC ms)."""
    entry_time: Rows
    """[m] open of the bar of the entry (UTC ms)."""
    exit_time: Rows
    """[m] when it was known to be over (UTC ms): the end of its last bar, or a bar's open."""
    side: NDArray[np.int8]
    """[m] 1 long, 2 short."""
    entry: Floats
    exit: Floats
    ending: NDArray[np.int8]
    """[m] an index of `ENDINGS`."""
    bars: Rows
    """[m] how many bars it was held in, the first and the last included."""
    gross_pct: Floats
    """[m] percent of the entry, before costs."""
    cost_pct: Floats
    """[m] fees and slippage of both sides, in percent of the entry."""
    funding_pct: Floats
    """[m] funding paid, negative when received, in percent of the entry."""
    net_pct: Floats
    """[m] gross less both."""
    value: Floats
    """[m] what was entered with; the purse begins with 1."""
    profit: Floats
    """[m] `value` * `net_pct` / 100."""
    regime: NDArray[np.int8]
    """[m] at the signal; -1 unknown."""
    probability: Floats
    """[m] of the side; NaN where no model was asked."""
    id: NDArray[np.str_]
    """[m] of the decision; empty where there was none."""

    def __len__(self) -> int:
        """Return m."""
        return len(self.entry)


@dataclass(frozen=True, slots=True)
class Curve:
    """The purse at the end of each of t slots in which any stream has a bar."""

    time: Rows
    """[t] ends of the slots (UTC ms)."""
    equity: Floats
    """[t] the purse with open positions at the latest close, their entry paid; it begins with 1."""
    invested: Floats
    """[t] value of the positions that were held in the slot, at entry."""

    @property
    def drawdown(self) -> Floats:
        """[t] how far below the highest equity so far, as a share of it."""
        highest = np.maximum.accumulate(np.maximum(self.equity, START))
        return np.asarray(1.0 - self.equity / highest)


@dataclass(frozen=True, slots=True)
class Backtest:
    """What came out of one strategy."""

    name: str
    interval: Interval
    """Of the shortest bars traded."""
    start: int
    """Open of the first bar (UTC ms)."""
    trades: Trades
    curve: Curve


@dataclass(frozen=True, slots=True)
class _Taken:
    """The positions that are entered, in the order of their entries."""

    page: NDArray[np.intp]
    row: NDArray[np.intp]
    """Of the signal."""
    value: Floats


@dataclass(frozen=True, slots=True)
class _Page:
    """One stream in the book."""

    tape: Tape
    made: Ways
    candidates: list[int]
    entry_times: list[int]
    traded_pct: Floats
    funding_pct: Floats
    net_pct: Floats


def run(
    tapes: Sequence[Tape],
    exits: Exits,
    costs: Costs | None = None,
    sizing: Sizing | None = None,
    name: str = "signals",
) -> Backtest:
    """Trade tapes of different streams together.

    A stream is in one position at most; the rest of its signals pass. Where several streams can
    enter at once and not all may, they do so in the order of their names.

    Raises:
        ValueError: no bars, or two tapes of one stream.
    """
    costs, sizing = costs or Costs(), sizing or Sizing()
    ordered = sorted(tapes, key=lambda tape: tape.stream)
    _refuse_doubles(ordered)
    pages = [_page(tape, exits, costs) for tape in ordered if len(tape)]
    if not pages:
        raise ValueError("there are no bars to trade; give a longer stretch")
    taken = _choose(pages, sizing)
    return Backtest(
        name=name,
        interval=min((page.tape.interval for page in pages), key=lambda i: i.typical_ms),
        start=min(int(page.tape.bars.open_time[0]) for page in pages),
        trades=_trades(pages, taken),
        curve=_curve(pages, taken, costs),
    )


def _refuse_doubles(tapes: Sequence[Tape]) -> None:
    streams = [tape.stream for tape in tapes]
    for one, other in itertools.pairwise(streams):
        if one == other:
            raise ValueError(f"{one.path} is given twice; join its bars into one tape")


def _page(tape: Tape, exits: Exits, costs: Costs) -> _Page:
    made = ways(tape, legs(tape, exits), exits)
    candidates = np.flatnonzero(made.open_to)
    traded, funding = cost_pct(made, costs)
    return _Page(
        tape,
        made,
        candidates.tolist(),
        tape.bars.open_time[candidates + 1].tolist(),
        traded,
        funding,
        made.gross_pct - traded - funding,
    )


def _choose(pages: Sequence[_Page], sizing: Sizing) -> _Taken:
    """Walk through the entries in time and make those that the purse and the limits allow."""
    most = len(pages) if sizing.max_positions is None else sizing.max_positions
    waiting = [(page.entry_times[0], at, 0) for at, page in enumerate(pages) if page.candidates]
    heapq.heapify(waiting)
    held: list[tuple[int, int, float]] = []
    taken: list[tuple[int, int, float]] = []
    purse = START
    while waiting:
        now, at, position = heapq.heappop(waiting)
        while held and held[0][0] <= now:
            purse += heapq.heappop(held)[2]
        page = pages[at]
        row = page.candidates[position]
        following = position + 1
        if len(held) < most and purse > 0:
            value = purse * sizing.fraction
            profit = value * float(page.net_pct[row]) / 100
            heapq.heappush(held, (int(page.made.exit_time[row]), at, profit))
            taken.append((at, row, value))
            following = bisect_left(page.candidates, int(page.made.free[row]), following)
        if following < len(page.candidates):
            heapq.heappush(waiting, (page.entry_times[following], at, following))
    page_of, row_of, value_of = zip(*taken, strict=True) if taken else ((), (), ())
    return _Taken(
        np.array(page_of, dtype=np.intp),
        np.array(row_of, dtype=np.intp),
        np.array(value_of, dtype=np.float64),
    )


def _trades(pages: Sequence[_Page], taken: _Taken) -> Trades:
    order = np.argsort(taken.page, kind="stable")

    def of(column: Callable[[_Page], NDArray[Any]]) -> NDArray[Any]:
        """Pick a column of the pages for the positions taken."""
        parts = [column(page)[taken.row[taken.page == at]] for at, page in enumerate(pages)]
        joined = np.concatenate(parts)
        picked = np.empty_like(joined)
        picked[order] = joined
        return picked

    net = of(lambda page: page.net_pct)
    return Trades(
        stream=tuple(pages[at].tape.stream for at in taken.page.tolist()),
        signal_open=of(lambda page: page.tape.bars.open_time),
        entry_time=of(lambda page: np.append(page.tape.bars.open_time[1:], 0)),
        exit_time=of(lambda page: page.made.exit_time),
        side=of(lambda page: page.tape.side),
        entry=of(lambda page: page.made.entry),
        exit=of(lambda page: page.made.exit),
        ending=of(lambda page: page.made.kind),
        bars=of(lambda page: _held(page.made)),
        gross_pct=of(lambda page: page.made.gross_pct),
        cost_pct=of(lambda page: page.traded_pct),
        funding_pct=of(lambda page: page.funding_pct),
        net_pct=net,
        value=taken.value,
        profit=taken.value * net / 100,
        regime=of(lambda page: page.tape.regime),
        probability=of(lambda page: _of_side(page.tape)),
        id=of(lambda page: page.tape.ids),
    )


def _held(made: Ways) -> Rows:
    """Return [n] the bars of each position; one left at an open was not held in that bar."""
    return np.asarray(made.exit_row - np.arange(len(made.exit_row)) - (made.kind == SIGNAL))


def _of_side(tape: Tape) -> Floats:
    return tape.probabilities[np.arange(len(tape)), tape.side].astype(np.float64)


def _curve(pages: Sequence[_Page], taken: _Taken, costs: Costs) -> Curve:
    ends = [page.tape.ends for page in pages]
    time = np.unique(np.concatenate(ends))
    realised, marked, invested = np.zeros((3, len(time)))
    for at, page in enumerate(pages):
        slot = np.searchsorted(time, ends[at])
        latest = page.tape.bars.close[np.searchsorted(ends[at], time, side="right") - 1]
        made, mine = page.made, taken.page == at
        rows, values = taken.row[mine], taken.value[mine]
        np.add.at(realised, slot[made.exit_row[rows]], values * page.net_pct[rows] / 100)
        for row, value in zip(rows.tolist(), values.tolist(), strict=True):
            entry, begin, over = made.entry[row], slot[row + 1], slot[made.exit_row[row]]
            gain = made.sign[row] * (latest[begin:over] - entry) / entry - costs.side_pct / 100
            marked[begin:over] += value * gain
            invested[begin : over + (made.kind[row] != SIGNAL)] += value
    return Curve(time, START + np.cumsum(realised) + marked, invested)
