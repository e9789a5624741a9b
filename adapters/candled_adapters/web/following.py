"""Keeps the view at the journal's end and at the board, and reads for it what is stored.

The loop only applies what is in memory. What has to be read from disk is read in one thread, a
little at a time, and rendered there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import structlog

from candled.core.bar import Interval, Stream
from candled.core.track import Outcome
from candled.ports import Hazard, HealthBoard, Notice, Outbox, StreamState
from candled_adapters.web import rendering, shapes
from candled_adapters.web.audience import EVERY_S, Audience
from candled_adapters.web.seat import Archive, Sources
from candled_adapters.web.view import CLOSES, View

MOST_BARS: Final = 2_000
_ROUND: Final = 256  # entries applied in one go: under a millisecond
_OUTCOMES_S: Final = 1.0
_PENDING: Final = 512  # bars back that a signal may lie which has just been resolved
_PORTION: Final = 25  # streams whose beginnings are read in one go
_REVISING: Final = (Hazard.REVISED_BAR, Hazard.APPEARED_BAR)

log = structlog.get_logger("candled.web")
T = TypeVar("T")


class Reading:
    """Reads in one thread of its own."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="web")

    async def ask(self, work: Callable[[], T]) -> T:
        """Do some work in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Let go of the thread; what it is doing is nobody's business any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class Follower:
    """Follows outbox and board for a view, and has its audience told."""

    def __init__(self, view: View, audience: Audience, sources: Sources, reading: Reading) -> None:
        self._view = view
        self._audience = audience
        self._sources = sources
        self._reading = reading
        self._thin = set(view.streams)
        self._due: dict[Stream, int] = {}
        self._told: dict[Stream, tuple[object, dict[str, Outcome]]] = {}  # of a record
        self._work = asyncio.Event()
        self._work.set()

    async def entries(self, outbox: Outbox) -> None:
        """Apply what the journal has, and what comes, for ever."""
        latest = outbox.latest()
        self._view.apply(latest)
        while True:
            entries = outbox.after(self._view.position, _ROUND)
            changed = self._view.apply(entries)
            self._audience.note(changed)
            if watched := changed & self._audience.watched:
                self._want_bars((e.decision.stream, e.decision.bar_open) for e in entries
                                if e.decision.stream in watched)  # fmt: skip
            await asyncio.sleep(0)
            await outbox.wait(self._view.position)

    async def streams(self, board: HealthBoard) -> None:
        """Follow how the streams are doing, for ever."""
        seen = 0
        while True:
            seen, streams = await board.streams_changed(seen)
            shown = self._view.touch(streams)
            self._audience.note(shown)
            self._thin |= {s for s in shown if self._has_history(board, s) and self._is_thin(s)}
            self._work.set()
            await asyncio.sleep(0)

    def _is_thin(self, stream: Stream) -> bool:
        return self._view.is_thin(stream)

    def _has_history(self, board: HealthBoard, stream: Stream) -> bool:
        health = board.stream(stream)
        return health is not None and health.state is not StreamState.WARMING

    async def health(self, board: HealthBoard) -> None:
        """Follow how the whole is, for ever."""
        while True:
            self._audience.note()
            await board.changed(board.health)

    async def notices(self, board: HealthBoard) -> None:
        """Follow what people are told, for ever."""
        seen = 0
        while True:
            notices = await board.notices(seen)
            seen = notices[-1].number
            self._view.events.extend(notices)
            self._audience.happened(notices)
            self._want_bars(_revised(notices))
            await asyncio.sleep(0)

    def _want_bars(self, changed: Iterable[tuple[Stream, int]]) -> None:
        watched = self._audience.watched
        for stream, bar_open in changed:
            if stream in watched:
                self._due[stream] = min(bar_open, self._due.get(stream, bar_open))
        self._work.set()

    def begin(self, stream: Stream) -> None:
        """Have somebody who has just begun to watch a stream told of its newest bar.

        And once of all outcomes: some may have come since it asked for the past.
        """
        self._told.pop(stream, None)
        newest = self._view.newest_bar(stream)
        if newest is not None:
            self._want_bars([(stream, newest)])

    async def stored(self) -> None:
        """Read what the view lacks and what is watched, for ever; at most a few times a second."""
        while True:
            await self._work.wait()
            self._work.clear()
            await self._read_beginnings()
            due, self._due = self._due, {}
            for stream, since in due.items():
                await self._tell_bars(stream, since)
            await asyncio.sleep(EVERY_S)

    async def _read_beginnings(self) -> None:
        while self._thin and not self._due:
            part = [self._thin.pop() for _ in range(min(_PORTION, len(self._thin)))]
            archive = self._reading.archive
            try:
                found = await self._reading.ask(lambda: archive.beginnings(part, CLOSES))  # noqa: B023
            except Exception as error:  # noqa: BLE001 - a store of any kind; it is only for show
                log.warning("cannot read what is stored", error=str(error))
                return
            self._audience.note(self._view.fill(found))
        if self._thin:
            self._work.set()

    async def _tell_bars(self, stream: Stream, since: int) -> None:
        """Tell those who watch a stream of its bars that open at `since` or later."""
        archive = self._reading.archive

        def read() -> shapes.Bars:
            past = archive.past(stream, MOST_BARS, since)
            return shapes.Bars(
                stream=stream.path,
                bars=rendering.bar_rows(past.bars),
                decisions=rendering.newest(past.entries),
                outcomes=(),
            )

        try:
            bars = await self._reading.ask(read)
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("cannot read what is stored", stream=stream.path, error=str(error))
            return
        self._audience.bars(stream, bars)

    async def outcomes(self) -> None:
        """Tell those who watch a stream what became of its signals, for ever, once a second."""
        while True:
            await asyncio.sleep(_OUTCOMES_S)
            watched = self._audience.watched
            self._told = {stream: told for stream, told in self._told.items() if stream in watched}
            for stream in watched:
                self._tell_outcomes(stream)

    def _tell_outcomes(self, stream: Stream) -> None:
        ask = self._sources
        record = ask.tracks(stream), ask.challenger_tracks(stream), self._view.newest_bar(stream)
        of, told = self._told.get(stream, (None, {}))
        if of == record:  # nothing can have been resolved since: the store is not asked
            return
        known = {outcome.id: outcome for outcome in self.recent(stream, _PENDING)}
        self._told[stream] = (record, known)
        if new := [outcome for outcome in known.values() if told.get(outcome.id) != outcome]:
            resolved = tuple(map(rendering.resolved, new))
            bars = shapes.Bars(stream=stream.path, bars=(), decisions=(), outcomes=resolved)
            self._audience.bars(stream, bars)

    def recent(self, stream: Stream, bars: int) -> Sequence[Outcome]:
        """Return what became of a stream's signals of the newest so many bars."""
        newest = self._view.newest_bar(stream)
        if newest is None:
            return ()
        return self._sources.outcomes(stream, Interval(stream.interval).back(newest, bars))


def _revised(notices: Sequence[Notice]) -> Iterable[tuple[Stream, int]]:
    """Return which bars became others; where no decision changed, no entry tells of it."""
    for notice in notices:
        incident = notice.incident
        if incident.hazard in _REVISING and incident.stream and incident.bar_open is not None:
            yield incident.stream, incident.bar_open
