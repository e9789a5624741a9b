"""One stream's continuity: what goes out, what REST must be asked, and how the stream is doing.

Pure: no asyncio, no network, no clock; time is an argument. Rules: each bar once, strictly
increasing in open time, no slot left out unless the venue's own history proves that it never was.

Where the venue says when a bar is closed, its push proves it; a REST row does when its close time
lies before a server time that was taken before the rows were asked for, and the row does not say
otherwise. Where the venue never says, a pushed bar that has begun is only the sign to ask: REST
must, after the bar's end, show it with a later one (`Closing.SUCCESSOR`). The bar that is next goes
out at once; any other waits in a bounded buffer while REST is asked for what lies before it. After
each (re)connection REST is asked for everything since the last bar, until an answer reaches past
the server time: what closes later is pushed on the subscription that was there before. Without a
subscription, and when a push fails to come, REST is asked for every bar that is due.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from candled.core.bar import Bar, Interval, iso
from candled.core.decision import BarClosed, BarRevised, Source
from candled.ports import Act, Clock, FeedEvent, Hazard, History, Incident, Resume, StreamState
from candled_adapters.exchanges.dialect import Closing, Rows
from candled_adapters.feeds.asking import Asking
from candled_adapters.feeds.audit import Audit
from candled_adapters.feeds.backlog import Backlog, Nature, Patience, Read
from candled_adapters.feeds.order import Order, Steps
from candled_adapters.feeds.pushed import Moment
from candled_adapters.feeds.standing import Standing
from candled_adapters.feeds.stats import SourceStats

_QUIET_RETRIES: Final = 3
_SLOW_RETRIES: Final = 5  # from here on, what is missing is not just late


class Continuity:
    """The machine of one stream. The shell asks `begin`, then brings an `answer` or `failed`."""

    def __init__(
        self, resume: Resume, nature: Nature, stats: SourceStats, patience: Patience | None = None
    ) -> None:
        patience = patience or Patience()
        self.stream = resume.stream
        self.silent_since = 0.0
        """Local time (s) of the last frame about it, or of its subscription."""
        self.missed = 0
        """How many due bars in a row were not pushed although it is subscribed."""
        self._interval = Interval(resume.stream.interval)
        self._resume = resume
        self._nature = nature
        self._stats = stats
        self._patience = patience
        self._standing = Standing(resume.stream)
        self.audit = Audit(self._interval, nature.page, patience, resume.recent)
        self._order = Order(resume.stream, nature, stats, patience, self.audit.known)
        self._asking = Asking(patience)
        self._after = resume.after
        if resume.after is not None:
            self._order.next = self._interval.end(resume.after)
            self._order.last = self.audit.known(resume.after)
        self._order.boundary = self._order.next
        self._backlog: Backlog | None = None
        if resume.after is None or resume.history > 0:
            known = 0 if resume.after is None else resume.after + 1
            self._backlog = Backlog(resume.history, self._interval, nature, patience, known)
        self._epoch = 0
        self._reachable = self._up = self._caught_up = False
        self._newest_seen = 0

    @property
    def state(self) -> StreamState | None:
        """How it is doing; None before anything is known."""
        return self._standing.state

    # --- what happens to it -----------------------------------------------------------------

    def contacted(self, server_ms: int, moment: Moment) -> None:
        """Take note of the server time at the first contact: a new stream's history ends here."""
        self._reach_out(server_ms)
        if not self._up and self._asking.at_s is None:
            self._asking.at(moment.local_s + self._patience.fallback_s)

    def connected(self, moment: Moment) -> list[FeedEvent]:
        """Take note that its subscription is in place; it will want to ask REST now."""
        self._epoch += 1
        self._reachable = self._up = True
        self._caught_up = False
        self._asking.attempts = self.missed = 0
        self.silent_since = moment.local_s
        self._order.crossing.over()
        self._asking.at(moment.local_s)
        if self.state is None:
            return self._standing.settle(StreamState.WARMING, "catching up")
        return []

    def disconnected(self, reason: str, moment: Moment) -> list[FeedEvent]:
        """Take note that nothing is pushed: from now on REST is asked for every bar that is due."""
        self._up = False
        self.missed = 0
        if not self._caught_up and self._reachable and not self._asking.under_way:
            self._asking.at(moment.local_s + self._patience.fallback_s)
        return self._standing.concern("connection", reason)

    def concern(self, part: str, problem: str | None) -> list[FeedEvent]:
        """Take note of what else impairs it, or with None that a part of it is well again."""
        return self._standing.concern(part, problem)

    def heard(self, local_s: float) -> None:
        """Take note of a frame about it, whatever it says."""
        self.silent_since = local_s

    def push(self, bar: Bar, moment: Moment, line: int = 0) -> list[FeedEvent]:
        """Take a bar that the venue pushed as closed on connection `line`; return what goes out."""
        self.silent_since, self.missed = moment.local_s, 0
        steps = self._order.push(bar, moment, line)
        if self._gathering is None:
            self._order.drain(steps)
        self._order.trim(moment, steps)
        events = self._told(steps, moment)
        refused = any(map(_is_refusal, steps))
        if not self._caught_up or self._asking.under_way:
            return events + ([] if refused else self._relieved(moment))
        if self._order.holds or refused:
            self._asking.hurry(moment.local_s)
        if self._order.holds:
            return events + self._standing.settle(StreamState.HOLDING, self._order.waiting())
        return events if refused else events + self._live()

    def early(self, bar: Bar, moment: Moment) -> list[FeedEvent]:
        """Take note of a bar that was pushed as closed before its end: it cannot be."""
        self.silent_since = moment.local_s
        text = f"the bar of {iso(bar.open_time)} was pushed as closed before its end"
        return [self._order.incident(Hazard.PARTIAL_BAR, Act.DROP, text, moment, bar.open_time)]

    def seen(self, open_time: int, moment: Moment) -> None:
        """Take note that a bar was pushed as open: what ended before it may be had by REST."""
        self.silent_since = moment.local_s
        begun = self._newest_seen < open_time <= moment.venue_ms + self._interval.typical_ms
        if self._nature.closing is Closing.FLAG or not begun or open_time < self._due_ms:
            return
        self._newest_seen, self.missed = open_time, 0
        if self._caught_up and not self._asking.under_way:
            self._asking.at(moment.local_s)

    def answer(self, read: Read, rows: Rows, moment: Moment) -> list[FeedEvent]:
        """Take REST's answer to `read`; return what may go out."""
        self._asking.under_way = False
        moment = replace(moment, venue_ms=max(read.server_ms, moment.venue_ms))
        if self._is_ahead(moment.venue_ms):
            reason = "its last bar is later than the venue's time"
            return self._stop(Hazard.CLOCK_JUMP, reason, moment)
        if self._is_out_of_reach(read, rows):
            return self._begin_anew(read, rows, moment)
        before = self._order.next
        steps: Steps = []
        if self._gathering is not None:
            problem = self._gather(self._gathering, read, rows, moment)
        else:
            source = Source.REST if self._caught_up else Source.BACKFILL
            problem = self._order.advance(read, rows, source, moment, steps)
        if self._gathering is None:
            self._order.drain(steps)
        self._order.trim(moment, steps)
        events = self._told(steps, moment)
        self._tell_history(events)
        progress = self._order.next != before
        if progress:
            self._asking.attempts = 0
        more = self._order.crossing.under_way or (progress and len(rows.bars) >= read.limit)
        return events + self._conclude(read, problem, moment, more=more)

    def failed(self, reason: str, moment: Moment, *, unknown: bool = False) -> list[FeedEvent]:
        """Take note that REST did not answer; `unknown` when it does not know the stream."""
        self._asking.under_way = False
        if unknown:
            return self._stop(Hazard.UNKNOWN_STREAM, reason, moment)
        if self._has_all(moment):
            self._asking.at_ease(moment.local_s)
            return self._relieved(moment)
        return self._retry(reason, moment)

    def unanswered(self, moment: Moment) -> list[FeedEvent]:
        """Take note that REST takes long to answer: who waits for a due bar must be told so.

        Where a venue is silently gone nothing else says so for a while. Where every bar comes by
        REST, a moment's queue before it is no news.
        """
        well = self.state in (StreamState.LIVE, StreamState.DEGRADED)
        due = self._due_ms <= moment.venue_ms and self._asking.under_way
        if not (well and due and self._nature.closing is Closing.FLAG):
            return []
        reason = f"{self._order.waiting()}; REST was asked and does not answer"
        return self._standing.settle(StreamState.HOLDING, reason)

    def audited(self, rows: Rows, moment: Moment) -> list[FeedEvent]:
        """Take REST's answer to the audit's question; return what it settles."""
        self._stats.audits += 1
        found, tell = self.audit.take(rows, moment), self._order.incident
        events: list[FeedEvent] = [
            tell(Hazard.INVALID_BAR, Act.QUARANTINE, text, moment) for text in found.refused
        ]
        for at in found.vanished:
            self._stats.vanished += 1
            text = f"history lacks the bar of {iso(at)}, which went out"
            events.append(tell(Hazard.VANISHED_BAR, Act.FLAG, text, moment, at))
        for at in found.appeared:
            text = f"history shows the bar of {iso(at)}, which it lacked when it was passed over"
            events.append(tell(Hazard.APPEARED_BAR, Act.FLAG, text, moment, at))
        for bar in found.revised:
            self._stats.revised += 1
            text = f"history shows other numbers for the bar of {iso(bar.open_time)}: {bar}"
            act = Act.REVISE if self._patience.audit_corrects else Act.FLAG
            events.append(tell(Hazard.REVISED_BAR, act, text, moment, bar.open_time))
            if self._patience.audit_corrects:
                events.append(BarRevised(self.stream, bar, moment.wall_ns, moment.venue_ms))
        return events

    # --- what it wants ----------------------------------------------------------------------

    def wake_at(self, moment: Moment, clock: Clock) -> float | None:
        """Return the local time (s) at which it may want to ask REST; None when it waits."""
        if self._asking.under_way or not self._reachable:
            return None
        if self._asking.at_s is not None:
            return self._asking.at_s
        patience = self._patience
        grace_ms = max(patience.grace_ms, patience.grace_s / clock.local_seconds(1.0))
        left_ms = self._due_ms + grace_ms - moment.venue_ms
        due_s = moment.local_s + clock.local_seconds(left_ms)
        return max(due_s, self._asking.not_before_s)

    @property
    def wants_rest(self) -> bool:
        """Whether it wants to ask REST for a reason, not just because time passes."""
        return self._asking.at_s is not None

    @property
    def fresh_after(self) -> float:
        """The server time must have been asked for after this (local s)."""
        return self._asking.fresh_after_s

    def begin(self, moment: Moment, clock: Clock) -> bool:
        """Whether REST is to be asked now; if so, it waits for the answer."""
        wake = self.wake_at(moment, clock)
        if wake is None or wake > moment.local_s:
            return False
        self.missed += self._up and not self.wants_rest
        self._stats.refetches += self._caught_up
        self._asking.begin(moment.local_s)
        return True

    def read(self, server_ms: int, *, sure: bool = True) -> Read:
        """Return what to ask, given a server time that was asked for after `fresh_after`.

        `sure`: nothing contradicts that time.
        """
        self._reach_out(server_ms)
        boundary = server_ms if self._order.boundary is None else self._order.boundary
        if self._gathering is not None:
            newest = boundary - 1 if self._after is None else self._after
            end, limit = self._gathering.question(newest)
            return Read(None, end, limit, server_ms, self._epoch, sure)
        start = boundary - 2 * self._interval.typical_ms
        if self._order.next is not None:
            start = self._interval.back(self._order.next, 2) + self._order.crossing.offset_ms
        slots = max(0, server_ms - start) // self._interval.typical_ms + 3
        limit = min(self._nature.page, slots)
        return Read(start, None, limit, server_ms, self._epoch, sure)

    # --- how it decides ---------------------------------------------------------------------

    @property
    def _gathering(self) -> Backlog | None:
        """The backlog, while older pages are still to be had."""
        return None if self._backlog is None or self._backlog.done else self._backlog

    @property
    def _due_ms(self) -> int:
        """Venue time by which the next bar has closed."""
        if self._order.next is not None:
            return self._interval.end(self._order.next)
        return (self._order.boundary or 0) + self._interval.typical_ms

    def _reach_out(self, server_ms: int) -> None:
        self._reachable = True
        if self._order.boundary is None:
            self._order.boundary = server_ms

    def _is_ahead(self, venue_ms: int) -> bool:
        """Whether the last bar opened in the venue's future: another venue, or a wrong clock."""
        next_one = self._order.next
        return next_one is not None and self._interval.back(next_one, 1) > venue_ms

    def _told(self, steps: Steps, moment: Moment) -> list[FeedEvent]:
        """Return the events of what went out; the part of it that is history waits for its own."""
        events: list[FeedEvent] = []
        for step in steps:
            if isinstance(step, Incident):
                events.append(step)
                if step.hazard is Hazard.CHANGED_CLOSE:
                    self.audit.suspect(moment)
                continue
            self._asking.learned()
            self.audit.out(step.bar, moment)
            if self._backlog is not None and step.bar.close_time < (self._order.boundary or 0):
                self._backlog.add(step.bar)
                continue
            self._tell_history(events)
            self._tell_missing(step, moment, events)
            events.append(step)
        return events

    def _tell_missing(self, step: BarClosed, moment: Moment, events: list[FeedEvent]) -> None:
        by_push = self._up and self._nature.closing is Closing.FLAG
        if by_push and step.source is Source.REST:
            at = step.bar.open_time
            text = f"the bar of {iso(at)} was not pushed in time; history has it"
            events.append(self._order.incident(Hazard.MISSING_BAR, Act.HOLD, text, moment, at))

    def _tell_history(self, events: list[FeedEvent]) -> None:
        """Report the history once every bar that belongs to it is there."""
        backlog = self._backlog
        if backlog is None or not backlog.done or self._due_ms <= (self._order.boundary or 0):
            return
        self._backlog = None
        self._stats.gaps += backlog.gaps
        bars = backlog.bars()
        self.audit.began(bars)
        events.append(History(self.stream, bars, backlog.from_listing))

    def _gather(self, backlog: Backlog, read: Read, rows: Rows, moment: Moment) -> str:
        until = min(read.server_ms, self._order.boundary or read.server_ms)
        problem = backlog.take(rows, read, until, moment.local_s)
        if not problem and backlog.last_open is not None:
            self._order.next = self._interval.end(backlog.last_open)
        return problem

    def _is_out_of_reach(self, read: Read, rows: Rows) -> bool:
        """Whether the next bar lies further back than the venue's history goes."""
        reach, next_one, opens = self._nature.reach, self._order.next, rows.bars.open_time
        if not reach or next_one is None or self._gathering or not len(opens):
            return False
        slots = (read.server_ms - next_one) / self._interval.typical_ms
        return read.sure and self._nature.is_near_reach(slots) and int(opens[0]) > next_one

    def _begin_anew(self, read: Read, rows: Rows, moment: Moment) -> list[FeedEvent]:
        """Fill the windows anew: what lies between is lost to everybody."""
        lost = self._order.next or 0
        text = (
            f"the bars from {iso(lost)} on are lost: the venue keeps {self._nature.reach}, "
            f"the first of them is of {iso(int(rows.bars.open_time[0]))}"
        )
        wanted = max(self._resume.history, self._resume.anew)
        self._backlog = Backlog(wanted, self._interval, self._nature, self._patience, 0)
        self._order.next = self._after = None
        self._order.boundary = read.server_ms
        self._order.crossing.over()
        self.audit.begin_anew()
        self._asking.at(moment.local_s)
        return [
            self._order.incident(Hazard.BEYOND_REACH, Act.BEGIN_ANEW, text, moment, lost),
            *self._standing.settle(StreamState.WARMING, text),
        ]

    def _conclude(self, read: Read, problem: str, moment: Moment, *, more: bool) -> list[FeedEvent]:
        """Decide what follows from an answer: another page, a retry, or live."""
        if read.epoch != self._epoch:
            return []
        if problem:
            return self._retry(problem, moment)
        behind = self._due_ms <= read.server_ms or self._order.holds
        if self._gathering is not None or (behind and more):
            self._asking.at_s = moment.local_s
            return []
        if behind and self._is_moments_late:
            self._asking.again(moment.local_s)
            return []
        if behind:
            return self._overdue(read, moment)
        self._caught_up = True
        self._asking.at_ease(moment.local_s)
        return self._live()

    @property
    def _is_moments_late(self) -> bool:
        """Whether what is missing may just be the later bar that is the proof."""
        by_successor = self._nature.closing is Closing.SUCCESSOR
        return by_successor and self._asking.attempts <= _QUIET_RETRIES

    def _overdue(self, read: Read, moment: Moment) -> list[FeedEvent]:
        """Ask again, ever more slowly; say that it may be halted when that has gone on for long."""
        late_ms = read.server_ms - self._due_ms
        long = late_ms >= self._patience.halted_bars * self._interval.typical_ms
        if not long or self._order.holds or self._asking.attempts < _SLOW_RETRIES:
            return self._retry(self._order.waiting(), moment)
        text = f"{self._order.waiting()}: is it halted, renamed or delisted? Check the symbol"
        return self._stop(Hazard.HALTED, text, moment)

    def _live(self) -> list[FeedEvent]:
        self._asking.at_s = None
        lifts = "connection" if self._up else None
        return self._standing.settle(StreamState.LIVE, "", lifts=lifts)

    def _relieved(self, moment: Moment) -> list[FeedEvent]:
        """Be live again when the push has come that REST was asked for, whatever REST will say."""
        held = self.state is StreamState.HOLDING
        return self._live() if held and self._has_all(moment) else []

    def _has_all(self, moment: Moment) -> bool:
        """Whether no bar is due, and none waits for one before it."""
        waits = self._order.holds or self._due_ms <= moment.venue_ms
        return self._caught_up and not waits

    def _retry(self, reason: str, moment: Moment) -> list[FeedEvent]:
        gathering = self._gathering
        confirming = gathering.confirming if gathering is not None else self._order.confirming
        if confirming:
            self._asking.at(moment.local_s + self._patience.confirm_gap_s)
        else:
            self._asking.again(moment.local_s)
        warming = self._backlog is not None
        return self._standing.settle(
            StreamState.WARMING if warming else StreamState.HOLDING, reason
        )

    def _stop(self, hazard: Hazard, reason: str, moment: Moment) -> list[FeedEvent]:
        """Give up but for a look now and then: a person must see to it."""
        self._asking.at(moment.local_s + self._patience.last_retry_s)
        told = self._standing.settle(StreamState.STOPPED, reason)
        first = self._order.incident(hazard, Act.STOP, reason, moment, self._order.next)
        return [first, *told] if told else []


def _is_refusal(step: BarClosed | Incident) -> bool:
    """Whether a pushed bar was refused, so that REST must be asked for it."""
    return isinstance(step, Incident) and step.act is Act.QUARANTINE
