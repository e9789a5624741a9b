"""The driver of a soak: starts the venues and the daemon's side, kills that, watches, and compares.

A run is a `Plan`; what comes out is a `Run`, which `report` prints.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from candled.bench.children import Child, Message, cpu_s, resident_mib
from candled.core.features.mar import MAR
from candled_adapters.artifacts.bundle import write_bundle
from candles import candles
from feature_models import spec_on
from soak.plan import HOURLY, Plan, streams
from soak.verdict import Judged, judge

SAYS_WITHIN_S = 120.0


@dataclass
class Life:
    """The daemon's side from one start to its end."""

    sizes: list[tuple[int, float]] = field(default_factory=list)
    """Decisions in the journal, and resident memory (kB)."""
    last: Message = field(default_factory=dict)
    """What it said last."""
    cpu_s: float = 0.0
    real_s: float = 0.0


@dataclass
class Run:
    """What a soak has found."""

    plan: Plan
    judged: list[Judged]
    lives: list[Life]
    venues: Message
    seconds: float


@dataclass
class Program:
    """The daemon's side as a process that is killed and started again."""

    settings: Message
    log: Path
    lives: list[Life] = field(default_factory=list)
    _process: asyncio.subprocess.Process | None = None
    _listening: asyncio.Task[None] | None = None
    _began: float = 0.0

    @property
    def all_to(self) -> int:
        """Open time (UTC ms) up to which all streams have been decided; 0 before all have begun."""
        said = self.lives[-1].last
        return said.get("all_to", 0) if said.get("streams") == len(streams()) else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        self._began = time.monotonic()
        with self.log.open("ab") as log:
            self._process = await spawn("daemon", stderr=log)
        child = Child("daemon", self._process)
        await child.say(self.settings)
        life = Life()
        self.lives.append(life)
        self._listening = asyncio.create_task(listen(child, self._process.pid, life))

    async def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        self.lives[-1].cpu_s = cpu_s(self._process.pid)
        self._process.kill()
        await self._over()

    async def finish(self) -> int:
        """Let it drain; return its exit code."""
        assert self._process is not None
        assert self._process.stdin is not None
        self.lives[-1].cpu_s = cpu_s(self._process.pid)
        self._process.stdin.close()
        return await self._over()

    async def _over(self) -> int:
        assert self._process is not None
        assert self._listening is not None
        code = await self._process.wait()
        await self._listening
        self.lives[-1].real_s = time.monotonic() - self._began
        return code


async def listen(child: Child, pid: int, life: Life) -> None:
    """Keep what it says, and how large it is, until it says no more."""
    assert child._process.stdout is not None
    while line := await child._process.stdout.readline():
        life.last = json.loads(line)
        life.sizes.append((life.last["position"], resident_mib(pid) * 1024))


async def spawn(name: str, **pipes: Any) -> asyncio.subprocess.Process:
    """Start ``python -m soak.NAME`` with the modules that this process finds."""
    paths = os.pathsep.join(path for path in sys.path if path)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"soak.{name}", env=os.environ | {"PYTHONPATH": paths},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24, **pipes,
    )  # fmt: skip


@asynccontextmanager
async def venues_of(plan: Plan, folder: Path) -> AsyncIterator[Child]:
    with (folder / "venues.log").open("ab") as log:
        child = Child("venues", await spawn("venues", stderr=log))
    try:
        await child.say(plan.tell())
        yield child
    finally:
        await child.end()


async def soak(plan: Plan, folder: Path) -> Run:
    """Run a plan in an empty folder."""
    began = time.monotonic()
    write_bundle(spec_on(MAR, candles(1500), threshold=0.42), folder / "bundle")
    async with venues_of(plan, folder) as venues:
        urls = (await venues.hear(SAYS_WITHIN_S))["urls"]
        program = Program({"folder": str(folder), "urls": urls}, folder / "daemon.log")
        try:
            await program.start()
            await kill_at(plan, program)
            await until(plan, program, plan.judged_to + plan.settling * HOURLY.typical_ms)
            code = await program.finish()
            assert code == 0, program.log.read_text()[-5_000:]
        finally:
            if program.running:
                await program.kill()
        await venues.say({"op": "truth", "path": str(folder / "truth.npz")})
        told = await venues.hear(SAYS_WITHIN_S)
    return Run(plan, judge(plan, folder), program.lives, told, time.monotonic() - began)


async def kill_at(plan: Plan, program: Program) -> None:
    """Kill it and start it again as the plan says, but not before all streams have begun."""
    for share in plan.kills:
        await until(plan, program, plan.played_from + int(share * plan.bars) * HOURLY.typical_ms)
        await program.kill()
        await program.start()


async def until(plan: Plan, program: Program, open_time: int) -> None:
    """Wait until all streams have been decided up to a bar."""
    deadline = time.monotonic() + 60.0 + 2.0 * plan.played * plan.bar_s
    while program.all_to < open_time:
        assert program.running, program.log.read_text()[-5_000:]
        assert time.monotonic() < deadline, "the daemon's side does not keep up"
        await asyncio.sleep(0.1)
