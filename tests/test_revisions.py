"""What the venue revises is decided again: the newest decisions are those of the final bars."""

from __future__ import annotations

import dataclasses
import itertools
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from candled.board import Board
from candled.core.bar import Bar, Bars, Stream
from candled.core.correction import differing, with_revision
from candled.core.decision import BarClosed, BarRevised, Decision, Side, Source
from candled.core.engine import Engine, Lane
from candled.journal import JournalError, open_journal, open_reader
from candled.lab.verify.redecide import redecide
from candled.ports import Entry, FeedEvent, History
from candled.service import Service
from candled.telling import Teller
from candles import candles
from models import lane
from test_service import BTC, ETH, RecordedFeed

POLICY = {"cooldown_bars": 2, "gap_mute_bars": 3}
KINDS = {BTC: lane(BTC, **POLICY), ETH: lane(ETH)}
HISTORY = Engine([KINDS[BTC]]).history(BTC)
LIVE = 120
SERIES = {BTC: candles(HISTORY + LIVE, seed=10), ETH: candles(HISTORY + LIVE, seed=45)}


class Life:
    """A journal, the services that had it one after the other, and what the venue says by now."""

    def __init__(
        self,
        folder: Path,
        history: int = HISTORY,
        *,
        kind: Lane = KINDS[BTC],
        from_listing: bool = False,
    ) -> None:
        self.folder = folder
        self.kinds = {BTC: kind, ETH: KINDS[ETH]}
        self.bars: dict[Stream, dict[int, Bar]] = {BTC: {}, ETH: {}}
        self.from_listing = from_listing
        self.at = history
        self._start()
        for stream, series in SERIES.items():
            self.tell([self._history(stream, series[:history], from_listing=from_listing)])

    def _start(self) -> None:
        self.journal = open_journal(self.folder)
        feed = RecordedFeed()
        board = Board(lambda: 0)
        self.service = Service(
            engine=Engine(list(self.kinds.values())),
            journal=self.journal,
            feeds=[feed],
            sinks=[],
            board=board,
            tell=Teller(board),
        )
        self.resumes = self.service._recover()["binance"]

    def restart(self) -> None:
        self.journal.close()
        self._start()

    def tell(self, events: Sequence[FeedEvent], sizes: Sequence[int] = ()) -> None:
        """Hand events to the service in batches of these sizes, the rest as one."""
        queue = list(events)
        for size in sizes:
            self.service._handle(queue[:size])
            queue = queue[size:]
        self.service._handle(queue)

    def _history(self, stream: Stream, bars: Bars, *, from_listing: bool) -> History:
        self.bars[stream] |= {bar.open_time: bar for bar in bars}
        return History(stream, bars, from_listing=from_listing)

    def live(self, count: int) -> list[FeedEvent]:
        """Return the next bars of both streams, in turn."""
        rows = range(self.at, self.at + count)
        self.at += count
        told = [(stream, SERIES[stream].row(row)) for row in rows for stream in (BTC, ETH)]
        for stream, bar in told:
            self.bars[stream][bar.open_time] = bar
        return [BarClosed(stream, bar, Source.WS, 1, bar.close_time + 9) for stream, bar in told]

    def anew(self, lost: int, count: int, reach: bool) -> list[FeedEvent]:  # noqa: FBT001
        """Lose some bars, and return the ones that follow as histories: they are not decided.

        `reach` is whether the venue says that it has no bar before these.
        """
        start = self.at + lost
        self.at = start + count
        return [
            self._history(stream, SERIES[stream][start : self.at], from_listing=reach)
            for stream in (BTC, ETH)
        ]

    def revised(self, back: int, factor: float) -> list[FeedEvent]:
        """Return the revision of the stored bar that so many lie after, as a feed reports it."""
        stored = list(self.bars[BTC].values())
        return [self.revision(stored[-1 - min(back, len(stored) - 1)], factor)]

    def revision(self, bar: Bar, factor: float, stream: Stream = BTC) -> BarRevised:
        """Scale a bar's close as the venue first told it; 1.0 takes earlier revisions back."""
        row = int(SERIES[stream].open_time.searchsorted(bar.open_time))
        close = SERIES[stream].row(row).close * factor
        told = dataclasses.replace(
            bar, close=close, high=max(bar.open, close) * 1.01, low=min(bar.open, close) * 0.99
        )
        self.bars[stream][bar.open_time] = told
        return BarRevised(stream, told, 2, told.close_time + 20_000)

    def final(self, stream: Stream = BTC) -> Bars:
        return Bars.of([self.bars[stream][at] for at in sorted(self.bars[stream])])

    def decisions(self, stream: Stream = BTC) -> list[Decision]:
        """Return the newest decision of each slot, as another process reads them."""
        with open_reader(self.folder) as reader:
            assert repr(list(reader.bars(stream))) == repr(list(self.final(stream)))
            return reader.decisions(stream)

    def entries(self) -> list[Entry]:
        return self.journal.after(0, 10**9)

    def check(self) -> None:
        """Compare what is stored with a fresh engine's replay of what the venue says by now."""
        for stream in (BTC, ETH):
            made = self.decisions(stream)
            wanted = replayed(
                self.kinds[stream], self.final(stream), from_listing=self.from_listing
            )
            assert [again_as(wanted[one.bar_open], one) for one in made] == made
            done = redecide(
                [self.kinds[stream]], self.final(stream), made, from_listing=self.from_listing
            )
            assert (done.compared, done.differences) == (len(made), ())
        check_order(self.entries())


