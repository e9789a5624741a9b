"""The window of a real daemon: against a simulated venue, a real broker and its own journal."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from websockets.asyncio.client import connect

from adapters.web.rig import Onlooker, ask
from brokers import mosquitto, needs_mosquitto
from candled.config import ConfigError, load_config
from candled.core.bar import Interval, Stream
from candled.core.decision import Target
from candled.journal import open_reader
from candled.lineup import load_lanes
from candled.offline.drift import drift_of
from candled_adapters.simulator.generator import generate_many
from candled_adapters.simulator.server import Simulator
from candled_adapters.web import shapes
from candled_adapters.web.files import PAGE, chart_script, page_files
from models import THRESHOLD, TREES, bundle, model, spec

SYMBOLS = ("BTCUSDT", "ETHUSDT")
STREAMS = [Stream("venue", symbol, "1h") for symbol in SYMBOLS]
BTC = STREAMS[0]
CONFIG = """
[mqtt]
url = "mqtt://127.0.0.1:{port}"
[web]
listen = "127.0.0.1:0"
page = {page}
[log]
decisions = ""
format = "json"
[exchanges.venue]
dialect = "binance-spot"
ws_url = "{ws}"
rest_url = "{rest}"
max_skew_s = inf
[[streams]]
exchange = "venue"
symbols = ["BTCUSDT", "ETHUSDT"]
interval = "1h"
bundle = "bundle"
any_symbol = true
"""


UNREACHED = "mqtt: the broker has not been reached yet"


class Daemon:
    """A daemon as a process, and where its window is."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child
        self.port = 0
        self.log: list[dict[str, object]] = []
        self.reading = asyncio.create_task(self._read())
        self._found = asyncio.Event()

    async def _read(self) -> None:
        assert self.child.stderr is not None
        async for line in self.child.stderr:
            self.log.append(json.loads(line))
            if self.log[-1]["event"] == "web":
                self.port = int(str(self.log[-1]["address"]).rsplit(":", 1)[1].strip("/"))
                self._found.set()

    async def listens(self) -> None:
        async with asyncio.timeout(30):
            await self._found.wait()

    async def overview(self) -> shapes.Overview:
        answer = await ask(self.port, "/api/overview")
        return msgspec.json.decode(answer.body, type=shapes.Overview)


@asynccontextmanager
async def daemon(config: Path) -> AsyncIterator[Daemon]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "candled", "run", "--config", str(config),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    running = Daemon(child)
    try:
        await running.listens()
        yield running
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
        await running.reading


def configured(folder: Path, broker_port: int, venue: Simulator) -> Path:
    page = json.dumps(chart_script() is not None)
    text = CONFIG.format(port=broker_port, ws=venue.ws_url, rest=venue.rest_url, page=page)
    (folder / "config.toml").write_text(text)
    return folder / "config.toml"


def venue(bars: int = 60, speed: float = 72_000.0) -> Simulator:
    markets = generate_many(3, SYMBOLS, Interval("1h"), 1_735_689_600_000, 702 + bars)
    return Simulator(markets, Interval("1h"), speed=speed, start_at=700, bars=bars)


async def waits(running: Daemon, *reasons: str) -> None:
    """Return once the daemon waits for just this; for nothing when it is ready."""
    said = ["not asked"]
    for _ in range(600):
        said = (await ask(running.port, "/readyz")).said["reasons"]
        if said == list(reasons):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(said)


@needs_mosquitto
def test_what_a_daemon_shows_is_what_it_decided(tmp_path: Path):
    """Live while bars come, and in the end exactly the journal's decisions and bars."""
    bundle(tmp_path / "bundle")

    async def go(port: int) -> None:
        async with venue() as played, daemon(configured(tmp_path, port, played)) as running:
            url = f"ws://127.0.0.1:{running.port}/live"
            async with connect(url, max_size=None) as socket:
                looking = Onlooker(socket)
                await looking.next(shapes.Overview, 20)
                await looking.watch(BTC.path)
                opens: set[int] = set()
                while len(opens) < 20:
                    bars = await looking.next(shapes.Bars, 20)
                    opens |= {bar[0] for bar in bars.bars}
                assert any(isinstance(m, shapes.Lines) for m in looking.heard)
            await waits(running)
            await asyncio.wait_for(played.finished.wait(), 30)
            history = await settled(running, tmp_path / "state")
            overview = await running.overview()
            compare(tmp_path / "state", history, overview)
            check_card(overview)
            await drift_shown(running, tmp_path / "config.toml")
            assert overview.ready
            assert {sink.name: sink.behind for sink in overview.service.sinks} == {
                "mqtt": 0,
                "ledger": 0,
            }
            for path in page_files(PAGE, chart) if (chart := chart_script()) else ():
                assert (await ask(running.port, path)).status == 200
            running.child.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(running.child.wait(), 15) == 0
        assert not [line for line in running.log if line["level"] in ("error", "critical")]

    with mosquitto(tmp_path) as broker:
        asyncio.run(asyncio.wait_for(go(broker.port), 110))


async def settled(running: Daemon, state: Path) -> shapes.History:
    """Return a history that holds all bars, and all outcomes that the journal has."""
    for _ in range(400):
        said = await ask(running.port, "/api/stream/venue/BTCUSDT/1h?bars=2000")
        history = msgspec.json.decode(said.body, type=shapes.History)
        with open_reader(state) as journal:
            resolved = [outcome.id for outcome in journal.outcomes(BTC)]
        told = [outcome.id for outcome in history.outcomes]
        if len(history.decisions) == 60 and told and told == resolved:
            return history
        await asyncio.sleep(0.05)
    raise AssertionError(history)


