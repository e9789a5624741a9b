"""The matrix: every venue against every misbehaviour, each cell a whole daemon's life of some bars.

A cell is a simulated venue, its feed, the service with a journal on disk, and a sink. Of two
streams one is hit; when the fault is over, what was decided is compared with an engine that replays
the bars as the venue shows them in the end. What is struck, and what is expected of it, is in
`matrix_rows`; `print_matrix` plays all cells and prints them as a table.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from candled.board import Board
from candled.core.bar import Bar, Bars, Stream
from candled.core.correction import differing
from candled.core.decision import Decision, Reason
from candled.core.engine import Engine
from candled.journal import open_journal
from candled.ports import Act, Entry, Hazard, HealthBoard, Incident, Outbox, StreamState
from candled.service import Service
from candled.telling import Teller
from candled_adapters.exchanges.dialect import Closing
from candled_adapters.feeds.feed import FeedSettings, VenueFeed
from candled_adapters.simulator.fault import EVER, Hooks, Span
from candled_adapters.simulator.limits import LIMITS
from candled_adapters.simulator.server import Simulator
from candled_adapters.simulator.venues import VENUES
from contract.cases import Case
from contract.matrix_world import (
    BY_NAME,
    PAST,
    clean,
    interval,
    lane,
    neighbour,
    replayed,
    stream_of,
    tapes,
)
from virtual_time import run

CLEAN = 10  # bars that follow once all is well again
PATIENCE_BARS = 40  # until a cell is given up
LOOK_S, GLANCE_S = 0.1, 2.0  # how exactly a recovery is timed, and how often is looked else
#: As in production; the venue's clock and the machine's are one.
SETTINGS = FeedSettings(max_skew_s=5.0)
Truth = Callable[[list[Bar], Span], list[Bar]]


# --- a cell --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One misbehaviour and what is expected of it. What takes a `Case` may differ by venue."""

    name: str
    strike: Callable[[Scene], None]
    bars: int = 4
    """How many slots are hit, from `Scene.span`'s first on; 0: it has no end of its own, and
    recovery counts from its beginning."""
    after_s: float = 0.0
    """How long the fault goes on after the bars (s)."""
    more: int = 0
    """How many slots it goes on after these."""
    within_s: float = 30.0
    """How much longer than two bars the recovery may take (s)."""
    wide: bool = False
    """Whether the neighbour is hit as well."""
    truth: Truth = lambda bars, _: bars
    """The hit stream's bars as the venue shows them in the end."""
    lied: Callable[[Case], bool] = lambda _: False
    """Whether the venue itself gave wrong numbers as closed: what was decided first may differ."""
    expected: Callable[[Case], set[tuple[Hazard, Act]]] = lambda _: set()
    """What must be reported, of the hit stream or of the venue."""
    absent: Callable[[Case], str] = lambda _: ""
    """Why it makes no sense for a venue; '' when it does."""
    settings: FeedSettings = SETTINGS


@dataclass
class Scene:
    """A running daemon and its venue."""

    case: Case
    row: Row
    venue: Simulator
    board: Board
    sink: Collector
    span: Span = EVER
    """Which slots are hit (UTC ms)."""

    def strike(
        self,
        hooks: Hooks,
        symbol: str | None = None,
        *,
        bars: Span | None = None,
        seconds: float = float("inf"),
    ) -> None:
        """Hit the span, or other bars."""
        bars = self.span if bars is None else bars
        self.venue.faults.strike(hooks, symbol, bars=bars, seconds=seconds)

    @property
    def hit(self) -> Stream:
        return stream_of(self.case, self.case.symbol)

    @property
    def calm(self) -> Stream:
        return stream_of(self.case, neighbour(self.case))

    @property
    def slot_ms(self) -> int:
        return interval(self.case).typical_ms

    def slot(self, open_time: int) -> str:
        """Say which slot that is, counted from the first that is hit."""
        return f"{(open_time - self.span.start) / self.slot_ms:+.0f}"

    def state(self, stream: Stream) -> StreamState | None:
        health = self.board.stream(stream)
        return None if health is None else health.state

    def is_up_to_date(self, stream: Stream) -> bool:
        """Whether every bar that is due has been decided."""
        last = self.sink.last(stream)
        return last is not None and last + 2 * self.slot_ms > self.venue.now_ms()

    def is_well(self, stream: Stream) -> bool:
        """Whether it is as if nothing had happened."""
        live = self.state(stream) is StreamState.LIVE
        return live and self.is_up_to_date(stream) and not self.sink.wrong[stream]


