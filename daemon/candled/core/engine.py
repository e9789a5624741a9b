"""The engine: a batch of closed bars of any streams in, one decision for each out.

Thousands of streams close in the same second, so everything that costs is done once for a batch:
one pass of the kernel and one call of the model for all streams that share a model. A single bar is
a batch of one. The engine keeps the rolling windows and nothing else; it knows no clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bar, Bars, Interval, Stream
from candled.core.decision import (
    SIDES,
    BarClosed,
    Decision,
    Policy,
    Probabilities,
    Quality,
    Reason,
    Side,
    decision_id,
    signals,
)
from candled.core.features import FeatureState
from candled.core.features.mar import REGIME_INPUTS
from candled.core.model import Model
from candled.core.regime import HISTORY as REGIME_HISTORY
from candled.core.regime import TRENDING_DOWN, TRENDING_UP, RegimeMachine, regime_rule

_ALLOWED_IN = {Side.LONG: TRENDING_UP, Side.SHORT: TRENDING_DOWN}


@dataclass(frozen=True, slots=True)
class Lane:
    """One stream, the model that decides it, and how."""

    stream: Stream
    model: Model
    policy: Policy


@dataclass(slots=True)
class _Progress:
    """What the engine remembers of one lane besides the feature windows."""

    lane: Lane
    interval: Interval
    regime: RegimeMachine
    policy_digest: str
    bars: int = 0
    from_listing: bool = False
    last_open: int | None = None
    since_gap: int | None = None
    """Bars pushed since the one that followed a gap; None when no gap is known."""

    def advance(self, open_time: int) -> None:
        if self.last_open is not None:
            if open_time <= self.last_open:
                raise ValueError(
                    f"{self.lane.stream.path}: bar {open_time} after {self.last_open}; "
                    "bars must come once each, in time order"
                )
            if self.interval.end(self.last_open) != open_time:
                self.since_gap = 0
            elif self.since_gap is not None:
                self.since_gap += 1
        self.last_open = open_time
        self.bars += 1

    def quality(self, bar: Bar) -> tuple[Quality, ...]:
        flags = []
        if self.since_gap is not None and self.since_gap < self.lane.model.features.window - 1:
            flags.append(Quality.GAP)
        if bar.volume == 0:
            flags.append(Quality.ZERO_VOLUME)
        return tuple(flags)

    def warming(self) -> bool:
        """Whether a row could still depend on where the history starts."""
        model = self.lane.model
        return self.bars < (model.features.window if self.from_listing else _history(model))


@dataclass(slots=True)
class _Group:
    """The lanes that share a model and an interval, and their windows: lane i is row i."""

    model: Model
    interval: Interval
    lanes: list[_Progress]
    windows: FeatureState
    regime_windows: FeatureState
    """Of `REGIME_INPUTS`: a regime does not depend on what the model reads."""

    def features(self, rows: Sequence[int], bars: Bars) -> NDArray[np.float64]:
        return self.windows.push(np.array(rows, dtype=np.intp), bars)

    def step_regimes(self, rows: Sequence[int], bars: Bars) -> list[tuple[int, int]]:
        inputs = self.regime_windows.push(np.array(rows, dtype=np.intp), bars).tolist()
        return [self.lanes[row].regime.step(*x) for row, x in zip(rows, inputs, strict=True)]


class Engine:
    """Decides closed bars. Not thread-safe; deciding advances the windows."""

    def __init__(self, lanes: Iterable[Lane]) -> None:
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
            lanes=[_progress(lane) for lane in members],
            windows=model.features.state(len(members), interval),
            regime_windows=REGIME_INPUTS.state(len(members), interval),
        )
        for row, lane in enumerate(members):
            if lane.stream in self._places:
                raise ValueError(f"{lane.stream.path} is given to two models")
            self._places[lane.stream] = (group, row)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """All streams that this engine decides."""
        return tuple(self._places)

    def history(self, stream: Stream) -> int:
        """How many bars `warm` wants for this stream."""
        return _history(self._places[stream][0].model)

    def warm(self, stream: Stream, bars: Bars, *, from_listing: bool) -> None:
        """Begin a stream anew with its history, oldest first; nothing is decided.

        `from_listing` says that the venue has no earlier bar: then even a short history is whole.
        """
        group, row = self._places[stream]
        progress = _progress(group.lanes[row].lane)
        progress.from_listing = from_listing
        for open_time in bars.open_time.tolist():
            progress.advance(open_time)
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
                made = _decide_group(group, rows, [batch[i].bar for i in indices])
                decisions.update(zip(indices, made, strict=True))
        return [decisions[index] for index in range(len(batch))]


def _history(model: Model) -> int:
    """How many bars make features and regime independent of where the history starts."""
    return max(model.features.history, REGIME_HISTORY)


def _progress(lane: Lane) -> _Progress:
    return _Progress(
        lane=lane,
        interval=Interval(lane.stream.interval),
        regime=RegimeMachine(regime_rule(lane.policy.regime)),
        policy_digest=lane.policy.digest,
    )


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


def _decide_group(group: _Group, rows: Sequence[int], bars: Sequence[Bar]) -> list[Decision]:
    """Decide one bar for each of some lanes that share a model."""
    lanes = [group.lanes[row] for row in rows]
    for lane, bar in zip(lanes, bars, strict=True):
        lane.advance(bar.open_time)
    table = Bars.of(bars)
    features = group.features(rows, table)
    regimes = group.step_regimes(rows, table)
    finite = np.asarray(np.isfinite(features).all(axis=1)).tolist()
    reasons = [_unfit(lane, finite=ok) for lane, ok in zip(lanes, finite, strict=True)]
    answers = _ask(group.model, lanes, features, reasons)
    return [
        _decision(lane, bar, regime, reason, answer)
        for lane, bar, regime, reason, answer in zip(
            lanes, bars, regimes, reasons, answers, strict=True
        )
    ]


def _unfit(lane: _Progress, *, finite: bool) -> Reason | None:
    """Why the model must not be asked about this lane's newest row, if so."""
    if lane.warming():
        return Reason.WARMUP
    return None if finite else Reason.NOT_FINITE


