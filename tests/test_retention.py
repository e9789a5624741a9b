"""What a journal removes, and that nobody misses it.

Against a model that does the same by looking at everything, through any history of bars,
corrections, marks and restarts.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from candled.core.bar import HOUR, Bar, Bars, Stream
from candled.core.correction import correction
from candled.core.decision import BarRevised, Side
from candled.journal import (
    Housekeeper,
    Journal,
    open_journal,
    pruning,
)
from candled.ports import Entry, History
from fakes import until
from journals import BTC, ETH, FILE, START, bar, closed, commit, decided, opened
from models import lane
from test_service import HISTORY as HISTORY_OF_MODEL
from test_service import RecordedFeed, Run, alone, of, series, serve
from test_service import closed as closed_bar
from test_verification import FIRST, Daemon

SINKS = ("mqtt", "log")
HISTORY = {BTC: 3, ETH: 5}
REVISABLE = 4
KEEP_HOURS = 6


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let little be kept, and little be removed at a time."""
    monkeypatch.setattr(pruning, "REVISABLE", REVISABLE)
    monkeypatch.setattr(pruning, "STEP", 3)


def prune(
    journal: Journal,
    *sinks: str,
    keep_hours: int = KEEP_HOURS,
    history: Mapping[Stream, int] = HISTORY,
) -> int:
    """Remove all that may go; return how many rows went."""
    removed = 0
    with journal.pruning(keep_hours * HOUR, sinks or SINKS, history) as (streams, step):
        for stream in streams:
            while rows := step(stream):
                removed += rows
    return removed


