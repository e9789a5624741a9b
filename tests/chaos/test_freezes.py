"""A broker or a daemon that stands still: noticed at once, nothing held up, soon made good."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brokers import needs_mosquitto
from chaos.faults import Fault, freeze_broker
from chaos.figures import (
    Figures,
    Row,
    naive_verdict,
    received_ns,
    recoveries,
    recovery_row,
    verdict_rows,
)
from chaos.journals import decided, entries, until_decided
from chaos.logs import since, summary
from chaos.plan import FREEZES, SEED, only_long
from chaos.programs import Program, until
from chaos.scenes import degraded_after
from chaos.verdict import judge, percentile
from chaos.world import PATIENCE_S, SYMBOLS, World, settle, stage, until_healthy, world

BARS_PER_SECOND = 4.0
FROZEN_S = 8.0
#: Between two freezes: so long, and both ends connect again without having to be patient first.
CALM_S = 10.0 if FREEZES > 2 else 1.0
NOTICED_WITHIN_S = 5.0
HELD_UP_MS = 50.0
RECOVERED_WITHIN_S = 3.0
#: Beside other tests all is held up by them; then only a call that waits for the broker shows.
ALONE = "PYTEST_XDIST_WORKER" not in os.environ
DAEMON_FREEZES = max(1, FREEZES // 4)

pytestmark = [needs_mosquitto, only_long]


@dataclass(slots=True)
class Frozen:
    """What a series of freezes has shown."""

    world: World
    faults: list[Fault] = field(default_factory=list)
    noticed_s: list[float] = field(default_factory=list)
    durable: list[int] = field(default_factory=list)
    """Decisions that became durable during each."""
    last_words: dict[str, Any] = field(default_factory=dict)
    """What the daemon summed up at its end."""
    control: dict[str, float] = field(default_factory=dict)
    """How late an idle loop was beside it."""


def test_a_frozen_broker_is_noticed_holds_nothing_up_and_is_made_good(
    tmp_path: Path, figures: Figures
):
    """The daemon says so within 5 s, goes on deciding undisturbed, and delivers all in order."""
    bars = int((60 + FREEZES * 40) * BARS_PER_SECOND)
    made = stage(tmp_path, seed=SEED, bars=bars, bars_per_second=BARS_PER_SECOND)
    asked = world(made, naive=True)
    seen = asyncio.run(_broker_freezes(asked, tmp_path))

    kept = entries(seen.world.state)
    told = seen.world.told()
    verdict = judge([e.decision.id for e in kept if e.seq is not None], told)
    took = recoveries(seen.faults, received_ns(kept), told)
    late = {"a loop that only waits for the disk": seen.control, "the daemon's": {
        "p999_ms": seen.last_words["loop_late_p999_ms"],
        "max_ms": seen.last_words["loop_late_max_ms"]}}  # fmt: skip
    noticed = f"p50 {percentile(seen.noticed_s, 50):.1f}, max {max(seen.noticed_s):.1f}"
    figures.add(
        f"broker frozen {FROZEN_S:g} s x {len(seen.faults)}",
        [
            Row("said by the daemon after, s", noticed, "", f"< {NOTICED_WITHIN_S:g}"),
            Row("decisions durable during a freeze, least", str(min(seen.durable)), "", "> 0"),
            *(Row(f"event loop late, {who}: one in 1,000; most, ms",
                  f"{ms['p999_ms']:.1f}; {ms['max_ms']:.1f}", "", f"< {HELD_UP_MS:g}")
              for who, ms in late.items()),
            Row("bar received to decision on disk, p99; most, ms",
                f"{seen.last_words['durable_p99_ms']:.1f}; "
                f"{seen.last_words['durable_max_ms']:.1f}"),
            recovery_row(took, f"p99 < {RECOVERED_WITHIN_S:g}"),
            *verdict_rows(verdict, naive_verdict(seen.world, kept)[0]),
        ],
    )  # fmt: skip
    assert verdict.faultless, verdict
    assert max(seen.noticed_s) < NOTICED_WITHIN_S
    assert min(seen.durable) > FROZEN_S * BARS_PER_SECOND * len(SYMBOLS) * 0.8
    held_up = seen.last_words["loop_late_p999_ms"] - seen.control["p999_ms"]
    assert held_up < HELD_UP_MS if ALONE else held_up < FROZEN_S * 1e3 / 10
    assert len(took) == len(seen.faults)
    assert percentile(took, 99) < RECOVERED_WITHIN_S


async def _broker_freezes(asked: Any, folder: Path) -> Frozen:
    chance = random.Random(SEED)
    idle = Program("idle", ["-m", "chaos.control", str(folder), str(BARS_PER_SECOND)], folder)
    async with asked as w:
        seen = Frozen(w)
        await until_healthy(w, PATIENCE_S)
        idle.start()
        try:
            for _ in range(FREEZES):
                await asyncio.sleep(CALM_S + chance.uniform(0.0, 3.0))
                await _freeze_once(w, seen)
            idle.terminate()
        finally:
            idle.kill()
        await settle(w)
        seen.last_words = summary(w.daemon)
        seen.control = json.loads((folder / "idle.json").read_text())
    return seen


async def _freeze_once(w: World, seen: Frozen) -> None:
    before = decided(w.state)
    fault = await freeze_broker(w, FROZEN_S)
    seen.durable.append(decided(w.state) - before)
    seen.faults.append(fault)
    seen.noticed_s.append(await degraded_after(w, fault.began_ns))

    def well_again() -> bool:
        return any(line["state"] == "online" for line in since(w.daemon, fault.ended_ns, "health"))

    await until(well_again, PATIENCE_S)


def test_a_frozen_daemon_halts_its_consumers(tmp_path: Path, figures: Figures):
    """Within 5 s the application knows that it must not act, and once it lives again all comes."""
    bars = int((60 + DAEMON_FREEZES * 40) * BARS_PER_SECOND)
    made = stage(tmp_path, seed=SEED + 1, bars=bars, bars_per_second=BARS_PER_SECOND)
    w, halted_s = asyncio.run(_daemon_freezes(world(made)))

    verdict = judge([one.id for one in w.owed()], w.told())
    figures.add(
        f"daemon frozen until the application halts x {DAEMON_FREEZES}",
        [
            Row("application halted after, s",
                f"p50 {percentile(halted_s, 50):.1f}, max {max(halted_s):.1f}", "",
                f"< {NOTICED_WITHIN_S:g}"),
            Row("lost; told twice; out of order; acted upon late",
                f"{len(verdict.lost)}; {verdict.doubled}; {verdict.disordered}; "
                f"{verdict.acted_late}", "", "0; 0; 0; 0"),
        ],
    )  # fmt: skip
    assert verdict.faultless, verdict
    assert max(halted_s) < NOTICED_WITHIN_S


async def _daemon_freezes(asked: Any) -> tuple[World, list[float]]:
    halted_s = []
    async with asked as w:
        for number in range(DAEMON_FREEZES):
            await until_healthy(w, PATIENCE_S)
            await until_decided(w.state, 50 * (number + 1), PATIENCE_S)
            began = time.time_ns()
            w.daemon.freeze()
            try:
                halted = await _halt_after(w, began)
            finally:
                w.daemon.thaw()
            halted_s.append((halted - began) / 1e9)
        await settle(w)
    return w, halted_s


async def _halt_after(w: World, began_ns: int) -> int:
    """Wait until the application halts; return when it did (wall clock, ns)."""

    def halts() -> list[int]:
        return [h["at_ns"] for h in w.diary("bot", "halt") if h["at_ns"] >= began_ns]

    await until(lambda: bool(halts()), PATIENCE_S)
    return halts()[0]
