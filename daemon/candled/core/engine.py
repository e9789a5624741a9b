"""The engine: a batch of closed bars of any streams in, one decision for each out.

Thousands of streams close in the same second, so everything that costs is done once for a batch:
one pass of the kernel and one call of the model for all streams that share a model. A single bar is
a batch of one, and a stretch of one stream's history is another batch: replayed, it gives the
decisions that it would have given live. The engine keeps the rolling windows and nothing else; it
knows no clock.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bar, Bars, Interval, Stream
from candled.core.decision import (
    BarClosed,
    Decision,
)
from candled.core.features import FeatureState
from candled.core.features.mar import REGIME_INPUTS
from candled.core.gates import Answer, answers, missing_means
from candled.core.lane import Lane, Moment, Progress, begin, decision
from candled.core.model import Model
from candled.core.regime import HISTORY as REGIME_HISTORY
from candled.core.unusual import HISTORY as UNUSUAL_HISTORY

__all__ = ["Engine", "Lane"]

Floats = NDArray[np.float64]

#: Is given a model, m decisions that rest on its answers, and their feature rows [m, k].
OnRows = Callable[[Model, Sequence[Decision], Floats], None]

_REPLAYED_AT_ONCE = 8192


@dataclass(slots=True)
class _Group:
    """The lanes that share a model and an interval, and their windows: lane i is row i."""

    model: Model
    interval: Interval
    lanes: list[Progress]
    windows: FeatureState
    regime_windows: FeatureState
    """Of `REGIME_INPUTS`: a regime does not depend on what the model reads."""

    def push(self, rows: Sequence[int], bars: Bars) -> _Rows:
        """Append one bar to each of some distinct lanes; return a row for each."""
        at = np.array(rows, dtype=np.intp)
        return _Rows(self.windows.push(at, bars), self.regime_windows.push(at, bars))

    def push_each(self, row: int, bars: Bars) -> _Rows:
        """Append bars to one lane, one after the other; return a row for each."""
        pushed = [self.push([row], bars[at : at + 1]) for at in range(len(bars))]
        return _Rows(
            np.concatenate([one.features for one in pushed]),
            np.concatenate([one.regime_inputs for one in pushed]),
        )

    def skip_to(self, row: int, bars: Bars, start: int) -> _Rows:
        """Let one lane stand at the end of `bars`; return the rows from bar `start` on.

        They come from the tables over the bars: before `start` there must be `Lane.settling` - 1
        of them, or all that the lane has ever seen.
        """
        settling = self.lanes[row].lane.settling
        seen = bars[max(0, start - settling + 1) :]
        new = start - len(bars)
        features, regime_inputs = (
            np.concatenate(list(source.blocks(seen, self.interval)))[new:]
            for source in (self.model.features, REGIME_INPUTS)
        )
        self.windows.warm(row, seen[-settling:])
        self.regime_windows.warm(row, seen[-settling:])
        return _Rows(features, regime_inputs)

    def step_regimes(self, rows: Sequence[int], inputs: Floats) -> list[tuple[int, int]]:
        """Let each lane's regime take a row of `REGIME_INPUTS`, in order."""
        taken = zip(rows, inputs.tolist(), strict=True)
        return [self.lanes[row].regime.step(*x) for row, x in taken]


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is computed of n bars."""

    features: Floats
    """[n, k] for the model."""
    regime_inputs: Floats
    """[n, 3]"""


class Engine:
    """Decides closed bars. Not thread-safe; deciding advances the windows.

    `on_rows` may look at what `decide` asked models about, once for each call of a model. It holds
    up the batch and must keep what it is given for later; what is replayed it is not shown.
    """

    def __init__(self, lanes: Iterable[Lane], *, on_rows: OnRows | None = None) -> None:
        self.on_rows = on_rows
        alike: dict[tuple[str, str], list[Lane]] = defaultdict(list)
        for lane in lanes:
            alike[lane.model.digest, lane.stream.interval].append(lane)
        self._places: dict[Stream, tuple[_Group, int]] = {}
        for members in alike.values():
            self._add_group(members)

    def _add_group(self, members: list[Lane]) -> None:
        model, interval = members[0].model, Interval(members[0].stream.interval)
        group = _Group(
            model=model,
            interval=interval,
            lanes=[begin(lane) for lane in members],
            windows=model.features.state(len(members), interval),
            regime_windows=REGIME_INPUTS.state(len(members), interval),
        )
        for row, lane in enumerate(members):
            if lane.stream in self._places:
                raise ValueError(f"{lane.stream.path} is given to two models")
            if missing := missing_means(model, lane.policy):
                raise ValueError(
                    f"{lane.stream.path}: {model.name} has not what {missing[0]} needs"
                )
            self._places[lane.stream] = (group, row)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """All streams that this engine decides."""
        return tuple(self._places)

    def history(self, stream: Stream) -> int:
        """How many bars `warm` wants for this stream."""
        group, row = self._places[stream]
        return group.lanes[row].lane.history

    def newest(self, stream: Stream) -> int | None:
        """Return the open time of the newest bar that this stream has seen; None before any."""
        group, row = self._places[stream]
        return group.lanes[row].last_open

    def warm(self, stream: Stream, bars: Bars, *, from_listing: bool) -> None:
        """Begin a stream anew with its history, oldest first; nothing is decided.

        `from_listing` says that the venue has no earlier bar: then even a short history is whole.
        """
        group, row = self._places[stream]
        lane = group.lanes[row].lane
        tail = max(0, len(bars) - lane.policy.cooldown_bars)
        self._fill(group, row, bars[:tail], from_listing=from_listing)
        for bar in bars[tail:]:  # the cooldown remembers which of them would have been signals
            _decide(group, [row], [bar], partial(group.push, [row], Bars.of([bar])))

    def _fill(self, group: _Group, row: int, bars: Bars, *, from_listing: bool) -> None:
        progress = begin(group.lanes[row].lane)
        progress.from_listing = from_listing
        for open_time in bars.open_time.tolist():
            progress.pass_by(open_time)
        for bar in bars[-UNUSUAL_HISTORY:]:
            progress.unusual.step(bar)
        group.lanes[row] = progress
        group.windows.warm(row, bars)
        recent = bars[-REGIME_HISTORY:]
        group.regime_windows.warm(row, recent)
        for inputs in REGIME_INPUTS.table(recent, group.interval).tolist():
            progress.regime.step(*inputs)

    def decide(self, batch: Sequence[BarClosed]) -> list[Decision]:
        """Decide each bar of a batch; the result is in the batch's order.

        A stream may occur more than once, its bars in time order. Raises ValueError for a bar that
        is not newer than the stream's last one, KeyError for an unknown stream.
        """
        decisions: dict[int, Decision] = {}
        for members in _rounds(batch):
            by_group: dict[int, tuple[_Group, list[int], list[int]]] = {}
            for index in members:
                group, row = self._places[batch[index].stream]
                _, rows, indices = by_group.setdefault(id(group), (group, [], []))
                rows.append(row)
                indices.append(index)
            for group, rows, indices in by_group.values():
                bars = [batch[i].bar for i in indices]
                compute = partial(group.push, rows, Bars.of(bars))
                made = _decide(group, rows, bars, compute, self.on_rows)
                decisions.update(zip(indices, made, strict=True))
        return [decisions[index] for index in range(len(batch))]

    def replay(
        self, stream: Stream, bars: Bars, size: int = _REPLAYED_AT_ONCE
    ) -> Iterator[list[Decision]]:
        """Yield the decisions of a stretch of one stream, in blocks of at most `size` bars.

        They are those of `decide` bar by bar, and after each block the stream stands where these
        would have left it. Nothing happens before the first block is asked for.

        The rows come from the batch kernel as soon as nothing before `bars` can matter: at once
        for a stream that has seen nothing, else from the bar on that has a whole history in `bars`.

        Raises as `decide` does.
        """
        group, row = self._places[stream]
        progress = group.lanes[row]
        single = min(progress.lane.settling - 1, len(bars)) if progress.bars else 0
        starts = [*range(0, single, size), *range(single, len(bars), size)]
        for start, stop in itertools.pairwise([*starts, len(bars)]):
            block = bars[start:stop]
            compute = (
                partial(group.push_each, row, block)
                if start < single
                else partial(group.skip_to, row, bars[:stop], start)
            )
            yield _decide(group, [row] * len(block), list(block), compute)


def _rounds(batch: Sequence[BarClosed]) -> list[list[int]]:
    """Split a batch so that no stream occurs twice in a round; rounds keep each stream's order."""
    rounds: list[list[int]] = []
    seen: dict[Stream, int] = defaultdict(int)
    for index, event in enumerate(batch):
        turn = seen[event.stream]
        seen[event.stream] += 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(index)
    return rounds


