"""The watch in a service: what is known of a stream is the lab's, live and after a restart."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from candled.board import Board
from candled.core.bar import Bars, Stream
from candled.core.decision import BarClosed, BarRevised, Source
from candled.core.engine import Engine, Lane
from candled.core.track import StreamDrift
from candled.driftwatch import Drifts, DriftWatch, newest_rows
from candled.journal import Journal, open_journal, open_reader
from candled.lab.drift import drift
from candled.ports import Act, Emit, FeedEvent, Hazard, History, Incident, Resume, ServiceState
from candled.service import Service
from candled.telling import Teller
from candles import HOURLY, bars_from_closes, candles, closes
from drifting import BTC, ETH, TOY, lane, train_answers, train_table
from fakes import FixedClock, until

SIZE = 100
FIRST = 50  # bars of history, which are not decided
SERIES = {BTC: 10, ETH: 11}


def series(stream: Stream, count: int = 600) -> Bars:
    return candles(count, seed=SERIES[stream])


def wild(count: int = 600, calm: int = 200) -> Bars:
    """Return bars of BTC that go on as no training bar did: moves of many times the size."""
    path = closes(count, SERIES[BTC])
    steps = np.diff(np.log(path))
    steps[calm - 1 :] *= 30.0
    path = np.exp(np.concatenate([[0.0], np.cumsum(steps)])) * path[0]
    return bars_from_closes(path, SERIES[BTC])


class Feed:
    """Reports what it is told to."""

    exchange = "binance"

    def __init__(self) -> None:
        self.clock = FixedClock(1_900_000_000_000)
        self.events: asyncio.Queue[list[FeedEvent]] = asyncio.Queue()

    async def run(self, resume: Sequence[Resume], emit: Emit) -> None:  # noqa: ARG002
        while True:
            await emit(await self.events.get())

    def bars(self, stream: Stream, first: int, last: int, of: Bars | None = None) -> None:
        """Report closed bars in one go."""
        rows = (of or series(stream))[first:last]
        self.events.put_nowait([BarClosed(stream, bar, Source.WS, 0, 0) for bar in rows])

    def listing(self, *streams: Stream) -> None:
        """Report the first bars that there are."""
        for stream in streams:
            self.events.put_nowait([History(stream, series(stream)[:FIRST], from_listing=True)])


@dataclasses.dataclass
class Run:
    """A service while it runs."""

    service: Service
    journal: Journal
    board: Board
    feed: Feed
    watch: DriftWatch
    incidents: list[Incident]

    async def known(self, stream: Stream, last: int, of: Bars | None = None) -> StreamDrift:
        """Wait until the newest row that counts is that of bar `last`; return what is known."""
        opened = int((of or series(stream)).open_time[last])
        watch = self.watch
        await until(lambda: (watch.drift(stream) or 0).bar_open == opened, what=f"bar {last}")
        found = watch.drift(stream)
        assert found is not None
        return found


def serve(
    folder: Path,
    during: Callable[[Run], Awaitable[None]],
    lanes: Sequence[Lane] = (),
    state: Path | None = None,
) -> None:
    """Run a service with a watch on the state in `folder`; stop it after `during`."""
    lanes = lanes or [lane(BTC), lane(ETH)]

    async def body() -> None:
        journal = open_journal(folder)
        try:
            board, stop, feed = Board(lambda: 0), asyncio.Event(), Feed()
            incidents: list[Incident] = []
            tell = Teller(board, incidents.append)
            watch = DriftWatch(lanes, state or folder, SIZE, tell, grace_s=0.0)
            service = Service(
                engine=Engine(lanes, on_rows=watch.on_rows),
                journal=journal,
                feeds=[feed],
                sinks=[],
                watchers=[watch],
                board=board,
                tell=tell,
            )
            running = asyncio.create_task(service.run(stop))
            watched = asyncio.ensure_future(
                during(Run(service, journal, board, feed, watch, incidents))
            )
            await asyncio.wait({running, watched}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await watched
            watched.cancel()
            stop.set()
            await asyncio.wait_for(running, 20)
            assert journal.position(watch.name) == 0  # it must hold nothing back
        finally:
            journal.close()

    asyncio.run(body())


def check(found: StreamDrift, bars: Bars, first: int, last: int) -> None:
    """Compare with the lab's figures over the rows of bars `first` to before `last`."""
    kind = lane()
    features = TOY.table(bars[:last], HOURLY)[first:last]
    sides = kind.model.probabilities(features)[:, 1:].astype(np.float64)
    expected = drift(train_table(), features)
    assert found.rows == last - first
    assert found.psi_median == np.median(expected.psi)
    assert found.worst[0].psi == expected.psi.max()
    assert found.psi_answers == drift(train_answers(), sides).psi.max()
    assert found.outside_share == pytest.approx(expected.novelty.mean(), rel=1e-12)


