"""Challengers decide the champion's bars as the engine would, each once, whatever happens."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from candled.challenge.shadowing import NAME, Shadowing, kind_of
from candled.core.bar import Stream
from candled.core.decision import Side
from candled.core.engine import Lane
from candled.journal import JournalError, JournalUnavailableError, open_journal, open_reader
from candled.journal.shadowing import ShadowBook
from candled.ports import Clock, Entry, Kind
from fakes import FixedClock
from journals import change
from models import lane
from test_revisions import HISTORY, SERIES, Life, replayed
from test_service import BTC, ETH

CHALLENGERS = [
    lane(BTC, seed=2, threshold=0.38, cooldown_bars=1, gap_mute_bars=2),
    lane(ETH, threshold=0.35),
]
NOW = 77


class Died(BaseException):
    """The process ended here."""


class Rivals:
    """Challengers beside a life: what they did, and what they had to do."""

    def __init__(self, life: Life, lanes: list[Lane] = CHALLENGERS) -> None:
        self.life = life
        self.lanes = lanes
        self.start()

    def start(self) -> None:
        """Begin as a process does, from what the journal holds."""
        self.shadowing = Shadowing(self.lanes, self.life.journal, clock)
        self.position = self.shadowing.begin()

    def restart(self) -> None:
        self.life.restart()
        self.start()

    def work(self, count: int = 10**6, at_once: int = 16) -> None:
        """Take on at most so many entries."""
        while count > 0:
            entries = self.life.journal.after(self.position, min(at_once, count))
            if not entries:
                return
            for run in self.shadowing.runs(entries):
                while cold := self.shadowing.cold(run):
                    self.shadowing.warm(cold[0])
                self.shadowing.decide(run)
                self.position = run[-1].position
            count -= len(entries)

    def shadows(self, stream: Stream) -> list[Entry]:
        with open_reader(self.life.folder) as reader:
            return reader.shadows(stream)

    def all(self) -> list[Entry]:
        with open_reader(self.life.folder) as reader:
            return reader.shadows_after(0, 10**9)

    def check(self, since: int = 0) -> None:
        """Compare with a fresh engine's replay; nothing is missing, doubled or out of order."""
        wanted = {
            one.stream: replayed(
                one, self.life.final(one.stream), from_listing=self.life.from_listing
            )
            for one in self.lanes
        }
        due = [
            (entry.decision.stream, entry.decision.bar_open)
            for entry in self.life.entries()
            if entry.decision.revision == 0
            and entry.decision.stream in wanted
            and entry.position > since
        ]
        made = self.all()
        assert [(one.decision.stream, one.decision.bar_open) for one in made] == due
        assert [one.decision for one in made] == [wanted[stream][at] for stream, at in due]
        check_numbers(made)
        assert self.life.journal.position(NAME) == self.life.journal.last_position


def clock(_exchange: str) -> Clock:
    return FixedClock(NOW)


def check_numbers(shadows: list[Entry]) -> None:
    """Positions and each challenger's signal numbers have no holes."""
    assert [one.position for one in shadows] == list(range(1, len(shadows) + 1))
    assert len({one.decision.id for one in shadows}) == len(shadows)
    last: Counter[Kind] = Counter()
    for one in shadows:
        kind, is_signal = Kind.of(one.decision), one.decision.side in (Side.LONG, Side.SHORT)
        last[kind] += is_signal
        assert (one.seq, one.last_seq) == (last[kind] if is_signal else None, last[kind])
        assert one.decided_ms == NOW


@contextmanager
def lived(folder: Path, history: int = HISTORY, *, listed: bool = False) -> Iterator[Life]:
    life = Life(folder, history, from_listing=listed)
    try:
        yield life
    finally:
        life.journal.close()


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    with lived(tmp_path) as made:
        yield made


