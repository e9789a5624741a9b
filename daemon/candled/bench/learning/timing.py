"""The stopwatch: two ways take turns in one run, so that what else the machine does meets both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

One = TypeVar("One")
Other = TypeVar("Other")


@dataclass(frozen=True, slots=True)
class Turns(Generic[One, Other]):
    """What both ways made last, and how long each of their turns took."""

    baseline: One
    candled: Other
    baseline_s: list[float]
    candled_s: list[float]


def timed(call: Callable[[], One]) -> tuple[One, float]:
    """Call once; return what it made, and the seconds."""
    began = time.perf_counter()
    made = call()
    return made, time.perf_counter() - began


def timed_alone(call: Callable[[], One]) -> tuple[One, float, float]:
    """Call once; return what it made, the seconds, and those that the process computed in them.

    For what has no baseline beside it: where other programs share the machine, the second figure
    says what the first one would be without them, on one core.
    """
    before = time.process_time()
    made, seconds = timed(call)
    return made, seconds, time.process_time() - before


def turns(
    baseline: Callable[[], One], candled: Callable[[], Other], rounds: int, repeats: int = 1
) -> Turns[One, Other]:
    """Let both ways take turns, the first one alternating.

    In each round the baseline runs once and candled `repeats` times: what takes a millisecond needs
    more looks than what takes ten seconds. Candled runs once before, uncounted.
    """
    ours = candled()
    baseline_s: list[float] = []
    candled_s: list[float] = []
    for number in range(rounds):
        before = repeats if number % 2 else 0
        for _ in range(before):
            ours, seconds = timed(candled)
            candled_s.append(seconds)
        theirs, seconds = timed(baseline)
        baseline_s.append(seconds)
        for _ in range(repeats - before):
            ours, seconds = timed(candled)
            candled_s.append(seconds)
    return Turns(theirs, ours, baseline_s, candled_s)
