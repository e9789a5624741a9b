"""One stream in the ledger: which signals wait for which bar, and the records of its models. Pure.

A horizon is counted in bars that are there, as labels count it, not in time. Bars are counted as
they are decided; where one came otherwise, the ledger takes the stream up anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from candled.core.bar import Bars, Stream
from candled.core.decision import Decision, Evidence, Side, Target
from candled.core.resolving import can_resolve, resolve
from candled.core.track import Outcome, Track
from candled.ledger.record import Record, TrackSettings


class Who(NamedTuple):
    """Whose signals a record is of: one model may be champion and, otherwise gated, challenger."""

    model_digest: str
    policy_digest: str

    @classmethod
    def of(cls, said: Decision | Outcome) -> Who:
        """Return who made a decision, or the signal of an outcome."""
        return cls(said.model_digest, said.policy_digest)


@dataclass(slots=True)
class Pending:
    """A signal without an outcome."""

    id: str
    who: Who
    bar_open: int
    bar_close: int
    revision: int
    side: Side
    probability: float
    regime: int
    target: Target
    evidence: Evidence | None
    shadow: bool
    """Whether it is a challenger's."""
    due: int = 0
    """How many bars the stream's book must have counted until its horizon can have passed."""
    taken_back: bool = False


@dataclass(slots=True, eq=False)
class Book:
    """What the ledger holds of one stream."""

    stream: Stream
    settings: TrackSettings
    pending: dict[str, Pending] = field(default_factory=dict)
    records: dict[Who, Record] = field(default_factory=dict)
    champion: Who | None = None
    """Who made its newest decision."""
    challenger: Who | None = None
    """Whose shadow signal is the newest."""
    told: dict[Who, str] = field(default_factory=dict)
    """What people were last told of one's signals, as far as that was looked up."""
    to_note: set[Who] = field(default_factory=set)
    """Of whom that is not in the journal yet."""
    counted: int = 0
    next_due: int = 0
    _newest: int | None = None
    """When the newest bar opens, if it is one that was counted."""
    _tracks: dict[Who, Track] = field(default_factory=dict)

    @property
    def may_be_due(self) -> bool:
        """Whether a horizon may have passed."""
        return bool(self.pending) and self.counted >= self.next_due

    def follow(self, decision: Decision) -> None:
        """Take note of a decision: of a bar more, or of what corrects one."""
        self.champion = Who.of(decision)
        if decision.revision:
            return
        self.counted += 1
        self._newest = decision.bar_open

    def await_outcome(
        self, decision: Decision, target: Target | None, *, shadow: bool = False
    ) -> None:
        """Let a signal wait for its outcome, unless it never can have one or waits already."""
        if target is None or not can_resolve(target) or decision.id in self.pending:
            return
        waiting = _pending(decision, target, shadow=shadow)
        if decision.bar_open == self._newest:  # none of its horizon is there
            waiting.due = self.counted + target.lookahead_bars
        self.pending[decision.id] = waiting
        self._note_due()

    def due(self) -> list[Pending]:
        """Return what may have its outcome now, oldest bar first; it is to be settled next."""
        ready = [waiting for waiting in self.pending.values() if waiting.due <= self.counted]
        return sorted(ready, key=lambda waiting: (waiting.bar_open, waiting.id))

    def settle(self, waiting: Pending, bars: Bars) -> Outcome | None:
        """Resolve a signal from the bars that there are from its own on; None if it waits on.

        Where its own bar is gone it has no outcome any more: nothing is guessed.
        """
        if not len(bars) or bars.open_time[0] != waiting.bar_open:
            self.drop(waiting)
            return None
        made = resolve(bars, waiting.target, waiting.side, waiting.regime)
        if made is None:
            waiting.due = self.counted + waiting.target.lookahead_bars + 1 - len(bars)
            self._note_due()
            return None
        self.drop(waiting)
        return Outcome(
            id=waiting.id,
            stream=self.stream,
            model_digest=waiting.who.model_digest,
            bar_open=waiting.bar_open,
            bar_close=waiting.bar_close,
            side=waiting.side,
            probability=waiting.probability,
            right=made.right,
            ended=made.ended,
            gross_pct=made.gross_pct,
            resolved_bar=int(bars.open_time[made.known_at]),
            evidence=waiting.evidence,
            taken_back=waiting.taken_back,
            policy_digest=waiting.who.policy_digest,
        )

    def drop(self, waiting: Pending) -> None:
        """Let a signal wait no more."""
        self.pending.pop(waiting.id, None)
        self._note_due()

    def forget_pending(self) -> None:
        """Let no signal wait any more; those that do from now on are looked at first."""
        self.pending.clear()
        self._newest = None
        self._tracks.clear()

    def _note_due(self) -> None:
        self.next_due = min((waiting.due for waiting in self.pending.values()), default=0)
        self._tracks.clear()

    def add(self, outcome: Outcome) -> bool:
        """Take an outcome into its record; False where that is not the next one."""
        record = self.records.setdefault(Who.of(outcome), Record(self.settings))
        if record.newest is not None and (outcome.bar_open, outcome.id) <= record.newest:
            return False
        record.add(outcome)
        self._tracks.clear()
        return True

    def begin_records(self, records: Mapping[Who, Record]) -> None:
        """Take records that were made anew, as far as they are of who is in use."""
        used = (self.champion, self.challenger)
        self.records = {who: record for who, record in records.items() if who in used}
        self._tracks.clear()

    def is_broken(self, who: Who) -> bool:
        """Whether one's signals are worse than claimed, beyond chance."""
        record = self.records.get(who)
        return record is not None and record.broken

    def track(self, who: Who) -> Track:
        """Return the record of one's signals as it stands."""
        found = self._tracks.get(who)
        if found is None:
            pending = sum(p.who == who and not p.taken_back for p in self.pending.values())
            record = self.records.get(who) or Record(self.settings)
            found = self._tracks[who] = record.track(self.stream, who.model_digest, pending)
        return found


def _pending(decision: Decision, target: Target, *, shadow: bool) -> Pending:
    odds = decision.probabilities
    own = 0.0 if odds is None else odds.long if decision.side is Side.LONG else odds.short
    return Pending(
        id=decision.id,
        who=Who.of(decision),
        bar_open=decision.bar_open,
        bar_close=decision.bar_close,
        revision=decision.revision,
        side=decision.side,
        probability=own,
        regime=decision.regime,
        target=target,
        evidence=decision.evidence,
        shadow=shadow,
    )
