"""A disk without room: nothing leaves that is not durable, and what is durable still leaves.

On a real file system that is full, with the real service and its real journal.
"""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from candled.core.bar import Bars
from candled.core.decision import Side
from candled.errors import Exit, explain
from candled.journal import JournalError, JournalUnavailableError, open_journal
from candled.ports import Clock, Emit, Entry, History, Resume
from fakes import FixedClock, until
from journals import BTC, commit, fill_disk, tiny_disk
from models import lane
from test_service import (
    HISTORY,
    NOW,
    ReadingSink,
    RecordedFeed,
    Run,
    alone,
    closed,
    of,
    series,
    serve,
)

LAST = HISTORY + 40


class VenueOfBtc:
    """Knows a series, and reports what the journal lacks of it up to `last`; waits where told."""

    def __init__(self, last: int, pause_at: int | None = None) -> None:
        self.exchange = "binance"
        self.clock: Clock = FixedClock(NOW)
        self.resumes: list[Resume] = []
        self.go_on = asyncio.Event()
        self._last = last
        self._pause_at = pause_at

    async def run(self, resume: Sequence[Resume], emit: Emit) -> None:
        self.resumes = list(resume)
        (mine,) = (one for one in resume if one.stream == BTC)
        bars: Bars = series(BTC)
        first = HISTORY if mine.after is None else _index(bars, mine.after) + 1
        if mine.history:
            await emit([History(BTC, bars[:first], from_listing=False)])
        for at in range(first, self._last):
            if at == self._pause_at:
                await self.go_on.wait()
            await emit([closed(BTC, bars.row(at))])
        await asyncio.Event().wait()


def _index(bars: Bars, opened: int) -> int:
    return bars.open_time.tolist().index(opened)


class LastWords(ReadingSink):
    """Notes what the board says when the service ends."""

    said: str | None = None

    async def run(self, outbox, board) -> None:
        try:
            await super().run(outbox, board)
        finally:
            self.said = board.failure


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with tiny_disk(tmp_path / "disk", kilobytes=1_500) as place:
        yield place


def only_btc() -> dict:
    return {"lanes": [lane(BTC)]}


def test_a_full_disk_ends_the_service_and_room_brings_it_back(disk: Path):
    """No decision is shown that is not on disk, the reason is told, the exit says: try again.

    As long as the disk is full it ends at its first bar. With room again what was missed is
    decided as if nothing had been, and each decision was seen once, in order, with no number left
    out.
    """
    sink = LastWords(disk)
    feed = VenueOfBtc(LAST, pause_at=HISTORY + 10)

    async def fill(_: Run) -> None:
        await until(lambda: len(sink.seen) == 10)
        fill_disk(disk)
        feed.go_on.set()
        await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        serve(disk, feed, [sink], during=fill, **only_btc())
    check_end(caught.value, sink)
    first = list(sink.seen)
    assert 10 <= len(first) < 40

    for _ in range(2):  # as systemd does it
        again = LastWords(disk)
        with pytest.raises((ExceptionGroup, JournalUnavailableError)) as tried:
            serve(disk, VenueOfBtc(LAST), [again], during=for_ever, **only_btc())
        assert explain(tried.value)[1] is Exit.TEMPORARY
        assert {e.decision.id for e in again.seen} <= {e.decision.id for e in first}

    (disk / "ballast").unlink()
    third = LastWords(disk)
    serve(disk, VenueOfBtc(LAST), [third], during=lambda run: run.decided(40), **only_btc())
    assert ids_once([*first, *third.seen]) == [d.id for d in alone(lane(BTC), HISTORY, LAST)]
    journal = open_journal(disk)
    try:
        entries = journal.after(0, 99)
        assert of(entries, BTC) == alone(lane(BTC), HISTORY, LAST)
        assert [e.seq for e in entries if e.seq] == list(range(1, entries[-1].last_seq + 1))
    finally:
        journal.close()


async def for_ever(_: Run) -> None:
    await asyncio.Event().wait()