def replayed(kind: Lane, bars: Bars, *, from_listing: bool) -> dict[int, Decision]:
    engine = Engine([kind])
    engine.warm(kind.stream, bars[:0], from_listing=from_listing)
    made = itertools.chain.from_iterable(engine.replay(kind.stream, bars))
    return {decision.bar_open: decision for decision in made}


def again_as(decision: Decision, other: Decision) -> Decision:
    """Return the decision as the other's revision of the slot."""
    return dataclasses.replace(with_revision(decision, other.revision), supersedes=other.supersedes)


def check_order(entries: Sequence[Entry]) -> None:
    """Each correction follows what it names and says something else; numbers have no holes."""
    last: dict[tuple[Stream, int], Decision] = {}
    signals: dict[Stream, list[str]] = {BTC: [], ETH: []}
    assert [entry.position for entry in entries] == list(range(1, len(entries) + 1))
    for entry in entries:
        made, slot = entry.decision, (entry.decision.stream, entry.decision.bar_open)
        before = last.get(slot)
        if before is None:
            assert (made.revision, made.supersedes) == (0, None)
        else:
            assert made.supersedes is not None
            assert (made.supersedes.id, made.supersedes.side) == (before.id, before.side)
            assert made.revision == before.revision + 1
            assert differing(made, before)
            assert entry.source is Source.REST
            seq = made.supersedes.seq
            assert made.supersedes.signal == (signals[made.stream][seq - 1] if seq else None)
        last[slot] = made
        keeps = before is not None and made.side is before.side
        if made.side in (Side.LONG, Side.SHORT) and not keeps:
            signals[made.stream].append(made.id)
            assert entry.seq == len(signals[made.stream])
        else:
            assert entry.seq is None
        assert entry.last_seq == len(signals[made.stream])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("live"), st.integers(1, 6)),
        st.tuples(
            st.just("revised"),
            st.one_of(st.integers(0, 12), st.integers(0, HISTORY + 40)),
            st.sampled_from([0.94, 1.0, 1.05, 1.0000001]),
        ),
        st.tuples(st.just("lost"), st.integers(1, 3)),
        st.tuples(st.just("anew"), st.integers(0, 3), st.integers(0, 6), st.booleans()),
        st.tuples(st.just("restart")),
    ),
    max_size=14,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, sizes=st.lists(st.integers(1, 9), max_size=6), listed=st.booleans())
