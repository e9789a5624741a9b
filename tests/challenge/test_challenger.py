"""The challengers' sink: the champion goes first, and nothing here ends or degrades anything."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from candled.challenge import challenger as module
from candled.challenge import courtesy
from candled.challenge.challenger import AT_ONCE, Challenger, Published
from candled.challenge.shadowing import NAME, Shadowing
from candled.core.engine import Engine
from candled.journal import JournalError, JournalUnavailableError
from candled.journal.shadowing import ShadowBook
from candled.ports import HealthBoard, ShadowOutbox
from challenge.test_shadowing import CHALLENGERS, Rivals, clock, lived
from fakes import Board, ended, until
from models import lane
from test_revisions import Life
from test_service import BTC, ETH


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    with lived(tmp_path) as made:
        yield made


async def begun(life: Life) -> None:
    """Wait until what is decided from now on is for the challengers."""
    await until(lambda: life.journal.shadows._courses)


@asynccontextmanager
async def running(
    sink: Challenger | Published, life: Life, board: Board
) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(sink.run(life.journal, board))
    try:
        await begun(life)
        yield task
    finally:
        await ended(task)


def caught_up(life: Life) -> Callable[[], bool]:
    return lambda: life.journal.position(NAME) == life.journal.last_position


def test_it_follows_the_champion_and_says_what_the_engine_says(life: Life):
    """More entries than are taken at once, in several batches, and a restart between."""

    async def run() -> None:
        for rounds in (3, 2):
            board = Board()
            async with running(Challenger(CHALLENGERS, life.journal, clock), life, board):
                for _ in range(rounds):
                    life.tell(life.live(AT_ONCE))
                    await until(caught_up(life))
            assert board.reports == []
            assert {text for _, text in board.remarks} <= {None}
        Rivals(life).check()

    asyncio.run(run())


def test_the_champion_goes_first(life: Life):
    """While its decisions wait for the broker and that gets on, the challengers do nothing."""

    async def run() -> None:
        sink = Challenger(CHALLENGERS, life.journal, clock, first=["mqtt"])
        async with running(sink, life, Board()):
            life.tell(life.live(4))
            for position in range(1, 8):
                life.journal.mark("mqtt", position)
                await asyncio.sleep(0.02)
                assert life.journal.shadows.last_position == 0
            life.journal.mark("mqtt", 8)
            await until(caught_up(life))
        Rivals(life).check()

    asyncio.run(run())


def test_a_broker_that_is_away_holds_up_nothing_for_long(
    life: Life, monkeypatch: pytest.MonkeyPatch
):
    """After a moment of patience, once: not before each few bars."""
    monkeypatch.setattr(courtesy, "_PATIENCE_S", 0.2)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        sink = Challenger(CHALLENGERS, life.journal, clock, first=["mqtt"])
        async with running(sink, life, Board()):
            began = loop.time()
            life.tell(life.live(5 * AT_ONCE))
            await until(caught_up(life))
            took = loop.time() - began
            assert took >= 0.2
            life.journal.mark("mqtt", 1)  # it is back
            life.tell(life.live(1))
            await asyncio.sleep(0.05)
            assert not caught_up(life)()
            life.journal.mark("mqtt", life.journal.last_position)
            await until(caught_up(life))
        assert life.journal.shadows.last_position == 10 * AT_ONCE + 2

    asyncio.run(run())


def test_others_work_between_a_few_bars(life: Life):
    """However much there is to do, the loop comes round after `AT_ONCE` entries at most."""
    seen: list[int] = []

    async def run() -> None:
        sink = Challenger(CHALLENGERS, life.journal, clock)
        async with running(sink, life, Board()):
            life.tell(life.live(5 * AT_ONCE))
            while not caught_up(life)():
                await asyncio.sleep(0)
                seen.append(life.journal.shadows.last_position)

    asyncio.run(run())
    assert seen[-1] == 10 * AT_ONCE
    assert max(b - a for a, b in itertools.pairwise(seen)) <= AT_ONCE


def test_a_failure_of_a_challenger_is_told_and_ends_nothing_else(
    life: Life, monkeypatch: pytest.MonkeyPatch
):
    """The service is not degraded by it; nothing of what failed is written."""

    def broken(_engine: Engine, _batch: object) -> None:
        raise FloatingPointError("the model has a hole")

    async def run() -> None:
        board = Board()
        sink = Challenger(CHALLENGERS, life.journal, clock)
        life.tell(life.live(1))
        async with running(sink, life, board):
            feed = life.live(1)
            life.tell(feed)
            monkeypatch.setattr(sink._shadowing._engine, "decide", broken.__get__(None, Engine))
            await until(lambda: board.remarks)
            assert board.reports == []
            assert board.remarks[-1][0] == NAME
            assert "the champion goes on" in str(board.remarks[-1][1])
        assert life.journal.shadows.last_position == 0

    monkeypatch.setattr(Shadowing, "decide", lambda *_: broken(None, None))  # type: ignore[arg-type]
    asyncio.run(run())


def test_a_full_disk_is_told_and_tried_again(life: Life, monkeypatch: pytest.MonkeyPatch):
    """Once there is room, nothing is missing, and nothing is said any more."""
    monkeypatch.setattr(module, "_RETRY_S", 0.01)
    commit, full = ShadowBook.commit, [True]

    def maybe(book: ShadowBook, *what: object) -> object:
        if full[0]:
            raise JournalUnavailableError("the disk is full")
        return commit(book, *what)  # type: ignore[arg-type]

    async def run() -> None:
        board = Board()
        async with running(Challenger(CHALLENGERS, life.journal, clock), life, board):
            life.tell(life.live(30))
            await until(lambda: (NAME, "the disk is full") in board.remarks)
            full[0] = False
            await until(caught_up(life))
            assert board.remarks[-1] == (NAME, None)
            assert board.reports == []
        Rivals(life).check()

    monkeypatch.setattr(ShadowBook, "commit", maybe)
    asyncio.run(run())


def test_a_damaged_journal_stops_the_daemon(life: Life, monkeypatch: pytest.MonkeyPatch):
    """As anywhere: what is stored cannot be trusted any more."""

    def damaged(*_: object) -> None:
        raise JournalError("damaged")

    async def run() -> None:
        monkeypatch.setattr(ShadowBook, "bar", damaged)
        sink = Published(Challenger(CHALLENGERS, life.journal, clock), silent)
        task = asyncio.create_task(sink.run(life.journal, Board()))
        await begun(life)
        life.tell(life.live(1))
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(task, 5)
        assert caught.value.subgroup(JournalError)

    asyncio.run(run())


async def silent(_shadows: ShadowOutbox, _board: HealthBoard) -> None:
    await asyncio.Event().wait()


def test_who_publishes_may_fail_and_the_challengers_go_on(life: Life):
    """And they may fail, and what is decided already is still published."""

    async def failing(_shadows: ShadowOutbox, _board: HealthBoard) -> None:
        raise RuntimeError("no way")

    async def run() -> None:
        board = Board()
        sink = Published(Challenger(CHALLENGERS, life.journal, clock), failing)
        async with running(sink, life, board):
            await until(lambda: board.remarks)
            life.tell(life.live(3))
            await until(caught_up(life))
        Rivals(life).check()

    asyncio.run(run())


def test_challengers_can_be_replaced_while_it_runs(life: Life):
    """The new ones begin with the next bars; who stays goes on where he was."""
    other = lane(ETH, seed=2)

    async def run() -> None:
        sink = Challenger(CHALLENGERS, life.journal, clock)
        async with running(sink, life, Board()):
            life.tell(life.live(5))
            await until(caught_up(life))
            sink.replace([CHALLENGERS[0], other])
            assert sink.lanes == {BTC: CHALLENGERS[0], ETH: other}
            life.tell(life.live(1))
            await until(caught_up(life))
            life.tell(life.live(5))
            await until(caught_up(life))
            sink.replace([])
            life.tell(life.live(2))
            await until(caught_up(life))

    asyncio.run(run())
    rivals = Rivals(life)
    assert len(rivals.shadows(BTC)) == 11
    made = [entry.decision.model_digest for entry in rivals.shadows(ETH)]
    assert made[:5] == [CHALLENGERS[1].model.digest] * 5
    assert set(made[5:]) == {other.model.digest}
    assert len(made) == 10