_Answer = tuple[Probabilities, Side]


def _ask(
    model: Model,
    lanes: Sequence[_Progress],
    features: NDArray[np.float64],
    reasons: Sequence[Reason | None],
) -> list[_Answer | None]:
    """Ask the model once about all fit rows; None for the others."""
    fit = [index for index, reason in enumerate(reasons) if reason is None]
    answers: list[_Answer | None] = [None] * len(lanes)
    if not fit:
        return answers
    probabilities = model.probabilities(features[fit])
    sides = signals(probabilities, [lanes[index].lane.policy.threshold for index in fit])
    for index, values, side in zip(fit, probabilities.tolist(), sides.tolist(), strict=True):
        answers[index] = (Probabilities(*values), SIDES[side])
    return answers


def _decision(
    progress: _Progress,
    bar: Bar,
    regimes: tuple[int, int],
    reason: Reason | None,
    answer: _Answer | None,
) -> Decision:
    lane, policy, model = progress.lane, progress.lane.policy, progress.lane.model
    raw_regime, regime = regimes
    probabilities, side = answer or (None, Side.NO_DECISION)
    if policy.regime_gate and _ALLOWED_IN.get(side, regime) != regime:
        side, reason = Side.FLAT, Reason.REGIME
    end = progress.interval.end(bar.open_time)
    return Decision(
        id=decision_id(lane.stream, model.digest, progress.policy_digest, bar.open_time, 0),
        stream=lane.stream,
        bar_open=bar.open_time,
        bar_close=end,
        revision=0,
        side=side,
        reason=reason,
        probabilities=probabilities,
        threshold=policy.threshold,
        target=model.target,
        price=bar.close,
        regime=regime,
        raw_regime=raw_regime,
        quality=progress.quality(bar),
        model=model.name,
        model_digest=model.digest,
        policy_digest=progress.policy_digest,
        valid_until=_valid_until(progress.interval, end, policy.valid_bars),
    )


def _valid_until(interval: Interval, end: int, bars: int) -> int:
    for _ in range(bars):
        end = interval.end(end)
    return end
