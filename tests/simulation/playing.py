"""Plays a plan to its end and says what was seen: the way into the simulation.

Puts the world's clocks, disk and chances in the place of the machine's for as long as it runs.
"""

from __future__ import annotations

import gc
import hashlib
import json
import random
import secrets
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import structlog

from simulation.faults import Plan
from simulation.loop import clocks
from simulation.world import World


@dataclass
class Outcome:
    """What a schedule came to."""

    plan: Plan
    violations: list[str]
    digest: str
    """Of everything that was said, logged and stored."""
    counts: Counter[str] = field(default_factory=Counter)
    recovery_s: float | None = None
    """From the end of the last fault until all was as if there had been none."""
    trace: list[str] = field(default_factory=list)


def play(plan: Plan, *, verbose: bool = False) -> Outcome:
    """Run a plan; see the module."""
    folder = Path(tempfile.mkdtemp(prefix="candled-sim-", dir=_scratch()))
    gc.disable()  # a world is small and soon over: looking for its rubbish meanwhile costs a fifth
    try:
        return _play(plan, folder, verbose=verbose)
    finally:
        gc.enable()
        shutil.rmtree(folder, ignore_errors=True)


def _play(plan: Plan, folder: Path, *, verbose: bool) -> Outcome:
    world = World(plan, folder, verbose=verbose)
    tokens = random.Random(f"{plan.seed} tokens")
    random.seed(f"{plan.seed} product")
    with ExitStack() as stack:
        stack.enter_context(clocks(world.timeline, world.wall_ns))
        stack.enter_context(world.disk.in_place())
        stack.enter_context(
            patch.object(secrets, "token_hex", lambda size: tokens.randbytes(size).hex())
        )
        world.live()
        world.timeline.pass_until(world.timeline.now + 3.0)
        violations = world.watch.verdict()
        rows = world.watch.rows()
        world.disk.let_go()
    return Outcome(
        plan,
        violations,
        _digest(world, rows),
        world.counts,
        world.watch.recovery_s,
        world.trace,
    )


def _digest(world: World, rows: list[tuple[Any, ...]]) -> str:
    """Return a checksum of all that can be seen from outside."""
    sum_ = hashlib.blake2b(digest_size=16)
    folder = str(
        world.log_path.parent
    ).encode()  # errors name it, and it has another name each time
    for when, topic, payload in world.broker.said:
        sum_.update(f"{when!r} {topic} ".encode() + payload.replace(folder, b"FOLDER"))
    if world.log_path.exists():
        sum_.update(world.log_path.read_bytes())
    for row in rows:
        sum_.update(repr(row).encode())
    sum_.update(json.dumps(world.consumer.got, sort_keys=True).encode())
    return sum_.hexdigest()


def _scratch() -> str | None:
    """Return a folder in memory, where there is one: the disk that is simulated is not this one."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    return str(memory) if memory.is_dir() else None


def quiet() -> None:
    """Let the service's own log go nowhere."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(50), cache_logger_on_first_use=False
    )
