"""One line: a connection, what it was asked to carry, what was answered, and what it brings.

Speaks the dialect on one socket and moves what it hears to the machines. Which streams go on which
line, and when a line is given up, is the shard's to decide.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Never, Protocol

from candled.core.bar import Bar, Stream
from candled.ports import Act, FeedEvent, Hazard
from candled_adapters.exchanges.dialect import (
    Control,
    ControlKind,
    Dialect,
    Kline,
    MalformedFrame,
    Sign,
    Subscription,
)
from candled_adapters.feeds.budget import Allowance
from candled_adapters.feeds.continuity import Continuity
from candled_adapters.feeds.pushed import Moment
from candled_adapters.feeds.session import Session
from candled_adapters.feeds.socket import Ending, Say, Socket, SocketSettings
from candled_adapters.feeds.stats import SourceStats

_EARLY_MS: Final = 1_000  # clocks at a venue's two ends may differ by so much


class Owner(Protocol):
    """Who is told what becomes of subscriptions; returns what is to go out."""

    def in_place(self, line: Line, streams: Iterable[Stream]) -> list[FeedEvent]:
        """Take note that `line` carries streams."""
        ...

    def refused(self, line: Line, stream: Stream, text: str) -> list[FeedEvent]:
        """Take note that the venue will not let `line` carry a stream, and why."""
        ...

    def warned(self, line: Line, text: str) -> None:
        """Take note that the venue is about to cut `line`."""
        ...


class Machines:
    """The machines of a shard, by stream and by what is pushed of them."""

    def __init__(self, dialect: Dialect, machines: Sequence[Continuity]) -> None:
        self.by_stream = {machine.stream: machine for machine in machines}
        self.by_push: dict[tuple[str, str], list[Continuity]] = {}
        for machine in machines:
            key = (machine.stream.symbol, dialect.pushed_interval(machine.stream.interval))
            self.by_push.setdefault(key, []).append(machine)


@dataclass(frozen=True, slots=True)
class Common:
    """What all lines of a feed share."""

    dialect: Dialect
    session: Session
    stats: SourceStats
    settings: SocketSettings
    allowance: Allowance


@dataclass(slots=True)
class _Asked:
    """A subscription that was asked for and has not been answered in full."""

    subscription: Subscription
    left: set[Stream] = field(default_factory=set)
    """Streams of it that were not answered."""
    sent_s: float | None = None
    """When it was sent (local s); None while it waits for its turn."""


class Line:
    """A socket's listener; see the module."""

    def __init__(self, common: Common, machines: Machines, owner: Owner) -> None:
        self.number = next(common.allowance.numbers)
        self.up_s: float | None = None
        """When the connection was made (local s)."""
        self.data_s: float | None = None
        """When it brought something of any stream last (local s)."""
        self.answered_s: float | None = None
        """Since when nothing that it asked for is unanswered (local s)."""
        self._common = common
        self._dialect = common.dialect
        self._machines = machines
        self._owner = owner
        self._session = common.session
        self._stats = common.stats
        self._outbox: deque[tuple[bytes, _Asked | None]] = deque()
        self._some = asyncio.Event()
        self._pending: dict[int | str, _Asked] = {}
        self._next_id = 1
        self._complaint: tuple[float, str] | None = None
        self._ended = asyncio.Event()
        self._why_ended = ""

    async def run(self, url: str) -> Ending:
        """Live through one connection to `url`."""
        common = self._common
        paces, keepalive = common.allowance.paces(), common.dialect.keepalive
        return await Socket(url, self, common.settings, paces, keepalive).run()

    # --- what the shard wants ---------------------------------------------------------------

    def ask(self, streams: Sequence[Stream]) -> None:
        """Subscribe to streams, as soon as the venue's limits allow."""
        if not streams:
            return
        subscriptions = self._dialect.subscribe(streams, self._next_id)
        self._next_id += len(subscriptions)
        for one in subscriptions:
            asked = _Asked(one, set(one.streams))
            if asked.left:
                self._pending[one.id] = asked
            self._outbox.append((one.frame, asked))
        self.answered_s = None
        self._some.set()

    def ask_anew(self, streams: Sequence[Stream]) -> None:
        """End the subscriptions of streams and ask for them again."""
        ends = self._dialect.unsubscribe(streams, self._next_id)
        self._next_id += len(ends)
        self._outbox.extend((one.frame, None) for one in ends)
        self.ask(streams)

    def end(self, why: str) -> None:
        """Close the connection."""
        self._why_ended = why
        self._ended.set()

    def look(self, ack_s: float) -> list[FeedEvent]:
        """Judge what the venue has not answered for `ack_s`; return what is to go out."""
        now, events = time.monotonic(), list[FeedEvent]()
        for number, asked in list(self._pending.items()):
            if self._pending.get(number) is not asked:
                continue  # asked for again meanwhile, under the same name
            if asked.sent_s is None or now - asked.sent_s < ack_s:
                continue
            del self._pending[number]
            if self._complaint is not None and self._complaint[0] >= asked.sent_s:
                events += self._refused(asked.left, self._complaint[1])
            else:
                events += self._owner.in_place(self, asked.left)
        if self.up_s is not None and self.answered_s is None and not self._pending:
            self.answered_s = now
        return events

    # --- what the socket tells --------------------------------------------------------------

    async def on_up(self) -> None:
        """Count; data follows when the subscriptions are acknowledged."""
        self.up_s = time.monotonic()
        self._stats.connects += 1
        self._session.came_up()

    async def speak(self, say: Say) -> Never:
        """Send what is to be asked, in order and at the venue's pace."""
        requests = self._common.allowance.requests()
        while True:
            while self._outbox:
                if requests is not None:
                    await requests.spend()
                frame, asked = self._outbox.popleft()
                await say(frame)
                if asked is not None:
                    asked.sent_s = time.monotonic()
            self._some.clear()
            await self._some.wait()

    async def over(self) -> str:
        """Wait until the shard wants the end."""
        await self._ended.wait()
        return self._why_ended

    async def on_frames(self, frames: list[bytes]) -> None:
        """Read a batch of frames and report what it closes, together."""
        moment = self._session.moment()
        events: list[FeedEvent] = []
        parse, now_s = self._dialect.parse, moment.local_s
        by_push: Mapping[tuple[str, str], list[Continuity]] = self._machines.by_push
        opened = 0
        for frame in frames:
            try:
                facts = parse(frame)
            except MalformedFrame as error:
                self._malformed(str(error))
                continue
            for fact in facts:
                if type(fact) is Sign:  # by far the most
                    opened += 1
                    for machine in by_push.get(fact, ()):
                        machine.heard(now_s)
                elif isinstance(fact, Kline):
                    opened += not fact.closed
                    events += self._pushed(fact, moment)
                elif isinstance(fact, Control):
                    events += self._heed(fact)
        self._stats.frames += len(frames)
        self._stats.open_frames += opened
        if opened:
            self.data_s = now_s
        await self._session.out(events)

    # --- how it reads -----------------------------------------------------------------------

    def _pushed(self, kline: Kline, moment: Moment) -> list[FeedEvent]:
        self.data_s = moment.local_s
        machines = self._machines.by_push.get((kline.symbol, kline.interval), [])
        self._stats.unasked += kline.closed and not machines
        early = kline.closed and self._is_early(kline, moment)
        if kline.closed and machines and not early:
            moment = self._at_least(kline, moment)
        events: list[FeedEvent] = []
        for machine in machines:
            machine.heard(moment.local_s)
            if early:
                events += machine.early(kline.bar, moment)
            elif kline.closed:
                events += machine.push(kline.bar, moment, self.number)
            else:
                machine.seen(kline.bar.open_time, moment)
            if machine.wants_rest:
                self._session.arm(machine)
        return events

    def _is_early(self, kline: Kline, moment: Moment) -> bool:
        """Whether a bar that is called closed has not ended, by the push's own time.

        Where it tells none, by our idea of the venue's, which may be a second of ours late.
        """
        second_ms = int(1.0 / self._session.clock.local_seconds(1.0))
        told_ms = kline.event_ms or moment.venue_ms + second_ms
        return told_ms < kline.bar.close_time - _EARLY_MS

    def _at_least(self, kline: Kline, moment: Moment) -> Moment:
        """Return a moment that is not before the bar's end; tell the clock what the push shows."""
        shown_ms = kline.event_ms or kline.bar.close_time + 1
        if not _plausible(kline.bar, shown_ms):
            return moment
        self._session.clock.observe(shown_ms)
        return replace(moment, venue_ms=max(moment.venue_ms, shown_ms))

    def _malformed(self, sample: str) -> None:
        self._stats.malformed += 1
        self._stats.malformed_sample = sample
        text = f"line {self.number}: {sample}; {self._stats.malformed} so far"
        self._session.report_some(Hazard.MALFORMED, Act.QUARANTINE, text)

    def _heed(self, control: Control) -> list[FeedEvent]:
        if control.kind is ControlKind.SHUTDOWN:
            self._owner.warned(self, control.text)
        if control.kind is ControlKind.ERROR:
            self._stats.control_errors += 1
            self._stats.control_sample = control.text
            if control.id is None:
                self._complaint = (time.monotonic(), control.text)
        if control.kind not in (ControlKind.ACK, ControlKind.ERROR) or control.id is None:
            return []
        asked = self._pending.get(control.id)
        return [] if asked is None else self._answered(asked, control)

    def _answered(self, asked: _Asked, control: Control) -> list[FeedEvent]:
        """Take the venue's word on a subscription, or on the part of it that is named."""
        meant = asked.left
        if control.symbol:
            meant = {stream for stream in meant if stream.symbol == control.symbol}
        asked.left = asked.left - meant
        if not asked.left:
            del self._pending[asked.subscription.id]
        if control.kind is ControlKind.ACK:
            return self._owner.in_place(self, meant)
        return self._refused(meant, control.text)

    def _refused(self, streams: set[Stream], text: str) -> list[FeedEvent]:
        """Ask for each half again: one wrong stream must not be the end of its neighbours."""
        if len(streams) > 1:
            ordered = sorted(streams)
            middle = len(ordered) // 2
            self.ask(ordered[:middle])
            self.ask(ordered[middle:])
            return []
        return [event for one in streams for event in self._owner.refused(self, one, text)]


def _plausible(bar: Bar, event_ms: int) -> bool:
    """Whether a push's time can be believed: soon after the bar's end."""
    length = bar.close_time - bar.open_time
    return bar.close_time <= event_ms <= bar.close_time + max(length, 60_000)