def test_the_newest_decisions_are_those_of_the_final_bars(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple],
    sizes: list[int],
    listed: bool,  # noqa: FBT001
):
    """Whatever is revised and when, in any batches, through gaps and restarts: live == batch.

    Bars may be lost, windows may begin anew, and a bar may be revised again or back; the newest
    decision of each slot is what a fresh engine says of the bars as they are in the end.
    """
    life = Life(tmp_path_factory.mktemp("state"), 60 if listed else HISTORY, from_listing=listed)
    queue: list[FeedEvent] = life.live(8)
    try:
        for kind, *values in steps:
            if kind == "restart":
                life.tell(queue, sizes)
                queue = []
                life.restart()
            elif kind == "lost":
                life.at += values[0]
            else:
                queue += getattr(life, kind)(*values)
        life.tell([*queue, *life.live(3)], sizes)
        life.check()
        again = life.resumes
        life.restart()
        assert [one.stream for one in life.resumes] == [one.stream for one in again]
        life.tell(life.live(3))
        life.check()
    finally:
        life.journal.close()


@pytest.fixture
def life(tmp_path: Path):
    made = Life(tmp_path)
    yield made
    made.journal.close()


def test_the_cases_hold_corrections_of_every_kind(tmp_path: Path):
    """Revisions of one stretch change sides both ways, and probabilities alone."""
    life = Life(tmp_path, kind=lane(BTC))
    life.tell(life.live(60))
    for back in range(0, 60, 4):
        life.tell(life.revised(back, 0.9))
        life.tell(life.revised(back, 1.12))
    kinds = {
        (entry.decision.supersedes.side, entry.decision.side)
        for entry in life.entries()
        if entry.decision.supersedes
    }
    sides = (Side.FLAT, Side.LONG, Side.SHORT)
    assert kinds >= {*itertools.product(sides, sides)} - {(Side.FLAT, Side.FLAT)}
    assert {entry.decision.stream for entry in life.entries() if entry.decision.revision} == {BTC}
    life.check()
    life.journal.close()


def stored(life: Life, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(life.folder / "candled.journal")) as db:
        return db.execute(sql).fetchall()


def test_what_a_bar_was_is_kept(life: Life):
    """Each revision keeps the old numbers, where they came from, and until when they held."""
    life.tell(life.live(5))
    (first,), (second,) = life.revised(2, 1.05), life.revised(2, 0.95)
    assert isinstance(first, BarRevised)
    assert isinstance(second, BarRevised)
    life.tell([first, second])
    original = SERIES[BTC].row(HISTORY + 2)
    at = original.open_time
    assert stored(life, "SELECT open_time, revision, close, source, revised_at FROM revisions") == [
        (at, 0, original.close, "ws", first.received_ms),
        (at, 1, first.bar.close, "rest", second.received_ms),
    ]
    assert stored(life, "SELECT open_time, close FROM bars WHERE source = 'rest'") == [
        (at, second.bar.close)
    ]


def test_a_revision_that_says_nothing_new_changes_nothing(life: Life):
    """Equal numbers leave no row; what the venue does not tell now stays as it was stored."""
    life.tell(life.live(5))
    before = life.entries()
    bar = SERIES[BTC].row(HISTORY + 1)
    unknown = dataclasses.replace(bar, taker_buy_base=float("nan"), trades=float("nan"))
    life.tell([BarRevised(BTC, bar, 1, 1), BarRevised(BTC, unknown, 1, 1)])
    assert stored(life, "SELECT count(*) FROM revisions") == [(0,)]
    other = dataclasses.replace(unknown, volume=bar.volume + 1)
    life.tell([BarRevised(BTC, other, 1, 1)])
    life.bars[BTC][bar.open_time] = dataclasses.replace(bar, volume=bar.volume + 1)
    assert stored(life, "SELECT count(*) FROM revisions") == [(1,)]
    assert life.entries()[: len(before)] == before
    life.check()


@pytest.mark.parametrize("row", [HISTORY - 1, 5])
def test_a_bar_of_the_history_may_be_revised(life: Life, row: int):
    """Before anything is decided it corrects nothing; later, only what rests on it."""
    bar = SERIES[BTC].row(row)
    life.tell([life.revision(bar, 1.05)])
    assert life.entries() == []
    life.tell(life.live(4))
    life.check()
    life.tell([life.revision(bar, 0.9)])
    life.check()
    assert any(entry.decision.revision for entry in life.entries()) == (row > 5)


