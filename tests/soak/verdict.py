"""What a soak has proven: every stream's journal against what the venues finally say.

Reads the journal and the truth, decides everything again with the engine's replay, and prints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import COLUMNS, Bars, Stream, iso
from candled.core.correction import differing, with_revision
from candled.core.decision import Decision, Side
from candled.core.engine import Engine, Lane
from candled.journal import open_reader
from candled.journal.reader import JournalReader
from candled.journal.rows import entry_of
from candled.ports import Entry
from candled_adapters.artifacts.bundle import load_bundle
from candled_adapters.simulator.scenario import Entry as Fault
from soak.plan import HOURLY, LIES, Plan, lanes

_BELIEVED = 10  # slots, a second or so, for which an answer may be used that told a wrong time
_NEAR = 20  # slots around a wrong one, of which the faults are shown


@dataclass(frozen=True)
class Judged:
    """One stream."""

    stream: Stream
    slots: int
    """Bars of the truth from the first decision on."""
    first: int
    """Open time (UTC ms) of the first bar that was decided."""
    missing: tuple[int, ...]
    """Open times of bars without a decision."""
    surplus: tuple[int, ...]
    """Open times of decisions about bars that are not in the truth."""
    wrong: tuple[tuple[Decision, Decision], ...]
    """Decisions that the replay of the truth makes otherwise, and how."""
    bars_wrong: tuple[int, ...]
    """Open times of stored bars that the truth lacks or has otherwise."""
    corrections: int
    """Decisions that took the place of others."""
    revised: int
    """Bars that were revised."""
    unexplained: tuple[int, ...]
    """Open times of revised bars of which the venue told no lie."""
    groundless: tuple[int, ...]
    """Open times of corrected decisions with no revised bar in their window."""
    late_s: NDArray[np.float64]
    """Real seconds from each bar's end to its first decision."""
    sources: Counter[str]
    sides: Counter[str]

    @property
    def faultless(self) -> bool:
        """Whether nothing speaks against it."""
        found = (self.missing, self.surplus, self.wrong, self.bars_wrong, self.unexplained)
        return not any(found) and not self.groundless


def judge(plan: Plan, folder: Path) -> list[Judged]:
    """Judge all streams of a run that is over."""
    truth = np.load(folder / "truth.npz")
    with open_reader(folder / "state") as journal:
        return [
            _judge(plan, lane, journal, _truth_of(truth, lane.stream))
            for lane in lanes(load_bundle(folder / "bundle").model)
        ]


def _truth_of(tables: dict[str, NDArray[np.float64]], stream: Stream) -> Bars:
    place = f"{stream.exchange} {stream.symbol}"
    return Bars(**{name: tables[f"{place} {name}"] for name in COLUMNS})


def _judge(plan: Plan, lane: Lane, journal: JournalReader, truth: Bars) -> Judged:
    stream, bars = lane.stream, _up_to(plan, journal.bars(lane.stream))
    entries = [e for e in _entries(journal, stream) if e.decision.bar_open <= plan.judged_to]
    newest = list({e.decision.bar_open: e.decision for e in entries}.values())
    begin = newest[0].bar_open if newest else plan.played_from
    truth = _up_to(plan, truth)
    truth = truth[truth.open_time.searchsorted(bars.open_time[0] if len(bars) else begin) :]
    slots = truth.open_time[truth.open_time >= begin].tolist()
    decided = [decision.bar_open for decision in newest]
    again = _replayed(lane, truth, newest, from_listing=journal.from_listing(stream))
    revised = [at for at in _revised(journal, stream) if at <= plan.judged_to]
    first = [entry for entry in entries if not entry.decision.revision]
    return Judged(
        stream=stream,
        slots=len(slots),
        first=begin,
        missing=tuple(sorted(set(slots) - set(decided))),
        surplus=tuple(sorted(set(decided) - set(slots))),
        wrong=tuple(
            (one, again[one.bar_open]) for one in newest if _is_wrong(one, again.get(one.bar_open))
        ),
        bars_wrong=_differing(bars, truth),
        corrections=len(entries) - len(newest),
        revised=len(revised),
        unexplained=tuple(at for at in revised if not _is_lie(plan, stream, at)),
        groundless=_groundless(entries, revised, lane.history),
        late_s=np.array([_late_s(plan, entry) for entry in first]),
        sources=Counter(entry.source.value for entry in first),
        sides=Counter(decision.side.value for decision in newest),
    )


def _up_to(plan: Plan, bars: Bars) -> Bars:
    """Leave out what was played after the judged slots."""
    return bars[: int(bars.open_time.searchsorted(plan.judged_to + 1))]


