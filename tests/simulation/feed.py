"""The simulated venue as a feed: the real session, line and machines, without sockets."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, Final

from candled.core.bar import Stream
from candled.ports import Clock, Emit, FeedEvent, Resume, StreamState
from candled_adapters.exchanges.dialect import Kline, Page, RefusalKind, Rows
from candled_adapters.feeds.backlog import Nature, Patience, Read
from candled_adapters.feeds.continuity import Continuity
from candled_adapters.feeds.line import Common, Line, Machines
from candled_adapters.feeds.questions import Door, NotAnsweredError, ServerTime
from candled_adapters.feeds.rest import clipped
from candled_adapters.feeds.session import Session
from candled_adapters.feeds.stats import SourceStats
from candled_adapters.feeds.venuetime import VenueTime
from simulation.venue import Hit, Pipe, Venue

PATIENCE: Final = Patience(audit_reach=16)
_PAGE: Final = 500
_MOST_ASKED: Final = 60  # questions about one stream within ...
_ASKED_S: Final = 10.0  # ... so many seconds
_RETRIES_S: Final = (0.1, 0.5, 2.0)


class _Dialect:
    """Frames are facts already."""

    def parse(self, frame: Kline) -> Sequence[Kline]:
        return (frame,)

    def pushed_interval(self, name: str) -> str:
        return name


class Rest:
    """The venue's history and time, as far away as a real one's."""

    def __init__(self, venue: Venue, clock: VenueTime, hit: Hit, chance: random.Random) -> None:
        self._venue, self._hit, self._chance = venue, hit, chance
        self._door = Door()
        self._asked: deque[float] = deque(maxlen=_MOST_ASKED * len(venue.streams))
        self.hurries = False
        """Whether more was asked within some seconds than patience would."""
        self._time = ServerTime(clock, step_ms=1, allowed=self._door.opened, ask=self._ask_time)

    async def server_time(self, after: float) -> int:
        return await self._time.at(after)

    async def _ask_time(self) -> int:
        await self._arrive()
        said = self._venue.said_ms()
        await self._way()
        return said

    async def rows(self, stream: Stream, read: Read, *, urgent: bool = True) -> Rows:
        del urgent
        self._asked.append(time.monotonic())
        full = len(self._asked) == self._asked.maxlen
        self.hurries |= full and self._asked[-1] - self._asked[0] < _ASKED_S
        await self._door.opened()
        await self._arrive()
        found = self._venue.rows(stream, read)
        await self._way()
        return clipped(found, Page(read.start_ms, read.end_ms, read.limit, read.server_ms))

    async def _arrive(self) -> None:
        await self._way()
        if fault := self._hit("limited"):
            self._door.close(1.0 + fault.pick)
            raise NotAnsweredError("too many questions", RefusalKind.RATE_LIMIT, 1.0 + fault.pick)
        if self._hit("rest_down"):
            await asyncio.sleep(0.5)
            raise NotAnsweredError("REST: nobody there")

    async def _way(self) -> None:
        slow = self._hit("slow_rest")
        await asyncio.sleep(self._chance.uniform(0.005, 0.08) + (0.4 if slow else 0.0))


class SimFeed:
    """See the module; `candled.ports.Feed`."""

    exchange = "sim"

    def __init__(self, venue: Venue, hit: Hit, chance: random.Random) -> None:
        self._venue, self._hit, self._chance = venue, hit, chance
        self.stats = SourceStats()
        self._time = VenueTime(self._rearm)
        self.clock: Clock = self._time
        self.machines: list[Continuity] = []
        self.rest: Rest | None = None
        self._session: Session | None = None

    @property
    def all_live(self) -> bool:
        """Whether every machine says that its stream is live."""
        states = [machine.state for machine in self.machines]
        return bool(states) and all(state is StreamState.LIVE for state in states)

    @property
    def is_measured(self) -> bool:
        """Whether the venue's time has been told, and how fast it runs."""
        samples = self._time._samples
        return len(samples) > 1 and samples[-1].asked > samples[0].answered + 1.0

    async def run(self, resume: Sequence[Resume], emit: Emit) -> None:
        self.rest = rest = Rest(self._venue, self._time, self._hit, self._chance)
        nature = Nature(_PAGE)
        self.machines = [Continuity(one, nature, self.stats, PATIENCE) for one in resume]
        session = Session(self.exchange, self._time, rest, self.machines, emit, questions=4)
        self._session = session
        async with asyncio.TaskGroup() as tasks:
            session.start(tasks)
            tasks.create_task(session.make_contact(PATIENCE))
            tasks.create_task(self._carry(session))

    async def _carry(self, session: Session) -> None:
        dialect: Any = _Dialect()
        allowance: Any = SimpleNamespace(numbers=itertools.count(1))
        settings: Any = None
        common = Common(dialect, session, self.stats, settings, allowance)
        failures = 0
        while True:
            await asyncio.sleep(self._chance.uniform(0.02, 0.1))
            pipe = self._venue.dial()
            if pipe is not None:
                failures = 0
                owner: Any = self
                line = Line(common, Machines(dialect, self.machines), owner)
                await self._listen(session, line, pipe)
            pause = _RETRIES_S[min(failures, len(_RETRIES_S) - 1)]
            failures += 1
            await asyncio.sleep(self._chance.uniform(0.0, pause))

    async def _listen(self, session: Session, line: Line, pipe: Pipe) -> None:
        some = asyncio.Event()
        pipe.wake = some.set
        await line.on_up()
        await asyncio.sleep(self._chance.uniform(0.01, 0.1))
        await session.out(self._each(session, lambda one: one.connected(session.moment())))
        while not pipe.broken:
            frames, pipe.frames = pipe.frames, []
            some.clear()
            if frames:
                taken: Any = frames
                await line.on_frames(taken)
            else:
                await some.wait()
        told = self._each(session, lambda one: one.disconnected(pipe.broken, session.moment()))
        session.post(told)

    def _each(self, session: Session, tell: Any) -> list[FeedEvent]:
        events: list[FeedEvent] = []
        for machine in self.machines:
            told: Iterable[FeedEvent] = tell(machine)
            events += told
            session.arm(machine)
        return events

    def _rearm(self) -> None:
        if self._session is not None:
            self._session.rearm()
