"""The world of a chaos run: venue, broker, daemon, application, and the naive pair beside them.

All are real processes on loopback. Leaving the world ends every one of them, whatever happened.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from brokers import Mosquitto, mosquitto
from candled.core.bar import Bars, Interval
from candled.lab.predict import predict
from candled.simulate import synthetic_start
from candled_adapters.artifacts.bundle import load_bundle
from candled_adapters.simulator.generator import generate_many
from chaos.diary import Line, read
from chaos.journals import Owed, owed
from chaos.programs import Program, until
from chaos.verdict import Told
from models import bundle

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
INTERVAL = Interval("1h")
HISTORY = 2_000
PATIENCE_S = 60.0
#: What Debian's package configures, but for where the files are.
DEBIAN = """
persistence true
persistence_location {folder}/
max_queued_messages 1000
"""
_SIDES = {1: "long", 2: "short"}


@dataclass(frozen=True, slots=True)
class Stage:
    """What is played and what decides."""

    folder: Path
    markets: dict[str, Bars]
    bundle: Path
    seed: int
    bars: int
    speed: float
    """Venue seconds in one of ours."""
    valid_bars: int = 20
    hold_s: float = 2.0
    """How long the application holds a signal back for what is missing before it."""


def stage(folder: Path, *, seed: int, bars: int, bars_per_second: float) -> Stage:
    """Make a small model and the candles that the simulator will make from the same seed."""
    start = synthetic_start(INTERVAL)
    markets = generate_many(seed, SYMBOLS, INTERVAL, start, HISTORY + bars + 1)
    made = bundle(folder / "bundle")
    return Stage(folder, markets, made, seed, bars, bars_per_second * 3600)


def signals_of(stage: Stage) -> dict[str, dict[int, str]]:
    """Return what a batch says: symbol -> open time of a bar -> side of its signal."""
    model = load_bundle(stage.bundle).model
    found = {}
    for symbol, bars in stage.markets.items():
        said = predict(bars, model)
        rows = np.flatnonzero(said.signal)
        found[symbol] = {
            int(said.open_time[row]): _SIDES[int(said.signal[row])] for row in rows.tolist()
        }
    return found


@dataclass(slots=True)
class World:
    """Everything that runs, by what it is."""

    stage: Stage
    broker: Mosquitto
    venue: Program
    daemon: Program
    bot: Program
    twins: dict[str, Program] = field(default_factory=dict)
    """The naive publisher as `daemon`, the naive bot as `bot`; none without a comparison."""

    @property
    def state(self) -> Path:
        return self.stage.folder / "state"

    def owed(self) -> list[Owed]:
        """Return the signals in the journal."""
        return owed(self.state)

    def told(self) -> list[Told]:
        """Return the signals that the application was told of."""
        return [_told(line) for line in self.diary("bot", "signal")]

    def diary(self, whose: str, *kinds: str) -> list[Line]:
        """Return the lines of some kinds in a diary: `bot`, `naive` or `naive-bot`."""
        lines = read(self.stage.folder / f"{whose}.diary")
        return [line for line in lines if not kinds or line["kind"] in kinds]


def _told(line: Line) -> Told:
    stream = f"{line['epoch']} {line['stream']}"
    return Told(line["id"], stream, line["seq"], line["at_ns"], line["acted"], line["late"])


async def urls_of(venue: Program) -> tuple[str, str]:
    """Return websocket and REST address, once the venue is there."""
    found = [await venue.until_said(f"{what} ", PATIENCE_S) for what in ("websocket", "rest")]
    return found[0].split()[1], found[1].split()[1]


def write_config(stage: Stage, port: int, urls: tuple[str, str]) -> Path:
    config = stage.folder / "config.toml"
    config.write_text(f"""
