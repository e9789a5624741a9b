"""systemd hears a beat only from a service that does its work, and what it is doing."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled.core.bar import Stream
from candled.core.engine import Engine
from candled.inbox import Inbox, Work
from candled.journal import open_journal
from candled.ports import Health, ServiceState, StreamHealth, StreamState
from candled.service import Service
from candled.statusline import keep_status, status_line
from candled.watchdog import Pulse, keep_alive, period_s
from fakes import Board, ended, until
from models import lane
from test_service import BTC, HISTORY, ReadingSink, RecordedFeed, history, live

PERIOD_S = 0.2


# --- whether it is asked for


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "7"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": ""}, 0.5),
    ],
)
def test_the_period_is_what_systemd_asks_of_this_process(environ, seconds):
    """Of another process, which has left its environment, nothing is asked here."""
    assert period_s(environ, 7) == seconds


# --- when all is well

LOOKS = st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0.01, 3.0)), max_size=40)


@given(LOOKS)
def test_no_beat_when_work_waits_longer_than_the_period_and_none_is_taken(looks):
    """Any other silence is well: nothing to do, or something was taken since the last look."""
    pulse, taken, now = Pulse(2.0), 0, 100.0
    stuck_since: float | None = None
    for waits, takes, pause in looks:
        now += pause
        taken += takes
        if not waits or takes or stuck_since is None:
            stuck_since = now
        assert pulse.step(Work(waits, taken), now) == (now - stuck_since <= 2.0)


def test_the_inbox_says_what_waits_and_what_is_being_handled():
    """What was taken and is not handled waits still: its handling may be what hangs."""

    async def body() -> None:
        inbox = Inbox()
        assert inbox.work == Work(waits=False, taken=0)
        await inbox.put(live(BTC, 0, 2))
        assert inbox.work == Work(waits=True, taken=0)
        await inbox.take(1)
        assert inbox.work == Work(waits=True, taken=1)
        inbox.handled()
        assert inbox.work.waits
        await inbox.take(9)
        assert inbox.work == Work(waits=True, taken=2)
        inbox.handled()
        assert inbox.work == Work(waits=False, taken=2)

    asyncio.run(body())


# --- in the service


class Ears:
    """Hears what systemd is told, and when."""

    def __init__(self) -> None:
        self.beats: list[float] = []

    def __call__(self, message: str) -> None:
        assert message == "WATCHDOG=1"
        self.beats.append(time.monotonic())


def serve(folder: Path, monkeypatch: pytest.MonkeyPatch, body, *events, sink=None) -> None:
    """Run a service with its watchdog; `body` is given both and what systemd hears."""
    monkeypatch.setenv("WATCHDOG_USEC", str(int(PERIOD_S * 1e6)))
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))

    async def run() -> None:
        journal = open_journal(folder)
        feed, board, ears = RecordedFeed(*events), Board(), Ears()
        service = Service(
            engine=Engine([lane(BTC)]), journal=journal, feeds=[feed],
            sinks=[sink] if sink else [], board=board, tell=lambda _: None,
        )  # fmt: skip
        serving = asyncio.create_task(service.run(asyncio.Event()))
        beating = asyncio.create_task(keep_alive(lambda: service.work, ears))
        try:
            await until(lambda: len(ears.beats) > 1)
            await body(service, ears)
        finally:
            await ended(beating)
            await ended(serving)
            journal.close()

    asyncio.run(run())


async def _silence(ears: Ears) -> None:
    """Wait until no beat has come for two periods, as systemd would."""
    await until(lambda: time.monotonic() - ears.beats[-1] > 2 * PERIOD_S, 10, "silence")


def test_it_beats_twice_in_a_period_while_all_is_well(tmp_path, monkeypatch):
    """With bars and without: a quiet market is no reason to be silent."""

    async def body(service: Service, ears: Ears) -> None:
        await service._inbox.put(live(BTC, HISTORY, HISTORY + 3))
        count = len(ears.beats)
        await until(lambda: len(ears.beats) > count + 5)
        pauses = [b - a for a, b in zip(ears.beats, ears.beats[1:], strict=False)]
        assert sorted(pauses)[len(pauses) // 2] < 0.8 * PERIOD_S

    serve(tmp_path, monkeypatch, body, [history(BTC)])


def test_a_decider_that_is_held_for_ever_ends_the_beats(tmp_path, monkeypatch):
    """Bars wait and nobody takes them, though the loop turns. It beats again when they are."""

    async def body(service: Service, ears: Ears) -> None:
        async with service._turn:
            await service._inbox.put(live(BTC, HISTORY, HISTORY + 3))
            await _silence(ears)
        count = len(ears.beats)
        await until(lambda: len(ears.beats) > count + 2)

    serve(tmp_path, monkeypatch, body, [history(BTC)])


def test_a_commit_that_hangs_ends_the_beats(tmp_path, monkeypatch):
    """It holds the loop, so nothing turns until it is over."""

    async def body(service: Service, ears: Ears) -> None:
        commit = service._journal.commit

        def hang(*asked):
            before = len(ears.beats)
            time.sleep(3 * PERIOD_S)
            assert len(ears.beats) == before
            return commit(*asked)

        monkeypatch.setattr(service._journal, "commit", hang)
        await service._inbox.put(live(BTC, HISTORY, HISTORY + 1))
        await until(lambda: service._journal.last_position == 1)
        pauses = [b - a for a, b in zip(ears.beats, ears.beats[1:], strict=False)]
        count = len(ears.beats)
        await until(lambda: len(ears.beats) > count)
        pauses.append(ears.beats[count] - ears.beats[count - 1])
        assert max(pauses) > 2 * PERIOD_S

    serve(tmp_path, monkeypatch, body, [history(BTC)])


def test_a_venue_and_a_broker_that_are_away_do_not_end_them(tmp_path, monkeypatch):
    """Waiting for them is the work; a restart would mend nothing."""

    async def body(service: Service, ears: Ears) -> None:
        service._board.report("mqtt", "no connection")
        await service._inbox.put([StreamHealth(BTC, StreamState.HOLDING, "REST: nobody there")])
        await service._inbox.put(live(BTC, HISTORY, HISTORY + 4))
        await until(lambda: service._journal.last_position == 4)
        count = len(ears.beats)
        await until(lambda: len(ears.beats) > count + 6)

    sink = ReadingSink(tmp_path, pause_s=3600)  # never delivers
    serve(tmp_path, monkeypatch, body, [history(BTC)], sink=sink)


def test_nobody_is_told_anything_who_did_not_ask(monkeypatch):
    """Without a period it ends at once."""
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    ears = Ears()
    asyncio.run(keep_alive(lambda: Work(waits=False, taken=0), ears))
    assert ears.beats == []


# --- the line for people


@pytest.mark.parametrize(
    ("states", "reasons", "said"),
    [
        ([StreamState.LIVE] * 3, (), "3 streams live"),
        ([StreamState.LIVE, None], (), "1 of 2 streams live"),
        (
            [StreamState.LIVE, StreamState.WARMING],
            ("x/y/1h: warming",),
            "1 of 2 streams live; x/y/1h: warming",
        ),
        ([StreamState.LIVE], ("a: b", "c: d", "e: f"), "1 streams live; a: b (and 2 more)"),
        ([StreamState.LIVE], ("a: b\nREADY=1",), "1 streams live; a: b\\nREADY=1"),
    ],
)
def test_the_line_says_how_many_are_live_and_what_is_wrong(states, reasons, said):
    """One line, whatever a reason holds: systemd reads each line as an assignment."""
    assert status_line(Health(ServiceState.ONLINE, reasons, 0), states) == said


def test_the_line_follows_the_board(monkeypatch):
    """It is said again when something has changed."""
    monkeypatch.setattr("candled.statusline._PAUSE_S", 0.001)
    eth, said = Stream("binance", "ETHUSDT", "1h"), list[str]()

    async def body() -> None:
        board = Board()
        board.note(StreamHealth(BTC, StreamState.LIVE, ""))
        task = asyncio.create_task(keep_status(board, [BTC, eth], said.append))
        await until(lambda: said == ["STATUS=1 of 2 streams live"])
        board.note(StreamHealth(eth, StreamState.LIVE, ""))
        board.set(ServiceState.ONLINE, "reload: refused")
        await until(lambda: said[-1] == "STATUS=2 streams live; reload: refused")
        await ended(task)

    asyncio.run(body())
