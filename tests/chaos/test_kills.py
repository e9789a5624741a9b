"""Real processes and kill -9: each bar is decided once, as the batch decides it, and is received.

`make chaos` runs this on 5,000 bars; the ordinary test run on a few hundred.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pytest

from brokers import Mosquitto, mosquitto, needs_mosquitto
from candled.core.bar import Bars, Interval, iso
from candled.core.decision import SIDES
from candled.journal import open_journal
from candled.lab.predict import predict
from candled.offline.models import import_model
from candled.simulate import synthetic_start
from candled_adapters.artifacts.bundle import load_bundle
from candled_adapters.candles.candlefile import read_candles, write_candles
from candled_adapters.simulator.generator import generate
from candled_adapters.subscriber import Heard, Signals
from models import bundle
from real import real_data

START_AT = 2_000
CHAOS_BARS = int(os.environ.get("CANDLED_CHAOS_BARS", "300"))
BARS_PER_SECOND = 100
DURABLE_BROKER = """
persistence true
persistence_location {folder}/
autosave_interval 1
autosave_on_changes true
"""
PATIENCE_S = 60.0

pytestmark = needs_mosquitto


@dataclass(slots=True)
class Stage:
    """Files that a run needs."""

    folder: Path
    candles: Path
    bars: Bars
    bundle: Path


@pytest.fixture(params=["synthetic", "real"])
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Stage:
    """Synthetic candles and a small model; real candles and the notebook's model where at hand."""
    path = tmp_path / "bundle"
    if request.param == "real":
        real = real_data()
        candles = real / "candles" / "BTCUSDT_1h.csv.gz"
        import_model(real / "notebook", path, None, None, 0.6)
        return Stage(tmp_path, candles, read_candles(candles).bars, path)
    count = START_AT + CHAOS_BARS + 1
    interval, candles = Interval("1h"), tmp_path / "candles.csv.gz"
    bars = generate(7, interval, synthetic_start(interval), count)
    write_candles(candles, bars)
    return Stage(tmp_path, candles, bars, bundle(path))


