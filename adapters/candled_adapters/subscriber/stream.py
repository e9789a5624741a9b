"""One stream's part of the rules: what is told, what waits, what is missing, what may be acted on.

Pure; `rules` says what holds, and gives each message to the stream that it is about.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from candled_adapters.protocol import shapes
from candled_adapters.subscriber.facts import (
    Corrected,
    Fact,
    Go,
    Halt,
    Heard,
    Lost,
    Now,
    Refused,
)
from candled_adapters.subscriber.hearing import stream_of
from candled_adapters.subscriber.numbers import Numbers, Place

NEVER: Final = float("-inf")
_MOST_IDS: Final = 128
_NO_RETRY_S: Final = 30.0
_LONGEST_PAUSE_S: Final = 60.0
_NO_HURRY: Final = 1 << 62  # on the venue's clock (ms)


@dataclass(frozen=True, slots=True)
class Limits:
    """The rules' patience, all in seconds of the local clock."""

    hold_s: float = 2.0
    """How long a signal that may be acted on waits for what is missing before it."""
    record_s: float = 30.0
    """How long one that is only for the record does: there is no hurry, and order is worth more."""
    grace_s: float = 1.0
    """How long a signal that a head names may still be on its way."""
    stale_s: float = 90.0
    """How long a head is a sign of life; they are said every 30 s."""
    patience_s: float = 5.0
    """How long an answer may take before it is asked for again."""


@dataclass(slots=True)
class Service:
    """What is known of the service as a whole."""

    epoch: str | None = None
    trouble: str | None = "not connected"
    """Why nothing may be acted on; None when it is online."""
    heard_at: float = NEVER
    """Local time at which it last said how it is."""
    beat_s: float | None = None
    """How often it says so again (s), if it does."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    heard: Heard
    until: float
    """Local time."""
    until_ms: int
    """Venue's clock."""

    def is_due(self, now: Now) -> bool:
        """Whether it has waited long enough, and what came before it with it."""
        return now.local >= self.until or now.venue_ms >= self.until_ms