async def drift_shown(running: Daemon, config: Path) -> None:
    """Return once what is shown of drift is what the journal alone says of it."""
    known = {one["stream"]: one for one in json.loads(drift_of(config, None, as_json=True))}
    for stream in STREAMS:
        wanted = known[stream.path]
        assert wanted["rows"] == 60
        async with asyncio.timeout(20):
            shown = None
            while shown is None or shown.rows < wanted["rows"]:
                lines = (await running.overview()).lines
                shown = next(line.drift for line in lines if line.stream == stream.path)
                await asyncio.sleep(0.05)
        names = ("psi_median", "moved_share", "outside_share", "psi_answers")
        assert [getattr(shown, name) for name in names] == [wanted[name] for name in names]
        assert list(shown.worst) == [(one["name"], one["psi"]) for one in wanted["worst"]]
        assert len(shown.worst) == 10


def compare(state: Path, history: shapes.History, overview: shapes.Overview) -> None:
    """Compare what is shown with what another process finds in the journal."""
    with open_reader(state) as journal:
        for line, stream in zip(overview.lines, STREAMS, strict=True):
            decisions, bars = journal.decisions(stream), journal.bars(stream)
            signals = [d for d in decisions if d.side.is_signal]
            assert line.stream == stream.path
            assert line.decided is not None
            assert line.decided.id == decisions[-1].id
            assert line.closes == tuple(bars.close[-60:].tolist())
            assert (line.signal and line.signal.id) == (signals[-1].id if signals else None)
        decisions, bars = journal.decisions(BTC), journal.bars(BTC)
    assert [d.id for d in history.decisions] == [d.id for d in decisions]
    assert [d.side for d in history.decisions] == [d.side.value for d in decisions]
    assert [row[:5] for row in history.bars] == [
        (bar.open_time, bar.open, bar.high, bar.low, bar.close) for bar in bars
    ]


def check_card(overview: shapes.Overview) -> None:
    """Compare the model card with the bundle."""
    (card,) = overview.cards
    told = spec().provenance
    assert (card.digest, card.role, card.signed) == (model().digest, "champion", False)
    assert card.digest == overview.lines[0].model
    assert (card.name, card.feature_set, card.features) == ("BTCUSDT_1h", "mar", 220)
    assert card.created_at == "2026-01-01T00:00:00+00:00"
    assert card.trained_until == told["train"]["last_open_time"]
    assert (card.label_rule, card.threshold, card.regime) == ("window", THRESHOLD, "notebook")
    goal = Target(card.lookahead_bars, card.profit_pct, card.stop_pct)
    assert goal == spec().target
    assert told["estimators"] == TREES


@needs_mosquitto
def test_troubles_are_seen_within_seconds_and_cleared_after(tmp_path: Path):
    """A broker that is away, dies and returns, and a daemon that is killed and started again."""
    bundle(tmp_path / "bundle")

    async def go(broker) -> None:
        async with venue(2_000, 18_000.0) as played:
            config = configured(tmp_path, broker.port, played)
            broker.kill()
            async with daemon(config) as running:
                await waits(running, UNREACHED)
                broker.restart()
                await waits(running)
                async with connect(f"ws://127.0.0.1:{running.port}/live", max_size=None) as socket:
                    looking = Onlooker(socket)
                    broker.kill()
                    while "mqtt" not in " ".join((await looking.next(shapes.Service, 5)).reasons):
                        pass
                    assert (await ask(running.port, "/healthz")).said["state"] == "degraded"
                    broker.restart()
                    while (await looking.next(shapes.Service, 10)).state != "online":
                        pass
                before = await running.overview()
                running.child.kill()
            async with daemon(config) as running:
                after = await running.overview()
                assert after.epoch == before.epoch
                for old, new in zip(before.lines, after.lines, strict=True):
                    assert new.decided is not None
                    assert new.decided.bar_open >= old.decided.bar_open
                await waits(running)

    with mosquitto(tmp_path) as broker:
        asyncio.run(asyncio.wait_for(go(broker), 110))


def test_a_page_without_its_library_is_a_problem_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Told with all others and the mend before anything runs; without a page nothing is missing."""
    monkeypatch.setattr("candled.window.chart_script", lambda: None)
    text = CONFIG.format(port=9, ws="ws://127.0.0.1:9", rest="http://127.0.0.1:9", page="true")
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_lanes(load_config(path), path)
    (page, missing_bundle) = caught.value.problems
    assert (
        page == "web.page: the chart's library is not installed; install candled[page], "
        "or set page = false"
    )
    assert "bundle" in missing_bundle
    for off in (text.replace("page = true", "page = false"), text.replace('"127.0.0.1:0"', '""')):
        path.write_text(off)
        with pytest.raises(ConfigError) as caught:
            load_lanes(load_config(path), path)
        assert len(caught.value.problems) == 1


def test_a_window_that_is_off_listens_nowhere(tmp_path: Path):
    """An empty address; and the daemon does all the rest."""
    bundle(tmp_path / "bundle")
    text = CONFIG.format(port=9, ws="ws://127.0.0.1:9", rest="http://127.0.0.1:9", page="false")
    (tmp_path / "config.toml").write_text(text.replace('"127.0.0.1:0"', '""'))
    command = [sys.executable, "-m", "candled", "run", "--config", str(tmp_path / "config.toml")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        try:
            said = ""
            while "no connection to" not in said:
                line = child.stderr.readline()
                assert line, said
                said += line
            listening = Path(f"/proc/{child.pid}/net/tcp").read_text()
            inodes = {str(fd.readlink()) for fd in Path(f"/proc/{child.pid}/fd").iterdir()}
        finally:
            child.kill()
    rows = [row.split() for row in listening.splitlines()[1:]]
    mine = [row for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]
    assert mine == []
    assert '"web"' not in said
