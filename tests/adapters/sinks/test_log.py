from __future__ import annotations

import asyncio
import io
import json
import logging
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from candled.core.decision import Side
from candled_adapters.sinks.log import LogSettings, LogSink, configure_logging, decision_logger
from candled_adapters.sinks.rotating import RotatingFile
from fakes import Board, Decisions, MemoryOutbox, ended, until

SECRET = "correct-horse"  # noqa: S105 - what must not be seen


def lines(path: Path) -> list[dict[str, object]]:
    """Return the events of a log file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def play(settings: LogSettings, outbox: MemoryOutbox, board: Board | None = None) -> None:
    """Run the sink until everything in the outbox is marked."""

    async def scenario() -> None:
        task = asyncio.create_task(LogSink(settings).run(outbox, board or Board()))
        try:
            await until(lambda: outbox.position("log") == outbox.entries[-1].position)
        finally:
            await ended(task)

    asyncio.run(scenario())


@pytest.fixture
def service_log() -> Iterator[io.StringIO]:
    """Give a stream to configure, and put the world's logging back."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def test_a_correction_has_a_line_of_its_own_kind(tmp_path):
    """It says what a decision says, and what it takes the place of."""
    decisions = Decisions()
    first = decisions.make(Side.LONG)
    play(
        LogSettings(tmp_path / "d.jsonl"),
        MemoryOutbox([first, decisions.correct(first, Side.FLAT)]),
    )
    decision, corrected = lines(tmp_path / "d.jsonl")
    assert (decision["event"], corrected["event"]) == ("decision", "correction")
    assert corrected["supersedes"] == {
        "id": decision["id"], "side": "long", "signal": decision["id"], "seq": 1,
    }  # fmt: skip
    assert corrected.keys() - decision.keys() == {"revision", "supersedes"}


def test_every_decision_has_one_line_in_order(tmp_path):
    """Signals and the rest alike, with the names of the wire."""
    decisions = Decisions()
    entries = [decisions.make(side) for side in (Side.LONG, Side.FLAT, Side.NO_DECISION)]
    play(LogSettings(tmp_path / "logs" / "d.jsonl"), MemoryOutbox(entries))
    got = lines(tmp_path / "logs" / "d.jsonl")
    assert [line["id"] for line in got] == [entry.decision.id for entry in entries]
    assert {line["event"] for line in got} == {"decision"}
    assert [line["side"] for line in got] == ["long", "flat", "no_decision"]
    assert [line["seq"] for line in got] == [1, None, None]
    assert got[2]["reason"] == "warmup"
    assert got[0]["probabilities"] == {"no_trade": 0.21, "long": 0.6123, "short": 0.1777}
    assert (tmp_path / "logs" / "d.jsonl").read_text().startswith('{"event":"decision","id":"')


def test_standard_output_takes_the_lines_when_there_is_no_path(capsys):
    """As under systemd, whose journal keeps them."""
    play(LogSettings(), MemoryOutbox(Decisions().some(2)))
    assert [json.loads(line)["seq"] for line in capsys.readouterr().out.splitlines()] == [1, 2]


def test_nothing_is_marked_before_it_is_in_the_file(tmp_path):
    """At each mark, another reader of the file finds every line up to it."""
    path = tmp_path / "d.jsonl"

    class Witness(MemoryOutbox):
        def mark(self, sink: str, position: int) -> None:
            ids = {line["id"] for line in lines(path)}
            assert all(e.decision.id in ids for e in self.entries if e.position <= position)
            super().mark(sink, position)

    outbox = Witness(Decisions().some(2_500))
    play(LogSettings(path), outbox)
    assert len(outbox.marks) == 3


def test_a_restart_goes_on_where_the_mark_is_and_repeats_rather_than_loses(tmp_path):
    """Entries after the last mark are written again; a half line of the crash spoils no other."""
    path = tmp_path / "d.jsonl"
    entries = Decisions().some(5)
    play(LogSettings(path), MemoryOutbox(entries))
    path.write_bytes(path.read_bytes()[:-20])  # as kill -9 leaves it
    outbox = MemoryOutbox(entries)
    outbox.mark("log", 3)
    play(LogSettings(path), outbox)
    whole = [line for line in path.read_text().splitlines() if line.endswith("}")]
    assert [json.loads(line)["seq"] for line in whole] == [1, 2, 3, 4, 4, 5]


