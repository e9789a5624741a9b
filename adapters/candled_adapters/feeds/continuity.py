"""One stream's continuity: which bar is next, whether it may go out, and what REST must be asked.

Pure: no asyncio, no network, no clock; time is an argument. Rules: each bar once, strictly
increasing in open time, no slot left out unless the venue's own history proves that it never was.

Where the venue says when a bar is closed, its push proves it; a REST row does when its close time
lies before a server time that was taken before the rows were asked for, and the row does not say
otherwise. Where the venue never says, a pushed bar that has begun is only the sign to ask: REST
must, after the bar's end, show it with a later one (`Closing.SUCCESSOR`). The bar that is next goes
out at once; any other waits in a bounded buffer while REST is asked for what lies before it. After
each (re)connection REST is asked for everything since the last bar, until an answer reaches past
the server time: what closes later is pushed on the subscription that was there before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from candled.core.bar import Bar, Bars, Interval, iso
from candled.core.decision import BarClosed, BarRevised, Source
from candled.ports import (
    Act,
    Clock,
    FeedEvent,
    Hazard,
    History,
    Incident,
    Resume,
    StreamState,
)
from candled_adapters.exchanges.dialect import Closing, Rows
from candled_adapters.feeds.audit import Audit
from candled_adapters.feeds.backlog import (
    Backlog,
    Nature,
    Patience,
    Read,
    Sightings,
    closed_rows,
    first_broken,
    holes_in,
)
from candled_adapters.feeds.crossing import Crossing
from candled_adapters.feeds.pushed import Held, Moment
from candled_adapters.feeds.sanity import complaint, complaint_of, jump
from candled_adapters.feeds.standing import Standing
from candled_adapters.feeds.stats import SourceStats

_QUIET_RETRIES: Final = 3
_SLOW_RETRIES: Final = 5  # from here on, what is missing is not just late
_REACH_SHARE: Final = 0.95
_AGAIN: Final = {
    Hazard.DUPLICATE_CLOSE: "was pushed again",
    Hazard.CHANGED_CLOSE: "was pushed again with other numbers; history is asked which hold",
    Hazard.OUT_OF_ORDER: "was pushed after later ones had gone out",
}


class Continuity:
    """The machine of one stream. The shell asks `begin`, then brings an `answer` or `failed`."""

    def __init__(
        self, resume: Resume, nature: Nature, stats: SourceStats, patience: Patience | None = None
    ) -> None:
        self.stream = resume.stream
        self.fresh_after = 0.0
        """The server time must have been asked for after this (local s)."""
        self.silent_since = 0.0
        """Local time (s) of the last frame about it, or of its subscription."""
        self.missed = 0
        """How many due bars in a row were not pushed although it is subscribed."""
        self._interval = Interval(resume.stream.interval)
        self._resume = resume
        self._nature = nature
        self._stats = stats
        self._patience = patience or Patience()
        self._standing = Standing(resume.stream)
        self.audit = Audit(self._interval, nature.page, self._patience, resume.recent)
        self._held = Held(resume.stream, stats, self._patience.buffer, self.audit.known)
        self._after = resume.after
        self._next = None if resume.after is None else self._interval.end(resume.after)
        self._boundary = self._next  # bars that close before it are history
        self._backlog: Backlog | None = None
        if resume.after is None or resume.history > 0:
            known = 0 if resume.after is None else resume.after + 1
            self._backlog = Backlog(resume.history, self._interval, nature, self._patience, known)
        self._last = None if resume.after is None else self.audit.known(resume.after)
        self._sightings = Sightings(self._patience)
        self._epoch = 0
        self._reachable = self._up = self._caught_up = self._asking = False
        self._ask_at: float | None = None
        self._not_before = 0.0
        self._attempts = 0
        self._newest_seen = 0
        self._crossing = Crossing(self._interval, nature.page)

    @property
    def state(self) -> StreamState | None:
        """How it is doing; None before anything is known."""
        return self._standing.state

    # --- what happens to it -----------------------------------------------------------------

    def contacted(self, server_ms: int, moment: Moment) -> None:
        """Take note of the server time at the first contact: a new stream's history ends here."""
        self._reach_out(server_ms)
        if not self._up and self._ask_at is None:
            self._ask(moment.local_s + self._patience.fallback_s)

    def connected(self, moment: Moment) -> list[FeedEvent]:
        """Take note that its subscription is in place; it will want to ask REST now."""
        self._epoch += 1
        self._reachable = self._up = True
        self._caught_up = False
        self._attempts = self.missed = 0
        self.silent_since = moment.local_s
        self._crossing.over()
        self._ask(moment.local_s)
        if self._standing.state is None:
            return self._standing.settle(StreamState.WARMING, "catching up")
        return []

    def disconnected(self, reason: str, moment: Moment) -> list[FeedEvent]:
        """Take note that nothing is pushed: from now on REST is asked for every bar that is due."""
        self._up = False
        self.missed = 0
        if not self._caught_up and self._reachable and not self._asking:
            self._ask(moment.local_s + self._patience.fallback_s)
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
        wrong = complaint_of(bar, self._interval, None, self._patience.max_jump)
        if wrong:
            return self._quarantine(bar, Hazard.INVALID_BAR, wrong, moment)
        kept, hazard = self._held.keep(bar, moment, line, self._next)
        if not kept:
            return self._dropped(bar, hazard, moment)
        events: list[FeedEvent] = []
        self._drain(events)
        if self._held and self._held.trim(self._next):
            text = f"more than {self._patience.buffer} bars were pushed while history was read"
            events.append(self._incident(Hazard.OVERFLOW, Act.DROP, text, moment))
        if self._held and self._caught_up:
            self._hurry(moment)
            events += self._standing.settle(StreamState.HOLDING, self._waiting())
        elif self._caught_up and not self._asking:
            events += self._live()
        return events

    def seen(self, open_time: int, moment: Moment) -> None:
        """Take note that a bar was pushed as open: what ended before it may be had by REST."""
        self.silent_since = moment.local_s
        begun = self._newest_seen < open_time <= moment.venue_ms + self._interval.typical_ms
        if self._nature.closing is Closing.FLAG or not begun or open_time < self._due_ms:
            return
        self._newest_seen, self.missed = open_time, 0
        if self._caught_up and not self._asking:
            self._ask(moment.local_s)

    def answer(self, read: Read, rows: Rows, moment: Moment) -> list[FeedEvent]:
        """Take REST's answer to `read`; return what may go out."""
        self._asking = False
        moment = replace(moment, venue_ms=max(read.server_ms, moment.venue_ms))
        if self._is_ahead(moment.venue_ms):
            return self._stop(
                Hazard.CLOCK_JUMP, "its last bar is later than the venue's time", moment
            )
        events: list[FeedEvent] = []
        if self._is_out_of_reach(read, rows):
            return self._begin_anew(read, rows, moment)
        before = self._next
        if self._gathering is not None:
            problem = self._gather(self._gathering, read, rows, moment)
        else:
            problem = self._advance(read, rows, moment, events)
        self._drain(events)
        self._held.trim(self._next)
        self._tell_history(events)
        progress = self._next != before
        if progress:
            self._attempts = 0
        more = self._crossing.under_way or (progress and len(rows.bars) >= read.limit)
        return events + self._conclude(read, problem, moment, more=more)

    def failed(self, reason: str, moment: Moment, *, unknown: bool = False) -> list[FeedEvent]:
        """Take note that REST did not answer; `unknown` when it does not know the stream."""
        self._asking = False
        if unknown:
            return self._stop(Hazard.UNKNOWN_STREAM, reason, moment)
        return self._retry(reason, moment)

    def audited(self, rows: Rows, moment: Moment) -> list[FeedEvent]:
        """Take REST's answer to the audit's question; return what it settles."""
        self._stats.audits += 1
        found = self.audit.take(rows, moment)
        events: list[FeedEvent] = [
            self._incident(Hazard.INVALID_BAR, Act.QUARANTINE, text, moment)
            for text in found.refused
        ]
        for at in found.vanished:
            self._stats.vanished += 1
            text = f"history lacks the bar of {iso(at)}, which went out"
            events.append(self._incident(Hazard.VANISHED_BAR, Act.FLAG, text, moment, at))
        for bar in found.revised:
            self._stats.revised += 1
            text = f"history shows other numbers for the bar of {iso(bar.open_time)}: {bar}"
            events += (
                self._incident(Hazard.REVISED_BAR, Act.REVISE, text, moment, bar.open_time),
                BarRevised(self.stream, bar, moment.wall_ns, moment.venue_ms),
            )
        return events

    # --- what it wants ----------------------------------------------------------------------

    def wake_at(self, moment: Moment, clock: Clock) -> float | None:
        """Return the local time (s) at which it may want to ask REST; None when it waits."""
        if self._asking or not self._reachable:
            return None
        if self._ask_at is not None:
            return self._ask_at
        patience = self._patience
        grace_ms = max(patience.grace_ms, patience.grace_s / clock.local_seconds(1.0))
        left_ms = self._due_ms + grace_ms - moment.venue_ms
        return max(moment.local_s + clock.local_seconds(left_ms), self._not_before)

    @property
    def wants_rest(self) -> bool:
        """Whether it wants to ask REST for a reason, not just because time passes."""
        return self._ask_at is not None

    def begin(self, moment: Moment, clock: Clock) -> bool:
        """Whether REST is to be asked now; if so, it waits for the answer."""
        wake = self.wake_at(moment, clock)
        if wake is None or wake > moment.local_s:
            return False
        if self._ask_at is None:
            self.fresh_after = moment.local_s
            self.missed += self._up
        self._stats.refetches += self._caught_up
        self._asking, self._ask_at = True, None
        return True

    def read(self, server_ms: int, *, sure: bool = True) -> Read:
        """Return what to ask, given a server time that was asked for after `fresh_after`.

        `sure`: nothing contradicts that time.
        """
        self._reach_out(server_ms)
        boundary = server_ms if self._boundary is None else self._boundary
        if self._gathering is not None:
            newest = boundary - 1 if self._after is None else self._after
            end, limit = self._gathering.question(newest)
            return Read(None, end, limit, server_ms, self._epoch, sure)
        start = boundary - 2 * self._interval.typical_ms
        if self._next is not None:
            start = self._interval.back(self._next, 2) + self._crossing.offset_ms
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
        if self._next is not None:
            return self._interval.end(self._next)
        return (self._boundary or 0) + self._interval.typical_ms

    def _is_ahead(self, venue_ms: int) -> bool:
        """Whether the last bar opened in the venue's future: another venue, or a wrong clock."""
        return self._next is not None and self._interval.back(self._next, 1) > venue_ms

    def _is_out_of_reach(self, read: Read, rows: Rows) -> bool:
        """Whether the next bar lies further back than the venue's history goes."""
        reach, opens = self._nature.reach, rows.bars.open_time
        if reach is None or self._next is None or self._gathering or not len(opens):
            return False
        slots = (read.server_ms - self._next) / self._interval.typical_ms
        return read.sure and slots >= reach * _REACH_SHARE and int(opens[0]) > self._next

    def _reach_out(self, server_ms: int) -> None:
        self._reachable = True
        if self._boundary is None:
            self._boundary = server_ms

    def _begin_anew(self, read: Read, rows: Rows, moment: Moment) -> list[FeedEvent]:
        """Fill the windows anew: what lies between is lost to everybody."""
        text = (
            f"the bars from {iso(self._next or 0)} on are lost: the venue keeps "
            f"{self._nature.reach}, and its first is of {iso(int(rows.bars.open_time[0]))}"
        )
        wanted = max(self._resume.history, self._resume.anew)
        self._backlog = Backlog(wanted, self._interval, self._nature, self._patience, 0)
        self._next = self._after = None
        self._boundary = read.server_ms
        self._crossing.over()
        self._ask(moment.local_s)
        return [
            self._incident(Hazard.BEYOND_REACH, Act.BEGIN_ANEW, text, moment, self._next),
            *self._standing.settle(StreamState.WARMING, text),
        ]

    def _drain(self, events: list[FeedEvent]) -> None:
        """Let go what is next, as long as it is there."""
        if self._next is None or self._gathering is not None:
            return
        while (held := self._held.pop(self._next)) is not None:
            jumped = self._jumped(held[0])
            if jumped:
                events += self._quarantine(held[0], Hazard.UNIT_CHANGE, jumped, held[1])
                return
            self._pass(held[0], Source.WS, held[1], events)

    def _jumped(self, bar: Bar) -> str:
        return jump(self._last, bar, self._patience.max_jump) if self._last else ""

    def _pass(self, bar: Bar, source: Source, moment: Moment, events: list[FeedEvent]) -> None:
        self._next = self._interval.end(bar.open_time)
        self._last = bar
        self.audit.out(bar, moment)
        self._attempts, self._not_before = 0, 0.0
        self._crossing.over()
        if self._backlog is not None and bar.close_time < (self._boundary or 0):
            self._backlog.add(bar)
            return
        if self._backlog is not None:
            self._tell_history(events)
        if source is Source.REST and self._up and self._nature.closing is Closing.FLAG:
            text = f"the bar of {iso(bar.open_time)} was not pushed in time; history has it"
            events.append(self._incident(Hazard.MISSING_BAR, Act.HOLD, text, moment, bar.open_time))
        events.append(BarClosed(self.stream, bar, source, moment.wall_ns, moment.venue_ms))

    def _tell_history(self, events: list[FeedEvent]) -> None:
        """Report the history once every bar that belongs to it is there."""
        backlog = self._backlog
        if backlog is None or not backlog.done or self._due_ms <= (self._boundary or 0):
            return
        self._backlog = None
        self._stats.gaps += backlog.gaps
        events.append(History(self.stream, backlog.bars(), backlog.from_listing))

    def _gather(self, backlog: Backlog, read: Read, rows: Rows, moment: Moment) -> str:
        until = min(read.server_ms, self._boundary or read.server_ms)
        problem = backlog.take(rows, read, until, moment.local_s)
        if not problem and backlog.last_open is not None:
            self._next = self._interval.end(backlog.last_open)
        return problem

    def _advance(self, read: Read, answer: Rows, moment: Moment, events: list[FeedEvent]) -> str:
        """Pass on the answer's closed rows from the next one on; return what is in the way."""
        proof = self._nature.proof(self._crossing.known_later, sure=read.sure)
        rows = closed_rows(answer, read.server_ms, proof)
        skip = self._first_new(rows)
        fresh, anchored = rows[skip:], skip > 0 or self._crossing.offset_ms > 0
        if self._crossing.turns(read, fresh, anchored=anchored):
            return ""
        broken = first_broken(fresh, self._interval)
        good = fresh[: broken[0]] if broken else fresh
        self._sight(good, moment.local_s, anchored=anchored)
        for bar in good:
            self._drain(events)
            if not self._may_pass(bar, moment, events):
                return f"{self._waiting()}; history lacks it"
            if bar.open_time != self._next:
                continue
            jumped = self._jumped(bar)
            if jumped:
                self._held.quarantine(bar, jumped)
                events.append(
                    self._incident(Hazard.UNIT_CHANGE, Act.HOLD, jumped, moment, bar.open_time)
                )
                return jumped
            self._pass(bar, Source.REST if self._caught_up else Source.BACKFILL, moment, events)
        if broken is None:
            return ""
        bad = fresh.row(broken[0])
        wrong = complaint(bar_open := bad.open_time, broken[1])
        self._held.quarantine(bad, wrong)
        events.append(self._incident(Hazard.INVALID_BAR, Act.QUARANTINE, wrong, moment, bar_open))
        return wrong

    def _first_new(self, rows: Bars) -> int:
        """Return the index of the first row that is not older than what is next."""
        if self._next is not None:
            return int(rows.open_time.searchsorted(self._next))
        first = int(rows.close_time.searchsorted(self._boundary or 0))
        if first < len(rows):
            self._next = int(rows.open_time[first])
        return first

    def _sight(self, rows: Bars, now_s: float, *, anchored: bool) -> None:
        """Note holes that have a row on both sides and no pushed bar within."""
        opens = rows.open_time.tolist()
        if not anchored or self._next is None or not opens:
            self._sightings.see((), now_s)
            return
        ends = [] if opens[0] == self._next else [(self._next, opens[0])]
        holes = ends + holes_in(opens, self._interval)
        self._sightings.see([hole for hole in holes if not self._held.any_in(*hole)], now_s)

    def _may_pass(self, bar: Bar, moment: Moment, events: list[FeedEvent]) -> bool:
        """Whether nothing is missing before `bar`, or what is missing never was."""
        if self._next is None or bar.open_time <= self._next:
            return True
        if not self._sightings.confirmed((self._next, bar.open_time), moment.local_s):
            return False
        text = f"from {iso(self._next)} to {iso(bar.open_time)} the venue has no bars"
        events.append(self._incident(Hazard.GAP, Act.FLAG, text, moment, self._next))
        self._next = bar.open_time
        self._crossing.over()
        self._stats.gaps += 1
        return True

    def _conclude(self, read: Read, problem: str, moment: Moment, *, more: bool) -> list[FeedEvent]:
        """Decide what follows from an answer: another page, a retry, or live."""
        if read.epoch != self._epoch:
            return []
        behind = self._due_ms <= read.server_ms or bool(self._held)
        if problem:
            return self._retry(problem, moment)
        if behind and not more and not self._is_moments_late:
            return self._overdue(read, moment)
        if self._gathering is not None or (behind and more):
            self._ask_at = moment.local_s
            return []
        if behind and self._is_moments_late:
            self._ask(moment.local_s + self._delay())
            return []
        self._caught_up = True
        self._not_before = moment.local_s + self._delay()
        return self._live()

    def _overdue(self, read: Read, moment: Moment) -> list[FeedEvent]:
        """Ask again, ever more slowly; say that it may be halted when that has gone on for long."""
        late_ms = read.server_ms - self._due_ms
        long = late_ms >= self._patience.halted_bars * self._interval.typical_ms
        if not long or self._held or self._attempts < _SLOW_RETRIES:
            return self._retry(self._waiting(), moment)
        text = f"{self._waiting()}: is it halted, renamed or delisted? Check the symbol"
        return self._stop(Hazard.HALTED, text, moment)

    @property
    def _is_moments_late(self) -> bool:
        """Whether what is missing may just be the later bar that is the proof."""
        by_successor = self._nature.closing is Closing.SUCCESSOR
        return by_successor and self._attempts <= _QUIET_RETRIES

    def _live(self) -> list[FeedEvent]:
        self._ask_at = None
        lifts = "connection" if self._up else None
        return self._standing.settle(StreamState.LIVE, "", lifts=lifts)

    def _ask(self, at_s: float) -> None:
        self._ask_at = self.fresh_after = at_s

    def _hurry(self, moment: Moment) -> None:
        """Ask REST soon, unless that is under way: something new was heard of the stream."""
        if self._asking or not self._caught_up:
            return
        soon = moment.local_s + self._patience.first_retry_s
        if self._ask_at is None or self._ask_at > soon:
            self._attempts = 0
            self._ask(moment.local_s)

    def _quarantine(self, bar: Bar, hazard: Hazard, what: str, moment: Moment) -> list[FeedEvent]:
        """Keep a pushed bar out, and ask REST for it."""
        self._held.quarantine(bar, what)
        self._hurry(moment)
        return [self._incident(hazard, Act.QUARANTINE, what, moment, bar.open_time)]

    def _dropped(self, bar: Bar, hazard: Hazard | None, moment: Moment) -> list[FeedEvent]:
        """Tell that a pushed bar is not used, unless that is nothing to tell."""
        if hazard is None:
            return []
        if hazard is Hazard.CHANGED_CLOSE:
            self.audit.suspect(moment)
        text = f"the bar of {iso(bar.open_time)} {_AGAIN[hazard]}"
        return [self._incident(hazard, Act.DROP, text, moment, bar.open_time)]

    def _delay(self) -> float:
        delay = self._patience.first_retry_s * 2.0 ** min(self._attempts, 16)
        self._attempts += 1
        return min(delay, self._patience.last_retry_s)

    def _retry(self, reason: str, moment: Moment) -> list[FeedEvent]:
        gathering = self._gathering
        confirming = gathering.confirming if gathering is not None else bool(self._sightings)
        delay = self._patience.confirm_gap_s if confirming else self._delay()
        self._ask(moment.local_s + delay)
        warming = self._backlog is not None
        return self._standing.settle(
            StreamState.WARMING if warming else StreamState.HOLDING, reason
        )

    def _stop(self, hazard: Hazard, reason: str, moment: Moment) -> list[FeedEvent]:
        """Give up but for a look now and then: a person must see to it."""
        self._ask(moment.local_s + self._patience.last_retry_s)
        told = self._standing.settle(StreamState.STOPPED, reason)
        return [self._incident(hazard, Act.STOP, reason, moment, self._next), *told] if told else []

    def _waiting(self) -> str:
        which = "the next bar" if self._next is None else f"the bar of {iso(self._next)}"
        return f"waiting for {which}"

    def _incident(
        self, hazard: Hazard, act: Act, text: str, moment: Moment, bar_open: int | None = None
    ) -> Incident:
        exchange = self.stream.exchange
        return Incident(exchange, self.stream, hazard, act, text, moment.venue_ms, bar_open)
