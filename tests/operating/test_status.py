"""`candled status`: what the daemon says, what its folder tells, and the code that follows."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from brokers import free_port, needs_mosquitto
from candled.config import digest, load_config
from candled.core.decision import Side
from candled.journal import holder, open_journal
from candled.operating.facts import Status, Stored, Verdict
from candled.operating.status import StatusOptions, find_out, run_status
from candled.operating.status_view import ago, sections
from candled.operating.tables import Row, Section, drawn, plain
from candled_adapters.web import shapes
from journals import BTC, ETH, START, commit
from operating.stage import stage, until

LEAST = """
[web]
listen = "{listen}"
[exchanges.binance]
dialect = "binance-spot"
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "bundle"
"""


def configured(folder: Path, listen: str) -> Path:
    (folder / "config.toml").write_text(LEAST.format(listen=listen))
    return folder / "config.toml"


def decided(**fields: Any) -> shapes.Decided:
    usual: dict[str, Any] = {
        "id": "1", "bar_open": START, "bar_close": START + 3_600_000, "revision": 0,
        "side": "long", "reason": None, "seq": 7, "probabilities": shapes.Odds(0.1, 0.7, 0.2),
        "threshold": 0.6, "price": 5.0, "regime": 1, "regime_name": "Trending Up", "quality": (),
        "novelty": None, "source": "ws", "lag_ms": 31, "valid_until": START, "claim": None,
        "model": "m",
    }  # fmt: skip
    return shapes.Decided(**{**usual, **fields})


def overview(service: str = "online", *, epoch: str = "e1", digest_: str = "d", **line: Any):
    record = shapes.Record(
        n=40, pending=2, hit_rate=0.35, low=0.2, high=0.5, claimed=0.33, expectancy_pct=0.1,
        claimed_pct=0.2, calibration=0.0, standing="broken",
    )  # fmt: skip
    drift = shapes.Drifting(
        rows=500, psi_median=0.31, moved_share=0.4, outside_share=0.012, psi_answers=None, worst=()
    )
    fields: dict[str, Any] = {
        "stream": "binance/BTCUSDT/1h", "exchange": "binance", "symbol": "BTCUSDT",
        "interval": "1h", "state": "live", "reason": "", "model": "m", "decided": decided(),
        "signal": decided(), "next_close": None, "closes": (), "record": record, "drift": drift,
    }  # fmt: skip
    return shapes.Overview(
        version="9.9", epoch=epoch, config_digest=digest_, started=START, now=START, ready=True,
        service=shapes.Service(
            state=service, reasons=("mqtt: away",) if service == "degraded" else (), since=START,
            sinks=(shapes.Sink(name="mqtt", behind=3),),
        ),
        lines=(shapes.Line(**{**fields, **line}),),
        cards=(), events=(),
    )  # fmt: skip


@contextmanager
def answering(
    body: bytes, status: int = 200, *, silent: bool = False, port: int = 0
) -> Iterator[str]:
    """Answer every request with this, on a port of one's own or a given one; give the address."""
    gate = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if silent:
                gate.wait(20)
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        gate.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def journal_of(folder: Path) -> Iterator[str]:
    """Hold a journal with two streams; give its epoch."""
    journal = open_journal(folder / "state")
    try:
        commit(journal, (BTC, 0, Side.LONG), (ETH, 0, Side.FLAT))
        commit(journal, (BTC, 1, Side.NO_DECISION))
        journal.mark("mqtt", 2)
        yield journal.epoch
    finally:
        journal.close()


# --- what it comes to


@pytest.mark.parametrize(
    ("state", "verdict"),
    [("online", Verdict.ONLINE), ("degraded", Verdict.DEGRADED), ("offline", Verdict.STOPPED)],
)
def test_our_daemons_word_counts(tmp_path: Path, state: str, verdict: Verdict):
    """It has our journal's epoch; its state is the code, its reasons are told."""
    with (
        journal_of(tmp_path) as epoch,
        answering(msgspec.json.encode(overview(state, epoch=epoch))) as listen,
    ):
        found = find_out(load_config(configured(tmp_path, listen)))
    assert found.verdict is verdict
    assert found.overview is not None
    assert found.stored is None
    assert found.holder == os.getpid()
    assert ("mqtt: away" in found.why) == (state == "degraded")
    assert found.why[-1].startswith("the configuration has changed since the daemon read it")


def test_a_configuration_that_it_runs_with_is_not_called_changed(tmp_path: Path):
    """The digest is the one that the daemon itself tells."""
    port = free_port()
    config = load_config(configured(tmp_path, f"127.0.0.1:{port}"))
    with journal_of(tmp_path) as epoch:
        said = overview(epoch=epoch, digest_=digest(config))
        with answering(msgspec.json.encode(said), port=port):
            assert find_out(config).why == ()


