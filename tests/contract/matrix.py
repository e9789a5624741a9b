"""The matrix: every venue against every misbehaviour, each cell a whole daemon's life of some bars.

A cell is a simulated venue, its feed, the service with a journal on disk, and a sink. Of two
streams one is hit; when the fault is over, what was decided is compared with an engine that replays
the bars as the venue shows them in the end. What is struck, and what is expected of it, is in
`matrix_rows`; run as a program this file plays all cells and prints them as a table.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from candled.board import Board
from candled.core.bar import COLUMNS, HOUR, TIME_COLUMNS, Bar, Bars, Interval, Stream
from candled.core.correction import differing
from candled.core.decision import Decision, Policy, Reason
from candled.core.engine import Engine, Lane
from candled.core.model import Model
from candled.journal import open_journal
from candled.ports import Act, Entry, Hazard, HealthBoard, Incident, Outbox, StreamState
from candled.service import Service
from candled_adapters.exchanges.dialect import Closing
from candled_adapters.feeds.backlog import Patience
from candled_adapters.feeds.feed import FeedSettings, VenueFeed
from candled_adapters.feeds.socket import SocketSettings
from candled_adapters.simulator.fault import EVER, Fault, Hooks, Span
from candled_adapters.simulator.generator import generate_many
from candled_adapters.simulator.limits import LIMITS
from candled_adapters.simulator.server import Simulator
from candled_adapters.simulator.venues import VENUES
from contract.cases import CASES, Case
from toys import windows
from virtual_time import run

START = 1_700_000_000_000 // HOUR * HOUR
PAST, PLAYED = 760, 160  # bars that have closed before, and that may close in a cell
CLEAN = 10  # bars that follow once all is well again
WINDOW = 8
THRESHOLD = 0.3
PATIENCE_BARS = 40  # until a cell is given up
LOOK_S, GLANCE_S = 0.1, 2.0  # how exactly a recovery is timed, and how often is looked else
#: As in production; the venue's clock and the machine's are one.
SETTINGS = FeedSettings(max_skew_s=5.0)
VENUE_NAMES = (
    "binance-spot",
    "binance-usdm",
    "bybit-linear",
    "okx",
    "kraken",
    "coinbase",
    "hyperliquid",
)
BY_NAME = {case.name: case for case in reversed(CASES)}
Floats = NDArray[np.float64]
Truth = Callable[[list[Bar], Span], list[Bar]]


# --- the model: every number of the last bars shows in what it says ------------------------------


class Raw:
    """The last bars' own numbers, all columns that a venue has."""

    name = "raw"
    window = history = WINDOW

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.columns = tuple(f"{name}_{at}" for name in names for at in range(WINDOW))

    def table(self, bars: Bars, interval: Interval) -> Floats:  # noqa: ARG002 - the protocol's
        return np.concatenate([windows(getattr(bars, n), WINDOW) for n in self.names], axis=1)

    def blocks(self, bars: Bars, interval: Interval, size: int = 4096) -> Iterator[Floats]:
        table = self.table(bars, interval)
        return (table[at : at + size] for at in range(0, len(table), size))

    def state(self, capacity: int, interval: Interval) -> RawState:
        return RawState(self, capacity, interval)


class RawState:
    """Keeps the last bars of each stream."""

    def __init__(self, raw: Raw, capacity: int, interval: Interval) -> None:
        self.raw, self.interval = raw, interval
        self.kept: list[list[Bar]] = [[] for _ in range(capacity)]

    def warm(self, row: int, bars: Bars) -> None:
        self.kept[row] = list(bars[-WINDOW:])

    def push(self, rows: NDArray[np.intp], bars: Bars) -> Floats:
        out = []
        for row, bar in zip(rows.tolist(), bars, strict=True):
            self.kept[row] = [*self.kept[row], bar][-WINDOW:]
            out.append(self.raw.table(Bars.of(self.kept[row]), self.interval)[-1])
        return np.stack(out)


class Weights:
    """In a booster's place: smooth in every input, where trees would not see a small change."""

    def __init__(self, count: int) -> None:
        self.weights = np.random.default_rng(5).normal(0.0, count**-0.5, (2, count))

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        sums = np.cumsum(rows.astype(np.float64)[:, None, :] * self.weights, axis=2)[..., -1]
        sides = (1.0 + sums / (1.0 + np.abs(sums))) / 4.0
        rest = 1.0 - sides[:, 0] - sides[:, 1]
        return np.stack([rest, sides[:, 0], sides[:, 1]], axis=1).astype(np.float32)


@functools.cache
def model(venue: str) -> Model:
    case = BY_NAME[venue]
    names = [name for name in COLUMNS if name not in TIME_COLUMNS and name not in case.missing]
    raw = Raw(names)
    table = tapes(venue)[case.symbol]
    mean = np.repeat([float(np.mean(getattr(table, name))) for name in names], WINDOW)
    scale = np.repeat([float(np.std(getattr(table, name))) for name in names], WINDOW)
    return Model(
        name="matrix",
        digest=f"matrix of {case.name}",
        symbol=case.symbol,
        interval=interval(case).name,
        features=raw,
        mean=mean,
        scale=scale,
        booster=Weights(len(raw.columns)),  # type: ignore[arg-type]
        threshold=THRESHOLD,
        target=None,
    )