def check_end(error: BaseException, sink: LastWords) -> None:
    """Whoever looks is told what is wrong: systemd by the code, the sinks by the board."""
    text, code = explain(error) or ("", None)
    assert code is Exit.TEMPORARY
    assert "candled.journal: database or disk is full; check the disk" in text
    assert sink.said is not None
    assert sink.said.startswith("decider failed: ")
    assert "disk is full" in sink.said
    assert sink.said_goodbye


def ids_once(entries: Sequence[Entry]) -> list[str]:
    """Return the ids in their order, without those that were seen before."""
    return list(dict.fromkeys(entry.decision.id for entry in entries))


def test_what_is_durable_is_delivered_though_no_mark_can_be_written(disk: Path):
    """A sink goes on in order while the disk is full; the service says that it is degraded.

    As soon as there is room the mark is written, and nothing is degraded any more.
    """
    states: list[tuple[str, ...]] = []

    def prepare(journal) -> None:
        commit(journal, *((BTC, hour, Side.LONG) for hour in range(60)))
        fill_disk(disk)

    sink = ReadingSink(disk, pause_s=0.002)

    async def during(run: Run) -> None:
        await until(lambda: len(sink.seen) == 60)
        await until(lambda: any(r.startswith("journal: ") for r in run.board.health.reasons))
        states.append(run.board.health.reasons)
        reopened = mark_on_disk(disk)
        assert reopened < 60
        (disk / "ballast").unlink()
        await until(lambda: not any(r.startswith("journal") for r in run.board.health.reasons))
        assert mark_on_disk(disk) == 60

    serve(disk, RecordedFeed(), [sink], during=during, prepare=prepare, **only_btc())
    assert [entry.position for entry in sink.seen] == list(range(1, 61))
    assert "disk is full; check the disk" in " ".join(states[0])


def mark_on_disk(folder: Path) -> int:
    db = sqlite3.connect(f"file:{folder / 'candled.journal'}?mode=ro", uri=True)
    try:
        found = db.execute("SELECT position FROM marks WHERE sink = 'reader'").fetchall()
    finally:
        db.close()
    return found[0][0] if found else 0


def test_marks_that_were_never_written_are_delivered_again(disk: Path):
    """Who dies with a full disk begins again after its last durable mark: twice, not never."""
    journal = open_journal(disk)
    made = commit(journal, *((BTC, hour, Side.LONG) for hour in range(20)))
    journal.mark("mqtt", 5)
    fill_disk(disk)
    for position in range(6, 21):
        journal.mark("mqtt", position)
        assert journal.position("mqtt") == position
    journal.refuse("mqtt", 7, "no")
    assert "full" in str(journal.settle())
    with journal.pruning(0, ["mqtt"], {BTC: 1}) as (streams, step):
        assert [step(stream) for stream in streams] == [0]
    journal.close()
    (disk / "ballast").unlink()
    journal = open_journal(disk)
    try:
        done = journal.position("mqtt")
        assert 5 <= done < 20
        assert journal.after(done, 99) == made[done:]
    finally:
        journal.close()


def test_a_late_mark_is_written_at_the_end(disk: Path):
    """What could not be written when it was due is written when the journal is closed."""
    journal = open_journal(disk)
    commit(journal, *((BTC, hour, Side.LONG) for hour in range(20)))
    fill_disk(disk)
    for position in range(1, 21):
        journal.mark("mqtt", position)
    journal.refuse("mqtt", 7, "no")
    (disk / "ballast").unlink()
    journal.close()
    journal = open_journal(disk)
    try:
        assert journal.position("mqtt") == 20
        assert journal._db.rows("SELECT sink, position, reason FROM refused") == [("mqtt", 7, "no")]
    finally:
        journal.close()


def test_a_new_journal_on_a_full_disk_is_temporary_trouble(disk: Path):
    """Where not even the files can be made, starting again later may help."""
    fill_disk(disk)
    with pytest.raises(JournalUnavailableError):
        open_journal(disk / "state")
    (disk / "ballast").unlink()
    open_journal(disk / "state").close()


def test_a_disk_that_became_read_only_is_named(disk: Path):
    """A folder that cannot be written in is no place for state, and it is said which."""
    open_journal(disk).close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        with pytest.raises(JournalError, match=r"disk.*: Read-only file system; name a folder"):
            open_journal(disk)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