def _replayed(
    lane: Lane, truth: Bars, newest: Sequence[Decision], *, from_listing: bool
) -> dict[int, Decision]:
    """Decide the truth from the first decided bar on, warmed with what lies before it."""
    if not newest:
        return {}
    first, stop = truth.open_time.searchsorted([newest[0].bar_open, newest[-1].bar_open + 1])
    engine = Engine([lane])
    past = truth[max(0, first - engine.history(lane.stream)) : first]
    engine.warm(lane.stream, past, from_listing=from_listing)
    replayed = engine.replay(lane.stream, truth[first:stop])
    return {one.bar_open: one for one in chain.from_iterable(replayed)}


def _is_wrong(stored: Decision, again: Decision | None) -> bool:
    """Whether they differ in anything but what was superseded; those without a bar are surplus."""
    if again is None:
        return False
    return bool(differing(stored, again)) or stored.id != with_revision(again, stored.revision).id


def _entries(journal: JournalReader, stream: Stream) -> list[Entry]:
    rows = journal.rows(
        "SELECT entry FROM decisions JOIN streams ON streams.id = stream"
        " WHERE exchange = ? AND symbol = ? ORDER BY bar_open, revision",
        (stream.exchange, stream.symbol),
    )
    return [entry_of(text) for (text,) in rows]


def _revised(journal: JournalReader, stream: Stream) -> list[int]:
    rows = journal.rows(
        "SELECT DISTINCT open_time FROM revisions JOIN streams ON streams.id = stream"
        " WHERE exchange = ? AND symbol = ? ORDER BY open_time",
        (stream.exchange, stream.symbol),
    )
    return [at for (at,) in rows]


def _differing(bars: Bars, truth: Bars) -> tuple[int, ...]:
    """Return the open times at which two tables are not the same to the bit."""
    mine = {bar.open_time: bar for bar in bars}
    theirs = {bar.open_time: bar for bar in truth}
    return tuple(sorted(at for at in mine.keys() | theirs.keys() if _other(mine, theirs, at)))


def _other(mine: dict, theirs: dict, at: int) -> bool:
    if at not in mine or at not in theirs:
        return True
    pairs = [(getattr(mine[at], name), getattr(theirs[at], name)) for name in COLUMNS]
    return not all(a == b or (a != a and b != b) for a, b in pairs)  # noqa: PLR0124 - NaN


def _groundless(entries: Sequence[Entry], revised: Sequence[int], history: int) -> tuple[int, ...]:
    reach = history * HOURLY.typical_ms * 2  # outages make a window longer in time
    corrected = {entry.decision.bar_open for entry in entries if entry.decision.revision}
    return tuple(
        at for at in sorted(corrected) if not any(at - reach <= bar <= at for bar in revised)
    )


def _is_lie(plan: Plan, stream: Stream, open_time: int) -> bool:
    """Whether a fault can be why a bar was first taken otherwise than it is in the end.

    A wrong time that was told is believed for a moment, not for some slots.
    """
    told = any(fault.kind == "clock" for fault in _near(plan, stream, open_time, _BELIEVED))
    return told or any(fault.kind in LIES for fault in _near(plan, stream, open_time, 0))


def _near(plan: Plan, stream: Stream, open_time: int, slots: int) -> list[Fault]:
    """Return what went wrong with a stream within some slots of a bar."""
    at = (open_time - plan.played_from) // HOURLY.typical_ms
    return [
        fault
        for fault in plan.scenario(stream.exchange).entries
        if fault.symbol in (None, stream.symbol)
        and (fault.after_bars or 0) - slots <= at <= _last(fault) + slots
    ]


def _last(fault: Fault) -> int:
    return (fault.after_bars or 0) + (fault.for_bars or 1) - 1


def _late_s(plan: Plan, entry: Entry) -> float:
    end = HOURLY.end(entry.decision.bar_open)
    return (entry.decided_ms - end) / 1000.0 / (3600.0 * plan.pace)


def complaint(plan: Plan, judged: Judged) -> str:
    """Say what is wrong with a stream, the first slot of it, and what happened near."""
    found = {
        "missing": judged.missing,
        "surplus": judged.surplus,
        "wrong": tuple(stored.bar_open for stored, _ in judged.wrong),
        "bars wrong": judged.bars_wrong,
        "revised without a lie": judged.unexplained,
        "corrected without a reason": judged.groundless,
    }
    lines = [judged.stream.path]
    for name, slots in found.items():
        if slots:
            lines.append(f"  {name}: {len(slots)}, first {iso(slots[0])}; near it:")
            near = _near(plan, judged.stream, slots[0], _NEAR)
            lines += [f"    {_said(fault)}" for fault in near]
    if judged.wrong:
        stored, again = judged.wrong[0]
        for name in differing(stored, again):
            lines.append(f"  {name}: {getattr(stored, name)}, again {getattr(again, name)}")
    return "\n".join(lines)


def _said(fault: Fault) -> str:
    return " ".join(f"{key}={value}" for key, value in fault.items().items())


def signals_of(judged: Judged) -> int:
    """Count long and short."""
    return judged.sides[Side.LONG.value] + judged.sides[Side.SHORT.value]