@dataclass(slots=True)
class StreamRules:
    """What one consumer knows of one stream."""

    name: str
    limits: Limits
    service: Service
    numbers: Numbers
    named: int = 0
    """The highest number that a head has named."""
    named_at: float = 0.0
    seen: float = NEVER
    """Local time at which it was certainly alive."""
    not_live: str | None = "no head has been seen"
    """What its head says against it."""
    halted: bool = True
    ask_at: float = NEVER
    """Not to be asked about before (local time)."""
    repeats: int = 0
    """How many signals came again and were not told again."""
    called_off: dict[str, None] = field(default_factory=dict)
    corrections: dict[str, None] = field(default_factory=dict)

    # --- may it be acted on

    def trouble(self, now: Now) -> str | None:
        """Return why nothing of it may be acted on; None when all is well."""
        if self.service.trouble is not None:
            return self.service.trouble
        return self._own_trouble(now)

    def _own_trouble(self, now: Now) -> str | None:
        if self.not_live is None and now.local - self.seen > self.limits.stale_s:
            return f"no sign of life for {self.limits.stale_s:g} s"
        return self.not_live

    def why_not(self, heard: Heard, now: Now) -> str | None:
        """Return why a signal must not be acted on at this moment; None when it may be."""
        return heard.why_not or self._against(heard, now) or self.trouble(now)

    def _against(self, heard: Heard, now: Now) -> str | None:
        """Return what a signal itself gives as a reason not to act."""
        signal = heard.signal
        if heard.replayed:
            return "replayed: for the record"
        if not signal.live:
            return "not live: late or corrected when it was published"
        if now.venue_ms >= signal.valid_until_ms:
            return "late: valid_until has passed"
        if signal.id in self.called_off:
            return "corrected"
        is_foreign = self.service.trouble is None and signal.epoch != self.service.epoch
        return "of another epoch than the service" if is_foreign else None

    def stand(self, now: Now) -> Iterator[Fact]:
        """Tell it when the stream can be relied on, or can no longer."""
        trouble = self._own_trouble(now)
        if self.halted is (trouble is not None):
            return
        self.halted = trouble is not None
        yield Go(self.name) if trouble is None else Halt(self.name, trouble)

    # --- what comes

    def signal(self, heard: Heard, now: Now) -> Iterator[Fact]:
        """Tell a signal that came by itself, or let it wait, or know it already."""
        if heard.signal.seq <= self.named:
            self.named_at = now.local  # what the head named is on its way
        yield from self._place(heard, now)

    def head(self, head: shapes.Head, age_s: float, now: Now) -> Iterator[Fact]:
        """Note how the stream is, and which signal was its last."""
        if not (yield from self._enter(head.epoch, now)):
            return
        self.seen = max(self.seen, now.local - age_s)
        state = head.stream_state or "not served"
        why = f": {head.stream_reason[:300]}" if head.stream_reason else ""
        self.not_live = None if state == "live" else f"the stream is {state}{why}"
        self.numbers.assume(head.last_signal_seq)
        if head.last_signal_seq > self.named:
            self.named, self.named_at = head.last_signal_seq, now.local
        yield from self.stand(now)

    def correction(self, correction: shapes.Correction) -> Iterator[Fact]:
        """Tell a correction once; a signal that it calls off must not be acted on."""
        if correction.id in self.corrections:
            return
        _remember(self.corrections, correction.id)
        fact = Corrected(self.name, correction)
        if fact.calls_off:
            _remember(self.called_off, fact.calls_off)
        yield fact

    def _enter(self, epoch: str, now: Now) -> Generator[Fact, None, bool]:
        """Begin anew when the service says that its journal was lost; say whether it is ours."""
        numbers = self.numbers
        if numbers.epoch is None:
            numbers.epoch = epoch
        if epoch not in (numbers.epoch, self.service.epoch):
            return False
        if epoch != numbers.epoch:
            for number in sorted(numbers.waiting):
                yield self._tell(numbers.waiting.pop(number).heard, now)
            numbers.begin(epoch)
            self.named = 0
        return True

    # --- in order, once

    def _place(self, heard: Heard, now: Now) -> Iterator[Fact]:
        numbers, signal = self.numbers, heard.signal
        if signal.id in numbers.ids or signal.seq in numbers.waiting:
            self.repeats += 1
            return
        if not (yield from self._enter(signal.epoch, now)):
            numbers.note(signal.id, 0)
            yield replace(heard, why_not="of another epoch than the service")
            return
        match numbers.place(signal.seq):
            case Place.NEXT:
                yield self._tell(heard, now)
                yield from self._tell_ready(now)
            case Place.BEHIND_A_HOLE:
                numbers.waiting[signal.seq] = self._wait(heard, now)
            case Place.LATE:
                late = heard if heard.replayed else replace(heard, why_not="out of order")
                yield self._tell(late, now)
            case Place.OLD:
                self.repeats += 1
            case Place.IMPLAUSIBLE:
                yield Refused(self.name, f"number {signal.seq} is too far ahead to be true")

    def _tell(self, heard: Heard, now: Now) -> Heard:
        self.numbers.told(heard.signal.seq, heard.signal.id)
        return replace(heard, why_not=self.why_not(heard, now))

    def _tell_ready(self, now: Now) -> Iterator[Fact]:
        for waiting in self.numbers.ready():
            yield self._tell(waiting.heard, now)

    def _wait(self, heard: Heard, now: Now) -> _Waiting:
        left = heard.signal.valid_until_ms - now.venue_ms
        if heard.why_not or self._against(heard, now) or left <= 0:
            return _Waiting(heard, now.local + self.limits.record_s, _NO_HURRY)
        return _Waiting(heard, now.local + self.limits.hold_s, now.venue_ms + left // 2)

    def release(self, now: Now) -> Iterator[Fact]:
        """Tell what has waited long enough; what is missing before it becomes a hole."""
        numbers = self.numbers
        while (first := numbers.first_waiting()) is not None:
            is_due = any(waiting.is_due(now) for waiting in numbers.waiting.values())
            if not (is_due or numbers.is_crowded()):
                return
            for low, high in numbers.pass_over(first - 1):
                yield Lost(self.name, low, high)
            yield from self._tell_ready(now)

    # --- what is missing

    @property
    def is_whole(self) -> bool:
        """Whether nothing waits, and nothing is known to be missing."""
        numbers = self.numbers
        return not (numbers.holes or numbers.waiting or self.named > (numbers.last or 0))

    def _wanted(self, now: Now) -> int:
        """Return the highest number that should have come by now."""
        is_overdue = now.local >= self.named_at + self.limits.grace_s
        return max(self.numbers.highest_wanted(), self.named if is_overdue else 0)

    def missing_since(self, now: Now) -> int | None:
        """Return the number above which to ask now; None when there is nothing to ask."""
        return None if now.local < self.ask_at else self._gap(now)

    def _gap(self, now: Now) -> int | None:
        return self.numbers.missing_since(self._wanted(now))

    def replay(self, replay: shapes.Replay, now: Now) -> Iterator[Fact]:
        """Tell what was asked for, and what of it is lost.

        What is newer than the question is left alone: it comes by itself, and could still be acted
        on.
        """
        if replay.error is not None:
            pause = replay.retry_after_s or _NO_RETRY_S
            self.ask_at = now.local + min(max(pause, 0.1), _LONGEST_PAUSE_S)
            return
        if not (yield from self._enter(replay.epoch, now)):
            return
        wanted, since = self._wanted(now), replay.since_seq
        told = [
            signal
            for signal in replay.signals
            if since < signal.seq <= wanted
            and (stream_of(signal), signal.epoch) == (self.name, replay.epoch)
        ]
        for signal in told:
            yield from self._place(Heard(self.name, signal, None, replayed=True), now)
        upto = replay.last_seq if replay.complete else max((s.seq for s in told), default=since)
        if replay.complete and replay.first_kept is None:  # all that there was is gone
            upto = max(upto, self.numbers.highest_wanted())
        yield from self._lose(since, min(upto, wanted), now)
        if replay.complete:
            self.named = min(self.named, replay.last_seq)
        goes_on = upto > since if not replay.complete else self._gap(now) is None
        self.ask_at = NEVER if goes_on else now.local + self.limits.patience_s

    def _lose(self, above: int, upto: int, now: Now) -> Iterator[Fact]:
        """Tell which numbers will not come, and go on behind them."""
        numbers = self.numbers
        for first, last in numbers.give_up(above, upto):
            yield Lost(self.name, first, last)
        while numbers.last is not None and above <= numbers.last:
            skipped = numbers.skip(upto)
            if skipped is None:
                return
            yield Lost(self.name, *skipped)
            yield from self._tell_ready(now)


def _remember(known: dict[str, None], name: str) -> None:
    known[name] = None
    while len(known) > _MOST_IDS:
        del known[next(iter(known))]
