"""What goes wrong, when and for how long: a list of facts that a seed makes and that can be shrunk.

Times are seconds after the daemon's first start. Nothing here does anything: the world asks.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    kind: str
    at: float = 0.0
    """Seconds; of a crash that is aimed at a step, when it may happen first."""
    length: float = 0.0
    """Seconds that it lasts; of a death, until the next start."""
    pick: int = 0
    """Which step, stream or variety."""

    def covers(self, since_start: float) -> bool:
        """Whether it goes on then."""
        return self.at <= since_start < self.at + self.length


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole schedule: the same plan is the same run, to the byte."""

    seed: int
    streams: int
    rate: float
    """How many seconds of the venue's pass in one of ours."""
    first_gap: int | None
    """A slot that the venue never fills, in every second stream."""
    faults: tuple[Fault, ...]

    @property
    def past(self) -> int:
        """How many bars have closed before the daemon is first started; some are too few."""
        return 2 if self.seed % 4 == 1 else 7

    def without(self, faults: Iterable[Fault]) -> Plan:
        """Return it with only these faults left."""
        return Plan(self.seed, self.streams, self.rate, self.first_gap, tuple(faults))


#: Deaths of the process that are aimed at its own steps: of the loop, at a commit, at a send.
AIMED: Final = ("crash_step", "crash_commit", "crash_send")
#: Deaths and changes at a time.
_POINTS: Final = (
    "stop",
    "crash_swap",
    "swap",
    "power",
    "broker_kill",
    "broker_amnesia",
    "retained_amnesia",
)
_SUBSCRIBER: Final = ("subscriber_restart", "subscriber_away", "subscriber_amnesia")
_BROKER: Final = ("broker_freeze", "refuse", "puback_lost", "queue_small", "slow_broker")
_FEED: Final = (
    "feed_drop", "mute", "lose", "duplicate", "contradict", "reorder", "early", "insane",
    "revise", "disagree", "lag", "rest_down", "limited", "slow_rest",
)  # fmt: skip
_DISK: Final = ("disk_full", "slow_disk", "lying_disk", "torn")
_CLOCK: Final = ("clock_jump", "wall_jump")

KINDS: Final = (*AIMED, *_POINTS, *_SUBSCRIBER, *_BROKER, *_FEED, *_DISK, *_CLOCK)
_GROUPS: Final = (
    (AIMED, 6), (_POINTS, 4), (_SUBSCRIBER, 2), (_BROKER, 4), (_FEED, 8), (_DISK, 2), (_CLOCK, 1)
)  # fmt: skip
FAULTY_S: Final = 55.0  # faults begin within so many seconds
#: A thread that works for a swap takes up to so long (s).
SLOWEST_THREAD_S: Final = 9.0
#: About how many there are of each in a run where nothing goes wrong.
_TARGETS: Final = {"crash_step": 1_100, "crash_commit": 45, "crash_send": 70}


def plan_of(seed: int) -> Plan:
    """Return a seed's schedule."""
    chance = random.Random(f"plan {seed}")
    streams = chance.choice((1, 1, 2, 2, 3))
    rate = chance.choice((10.0, 10.0, 6.0))
    gap = chance.choice((None, None, chance.randrange(8, 18)))
    count = chance.choice((0, 1, 2, 2, 3, 4, 6, 9))
    faults = (_fault(chance) for _ in range(count))
    return Plan(seed, streams, rate, gap, tuple(sorted(faults, key=lambda f: f.at)))


def _fault(chance: random.Random) -> Fault:
    groups, weights = zip(*_GROUPS, strict=True)
    kind = chance.choice(chance.choices(groups, weights)[0])
    at = round(chance.uniform(0.0, FAULTY_S), 3)
    if kind in AIMED:
        down = round(chance.choice((0.05, 1.0, 8.0, 25.0)), 3)
        return Fault(kind, 0.0, down, chance.randrange(1, _TARGETS[kind]))
    if kind in _POINTS:
        return Fault(kind, at, round(chance.choice((0.05, 0.5, 3.0, 20.0)), 3))
    length = round(chance.choice((0.3, 2.5, 7.0, 20.0)), 3)
    return Fault(kind, at, length, chance.randrange(6))


def end_of(faults: Sequence[Fault]) -> float:
    """Return when the last fault that stands at a time is over (s)."""
    return max((f.at + f.length for f in faults if f.kind not in AIMED), default=0.0)