def _decide(
    group: _Group,
    rows: Sequence[int],
    bars: Sequence[Bar],
    compute: Callable[[], _Rows],
    on_rows: OnRows | None = None,
) -> list[Decision]:
    """Decide a bar of each of some lanes that share a model; a lane may occur more than once.

    `compute` makes the rows of the bars, once these are known to be in order.
    """
    lanes = [group.lanes[row] for row in rows]
    moments = [lane.advance(bar) for lane, bar in zip(lanes, bars, strict=True)]
    computed = compute()
    regimes = group.step_regimes(rows, computed.regime_inputs)
    found = _ask(group.model, lanes, moments, computed.features)
    decisions = [
        decision(lane, moment, bar, regime, answer)
        for lane, moment, bar, regime, answer in zip(
            lanes, moments, bars, regimes, found, strict=True
        )
    ]
    if on_rows:
        _show(on_rows, group.model, decisions, computed.features)
    return decisions


def _show(on_rows: OnRows, model: Model, decisions: Sequence[Decision], features: Floats) -> None:
    """Show the rows that were answered, as a table of their own: a state may use its again."""
    at = [number for number, made in enumerate(decisions) if made.probabilities]
    if at:
        on_rows(model, [decisions[number] for number in at], features[at])


def _ask(
    model: Model,
    lanes: Sequence[Progress],
    moments: Sequence[Moment],
    features: Floats,
) -> list[Answer | None]:
    """Ask the model once about all fit rows; None for the others."""
    finite = np.asarray(np.isfinite(features).all(axis=1)).tolist()
    fit = [at for at, moment in enumerate(moments) if finite[at] and moment.settled]
    found: list[Answer | None] = [None] * len(lanes)
    if fit:
        thresholds = [lanes[at].lane.policy.threshold for at in fit]
        for at, answer in zip(fit, answers(model, features[fit], thresholds), strict=True):
            found[at] = answer
    return found
