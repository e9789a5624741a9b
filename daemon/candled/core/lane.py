"""One stream on its way: what is remembered of it besides its windows, and how a bar is judged.

Counts bars and gaps, holds the regime, the cooldown and what is unusual of late, and puts a model's
answer, the gates and the policy together into a decision. Knows one stream at a time; batches are
the engine's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final

from candled.core.bar import DAY, Bar, Interval, Stream
from candled.core.decision import Decision, Policy, Quality, Reason, Side, decision_id
from candled.core.gates import Answer, Cooldown, closed_gate
from candled.core.model import Model
from candled.core.regime import HISTORY as REGIME_HISTORY
from candled.core.regime import RegimeMachine, regime_rule
from candled.core.unusual import HISTORY as UNUSUAL_HISTORY
from candled.core.unusual import Unusual

#: In the order in which they are judged and said.
_FLAGS: Final = (Quality.GAP, Quality.ZERO_VOLUME, Quality.FLAT_RUN, Quality.WICK)


@dataclass(frozen=True, slots=True)
class Lane:
    """One stream, the model that decides it, and how."""

    stream: Stream
    model: Model
    policy: Policy

    @property
    def history(self) -> int:
        """How many bars make a decision independent of where the history starts."""
        return self.settling + self.policy.cooldown_bars

    @property
    def settling(self) -> int:
        """How many bars make a row independent of where the history starts, the cooldown aside.

        Its features, its regime, its flags, and whether a gap mutes it: the first muted bar has one
        before it, from which it is known that there was a gap.
        """
        return max(
            self.model.features.history,
            REGIME_HISTORY,
            UNUSUAL_HISTORY,
            self.policy.gap_mute_bars + 1,
        )

    @property
    def expires_at(self) -> int | None:
        """When the model is too old for bars that close later (UTC ms); None: never."""
        days, trained = self.policy.max_age_days, self.model.trained_until
        return None if days is None or trained is None else trained + days * DAY


@dataclass(frozen=True, slots=True)
class Lineup:
    """Who decides the streams."""

    champions: Sequence[Lane]
    """One for each stream."""
    challengers: Sequence[Lane] = ()
    """At most one for each stream; nothing acts upon what they decide."""


@dataclass(slots=True)
class Progress:
    """What the engine remembers of one lane besides the feature windows."""

    lane: Lane
    interval: Interval
    regime: RegimeMachine
    cooldown: Cooldown
    unusual: Unusual
    policy_digest: str
    expires_at: int | None
    bars: int = 0
    from_listing: bool = False
    last_open: int | None = None
    since_gap: int | None = None
    """Bars pushed since the one that followed a gap; None when no gap is known."""

    def advance(self, bar: Bar) -> Moment:
        """Take the next bar; return what holds at its close."""
        self.pass_by(bar.open_time)
        window = self.lane.model.features.window
        gap = self.since_gap is not None and self.since_gap < window - 1
        raised = (gap, bar.volume == 0, *self.unusual.step(bar))
        return Moment(
            settled=self.bars >= (window if self.from_listing else self.lane.settling),
            warm=self.bars >= (window if self.from_listing else self.lane.history),
            since_gap=self.since_gap,
            expired=self._is_expired(bar),
            quality=tuple(compress(_FLAGS, raised)) if any(raised) else (),
        )

    def _is_expired(self, bar: Bar) -> bool:
        return self.expires_at is not None and self.interval.end(bar.open_time) > self.expires_at

    def pass_by(self, open_time: int) -> None:
        """Count the bar that opens at `open_time`, and the gap before it."""
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

    def judge(
        self, moment: Moment, answer: Answer | None, regime: int
    ) -> tuple[Side, Reason | None]:
        """Decide the newest bar from the model's answer, None when it could not be asked."""
        side = answer.side if answer else Side.NO_DECISION
        reason = self._closed_gate(moment, answer, regime) if answer else None
        cooling = self.cooldown.step(passes=side.is_signal and reason is None)
        if not moment.warm:
            return Side.NO_DECISION, Reason.WARMUP
        if answer is None:
            return Side.NO_DECISION, Reason.NOT_FINITE
        if cooling:
            reason = Reason.COOLDOWN
        return (Side.FLAT if reason else side), reason

    def _closed_gate(self, moment: Moment, answer: Answer, regime: int) -> Reason | None:
        policy, since_gap = self.lane.policy, moment.since_gap
        return closed_gate(policy, answer, regime, since_gap, expired=moment.expired)


@dataclass(frozen=True, slots=True)
class Moment:
    """What holds for one lane at the close of one bar."""

    settled: bool
    """The feature row no longer depends on where the history starts."""
    warm: bool
    """Nor does the decision: the cooldown looks at rows before its own."""
    since_gap: int | None
    """Bars since the first one after a gap; None when no gap is known."""
    expired: bool
    """It closed when the model was too old."""
    quality: tuple[Quality, ...]


def begin(lane: Lane) -> Progress:
    """Return a stream that has seen nothing yet."""
    return Progress(
        lane=lane,
        interval=Interval(lane.stream.interval),
        regime=RegimeMachine(regime_rule(lane.policy.regime)),
        cooldown=Cooldown(lane.policy.cooldown_bars),
        unusual=Unusual(),
        policy_digest=lane.policy.digest,
        expires_at=lane.expires_at,
    )


def decision(
    progress: Progress,
    moment: Moment,
    bar: Bar,
    regimes: tuple[int, int],
    answer: Answer | None,
) -> Decision:
    """Decide a bar from its raw and confirmed regime and the model's answer, if it was asked."""
    lane, policy, model = progress.lane, progress.lane.policy, progress.lane.model
    raw_regime, regime = regimes
    side, reason = progress.judge(moment, answer, regime)
    said = None if side is Side.NO_DECISION else answer
    end = progress.interval.end(bar.open_time)
    return Decision(
        id=decision_id(lane.stream, model.digest, progress.policy_digest, bar.open_time, 0),
        stream=lane.stream,
        bar_open=bar.open_time,
        bar_close=end,
        revision=0,
        side=side,
        reason=reason,
        probabilities=said.probabilities if said else None,
        threshold=policy.threshold,
        target=model.target,
        price=bar.close,
        regime=regime,
        raw_regime=raw_regime,
        quality=moment.quality,
        model=model.name,
        model_digest=model.digest,
        policy_digest=progress.policy_digest,
        valid_until=_valid_until(progress.interval, end, policy.valid_bars),
        novelty=said.novelty if said else None,
        evidence=model.evidence_of(side, said.probability) if said and side.is_signal else None,
    )


def _valid_until(interval: Interval, end: int, bars: int) -> int:
    for _ in range(bars):
        end = interval.end(end)
    return end
