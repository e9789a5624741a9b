"""The tape: one stream's bars, and what was said at the close of each.

What a backtest reads, whoever said it: an engine that replayed history, a walk-forward that asked
a model only about what it had not seen, or a rule. Knows nothing of fills and costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars, Interval, Stream
from candled.core.decision import SIDES, Decision, signals
from candled.core.labels import LONG, SHORT
from candled.core.regime import TRENDING_DOWN, TRENDING_UP

NOTHING: Final = 0
UNKNOWN: Final = -1
FOR_EVER: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Tape:
    """n bars of one stream and n answers, one array a column."""

    stream: Stream
    bars: Bars
    side: NDArray[np.int8]
    """[n] said at the bar's close: 0 nothing, 1 long, 2 short."""
    act_by: NDArray[np.int64]
    """[n] not to be entered from then on (UTC ms)."""
    regime: NDArray[np.int8]
    """[n] confirmed; `UNKNOWN` where nobody said."""
    probabilities: NDArray[np.float32]
    """[n, 3] no trade, long, short; NaN where the model was not asked."""
    ids: NDArray[np.str_]
    """[n] of the decisions; empty where there is none."""

    def __len__(self) -> int:
        """Return n."""
        return len(self.bars)

    def __getitem__(self, rows: slice) -> Tape:
        """Return the tape of a slice of rows."""
        return Tape(
            self.stream,
            self.bars[rows],
            self.side[rows],
            self.act_by[rows],
            self.regime[rows],
            self.probabilities[rows],
            self.ids[rows],
        )

    def between(self, first: int | None, last: int | None) -> Tape:
        """Return the bars that open from `first` to `last` (UTC ms, both included)."""
        times = self.bars.open_time
        start = 0 if first is None else int(np.searchsorted(times, first, "left"))
        stop = len(times) if last is None else int(np.searchsorted(times, last, "right"))
        return self[start : max(start, stop)]

    @property
    def interval(self) -> Interval:
        """How long a bar is."""
        return Interval(self.stream.interval)

    @property
    def ends(self) -> NDArray[np.int64]:
        """[n] exclusive ends of the bars (UTC ms)."""
        end = self.interval.end
        return np.array([end(time) for time in self.bars.open_time.tolist()], dtype=np.int64)


def tape_of_decisions(bars: Bars, decisions: Iterable[Decision]) -> Tape:
    """Put decisions of one stream beside its bars; a bar without a decision says nothing.

    Raises:
        ValueError: no decision at all, one of another stream, or one about a bar that is not there.
    """
    made = list(decisions)
    if not made:
        raise ValueError("there is no decision to test; give those of the bars")
    stream = made[0].stream
    for decision in made:
        if decision.stream != stream:
            raise ValueError(
                f"decisions of {stream.path} and {decision.stream.path} are mixed; "
                "make a tape for each stream"
            )
    rows = _rows(bars, np.array([decision.bar_open for decision in made], dtype=np.int64))
    number = {side: index for index, side in enumerate(SIDES)}
    tape = _silent(stream, bars)
    tape.side[rows] = [number.get(decision.side, NOTHING) for decision in made]
    tape.act_by[rows] = [decision.valid_until for decision in made]
    tape.regime[rows] = [decision.regime for decision in made]
    asked = [(row, d.probabilities) for row, d in zip(rows, made, strict=True) if d.probabilities]
    for row, said in asked:
        tape.probabilities[row] = said.no_trade, said.long, said.short
    return replace(tape, ids=_ids(len(bars), rows, [decision.id for decision in made]))


def tape_of_answers(
    stream: Stream,
    bars: Bars,
    open_time: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    threshold: float | NDArray[np.float32],
    *,
    regime: NDArray[np.integer] | None = None,
    valid_bars: int = 1,
) -> Tape:
    """Make a tape of answers [m, 3] about the bars that open at `open_time` [m].

    For answers that no engine gave, as those of walk-forward folds about what they had not seen.
    A bar without an answer says nothing. `threshold` is one for all answers, or [m]; `regime` [n],
    if given, is of all bars.

    Raises:
        ValueError: an answer about a bar that is not there, or columns of different lengths.
    """
    if len(open_time) != len(probabilities):
        raise ValueError(
            f"{len(open_time)} open times for {len(probabilities)} answers; give one each"
        )
    rows = _rows(bars, open_time)
    tape = _silent(stream, bars)
    tape.probabilities[rows] = probabilities
    tape.act_by[:] = _valid_until(tape, valid_bars)
    if regime is not None:
        if len(regime) != len(bars):
            raise ValueError(f"regime has {len(regime)} values for {len(bars)} bars; one a bar")
        tape.regime[:] = regime
    limits = np.ones(len(bars), dtype=np.float32)
    limits[rows] = threshold
    return told(tape, limits)


def told(tape: Tape, threshold: float | NDArray[np.float32]) -> Tape:
    """Return the tape as another threshold, one for all bars or [n], would have it; without ids."""
    side = signals(tape.probabilities, threshold)
    return replace(tape, side=side, ids=np.full(len(tape), "", dtype="U1"))


def gated(tape: Tape) -> Tape:
    """Return the tape with longs only where it trends up and shorts only where it trends down."""
    allowed = np.where(tape.side == LONG, TRENDING_UP, TRENDING_DOWN) == tape.regime
    side = np.where(allowed, tape.side, NOTHING).astype(np.int8)
    return replace(tape, side=side)


def by_regime(tape: Tape, *, shorts: bool) -> Tape:
    """Return a tape that says long wherever it trends up and, with `shorts`, short where down."""
    side = np.where(tape.regime == TRENDING_UP, LONG, NOTHING).astype(np.int8)
    if shorts:
        side[tape.regime == TRENDING_DOWN] = SHORT
    return replace(tape, side=side, act_by=_always(tape), ids=np.full(len(tape), "", dtype="U1"))


def always_long(tape: Tape) -> Tape:
    """Return a tape that says long at every bar."""
    side = np.full(len(tape), LONG, dtype=np.int8)
    return replace(tape, side=side, act_by=_always(tape), ids=np.full(len(tape), "", dtype="U1"))


def _always(tape: Tape) -> NDArray[np.int64]:
    return np.full(len(tape), FOR_EVER, dtype=np.int64)


def _silent(stream: Stream, bars: Bars) -> Tape:
    n = len(bars)
    return Tape(
        stream,
        bars,
        side=np.zeros(n, dtype=np.int8),
        act_by=np.zeros(n, dtype=np.int64),
        regime=np.full(n, UNKNOWN, dtype=np.int8),
        probabilities=np.full((n, 3), np.nan, dtype=np.float32),
        ids=np.full(n, "", dtype="U1"),
    )


def _rows(bars: Bars, open_time: NDArray[np.int64]) -> NDArray[np.intp]:
    rows = np.searchsorted(bars.open_time, open_time)
    there = rows < len(bars)
    there[there] = bars.open_time[rows[there]] == open_time[there]
    if not there.all():
        missing = int(open_time[np.flatnonzero(~there)[0]])
        raise ValueError(f"no bar opens at {missing}; give the bars that the answers are about")
    return rows


def _ids(count: int, rows: NDArray[np.intp], ids: list[str]) -> NDArray[np.str_]:
    result = np.full(count, "", dtype=f"U{max(map(len, ids))}")
    result[rows] = ids
    return result


def _valid_until(tape: Tape, bars: int) -> NDArray[np.int64]:
    end = tape.interval.end
    until = tape.ends.tolist()
    for _ in range(bars):
        until = [end(time) for time in until]
    return np.array(until, dtype=np.int64)
