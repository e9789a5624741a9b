"""The figures are read from the parts themselves: journal, board, loop watch, disk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

from adapters.web.metrics_world import own, values
from candled.board import Board
from candled.core.decision import Side
from candled.gauges import Instruments, disk_of, exposition_of, is_ready, sources_of
from candled.loopwatch import LoopWatch
from candled.ports import StreamHealth, StreamState
from candled.tally import Tally
from candled.window import Behind
from candled_adapters.protocol.shapes import Info
from candled_adapters.web.metrics import Metrics
from fakes import FixedClock, MemoryOutbox
from journals import BTC, ETH, FILE, START, commit, opened


class Named:
    """A sink of which only the name matters."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def run(self, outbox, board) -> None:
        raise NotImplementedError


def behind(board: Board) -> Behind:
    info = Info(version="1.2.3", config_digest="c", models=(), exchanges={}, streams=(), epoch="e")
    return Behind(
        [SimpleNamespace(stream=BTC), SimpleNamespace(stream=ETH)],
        info,
        [Named("mqtt"), Named("log")],
        board,
    )


def board() -> Board:
    return Board(lambda: START)


def told(tmp_path: Path, journal, watched: Board, watch: LoopWatch) -> dict:
    instruments = Instruments(Tally(), watch, journal, lambda _: FixedClock(START), tmp_path)
    asked = sources_of(behind(watched), instruments, watchdog_beats=lambda: 7)
    return own(values(Metrics(asked).registry.collect()))


def one(name: str, **labels: str) -> tuple[str, frozenset]:
    return name, frozenset(labels.items())


def test_what_is_told_of_the_parts_is_what_they_say(tmp_path: Path):
    """Backlog and refusals by sink, the loop's beats, readiness, and what else was given."""
    watched, watch = board(), LoopWatch()
    watched.report("mqtt", "not yet connected")
    watch.beat(0.4)
    watch.beat(-0.1)
    with opened(tmp_path) as journal:
        commit(journal, *((BTC, hour, Side.LONG) for hour in range(5)))
        journal.mark("log", 3)
        journal.refuse("log", 2, "too old")
        journal.refuse("log", 3, "too old")
        found = told(tmp_path, journal, watched, watch)
        assert found[one("candled_outbox_entries", sink="mqtt")] == 5
        assert found[one("candled_outbox_entries", sink="log")] == 2
        assert found[one("candled_refused_total", sink="mqtt")] == 0
        assert found[one("candled_refused_total", sink="log")] == 2
        assert found[one("candled_loop_late_seconds_count")] == 2
        assert found[one("candled_loop_late_seconds_sum")] == 0.4
        assert found[one("candled_loop_late_max_seconds")] == 0.4
        assert found[one("candled_watchdog_beats_total")] == 7
        assert found[one("candled_mqtt_connected")] == 0
        assert found[one("candled_ready")] == 0
        watched.report("mqtt", None)
        for stream in (BTC, ETH):
            watched.note(StreamHealth(stream, StreamState.LIVE, ""))
        found = told(tmp_path, journal, watched, watch)
        assert found[one("candled_mqtt_connected")] == 1
        assert found[one("candled_ready")] == 1


def test_a_service_is_ready_when_its_start_is_over():
    """Every stream has its history and the broker was reached once; then only a failure counts."""
    watched = board()
    assert not is_ready(watched, [])
    watched.report("mqtt", None)
    assert is_ready(watched, [])
    assert not is_ready(watched, [BTC])
    watched.note(StreamHealth(BTC, StreamState.WARMING, ""))
    assert not is_ready(watched, [BTC])
    watched.note(StreamHealth(BTC, StreamState.HOLDING, "a bar is missing"))
    watched.report("mqtt", "away")
    assert is_ready(watched, [BTC])
    watched.fail("decider", ValueError("broken"))
    assert not is_ready(watched, [BTC])


def test_a_board_says_what_is_wrong_with_one_part():
    """Nothing of a part that is well, of one that only remarks, or of one never heard of."""
    watched = board()
    watched.report("mqtt", "away")
    watched.remark("web", "port in use")
    assert watched.problem("mqtt") == "away"
    assert watched.problem("web") is None
    assert watched.problem("log") is None
    watched.report("mqtt", None)
    assert watched.problem("mqtt") is None


def test_the_journals_size_is_of_its_own_files(tmp_path: Path):
    """What else lies in the folder does not count; a folder that is gone tells nothing."""
    (tmp_path / FILE).write_bytes(b"x" * 1000)
    (tmp_path / f"{FILE}-wal").write_bytes(b"x" * 500)
    (tmp_path / "decisions.jsonl").write_bytes(b"x" * 9_999)
    found = disk_of(tmp_path)
    assert found is not None
    assert found.journal == 1500
    assert 0 < found.free < found.size
    assert disk_of(tmp_path / "gone") is None


def test_a_text_can_be_had_through_the_seat(tmp_path: Path):
    """What the window is given answers with a text and its type."""
    watched = board()
    instruments = Instruments(
        Tally(), LoopWatch(), MemoryOutbox(), lambda _: FixedClock(START), tmp_path
    )
    asked = sources_of(behind(watched), instruments, backlog=dict, refused=dict)
    text, content_type = asyncio.run(exposition_of(asked)("text/plain"))
    assert content_type.startswith("text/plain")
    assert b'candled_build_info{python="' in text
    assert b'version="1.2.3"' in text