@contextmanager
def dying(statements: int, error: type[BaseException] = Died) -> Iterator[None]:
    """Let the process end in the next transaction, after so many of its statements."""
    write = ShadowBook._write

    def halfway(book: ShadowBook, work: list) -> None:
        done = work[:statements]
        if statements > len(work):
            write(book, work)
            raise error("after the commit")
        write(book, [*done, ("INSERT INTO shadows SELECT die()", [()])])

    def die() -> None:
        raise ValueError("dead")

    def begin(book: ShadowBook, work: list) -> None:
        book._own.connection.create_function("die", 0, die)
        try:
            halfway(book, work)
        except JournalError as failure:
            raise error("in the transaction") from failure

    ShadowBook._write = begin  # type: ignore[method-assign]
    try:
        yield
    finally:
        ShadowBook._write = write  # type: ignore[method-assign]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("live"), st.integers(1, 6)),
        st.tuples(st.just("live"), st.integers(1, 6)),
        st.tuples(st.just("work"), st.integers(1, 9), st.integers(1, 5)),
        st.tuples(st.just("lost"), st.integers(1, 3)),
        st.tuples(st.just("anew"), st.integers(0, 3), st.integers(0, 6)),
        st.tuples(st.just("restart")),
        st.tuples(st.just("die"), st.integers(0, 3)),
    ),
    min_size=4,
    max_size=14,
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, sizes=st.lists(st.integers(1, 9), max_size=6), listed=st.booleans())
def test_shadows_are_what_the_engine_says_of_the_same_bars_each_once(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple],
    sizes: list[int],
    listed: bool,  # noqa: FBT001
):
    """Through gaps, lost bars, restarts and crashes at any statement: live == batch, exactly once.

    Whether the challengers keep up or fall behind, and in whatever batches.
    """
    with lived(tmp_path_factory.mktemp("state"), 60 if listed else HISTORY, listed=listed) as life:
        rivals = Rivals(life)
        for kind, *values in steps:
            match kind:
                case "live":
                    life.tell(life.live(values[0]), sizes)
                case "anew":
                    life.tell(life.anew(*values, False))
                case "lost":
                    life.at += values[0]
                case "work":
                    rivals.work(*values)
                case "restart":
                    rivals.restart()
                case "die":
                    life.tell(life.live(1))
                    with dying(values[0]), pytest.raises(Died):
                        rivals.work()
                    rivals.restart()
        life.tell(life.live(2), sizes)
        rivals.work()
        rivals.check()


def test_the_cases_hold_signals_of_both_sides_and_differ_from_the_champion(life: Life):
    """What the other tests compare is no row of flats, nor what the champion says."""
    rivals = Rivals(life)
    life.tell(life.live(60))
    rivals.work()
    rivals.check()
    sides = {entry.decision.side for entry in rivals.all()}
    assert sides >= {Side.LONG, Side.SHORT, Side.FLAT}
    for one in CHALLENGERS:
        made = [entry.decision for entry in rivals.shadows(one.stream)]
        champion = {d.bar_open: d.side for d in life.decisions(one.stream)}
        assert [d.side for d in made] != [champion[d.bar_open] for d in made]
        assert {Kind.of(decision) for decision in made} == {kind_of(one)}


def test_nothing_of_a_challenger_is_among_what_sinks_deliver(life: Life):
    """The outbox holds the champion's decisions alone, with the champion's numbers."""
    before = [replace(entry) for entry in life.entries()]
    life.tell(life.live(10))
    mine = life.entries()
    rivals = Rivals(life)
    life.tell(life.live(10))
    rivals.work()
    champions = {kind_of(one) for one in life.kinds.values()}
    assert {Kind.of(entry.decision) for entry in life.entries()} == champions
    assert life.entries()[: len(mine)] == mine
    assert before == []
    assert len(rivals.all()) == 20


def test_a_challenger_begins_with_what_is_decided_from_then_on(life: Life):
    """Older bars may be among those that it was trained on; a restart changes nothing of that."""
    life.tell(life.live(5))
    since = life.journal.last_position
    rivals = Rivals(life)
    rivals.work()
    assert rivals.all() == []
    assert life.journal.position(NAME) == since  # it keeps nobody waiting
    rivals.restart()
    life.tell(life.live(4))
    rivals.restart()
    rivals.work()
    rivals.check(since)
    assert len(rivals.all()) == 8


def test_a_challenger_that_comes_later_begins_later(life: Life):
    """The others go on; it has numbers of its own, and takes up where it was when it comes back."""
    first, second = CHALLENGERS
    rivals = Rivals(life, [first])
    life.tell(life.live(6))
    rivals.work()
    rivals.lanes = [first, second]
    rivals.start()
    life.tell(life.live(6))
    rivals.work()
    assert len(rivals.shadows(BTC)) == 12
    assert len(rivals.shadows(ETH)) == 6
    other = lane(ETH, seed=2)
    rivals.lanes = [first, other]
    rivals.start()
    life.tell(life.live(20))
    rivals.work()
    rivals.lanes = [first, second]
    rivals.restart()
    life.tell(life.live(20))
    rivals.work()
    kinds = Counter(Kind.of(entry.decision) for entry in rivals.shadows(ETH))
    assert kinds == {kind_of(second): 26, kind_of(other): 20}
    check_numbers(rivals.all())


def test_who_begins_while_others_are_behind_decides_nothing_older(life: Life):
    """They make up for what they missed; it does not."""
    first, second = CHALLENGERS
    rivals = Rivals(life, [first])
    life.tell(life.live(6))
    rivals.lanes = [first, second]
    rivals.restart()
    life.tell(life.live(2))
    rivals.work()
    assert len(rivals.shadows(BTC)) == 8
    assert len(rivals.shadows(ETH)) == 2


