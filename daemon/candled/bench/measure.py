"""The run: a model, a broker, and for each number of streams a venue and the ways to be compared.

The ways take turns within one run, the first turn alternating, so that whatever else the machine
does meets both. Each is a process of its own, and all but the one whose turn it is are idle.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import tempfile
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from candled.bench.children import BenchError, Child, Message, child
from candled.bench.machine import machine, progress
from candled.bench.report import SCHEMA, Burst, scale_summary
from candled.bench.startup import measure_process
from candled.core.bar import Interval
from candled.core.features.mar import MAR
from candled.offline.threads import quiet_threads
from candled.simulate import synthetic_start
from candled_adapters.artifacts.bundle import write_bundle
from candled_adapters.broker import EmbeddedBroker
from candled_adapters.simulator.generator import generate

_INTERVAL: Final = Interval("1h")
_HOST: Final = "127.0.0.1"
_SEED: Final = 11
_TRAIN_SEED: Final = 1
_HISTORY: Final = max(MAR.history, 800) + 10  # what both ways ask for, and some
_THRESHOLD: Final = 1e-4  # so low that every bar is a signal
_START_S: Final = 300.0  # a thousand histories, twice
_PATIENCE_S: Final = 60.0
_PATIENCE_PER_STREAM_S: Final = 0.5
_MARKS: Final = ("received", "taken", "decided", "durable", "accepted")
_STAGES: Final = ("arrive", "take", "decide", "commit", "publish")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    streams: tuple[int, ...]
    rounds: int
    """Bursts of each way, for each number of streams."""
    notebook_seconds: float = 60.0
    """The notebook's way gets fewer rounds, but one at least, when they take longer than this."""
    starts: int = 5
    idle_s: float = 0.5
    """Before each burst; a bar closes on a machine that has been idle."""
    train_bars: int = 2_500
    estimators: int = 200

    def check(self) -> None:
        """Raise BenchError for what cannot be measured."""
        if not self.streams or min(self.streams) < 1:
            raise BenchError(f"streams are {self.streams}; name one number or more, 1 or above")


#: What the other benches train.
TRAINED: Final = Plan((1,), 1)


@dataclass(frozen=True, slots=True)
class Files:
    """The model, as both ways want it."""

    bundle: Path
    stem: Path
    """Of the notebook's three files."""


async def measure(plan: Plan) -> dict[str, Any]:
    """Measure everything; return plain JSON values. Raises BenchError and BrokerError."""
    plan.check()
    with tempfile.TemporaryDirectory(prefix="candled-bench-") as name:
        folder = Path(name)
        progress(f"training a model of {plan.estimators} rounds on {plan.train_bars} bars")
        files = train(plan, folder)  # nothing else runs yet, and a thread would outlive Ctrl+C
        async with EmbeddedBroker() as broker:
            scales = [await _scale(plan, n, folder, files, broker) for n in plan.streams]
            process = await _process(plan, folder, files, broker)
            return {
                "schema": SCHEMA,
                "machine": machine() | {"broker": broker.kind},
                "model": {
                    "features": len(MAR.columns),
                    "estimators": plan.estimators,
                    "classes": 3,
                },
                "scales": scales,
                "process": process,
            }


def train(plan: Plan, folder: Path) -> Files:
    """Train the bench's model; write a bundle and the notebook's files."""
    quiet_threads()
    from candled.lab.notebook import train_notebook  # noqa: PLC0415 - after it
    from candled.lab.trained import write_notebook_files  # noqa: PLC0415 - after it

    bars = generate(_TRAIN_SEED, _INTERVAL, synthetic_start(_INTERVAL), plan.train_bars)
    trained = train_notebook(
        bars,
        "BENCH",
        _INTERVAL.name,
        created_at=dt.datetime.now(dt.UTC),
        estimators=plan.estimators,
    )
    write_bundle(trained.spec, folder / "bundle")
    model, _, _ = write_notebook_files(trained, folder)
    return Files(folder / "bundle", folder / model.name.removesuffix("_model.joblib"))


async def _scale(
    plan: Plan, streams: int, folder: Path, files: Files, broker: EmbeddedBroker
) -> dict[str, Any]:
    """Compare both ways at one number of streams."""
    symbols = [f"BENCH{number}USDT" for number in range(1, streams + 1)]
    progress(f"{streams} streams: histories are loaded")
    async with (
        child("venue") as venue,
        child("candled_way") as candled,
        child("notebook_way", plain_threads=True) as notebook,  # as its user would start it
        child("baselines") as bare,
    ):
        port = await _open(venue, symbols, slots=plan.rounds + 1)
        settings: Message = {
            "symbols": symbols, "interval": _INTERVAL.name, "threshold": _THRESHOLD,
            "host": _HOST, "port": broker.port, "bundle": str(files.bundle),
            "files": str(files.stem),
        }  # fmt: skip
        ways = {"candled_way": candled, "notebook_way": notebook}
        for name, runner in ways.items():
            place = f"{_HOST}:{port}/{name}"
            urls = {"websocket": f"ws://{place}", "rest": f"http://{place}"}
            await runner.say(settings | urls | {"state": str(folder / f"candled-{streams}")})
        for runner in ways.values():
            await runner.hear(_START_S)
        turns = _Turns(plan, streams, venue, candled, notebook)
        # Slot 0 warms candled up, uncounted. The notebook's way has it as history: it warms up by
        # itself on a few bars, because a burst may take it a minute.
        warm, _ = await turns.burst(candled, "candled_way", 0)
        state = {"state": str(folder / f"bare-{streams}"), "messages": warm["messages"]}
        await bare.say(settings | state)
        await bare.hear(_START_S)
        return await turns.take(bare)