def offline(folder: Path, stream: Stream) -> StreamDrift | None:
    """Return what can be known from the journal alone."""
    drifts, kind = Drifts([lane(stream)], SIZE), lane(stream)
    with open_reader(folder) as reader:
        drifts.fill(stream, newest_rows(reader, stream, kind.model, drifts.wanted))
    return drifts.of(stream)


def test_live_restarted_and_offline_know_the_same(tmp_path: Path):
    """Bar by bar, in bursts, after a restart, and from the journal alone: the lab's figures."""
    before: list[StreamDrift] = []

    async def first(run: Run) -> None:
        run.feed.listing(BTC, ETH)
        for start in range(FIRST, FIRST + 70, 7):
            run.feed.bars(BTC, start, start + 7)
            run.feed.bars(ETH, start, start + 7)
        for stream in (BTC, ETH):
            check(await run.known(stream, FIRST + 69), series(stream), FIRST, FIRST + 70)
        run.feed.bars(ETH, FIRST + 70, FIRST + 200)  # far too many to take one by one
        run.feed.bars(BTC, FIRST + 70, FIRST + 71)
        before.append(await run.known(BTC, FIRST + 70))
        before.append(await run.known(ETH, FIRST + 199))
        check(before[0], series(BTC), FIRST, FIRST + 71)
        check(before[1], series(ETH), FIRST + 100, FIRST + 200)

    async def second(run: Run) -> None:
        for stream, last, known in ((BTC, 70, before[0]), (ETH, 199, before[1])):
            assert await run.known(stream, FIRST + last) == known
        run.feed.bars(BTC, FIRST + 71, FIRST + 74)
        check(await run.known(BTC, FIRST + 73), series(BTC), FIRST, FIRST + 74)

    serve(tmp_path, first)
    assert offline(tmp_path, ETH) == before[1]
    serve(tmp_path, second)


def test_a_revised_bar_changes_the_rows_behind_it(tmp_path: Path):
    """They are computed anew from the journal, as the corrected decisions were."""
    bars = series(BTC)[:160]
    at, factor = 150, 1.3
    changed = bars.close.copy()
    changed[at] *= factor
    high = np.maximum(bars.high, changed)
    revised = dataclasses.replace(bars, close=changed, high=high)

    async def during(run: Run) -> None:
        run.feed.listing(BTC)
        run.feed.bars(BTC, FIRST, 160)
        await run.known(BTC, 159)
        bar = revised.row(at)
        run.feed.events.put_nowait([BarRevised(BTC, bar, 0, 0)])
        table = drift(train_table(), TOY.table(revised, HOURLY)[60:160])
        await until(lambda: (run.watch.drift(BTC) or 0).psi_median == np.median(table.psi))
        check(await run.known(BTC, 159), revised, 60, 160)

    serve(tmp_path, during)


