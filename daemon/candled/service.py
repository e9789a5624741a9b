"""The service: feed -> engine -> journal -> sinks, as one group of asyncio tasks.

The shell around the pure core. It takes all bars that have arrived as one batch, decides them,
makes them durable and lets the sinks see them, in this order. A bar that the venue revised is
decided again with all that rests on it, and what changes is corrected. Start-up is the recovery
path: windows are filled from the journal, feeds take up after its last bar, sinks after their
marks. It knows feeds and sinks by their protocols only.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from candled.board import Board
from candled.core.bar import Stream, iso
from candled.core.decision import BarClosed, BarRevised, Decision
from candled.core.engine import Engine, Lane
from candled.correcting import corrections
from candled.inbox import Inbox, Work
from candled.journal import Affected, Housekeeper, Journal
from candled.ports import (
    Clock,
    Entry,
    Feed,
    FeedEvent,
    History,
    Incident,
    Resume,
    Sink,
    StreamHealth,
    StreamState,
)
from candled.swapping import News, Successor
from candled.telling import Tell

_BATCH_LIMIT: Final = 4_096  # bars decided in one go, so that the sockets stay served
_RECENT: Final = 48  # bars that a feed is given to know what it has reported, for its audit
_DRAIN_SECONDS: Final = 5.0
_CLOCKS_SECONDS: Final = 2.0
_HEALTH_PAUSE: Final = 1.0

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


class Service:
    """Runs the pipeline until it is told to stop.

    `keep_ms` is how long the journal keeps what is delivered; None: for ever. `watchers` follow the
    journal as sinks do, but only look: nothing waits for them.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        journal: Journal,
        feeds: Sequence[Feed],
        sinks: Sequence[Sink],
        board: Board,
        tell: Tell,
        observer: Observer | None = None,
        on_ready: Callable[[], None] | None = None,
        keep_ms: int | None = None,
        watchers: Sequence[Sink] = (),
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._feeds = feeds
        self._sinks = sinks
        self._board = board
        self._tell = tell
        self._observer = observer
        self._on_ready = on_ready
        self._keep_ms = keep_ms
        self._watchers = watchers
        self._clocks: Mapping[str, Clock] = {feed.exchange: feed.clock for feed in feeds}
        self._inbox = Inbox()
        self._turn = asyncio.Lock()  # held while a batch is handled, and while engines change
        self._needs: dict[Stream, int] = {}  # bars of history
        self._news: News | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain: decide what has arrived, deliver, say goodbye.

        Raises the first failure of a part that must not fail, e.g. a journal that cannot write.
        """
        resumes = self._recover()
        async with asyncio.TaskGroup() as group:

            def start(part: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
                return group.create_task(self._watched(part, work), name=part)

            sinks = [
                start(f"sink {sink.name}", partial(self._deliver, sink)) for sink in self._sinks
            ]
            feeds = [
                start(
                    f"feed {feed.exchange}",
                    partial(feed.run, resumes[feed.exchange], self._inbox.put),
                )
                for feed in self._feeds
            ]
            watchers = [
                start(f"watcher {one.name}", partial(one.run, self._journal, self._board))
                for one in self._watchers
            ]
            decider = start("decider", self._decide_for_ever)
            helpers = [
                start("health", self._log_health),
                start("house", self._housekeeper().run),
            ]
            if self._on_ready:
                self._on_ready()
            await stop.wait()
            log.info("stopping")
            await _end(feeds)
            await self._drain()
            await _end([decider, *helpers, *sinks, *watchers])
        log.info("stopped", decisions=self._journal.last_position)

    async def _watched(self, part: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do a part's work; tell the board of a failure before the group ends the sinks for it."""
        try:
            await work()
        except Exception as error:
            self._board.fail(part, error)
            raise

    async def _deliver(self, sink: Sink) -> None:
        """Run a sink, once it is known what time it is at the venues.

        What waits from the life before must not be judged by a clock of ours that may be wrong. A
        venue that tells no time soon is not waited for.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOCKS_SECONDS):
                for clock in self._clocks.values():
                    await clock.measured()
        await sink.run(self._journal, self._board)

    def _recover(self) -> dict[str, list[Resume]]:
        """Fill the windows from the journal; say where each feed takes up."""
        if self._journal.lost:
            log.error("decisions lost", count=self._journal.lost, new_epoch=self._journal.epoch)
        resumes: dict[str, list[Resume]] = {feed.exchange: [] for feed in self._feeds}
        for stream in self._engine.streams:
            need = self._needs[stream] = self._engine.history(stream)
            bars = self._journal.bars(stream, need)
            self._journal.check_window(stream, bars, need)
            from_listing = self._journal.from_listing(stream)
            whole = len(bars) >= need or (from_listing and len(bars) > 0)
            if whole:
                self._engine.warm(stream, bars, from_listing=from_listing)
            warming = StreamHealth(stream, StreamState.WARMING, "")  # until the feed says live
            self._board.note(warming)
            resumes[stream.exchange].append(
                Resume(
                    stream=stream,
                    history=0 if whole else need,
                    after=int(bars.open_time[-1]) if len(bars) else None,
                    recent=bars[-_RECENT:] if len(bars) else None,
                    anew=need,
                )
            )
        return resumes

    async def _decide_for_ever(self) -> None:
        while True:
            events = await self._inbox.take(_BATCH_LIMIT)
            async with self._turn:
                self._handle(events)
            self._inbox.handled()
            await asyncio.sleep(0)  # a full inbox must not starve the sockets

    @property
    def work(self) -> Work:
        """How far the decider is."""
        return self._inbox.work

    async def swap(self, lanes: Sequence[Lane]) -> None:
        """Decide the same streams by other lanes, all of them from one moment between batches on.

        The engine is made beside everything else; only its last bars hold the decider, and nothing
        the loop. Raises SwapError, and whatever the journal does; then nothing has changed.
        """
        successor = Successor(lanes, self._journal.reader, self._needs)
        self._news = successor.news
        try:
            await successor.prepare()
            async with self._turn:
                await successor.catch_up()
                successor.engine.on_rows = self._engine.on_rows
                self._engine = successor.engine
                self._needs.update({s: self._engine.history(s) for s in self._engine.streams})
        finally:
            self._news = None

    def _handle(self, events: Sequence[FeedEvent]) -> None:
        """Handle events in order; neighbouring bars are one batch."""
        batch: list[BarClosed] = []
        for event in events:
            if isinstance(event, BarClosed):
                batch.append(event)
                continue
            self._decide(batch)
            batch = []
            match event:
                case History():
                    self._begin(event)
                case BarRevised():
                    self._revise(event)
                case StreamHealth():
                    self._note(event)
                case Incident():
                    self._tell(event)
        self._decide(batch)

    def _begin(self, event: History) -> None:
        """Store a history and fill the windows with what is stored, as a restart would.

        It may come in the middle of a stream's life, when the bars since its last one are lost.
        """
        stream = event.stream
        self._journal.store_history(stream, event.bars, from_listing=event.from_listing)
        bars = self._journal.bars(stream, self._engine.history(stream))
        from_listing = self._journal.from_listing(stream)
        self._engine.warm(stream, bars, from_listing=from_listing)
        if self._news is not None:
            self._news.began(stream)
        log.info("history", stream=stream.path, bars=len(event.bars))

    def _note(self, event: StreamHealth) -> None:
        self._board.note(event)
        log.info("stream", stream=event.stream.path, state=event.state.value, reason=event.reason)

    def _revise(self, event: BarRevised) -> None:
        """Store what a bar has become, decide again what rests on it, and correct what changes.

        Afterwards the windows stand at the newest bar, as after a restart.
        """
        taken, stream = time.time_ns(), event.stream
        affected = self._journal.affected(event, self._engine.history(stream))
        if affected is None:
            return
        corrections = self._corrections(event, affected)
        decided, now = time.time_ns(), self._clocks[stream.exchange].now_ms()
        entries = self._journal.revise(event, affected.bar, corrections, now)
        if self._news is not None:
            self._news.began(stream)
        self._observe(entries, event.received_ns, taken, decided)
        opened = iso(event.bar.open_time)
        log.info("revised", stream=stream.path, bar_open=opened, corrections=len(entries))

    def _corrections(self, event: BarRevised, affected: Affected) -> list[Decision]:
        from_listing = self._journal.from_listing(event.stream)
        found, told = corrections(self._engine, event, affected, from_listing=from_listing)
        if told is not None:
            self._tell(told)
        return found

    def _decide(self, batch: Sequence[BarClosed]) -> None:
        """Decide a batch and make it durable; only then may the sinks see it."""
        if not batch:
            return
        taken = time.time_ns()
        decisions = self._engine.decide(batch)
        decided = time.time_ns()
        entries = self._journal.commit(batch, decisions, self._decided_ms(decisions))
        if self._news is not None:
            self._news.closed(batch)
        self._observe(entries, batch[-1].received_ns, taken, decided)

    def _observe(
        self, entries: Sequence[Entry], received_ns: int, taken_ns: int, decided_ns: int
    ) -> None:
        if self._observer and entries:
            times = BatchTimes(received_ns, taken_ns, decided_ns, time.time_ns())
            self._observer(entries, times)

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

    def _housekeeper(self) -> Housekeeper:
        return Housekeeper(
            self._journal,
            self._board.report,
            sinks=[sink.name for sink in self._sinks],
            history=self._needs,  # a swap changes it
            keep_ms=self._keep_ms,
        )

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
