"""The baselines, a process: what the bare parts of the job cost, one at a time.

The model call for all rows, the kernel for all rows, a durable commit of one row, a lone QoS 1
round trip, and all messages through a raw QoS 1 writer. Nobody can do the job in less.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from candled.bench.children import Message, say
from candled.bench.raw_mqtt import RawPublisher, packet
from candled.core.bar import Interval
from candled.core.features.mar import MAR
from candled.journal import open_journal
from candled.simulate import synthetic_start
from candled_adapters.artifacts.bundle import load_bundle
from candled_adapters.simulator.generator import generate

_BARS_BEFORE: Final = 60
_SEED: Final = 5

Steps = dict[str, Callable[[int], object]]


def _steps(settings: Message, publisher: RawPublisher) -> Steps:
    """Prepare everything; each step then does its one thing, given the number of the round."""
    model = load_bundle(Path(settings["bundle"])).model
    count, interval = len(settings["symbols"]), Interval(settings["interval"])
    bars = generate(_SEED, interval, synthetic_start(interval), count + _BARS_BEFORE)
    rows = MAR.table(bars, interval)[_BARS_BEFORE:]
    state = MAR.state(count, interval)
    for row in range(count):
        state.warm(row, bars[:_BARS_BEFORE])
    places, newest = np.arange(count), bars[_BARS_BEFORE:]
    journal = open_journal(Path(settings["state"]))
    packets = [packet(tuple(m), 1 + i % 65_535) for i, m in enumerate(settings["messages"])]
    return {
        "model": lambda _: model.probabilities(rows),
        "kernel": lambda _: state.push(places, newest),
        "commit": lambda number: journal.mark("bench", number),
        "round_trip": lambda _: publisher.publish(packets[:1]),
        "raw_publish": lambda _: publisher.publish(packets),
    }


def _timed(step: Callable[[int], object], number: int) -> float:
    began = time.perf_counter_ns()
    step(number)
    return (time.perf_counter_ns() - began) / 1e6


def _run() -> None:
    line = sys.stdin.readline()
    if not line:
        return  # the bench has ended
    settings = json.loads(line)
    publisher = RawPublisher(settings["host"], settings["port"])
    try:
        steps = _steps(settings, publisher)
        for step in steps.values():
            step(1)  # warm
        say({"ready": True})
        for number, _ in enumerate(sys.stdin, start=2):
            say({name: _timed(step, number) for name, step in steps.items()})
    finally:
        publisher.close()


if __name__ == "__main__":
    _run()
