"""One run of the cadence bench: a venue, a daemon, and a look at both once a second.

Measured is from the moment all streams are live and the next bar has closed, so that no loading of
histories counts, to the end of the last bar.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from candled.bench.cadence.report import Glance, Watched, summary
from candled.bench.children import BenchError, Child, Message, child
from candled.bench.machine import machine, progress
from candled.bench.measure import TRAINED, Plan, train
from candled.core.bar import MINUTE, Interval
from candled.core.features.mar import MAR

SCHEMA: Final = "candled.bench-cadence/1"
_INTERVAL: Final = Interval("1m")
_SEED: Final = 11
_UPDATES: Final = 59
_START_S: Final = 600.0
_PATIENCE_S: Final = 60.0
_SETTLE: Final = 1 / 12  # of a minute, after a close
_GLANCES: Final = 60  # a minute
_LOADING_S: Final = 20.0
_LOADING_PER_STREAM_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class CadencePlan:
    """What to measure."""

    streams: int
    minutes: int
    """Closes that are measured."""
    per_connection: int
    """At most so many streams on one connection."""
    minute_s: float = 60.0
    """Real seconds that one of the venue's minutes takes."""
    trained: Plan = TRAINED
    """What is trained, and on how much."""

    def check(self) -> None:
        """Raise BenchError for what cannot be measured."""
        if self.streams < 1 or self.minutes < 1 or self.per_connection < 1:
            raise BenchError("streams, minutes and streams of a connection must be 1 or more")


async def measure_cadence(plan: CadencePlan) -> dict[str, Any]:
    """Measure; return plain JSON values. Raises BenchError."""
    plan.check()
    with tempfile.TemporaryDirectory(prefix="candled-bench-") as name:
        folder = Path(name)
        progress("training a model")
        bundle = train(plan.trained, folder).bundle  # of hourly bars; what it costs is the same
        async with child("cadence.venue") as venue, child("cadence.daemon") as daemon:
            symbols = [f"BENCH{number}USDT" for number in range(1, plan.streams + 1)]
            common: Message = {"symbols": symbols, "interval": _INTERVAL.name}
            await venue.say(
                common | {"seed": _SEED, "history": MAR.history + 10, "slots": _slots(plan),
                          "updates": _UPDATES, "speed": 60.0 / plan.minute_s}
            )  # fmt: skip
            urls = await venue.hear(_START_S)
            progress(f"{plan.streams} streams: histories are loaded")
            state = {"state": str(folder / "state"), "bundle": str(bundle)}
            began = time.monotonic()
            await daemon.say(common | urls | state | {"per_connection": plan.per_connection})
            await daemon.hear(_START_S)
            loaded_s = time.monotonic() - began
            found = await _watch(plan, venue, daemon)
        return {"schema": SCHEMA, "machine": machine(), "loaded_s": loaded_s} | found


def _slots(plan: CadencePlan) -> int:
    """Return how many bars are played: those that are measured, and some while all is loaded."""
    loading_s = _LOADING_S + _LOADING_PER_STREAM_S * plan.streams
    return plan.minutes + 2 + math.ceil(loading_s / plan.minute_s)


async def _ask(who: Child) -> Message:
    await who.say({"op": "tell"})
    return await who.hear(_PATIENCE_S)


async def _watch(plan: CadencePlan, venue: Child, daemon: Child) -> dict[str, Any]:
    """Look at both processes until as many bars have closed as are wanted."""
    minute_s, seen = plan.minute_s, await _ask(venue)
    began_s = seen["began_ns"] / 1e9
    passed = math.ceil((time.time() - began_s) / minute_s)
    if passed + plan.minutes > _slots(plan):
        raise BenchError("loading the histories took too long; try fewer streams")
    await _sleep_until(began_s + (passed + _SETTLE) * minute_s)
    before, glances = await _ask(daemon), [_glance(venue, daemon)]
    for minute in range(plan.minutes):
        for number in range(1, _GLANCES + 1):
            at = passed + minute + _SETTLE + number / _GLANCES
            await _sleep_until(began_s + at * minute_s)
            glances.append(_glance(venue, daemon))
        progress(f"{minute + 1} of {plan.minutes} minutes")
    after, seen = await _ask(daemon), await _ask(venue)
    closes = [seen["start_ms"] + (passed + minute) * MINUTE for minute in range(plan.minutes)]
    watched = Watched(closes, glances, before, after, seen, 60.0 / minute_s)
    return summary(plan.streams, plan.per_connection, watched)


async def _sleep_until(wall_s: float) -> None:
    await asyncio.sleep(max(0.0, wall_s - time.time()))


def _glance(venue: Child, daemon: Child) -> Glance:
    return Glance(time.monotonic(), daemon.cpu_s(), venue.cpu_s(), daemon.resident_mib())