def hours(bars: Bars) -> list[int]:
    return ((bars.open_time - START) // HOUR).tolist()


class Model:
    """The journal's twin, which keeps everything and says what must be left."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.bars: dict[Stream, dict[int, Bar]] = {BTC: {}, ETH: {}}
        self.marks = dict.fromkeys(SINKS, 0)
        self.first: dict[Stream, int] = {BTC: 0, ETH: 0}
        """Position before which a stream has nothing left."""
        self.first_bar: dict[Stream, int] = {BTC: 0, ETH: 0}

    def of(self, stream: Stream) -> list[Entry]:
        return [e for e in self.entries if e.decision.stream == stream]

    def kept(self, stream: Stream) -> list[Entry]:
        return [e for e in self.of(stream) if e.position >= self.first[stream]]

    def kept_bars(self, stream: Stream) -> list[Bar]:
        bars = self.bars[stream]
        return [bars[at] for at in sorted(bars) if at >= self.first_bar[stream]]

    def newest_decision(self, stream: Stream, bar_open: int) -> Entry | None:
        found = [e for e in self.kept(stream) if e.decision.bar_open == bar_open]
        return found[-1] if found else None

    def latest(self) -> list[Entry]:
        found = {}
        for stream in (BTC, ETH):
            mine = self.of(stream)
            if mine:
                of_newest = max(mine, key=lambda e: (e.decision.bar_open, e.position))
                found |= {e.position: e for e in (mine[-1], of_newest)}
        return [found[position] for position in sorted(found)]

    def prune(self, keep_hours: int = KEEP_HOURS) -> None:
        for stream in (BTC, ETH):
            times = sorted(self.bars[stream])
            if len([at for at in times if at >= self.first_bar[stream]]) < REVISABLE:
                continue
            cut = min(times[-1] - keep_hours * HOUR, times[-REVISABLE])
            stay = [e.position for e in self.kept(stream) if e.decision.bar_open >= cut]
            stay += [e.position for e in self.latest() if e.decision.stream == stream]
            end = min([min(self.marks.values()) + 1, *stay])
            if self.of(stream):
                self.first[stream] = max(self.first[stream], end)
            start = min([cut, *(e.decision.bar_open for e in self.kept(stream))])
            before = [bar.open_time for bar in self.kept_bars(stream) if bar.open_time < start]
            if len(before) > HISTORY[stream]:
                self.first_bar[stream] = before[-HISTORY[stream]]

    def check(self, journal: Journal) -> None:
        for sink, mark in self.marks.items():
            assert journal.position(sink) == mark
            assert journal.after(mark, 10_000) == [e for e in self.entries if e.position > mark]
        left = sorted((*self.kept(BTC), *self.kept(ETH)), key=lambda e: e.position)
        journal._tail.clear()
        assert journal.after(0, 10_000) == left
        assert journal.latest() == self.latest()
        assert journal.last_position == len(self.entries)
        for stream in (BTC, ETH):
            signals = [e for e in self.kept(stream) if e.seq]
            assert journal.signals(stream, 0, 10_000) == signals
            seqs = [e.seq for e in signals]
            assert journal.signals_kept(stream) == ((seqs[0], seqs[-1]) if seqs else None)
            assert seqs == list(range(seqs[0], seqs[-1] + 1)) if seqs else True
            bars = [self.bars[stream][at] for at in sorted(self.bars[stream])]
            assert repr(list(journal.bars(stream, 10_000))) == repr(self.kept_bars(stream))
            needed = HISTORY[stream]
            assert repr(list(journal.bars(stream, needed))) == repr(bars[-needed:])


ACTIONS = st.one_of(
    st.tuples(
        st.just("bars"), st.sampled_from([BTC, ETH]),
        st.lists(st.sampled_from(list(Side)), min_size=1, max_size=9), st.integers(0, 3),
    ),
    st.tuples(
        st.just("revise"), st.sampled_from([BTC, ETH]), st.integers(0, REVISABLE - 1),
        st.lists(st.sampled_from(list(Side)), min_size=1, max_size=REVISABLE),
    ),
    st.tuples(st.just("mark"), st.sampled_from(SINKS), st.integers(0, 20)),
    st.tuples(st.just("prune"), st.sampled_from([KEEP_HOURS, KEEP_HOURS, 1, 3 * KEEP_HOURS])),
    st.tuples(st.sampled_from(["restart", "interrupted"])),
)  # fmt: skip


def act(journal: Journal, model: Model, number: int, action: tuple) -> None:
    """Do to a journal and its model the same."""
    match action:
        case ("bars", stream, sides, gap):
            last = max(model.bars[stream], default=START - HOUR)
            first = (last - START) // HOUR + 1 + gap
            model.entries += commit(journal, *((stream, first + n, s) for n, s in enumerate(sides)))
            for hour in range(first, first + len(sides)):
                model.bars[stream][START + hour * HOUR] = bar(hour)
        case ("revise", stream, back, sides):
            revise(journal, model, (stream, back, sides), 200 + number / 7)
        case ("mark", sink, ahead):
            model.marks[sink] = min(model.marks[sink] + ahead, len(model.entries))
            journal.mark(sink, model.marks[sink])
        case ("prune", keep_hours):
            prune(journal, keep_hours=keep_hours)
            model.prune(keep_hours)


def revise(
    journal: Journal, model: Model, what: tuple[Stream, int, list[Side]], close: float
) -> None:
    """Let one of the newest bars be another one, and its decision and the next ones follow.

    As many as there are sides; those that say what they said before are not corrected.
    """
    stream, back, sides = what
    times = sorted(model.bars[stream])[::-1]
    if back >= len(times):
        return
    now = dataclasses.replace(model.bars[stream][times[back]], close=close)
    told = BarRevised(stream, now, 5, 6)
    affected = journal.affected(told, HISTORY[stream])
    assert affected is not None
    wanted = {at for at in times[: back + 1] if model.newest_decision(stream, at)}
    assert affected.entries.keys() == wanted
    earlier = sorted(model.bars[stream])[-HISTORY[stream] - back - 1 : -back - 1]
    assert affected.past.open_time.tolist() == earlier
    made = []
    for at, side in zip(times[back::-1], sides, strict=False):
        last = model.newest_decision(stream, at)
        assert last is not None
        hour = (at - START) // HOUR
        made.append(correction(decided(closed(stream, hour), side), last.decision, last.seq))
    model.entries += journal.revise(told, affected.bar, [one for one in made if one], 7)
    model.bars[stream][times[back]] = now


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(actions=st.lists(ACTIONS, min_size=5, max_size=40))
def test_nobody_misses_what_was_removed(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple]
):
    """Whatever happens in whatever order, exactly what is old, delivered and unneeded goes.

    What is not delivered is there in order, signals have no hole above the first that is kept, the
    windows are what they were, a recent bar can be revised; also after a restart, and after a step
    that was interrupted.
    """
    folder = tmp_path_factory.mktemp("journal")
    model = Model()
    journal = open_journal(folder)
    try:
        for number, action in enumerate(actions):
            if action == ("restart",):
                journal.close()
                journal = open_journal(folder)
            elif action == ("interrupted",):
                interrupt(journal, model)
                journal.close()
                journal = open_journal(folder)
                act(journal, model, number, ("prune", KEEP_HOURS))
            else:
                act(journal, model, number, action)
            model.check(journal)
        prune(journal)
        model.prune()
        assert prune(journal) == 0
        model.check(journal)
    finally:
        journal.close()


def interrupt(journal: Journal, model: Model) -> None:
    """Take a single step, as when the process dies after it: what is left has no hole."""
    with journal.pruning(KEEP_HOURS * HOUR, SINKS, HISTORY) as (streams, step):
        for stream in streams[:1]:
            step(stream)
    journal._tail.clear()
    left = journal.after(0, 10_000)
    for stream in (BTC, ETH):
        all_of = model.of(stream)
        mine = [e for e in left if e.decision.stream == stream]
        assert mine == all_of[len(all_of) - len(mine) :]
        assert journal.signals(stream, 0, 10_000) == [e for e in mine if e.seq]


def test_a_sink_that_is_no_longer_configured_holds_nothing_back(tmp_path: Path):
    """Only marks of configured sinks count; one that never delivered holds everything."""
    with opened(tmp_path) as journal:
        commit(journal, *((BTC, hour, Side.LONG) for hour in range(30)))
        journal.mark("mqtt", 30)
        journal.mark("gone", 2)
        assert prune(journal, "mqtt", "new") == 0
        assert prune(journal, "mqtt") > 0
        assert journal.signals_kept(BTC) == (24, 30)  # 6 hours before the newest and itself
        assert hours(journal.bars(BTC, 99)) == list(range(20, 30))


def test_a_stream_whose_first_bars_are_gone_no_longer_begins_with_its_listing(tmp_path: Path):
    """Only while its first bar is there; also after a restart, and in what follows."""
    with opened(tmp_path) as journal:
        journal.store_history(BTC, Bars.of([bar(hour) for hour in range(4)]), from_listing=True)
        commit(journal, *((BTC, hour, Side.LONG) for hour in range(4, 12)))
        journal.mark("mqtt", 8)
        assert prune(journal, "mqtt", history={BTC: 9}) == 1  # a decision, no bar
        assert journal.from_listing(BTC)
        assert prune(journal, "mqtt") > 0
        assert not journal.from_listing(BTC)
        commit(journal, (BTC, 12, Side.LONG))
    with opened(tmp_path) as journal:
        assert not journal.from_listing(BTC)


def test_a_stream_that_is_no_longer_served_keeps_what_it_would_need(tmp_path: Path):
    """It may be served again: as many bars stay as the longest history of those that are."""
    with opened(tmp_path) as journal:
        commit(journal, *((ETH, hour, Side.LONG) for hour in range(40)))
        journal.mark("mqtt", 40)
        prune(journal, "mqtt", history={BTC: 11})
        assert len(journal.bars(ETH, 99)) == KEEP_HOURS + 1 + 11


def test_a_commit_waits_for_no_more_than_a_step(tmp_path: Path):
    """While rows go in another thread commits go on, and both are whole afterwards."""
    with opened(tmp_path) as journal:
        for first in range(0, 600, 100):
            commit(journal, *((BTC, hour, Side.LONG) for hour in range(first, first + 100)))
        journal.mark("mqtt", 600)
        thread = threading.Thread(target=prune, args=(journal, "mqtt"))
        thread.start()
        during = 0
        for hour in range(600, 2_000):
            commit(journal, (BTC, hour, Side.LONG))
            during += thread.is_alive()
            if not thread.is_alive():
                break
        thread.join()
        assert during > 3
        journal._tail.clear()
        seqs = [e.seq or 0 for e in journal.signals(BTC, 0, 9_999)]
        assert 594 <= seqs[0] <= hour - KEEP_HOURS
        assert seqs == list(range(seqs[0], hour + 2))


def test_removed_rows_make_room_for_new_ones(tmp_path: Path):
    """A journal that is pruned stops growing: what goes makes room for what comes."""
    with opened(tmp_path) as journal:
        sizes = []
        for first in range(0, 2_400, 100):
            commit(journal, *((BTC, hour, Side.LONG) for hour in range(first, first + 100)))
            journal.mark("mqtt", first + 100)
            prune(journal, "mqtt", keep_hours=200)
            journal.checkpoint()
            sizes.append((tmp_path / FILE).stat().st_size)
        assert max(sizes[6:]) <= 1.1 * sizes[5]


# --- the housekeeper


def keep_house(journal: Journal, keep_hours: int | None) -> Housekeeper:
    said: list[tuple[str, str | None]] = []
    return Housekeeper(
        journal,
        lambda part, problem: said.append((part, problem)),
        sinks=["mqtt"],
        history=HISTORY,
        keep_ms=None if keep_hours is None else keep_hours * HOUR,
    )


@pytest.mark.parametrize("keep_hours", [None, KEEP_HOURS])
def test_the_housekeeper_prunes_after_the_journal_grew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_hours: int | None
):
    """A moment after new decisions, old ones go; or none, when all is to be kept for ever."""
    monkeypatch.setattr("candled.journal.housekeeping._PAUSE_S", 0.01)

    async def body() -> None:
        with opened(tmp_path) as journal:
            keeping = asyncio.create_task(keep_house(journal, keep_hours).run())
            await asyncio.sleep(0.01)  # it begins with what is there
            commit(journal, *((BTC, hour, Side.LONG) for hour in range(30)))
            journal.mark("mqtt", 30)
            if keep_hours is None:
                await until(lambda: (tmp_path / FILE).stat().st_size > 30_000)  # it was tidied
                assert journal.signals_kept(BTC) == (1, 30)
            else:
                await until(lambda: journal.signals_kept(BTC) == (24, 30))
                await until(lambda: len(journal.bars(BTC, 99)) == 10)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    asyncio.run(body())


# --- who rests on it


def test_what_is_left_can_be_decided_again(tmp_path: Path):
    """`verify --live` compares every decision that is kept: the bars behind it are kept too."""
    running = Daemon(tmp_path)
    try:
        running.journal.mark("mqtt", 60)
        with running.journal.pruning(KEEP_HOURS * HOUR, ["mqtt"], {BTC: FIRST, ETH: FIRST}) as (
            streams,
            step,
        ):
            for stream in streams:
                while step(stream):
                    pass
        text, ok = running.verify()
        assert ok
        assert text.splitlines() == [
            "binance/BTCUSDT/1h: 7 decisions, 7 compared, 0 differ, 0 of them in their side",
            "binance/ETHUSDT/1h: 7 decisions, 7 compared, 0 differ, 0 of them in their side",
            "ok: 2 streams, 14 decisions, 14 made again, 0 differ, 0 could not be made again",
        ]
        assert len(running.journal.bars(BTC, 9_999)) == FIRST + 7
    finally:
        running.journal.close()


def test_a_service_goes_on_after_pruning_as_if_nothing_had_gone(tmp_path: Path):
    """Its windows after a restart give the same decisions, though the listing's bars are gone."""
    spare = 30
    listed = History(BTC, series(BTC)[:HISTORY_OF_MODEL], from_listing=True)
    bars = [closed_bar(BTC, one) for one in series(BTC)[HISTORY_OF_MODEL:]]
    wanted = alone(lane(BTC), HISTORY_OF_MODEL, HISTORY_OF_MODEL + len(bars))

    async def tidy(run: Run) -> None:
        await run.decided(spare)
        run.journal.mark("mqtt", spare)
        removed = prune(run.journal, "mqtt", history={BTC: HISTORY_OF_MODEL})
        assert removed > spare / 2
        assert not run.journal.from_listing(BTC)

    serve(tmp_path, RecordedFeed([listed, *bars[:spare]]), during=tidy, lanes=[lane(BTC)])
    feed = RecordedFeed(bars[spare:])
    serve(tmp_path, feed, during=lambda run: run.decided(len(bars)), lanes=[lane(BTC)])
    assert feed.resumes[0].history == 0
    with opened(tmp_path) as journal:
        kept = of(journal.after(0, 9_999), BTC)
    assert kept == wanted[-len(kept) :]
    assert len(kept) > len(bars) - spare


@pytest.mark.parametrize("count", [REVISABLE - 1, REVISABLE])
def test_a_step_never_leaves_a_hole_among_signals(tmp_path: Path, count: int):
    """A correction is younger than its bar: it goes when all before it went, not with its bar."""
    with opened(tmp_path) as journal:
        model = Model()
        act(journal, model, 0, ("bars", BTC, [Side.LONG] * count, 0))
        act(journal, model, 1, ("revise", BTC, count - 1, [Side.SHORT]))
        act(journal, model, 2, ("bars", BTC, [Side.LONG] * 20, 0))
        for sink in SINKS:
            act(journal, model, 3, ("mark", sink, 99))
        for _ in range(12):
            interrupt(journal, model)
        prune(journal)
        model.prune()
        model.check(journal)


def test_many_corrections_at_once_hold_nothing_back(tmp_path: Path):
    """More corrections than go in one step, of bars whose first decisions are gone, end no pruning.

    They wait for the decisions between, which are about later bars and were made before.
    """
    with opened(tmp_path) as journal:
        model = Model()
        act(journal, model, 0, ("bars", BTC, [Side.LONG] * (pruning.STEP + 1), 0))
        act(journal, model, 1, ("revise", BTC, pruning.STEP, [Side.SHORT] * pruning.STEP))
        act(journal, model, 2, ("bars", BTC, [Side.LONG] * 20, 0))
        for sink in SINKS:
            act(journal, model, 3, ("mark", sink, 99))
        act(journal, model, 4, ("prune", KEEP_HOURS))
        model.check(journal)
        assert [e.decision.revision for e in journal.after(0, 99)] == [0] * (KEEP_HOURS + 1)


def test_one_revision_of_an_old_bar_does_not_end_pruning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As it is outside tests: all that rests on the oldest bar that may be revised is corrected."""
    monkeypatch.undo()
    assert (pruning.REVISABLE, pruning.STEP) == (256, 50)
    count = pruning.REVISABLE
    with opened(tmp_path) as journal:
        model = Model()
        act(journal, model, 0, ("bars", BTC, [Side.LONG] * count, 0))
        act(journal, model, 1, ("revise", BTC, count - 1, [Side.SHORT] * count))
        act(journal, model, 2, ("bars", BTC, [Side.LONG] * count, 0))
        journal.mark("mqtt", 3 * count)
        assert prune(journal, "mqtt") > 2 * count
        assert journal.signals_kept(BTC) == (2 * count + 1, 3 * count)
        assert len(journal.bars(BTC, 999)) == count + HISTORY[BTC]


def test_keeping_more_than_before_makes_no_hole(tmp_path: Path):
    """What is left of bars that are not old any more holds back what was made after it."""
    with opened(tmp_path) as journal:
        model = Model()
        act(journal, model, 0, ("bars", BTC, [Side.LONG] * 4, 0))
        act(journal, model, 1, ("revise", BTC, 3, [Side.SHORT] * 3))
        act(journal, model, 2, ("bars", BTC, [Side.LONG] * 6, 0))
        for sink in SINKS:
            act(journal, model, 3, ("mark", sink, 99))
        for keep_hours in (6, 7, 8, 9, 1, 9, 2):
            act(journal, model, 4, ("prune", keep_hours))
            model.check(journal)


def test_decisions_that_a_revision_may_touch_stay_however_old(tmp_path: Path):
    """Of a stream with few bars in a long time the newest stay, with what they rest on."""
    with opened(tmp_path) as journal:
        commit(journal, *((BTC, hour, Side.LONG) for hour in range(0, 200, 10)))
        journal.mark("mqtt", 20)
        assert prune(journal, "mqtt") > 0
        assert journal.signals_kept(BTC) == (21 - REVISABLE, 20)
        assert hours(journal.bars(BTC, 99)) == list(range(130, 200, 10))


def test_the_latest_decision_stays_when_newer_bars_are_not_decided(tmp_path: Path):
    """A stream that began anew keeps its newest decision, and that of its newest decided bar."""
    with opened(tmp_path) as journal:
        made = commit(journal, *((BTC, hour, Side.LONG) for hour in range(11)))
        later = Bars.of([bar(hour) for hour in range(500, 520)])
        journal.store_history(BTC, later, from_listing=False)
        journal.mark("mqtt", 11)
        prune(journal, "mqtt")
        assert journal.latest() == made[-1:]
    with opened(tmp_path) as journal:
        assert journal.after(0, 99) == made[-1:]
        assert journal.latest() == made[-1:]
