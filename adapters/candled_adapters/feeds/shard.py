"""A shard: the streams that share a connection, and the lines that carry them, one after another.

Keeps a line up for ever: makes it again when it is lost, and lets another take over before the old
one ends when it grows old, is about to be cut, or has gone quiet. While two lines overlap both
push, and the machines never see a gap. Looks after the subscriptions: those that were refused are
asked for again, those that have gone quiet are made anew. What REST does meanwhile is for the
machines to say.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from candled.core.bar import DAY, Interval, Stream
from candled.ports import Act, FeedEvent, Hazard
from candled_adapters.feeds.continuity import Continuity
from candled_adapters.feeds.line import Common, Line, Machines
from candled_adapters.feeds.socket import Ending
from candled_adapters.feeds.watch import Watch

_AGE_SPREAD: Final = 0.2  # lines that were made together are renewed apart


@dataclass(slots=True)
class _Refusal:
    """A stream that the venue will not let us subscribe to."""

    text: str
    due_s: float
    """When it is asked for again (local s)."""
    times: int = 1


class Shard:
    """See the module. One `run` for one life."""

    def __init__(self, common: Common, url: str, machines: Sequence[Continuity]) -> None:
        self._common = common
        self._url = url
        self._machines = Machines(common.dialect, machines)
        self._session = common.session
        self._settings = settings = common.settings
        self._allowance = common.allowance
        self._watch = Watch(settings.stream_silence_s, settings.last_silence_s)
        self._carriers: dict[Stream, set[int]] = {m.stream: set() for m in machines}
        self._refusals: dict[Stream, _Refusal] = {}
        self._lines: dict[int, Line] = {}
        self._current: Line | None = None
        self._failures = 0
        self._renewal = asyncio.Event()
        self._tasks: asyncio.TaskGroup

    async def run(self) -> None:
        """Carry the streams until cancelled; raise only what is a defect."""
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._look_after())
            while True:
                await self._allowance.connects.spend()
                await self._carry(*self._open())
                await asyncio.sleep(self._backoff())

    # --- lines ------------------------------------------------------------------------------

    def _open(self) -> tuple[Line, asyncio.Task[Ending]]:
        """Make a line; it asks for everything but what was refused."""
        line = Line(self._common, self._machines, self)
        line.ask([stream for stream in self._carriers if stream not in self._refusals])
        self._lines[line.number] = line
        return line, self._tasks.create_task(line.run(self._url))

    async def _carry(self, line: Line, running: asyncio.Task[Ending]) -> None:
        """Keep the streams on a line, or on one that has taken over, until there is none."""
        while not running.done():
            self._current = line
            self._renewal.clear()
            age_s = self._settings.max_age_s * random.uniform(1.0 - _AGE_SPREAD, 1.0)
            aging = self._tasks.create_task(self._grow_old(line, age_s))
            wanted = self._tasks.create_task(self._renewal.wait())
            await asyncio.wait({running, wanted}, return_when=asyncio.FIRST_COMPLETED)
            aging.cancel()
            wanted.cancel()
            if not running.done():
                line, running = await self._hand_over(line, running)
        self._lost(line, running.result())

    async def _hand_over(
        self, old: Line, running: asyncio.Task[Ending]
    ) -> tuple[Line, asyncio.Task[Ending]]:
        """Let another line take over; return it, or the old one when that has ended before."""
        if not self._allowance.overlap(len(self._carriers)):
            old.end("to be renewed; the venue has no room for two")
            await asyncio.wait({running})
            return old, running
        self._failures = 0 if self._is_stable(old) else self._failures + 1
        if self._failures:
            await asyncio.wait({running}, timeout=self._backoff())
        while await self._may_connect(running):
            line, coming = self._open()
            if await self._takes_over(line, coming, old, running):
                return line, coming
            self._lost(line, coming.result(), spare=True)
            await asyncio.wait({running}, timeout=self._backoff())
        return old, running

    async def _may_connect(self, running: asyncio.Task[Ending]) -> bool:
        """Wait until the venue allows another connection; False when the old one has ended."""
        turn = self._tasks.create_task(self._allowance.connects.spend())
        await asyncio.wait({running, turn}, return_when=asyncio.FIRST_COMPLETED)
        turn.cancel()
        return not running.done()

    async def _takes_over(
        self, line: Line, coming: asyncio.Task[Ending], old: Line, running: asyncio.Task[Ending]
    ) -> bool:
        """Wait until `line` carries what `old` does, then end `old`; or `line`, if it cannot."""
        while not (running.done() or coming.done() or self._is_ready(line)):
            await asyncio.wait(
                {running, coming},
                timeout=self._settings.look_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        if not running.done() and self._is_worse(line, old):
            line.end(f"it brings nothing, and line {old.number} does")
            await asyncio.wait({coming})
        if coming.done():
            return False
        self._watch.handed_over(time.monotonic())
        if running.done():
            self._lost(old, running.result())
            return True
        old.end(f"line {line.number} has taken over")
        await asyncio.wait({running})
        self._gone(old, running.result().reason)
        return True

    def _is_ready(self, line: Line) -> bool:
        """Whether a line has had its answers, and data or time enough for it."""
        if line.answered_s is None:
            return False
        waited_s = time.monotonic() - line.answered_s
        return line.data_s is not None or waited_s >= self._settings.data_s

    def _is_worse(self, line: Line, old: Line) -> bool:
        """Whether a line that is ready has brought nothing while the old one brought something."""
        if line.data_s is not None or line.answered_s is None or old.data_s is None:
            return False
        return old.data_s > line.answered_s

    def _is_stable(self, line: Line) -> bool:
        return line.up_s is not None and time.monotonic() - line.up_s >= self._settings.stable_s

    def _lost(self, line: Line, ending: Ending, *, spare: bool = False) -> None:
        """Take note that a line ended of itself, or could not be made."""
        self._common.stats.lost_connections += 1
        lasted_s = 0.0 if line.up_s is None else time.monotonic() - line.up_s
        self._failures = 1 if self._is_stable(line) else self._failures + 1
        text = f"line {line.number} of {len(self._carriers)} streams: {ending.reason}"
        if ending.limited:
            self._allowance.connects.close(ending.wait_s)
            wait = f"no connection is tried for {ending.wait_s:g} s"
            self._session.report_some(Hazard.RATE_LIMIT, Act.HOLD, f"{text}; {wait}")
        elif self._failures & (self._failures - 1) == 0:  # 1, 2, 4, 8 ...: enough to be told
            after = f"after {lasted_s:.0f} s, failure {self._failures} in a row"
            self._session.report(Hazard.CONNECTION_LOST, Act.RECONNECT, f"{text}; {after}")
        self._gone(line, ending.reason, tell=not spare)

    def _gone(self, line: Line, reason: str, *, tell: bool = True) -> None:
        """Tell the machines that no line carries any more."""
        del self._lines[line.number]
        moment, events = self._session.moment(), list[FeedEvent]()
        for stream, carriers in self._carriers.items():
            machine = self._machines.by_stream[stream]
            if carriers == {line.number}:
                events += machine.disconnected(reason, moment)
                self._session.arm(machine)
            elif not carriers and tell:
                events += machine.concern("connection", reason)  # and still not connected
            carriers.discard(line.number)
        self._session.post(events)

    def _backoff(self) -> float:
        settings = self._settings
        bound = settings.first_retry_s * 2.0 ** min(max(self._failures - 1, 0), 30)
        return random.uniform(0.0, min(bound, settings.last_retry_s))

    async def _grow_old(self, line: Line, age_s: float) -> None:
        """Want another line once this one is old, but not while bars close."""
        await asyncio.sleep(age_s)
        await asyncio.sleep(self._until_calm())
        text = f"line {line.number} is {age_s:.0f} s old; the venue would cut it soon"
        self._session.report(Hazard.SHUTDOWN_NOTICE, Act.HAND_OVER, text)
        self._renewal.set()

    def _until_calm(self) -> float:
        """Return how long (s) the shortest bar's close is too near; 0 when it is not."""
        clock, calm_s = self._session.clock, self._settings.calm_s
        length_ms = min(Interval(stream.interval).typical_ms for stream in self._carriers)
        slot_ms = min(length_ms, DAY)
        after_s = clock.local_seconds(clock.now_ms() % slot_ms)
        before_s = clock.local_seconds(slot_ms) - after_s
        if before_s + after_s < 4.0 * calm_s:
            return 0.0  # it is never calm
        if before_s < calm_s:
            return before_s + calm_s
        return max(0.0, calm_s - after_s)

    # --- subscriptions ----------------------------------------------------------------------

    def in_place(self, line: Line, streams: Iterable[Stream]) -> list[FeedEvent]:
        """Tell the machines that had no subscription."""
        moment, events = self._session.moment(), list[FeedEvent]()
        for stream in streams:
            machine, carriers = self._machines.by_stream[stream], self._carriers[stream]
            if self._refusals.pop(stream, None) is not None:
                events += machine.concern("subscription", None)
            if not carriers:
                events += machine.connected(moment)
                self._session.arm(machine)
            carriers.add(line.number)
        return events

    def refused(self, line: Line, stream: Stream, text: str) -> list[FeedEvent]:
        """Ask again some time later; REST brings its bars meanwhile."""
        known = self._refusals.get(stream)
        times = 1 if known is None else known.times + 1
        settings = self._settings
        bound = settings.first_refusal_s * 2.0 ** min(times - 1, 30)
        pause_s = min(bound, settings.last_refusal_s) * random.uniform(0.5, 1.0)
        self._refusals[stream] = _Refusal(text, time.monotonic() + pause_s, times)
        if known is None or known.text != text:
            told = f"line {line.number}: {text}; asked again in {pause_s:.1f} s, REST has its bars"
            self._session.report(Hazard.REFUSED_SUBSCRIPTION, Act.RESUBSCRIBE, told, stream)
        machine, carriers = self._machines.by_stream[stream], self._carriers[stream]
        events = machine.concern("subscription", f"refused: {text}")
        if carriers == {line.number}:  # what was there was ended to be made anew
            events += machine.disconnected("its subscription was refused", self._session.moment())
            self._session.arm(machine)
        carriers.discard(line.number)
        return events

    def warned(self, line: Line, text: str) -> None:
        """Hand over before the venue cuts the line."""
        if line is self._current:
            told = f"line {line.number} of {len(self._carriers)} streams: {text}"
            self._session.report(Hazard.SHUTDOWN_NOTICE, Act.HAND_OVER, told)
            self._renewal.set()

    async def _look_after(self) -> None:
        """Look at all subscriptions now and then, for ever."""
        while True:
            await asyncio.sleep(self._settings.look_s)
            events: list[FeedEvent] = []
            for line in list(self._lines.values()):
                events += line.look(self._settings.ack_s)
            current = self._current
            if current is not None and list(self._lines.values()) == [current]:
                self._ask_the_refused(current)
                events += self._look_for_quiet(current)
            self._session.post(events)

    def _ask_the_refused(self, line: Line) -> None:
        """Ask for each alone, so that no neighbour suffers."""
        now = time.monotonic()
        for stream, refusal in self._refusals.items():
            if now >= refusal.due_s and line.up_s is not None:
                refusal.due_s = now + self._settings.last_refusal_s  # unless it is answered
                line.ask([stream])

    def _look_for_quiet(self, line: Line) -> list[FeedEvent]:
        machines = self._machines.by_stream
        carried = [machines[s] for s, lines in self._carriers.items() if line.number in lines]
        orders = self._watch.look(carried, time.monotonic())
        report = self._session.report
        for stream, why in orders.anew.items():
            if why:
                told = f"line {line.number}: {why}"
                report(Hazard.MUTE_STREAM, Act.RESUBSCRIBE, told, stream)
        if orders.anew:
            line.ask_anew(list(orders.anew))
        if orders.over:
            hazard = Hazard.MUTE_CONNECTION if orders.all_mute else Hazard.MUTE_STREAM
            report(hazard, Act.RECONNECT, f"line {line.number}: {orders.over}")
            self._renewal.set()
        events: list[FeedEvent] = []
        for stream in orders.mute:
            text = "pushes nothing; its bars come by REST"
            report(Hazard.MUTE_STREAM, Act.DEGRADE, text, stream)
            events += machines[stream].concern("subscription", text)
        for stream in orders.well:
            events += machines[stream].concern("subscription", None)
        return events
