"""Were the decisions right? Decides again what has been decided, from the bars behind it.

With the engine as it decides live, on stored bars or on what the venue says of them in the end. A
decision that cannot be made again is counted as that, never as equal. Knows no journal and no
files: bars and decisions are arguments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import COLUMNS, TIME_COLUMNS, Bars
from candled.core.correction import with_revision
from candled.core.decision import BarClosed, Decision, Reason, Source
from candled.core.engine import Engine, Lane
from candled.lab.verify.facts import differs

NO_MODEL: Final = "the model or policy that made it is not at hand"
NO_BAR: Final = "its bar is no longer stored"
NO_HISTORY: Final = "the history behind it is no longer stored"
LATER_HISTORY: Final = "it was made while warming; more history was stored later"


@dataclass(frozen=True, slots=True)
class Difference:
    """One decision that comes out otherwise."""

    stored: Decision
    again: Decision
    fields: tuple[str, ...]
    """Names of the fields that differ."""


@dataclass(frozen=True, slots=True)
class Redecided:
    """What became of the stored decisions of one stream."""

    stored: int
    compared: int
    differences: tuple[Difference, ...]
    not_compared: Mapping[str, int]
    """How many decisions could not be made again, by reason."""
    undecided: tuple[int, ...]
    """Open times of bars between the first and the last decision that have none."""


@dataclass(frozen=True, slots=True)
class Revised:
    """What the venue's final history says of stored bars."""

    compared: int
    """Bars that both have."""
    changed: tuple[tuple[int, tuple[str, ...]], ...]
    """Open time and differing columns of each bar that differs in a value that both tell."""
    only_stored: tuple[int, ...]
    only_final: tuple[int, ...]
    bars: Bars
    """The stored bars with the final ones in their place, for deciding again."""


def redecide(
    lanes: Sequence[Lane], bars: Bars, stored: Sequence[Decision], *, from_listing: bool
) -> Redecided:
    """Make the decisions of one stream again and compare every field.

    Args:
        lanes: of this stream, one for each model and policy at hand.
        bars: all bars of the stream that are stored, ascending.
        stored: the newest decision about each of its bars, ascending. Of a correction everything
            is compared but what it supersedes, which the bars do not tell.
        from_listing: whether the venue has no bar before the first one here.
    """
    again = {
        _key(decision): decision
        for lane in lanes
        for decision in _made_again(lane, bars, stored, from_listing=from_listing)
    }
    hands = {(lane.model.digest, lane.policy.digest) for lane in lanes}
    reasons: Counter[str] = Counter()
    differences = []
    for decision in stored:
        fresh = _as_corrected(again.get(_key(decision)), decision)
        if fresh is None:
            reasons[NO_BAR if _key(decision)[:2] in hands else NO_MODEL] += 1
        elif reason := _incomparable(decision, fresh):
            reasons[reason] += 1
        elif names := _differing(decision, fresh):
            differences.append(Difference(decision, fresh, names))
    compared = len(stored) - reasons.total()
    undecided = _undecided(bars, stored)
    return Redecided(len(stored), compared, tuple(differences), dict(reasons), undecided)


def _key(decision: Decision) -> tuple[str, str, int]:
    return decision.model_digest, decision.policy_digest, decision.bar_open


def _as_corrected(again: Decision | None, stored: Decision) -> Decision | None:
    """Return the decision as the stored one's revision of the slot."""
    if again is None or not stored.revision:
        return again
    return replace(with_revision(again, stored.revision), supersedes=stored.supersedes)


def _incomparable(stored: Decision, again: Decision) -> str | None:
    """Why the bars behind the stored decision are not those that are stored now, if so."""
    was, now = stored.reason is Reason.WARMUP, again.reason is Reason.WARMUP
    if was == now:
        return None
    return LATER_HISTORY if was else NO_HISTORY