def test_people_are_told_once_that_a_stream_drifts_and_that_it_no_longer_does(tmp_path: Path):
    """An incident with the numbers, and a remark that stays and degrades nothing."""
    bars = wild()
    calm_again = bars_from_closes(
        np.concatenate([bars.close[:320], closes(280, SERIES[BTC])]), SERIES[BTC]
    )

    async def during(run: Run) -> None:
        run.feed.listing(BTC)
        for start in range(FIRST, 200, 10):
            run.feed.bars(BTC, start, start + 10, bars)
        quiet = await run.known(BTC, 199, bars)
        assert not quiet.flagged
        assert run.incidents == []
        for start in range(200, 320, 10):
            run.feed.bars(BTC, start, start + 10, bars)
            await run.known(BTC, start + 9, bars)
        found = await run.known(BTC, 319, bars)
        assert found.flagged
        (told,) = run.incidents
        assert (told.stream, told.hazard, told.act) == (BTC, Hazard.DRIFT, Act.FLAG)
        assert told.bar_open in bars.open_time[200:320]
        assert told.venue_ms == (told.bar_open or 0) + HOURLY.typical_ms
        (reason,) = [one for one in run.board.health.reasons if "drift" in one]
        assert reason == f"binance/BTCUSDT/1h drift: {told.text}"
        for start in range(320, 600, 10):
            run.feed.bars(BTC, start, start + 10, calm_again)
            await run.known(BTC, start + 9, calm_again)
        assert [one.text[:22] for one in run.incidents][1:] == ["the newest 100 rows lo"]
        assert not any("drift" in one for one in run.board.health.reasons)

    serve(tmp_path, during, [lane(BTC)])


def test_a_drifting_stream_is_known_as_such_after_a_restart(tmp_path: Path):
    """It is told again: a daemon that starts says how things are."""
    bars = wild()

    async def first(run: Run) -> None:
        run.feed.listing(BTC)
        run.feed.bars(BTC, FIRST, 320, bars)
        assert (await run.known(BTC, 319, bars)).flagged
        assert len(run.incidents) == 1

    async def second(run: Run) -> None:
        assert (await run.known(BTC, 319, bars)).flagged
        assert len(run.incidents) == 1
        assert run.board.health.state in ServiceState

    serve(tmp_path, first, [lane(BTC)])
    serve(tmp_path, second, [lane(BTC)])


def test_another_model_sees_the_same_rows_anew(tmp_path: Path):
    """After a swap the rows that the first model was asked about are compared for the second."""
    second = lane(BTC, digest="second")

    async def during(run: Run) -> None:
        run.feed.listing(BTC, ETH)
        run.feed.bars(BTC, FIRST, 130)
        await run.known(BTC, 129)
        await run.service.swap([second, lane(ETH)])
        run.feed.bars(BTC, 130, 131)
        run.feed.bars(ETH, FIRST, FIRST + 1)
        await until(lambda: (run.watch.drift(BTC) or 0).model_digest == "second")
        found = await run.known(BTC, 130)
        assert found.model_digest == "second"
        check(found, series(BTC), FIRST, 131)
        check(await run.known(ETH, FIRST), series(ETH), FIRST, FIRST + 1)

    serve(tmp_path, during)


def test_where_the_journal_cannot_be_read_the_rows_begin_with_the_next(tmp_path: Path):
    """What it knows is not worth the daemon: it goes on with what comes."""

    async def first(run: Run) -> None:
        run.feed.listing(BTC)
        run.feed.bars(BTC, FIRST, FIRST + 60)
        await until(lambda: run.journal.last_position == 60)

    async def second(run: Run) -> None:
        await until(lambda: not run.watch._stale)
        run.feed.bars(BTC, FIRST + 60, FIRST + 65)
        check(await run.known(BTC, FIRST + 64), series(BTC), FIRST + 60, FIRST + 65)

    serve(tmp_path / "state", first)
    serve(tmp_path / "state", second, state=tmp_path / "nowhere")


def test_before_anything_is_known_that_is_what_is_said(tmp_path: Path):
    """A watched stream has no rows; one that is not watched is not known."""
    watch = DriftWatch([lane(BTC)], tmp_path, SIZE, lambda _: None)
    found = watch.drift(BTC)
    assert found is not None
    assert (found.rows, found.psi_median, found.outside_share, found.flagged) == (
        0,
        None,
        None,
        False,
    )
    assert watch.drift(ETH) is None
