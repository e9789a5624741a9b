"""The verdict: what was owed beside what an application was told. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: What is durable so long after its bar was received is counted as decided (ns).
_SETTLED_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class Told:
    """One signal as an application was told of it."""

    id: str
    stream: str
    place: int
    """Grows with every signal of a stream."""
    at_ns: int
    """Wall clock."""
    acted: bool = False
    late: bool = False
    """Whether it was past its time when it was told; such must not be acted on."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What went wrong between what was owed and what was told."""

    owed: int
    told: int
    lost: tuple[str, ...]
    doubled: int
    disordered: int
    """Acted upon after something later of the same stream."""
    belated: int
    """Told after something later, but for the record only."""
    strange: tuple[str, ...]
    """Told, but not owed."""
    acted: int
    acted_late: int

    @property
    def faultless(self) -> bool:
        faults = (self.lost, self.doubled, self.disordered, self.strange, self.acted_late)
        return not any(faults)


def judge(owed: Iterable[str], told: Sequence[Told]) -> Verdict:
    """Compare the ids that were owed with what an application was told, in order."""
    wanted = dict.fromkeys(owed)
    seen = Counter(one.id for one in told)
    return Verdict(
        owed=len(wanted),
        told=len(told),
        lost=tuple(id_ for id_ in wanted if id_ not in seen),
        doubled=seen.total() - len(seen),
        disordered=sum(one.acted for one in behind(_firsts(told))),
        belated=sum(not one.acted for one in behind(_firsts(told))),
        strange=tuple(id_ for id_ in seen if id_ not in wanted),
        acted=sum(one.acted for one in told),
        acted_late=sum(one.acted and one.late for one in told),
    )


def _firsts(told: Sequence[Told]) -> list[Told]:
    """Return each id's first telling: a repetition is a double, not a disorder."""
    firsts: dict[str, Told] = {}
    for one in told:
        firsts.setdefault(one.id, one)
    return list(firsts.values())


def behind(told: Iterable[Told]) -> list[Told]:
    """Return what was told after something later of the same stream."""
    newest: dict[str, int] = {}
    found = []
    for one in told:
        if one.place < newest.get(one.stream, one.place):
            found.append(one)
        newest[one.stream] = max(one.place, newest.get(one.stream, one.place))
    return found


def recovery_s(
    over_ns: int, received_ns: Mapping[str, int], told_ns: Mapping[str, int]
) -> float | None:
    """Return how long after the end of a fault all was told that had been decided by then (s).

    `received_ns` says when the bar of each signal came, `told_ns` when the application was told of
    it. None when something was never told; 0 when nothing was waiting.
    """
    waiting = [id_ for id_, at in received_ns.items() if at <= over_ns - _SETTLED_NS]
    if any(id_ not in told_ns for id_ in waiting):
        return None
    newest = max((told_ns[id_] for id_ in waiting), default=over_ns)
    return max(newest - over_ns, 0) / 1e9


def percentile(values: Sequence[float], which: float) -> float:
    """Return a percentile that is one of the values; NaN of none."""
    if not values:
        return float("nan")
    return float(np.percentile(values, which, method="higher"))
