"""The service decides what feeds report, makes it durable, and only then lets sinks see it."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import structlog

from candled.board import Board
from candled.core.bar import Bar, Bars, Stream
from candled.core.decision import BarClosed, BarRevised, Decision, Quality, Side, Source
from candled.core.engine import Engine, Lane
from candled.core.features.mar import MAR
from candled.errors import Exit, explain
from candled.inbox import Inbox
from candled.journal import Journal, JournalError, open_journal
from candled.ports import (
    Act,
    Emit,
    Entry,
    Feed,
    FeedEvent,
    Hazard,
    HealthBoard,
    History,
    Incident,
    Notice,
    Outbox,
    Resume,
    ServiceState,
    Sink,
    StreamHealth,
    StreamState,
)
from candled.service import BatchTimes, Service
from candled.tally import Tally
from candled.telling import Teller
from candled_adapters.web.files import chart_script
from candles import candles
from fakes import FixedClock, until
from models import bundle, lane

BTC = Stream("binance", "BTCUSDT", "1h")
ETH = Stream("binance", "ETHUSDT", "1h")
HISTORY = MAR.history
SERIES = {BTC: 10, ETH: 45}
NOW = 1_900_000_000_000


def series(stream: Stream, count: int = HISTORY + 40) -> Bars:
    return candles(count, seed=SERIES[stream])


def closed(stream: Stream, bar: Bar) -> BarClosed:
    at = bar.close_time + 20
    return BarClosed(stream, bar, Source.WS, at * 1_000_000, at)


def live(stream: Stream, first: int, last: int) -> list[FeedEvent]:
    """Return the bars `first` to `last` of a stream as a feed reports them."""
    return [closed(stream, bar) for bar in series(stream)[first:last]]


def history(stream: Stream, count: int = HISTORY, *, from_listing: bool = False) -> History:
    return History(stream, series(stream)[:count], from_listing=from_listing)


class RecordedFeed:
    """Reports recorded events, then stays connected until it is cancelled."""

    def __init__(self, *emissions: Sequence[FeedEvent], ends_with: Exception | None = None) -> None:
        self.exchange = "binance"
        self.clock = FixedClock(NOW)
        self.resumes: list[Resume] = []
        self.cancelled = False
        self._emissions = emissions
        self._ends_with = ends_with

    async def run(self, resume: Sequence[Resume], emit: Emit) -> None:
        self.resumes = list(resume)
        for events in self._emissions:
            await emit(events)
        if self._ends_with:
            raise self._ends_with
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled = True


class ReadingSink:
    """Takes entries from the outbox, and looks at the moment of each whether the disk has it."""

    def __init__(
        self, folder: Path, name: str = "reader", fails_at: int | None = None, pause_s: float = 0
    ) -> None:
        self.name = name
        self._pause_s = pause_s
        self.seen: list[Entry] = []
        self.began = False
        self.said_goodbye = False
        self._fails_at = fails_at
        self._path = folder / "candled.journal"

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        self.began = True
        board.report(self.name, None)
        position = outbox.position(self.name)
        try:
            while True:
                await outbox.wait(position)
                for entry in outbox.after(position, 7):
                    assert self._is_durable(entry)
                    if entry.position == self._fails_at:
                        raise ConnectionError("the broker is a toaster")
                    await asyncio.sleep(self._pause_s)
                    self.seen.append(entry)
                    outbox.mark(self.name, position := entry.position)
        finally:
            self.said_goodbye = True

    def _is_durable(self, entry: Entry) -> bool:
        """Whether another process would find the decision and its bar."""
        db = sqlite3.connect(self._path)
        try:
            rows = db.execute(
                "SELECT 1 FROM decisions JOIN bars"
                " ON bars.stream = decisions.stream AND bars.open_time = decisions.bar_open"
                " WHERE position = ? AND id = ?",
                (entry.position, entry.decision.id),
            ).fetchall()
        finally:
            db.close()
        return rows == [(1,)]


@dataclasses.dataclass
class Run:
    """A service with its parts, while it runs."""

    journal: Journal
    board: Board
    feed: RecordedFeed
    stop: asyncio.Event

    async def decided(self, count: int) -> None:
        """Wait until the journal holds so many decisions."""
        await until(lambda: self.journal.last_position >= count, what=f"{count} decisions")


def test_no_sink_judges_what_is_late_before_the_time_is_known(tmp_path: Path):
    """Sinks begin once the venue's clock was measured."""
    feed, sink = RecordedFeed(), ReadingSink(tmp_path)
    feed.clock.known.clear()

    async def during(_: Run) -> None:
        await until(lambda: feed.resumes)
        assert not sink.began
        feed.clock.known.set()
        await until(lambda: sink.began)

    serve(tmp_path, feed, [sink], during=during)


