"""A venue in memory: bars close by its clock, are pushed on a line and shown by history, and lie.

Nothing is parsed and nothing sent: facts are handed over in virtual time. How the daemon copes is
the business of the real session, line and continuity machines that `feed` puts on top.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from candled.core.bar import MINUTE, Bar, Bars, Stream
from candled_adapters.exchanges.dialect import Kline, Rows
from candled_adapters.feeds.backlog import Read
from simulation.faults import Fault, Plan
from simulation.loop import Timeline
from simulation.truth import bars_of, open_of, revised, streams_of

SLOTS: Final = 60
_AHEAD_MS: Final = 20_000  # at the daemon's first start the present bar has so long to go
_DOUBTFUL: Final = 8  # newest bars that history may change for a while: less than the audit's reach
Hit = Callable[[str], Fault | None]


class Pipe:
    """One connection's way to the daemon."""

    def __init__(self) -> None:
        self.frames: list[Kline] = []
        self.broken = ""
        self.wake: Callable[[], None] = lambda: None

    def put(self, frame: Kline) -> None:
        if not self.broken:
            self.frames.append(frame)
            self.wake()

    def cut(self, why: str) -> None:
        self.broken = self.broken or why
        self.wake()


class Venue:
    """See the module. `hit` returns the fault of a kind that goes on now, if one does."""

    def __init__(self, timeline: Timeline, hit: Hit, plan: Plan) -> None:
        self.streams = streams_of(plan.streams)
        self.rate = plan.rate
        self._timeline, self._hit = timeline, hit
        self._chance = random.Random(f"{plan.seed} venue")
        gap = plan.first_gap
        self._began_s = timeline.now
        self._start_ms = open_of(plan.past + 1) - _AHEAD_MS
        self._bars = {
            stream: bars_of(plan.seed, at, SLOTS, () if gap is None or at % 2 else (gap,))
            for at, stream in enumerate(self.streams)
        }
        self._wrong: dict[tuple[Stream, int], tuple[Bar, float]] = {}
        self._doubtful: dict[tuple[Stream, int], Bar] = {}
        self._pipes: list[Pipe] = []
        self.last_slot = plan.past - 1
        for slot in range(plan.past, SLOTS):
            timeline.at(self.time_of(open_of(slot) + MINUTE), self._close, slot)

    # --- time

    def true_ms(self) -> float:
        """Return the venue's time as it is (UTC ms)."""
        since = (self._timeline.now - self._began_s) * 1000.0 * self.rate
        return self._start_ms + since

    def time_of(self, venue_ms: float) -> float:
        """Return when it is so late at the venue (s of the timeline)."""
        return self._began_s + (venue_ms - self._start_ms) / 1000.0 / self.rate

    def said_ms(self) -> int:
        """Return the venue's time as it says (UTC ms)."""
        jump = self._hit("clock_jump")
        sign = 0 if jump is None else (-1 if jump.pick % 2 else 1) * 5_000 * (1 + jump.pick)
        return int(self.true_ms()) + sign

    # --- pushes

    def dial(self) -> Pipe | None:
        """Open a connection, if there is one to be had."""
        if self._hit("feed_drop"):
            return None
        self._pipes = [pipe for pipe in self._pipes if not pipe.broken]
        self._pipes.append(Pipe())
        return self._pipes[-1]

    def drop(self, why: str) -> None:
        """Cut all connections."""
        for pipe in self._pipes:
            pipe.cut(why)

    def _close(self, slot: int) -> None:
        self.last_slot = slot
        for stream in self.streams:
            bar = self._bars[stream].get(slot)
            if bar is None:
                continue
            if fault := self._hit("revise"):
                wrong = revised(bar, self._chance)
                until = self._timeline.now + 0.5 + 3.0 * fault.pick
                self._wrong[stream, slot] = wrong, until
                bar = wrong
            self._push_closed(stream, bar)

    def _push_closed(self, stream: Stream, bar: Bar) -> None:
        if self._hit("lose"):
            return
        delay = self._chance.uniform(0.01, 0.15)
        if (fault := self._hit("reorder")) and fault.pick % 2 == self._chance.randrange(2):
            delay += (1.2 + fault.pick) * MINUTE / 1000.0 / self.rate
        if self._hit("insane"):
            bad = replace(bar, close=self._chance.choice((float("nan"), -1.0, bar.high * 3)))
            self._timeline.after(delay, self._push, stream, bad)
            return
        if self._hit("early"):
            half = replace(bar, volume=bar.volume / 2, trades=bar.trades + 3)
            ends = self.time_of(bar.close_time + 1 + MINUTE / 2)
            later = self._bars[stream].get(1 + (bar.open_time - open_of(0)) // MINUTE)
            if later is not None:
                half = replace(later, trades=later.trades + 3)
                self._timeline.at(ends, self._push, stream, half)
        self._timeline.after(delay, self._push, stream, bar)
        if self._hit("duplicate"):
            self._timeline.after(delay + 0.2, self._push, stream, bar)
            self._timeline.after(delay + 4.0, self._push, stream, bar)
        if self._hit("contradict"):
            self._timeline.after(delay + 0.3, self._push, stream, revised(bar, self._chance))

    def _push(self, stream: Stream, bar: Bar) -> None:
        if self._hit("mute"):
            return
        for pipe in self._pipes:
            pipe.put(Kline(stream.symbol, stream.interval, bar, True, self.said_ms()))

    # --- history

    def rows(self, stream: Stream, read: Read) -> Rows:
        """Return what history shows now."""
        now_ms = self.true_ms()
        if fault := self._hit("lag"):
            now_ms -= (0.3 + 0.4 * fault.pick) * MINUTE
        shown = [
            self._shown(stream, slot, bar, now_ms)
            for slot, bar in self._bars[stream].items()
            if bar.open_time <= now_ms and bar.open_time >= (read.start_ms or 0)
        ]
        return Rows(Bars.of(shown))

    def _shown(self, stream: Stream, slot: int, bar: Bar, now_ms: float) -> Bar:
        if bar.close_time >= now_ms:
            half = bar.volume / 2
            return replace(bar, volume=half, trades=bar.trades + 7, taker_buy_base=half / 3)
        wrong = self._wrong.get((stream, slot))
        if wrong is not None and self._timeline.now < wrong[1]:
            return wrong[0]
        doubtful = slot > self.last_slot - _DOUBTFUL
        if doubtful and (fault := self._hit("disagree")) and slot % 3 == fault.pick % 3:
            if fault.pick >= 3:
                return revised(bar, self._chance)
            return self._doubtful.setdefault((stream, slot), revised(bar, self._chance))
        return bar

    # --- what is to be seen afterwards

    def has_bar(self, stream: Stream, slot: int) -> bool:
        """Whether a slot is filled in the end."""
        return slot in self._bars[stream]

    def final(self, stream: Stream, until_slot: int) -> list[Bar]:
        """Return a stream's bars as they are in the end, up to a slot."""
        return [bar for slot, bar in self._bars[stream].items() if slot <= until_slot]
