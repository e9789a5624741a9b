"""What all connections of a running feed share: the way out, the alarms, the time.

Events leave through one task, so that `emit` is never entered twice and no cancelled reader loses
one. Machines are woken when they want to be, not polled.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Sequence
from typing import Final

from candled.core.bar import Stream
from candled.ports import Act, Emit, FeedEvent, Hazard, Incident
from candled_adapters.feeds.backlog import Patience, Read
from candled_adapters.feeds.clockwatch import ClockWatch
from candled_adapters.feeds.continuity import Continuity
from candled_adapters.feeds.pushed import Moment
from candled_adapters.feeds.questions import NotAnsweredError, Questions
from candled_adapters.feeds.venuetime import VenueTime

_TIME_SAMPLES_S: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8)
_TIME_EVERY_S: Final = 30.0
_CROWD_S: Final = 60.0
_AUDIT_S: Final = 0.5


class Session:
    """One run of a feed: what goes out, and when which machine wakes."""

    def __init__(
        self,
        exchange: str,
        clock: VenueTime,
        rest: Questions,
        machines: Sequence[Continuity],
        emit: Emit,
        *,
        questions: int,
        answer_s: float = 1.0,
    ) -> None:
        """Ask `rest` at most so many `questions` at once.

        One that takes longer than `answer_s` is told to the machine that asks.
        """
        self.clock = clock
        self._exchange = exchange
        self._rest = rest
        self._machines = machines
        self._emit = emit
        self._slots = asyncio.Semaphore(questions)
        self._answer_s = answer_s
        self._outgoing: list[FeedEvent] = []
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._alarms: list[tuple[float, int, Continuity]] = []
        self._armed: dict[int, float] = {}
        self._earlier = asyncio.Event()
        self._up = asyncio.Event()
        self._numbers = itertools.count()
        self._clock_watch = ClockWatch(exchange, clock)
        self._doubt = ""
        self._told_at: dict[Hazard, float] = {}
        self._tasks: asyncio.TaskGroup

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Start what runs beside the connections."""
        self._tasks = tasks
        tasks.create_task(self._deliver())
        tasks.create_task(self._wake())
        tasks.create_task(self._keep_time())
        tasks.create_task(self._compare())

    def moment(self) -> Moment:
        """Return now, on all clocks."""
        return Moment(time.monotonic(), self.clock.now_ms(), time.time_ns())

    # --- out ---------------------------------------------------------------------------------

    async def out(self, events: list[FeedEvent]) -> None:
        """Hand events over, in order; return when `emit` has taken them all.

        They are on their way at once: cancelling the wait loses nothing.
        """
        if events:
            self.post(events)
            await self._none.wait()

    def post(self, events: list[FeedEvent]) -> None:
        """Hand events over without waiting; for few of them."""
        if events:
            self._outgoing += events
            self._none.clear()
            self._some.set()

    def report(self, hazard: Hazard, act: Act, text: str, stream: Stream | None = None) -> None:
        """Tell of something that went wrong, and what was done about it."""
        venue_ms = self.clock.now_ms()
        self.post([Incident(self._exchange, stream, hazard, act, text, venue_ms)])

    def report_some(self, hazard: Hazard, act: Act, text: str) -> None:
        """Tell of something that may come in crowds: one a minute stands for all of its kind."""
        now = time.monotonic()
        if now - self._told_at.get(hazard, float("-inf")) >= _CROWD_S:
            self._told_at[hazard] = now
            self.report(hazard, act, text)

    async def _deliver(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            while self._outgoing:
                batch, self._outgoing = self._outgoing, []
                await self._emit(batch)
            self._none.set()

    # --- alarms ------------------------------------------------------------------------------

    def arm(self, machine: Continuity) -> None:
        """See to it that `machine` is looked at no later than it wants."""
        self._arm(machine, self.moment())

    def rearm(self) -> None:
        """Look at all of them anew: the venue's clock is not what was thought."""
        moment = self.moment()
        for machine in self._machines:
            self._arm(machine, moment)

    def _arm(self, machine: Continuity, moment: Moment) -> None:
        wake = machine.wake_at(moment, self.clock)
        if wake is None or self._armed.get(id(machine), float("inf")) <= wake:
            return
        self._armed[id(machine)] = wake
        heapq.heappush(self._alarms, (wake, next(self._numbers), machine))
        if self._alarms[0][2] is machine:
            self._earlier.set()

    async def _wake(self) -> None:
        """Start the questions of every machine whose time has come."""
        while True:
            self._earlier.clear()
            moment = self.moment()
            while self._alarms and self._alarms[0][0] <= moment.local_s:
                self._look_at(heapq.heappop(self._alarms), moment)
            left = self._alarms[0][0] - time.monotonic() if self._alarms else None
            try:
                async with asyncio.timeout(left):
                    await self._earlier.wait()
            except TimeoutError:
                continue

    def _look_at(self, alarm: tuple[float, int, Continuity], moment: Moment) -> None:
        wake, _, machine = alarm
        if self._armed.get(id(machine)) != wake:
            return  # an earlier alarm has seen to it
        del self._armed[id(machine)]
        if machine.begin(moment, self.clock):
            self._tasks.create_task(self._question(machine))
        else:
            self._arm(machine, moment)

    async def _question(self, machine: Continuity) -> None:
        """Ask REST what a machine wants to know, and bring it the answer.

        The slot is held until the answer has been taken, and for the pages that follow at once:
        half a history for every stream would be a lot to keep.
        """
        loop = asyncio.get_running_loop()
        slow = loop.call_later(self._answer_s, self._tell_slow, machine)
        try:
            async with self._slots:
                await self._ask(machine)
                while machine.begin(self.moment(), self.clock):
                    await self._ask(machine)
        finally:
            slow.cancel()
        self.arm(machine)

    def _tell_slow(self, machine: Continuity) -> None:
        self.post(machine.unanswered(self.moment()))

    async def _ask(self, machine: Continuity) -> None:
        try:
            server_ms = await self._rest.server_time(machine.fresh_after)
            self._judge_clock()
            read = machine.read(server_ms, sure=not self._doubt)
            rows = await self._rest.rows(machine.stream, read)
        except NotAnsweredError as error:
            events = machine.failed(str(error), self.moment(), unknown=error.unknown)
        else:
            events = machine.answer(read, rows, self.moment())
        await self.out(events)

    async def _compare(self) -> None:
        """Bring history's word on what went out to the machines whose audit is due, for ever."""
        while True:
            await asyncio.sleep(_AUDIT_S)
            for machine in self._machines:
                if machine.audit.due_s is not None:
                    await self._audit(machine, machine.audit.question(self.moment()))

    async def _audit(self, machine: Continuity, read: Read | None) -> None:
        if read is None:
            return  # not yet
        try:
            rows = await self._rest.rows(machine.stream, read, urgent=False)
        except NotAnsweredError:
            machine.audit.failed(self.moment())
        else:
            await self.out(machine.audited(rows, self.moment()))

    # --- time --------------------------------------------------------------------------------

    async def make_contact(self, patience: Patience) -> None:
        """Ask the venue's time until it is told: what closes from then on is to be decided."""
        pause_s = patience.first_retry_s
        while True:
            try:
                server_ms = await self._rest.server_time(time.monotonic())
            except NotAnsweredError as error:
                problem = str(error)
                self.post([e for m in self._machines for e in m.concern("rest", problem)])
                await asyncio.sleep(max(pause_s, error.wait_s))
                pause_s = min(2.0 * pause_s, patience.last_retry_s)
                continue
            moment = self.moment()
            for machine in self._machines:
                self.post(machine.concern("rest", None))
                machine.contacted(server_ms, moment)
                self.arm(machine)
            return

    def came_up(self) -> None:
        """Measure the clock often for a while: the machines will need its rate."""
        self._up.set()

    async def _keep_time(self) -> None:
        pauses = list(_TIME_SAMPLES_S)
        while True:
            try:
                async with asyncio.timeout(pauses.pop(0) if pauses else _TIME_EVERY_S):
                    await self._up.wait()
                self._up.clear()
                pauses = list(_TIME_SAMPLES_S)
            except TimeoutError:
                await self._sample()

    async def _sample(self) -> None:
        try:
            await self._rest.server_time(time.monotonic())
        except NotAnsweredError:
            return  # counted there; the old fit has to do
        self._judge_clock()

    def _judge_clock(self) -> None:
        """See what the newest measurement says, before anything rests on it."""
        moment = self.moment()
        news = self._clock_watch.look(moment)
        self.post([] if news is None else [news])
        doubt = self.clock.doubt(moment.local_s)
        if bool(doubt) != bool(self._doubt):  # its numbers change with every look
            self._doubt = doubt
            self.post([e for m in self._machines for e in m.concern("clock", doubt or None)])