@dataclass(slots=True)
class Program:
    """A candled command as a child process, to be killed and started again."""

    arguments: list[str]
    log: Path
    child: subprocess.Popen[bytes] | None = None
    _begun: int = 0
    """Size of the log when it was last started."""

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._begun = log.tell()
            self.child = subprocess.Popen(
                [sys.executable, "-m", "candled", *self.arguments],
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def kill(self) -> None:
        """Kill -9."""
        assert self.child is not None
        self.child.kill()
        self.child.wait()
        self._close()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop it where it is, and let it go on afterwards."""
        assert self.child is not None
        self.child.send_signal(signal.SIGSTOP)
        yield
        self.child.send_signal(signal.SIGCONT)

    async def until_said(self, text: str, seconds: float) -> None:
        """Wait for a text in the log since the last start."""
        deadline = time.monotonic() + seconds
        while text.encode() not in self.log.read_bytes()[self._begun :]:
            assert time.monotonic() < deadline, self.log.read_text()
            await asyncio.sleep(0.02)

    def terminate(self) -> int:
        """SIGTERM; return the exit code."""
        assert self.child is not None
        self.child.terminate()
        code = self.child.wait(timeout=20)
        self._close()
        return code

    def _close(self) -> None:
        assert self.child is not None
        assert self.child.stdout is not None
        self.child.stdout.close()


@contextmanager
def program(folder: Path, *arguments: str) -> Iterator[Program]:
    made = Program(list(arguments), folder / f"{arguments[0]}.log")
    made.start()
    try:
        yield made
    finally:
        made.kill()


def urls_of(simulator: Program) -> tuple[str, str]:
    """Read the addresses that the simulator prints when it is ready."""
    assert simulator.child is not None
    assert simulator.child.stdout is not None
    found = {}
    while len(found) < 2:
        line = simulator.child.stdout.readline().decode()
        assert line, simulator.log.read_text()
        key, _, value = line.strip().partition(" ")
        if key in ("websocket", "rest"):
            found[key] = value
    return found["websocket"], found["rest"]


def write_config(stage: Stage, broker: Mosquitto, urls: tuple[str, str]) -> Path:
    config = stage.folder / "config.toml"
    config.write_text(f"""
[mqtt]
url = "mqtt://127.0.0.1:{broker.port}"
[log]
decisions = "decisions.jsonl"
format = "json"
[exchanges.binance]
dialect = "binance-spot"
ws_url = "{urls[0]}"
rest_url = "{urls[1]}"
max_skew_s = inf
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "bundle"
any_symbol = true
""")
    return config


@dataclass(slots=True)
class Audience:
    """What a durable subscriber has received."""

    messages: list[dict[str, object]] = field(default_factory=list)

    @asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[None]:
        signals = Signals(f"mqtt://127.0.0.1:{port}", client_id="bot", since=0)
        task = asyncio.create_task(self._listen(signals))
        try:
            await asyncio.wait_for(signals.subscribed.wait(), 10)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until_received(self, count: int, seconds: float) -> None:
        """Wait for so many different signals; the assertions that follow tell what is missing."""
        deadline = time.monotonic() + seconds
        while len({message["id"] for message in self.messages}) < count:
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(0.02)

    async def until_quiet(self, seconds: float) -> None:
        """Wait until the broker has handed on all that it has taken."""
        deadline, seen = time.monotonic() + seconds, -1
        while seen < len(self.messages) and time.monotonic() < deadline:
            seen = len(self.messages)
            await asyncio.sleep(0.2)

    async def _listen(self, signals: Signals) -> None:
        async for event in signals:
            if isinstance(event, Heard):
                self.messages.append(msgspec.to_builtins(event.signal))


def decided(state: Path) -> int:
    """Count the decisions that are on disk, beside a running daemon."""
    file = state / "candled.journal"
    if not file.exists():
        return 0
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as db:
        try:
            return int(db.execute("SELECT count(*) FROM decisions").fetchone()[0])
        except sqlite3.OperationalError:  # not created yet
            return 0
        finally:
            db.commit()


def signals_in(state: Path) -> int:
    """Count the signals in the journal of a daemon that has ended."""
    with closing(sqlite3.connect(state / "candled.journal")) as db:
        return int(db.execute("SELECT count(seq) FROM decisions").fetchone()[0])


async def until_decided(state: Path, count: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (have := decided(state)) < count:
        assert time.monotonic() < deadline, f"{have} of {count} decisions in time"
        await asyncio.sleep(0.02)


def test_kills_lose_nothing_and_double_nothing(stage: Stage):
    """Through two kill -9 of the daemon and one of the broker nothing is lost or doubled.

    The broker is killed while it holds nothing that it has acknowledged and not handed on: what a
    broker then forgets is no longer the daemon's to keep.
    """
    audience = Audience()
    asyncio.run(play(stage, CHAOS_BARS, audience))

    journal = open_journal(stage.folder / "state")
    entries = journal.after(0, sys.maxsize)
    journal.close()
    expected = predict(stage.bars, load_bundle(stage.bundle).model)
    slots = stage.bars.open_time[START_AT : START_AT + CHAOS_BARS].tolist()
    rows = np.searchsorted(expected.open_time, slots)

    newest = list({e.decision.bar_open: e.decision for e in entries}.values())
    assert [e.decision.bar_open for e in entries if e.decision.revision == 0] == slots
    assert [decision.bar_open for decision in newest] == slots
    assert [SIDES.index(decision.side) for decision in newest] == expected.signal[rows].tolist()
    found = [decision.probabilities for decision in newest]
    wanted = expected.probabilities[rows].tolist()
    assert [[p.no_trade, p.long, p.short] for p in found if p] == wanted

    signals = [e for e in entries if e.seq is not None]
    received = Counter(str(message["id"]) for message in audience.messages)
    assert [e.seq for e in signals] == list(range(1, len(signals) + 1))
    assert received.keys() == {e.decision.id for e in signals}
    by_id = {str(m["id"]): (m["bar_open"], m["side"]) for m in audience.messages}
    assert by_id == {e.decision.id: (iso(e.decision.bar_open), e.decision.side) for e in signals}
    log = stage.folder / "decisions.jsonl"
    logged = {json.loads(line)["id"] for line in log.read_text().splitlines()}
    assert logged == {e.decision.id for e in entries}
    late = sum(not message["live"] for message in audience.messages)
    print(  # noqa: T201 - the figures of a long run
        f"\n{len(slots)} bars, {len(entries)} decisions, {len(signals)} signals, "
        f"{len(received)} received, {received.total() - len(received)} repeated by id, {late} late"
    )


async def play(stage: Stage, bars: int, audience: Audience) -> None:
    """Run everything once, with the kills at a quarter, a half and three quarters."""
    state = stage.folder / "state"
    conf = DURABLE_BROKER.format(folder=stage.folder)
    speed = BARS_PER_SECOND * 3600
    with (
        mosquitto(stage.folder, conf=conf) as broker,
        program(
            stage.folder, "simulate", "--candles", str(stage.candles), "--symbols", "BTCUSDT",
            "--interval", "1h", "--port", "0", "--speed", str(speed), "--start-at", str(START_AT),
            "--bars", str(bars),
        ) as simulator,
    ):  # fmt: skip
        config = write_config(stage, broker, urls_of(simulator))
        async with audience.listening(broker.port):
            with program(stage.folder, "run", "--config", str(config)) as daemon:
                await until_decided(state, bars // 4, PATIENCE_S)
                daemon.kill()
                daemon.start()
                await until_decided(state, bars // 2, PATIENCE_S)
                with daemon.paused():
                    await audience.until_quiet(PATIENCE_S)
                    broker.kill()
                await until_decided(state, bars // 2 + bars // 10, PATIENCE_S)
                broker.restart()
                await until_decided(state, 3 * bars // 4, PATIENCE_S)
                daemon.kill()
                daemon.start()
                await until_decided(state, bars, PATIENCE_S)
                await daemon.until_said('"event":"stream"', PATIENCE_S)
                assert daemon.terminate() == 0, daemon.log.read_text()
            await audience.until_received(signals_in(state), PATIENCE_S)