@pytest.mark.parametrize("mine", [True, False])
def test_another_daemons_answer_is_refused(tmp_path: Path, mine):
    """By its epoch; where no journal can be read, by the configuration. Which differs is said."""
    body = msgspec.json.encode(overview(epoch="ffff"))
    with answering(body) as listen:
        config = load_config(configured(tmp_path, listen))
        if mine:
            with journal_of(tmp_path) as epoch:
                found = find_out(config)
            assert (
                f"its journal has epoch ffff, that in {tmp_path / 'state'} {epoch}" in found.why[1]
            )
            assert found.verdict is Verdict.UNKNOWN
            assert found.stored is not None
        else:
            found = find_out(config)
            assert f"this file's {digest(config)[:16]}" in found.why[1]
            assert found.verdict is Verdict.STOPPED
    assert found.overview is None


@pytest.mark.parametrize(
    ("body", "code", "why"),
    [
        (b"<html>", 200, "no candled of this version"),
        (b'{"version": 1}', 200, "no candled of this version"),
        (b"", 200, "no candled of this version"),
        (b'{"error": "away\x1b[2J"}', 503, "answers 503"),
        (b"\xff" * 300, 404, "answers 404"),
    ],
)
def test_nonsense_is_no_answer(tmp_path: Path, capsys, body: bytes, code: int, why: str):
    """Something else listens there: that is said, safely, and the journal is looked at."""
    with journal_of(tmp_path), answering(body, code) as listen:
        asked = StatusOptions(configured(tmp_path, listen), (), watch=False, as_json=False)
        assert run_status(asked) == Verdict.UNKNOWN
    said = capsys.readouterr().out
    assert why in said
    assert "\x1b" not in said
    assert "binance/ETHUSDT/1h" in said


def test_a_silent_daemon_is_not_waited_for(tmp_path: Path, monkeypatch):
    """A frozen one keeps its lock and says nothing: code 4 within the limit."""
    monkeypatch.setattr("candled.operating.asking._TIMEOUT_S", 0.2)
    with journal_of(tmp_path), answering(b"", silent=True) as listen:
        found = find_out(load_config(configured(tmp_path, listen)))
    assert found.verdict is Verdict.UNKNOWN
    assert found.why[0].startswith(f"process {os.getpid()} uses ")
    assert "no answer within 0.2 s" in found.why[1]


@pytest.mark.parametrize("listen", ["", "127.0.0.1:0"])
def test_what_cannot_be_asked_is_told_from_the_journal(tmp_path: Path, capsys, listen: str):
    """Running: 4. Not running: 3. Without a journal there is nothing but that to tell."""
    config = configured(tmp_path, listen)
    asked = StatusOptions(config, (), watch=False, as_json=True)
    assert run_status(asked) == Verdict.STOPPED
    assert json.loads(capsys.readouterr().out)["journal"] is None
    with journal_of(tmp_path) as epoch:
        assert run_status(asked) == Verdict.UNKNOWN
        running = json.loads(capsys.readouterr().out)
    assert run_status(asked) == Verdict.STOPPED
    stopped = json.loads(capsys.readouterr().out)
    assert (running["process"], stopped["process"]) == (os.getpid(), None)
    assert running["journal"] == stopped["journal"]
    assert stopped["journal"]["epoch"] == epoch
    assert stopped["journal"]["marks"] == {"mqtt": 2}
    assert stopped["journal"]["last_position"] == 3
    assert stopped["journal"]["newest_bars"][BTC.path] == START + 3_600_000
    assert [one["position"] for one in stopped["journal"]["decisions"]] == [3, 2]
    assert (stopped["verdict"], stopped["code"]) == ("stopped", 3)


# --- the lock


def test_the_holder_is_found_without_the_lock(tmp_path: Path):
    """Its process while it holds, nobody before and after; a daemon can start in between."""
    assert holder(tmp_path) is None
    journal = open_journal(tmp_path)
    assert holder(tmp_path) == os.getpid()
    journal.close()
    assert holder(tmp_path) is None
    assert (tmp_path / "lock").read_text().strip() == str(os.getpid())  # it is not believed


def test_the_holder_is_found_where_the_system_tells_no_locks(tmp_path: Path):
    """Then only that there is one; and where other locks are listed, none of them is ours."""
    journal = open_journal(tmp_path)
    assert holder(tmp_path, tmp_path / "nothing") == 0
    (tmp_path / "locks").write_text("1: FLOCK ADVISORY WRITE 7 00:1b:1 0 EOF\nnonsense\n1: ->\n")
    assert holder(tmp_path, tmp_path / "locks") is None
    inode = (tmp_path / "lock").stat().st_ino
    (tmp_path / "locks").write_text(f"1: POSIX  ADVISORY  READ 9 00:00:{inode} 0 EOF\n")
    assert holder(tmp_path, tmp_path / "locks") is None
    (tmp_path / "locks").write_text(f"1: FLOCK  ADVISORY  WRITE 9 zz:00:{inode} 0 EOF\n")
    assert holder(tmp_path, tmp_path / "locks") == 9
    journal.close()
    assert holder(tmp_path, tmp_path / "nothing") is None


