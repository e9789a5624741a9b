"""Which bar of one stream is next, and what may go out: each once, in order, none left out.

Pure: no network, no clock; time is an argument. Takes pushed bars and REST's rows, and gives back
what goes out with the incidents met on the way. When REST is asked, and what a history is, is the
machine's business (`continuity`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from candled.core.bar import Bar, Bars, Interval, Stream, iso
from candled.core.decision import BarClosed, Source
from candled.ports import Act, Hazard, Incident
from candled_adapters.exchanges.dialect import Rows
from candled_adapters.feeds.backlog import (
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
from candled_adapters.feeds.stats import SourceStats

#: What goes out, in order.
Steps = list[BarClosed | Incident]
_AGAIN: Final = {
    Hazard.DUPLICATE_CLOSE: "was pushed again",
    Hazard.CHANGED_CLOSE: "was pushed again with other numbers; history is asked which hold",
    Hazard.OUT_OF_ORDER: "was pushed after later ones had gone out",
}


class Order:
    """The order of one stream's bars. `known` returns what went out for an open time."""

    def __init__(
        self,
        stream: Stream,
        nature: Nature,
        stats: SourceStats,
        patience: Patience,
        known: Callable[[int], Bar | None],
    ) -> None:
        self.next: int | None = None
        """Open time (UTC ms) of the bar that is to go out next; None when that is not known."""
        self.boundary: int | None = None
        """Venue time (UTC ms) at which history ends: bars that close before it are not decided."""
        self.last: Bar | None = None
        """The bar that went out last, if it is known."""
        self._stream = stream
        self._interval = Interval(stream.interval)
        self._nature = nature
        self._stats = stats
        self._patience = patience
        self._held = Held(stream, stats, patience.buffer, known)
        self._sightings = Sightings(patience)
        self.crossing = Crossing(self._interval, nature.page)

    @property
    def holds(self) -> bool:
        """Whether a pushed bar waits for its turn."""
        return bool(self._held)

    @property
    def confirming(self) -> bool:
        """Whether the last answer showed a hole that is yet to be believed."""
        return bool(self._sightings)

    def waiting(self) -> str:
        """Say what is waited for."""
        which = "the next bar" if self.next is None else f"the bar of {iso(self.next)}"
        return f"waiting for {which}"

    # --- pushed -----------------------------------------------------------------------------

    def push(self, bar: Bar, moment: Moment, line: int) -> Steps:
        """Take a bar that was pushed as closed on connection `line` into the waiting room."""
        wrong = complaint_of(bar, self._interval, None, self._patience.max_jump)
        if wrong:
            return [self._quarantined(bar, Hazard.INVALID_BAR, Act.QUARANTINE, wrong, moment)]
        kept, hazard = self._held.keep(bar, moment, line, self.next)
        if kept or hazard is None:
            return []
        text = f"the bar of {iso(bar.open_time)} {_AGAIN[hazard]}"
        return [self.incident(hazard, Act.DROP, text, moment, bar.open_time)]

    def drain(self, steps: Steps) -> None:
        """Let go what is next, as long as it waits here."""
        while self.next is not None and (held := self._held.pop(self.next)) is not None:
            bar, moment = held
            jumped = self._jumped(bar)
            if jumped:
                steps.append(
                    self._quarantined(bar, Hazard.UNIT_CHANGE, Act.QUARANTINE, jumped, moment)
                )
                return
            self._pass(bar, Source.WS, moment, steps)

    def trim(self, moment: Moment, steps: Steps) -> None:
        """Forget pushed bars that are overtaken, and the oldest if there are too many."""
        if self._held.trim(self.next):
            text = f"more than {self._patience.buffer} bars were pushed while history was read"
            steps.append(self.incident(Hazard.OVERFLOW, Act.DROP, text, moment))

    # --- asked for --------------------------------------------------------------------------

    def advance(
        self, read: Read, answer: Rows, source: Source, moment: Moment, steps: Steps
    ) -> str:
        """Let go the answer's closed rows from the next one on; return what is in the way, or ''.

        Where nothing is next yet, the first row that closes at or after `boundary` is.
        """
        proof = self._nature.proof(self.crossing.known_later, sure=read.sure)
        rows = closed_rows(answer, read.server_ms, proof)
        skip = self._first_new(rows)
        fresh, anchored = rows[skip:], skip > 0 or self.crossing.offset_ms > 0
        if self.crossing.turns(read, fresh, anchored=anchored):
            return ""
        broken = first_broken(fresh, self._interval)
        good = fresh[: broken[0]] if broken else fresh
        self._sight(good, moment.local_s, anchored=anchored)
        problem = self._pass_all(good, source, moment, steps)
        if problem or broken is None:
            return problem
        bad = fresh.row(broken[0])
        wrong = complaint(bad.open_time, broken[1])
        steps.append(self._quarantined(bad, Hazard.INVALID_BAR, Act.HOLD, wrong, moment))
        return wrong

    def _first_new(self, rows: Bars) -> int:
        """Return the index of the first row that is not older than what is next."""
        if self.next is not None:
            return int(rows.open_time.searchsorted(self.next))
        first = int(rows.close_time.searchsorted(self.boundary or 0))
        if first < len(rows):
            self.next = int(rows.open_time[first])
        return first

    def _sight(self, rows: Bars, now_s: float, *, anchored: bool) -> None:
        """Note holes that have a row on both sides and no pushed bar within."""
        opens = rows.open_time.tolist()
        if not anchored or self.next is None or not opens:
            self._sightings.see((), now_s)
            return
        ends = [] if opens[0] == self.next else [(self.next, opens[0])]
        holes = ends + holes_in(opens, self._interval)
        self._sightings.see([hole for hole in holes if not self._held.any_in(*hole)], now_s)

    def _pass_all(self, rows: Bars, source: Source, moment: Moment, steps: Steps) -> str:
        for bar in rows:
            self.drain(steps)
            if not self._may_pass(bar, moment, steps):
                return f"{self.waiting()}; history lacks it"
            if bar.open_time != self.next:
                continue  # it was pushed, and has gone out
            jumped = self._jumped(bar)
            if jumped:
                steps.append(self._quarantined(bar, Hazard.UNIT_CHANGE, Act.HOLD, jumped, moment))
                return jumped
            self._pass(bar, source, moment, steps)
        return ""

    def _may_pass(self, bar: Bar, moment: Moment, steps: Steps) -> bool:
        """Whether nothing is missing before `bar`, or what is missing never was."""
        if self.next is None or bar.open_time <= self.next:
            return True
        if not self._sightings.confirmed((self.next, bar.open_time), moment.local_s):
            return False
        text = f"from {iso(self.next)} to {iso(bar.open_time)} the venue has no bars"
        steps.append(self.incident(Hazard.GAP, Act.FLAG, text, moment, self.next))
        self.next = bar.open_time
        self.crossing.over()
        self._stats.gaps += 1
        return True

    # --- out --------------------------------------------------------------------------------

    def incident(
        self, hazard: Hazard, act: Act, text: str, moment: Moment, bar_open: int | None = None
    ) -> Incident:
        """Return the event that tells of a hazard of this stream."""
        exchange = self._stream.exchange
        return Incident(exchange, self._stream, hazard, act, text, moment.venue_ms, bar_open)

    def _pass(self, bar: Bar, source: Source, moment: Moment, steps: Steps) -> None:
        self.next = self._interval.end(bar.open_time)
        self.last = bar
        self.crossing.over()
        steps.append(BarClosed(self._stream, bar, source, moment.wall_ns, moment.venue_ms))

    def _jumped(self, bar: Bar) -> str:
        return jump(self.last, bar, self._patience.max_jump) if self.last else ""

    def _quarantined(
        self, bar: Bar, hazard: Hazard, act: Act, what: str, moment: Moment
    ) -> Incident:
        self._held.quarantine(bar, what)
        return self.incident(hazard, act, what, moment, bar.open_time)
