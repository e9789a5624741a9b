"""What a session does beside the connections: audits, doubts about the clock, reports."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from adapters.feeds.scripted import bar_at
from candled.core.bar import HOUR, Bars, Stream
from candled.core.clock import ClockSample
from candled.core.decision import BarRevised
from candled.ports import Act, FeedEvent, Hazard, Incident, Resume, StreamHealth, StreamState
from candled_adapters.exchanges.dialect import Rows
from candled_adapters.feeds.backlog import Nature, Patience, Read
from candled_adapters.feeds.continuity import Continuity
from candled_adapters.feeds.session import Session
from candled_adapters.feeds.stats import SourceStats
from candled_adapters.feeds.venuetime import VenueTime
from fakes import ended, until

NOW = time.time_ns() // 1_000_000 // HOUR * HOUR
PATIENCE = Patience(fallback_s=0.05, audit_s=0.1, confirm_s=0.1)


@dataclass
class Venue:
    """Answers of a venue whose clock can be set, and which revises one bar."""

    clock: VenueTime
    ahead_ms: int = 0
    revised: bool = False
    silent: bool = False
    leisurely: list[Read] = field(default_factory=list)
    """What was asked without hurry."""
    sure: list[bool] = field(default_factory=list)
    """Of each urgent question, whether its server time was beyond doubt."""

    async def server_time(self, after: float) -> int:
        del after
        while self.silent:  # noqa: ASYNC110 - as a venue that is gone is
            await asyncio.sleep(0.01)
        asked = time.monotonic()
        now = time.time_ns() // 1_000_000 + self.ahead_ms
        self.clock.add(ClockSample(asked, time.monotonic(), now, 1))
        return now

    async def rows(self, stream: Stream, read: Read, *, urgent: bool = True) -> Rows:
        del stream
        self.leisurely += [] if urgent else [read]
        self.sure += [read.sure] if urgent else []
        bars = [bar_at(open_time) for open_time in range(NOW - 6 * HOUR, NOW + 1, HOUR)]
        if self.revised:
            bars = [replace(b, close=2.5) if b.open_time == NOW - HOUR else b for b in bars]
        return Rows(Bars.of([bar for bar in bars if bar.open_time >= (read.start_ms or 0)]))


@dataclass
class Scene:
    """A running session of one stream that is subscribed to."""

    venue: Venue
    session: Session
    machine: Continuity
    events: list[FeedEvent]

    @property
    def states(self) -> list[StreamState]:
        return [event.state for event in self.events if isinstance(event, StreamHealth)]

    def incidents(self, hazard: Hazard) -> list[Incident]:
        told = [event for event in self.events if isinstance(event, Incident)]
        return [event for event in told if event.hazard is hazard]


def play(body: Callable[[Scene], Awaitable[None]], max_skew_s: float = float("inf")) -> None:
    async def main() -> None:
        events: list[FeedEvent] = []

        async def emit(batch: Sequence[FeedEvent]) -> None:
            events.extend(batch)

        clock = VenueTime(lambda: None, max_skew_s)
        venue = Venue(clock)
        resume = Resume(Stream("venue", "A", "1h"), 0, NOW - 3 * HOUR)
        machine = Continuity(resume, Nature(1000), SourceStats(), PATIENCE)
        session = Session("venue", clock, venue, [machine], emit, questions=2, answer_s=0.1)
        running = asyncio.create_task(run(session, machine))
        with contextlib.suppress(asyncio.CancelledError):
            await body(Scene(venue, session, machine, events))
        await ended(running)

    asyncio.run(main())


async def run(session: Session, machine: Continuity) -> None:
    async with asyncio.TaskGroup() as tasks:
        session.start(tasks)
        session.post(machine.connected(session.moment()))
        session.arm(machine)
        session.came_up()


def test_a_bar_that_history_revises_is_told():
    """What went out is compared without hurry; what two answers contradict is revised."""

    async def body(scene: Scene) -> None:
        await until(lambda: scene.states[-1:] == [StreamState.LIVE])
        scene.venue.revised = True
        await until(lambda: any(isinstance(event, BarRevised) for event in scene.events))
        (revised,) = [event for event in scene.events if isinstance(event, BarRevised)]
        assert (revised.bar.open_time, revised.bar.close) == (NOW - HOUR, 2.5)
        assert len(scene.venue.leisurely) >= 2

    play(body)


def test_a_clock_in_doubt_degrades_and_is_believed_again():
    """Too far from this machine's: told once, no answer is sure; set right, all is well."""

    async def body(scene: Scene) -> None:
        scene.venue.ahead_ms = 30_000
        await until(lambda: scene.states[-1:] == [StreamState.DEGRADED])
        (told,) = scene.incidents(Hazard.CLOCK_SKEW)
        assert told.act is Act.DEGRADE
        assert "+30.0 s from this machine's" in told.text
        scene.machine.connected(scene.session.moment())
        scene.session.arm(scene.machine)
        asked = len(scene.venue.sure)
        await until(lambda: len(scene.venue.sure) > asked)
        assert not scene.venue.sure[-1]

    play(body, max_skew_s=5.0)


def test_a_clock_that_is_wrong_just_as_it_is_asked_is_not_believed():
    """The answer that shows the clock in doubt is the first that is not sure."""

    async def body(scene: Scene) -> None:
        await until(lambda: len(scene.venue.clock._samples) == 2)  # a rate is known
        scene.venue.ahead_ms = 30_000
        asked = len(scene.venue.sure)
        scene.machine.connected(scene.session.moment())
        scene.session.arm(scene.machine)
        await until(lambda: len(scene.venue.sure) > asked)
        assert not any(scene.venue.sure[asked:])
        await until(lambda: scene.incidents(Hazard.CLOCK_JUMP))

    play(body)


def test_a_venue_that_is_silently_gone_holds_the_streams_whose_bar_is_due():
    """REST was asked for the bar and says nothing: told within moments, over with its answer."""

    async def body(scene: Scene) -> None:
        await until(lambda: scene.states[-1:] == [StreamState.LIVE])
        scene.venue.silent = True
        scene.venue.clock.observe(NOW + HOUR + PATIENCE.grace_ms)
        scene.session.arm(scene.machine)
        await until(lambda: scene.states[-1] is StreamState.HOLDING)
        scene.venue.silent = False
        await until(lambda: scene.states[-1] is StreamState.LIVE)

    play(body)


def test_crowds_of_reports_are_told_by_one():
    """A hundred malformed frames are one incident; another hazard is another."""

    async def body(scene: Scene) -> None:
        for number in range(100):
            scene.session.report_some(Hazard.MALFORMED, Act.QUARANTINE, f"frame {number}")
        scene.session.report_some(Hazard.RATE_LIMIT, Act.HOLD, "wait")
        await until(lambda: scene.incidents(Hazard.RATE_LIMIT))
        assert [event.text for event in scene.incidents(Hazard.MALFORMED)] == ["frame 0"]

    play(body)
