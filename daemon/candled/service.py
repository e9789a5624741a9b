"""The service: feed -> engine -> journal -> sinks, as one group of asyncio tasks.

The shell around the pure core. It takes all bars that have arrived as one batch, decides them,
makes them durable and lets the sinks see them, in this order. Start-up is the recovery path:
windows are filled from the journal, feeds take up after its last bar, sinks after their marks. It
knows feeds and sinks by their protocols only.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import structlog

from candled.board import Board
from candled.core.decision import BarClosed, Decision
from candled.core.engine import Engine
from candled.journal import Journal
from candled.ports import (
    Clock,
    Entry,
    Feed,
    FeedEvent,
    History,
    Resume,
    Sink,
    StreamHealth,
    StreamState,
)

_INBOX_LIMIT: Final = 100_000  # bars; a feed that is faster than this waits
_BATCH_LIMIT: Final = 4_096  # bars decided in one go, so that the sockets stay served
_DRAIN_SECONDS: Final = 5.0
_HEALTH_PAUSE: Final = 1.0
_HOUSE_PAUSE: Final = 1.0

log = structlog.get_logger("candled.service")


@dataclass(frozen=True, slots=True)
class BatchTimes:
    """When one batch passed each stage; wall clock in ns."""

    received_ns: int
    """Of the last bar in the batch."""
    taken_ns: int
    decided_ns: int
    durable_ns: int


#: Told of each durable batch, for measurements.
Observer = Callable[[Sequence[Entry], BatchTimes], None]


class Inbox:
    """Events from the feeds, in order, taken all at once; bounded by the bars that they hold."""

    def __init__(self, limit: int = _INBOX_LIMIT) -> None:
        self._events: deque[FeedEvent] = deque()
        self._limit = limit
        self._held = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def put(self, events: Sequence[FeedEvent]) -> None:
        """Append events; waits while the inbox is full."""
        await self._room.wait()
        self._events.extend(events)
        self._held += sum(map(_weight, events))
        self._idle.clear()
        self._filled.set()
        if self._held >= self._limit:
            self._room.clear()

    async def take(self, limit: int) -> list[FeedEvent]:
        """Wait for events, then return all that are there, at most `limit`.

        A history, which is costly to handle, is the last one that is returned.
        """
        await self._filled.wait()
        taken: list[FeedEvent] = []
        while self._events and len(taken) < limit:
            taken.append(self._events.popleft())
            self._held -= _weight(taken[-1])
            if isinstance(taken[-1], History):
                break
        if not self._events:
            self._filled.clear()
        if self._held < self._limit:
            self._room.set()
        return taken

    def handled(self) -> None:
        """Say that what was taken has been handled."""
        if not self._events:
            self._idle.set()

    async def join(self) -> None:
        """Wait until everything has been taken and handled."""
        await self._idle.wait()


def _weight(event: FeedEvent) -> int:
    return len(event.bars) if isinstance(event, History) else 1


class Service:
    """Runs the pipeline until it is told to stop."""

    def __init__(
        self,
        *,
        engine: Engine,
        journal: Journal,
        feeds: Sequence[Feed],
        sinks: Sequence[Sink],
        board: Board,
        observer: Observer | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._feeds = feeds
        self._sinks = sinks
        self._board = board
        self._observer = observer
        self._on_ready = on_ready
        self._clocks: Mapping[str, Clock] = {feed.exchange: feed.clock for feed in feeds}
        self._inbox = Inbox()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain: decide what has arrived, deliver, say goodbye.

        Raises the first failure of a part that must not fail, e.g. a journal that cannot write.
        """
        resumes = self._recover()
        async with asyncio.TaskGroup() as group:
            sinks = [
                group.create_task(sink.run(self._journal, self._board), name=f"sink {sink.name}")
                for sink in self._sinks
            ]
            feeds = [
                group.create_task(
                    feed.run(resumes[feed.exchange], self._inbox.put), name=f"feed {feed.exchange}"
                )
                for feed in self._feeds
            ]
            decider = group.create_task(self._decide_for_ever(), name="decider")
            helpers = [
                group.create_task(self._log_health(), name="health"),
                group.create_task(self._keep_house(), name="house"),
            ]
            if self._on_ready:
                self._on_ready()
            await stop.wait()
            log.info("stopping")
            await _end(feeds)
            await self._drain()
            await _end([decider, *helpers, *sinks])
        log.info("stopped", decisions=self._journal.last_position)

    def _recover(self) -> dict[str, list[Resume]]:
        """Fill the windows from the journal; say where each feed takes up."""
        resumes: dict[str, list[Resume]] = {feed.exchange: [] for feed in self._feeds}
        for stream in self._engine.streams:
            need = self._engine.history(stream)
            bars = self._journal.bars(stream, need)
            from_listing = self._journal.from_listing(stream)
            whole = len(bars) >= need or (from_listing and len(bars) > 0)
            last = int(bars.open_time[-1]) if len(bars) else None
            if whole:
                self._engine.warm(stream, bars, from_listing=from_listing)
            self._board.report(stream.path, StreamState.WARMING)  # until the feed says live
            resumes[stream.exchange].append(
                Resume(stream=stream, history=0 if whole else need, after=last)
            )
        return resumes

    async def _decide_for_ever(self) -> None:
        while True:
            events = await self._inbox.take(_BATCH_LIMIT)
            self._handle(events)
            self._inbox.handled()
            await asyncio.sleep(0)  # a full inbox must not starve the sockets

    def _handle(self, events: Sequence[FeedEvent]) -> None:
        """Handle events in order; neighbouring bars are one batch."""
        batch: list[BarClosed] = []
        for event in events:
            if isinstance(event, BarClosed):
                batch.append(event)
                continue
            self._decide(batch)
            batch = []
            if isinstance(event, History):
                self._begin(event)
            elif isinstance(event, StreamHealth):
                self._note(event)
            else:
                log.warning("incident", **asdict(event))
        self._decide(batch)

    def _begin(self, event: History) -> None:
        """Store a history and fill the windows with what is stored, as a restart would."""
        stream, from_listing = event.stream, event.from_listing
        self._journal.store_history(stream, event.bars, from_listing=from_listing)
        bars = self._journal.bars(stream, self._engine.history(stream))
        self._engine.warm(stream, bars, from_listing=from_listing)
        log.info("history", stream=stream.path, bars=len(event.bars))

    def _note(self, event: StreamHealth) -> None:
        live = event.state is StreamState.LIVE
        text = f"{event.state.value}: {event.reason}" if event.reason else event.state.value
        self._board.report(event.stream.path, None if live else text)
        log.info("stream", stream=event.stream.path, state=event.state.value, reason=event.reason)

    def _decide(self, batch: Sequence[BarClosed]) -> None:
        """Decide a batch and make it durable; only then may the sinks see it."""
        if not batch:
            return
        taken = time.time_ns()
        decisions = self._engine.decide(batch)
        decided = time.time_ns()
        entries = self._journal.commit(batch, decisions, self._decided_ms(decisions))
        if self._observer:
            durable = time.time_ns()
            self._observer(entries, BatchTimes(batch[-1].received_ns, taken, decided, durable))

    def _decided_ms(self, decisions: Sequence[Decision]) -> list[int]:
        now = {exchange: clock.now_ms() for exchange, clock in self._clocks.items()}
        return [now[decision.stream.exchange] for decision in decisions]

    async def _log_health(self) -> None:
        """Log what is wrong when that changes; many changes within a second are one line."""
        while True:
            await asyncio.sleep(_HEALTH_PAUSE)
            health = self._board.health
            log.info("health", state=health.state.value, reasons=list(health.reasons))
            await self._board.changed(health)

    async def _keep_house(self) -> None:
        """Tidy the journal a moment after it grew, so that no commit has to."""
        seen = self._journal.last_position
        while True:
            await self._journal.wait(seen)
            await asyncio.sleep(_HOUSE_PAUSE)
            seen = self._journal.last_position
            await asyncio.to_thread(self._journal.checkpoint)

    async def _drain(self) -> None:
        """Let the last bars be decided and delivered, for a bounded time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self._inbox.join()
                await self._journal.delivered([sink.name for sink in self._sinks])


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for them to say goodbye."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