async def _open(venue: Child, symbols: list[str], slots: int) -> int:
    """Open the venue with so many slots to play; return its port."""
    await venue.say(
        {
            "symbols": symbols, "interval": _INTERVAL.name, "seed": _SEED,
            "history": _HISTORY, "slots": slots, "first": {"notebook_way": 1},
        }
    )  # fmt: skip
    port: int = (await venue.hear(_START_S))["port"]
    return port


@dataclass(slots=True)
class _Turns:
    """The rounds at one number of streams."""

    plan: Plan
    streams: int
    venue: Child
    candled: Child
    notebook: Child
    ours: list[Burst] = field(default_factory=list)
    theirs: list[Burst] = field(default_factory=list)
    least: list[dict[str, float]] = field(default_factory=list)

    async def take(self, bare: Child) -> dict[str, Any]:
        """Play all rounds and sum up."""
        for number in range(self.plan.rounds):
            turns = [self._candled, *([self._notebook] if self._in_time(number) else [])]
            for turn in turns if number % 2 == 0 else reversed(turns):
                await turn(number + 1)
            await asyncio.sleep(self.plan.idle_s)
            await bare.say({})
            self.least.append(await bare.hear(_PATIENCE_S))
            self._say_how_far(number)
        resident = {
            "candled": self.candled.resident_mib(),
            "notebook": self.notebook.resident_mib(),
        }
        return scale_summary(self.streams, self.ours, self.theirs, self.least, resident)

    def _in_time(self, number: int) -> bool:
        """Whether the notebook's way, which must not miss a bar, has time for round `number`."""
        if number == 0:
            return True
        seconds = [burst.total_ms / 1000 for burst in self.theirs]
        so_far = len(seconds) == number
        return so_far and sum(seconds) + max(seconds) <= self.plan.notebook_seconds

    async def burst(self, runner: Child, way: str, slot: int) -> tuple[Message, int]:
        """Play one burst; return what the way says of it and when it was sent (wall ns)."""
        await asyncio.sleep(self.plan.idle_s)
        await self.venue.say({"op": "burst", "way": way, "slot": slot})
        said = await runner.hear(_PATIENCE_S + _PATIENCE_PER_STREAM_S * self.streams)
        await self.venue.say({"op": "sent"})  # asked afterwards, so that nobody wakes in between
        sent = await self.venue.hear(_PATIENCE_S)
        return said, sent["sent_ns"]

    async def _candled(self, slot: int) -> None:
        self.ours.append(candled_burst(*await self.burst(self.candled, "candled_way", slot)))

    async def _notebook(self, slot: int) -> None:
        self.theirs.append(notebook_burst(*await self.burst(self.notebook, "notebook_way", slot)))

    def _say_how_far(self, number: int) -> None:
        progress(
            f"{self.streams} streams, round {number + 1} of {self.plan.rounds}: candled "
            f"{self.ours[-1].total_ms:.2f} ms, the notebook's way {self.theirs[-1].total_ms:.1f} ms"
            + ("" if len(self.theirs) == number + 1 else " before")
        )


def candled_burst(said: Message, sent_ns: int) -> Burst:
    """Read what candled's way says; its times are of the last batch of the burst."""
    marks = [sent_ns, *(said[f"{name}_ns"] for name in _MARKS)]
    spans = [(later - earlier) / 1e6 for earlier, later in pairwise(marks)]
    stages = dict(zip(_STAGES, spans, strict=True))
    return Burst(stages, said["batches"], [tuple(signal) for signal in said["signals"]])


def notebook_burst(said: Message, sent_ns: int) -> Burst:
    """Read what the notebook's way says; "rest" is what no stage accounts for."""
    stages = {name: spent / 1e6 for name, spent in said["spent_ns"].items()}
    stages["rest"] = (said["accepted_ns"] - sent_ns) / 1e6 - sum(stages.values())
    signals = [tuple(signal) for signal in said["signals"]]
    return Burst(stages, len(signals), signals)


async def _process(
    plan: Plan, folder: Path, files: Files, broker: EmbeddedBroker
) -> dict[str, Any]:
    """Measure the daemon's own start, memory and help."""
    progress("start-up, memory, --help")
    symbols = ["BENCH1USDT"]
    async with child("venue") as venue:
        port = await _open(venue, symbols, slots=1)
        return await measure_process(
            folder,
            bundle=files.bundle,
            venue=f"{_HOST}:{port}/start",
            broker=(_HOST, broker.port),
            symbols=symbols,
            starts=plan.starts,
            idle_s=2 * plan.idle_s,
        )