def test_a_bar_that_was_never_stored_is_refused(life: Life):
    """A feed may revise only what it reported; the error names the stream and the bar."""
    life.tell(life.live(2))
    before = life.entries()
    unknown = SERIES[BTC].row(HISTORY + 2)
    with pytest.raises(JournalError, match=r"binance/BTCUSDT/1h: the bar that opens at 20.*Z was"):
        life.tell([BarRevised(BTC, unknown, 1, 1)])
    other = Stream("binance", "ETHUSDT", "1h")
    gone = dataclasses.replace(unknown, open_time=SERIES[BTC].row(0).open_time - 1)
    with pytest.raises(JournalError, match="was revised, but never stored"):
        life.tell([BarRevised(other, gone, 1, 1)])
    assert life.entries() == before


def test_a_revision_is_stored_whole_or_not_at_all(life: Life):
    """What must not be stored, bar or decision, leaves the old bar, its decisions and numbers."""
    life.tell(life.live(9))
    before, made = life.entries(), life.decisions()[-1]
    bar = SERIES[BTC].row(HISTORY + 3)
    again = with_revision(made, 1)
    for close, decisions in ((float("inf"), [again]), (bar.low, [again, again])):
        told = BarRevised(BTC, dataclasses.replace(bar, close=close), 1, 1)
        with pytest.raises(JournalError, match="must not be stored"):
            life.journal.revise(told, told.bar, decisions, 0)
        assert life.entries() == before
        assert stored(life, "SELECT count(*) FROM revisions") == [(0,)]
    life.check()
    life.restart()
    life.tell(life.revised(3, 1.05) + life.live(2))
    life.check()


def test_the_newest_of_a_stream_is_its_newest_bar(life: Life):
    """A correction of an older bar is not the head; one of the newest is, after a restart too."""
    life.tell(life.live(12))
    newest = SERIES[BTC].row(life.at - 1).open_time

    def heads() -> list[tuple[int, int]]:
        entries = [entry for entry in life.journal.latest() if entry.decision.stream == BTC]
        assert [entry.position for entry in entries] == sorted({e.position for e in entries})
        assert entries[-1].position == max(
            entry.position for entry in life.entries() if entry.decision.stream == BTC
        )
        return [(entry.decision.bar_open, entry.decision.revision) for entry in entries]

    assert heads() == [(newest, 0)]
    life.tell(life.revised(6, 1.1))
    after = heads()
    assert max(after) == (newest, 1)
    life.tell(life.revised(0, 1.1))
    assert heads() == [(newest, 2)]
    life.tell(life.revised(0, 0.9))
    last = heads()
    life.restart()
    assert heads() == last == [(newest, 3)]


def test_what_was_decided_otherwise_is_left_alone(life: Life):
    """Decisions of another policy are not corrected by this one's; those after the change are."""
    life.tell(life.live(6))
    life.kinds[BTC] = lane(BTC, threshold=0.5)
    life.restart()
    life.tell(life.live(6))
    life.tell(life.revised(8, 1.05))
    corrected = {e.decision.bar_open for e in life.entries() if e.decision.revision}
    assert corrected
    assert corrected <= set(SERIES[BTC].open_time[HISTORY + 6 : HISTORY + 12].tolist())


def test_a_feed_learns_what_it_has_reported(life: Life):
    """After a restart a feed gets the newest 48 bars, as they are by now, and what to ask anew."""
    life.tell(life.live(3))
    life.tell(life.revised(1, 1.05))
    life.restart()
    resume = life.resumes[0]
    assert resume.stream == BTC
    assert resume.recent is not None
    assert repr(list(resume.recent)) == repr(list(life.final()[-48:]))
    assert resume.after == int(life.final().open_time[-1])
    assert (resume.history, resume.anew) == (0, HISTORY)