def _differing(stored: Decision, again: Decision) -> tuple[str, ...]:
    """Return the names of the fields that differ; no float of a decision is NaN or -0.0."""
    names = (field.name for field in fields(Decision))
    return tuple(name for name in names if getattr(stored, name) != getattr(again, name))


def _undecided(bars: Bars, stored: Sequence[Decision]) -> tuple[int, ...]:
    """Return open times between the first and the last decision that were not decided."""
    if not stored:
        return ()
    times = bars.open_time
    between = (times > stored[0].bar_open) & (times < stored[-1].bar_open)
    decided = np.isin(times, [decision.bar_open for decision in stored])
    return tuple(times[between & ~decided].tolist())


def _made_again(
    lane: Lane, bars: Bars, stored: Sequence[Decision], *, from_listing: bool
) -> list[Decision]:
    """Decide all bars from the first to the last decided one, warmed as a start of the daemon."""
    if not stored:
        return []
    first, last = np.searchsorted(bars.open_time, [stored[0].bar_open, stored[-1].bar_open + 1])
    engine = Engine([lane])
    need = engine.history(lane.stream)
    past = bars[max(0, first - need) : first]
    engine.warm(lane.stream, past, from_listing=from_listing)
    return _decide_all(engine, lane, bars[first:last])


def _decide_all(engine: Engine, lane: Lane, bars: Bars) -> list[Decision]:
    """Let a warm engine decide bars of one stream."""
    return engine.decide([BarClosed(lane.stream, bar, Source.BACKFILL, 0, 0) for bar in bars])


def revise(bars: Bars, final: Bars, last: int) -> Revised:
    """Compare stored bars with the venue's final ones, up to the bar that opens at `last` (UTC ms).

    Within the time that `final` covers its bars replace the stored ones, in every value that it
    tells; what it does not tell (NaN) stays as it is stored.
    """
    final = final[: int(np.searchsorted(final.open_time, last + 1))]
    both, mine, theirs = np.intersect1d(
        bars.open_time, final.open_time, assume_unique=True, return_indices=True
    )
    unequal = np.stack([_unequal(bars, final, mine, theirs, name) for name in COLUMNS], axis=1)
    changed = tuple(
        (
            int(both[row]),
            tuple(name for name, is_other in zip(COLUMNS, unequal[row], strict=True) if is_other),
        )
        for row in np.flatnonzero(unequal.any(axis=1)).tolist()
    )
    covered = np.zeros(len(bars), dtype=bool)
    if len(final):
        times = bars.open_time
        covered = (times >= final.open_time[0]) & (times <= final.open_time[-1])
    lost = bars.open_time[covered & ~np.isin(bars.open_time, both)]
    new = final.open_time[~np.isin(final.open_time, both)]
    joined = _joined(bars, final, ~covered, (mine, theirs))
    return Revised(len(both), changed, tuple(lost.tolist()), tuple(new.tolist()), joined)


_Rows = NDArray[np.intp]


def _unequal(bars: Bars, final: Bars, mine: _Rows, theirs: _Rows, name: str) -> NDArray[np.bool_]:
    ours, its = getattr(bars, name)[mine], getattr(final, name)[theirs]
    return np.asarray(differs(ours, its) & ~np.isnan(its))


def _joined(
    bars: Bars, final: Bars, outside: NDArray[np.bool_], common: tuple[_Rows, _Rows]
) -> Bars:
    """Put the final bars in the place of those that they cover."""
    order = np.argsort(np.concatenate([bars.open_time[outside], final.open_time]), kind="stable")
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        told = getattr(final, name).copy()
        if name not in TIME_COLUMNS:
            mine, theirs = common
            stored = np.full(len(told), np.nan)
            stored[theirs] = getattr(bars, name)[mine]
            told = np.where(np.isnan(told), stored, told)
        columns[name] = np.concatenate([getattr(bars, name)[outside], told])[order]
    return Bars(**columns)