def lane(case: Case, stream: Stream) -> Lane:
    return Lane(stream, model(case.name), Policy(threshold=THRESHOLD, gap_mute_bars=2))


# --- the truth -----------------------------------------------------------------------------------


def interval(case: Case) -> Interval:
    """Minutes, but for the venue that pushes buckets of five."""
    return Interval("5m" if case.name == "coinbase" else "1m")


def stream_of(case: Case, symbol: str) -> Stream:
    return Stream("venue", symbol, interval(case).name)


def neighbour(case: Case) -> str:
    return case.symbol.replace("BTC", "ETH")


def stranger(case: Case) -> str:
    """A third symbol, whose prices are of another size."""
    return case.symbol.replace("BTC", "LTC")


@functools.cache
def tapes(venue: str) -> Mapping[str, Bars]:
    """All bars there are, by symbol."""
    case = BY_NAME[venue]
    symbols = [case.symbol, neighbour(case), stranger(case)]
    found = generate_many(7, symbols, interval(case), START, PAST + PLAYED)
    cheap = {
        name: np.round(getattr(found[symbols[2]], name) / 1000, 5)
        for name in ("open", "high", "low", "close", "quote_volume", "taker_buy_quote")
    }
    return {**found, symbols[2]: replace(found[symbols[2]], **cheap)}


def replayed(case: Case, stream: Stream, bars: Iterable[Bar]) -> dict[int, Decision]:
    """What a fresh engine decides of bars as the venue shows them, by open time."""
    engine = Engine([lane(case, stream)])
    shown = Bars.of([case.shown(bar) for bar in bars])
    return {made.bar_open: made for block in engine.replay(stream, shown) for made in block}


@functools.cache
def clean(venue: str, stream: Stream) -> Mapping[int, Decision]:
    """What is decided where nothing goes wrong."""
    return replayed(BY_NAME[venue], stream, tapes(venue)[stream.symbol])


# --- a cell --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One misbehaviour and what is expected of it. What takes a `Case` may differ by venue."""

    name: str
    strike: Callable[[Scene], None]
    bars: int = 4
    """How many slots are hit, from `Scene.span`'s first on; 0: one moment, its beginning."""
    after_s: float = 0.0
    """How long the fault goes on after the bars (s)."""
    heals: bool = False
    """Whether it lasts until something is done about it: it is taken as over when it begins."""
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
    faults: list[Fault] = field(default_factory=list)

    def strike(
        self,
        hooks: Hooks,
        symbol: str | None = None,
        *,
        bars: Span | None = None,
        seconds: float = float("inf"),
        times: int | None = None,
    ) -> Fault:
        """Hit the span, or other bars."""
        fault = self.venue.faults.strike(
            hooks, symbol, bars=self.span if bars is None else bars, seconds=seconds, times=times
        )
        self.faults.append(fault)
        return fault

    @property
    def hit(self) -> Stream:
        return stream_of(self.case, self.case.symbol)

    @property
    def calm(self) -> Stream:
        return stream_of(self.case, neighbour(self.case))

    @property
    def slot_ms(self) -> int:
        return interval(self.case).typical_ms

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
                    on_incident=result.incidents.append,
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
    over_ms = begin if row.heals else begin + row.bars * slot_ms + round(row.after_s * 1000)
    await until("the fault's end", lambda: venue.now_ms() >= over_ms, LOOK_S)
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
    result.corrections = sum(entry.decision.revision > 0 for entry in scene.sink.entries)
    met = {(one.hazard, one.act) for one in result.incidents if one.stream != scene.calm}
    missed = scene.row.expected(scene.case) - met
    complaints += [f"not reported: {hazard}, {act}" for hazard, act in sorted(missed)]
    if not scene.row.wide:
        told = [one for one in result.incidents if one.stream == scene.calm]
        complaints += [f"the neighbour was disturbed: {one.text}" for one in told]
    complaints += [f"a limit was breached: {one.detail}" for one in scene.venue.breaches]
    return complaints


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
            begin = scene.span.start
            told = differing(one, wanted[at]) if at in wanted else ("the bar never was",)
            yield f"slot {(at - begin) / scene.slot_ms:+.0f}, revision {one.revision}: other {told}"
    lied = stream == scene.hit and scene.row.lied(scene.case)
    if not lied:
        for one in first:
            true = wanted.get(one.bar_open)
            if one.reason is not Reason.WARMUP and (true is None or differing(one, true)):
                yield f"slot {(one.bar_open - scene.span.start) / scene.slot_ms:+.0f} was first decided wrong"


def flags(case: Case) -> bool:
    """Whether the venue says when a bar is closed."""
    return case.dialect.closing is Closing.FLAG


# --- all of them ---------------------------------------------------------------------------------


def result_of(case: Case, row: Row) -> Result:
    """Play a cell in virtual time."""
    began_ms = int(tapes(case.name)[case.symbol].open_time[PAST])
    return run(played(case, row), wall_ms=began_ms)


def assert_passes(venue: str, row: Row) -> None:
    """Play a cell and fail with everything that is not as it should be."""
    result = result_of(BY_NAME[venue], row)
    assert not result.complaints, "\n".join(result.complaints)
