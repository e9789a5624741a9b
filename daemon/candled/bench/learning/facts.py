"""What a run says of one thing that it measured: how long each way took, and whether they agree.

Plain values and how arrays are compared; measures nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars, Interval
from candled.lab.verify.facts import differs


@dataclass(frozen=True, slots=True)
class Candles:
    """The bars that are worked on."""

    bars: Bars
    interval: Interval
    name: str
    """Of the file, or that they are synthetic."""

    def newest(self, count: int) -> Candles:
        """Return only the newest bars."""
        return Candles(self.bars[-count:], self.interval, self.name)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two outputs, compared."""

    what: str
    """What was compared, and the unit of the distance where it has one."""
    compared: int
    differing: int
    """How many differ at all."""
    distance: float
    """The largest distance that counts; of what must be the same, how many are not."""
    bound: float
    """The largest distance that is allowed."""

    @property
    def ok(self) -> bool:
        """Whether the outputs agree; what is no number agrees with nothing."""
        return self.distance <= self.bound


@dataclass(frozen=True, slots=True)
class Part:
    """One thing measured."""

    name: str
    rows: int
    data: str
    """Which candles."""
    seconds: Mapping[str, Sequence[float]]
    """By way, in every round; where there are two, the baseline is the first."""
    agreements: tuple[Agreement, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    """What else there is to say."""
    note: str = ""

    @property
    def medians(self) -> dict[str, float]:
        """By way, in seconds."""
        return {name: statistics.median(taken) for name, taken in self.seconds.items()}

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values, with the medians and their ratio."""
        medians = self.medians
        first, *others = medians.values()
        return {
            "name": self.name,
            "rows": self.rows,
            "data": self.data,
            "p50_s": medians,
            "n": {name: len(taken) for name, taken in self.seconds.items()},
            "seconds": {name: list(taken) for name, taken in self.seconds.items()},
            "ratio": first / others[0] if others else None,
            "agreements": [_agreement(one) for one in self.agreements],
            "figures": dict(self.figures),
            "note": self.note,
        }


def _agreement(one: Agreement) -> dict[str, Any]:
    return {
        "what": one.what,
        "compared": one.compared,
        "differing": one.differing,
        "distance": one.distance,
        "bound": one.bound,
        "ok": one.ok,
    }


def same(what: str, compared: int, differing: int) -> Agreement:
    """Return the agreement of things that must be the same."""
    return Agreement(what, compared, differing, float(differing), 0.0)


def same_bits(what: str, pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> Agreement:
    """Compare pairs of arrays of one shape and type to the bit; NaN equals NaN."""
    unequal = sum(int(np.count_nonzero(differs(one, other))) for one, other in pairs)
    return same(what, sum(one.size for one, _ in pairs), unequal)


def close_to(
    what: str, one: NDArray[np.float64], other: NDArray[np.float64], bound: float
) -> Agreement:
    """Compare two arrays of one shape within a bound; a NaN must meet a NaN."""
    gap = np.abs(one - other)
    gap[np.isnan(one) & np.isnan(other)] = 0.0
    farthest = float(gap.max(initial=0.0))
    return Agreement(what, gap.size, int(np.count_nonzero(gap != 0.0)), farthest, bound)