def test_a_full_disk_is_reported_and_outlived(tmp_path):
    """What could not be written is not marked, and is written once there is room."""
    path = tmp_path / "d.jsonl"
    outbox, board = MemoryOutbox(Decisions().some(20)), Board()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    async def scenario() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, limit[1]))
        task = asyncio.create_task(LogSink(LogSettings(path)).run(outbox, board))
        try:
            await until(lambda: "cannot write" in (board.problem or ""))
            assert str(path) in str(board.problem)
            assert outbox.position("log") == 0
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            await until(lambda: outbox.position("log") == 20)
            assert board.problem is None
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            await ended(task)

    try:
        asyncio.run(scenario())
    finally:
        signal.signal(signal.SIGXFSZ, before)
    whole = [line for line in path.read_text().splitlines() if line.endswith("}")]
    assert {json.loads(line)["seq"] for line in whole} == set(range(1, 21))


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=30)),
    st.integers(1, 100),
    st.integers(0, 3),
)
def test_rotation_divides_no_line_and_keeps_the_newest(texts, max_bytes, backups):
    """Old to new, the files are the end of what was written; none is larger than it may be."""
    import tempfile  # noqa: PLC0415 - tmp_path would be shared by all examples

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        with RotatingFile(path, max_bytes, backups) as file:
            for text in texts:
                file.write(text + "\n")
        files = [path.with_name(f"log.{n}") for n in range(backups, 0, -1)] + [path]
        found = [f.read_bytes() for f in files if f.exists()]
        everything = "".join(text + "\n" for text in texts).encode()
        kept = b"".join(found)
        assert everything.endswith(kept)
        assert all(len(data) <= max_bytes or data.count(b"\n") == 1 for data in found)
        assert len(list(Path(folder).iterdir())) <= backups + 1
        assert not texts or kept.endswith((texts[-1] + "\n").encode())


def test_the_decision_logger_has_a_configuration_of_its_own(service_log):
    """What the service's own events look like does not change a decision's line."""
    configure_logging(service_log, "console", "error")
    stream = io.StringIO()
    decision_logger(stream).info("decision", id="x")
    assert stream.getvalue() == '{"event":"decision","id":"x"}\n'
    assert not service_log.getvalue()


def test_secrets_are_hidden_wherever_they_are(service_log):
    """By name at any depth, and in the URLs of any text, of ours and of libraries."""
    configure_logging(service_log)
    log = structlog.get_logger()
    log.info("started", mqtt={"Password": SECRET, "hosts": [{"api_token": SECRET}]}, secret=None)
    log.info("mqtt://bot:correct-horse@host", url=f"mqtts://bot:{SECRET}@host:8883/x")
    logging.getLogger("some.library").warning("mqtt://bot:%s@host", SECRET)
    text = service_log.getvalue()
    assert SECRET not in text
    assert "mqtts://bot:[hidden]@host:8883/x" in text
    assert json.loads(text.splitlines()[0])["secret"] is None


@pytest.mark.parametrize("renderer", ["json", "console"])
def test_a_traceback_shows_no_variables(service_log, renderer):
    """The line that failed is shown, the values it worked with are not."""
    configure_logging(service_log, renderer)

    def fail(password: str) -> None:
        raise OSError(f"failed for {len(password)} letters")

    try:
        fail(SECRET)
    except OSError:
        structlog.get_logger().exception("it broke")
    text = service_log.getvalue()
    assert "OSError: failed for 13 letters" in text
    assert SECRET not in text


def test_libraries_are_heard_from_warnings_on(service_log):
    """Their chatter is not, and the service's own is by the level asked for."""
    configure_logging(service_log, "json", "warning")
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("trouble")
    structlog.get_logger().info("chatter")
    (event,) = [json.loads(line) for line in service_log.getvalue().splitlines()]
    assert (event["event"], event["level"], event["logger"]) == (
        "trouble",
        "warning",
        "some.library",
    )


def test_an_unknown_level_is_refused(service_log):
    """By name, with those that there are."""
    with pytest.raises(ValueError, match="unknown log level 'loud'; use debug, info"):
        configure_logging(service_log, "json", "loud")


def test_the_sinks_bring_no_training_libraries_along():
    """Neither pandas nor scikit-learn nor the xgboost package is imported by delivering."""
    program = (
        "import sys, candled_adapters.sinks.mqtt, candled_adapters.sinks.log, "
        "candled_adapters.broker\n"
        "print([m for m in ('pandas','sklearn','scipy','joblib','xgboost') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert shown.stdout.strip() == b"[]"