[mqtt]
url = "mqtt://127.0.0.1:{port}"
[log]
decisions = "decisions.jsonl"
format = "json"
[policy]
valid_bars = {stage.valid_bars}
[exchanges.binance]
dialect = "binance-spot"
ws_url = "{urls[0]}"
rest_url = "{urls[1]}"
max_skew_s = inf
[[streams]]
exchange = "binance"
symbols = {json.dumps(SYMBOLS)}
interval = "1h"
bundle = "bundle"
any_symbol = true
""")
    return config


def simulator(stage: Stage) -> Program:
    arguments = [
        "-m", "candled", "simulate", "--symbols", ",".join(SYMBOLS), "--interval", "1h",
        "--port", "0", "--seed", str(stage.seed), "--start-at", str(HISTORY),
        "--bars", str(stage.bars), "--speed", str(stage.speed),
    ]  # fmt: skip
    return Program("venue", arguments, stage.folder)


def daemon(stage: Stage, config: Path, env: Mapping[str, str]) -> Program:
    arguments = ["-m", "candled", "run", "--config", str(config)]
    return Program("daemon", arguments, stage.folder, env)


def bot(stage: Stage, port: int, rest: str) -> Program:
    told = {
        "port": port, "diary": str(stage.folder / "bot.diary"), "rest": rest, "speed": stage.speed,
        "streams": [f"binance/{symbol}/1h" for symbol in SYMBOLS], "hold_s": stage.hold_s,
    }  # fmt: skip
    return Program("bot", ["-m", "chaos.bot", json.dumps(told)], stage.folder)


def naive_pair(stage: Stage, port: int, websocket: str) -> dict[str, Program]:
    """Return the naive publisher and bot; the publisher is told what the model will say."""
    table = stage.folder / "table.json"
    table.write_text(json.dumps(signals_of(stage)))
    streams = "/".join(f"{symbol.lower()}@kline_1h" for symbol in SYMBOLS)
    told = {"port": port, "diary": str(stage.folder / "naive.diary"), "table": str(table),
            "url": f"{websocket}/stream?streams={streams}"}  # fmt: skip
    heard = {"port": port, "diary": str(stage.folder / "naive-bot.diary")}
    module = ["-m", "chaos.naive"]
    return {
        "daemon": Program("naive", [*module, "publish", json.dumps(told)], stage.folder),
        "bot": Program("naive-bot", [*module, "listen", json.dumps(heard)], stage.folder),
    }


@contextmanager
def ending(*programs: Program) -> Iterator[None]:
    """Kill whatever of these runs at the end."""
    try:
        yield
    finally:
        for program in programs:
            program.kill()


@asynccontextmanager
async def world(
    stage: Stage,
    *,
    conf: str = DEBIAN,
    naive: bool = False,
    ports: tuple[int, int, int] | None = None,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[World]:
    """Start everything; the application listens before the daemon begins.

    `ports` are the broker's, and those where daemon and application look for it; `env` is more of
    the daemon's environment.
    """
    own, *ways = ports or (None, None, None)
    with mosquitto(stage.folder, own, conf.format(folder=stage.folder)) as broker:
        to_daemon, to_bot = (way or broker.port for way in ways)
        venue = simulator(stage)
        with ending(venue):
            venue.start()
            websocket, rest = await urls_of(venue)
            config = write_config(stage, to_daemon, (websocket, rest))
            made = World(
                stage, broker, venue, daemon(stage, config, env or {}), bot(stage, to_bot, rest),
                naive_pair(stage, broker.port, websocket) if naive else {},
            )  # fmt: skip
            async with inhabited(made):
                yield made


@asynccontextmanager
async def inhabited(made: World) -> AsyncIterator[None]:
    listeners = [made.bot, *(made.twins[name] for name in ("bot",) if name in made.twins)]
    speakers = [made.daemon, *(made.twins[name] for name in ("daemon",) if name in made.twins)]
    with ending(*speakers, *listeners):
        for program in listeners:
            program.start()
        for program in listeners:
            await until_ready(made, program)
        for program in speakers:
            program.start()
        yield


async def until_ready(made: World, program: Program) -> None:
    """Wait until an application has subscribed since its last start."""

    def ready() -> bool:
        lines = made.diary(program.name, "ready")
        return bool(lines) and lines[-1]["at_ns"] > program.started_ns

    await until(ready, PATIENCE_S, program.words)


async def until_healthy(made: World, seconds: float) -> None:
    """Wait until the daemon, since its last start, has said last that all is well."""

    def healthy() -> bool:
        said = [line for line in made.daemon.words().splitlines() if '"event":"health"' in line]
        return bool(said) and '"state":"online"' in said[-1]

    await until(healthy, seconds, made.daemon.words, every_s=0.1)


async def settle(made: World) -> None:
    """Let all come through, end the daemon properly, and let its last signals come through.

    What it cannot deliver at its end waits for its next start: a connection may have died in the
    last moment, and who is well then does not know it yet. So it is given one more start where
    something is left. What does not come even so is left to the verdict.
    """
    await end_well(made)
    if not await until_told(made):
        made.daemon.start()
        await end_well(made)
        await until_told(made)
    for program in (made.daemon, made.bot):
        assert not program.unasked, program.said_in.read_text()[-5_000:]


async def end_well(made: World) -> None:
    """End the daemon properly once all is well and has come through."""
    await until_healthy(made, PATIENCE_S)
    await until_told(made)
    assert made.daemon.terminate() == 0, made.daemon.words()


async def until_told(made: World) -> bool:
    """Wait, for a bounded time, until the application was told of what is owed by now."""
    owed = {one.id for one in made.owed()}

    def told() -> bool:
        return owed <= {one.id for one in made.told()}

    with suppress(AssertionError):
        await until(told, PATIENCE_S / 2, every_s=0.2)
    return told()