# --- how it looks


def test_a_status_for_people():
    """State, lag, decision, signal, record and drift of a stream stand in one row."""
    said = overview("degraded", state="holding", reason="a bar is missing")
    text = plain(sections(Status(Verdict.DEGRADED, ("mqtt: away",), START, said, None, 1)))
    assert text.startswith("candled 9.9: degraded for 0 ms, up for 0 ms\n- mqtt: away\nstreams:\n")
    row = next(line for line in text.splitlines() if "binance/BTCUSDT/1h" in line)
    for cell in (
        "holding: a bar is missing", "2025-01-01T01:00:00Z (in 60 min)", "+31 ms",
        "long, p(long)=0.700", "long #7", "35% of 40 (claimed 33%), +0.10 %, BROKEN",
        "PSI 0.31, 40% moved, 1.2% outside in 500 rows",
    ):  # fmt: skip
        assert cell in row, cell
    assert "mqtt  3" in text
    chosen = sections(Status(Verdict.DEGRADED, (), START, said, None, 1), ("kraken/*",))
    assert "BTCUSDT" not in plain(chosen)


WILD = st.lists(
    st.characters() | st.sampled_from(["\x1b[2J", "\n", "\r", "[red]", "\u202e", "[/]"]), max_size=9
).map("".join)


@settings(max_examples=60, deadline=None)
@given(WILD, WILD, WILD, st.booleans())
def test_no_name_of_others_moves_the_cursor_or_forges_a_line(name, reason, event, terminal):
    """Whatever a venue, a bundle or another process calls things, it is only text in its cell."""
    said = msgspec.structs.replace(
        overview(stream=name, reason=reason),
        events=(
            shapes.Happened(
                number=1, at=START, exchange="x", stream=name, hazard="gap", act="flag",
                text=event, unsaid=0,
            ),
        ),
    )  # fmt: skip
    shown = sections(Status(Verdict.ONLINE, (reason,), START, said, None, 1))
    text = plain(shown)
    assert all(line.isprintable() for line in text.splitlines())
    assert len(text.splitlines()) == 11  # head, reason, and three tables of one row
    out = io.StringIO()
    console = Console(file=out, width=400, force_terminal=terminal, color_system=None)
    console.print(drawn(shown))
    assert all(letter.isprintable() or letter == "\n" for letter in out.getvalue())


@given(st.lists(st.tuples(st.text("ab ", max_size=5), st.text("xyz", max_size=9)), min_size=1))
def test_columns_are_aligned(rows):
    """Each column begins at one place in every line of a pipe."""
    table = Section("t", ("one", "two"), [Row(cells) for cells in rows])
    lines = plain([table]).splitlines()[1:]
    at = lines[0].index("two")
    for line, (_, second) in zip(lines[1:], rows, strict=True):
        assert line[at:] == second


def test_a_span_before_and_after_now():
    """The past is ago, the future is in."""
    assert (ago(61_000), ago(-61_000)) == ("61 s ago", "in 61 s")


def test_an_empty_journal_is_told_as_that():
    """No stream, no sink: a head and nothing else."""
    stored = Stored("e", (), {BTC: None}, {}, 0, {"hook": 2})
    text = plain(sections(Status(Verdict.STOPPED, ("why",), START, None, stored, None)))
    assert text.splitlines()[0] == "candled: not running"
    assert "none yet" in text
    assert "hook  0" in text


# --- the whole thing


@needs_mosquitto
def test_a_real_daemon_from_online_to_killed(tmp_path: Path):
    """Online with its streams, degraded when the broker dies, stopped when killed."""
    with stage(tmp_path) as world:
        world.until_decided(3)
        found: dict[str, Any] = {}

        def seen(verdict: str) -> bool:
            status = find_out(load_config(world.config))
            found["status"] = status
            return status.verdict.name == verdict

        until(lambda: seen("ONLINE"), "online")
        assert found["status"].why == ()
        code, out, err = world.run("status")
        assert (code, err) == (0, ""), out
        assert "binance/BTCUSDT/1h" in out
        assert "mqtt" in out
        world.broker.kill()
        until(lambda: seen("DEGRADED"), "degraded", 5)
        assert any(reason.startswith("mqtt: ") for reason in found["status"].why)
        world.broker.start()
        until(lambda: seen("ONLINE"), "online again", 20)
        world.kill()
        code, out, _ = world.run("status", "--json")
        assert code == 3
        told = json.loads(out)
        assert told["journal"]["last_position"] >= 3
        assert "nothing listens there" in told["why"][1]
        assert find_out(load_config(world.config)).holder is None


def test_no_configuration_is_78(tmp_path: Path):
    """Nothing is asked of anyone."""
    from candled.config import ConfigError  # noqa: PLC0415

    with pytest.raises(ConfigError):
        run_status(StatusOptions(tmp_path / "no.toml", (), watch=False, as_json=False))
