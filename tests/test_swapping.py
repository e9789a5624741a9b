"""Other models take over while bars go on closing: each slot is decided once, by one of them."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from candled.board import Board
from candled.core.bar import Bar, Bars, Stream
from candled.core.correction import differing
from candled.core.decision import BarClosed, BarRevised, Decision, Policy, Source
from candled.core.engine import Engine, Lane
from candled.journal import JournalError, open_journal, open_reader
from candled.ports import Act, Hazard, History, Incident
from candled.service import Service
from candled.swapping import SwapError
from fakes import FixedClock, until
from simulation.truth import THRESHOLD, bars_of, model, open_of, revised, streams_of
from test_service import RecordedFeed

SLOTS = 200
PAST = 12
STREAMS = streams_of(2)
POLICIES = (
    Policy(THRESHOLD),
    Policy(THRESHOLD, cooldown_bars=2),
    Policy(THRESHOLD, gap_mute_bars=3, valid_bars=2),
)


def lanes(version: int) -> list[Lane]:
    """Return how the streams are decided after so many swaps: another model, another policy."""
    policy = POLICIES[version % len(POLICIES)]
    return [Lane(stream, model(version), policy) for stream in STREAMS]


def engine_of(version: int) -> Engine:
    return Engine(lanes(version))


class Steps(ThreadPoolExecutor):
    """Runs what goes to another thread when it is told to, so that a test says what comes first."""

    def __init__(self) -> None:
        super().__init__(max_workers=1)
        self.jobs: deque[Callable[[], None]] = deque()

    def submit(self, work: Any, *args: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(work(*args, **named))
            except BaseException as error:  # noqa: BLE001 - it is the future's
                future.set_exception(error)

        self.jobs.append(run)
        return future

    def step(self) -> bool:
        """Do the next one; return whether there was one."""
        if not self.jobs:
            return False
        self.jobs.popleft()()
        return True


class Life:
    """A journal, the services that have had it, and what the venue says by now."""

    def __init__(self, folder: Path, seed: int, gaps: Sequence[int]) -> None:
        self.folder = folder
        self.truth = {stream: bars_of(seed, at, SLOTS, gaps) for at, stream in enumerate(STREAMS)}
        self.known: dict[Stream, dict[int, Bar]] = {stream: {} for stream in STREAMS}
        self.slot = PAST
        self.version = 0
        """What the files say."""
        self.told: list[Incident] = []
        self.untouched: dict[str, Decision] = {}
        """Decisions that must stay as they are, since what made them is gone."""
        self.swapping: asyncio.Task[None] | None = None
        self.steps = Steps()

    async def begin(self) -> None:
        asyncio.get_running_loop().set_default_executor(self.steps)
        self._start()
        for stream in STREAMS:
            past = [bar for slot, bar in self.truth[stream].items() if slot < PAST]
            await self._put(History(stream, self._seen(stream, past), from_listing=True))
        await self._quiet()

    def _start(self) -> None:
        self.journal = open_journal(self.folder)
        feed = RecordedFeed()
        feed.exchange, feed.clock = "sim", FixedClock(open_of(SLOTS))
        self.service = Service(
            engine=engine_of(self.version),
            journal=self.journal,
            feeds=[feed],
            sinks=[],
            board=Board(lambda: 0),
            tell=self.told.append,
        )
        self.service._recover()
        do, self.service._revise = self.service._revise, self._revising  # type: ignore[method-assign]
        self._do_revise = do
        self.decider = asyncio.create_task(self.service._decide_for_ever())

    def _seen(self, stream: Stream, bars: Sequence[Bar]) -> Bars:
        self.known[stream] |= {bar.open_time: bar for bar in bars}
        return Bars.of(bars)

    async def _put(self, *events: Any) -> None:
        await self.service._inbox.put(events)

    async def settle(self) -> None:
        """Let everything be decided that can be."""
        for _ in range(12):
            await asyncio.sleep(0)
            if self.decider.done():
                self.decider.result()

    # --- what happens

    async def bars(self, count: int) -> None:
        """Let bars close, in turn."""
        for _ in range(count):
            for stream in STREAMS:
                if bar := self.truth[stream].get(self.slot):
                    self._seen(stream, [bar])
                    await self._put(BarClosed(stream, bar, Source.WS, 1, bar.close_time + 9))
            self.slot += 1

    async def revise(self, back: int) -> None:
        """Let the venue say another thing of a bar, once all is decided."""
        await self._quiet()
        stream = STREAMS[back % 2]
        known = self.known[stream]
        opened = sorted(known)[-1 - min(back, len(known) - 1)]
        told = revised(known[opened], random.Random(back))
        known[opened] = told
        await self._put(BarRevised(stream, told, 1, told.close_time + 99))

    def _revising(self, event: BarRevised) -> None:
        """Note which decisions must stay as they are, at the moment when a revision is handled."""
        stream, opened = event.stream, event.bar.open_time
        present = self.service._engine._places[stream][0].model.digest
        newest = {made.bar_open: made for made in self.decisions() if made.stream == stream}
        for made in newest.values():
            if made.bar_open >= opened and made.model_digest != present:
                self.untouched[made.id] = made
        self._do_revise(event)

    async def anew(self, lost: int) -> None:
        """Lose some bars, and begin with the ones that follow."""
        await self._quiet()
        start = self.slot + lost
        self.slot = start + 3
        for stream in STREAMS:
            found = [self.truth[stream].get(slot) for slot in range(start, self.slot)]
            bars = self._seen(stream, [bar for bar in found if bar])
            await self._put(History(stream, bars, from_listing=False))
        await self._quiet()

    async def swap(self, _: int) -> None:
        """Let the files change, and ask for them."""
        if self.swapping is None:
            self.version += 1
            self.swapping = asyncio.create_task(self.service.swap(lanes(self.version)))

    async def step(self, count: int) -> None:
        """Let the other thread go on."""
        for _ in range(count):
            self.steps.step()
            await self.settle()
            if self.swapping and self.swapping.done():
                self.swapping.result()
                self.swapping = None

    async def crash(self, _: int) -> None:
        """End here and now, whatever was going on, and start again with what the files say."""
        for task in filter(None, (self.swapping, self.decider)):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.swapping = None
        self.steps.jobs.clear()
        self.journal.close()
        self._start()
        await self._put(*self._take_up())

    def _take_up(self) -> list[BarRevised | BarClosed]:
        """Return what a feed tells after a restart: what history shows otherwise, and what came."""
        told: list[BarRevised | BarClosed] = []
        for stream, known in self.known.items():
            stored = {bar.open_time: bar for bar in self.journal.bars(stream, SLOTS)}
            for at, bar in sorted(known.items()):
                if at in stored and stored[at] != bar:
                    told.append(BarRevised(stream, bar, 1, bar.close_time + 99))
                elif at not in stored:
                    told.append(BarClosed(stream, bar, Source.BACKFILL, 1, bar.close_time + 9))
        return told

    async def _quiet(self) -> None:
        """Let nothing wait; a swap that holds the decider must let go first."""
        while not self.service._inbox._idle.is_set():
            await self.settle()
            if not self.service._inbox._idle.is_set():
                await self.step(1)

    async def end(self) -> None:
        while self.swapping:
            await self.step(1)
        enough = {stream: len(known) + 2 for stream, known in self.known.items()}
        while any(len(self.known[stream]) < count for stream, count in enough.items()):
            assert self.slot < SLOTS
            await self.bars(1)  # it may never have been
        await self._quiet()
        self.decider.cancel()

    # --- what must hold

    def decisions(self) -> list[Decision]:
        """Return all decisions as they were made."""
        return [entry.decision for entry in self.journal.after(0, 100_000)]

    def judge(self) -> None:
        self.journal = open_journal(self.folder)
        made = self.decisions()
        self.journal.close()
        digests = [model(version).digest for version in range(self.version + 1)]
        with open_reader(self.folder) as reader:
            stored = {stream: reader.bars(stream) for stream in STREAMS}
        for stream in STREAMS:
            own = [one for one in made if one.stream == stream]
            firsts = [one for one in own if one.revision == 0]
            slots = [one.bar_open for one in firsts]
            assert slots == sorted(set(slots)), "each slot once, in order"
            order = [digests.index(one.model_digest) for one in firsts]
            assert order == sorted(order), "never back to an older model"
            assert order[-1] == self.version, "the newest decide in the end"
            assert list(stored[stream]) == [
                self.known[stream][at] for at in sorted(self.known[stream])
            ]
            self._judge_newest(stream, stored[stream], own)

    def _judge_newest(self, stream: Stream, bars: Bars, own: Sequence[Decision]) -> None:
        newest = {one.bar_open: one for one in own}
        for version in range(self.version + 1):
            again = batch(stream, bars, version)
            for at, one in newest.items():
                if one.model_digest != model(version).digest:
                    continue
                if one.id in self.untouched:
                    assert one == self.untouched[one.id], "left alone"
                else:
                    assert not differing(one, again[at]), (version, at)


def batch(stream: Stream, bars: Bars, version: int) -> dict[int, Decision]:
    """Decide all bars of a stream at once."""
    engine = engine_of(version)
    engine.warm(stream, bars[:1], from_listing=True)
    return {one.bar_open: one for block in engine.replay(stream, bars[1:]) for one in block}


def lived(
    body: Callable[[Life], Coroutine[Any, Any, None]], seed: int, gaps: Sequence[int]
) -> None:
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        life = Life(Path(folder), seed, gaps)
        try:
            asyncio.run(asyncio.wait_for(body(life), 20))
        finally:
            life.journal.close()
        life.judge()


OPERATIONS = st.one_of(
    st.tuples(st.just("bars"), st.integers(1, 5)),
    st.tuples(st.just("bars"), st.integers(1, 5)),
    st.tuples(st.just("settle"), st.none()),
    st.tuples(st.just("revise"), st.integers(0, 9)),
    st.tuples(st.just("anew"), st.integers(0, 2)),
    st.tuples(st.just("swap"), st.just(0)),
    st.tuples(st.just("step"), st.integers(1, 3)),
    st.tuples(st.just("crash"), st.just(0)),
)
DURING = [("swap", 0), ("settle", None), ("bars", 2), ("settle", None)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, 3),
    st.lists(st.integers(14, 40), max_size=2),
    st.lists(OPERATIONS, min_size=4, max_size=18),
)
@example(0, [17, 18], [("settle", None), ("anew", 2)])
@example(0, [], [("bars", 3), *DURING, ("step", 3), ("bars", 2)])
@example(1, [], [*DURING, ("revise", 1), ("step", 1), ("bars", 1), ("step", 2)])
@example(2, [15], [*DURING, ("step", 1), ("anew", 1), ("bars", 1), ("step", 2), ("bars", 2)])
@example(0, [], [*DURING, ("step", 1), ("bars", 2), ("crash", 0), ("bars", 3), ("revise", 4)])
@example(0, [], [("bars", 4), ("swap", 0), ("step", 3), ("crash", 0), ("bars", 2), ("swap", 0)])
def test_whatever_happens_meanwhile_old_decides_up_to_the_swap_and_new_after_it(seed, gaps, does):
    """Live with swaps is batch of the old model before, and of the new one after.

    Bars that close, bars that are revised, streams that begin anew and a crash may come at any
    step of a swap. What rests on a revised bar and was decided by a model that is gone stays.
    """

    async def body(life: Life) -> None:
        await life.begin()
        for name, argument in does:
            do = getattr(life, name)
            await (do() if argument is None else do(argument))
        await life.end()

    lived(body, seed, gaps)


def test_bars_that_close_meanwhile_are_decided_by_the_old_model_at_once():
    """A swap holds nobody back until its last step, and then only for what the new one lacks."""

    async def body(life: Life) -> None:
        await life.begin()
        await life.swap(0)
        await life.bars(3)
        await life.settle()
        assert [one.model for one in life.decisions()] == ["simulated-0"] * 6
        await life.step(1)  # the engine is made; its last bars hold the decider
        await life.bars(1)
        await life.settle()
        assert len(life.decisions()) == 6
        await life.step(1)
        await life.settle()
        assert [one.model for one in life.decisions()][6:] == ["simulated-1"] * 2
        await life.end()

    lived(body, 3, [])


def test_what_other_models_decided_is_left_alone_when_a_bar_is_revised_and_people_are_told():
    """A correction by a model that did not decide would be a lie; the incident counts them."""

    async def body(life: Life) -> None:
        await life.begin()
        await life.bars(4)
        await life.settle()
        await life.swap(0)
        await life.step(3)
        await life.bars(2)
        await life.revise(6)
        await life.settle()
        flagged = [one for one in life.told if one.hazard is Hazard.REVISED_BAR]
        assert [one.act for one in flagged] == [Act.FLAG]
        assert "decision(s) by another model or policy rest on the revised bar" in flagged[0].text
        count = int(flagged[0].text.split()[0])
        old = [one for one in life.untouched.values() if one.revision == 0]
        assert count == len(old) > 1
        await life.end()

    lived(body, 1, [])


def test_who_looks_on_sees_the_new_engine_decide_and_not_how_it_caught_up():
    """Each row that was decided on is shown once, by the model that decided it."""

    async def body(life: Life) -> None:
        await life.begin()
        shown: list[tuple[str, int]] = []
        life.service._engine.on_rows = lambda model, made, rows: shown.extend(
            (model.digest, one.bar_open) for one in made[: len(rows)]
        )
        await life.bars(2)
        await life.settle()
        await life.swap(0)
        await life.bars(2)
        await life.settle()
        await life.step(3)
        await life.bars(2)
        await life.settle()
        asked = [(one.model_digest, one.bar_open) for one in life.decisions() if one.probabilities]
        assert sorted(shown) == sorted(asked)
        assert {digest for digest, _ in shown} == {model(0).digest, model(1).digest}
        await life.end()

    lived(body, 3, [])


def test_bars_that_never_become_few_hold_the_decider_in_the_end(monkeypatch: pytest.MonkeyPatch):
    """A pace faster than the other thread cannot put a swap off for ever."""
    monkeypatch.setattr("candled.swapping._FEW", 1)

    async def body(life: Life) -> None:
        await life.begin()
        await life.swap(0)
        steps = 0
        while life.swapping:
            await life.bars(1)
            await life.step(1)
            steps += 1
        assert steps <= 12
        await life.end()

    lived(body, 2, [])


def test_a_model_that_needs_more_history_than_there_is_waits_for_a_restart(tmp_path: Path):
    """The refusal names each stream, what it lacks and the mend; the old model goes on."""
    stream = STREAMS[0]
    bars = Bars.of(list(bars_of(1, 0, 800, ()).values()))

    async def body() -> None:
        journal = open_journal(tmp_path)
        feed = RecordedFeed([History(stream, bars[:790], from_listing=False)])
        feed.exchange = "sim"
        board = Board(lambda: 0)
        service = Service(
            engine=Engine([Lane(stream, model(0), Policy(THRESHOLD))]),
            journal=journal, feeds=[feed], sinks=[], board=board, tell=lambda _: None,
        )  # fmt: skip
        stop = asyncio.Event()
        running = asyncio.create_task(service.run(stop))
        await until(lambda: len(journal.bars(stream, 900)) == 790)
        engine = service._engine
        with pytest.raises(SwapError) as refused:
            await service.swap([Lane(stream, model(1), Policy(THRESHOLD, cooldown_bars=900))])
        need = engine.history(stream) + 900
        assert str(refused.value) == (
            f"sim/AAA/1m: needs {need} bars of history, the journal has 790 of it; "
            "restart candled, which asks the venue for them"
        )
        assert service._engine is engine
        assert service._news is None
        await service.swap([Lane(stream, model(1), Policy(THRESHOLD, cooldown_bars=2))])
        assert service._engine is not engine
        assert service._needs[stream] == engine.history(stream) + 2
        stop.set()
        await running
        journal.close()

    asyncio.run(body())


def test_the_bars_of_a_running_journal_are_read_as_of_one_moment(tmp_path: Path):
    """A decision that is stored between two questions of a reader is not taken for damage."""
    stream = STREAMS[0]
    bars = list(bars_of(1, 0, 30, ()).values())
    engine = Engine([Lane(stream, model(0), Policy(THRESHOLD))])
    journal = open_journal(tmp_path)
    journal.store_history(stream, Bars.of(bars[:8]), from_listing=True)
    engine.warm(stream, Bars.of(bars[:8]), from_listing=True)

    def close(bar: Bar) -> None:
        batch = [BarClosed(stream, bar, Source.WS, 1, 1)]
        journal.commit(batch, engine.decide(batch), [1])

    close(bars[8])
    with open_reader(tmp_path) as reader:
        ask, later = reader.rows, iter(bars[9:])

        def rows(sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            found = ask(sql, values)
            if "FROM bars" in sql:
                close(next(later))
            return found

        reader.rows = rows  # type: ignore[method-assign]
        for _ in range(3):
            newest = journal.latest()[-1].decision.bar_open
            assert int(reader.newest_bars(stream, 5).open_time[-1]) == newest
        assert newest > bars[8].open_time
    journal.close()
    with pytest.raises(JournalError):  # its checks are still made
        _lose_a_bar(tmp_path, stream)


def _lose_a_bar(folder: Path, stream: Stream) -> None:
    import sqlite3  # noqa: PLC0415

    with sqlite3.connect(folder / "candled.journal") as db:
        db.execute("DELETE FROM bars WHERE open_time = ?", (open_of(9),))
    with open_reader(folder) as reader:
        reader.bars(stream)