class Collector:
    """A sink that keeps what is durable, and knows which decisions are not as they should be."""

    name = "collector"

    def __init__(self, wanted: Mapping[Stream, Mapping[int, Decision]]) -> None:
        self.wanted = dict(wanted)
        self.entries: list[Entry] = []
        self.newest: dict[Stream, dict[int, Decision]] = {stream: {} for stream in wanted}
        self.wrong: dict[Stream, set[int]] = {stream: set() for stream in wanted}

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:  # noqa: ARG002 - the port's
        position = 0
        while True:
            await outbox.wait(position)
            for entry in outbox.after(position, 1000):
                position = entry.position
                self._take(entry)
            outbox.mark(self.name, position)

    def _take(self, entry: Entry) -> None:
        self.entries.append(entry)
        made = entry.decision
        self.newest[made.stream][made.bar_open] = made
        self._compare(made)

    def _compare(self, made: Decision) -> None:
        wanted = self.wanted[made.stream].get(made.bar_open)
        wrong = wanted is None or (made.reason is not Reason.WARMUP and differing(made, wanted))
        (self.wrong[made.stream].add if wrong else self.wrong[made.stream].discard)(made.bar_open)

    def last(self, stream: Stream) -> int | None:
        return max(self.newest[stream], default=None)

    def want(self, stream: Stream, wanted: Mapping[int, Decision]) -> None:
        """Compare with another truth from now on."""
        self.wanted[stream] = wanted
        for made in self.newest[stream].values():
            self._compare(made)


@dataclass
class Result:
    """What became of a cell."""

    complaints: list[str] = field(default_factory=list)
    """What is not as it should be."""
    recovery_s: float | None = None
    """From the fault's end until the stream is live, no due bar is outstanding, and every newest
    decision is that of the true bars."""
    incidents: list[Incident] = field(default_factory=list)
    corrections: int = 0


async def played(case: Case, row: Row) -> Result:
    """Play one cell."""
    result = Result()
    stream, other = stream_of(case, case.symbol), stream_of(case, neighbour(case))
    venue = Simulator(
        tapes(case.name),
        interval(case),
        venue=VENUES[case.name],
        start_at=PAST,
        limits=LIMITS[case.name],
    )
    board = Board(lambda: 0)
    sink = Collector({one: clean(case.name, one) for one in (stream, other)})
    scene = Scene(case, row, venue, board, sink)
    with tempfile.TemporaryDirectory() as folder:
        journal = open_journal(Path(folder))
        for one in (stream, other):  # as after a restart: what is played follows
            past = [case.shown(bar) for bar in tapes(case.name)[one.symbol][:PAST]]
            journal.store_history(one, Bars.of(past), from_listing=False)
        try:
            async with venue:
                feed = VenueFeed(
                    "venue",
                    case.dialect,
                    websocket_base=venue.ws_url,
                    rest_base=venue.rest_url,
                    settings=row.settings,
                )
                service = Service(
                    engine=Engine([lane(case, stream), lane(case, other)]),
                    journal=journal,
                    feeds=[feed],
                    sinks=[sink],
                    board=board,
                    tell=Teller(board, result.incidents.append),
                )
                stop = asyncio.Event()
                running = asyncio.create_task(service.run(stop))
                try:
                    await _through(scene, result, running)
                    result.complaints += _judged(scene, result)
                finally:
                    stop.set()
                    await asyncio.wait({running})
                    if running.exception() is not None:
                        result.complaints.append(f"the service failed: {running.exception()!r}")
        finally:
            journal.close()
    return result


