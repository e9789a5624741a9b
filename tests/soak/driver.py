"""The driver of a soak: starts the venues and the daemon's side, kills that, watches, and compares.

A run is a `Plan`; what comes out is a `Run`, which `table` prints.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from candled.bench.children import Child, Message, resident_mib
from candled_adapters.artifacts.bundle import write_bundle
from candles import candles
from candled.core.features.mar import MAR
from feature_models import spec_on
from soak.plan import Plan, streams
from soak.verdict import Judged, complaint, judge, signals_of

SAYS_WITHIN_S = 120.0
SETTLED_S = 4.0
#: Counters of `SourceStats` that are told.
COUNTED = (
    "frames", "connects", "lost_connections", "malformed", "control_errors", "quarantined", "gaps",
    "refetches", "rest_requests", "rest_failures", "audits", "revised", "vanished",
    "duplicates_same", "duplicates_changed", "overlapped", "late",
)  # fmt: skip


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
    def position(self) -> int:
        """How many decisions there are, as far as it has said."""
        return max((life.last.get("position", 0) for life in self.lives), default=0)

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
        life.last = read(line)
        life.sizes.append((life.last["position"], resident_mib(pid) * 1024))


def read(line: bytes) -> Message:
    import json

    message: Message = json.loads(line)
    return message


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
            await until_over(plan, venues, program)
            code = await program.finish()
            assert code == 0, program.log.read_text()[-5_000:]
        finally:
            if program.running:
                await program.kill()
        await venues.say({"op": "truth", "path": str(folder / "truth.npz")})
        told = await venues.hear(SAYS_WITHIN_S)
    return Run(plan, judge(plan, folder), program.lives, told, time.monotonic() - began)


async def kill_at(plan: Plan, program: Program) -> None:
    """Kill it and start it again as the plan says."""
    for share in plan.kills:
        await until(lambda share=share: program.position >= share * plan.bars * 20, plan, program)
        await program.kill()
        await program.start()


async def until_over(plan: Plan, venues: Child, program: Program) -> None:
    """Wait until the venues have played everything and nothing more is decided."""
    over = False
    while not over:
        await asyncio.sleep(0.5)
        assert program.running, program.log.read_text()[-5_000:]
        await venues.say({"op": "over"})
        over = (await venues.hear(SAYS_WITHIN_S))["over"]
    seen, since = program.position, time.monotonic()
    while time.monotonic() - since < SETTLED_S:
        await asyncio.sleep(0.2)
        if program.position != seen:
            seen, since = program.position, time.monotonic()


async def until(condition, plan: Plan, program: Program) -> None:
    deadline = time.monotonic() + 60.0 + 2.0 * plan.bars * plan.bar_s
    while not condition():
        assert program.running, program.log.read_text()[-5_000:]
        assert time.monotonic() < deadline, "the daemon's side does not keep up"
        await asyncio.sleep(0.1)


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used (s)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def slope_kb(life: Life, warm_up: float = 0.25) -> float:
    """Fit kB of resident memory per 1,000 bars of each stream, after a share of warm-up."""
    sizes = np.array(life.sizes[int(len(life.sizes) * warm_up) :])
    if len(sizes) < 10 or sizes[-1, 0] <= sizes[0, 0]:
        return float("nan")
    per_decision = np.polyfit(sizes[:, 0], sizes[:, 1], 1)[0]
    return float(per_decision * 1_000 * len(streams()))


def table(run: Run) -> str:
    """Print what a run has found."""
    plan, judged = run.plan, run.judged
    late = np.concatenate([one.late_s for one in judged])
    sources = sum((one.sources for one in judged), Counter())
    lines = [
        f"seed {plan.seed}: {plan.bars} bars of 1h on {len(judged)} streams over "
        f"{len(run.venues['connections'])} venues, {plan.pace:g} bars a second, "
        f"{len(plan.kills)} kills; {run.seconds:.0f} s",
        f"faults: {sum(run.venues['faults'].values())}: {said(run.venues['faults'])}",
        "",
        f"{'stream':34}{'slots':>7}{'missing':>8}{'wrong':>6}{'bars wrong':>11}{'revised':>8}"
        f"{'corrected':>10}{'signals':>8}",
    ]
    lines += [
        f"{one.stream.path:34}{one.slots:7}{len(one.missing):8}{len(one.wrong):6}"
        f"{len(one.bars_wrong):11}{one.revised:8}{one.corrections:10}{signals_of(one):8}"
        for one in judged
    ]
    lines += [
        f"{'all':34}{sum(one.slots for one in judged):7}"
        f"{sum(len(one.missing) for one in judged):8}{sum(len(one.wrong) for one in judged):6}"
        f"{sum(len(one.bars_wrong) for one in judged):11}{sum(one.revised for one in judged):8}"
        f"{sum(one.corrections for one in judged):10}{sum(map(signals_of, judged)):8}",
        "",
        f"first decisions by source: {said(sources)}",
        "real seconds from a bar's end to its decision: "
        f"p50 {np.percentile(late, 50):.3f}, p90 {np.percentile(late, 90):.3f}, "
        f"p99 {np.percentile(late, 99):.2f}, max {late.max():.1f}",
        f"frames sent {run.venues['frames']}, connections {said(run.venues['connections'])}",
        "",
        "counted by the feeds (of each life up to half a second before it was killed):",
    ]
    lines += [f"  {name}: {said(by_venue(run, name))}" for name in COUNTED]
    incidents = sum((Counter(life.last.get("incidents", {})) for life in run.lives), Counter())
    lines += ["", "incidents by hazard and act:", f"  {said(dict(incidents.most_common()))}", ""]
    for number, life in enumerate(run.lives, 1):
        sizes = life.sizes or [(0, float("nan"))]
        lines.append(
            f"life {number}: {life.real_s:.0f} s, CPU {life.cpu_s:.0f} s, "
            f"RSS {sizes[0][1] / 1024:.1f} MiB at first, {sizes[len(sizes) // 4][1] / 1024:.1f} "
            f"after a quarter, {sizes[-1][1] / 1024:.1f} at last, slope after that "
            f"{slope_kb(life):+.0f} kB per 1,000 bars of each stream"
        )
    bad = [one for one in judged if not one.faultless]
    lines += ["", *(complaint(plan, one) for one in bad)]
    lines.append(f"{len(bad)} of {len(judged)} streams failed" if bad else "all streams passed")
    return "\n".join(lines)


def by_venue(run: Run, name: str) -> dict[str, int]:
    """Sum a counter over the lives; nothing for venues where it is 0."""
    total: Counter[str] = Counter()
    for life in run.lives:
        for venue, stats in life.last.get("stats", {}).items():
            total[venue] += stats[name]
    return {"all": total.total(), **{venue: n for venue, n in total.items() if n}}


def said(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