def test_a_venue_that_tells_no_time_holds_nothing_up_for_long(tmp_path: Path):
    """Sinks begin after two seconds all the same."""
    feed, sink = RecordedFeed(), ReadingSink(tmp_path)
    feed.clock.known.clear()
    serve(tmp_path, feed, [sink], during=lambda _: until(lambda: sink.began))


def serve(
    folder: Path,
    feed: RecordedFeed,
    sinks: Sequence[Sink] = (),
    *,
    lanes: Sequence[Lane] | None = None,
    during: Callable[[Run], Awaitable[None]],
    observer: Callable[[Sequence[Entry], BatchTimes], None] | None = None,
    count: Callable[[Incident], None] = lambda _: None,
    prepare: Callable[[Journal], None] | None = None,
    watchers: Sequence[Sink] = (),
) -> None:
    """Run a service on the state in `folder`, stop it after `during`, and raise what it raises."""

    async def body() -> None:
        journal = open_journal(folder)
        try:
            if prepare:
                prepare(journal)
            board, stop = Board(lambda: 0), asyncio.Event()
            feeds: list[Feed] = [feed]
            service = Service(
                engine=Engine(lanes or [lane(BTC), lane(ETH)]),
                journal=journal,
                feeds=feeds,
                sinks=sinks,
                board=board,
                observer=observer,
                tell=Teller(board, count),
                watchers=watchers,
            )
            running = asyncio.create_task(service.run(stop))
            watched = asyncio.ensure_future(during(Run(journal, board, feed, stop)))
            await asyncio.wait({running, watched}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await watched
            watched.cancel()
            stop.set()
            await asyncio.wait_for(running, 20)
        finally:
            journal.close()

    asyncio.run(body())


def alone(kind: Lane, first: int, last: int) -> list[Decision]:
    """Decide a stretch of a stream as an engine does that has its history."""
    engine = Engine([kind])
    engine.warm(kind.stream, series(kind.stream)[first - HISTORY : first], from_listing=False)
    return engine.decide([closed(kind.stream, bar) for bar in series(kind.stream)[first:last]])


def of(entries: Sequence[Entry], stream: Stream) -> list[Decision]:
    return [entry.decision for entry in entries if entry.decision.stream == stream]


# --- the way of a bar


def test_a_bar_goes_from_feed_to_engine_to_journal_to_sinks(tmp_path: Path):
    """Sinks see each decision once, in order, as the engine made it, and when it is on disk."""
    feed = RecordedFeed(
        [history(BTC), *live(BTC, HISTORY, HISTORY + 5), history(ETH)],
        [*live(ETH, HISTORY, HISTORY + 9), *live(BTC, HISTORY + 5, HISTORY + 9)],
        live(ETH, HISTORY + 9, HISTORY + 10),
    )
    sinks = [ReadingSink(tmp_path, "one"), ReadingSink(tmp_path, "two")]
    stored: list[Bars] = []

    async def during(run: Run) -> None:
        await run.decided(19)
        stored.append(run.journal.bars(BTC, 9999))

    serve(tmp_path, feed, sinks, during=during)
    for sink in sinks:
        assert [entry.position for entry in sink.seen] == list(range(1, 20))
        assert of(sink.seen, BTC) == alone(lane(BTC), HISTORY, HISTORY + 9)
        assert of(sink.seen, ETH) == alone(lane(ETH), HISTORY, HISTORY + 10)
        assert {entry.decided_ms for entry in sink.seen} == {NOW}
    assert any(entry.seq for entry in sinks[0].seen)
    assert stored[0].close.tolist() == series(BTC)[: HISTORY + 9].close.tolist()


def test_history_is_not_decided(tmp_path: Path):
    """A history alone fills the windows and the journal, and gives no decision."""

    async def during(run: Run) -> None:
        await until(lambda: len(run.journal.bars(ETH, 9999)) == HISTORY)
        assert run.journal.last_position == 0

    serve(tmp_path, RecordedFeed([history(BTC), history(ETH)]), during=during)


def test_each_batch_is_observed_in_its_stages(tmp_path: Path):
    """Whoever measures is told of every durable batch, with times that do not run backwards."""
    batches: list[tuple[Sequence[Entry], BatchTimes]] = []
    tally = Tally()

    def observe(entries: Sequence[Entry], times: BatchTimes) -> None:
        batches.append((entries, times))
        tally.durable(entries, times)

    events = live(BTC, 0, 3)
    serve(
        tmp_path,
        RecordedFeed([events[0]], [history(ETH), *events[1:]]),
        during=lambda run: run.decided(3),
        observer=observe,
    )
    assert sum(len(entries) for entries, _ in batches) == 3
    for entries, times in batches:
        assert times.taken_ns <= times.decided_ns <= times.durable_ns
        assert times.received_ns == entries[-1].received_ns
    tally.acked(batches[0][0][:1], batches[0][0][0].received_ns + 2_500_000)
    summary = tally.summary()
    assert (summary.decisions, summary.signals, summary.no_decisions) == (3, 0, 3)
    assert (summary.delivered, summary.latency_p50_ms, summary.latency_p99_ms) == (1, 2.5, 2.5)
    stored = [(times.durable_ns - times.received_ns) / 1e6 for _, times in batches]
    assert summary.durable_max_ms == round(max(stored), 3)
    assert summary.durable_p99_ms is not None
    assert min(stored) - 0.001 <= summary.durable_p99_ms <= max(stored) + 0.001
    unused = Tally().summary()
    assert (unused.latency_p50_ms, unused.durable_p99_ms, unused.durable_max_ms) == (None,) * 3
    assert (unused.loop_late_p999_ms, unused.loop_late_max_ms) == (None, None)


def test_streams_say_how_they_are(tmp_path: Path):
    """A stream degrades the service from the start until it is live, and again when it is not."""
    feed = RecordedFeed(
        [StreamHealth(ETH, StreamState.LIVE, "")],
        [StreamHealth(BTC, StreamState.HOLDING, "bar 12:00 is missing")],
    )

    async def during(run: Run) -> None:
        await until(lambda: len(run.board.health.reasons) == 1)
        assert run.board.health.state is ServiceState.DEGRADED
        assert run.board.health.reasons == ("binance/BTCUSDT/1h: holding: bar 12:00 is missing",)

    serve(tmp_path, feed, during=during)


def test_incidents_are_counted_logged_and_told_but_not_all(tmp_path: Path):
    """Every incident is counted; of a kind one is told, and the bars around it are decided."""
    tally = Tally()
    met = [
        Incident("binance", BTC, Hazard.DUPLICATE_CLOSE, Act.DROP, f"number {n}", NOW)
        for n in range(5)
    ]
    other = Incident("binance", None, Hazard.CONNECTION_LOST, Act.RECONNECT, "1006", NOW)
    feed = RecordedFeed([met[0], *live(BTC, 0, 1), *met[1:], other, *live(BTC, 1, 2)])
    told: list[Notice] = []

    async def during(run: Run) -> None:
        await run.decided(2)
        told.extend(await run.board.notices(0))

    with structlog.testing.capture_logs() as logged:
        serve(tmp_path, feed, during=during, count=tally.met)
    assert tally.summary().incidents == {
        "binance": {"connection_lost": 1},
        "binance/BTCUSDT/1h": {"duplicate_close": 5},
    }
    assert [(notice.number, notice.incident) for notice in told] == [(1, met[0]), (2, other)]
    lines = [line for line in logged if line["event"] == "incident"]
    assert [(line["hazard"], line["text"], line["unsaid"]) for line in lines] == [
        ("duplicate_close", "number 0", 0),
        ("connection_lost", "1006", 0),
    ]


def test_a_revised_bar_is_corrected_before_what_follows_is_decided(tmp_path: Path):
    """Between two bars of one emission a revision changes what the second is decided from.

    Sinks see the correction in its place, and it is counted as one and not as a bar.
    """
    bars = series(BTC)
    tally, sink = Tally(), ReadingSink(tmp_path)
    told = dataclasses.replace(bars.row(HISTORY + 1), close=bars.row(HISTORY + 1).low)
    revised = BarRevised(BTC, told, 77, told.close_time + 5_000)
    events = live(BTC, HISTORY, HISTORY + 4)
    feed = RecordedFeed([history(BTC), *events[:3], revised, *events[3:]])
    serve(
        tmp_path,
        feed,
        [sink],
        lanes=[lane(BTC)],
        during=lambda run: run.decided(6),
        observer=tally.durable,
    )
    final = [*bars[: HISTORY + 4]]
    final[HISTORY + 1] = told
    engine = Engine([lane(BTC)])
    engine.warm(BTC, Bars.of(final[:HISTORY]), from_listing=False)
    wanted = engine.decide([closed(BTC, bar) for bar in final[HISTORY:]])
    made = [entry.decision for entry in sink.seen]
    order = [(one.bar_open, one.revision) for one in made]
    at = [bar.open_time for bar in final[HISTORY:]]
    assert order == [(at[0], 0), (at[1], 0), (at[2], 0), (at[1], 1), (at[2], 1), (at[3], 0)]
    assert (made[0], made[5]) == (wanted[0], wanted[3])
    assert [one.probabilities for one in made[3:5]] == [one.probabilities for one in wanted[1:3]]
    assert {(entry.source, entry.received_ns) for entry in sink.seen[3:5]} == {(Source.REST, 77)}
    summary = tally.summary()
    assert (summary.decisions, summary.corrections) == (4, 2)
    assert summary.signals == sum(entry.seq is not None for entry in sink.seen)


@pytest.mark.parametrize("count", [HISTORY, 30])
def test_a_history_in_the_middle_of_a_life_begins_the_windows_anew(tmp_path: Path, count: int):
    """Lost bars leave a gap; what follows is decided as an engine does that was given those bars.

    A history shorter than the windows is joined to what was there before, as after a restart.
    """
    bars = candles(2 * HISTORY + 60, seed=10)
    before, start = HISTORY + 5, HISTORY + 12
    anew = History(BTC, bars[start : start + count], from_listing=False)
    after = [closed(BTC, bar) for bar in bars[start + count : start + count + 9]]
    sink = ReadingSink(tmp_path)
    feed = RecordedFeed([history(BTC), *live(BTC, HISTORY, before), anew, *after[:4]], [*after[4:]])
    stored: list[Bars] = []

    async def during(run: Run) -> None:
        await run.decided(14)
        stored.append(run.journal.bars(BTC, 10**6))

    serve(tmp_path, feed, [sink], lanes=[lane(BTC)], during=during)
    kept = np.r_[0:before, start : start + count + 9]
    assert stored[0].open_time.tolist() == bars.open_time[kept].tolist()
    engine = Engine([lane(BTC)])
    engine.warm(BTC, stored[0][: before + count][-HISTORY:], from_listing=False)
    made = of(sink.seen, BTC)
    assert made[5:] == engine.decide(after)
    assert (Quality.GAP in made[5].quality) == (count == 30)
    assert Side.NO_DECISION not in {one.side for one in made}


# --- restarts


def resumes_of(
    folder: Path, *emissions: Sequence[FeedEvent], decisions: int = 0
) -> list[tuple[Stream, int, int | None]]:
    """Run once with these events; return what history the feed was asked for, and after what."""
    feed = RecordedFeed(*emissions)

    async def during(run: Run) -> None:
        await until(lambda: bool(feed.resumes))
        await run.decided(decisions)
        for events in emissions:
            for event in events:
                if isinstance(event, History):
                    await until(lambda event=event: run.journal.bars(event.stream, 1))

    serve(folder, feed, during=during)
    assert {resume.anew for resume in feed.resumes} == {HISTORY}
    return [(resume.stream, resume.history, resume.after) for resume in feed.resumes]


def test_a_restart_takes_up_after_the_last_bar(tmp_path: Path):
    """The feed is asked for history at first, and later only for what came after the last bar."""
    last = int(series(BTC).open_time[HISTORY + 2])
    assert resumes_of(
        tmp_path, [history(BTC), *live(BTC, HISTORY, HISTORY + 3), history(ETH)], decisions=3
    ) == [(BTC, HISTORY, None), (ETH, HISTORY, None)]
    assert resumes_of(tmp_path, decisions=3) == [
        (BTC, 0, last),
        (ETH, 0, int(series(ETH).open_time[HISTORY - 1])),
    ]


def test_a_short_history_is_asked_for_again_unless_it_is_all_there_is(tmp_path: Path):
    """Too few bars are completed at the next start; a young listing has what it can have."""
    young = history(ETH, 50, from_listing=True)
    resumes_of(tmp_path, [history(BTC, 100), young])
    assert resumes_of(tmp_path) == [
        (BTC, HISTORY, int(series(BTC).open_time[99])),
        (ETH, 0, int(series(ETH).open_time[49])),
    ]


def test_decisions_go_on_as_if_there_had_been_no_restart(tmp_path: Path):
    """Over three lives of the service, decisions, numbers and deliveries are those of one."""
    cuts = (HISTORY, HISTORY + 13, HISTORY + 14, HISTORY + 40)
    seen: list[Entry] = []
    for start, end in itertools.pairwise(cuts):
        first = [history(BTC)] if start == HISTORY else []
        sink = ReadingSink(tmp_path)
        feed = RecordedFeed(first, live(BTC, start, end))
        serve(
            tmp_path,
            feed,
            [sink],
            lanes=[lane(BTC)],
            during=lambda run, n=end: run.decided(n - HISTORY),
        )
        seen += sink.seen
    assert of(seen, BTC) == alone(lane(BTC), HISTORY, HISTORY + 40)
    assert [entry.position for entry in seen] == list(range(1, 41))
    numbers = [entry.seq for entry in seen if entry.seq is not None]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 10


def test_the_windows_are_filled_with_what_the_journal_holds(tmp_path: Path):
    """A bar that a venue tells differently the second time does not part memory from disk."""
    resumes_of(tmp_path, [history(BTC, HISTORY - 10)])
    bars = series(BTC)
    close = bars.close[:HISTORY].copy()
    close[HISTORY - 20 : HISTORY - 10] *= 1.1
    told_again = History(BTC, dataclasses.replace(bars[:HISTORY], close=close), from_listing=False)
    sink = ReadingSink(tmp_path)
    feed = RecordedFeed([told_again, *live(BTC, HISTORY, HISTORY + 9)])
    serve(tmp_path, feed, [sink], lanes=[lane(BTC)], during=lambda run: run.decided(9))
    assert of(sink.seen, BTC) == alone(lane(BTC), HISTORY, HISTORY + 9)


def test_events_are_handled_in_their_order(tmp_path: Path):
    """Bars before a history are decided before it, and bars after it with it, in one go or not."""
    sink = ReadingSink(tmp_path)
    events = [*live(BTC, 0, 3), history(BTC), *live(BTC, HISTORY, HISTORY + 3)]
    serve(
        tmp_path, RecordedFeed(events), [sink], lanes=[lane(BTC)], during=lambda run: run.decided(6)
    )
    assert [entry.decision.side for entry in sink.seen[:3]] == [Side.NO_DECISION] * 3
    assert of(sink.seen[3:], BTC) == alone(lane(BTC), HISTORY, HISTORY + 3)


def test_what_a_sink_missed_is_there_for_it_after_a_restart(tmp_path: Path):
    """A sink that is new or was away begins with the oldest entry that it has not marked."""
    serve(
        tmp_path, RecordedFeed(live(BTC, 0, 5)), [ReadingSink(tmp_path, "a")],
        during=lambda run: run.decided(5),
    )  # fmt: skip
    sinks = [ReadingSink(tmp_path, "a"), ReadingSink(tmp_path, "b")]
    serve(tmp_path, RecordedFeed(live(BTC, 5, 7)), sinks, during=lambda run: run.decided(7))
    assert [[entry.position for entry in sink.seen] for sink in sinks] == [
        [6, 7],
        [1, 2, 3, 4, 5, 6, 7],
    ]


# --- failures


async def forever(_: Run) -> None:
    await asyncio.Event().wait()


def test_a_sink_that_fails_ends_the_service(tmp_path: Path):
    """A sink's failure is raised, the others say goodbye, and the feed is let go."""
    feed = RecordedFeed(live(BTC, 0, 5))
    bad, good = ReadingSink(tmp_path, "bad", fails_at=3), ReadingSink(tmp_path, "good")
    with pytest.raises(ExceptionGroup) as caught:
        serve(tmp_path, feed, [bad, good], during=forever)
    assert [str(error) for error in caught.value.exceptions] == ["the broker is a toaster"]
    assert [entry.position for entry in bad.seen] == [1, 2]
    assert good.said_goodbye
    assert feed.cancelled


def fill_up(journal: Journal) -> None:
    """Let the file grow no further, as on a full disk."""
    db = journal._db.connection
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {pages + 2}")


def test_nothing_is_shown_that_could_not_be_written(tmp_path: Path):
    """A full disk ends the service as temporary trouble, and no sink saw what was lost."""
    sink = ReadingSink(tmp_path)
    feed = RecordedFeed(*([event] for event in live(BTC, 0, 200)))
    with pytest.raises(ExceptionGroup) as caught:
        serve(tmp_path, feed, [sink], during=forever, prepare=fill_up)
    known = explain(caught.value)
    assert known is not None
    assert known[1] is Exit.TEMPORARY
    assert "full" in known[0]
    assert sink.said_goodbye
    journal = open_journal(tmp_path)
    try:
        stored = journal.after(0, 9999)
        assert sink.seen == stored[: len(sink.seen)]
        assert len(stored) == len(journal.bars(BTC, 9999)) < 200
    finally:
        journal.close()


def test_a_feed_that_breaks_its_promise_ends_the_service(tmp_path: Path):
    """A bar told twice ends the service; nothing of its batch is shown or stored."""
    sink = ReadingSink(tmp_path)
    feed = RecordedFeed(live(BTC, 0, 3), [*live(ETH, 0, 1), *live(BTC, 2, 3)])

    with pytest.raises(ExceptionGroup) as caught:
        serve(tmp_path, feed, [sink], during=forever)
    assert "bars must come once each, in time order" in str(caught.value.exceptions[0])
    assert [entry.decision.stream for entry in sink.seen] in ([], [BTC] * 3)
    journal = open_journal(tmp_path)
    try:
        assert len(journal.bars(ETH, 9)) == 0
    finally:
        journal.close()


def test_a_feed_that_fails_ends_the_service(tmp_path: Path):
    """A feed may not give up; when it does, that is what the service ends with."""
    feed = RecordedFeed(live(BTC, 0, 1), ends_with=RuntimeError("gave up"))
    with pytest.raises(ExceptionGroup) as caught:
        serve(tmp_path, feed, during=forever)
    assert [repr(error) for error in caught.value.exceptions] == ["RuntimeError('gave up')"]


def test_a_slot_that_was_stored_is_not_decided_again(tmp_path: Path):
    """A feed that goes back behind the journal after a restart is refused."""
    resumes_of(tmp_path, live(BTC, 0, 5), decisions=5)
    with pytest.raises(ExceptionGroup) as caught:
        serve(tmp_path, RecordedFeed(live(BTC, 3, 6)), during=forever)
    assert isinstance(caught.value.exceptions[0], JournalError)


# --- stopping


class ListeningSink(ReadingSink):
    """Notes what the board says of a failure when it is told to end."""

    last_word: str | None = "was not told to end"

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        try:
            await super().run(outbox, board)
        finally:
            self.last_word = board.failure


@pytest.mark.parametrize("part", ["feed", "sink", "journal"])
def test_sinks_know_why_the_service_ends_when_they_say_goodbye(tmp_path: Path, part: str):
    """The cause is on the board before they are cancelled for it, whichever part failed."""
    listening = ListeningSink(tmp_path)
    broken = RuntimeError("lost its mind") if part == "feed" else None
    feed = RecordedFeed(live(BTC, 0, 3), ends_with=broken)
    sinks = [listening, ReadingSink(tmp_path, "other", fails_at=2 if part == "sink" else None)]

    def prepare(journal: Journal) -> None:
        if part == "journal":
            journal._db.connection.execute("PRAGMA query_only = ON")

    with pytest.raises(ExceptionGroup):
        serve(tmp_path, feed, sinks, during=forever, prepare=prepare)
    file = tmp_path / "candled.journal"
    assert listening.last_word is not None
    assert listening.last_word.startswith(
        {
            "feed": "feed binance failed: RuntimeError: lost its mind",
            "sink": "sink other failed: ConnectionError: the broker is a toaster",
            "journal": f"decider failed: {file}: attempt to write a readonly database; check",
        }[part]
    )


def test_an_ordinary_stop_is_no_failure(tmp_path: Path):
    """The board has nothing to say then."""
    listening = ListeningSink(tmp_path)
    serve(tmp_path, RecordedFeed(live(BTC, 0, 3)), [listening], during=lambda run: run.decided(3))
    assert listening.last_word is None


def test_what_has_arrived_is_decided_and_delivered_before_the_end(tmp_path: Path):
    """On stop the feed is let go first, its bars are decided, and sinks see them, then goodbye."""
    sinks = [ReadingSink(tmp_path, "slow", pause_s=0.001), ReadingSink(tmp_path, "quick")]
    feed = RecordedFeed(live(BTC, 0, 40), live(ETH, 0, 40))

    async def at_once(_: Run) -> None:
        """Stop as soon as the service runs."""

    serve(tmp_path, feed, sinks, during=at_once)
    for sink in sinks:
        assert [entry.position for entry in sink.seen] == list(range(1, 81))
        assert sink.said_goodbye
    assert feed.cancelled


def test_a_sink_that_cannot_deliver_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Draining takes a bounded time; what was not delivered stays for the next start."""
    monkeypatch.setattr("candled.service._DRAIN_SECONDS", 0.2)

    class Stuck(ReadingSink):
        async def run(self, outbox: Outbox, board: HealthBoard) -> None:
            del outbox, board
            await asyncio.Event().wait()

    serve(
        tmp_path, RecordedFeed(live(BTC, 0, 3)), [Stuck(tmp_path, "stuck")],
        during=lambda run: run.decided(3),
    )  # fmt: skip
    sink = ReadingSink(tmp_path, "stuck")
    serve(tmp_path, RecordedFeed(), [sink], during=lambda run: run.decided(3))
    assert len(sink.seen) == 3
    assert {entry.decision.side for entry in sink.seen} == {Side.NO_DECISION}


# --- the inbox


def test_a_full_inbox_makes_feeds_wait():
    """Beyond its limit the inbox takes no more until something was taken out; order is kept."""

    async def body() -> None:
        inbox = Inbox(limit=3)
        events = live(BTC, 0, 8)
        await inbox.put(events[:3])
        waiting = asyncio.create_task(inbox.put(events[3:]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        assert await inbox.take(2) == events[:2]
        await asyncio.wait_for(waiting, 1)
        joining = asyncio.create_task(inbox.join())
        assert await inbox.take(99) == events[2:]
        await asyncio.sleep(0)
        assert not joining.done()
        inbox.handled()
        await asyncio.wait_for(joining, 1)

    asyncio.run(body())


# --- who only watches


class Watcher:
    """Looks at everything and marks nothing."""

    name = "watcher"

    def __init__(self) -> None:
        self.seen: list[Entry] = []
        self.ended_after = -1

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        board.remark(self.name, None)
        try:
            while True:
                await outbox.wait(len(self.seen))
                self.seen += outbox.after(len(self.seen), 100)
        finally:
            self.ended_after = len(self.seen)


def test_who_only_watches_sees_all_and_is_waited_for_by_nobody(tmp_path: Path):
    """It begins at once, though no clock was measured, sees the drain, and holds no end up."""
    feed, watcher = RecordedFeed([history(BTC), *live(BTC, HISTORY, HISTORY + 5)]), Watcher()
    feed.clock.known.clear()

    async def during(run: Run) -> None:
        await run.decided(5)
        await until(lambda: len(watcher.seen) == 5)
        stopped.append(time.monotonic())

    stopped: list[float] = []
    serve(tmp_path, feed, watchers=[watcher], during=during)
    assert watcher.ended_after == 5
    assert time.monotonic() - stopped[0] < 4.0  # what marks nothing would hold the drain for five


# --- what the live process is made of

FORBIDDEN = {
    "pandas",
    "sklearn",
    "joblib",
    "scipy",
    "xgboost",
    "ccxt",
    "aiohttp",
    "candled.lab",
    "candled.offline",
    "candled_adapters.artifacts.notebook",
    "candled_adapters.artifacts.inert_pickle",
    "lightweight_charts",
}

LIVE = """
import asyncio, json, sys
from pathlib import Path
from candled.compose import build
from candled.lineup import load_lineup
from candled.config import load_config

path = Path(sys.argv[1])
config = load_config(path)
daemon = build(config, load_lineup(config, path))

async def main():
    stop = asyncio.Event()
    running = asyncio.create_task(daemon.service.run(stop))
    while not any(reason.startswith("mqtt") for reason in daemon.board.health.reasons):
        assert not running.done()
        await asyncio.sleep(0.01)
    stop.set()
    await running

asyncio.run(main())
daemon.journal.close()
print(json.dumps(sorted(sys.modules)))
"""


def live_modules(folder: Path, dialect: str, symbol: str) -> set[str]:
    """Build a daemon from configuration and bundle, start and stop it; return what it imported."""
    bundle(folder / "model")
    config = folder / "config.toml"
    config.write_text(
        f"""
        mqtt.url = "mqtt://127.0.0.1:9"
        log.decisions = "decisions.jsonl"
        web.listen = "127.0.0.1:0"
        web.page = {str(chart_script() is not None).lower()}
        [exchanges.binance]
        dialect = "{dialect}"
        ws_url = "ws://127.0.0.1:9"
        rest_url = "http://127.0.0.1:9"
        [[streams]]
        exchange = "binance"
        symbols = ["{symbol}"]
        interval = "1h"
        bundle = "model"
        any_symbol = true
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", LIVE, str(config)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_live_process_has_no_pickle_reader_and_no_training_library(tmp_path: Path):
    """It imports none of them, and no library of an exchange that is not configured."""
    modules = live_modules(tmp_path, "binance-spot", "BTCUSDT")
    assert {"candled.service", "candled_adapters.feeds.feed", "numpy"} <= modules
    assert modules & FORBIDDEN == set()


def test_a_venue_of_ccxt_brings_ccxt_and_nothing_else_that_is_forbidden(tmp_path: Path):
    """The library is imported when a configuration asks for it."""
    pytest.importorskip("ccxt", reason="ccxt is an optional dependency")
    modules = live_modules(tmp_path, "ccxt:binance", "BTC-USDT")
    assert modules & FORBIDDEN == {"ccxt", "aiohttp"}