async def _through(scene: Scene, result: Result, running: asyncio.Task[None]) -> None:
    """Let the fault come and go, and some clean bars follow."""

    async def until(what: str, condition: Callable[[], bool], look_s: float = GLANCE_S) -> bool:
        deadline = time.monotonic() + PATIENCE_BARS * scene.slot_ms / 1000
        while not condition():
            if time.monotonic() > deadline or running.done():
                result.complaints.append(f"not within {PATIENCE_BARS} bars: {what}")
                return False
            await asyncio.sleep(look_s)
        return True

    both, sink, venue, row = (scene.hit, scene.calm), scene.sink, scene.venue, scene.row
    slot_ms = scene.slot_ms
    if not await until("a start", lambda: all(map(scene.is_well, both))):
        return
    begin = (venue.now_ms() // slot_ms + 2) * slot_ms
    scene.span = Span(begin, begin + max(row.bars, 1) * slot_ms)
    true = row.truth(list(tapes(scene.case.name)[scene.hit.symbol]), scene.span)
    row.strike(scene)
    sink.want(scene.hit, replayed(scene.case, scene.hit, true))
    lasts_ms = (row.bars + row.more) * slot_ms + round(row.after_s * 1000)
    over_ms = begin + lasts_ms
    await until("the fault's end", lambda: venue.now_ms() >= over_ms, LOOK_S)
    if not lasts_ms:  # it has no end of its own
        await until("its discovery", lambda: not _unsaid(scene, result), LOOK_S)
    await until("recovery", lambda: all(map(scene.is_well, both)), LOOK_S)
    clean_from = venue.now_ms()
    result.recovery_s = (clean_from - over_ms) / 1000

    def followed() -> bool:
        return all((sink.last(one) or 0) >= clean_from + CLEAN * slot_ms for one in both)

    if await until("clean bars", followed):
        await until("still well", lambda: all(map(scene.is_well, both)))


def _judged(scene: Scene, result: Result) -> list[str]:
    """Say what is wrong with what was decided, and what was reported."""
    complaints = []
    for stream in (scene.hit, scene.calm):
        complaints += [f"{stream.symbol}: {text}" for text in _decided_wrong(scene, stream)]
        if not scene.is_well(stream):
            complaints.append(f"{stream.symbol}: in the end it is {scene.board.stream(stream)}")
    most_s = 2 * scene.slot_ms / 1000 + scene.row.within_s
    if result.recovery_s is not None and result.recovery_s > most_s:
        complaints.append(f"it took {result.recovery_s:.1f} s to recover, not {most_s:g} at most")
    result.corrections = sum(entry.decision.revision > 0 for entry in scene.sink.entries)
    complaints += [f"not reported: {hazard}, {act}" for hazard, act in _unsaid(scene, result)]
    if not scene.row.wide:
        told = [one for one in result.incidents if one.stream == scene.calm]
        complaints += [f"the neighbour was disturbed: {one.text}" for one in told]
    complaints += [f"a limit was breached: {one.detail}" for one in scene.venue.breaches]
    return complaints


def _unsaid(scene: Scene, result: Result) -> list[tuple[Hazard, Act]]:
    """Return what should have been reported and was not."""
    met = {(one.hazard, one.act) for one in result.incidents if one.stream != scene.calm}
    return sorted(scene.row.expected(scene.case) - met)


def _decided_wrong(scene: Scene, stream: Stream) -> Iterator[str]:
    """Compare what was decided with what should have been."""
    sink, wanted = scene.sink, scene.sink.wanted[stream]
    made = [entry.decision for entry in sink.entries if entry.decision.stream == stream]
    first = [one for one in made if one.revision == 0]
    ready = [one.bar_open for one in first if one.reason is not Reason.WARMUP]
    if not ready:
        yield "nothing was decided"
        return
    slots = [at for at in wanted if ready[0] <= at <= ready[-1]]
    if ready != slots:
        lost, more = sorted(set(slots) - set(ready)), sorted(set(ready) - set(slots))
        yield f"not one decision a slot, in order: lost {lost}, too many {more}, {len(ready)}"
    if len({one.id for one in made}) < len(made):
        yield "a decision was made twice"
    for at, one in sink.newest[stream].items():
        if at in sink.wrong[stream]:
            told = differing(one, wanted[at]) if at in wanted else ("the bar never was",)
            yield f"slot {scene.slot(at)}, revision {one.revision}: other {told}"
    lied = stream == scene.hit and scene.row.lied(scene.case)
    if not lied:
        for one in first:
            true = wanted.get(one.bar_open)
            if one.reason is not Reason.WARMUP and (true is None or differing(one, true)):
                yield f"slot {scene.slot(one.bar_open)} was first decided wrong"


def flags(case: Case) -> bool:
    """Whether the venue says when a bar is closed."""
    return case.dialect.closing is Closing.FLAG


# --- all of them ---------------------------------------------------------------------------------


def result_of(case: Case, row: Row) -> Result:
    """Play a cell in virtual time."""
    began_ms = int(tapes(case.name)[case.symbol].open_time[PAST])
    kept = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        return run(played(case, row), wall_ms=began_ms)
    finally:
        structlog.configure(**kept)


def assert_passes(venue: str, row: Row) -> None:
    """Play a cell and fail with everything that is not as it should be."""
    result = result_of(BY_NAME[venue], row)
    assert not result.complaints, "\n".join(result.complaints)
