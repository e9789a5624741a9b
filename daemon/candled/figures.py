"""What is counted of the daemon's work, as data: durations in buckets, and counts by stream.

Sums are whole nanoseconds, so that they are exact in whatever order and batches they came. Nothing
here knows who counts, and nothing of the form in which it is told.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, Protocol

from candled.core.bar import Stream
from candled.core.decision import Reason, Side
from candled.ports import Act, Hazard

_MS: Final = 1_000_000
_BOUNDS: Final = tuple(
    _MS * ms
    for ms in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000)
)  # fmt: skip

#: An incident's exchange, what it was, and what was done about it.
Met = tuple[str, Hazard, Act]


@dataclass(frozen=True, slots=True)
class Spread:
    """How many durations were how long; `count` and `total_s` are of all."""

    upto: tuple[tuple[float, int], ...]
    """Seconds, and how many took so long or less; ascending."""
    count: int
    total_s: float


class Durations:
    """Durations in buckets from 1 ms to 60 s; only ever more of them."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS) + 1)
        self._total_ns = 0

    def add(self, took_ns: int) -> None:
        """Count one duration (ns); a clock that went backwards is no time at all."""
        self.extend((took_ns,))

    def extend(self, took_ns: Iterable[int]) -> None:
        """Count durations (ns)."""
        counts, total = self._counts, 0
        for took in took_ns:
            counts[bisect_left(_BOUNDS, took)] += 1
            if took > 0:
                total += took
        self._total_ns += total

    def spread(self) -> Spread:
        """Return what was counted so far."""
        cumulative = list(accumulate(self._counts))
        upto = ((bound / 1e9, n) for bound, n in zip(_BOUNDS, cumulative, strict=False))
        return Spread(tuple(upto), cumulative[-1], self._total_ns / 1e9)


@dataclass(slots=True)
class StreamCounts:
    """What was decided about one stream since the start; only ever rising."""

    decisions: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))
    """Without corrections."""
    signals: dict[Side, int] = field(default_factory=lambda: {Side.LONG: 0, Side.SHORT: 0})
    """With those that corrections made."""
    reasons: dict[Reason, int] = field(default_factory=dict)
    """Why decisions were not what the bare model would say."""
    corrections: int = 0
    gaps: int = 0
    """Stretches of bars that never were, as the venue's own history confirms."""


@dataclass(slots=True)
class Stages:
    """How long what came live took; histories, backfills and corrections are left out."""

    received: Durations = field(default_factory=Durations)
    """From the end of a bar to its receipt, on the venue's clock."""
    decided: Durations = field(default_factory=Durations)
    """From the receipt of a bar to its decision."""
    durable: Durations = field(default_factory=Durations)
    """From the receipt of a bar to its decision being on disk."""
    acked: Durations = field(default_factory=Durations)
    """From the receipt of a signal's bar to the broker's acknowledgement."""
    whole: Durations = field(default_factory=Durations)
    """From the end of a signal's bar to the broker's acknowledgement."""


class Counted(Protocol):
    """Who counts, as it is seen by who tells of it."""

    stages: Stages
    delivered: int
    """Signals that the broker has accepted."""

    def of(self, stream: Stream) -> StreamCounts:
        """Return the counts of a stream; zeros for one of which nothing was decided."""
        ...

    def met_so_far(self) -> Mapping[Met, int]:
        """Return how often what was met, told or not."""
        ...