def test_what_is_revised_changes_what_comes_and_not_what_was_said(life: Life):
    """Shadows have no corrections; those that follow rest on the bars as they are then."""
    rivals = Rivals(life)
    life.tell(life.live(12))
    rivals.work()
    said = rivals.shadows(BTC)
    untouched = replayed(CHALLENGERS[0], life.final(), from_listing=False)
    life.tell(life.revised(4, 1.05))
    rivals.work()
    assert rivals.shadows(BTC) == said
    life.tell(life.live(12))
    rivals.work()
    final = replayed(CHALLENGERS[0], life.final(), from_listing=False)
    made = [entry.decision for entry in rivals.shadows(BTC)]
    assert made[:12] == [untouched[one.bar_open] for one in made[:12]]
    assert made[12:] == [final[one.bar_open] for one in made[12:]]
    assert made[8:12] != [final[one.bar_open] for one in made[8:12]]
    bars = SERIES[BTC][: life.at]
    unaware = replayed(CHALLENGERS[0], bars, from_listing=False)
    assert made[12:] != [unaware[one.bar_open] for one in made[12:]]
    rivals.restart()
    life.tell(life.live(1))
    rivals.work()
    check_numbers(rivals.all())


def test_who_is_behind_decides_revised_bars_as_they_are_by_then(life: Life):
    """A correction of the champion's has no shadow of its own."""
    rivals = Rivals(life)
    life.tell(life.live(12))
    life.tell(life.revised(4, 1.05))
    life.tell(life.live(3))
    assert any(entry.decision.revision for entry in life.entries())
    rivals.work(at_once=3)
    rivals.check()


def test_few_bars_are_no_decision(life: Life):
    """A challenger that wants more history than there is says why it does not decide."""
    hungry = lane(BTC, seed=2, gap_mute_bars=HISTORY + 500)
    rivals = Rivals(life, [hungry])
    life.tell(life.live(3))
    rivals.work()
    rivals.check()
    reasons = {(one.decision.side, str(one.decision.reason)) for one in rivals.all()}
    assert reasons == {(Side.NO_DECISION, "warmup")}


def test_a_full_disk_leaves_nothing_and_is_made_good(life: Life):
    """What could not be written is decided again, with windows as they must be."""
    rivals = Rivals(life)
    life.tell(life.live(8))
    with dying(1, JournalUnavailableError), pytest.raises(JournalUnavailableError):
        rivals.work()
    assert rivals.all() == []
    rivals.work()
    rivals.check()


def test_a_slot_is_never_decided_twice(life: Life):
    """The journal refuses it, whatever the mark says."""
    rivals = Rivals(life)
    since = rivals.position
    life.tell(life.live(2))
    rivals.work()
    rivals.position = since
    rivals.shadowing = Shadowing(CHALLENGERS, life.journal, clock)
    rivals.shadowing.begin()
    with pytest.raises(JournalError, match="must not be stored"):
        rivals.work()


def test_a_shadow_that_the_disk_turned_is_noticed(life: Life):
    """Whoever reads it is told, and nobody believes it."""
    rivals = Rivals(life)
    life.tell(life.live(3))
    rivals.work()
    with sqlite3.connect(life.folder / "candled.journal") as db:
        db.execute("UPDATE shadows SET bar_open = bar_open + 1 WHERE position = 2")
    db.close()
    with pytest.raises(JournalError, match="shadow 2 is not as it was written"):
        rivals.all()


def test_a_version_without_shadows_is_read_as_having_none(life: Life):
    """A reader of an older journal finds nothing, and does not fail."""
    folder = life.folder
    life.journal.close()
    change(folder, "DROP TABLE shadows")
    change(folder, "DROP TABLE outcomes")
    change(folder, "PRAGMA user_version = 3")
    with open_reader(folder) as reader:
        assert reader.shadows(BTC) == []
        assert reader.shadows_after(0, 10) == []
    life.journal = open_journal(folder)


def test_what_is_read_from_memory_is_what_is_on_disk(life: Life):
    """`after` says the same in any portions, before and after a restart."""
    rivals = Rivals(life)
    life.tell(life.live(20))
    rivals.work(15)
    rivals.restart()
    rivals.work()
    whole = rivals.all()
    for book in (life.journal.shadows, rivals.life.journal.shadows):
        found: list[Entry] = []
        while some := book.after(found[-1].position if found else 0, 7):
            assert len(some) <= 7
            found += some
        assert found == whole
        assert book.after(13, 5) == whole[13:18]
    assert life.journal.shadows_after(0, 3) == whole[:3]


def test_old_shadows_go_and_positions_go_on(life: Life):
    """By age alone, and never the newest: no position is given twice."""
    rivals = Rivals(life)
    life.tell(life.live(100))
    rivals.work()
    whole = rivals.all()
    with life.journal.pruning(10 * 3_600_000, ["nobody"], {}) as (streams, step):
        for stream in streams:
            while step(stream):
                pass
    assert rivals.all() == whole  # fewer bars than may be revised: all stay
    change(life.folder, "UPDATE shadows SET bar_open = bar_open - 4000000000000")
    with life.journal.pruning(10 * 3_600_000, ["nobody"], {}) as (streams, step):
        for stream in streams:
            while step(stream):
                pass
    with sqlite3.connect(life.folder / "candled.journal") as db:
        assert db.execute("SELECT position FROM shadows").fetchall() == [(len(whole),)]
    db.close()
    assert len(life.entries()) == 200
