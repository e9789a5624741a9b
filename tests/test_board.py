"""The health board, notices to systemd, and what a failure says and with which code it ends."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled.board import Board
from candled.config import ConfigError
from candled.core.bar import Stream
from candled.errors import Exit, explain
from candled.journal import JournalError, JournalLockedError, JournalUnavailableError
from candled.ports import (
    Act,
    Hazard,
    Health,
    Incident,
    Notice,
    ServiceState,
    StreamHealth,
    StreamState,
)
from candled_adapters.simulator.sockets import PortInUse
from fakes import until


class Wall:
    """A wall clock that is moved by hand (ms)."""

    def __init__(self) -> None:
        self.now = 1000

    def __call__(self) -> int:
        return self.now


def test_a_service_without_problems_is_online():
    """At first all is well, since the moment the board was made."""
    assert Board(Wall()).health == Health(ServiceState.ONLINE, (), 1000)


def test_a_remark_is_told_and_degrades_nothing():
    """What is wrong with one receiver is no reason for the others to stop; problems come first."""
    board = Board(Wall())
    board.remark("webhook:bot", "answered 500")
    assert board.health == Health(ServiceState.ONLINE, ("webhook:bot: answered 500",), 1000)
    board.report("mqtt", "no connection")
    assert board.health.state is ServiceState.DEGRADED
    assert board.health.reasons == ("mqtt: no connection", "webhook:bot: answered 500")
    board.report("mqtt", None)
    assert board.health.state is ServiceState.ONLINE
    board.remark("webhook:bot", None)
    board.remark("never seen", None)
    assert board.health.reasons == ()


def test_problems_are_told_by_part_until_they_are_gone():
    """Any problem degrades the service; it is online again when each part has said it is well."""
    board = Board(Wall())
    board.report("mqtt", "no connection")
    board.report("binance/BTCUSDT/1h", "holding")
    board.report("mqtt", "refused")
    assert board.health.state is ServiceState.DEGRADED
    assert board.health.reasons == ("binance/BTCUSDT/1h: holding", "mqtt: refused")
    board.report("mqtt", None)
    assert board.health.reasons == ("binance/BTCUSDT/1h: holding",)
    board.report("binance/BTCUSDT/1h", None)
    assert board.health == Health(ServiceState.ONLINE, (), 1000)
    board.report("never seen", None)
    assert board.health.state is ServiceState.ONLINE


def test_since_is_when_the_state_began():
    """More or other reasons do not begin a state anew; a change of state does."""
    wall = Wall()
    board = Board(wall)
    for wall.now, problem, since in ((2000, "a", 2000), (3000, "b", 2000), (4000, None, 4000)):
        board.report("mqtt", problem)
        assert board.health.since_ms == since


def test_a_thousand_reasons_are_counted():
    """The status stays readable: twenty reasons, and how many more there are."""
    board = Board(Wall())
    for index in range(1000):
        board.report(f"part {index:04}", "down")
    assert len(board.health.reasons) == 21
    assert board.health.reasons[0] == "part 0000: down"
    assert board.health.reasons[-1] == "and 980 more"
    for index in range(20, 1000):
        board.report(f"part {index:04}", None)
    assert board.health.reasons[-1] == "part 0019: down"


def test_a_change_is_waited_for():
    """`changed` returns at once for what is old, later for what is new, to everybody who waits."""

    async def body() -> None:
        board = Board(Wall())
        first = board.health
        waiting = [asyncio.create_task(board.changed(first)) for _ in range(3)]
        board.report("mqtt", None)
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        board.report("mqtt", "gone")
        await until(lambda: all(task.done() for task in waiting))
        assert {task.result() for task in waiting} == {board.health}
        assert await asyncio.wait_for(board.changed(first), 1) == board.health
        more = asyncio.create_task(board.changed(board.health))
        board.report("log", "full")
        assert (await asyncio.wait_for(more, 1)).reasons == ("log: full", "mqtt: gone")

    asyncio.run(body())


BTC = Stream("binance", "BTCUSDT", "1h")


def test_a_stream_that_is_not_live_degrades_the_service():
    """Its state is told by itself, and among the problems until it is live."""
    board = Board(Wall())
    assert board.stream(BTC) is None
    for state in StreamState:
        health = StreamHealth(BTC, state, "a reason" if state is StreamState.HOLDING else "")
        board.note(health)
        assert board.stream(BTC) == health
        live = state is StreamState.LIVE
        assert board.health.state is (ServiceState.ONLINE if live else ServiceState.DEGRADED)
    board.note(StreamHealth(BTC, StreamState.HOLDING, "a reason"))
    assert board.health.reasons == ("binance/BTCUSDT/1h: holding: a reason",)


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(StreamState)) | st.none()))
def test_who_follows_the_streams_misses_no_change(steps: list[tuple[int, StreamState] | None]):
    """Whenever one asks, one gets each stream that does otherwise since, once, and no other."""

    async def body() -> None:
        board, seen = Board(Wall()), 0
        known: dict[Stream, StreamHealth | None] = {}
        for step in [*steps, None]:
            if step is not None:
                board.note(StreamHealth(Stream("binance", f"S{step[0]}", "1h"), step[1], ""))
                continue
            noted = set(board._streams.values())
            asked = asyncio.ensure_future(board.streams_changed(seen))
            await asyncio.sleep(0)
            if asked.cancel():  # there was nothing new
                assert noted == set(known.values())
                continue
            seen, streams = asked.result()
            assert len(set(streams)) == len(streams) > 0
            known |= {stream: board.stream(stream) for stream in streams}
            assert noted == set(known.values())

    asyncio.run(body())


def test_a_change_of_a_stream_wakes_who_waits_for_it():
    """Also a change of the reason alone; saying the same again is none."""

    async def body() -> None:
        board = Board(Wall())
        holding = StreamHealth(BTC, StreamState.HOLDING, "a bar is missing")
        board.note(holding)
        assert await board.streams_changed(0) == (1, [BTC])
        waiting = [asyncio.create_task(board.streams_changed(1)) for _ in range(2)]
        board.note(holding)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        board.note(StreamHealth(BTC, StreamState.HOLDING, "two are"))
        for task in waiting:
            assert await asyncio.wait_for(task, 1) == (2, [BTC])

    asyncio.run(body())


def test_the_first_failure_is_why_the_service_ends():
    """What is known is told in its words, a bug by its kind, a group by all that is in it."""
    board = Board(Wall())
    assert board.failure is None
    board.fail("decider", JournalUnavailableError("j: full;\n check the disk"))
    board.fail("sink mqtt", ValueError("x"))
    assert board.failure == "decider failed: j: full; check the disk"
    both = ExceptionGroup("both", [JournalError("b"), TypeError("bug"), TypeError("bug")])
    other = Board(Wall())
    other.fail("sink mqtt", both)
    assert other.failure == "sink mqtt failed: JournalError: b; TypeError: bug"


def test_notices_are_numbered_and_the_oldest_are_forgotten():
    """Who was away gets the newest ones; who is there waits for the next."""

    def incident(number: int) -> Incident:
        return Incident("binance", BTC, Hazard.GAP, Act.FLAG, str(number), number)

    async def body() -> None:
        board = Board(Wall())
        waiting = asyncio.create_task(board.notices(0))
        await asyncio.sleep(0)
        assert not waiting.done()
        board.tell(incident(1), 0)
        assert await asyncio.wait_for(waiting, 1) == [Notice(1, incident(1), 0)]
        for number in range(2, 301):
            board.tell(incident(number), number)
        assert await board.notices(298) == [Notice(n, incident(n), n) for n in (299, 300)]
        kept = await board.notices(0)
        assert [notice.number for notice in kept] == list(range(45, 301))
        late = asyncio.create_task(board.notices(300))
        await asyncio.sleep(0)
        assert not late.done()
        board.tell(incident(301), 0)
        assert [notice.number for notice in await asyncio.wait_for(late, 1)] == [301]

    asyncio.run(body())


# --- errors


def test_failures_have_the_codes_that_systemd_is_told():
    """Configuration is 78, data 65, trouble that may pass 75, a broken invariant 70."""
    cases = {
        Exit.CONFIG: [ConfigError(Path("c.toml"), ["x"])],
        Exit.TEMPORARY: [
            JournalLockedError("x"),
            JournalUnavailableError("x"),
            PortInUse(errno.EADDRINUSE, "port 1 is taken"),
            OSError(errno.ENOSPC, "No space left on device"),
        ],
        Exit.INVARIANT: [JournalError("x")],
        Exit.DATA: [FileNotFoundError(2, "No such file or directory", "f.csv")],
    }
    for code, failures in cases.items():
        for failure in failures:
            known = explain(failure)
            assert known is not None, failure
            assert known[1] == code
    assert [int(code) for code in Exit] == [65, 70, 75, 78]


def test_the_systems_errors_name_the_file_first():
    """A file that is missing is said in one clear line, without a number."""
    assert explain(FileNotFoundError(2, "No such file or directory", "f.csv")) == (
        "f.csv: No such file or directory",
        Exit.DATA,
    )
    assert explain(FileExistsError("b is a file; name a folder"))[0] == "b is a file; name a folder"  # type: ignore[index]


@pytest.mark.parametrize(
    "failure", [ValueError("x"), KeyError("x"), OSError(5, "Input/output error"), RuntimeError()]
)
def test_what_nobody_foresaw_is_not_explained(failure: Exception):
    """A bug keeps its traceback, alone or in a group."""
    assert explain(failure) is None
    assert explain(ExceptionGroup("tasks", [failure])) is None


def test_a_group_is_explained_by_all_that_is_in_it():
    """Failures of several tasks are told together, once each, with the gravest code."""
    inner = ExceptionGroup("inner", [JournalError("b"), JournalLockedError("a")])
    group = ExceptionGroup("outer", [JournalLockedError("a"), inner])
    assert explain(group) == ("a\nb", Exit.INVARIANT)
    assert explain(ExceptionGroup("one", [JournalError("b")])) == ("b", Exit.INVARIANT)


def test_a_bug_does_not_hide_behind_what_is_known():
    """A group with anything unexplained in it keeps its traceback."""
    assert explain(ExceptionGroup("both", [JournalError("b"), TypeError("bug")])) is None


def test_a_part_has_been_well_once_it_said_so():
    """Also before any problem, and for good: a start that is over does not begin again."""
    board = Board(lambda: 0)
    assert not board.has_been_well("mqtt")
    board.report("mqtt", "away")
    assert not board.has_been_well("mqtt")
    board.report("mqtt", None)
    board.report("mqtt", "away")
    assert board.has_been_well("mqtt")
    board.report("other", None)
    assert board.has_been_well("other")
