"""A soak's figures for people: the closing table. Pure; measures nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np

from soak.driver import Life, Run
from soak.plan import streams
from soak.verdict import Judged, complaint, signals_of

_NAME, _CELL = 28, 11
#: Counters of `SourceStats` that are told.
COUNTED = (
    "frames", "connects", "lost_connections", "malformed", "control_errors", "quarantined", "gaps",
    "refetches", "rest_requests", "rest_failures", "audits", "revised", "vanished",
    "duplicates_same", "duplicates_changed", "overlapped", "late",
)  # fmt: skip


def slope_kb(life: Life, warm_up: float) -> float:
    """Fit kB of resident memory per 1,000 bars of each stream, after a share of warm-up."""
    sizes = np.array(life.sizes[int(len(life.sizes) * warm_up) :])
    if len(sizes) < 10 or sizes[-1, 0] <= sizes[0, 0]:
        return float("nan")
    per_decision = np.polyfit(sizes[:, 0], sizes[:, 1], 1)[0]
    return float(per_decision * 1_000 * len(streams()))


def table(run: Run) -> str:
    """Print what a run has found."""
    bad = [one for one in run.judged if not one.faultless]
    verdict = f"{len(bad)} of {len(run.judged)} streams failed" if bad else "all streams passed"
    lines = [
        *_head(run), "", *_by_stream(run.judged), "", *_lateness(run), "", *_counters(run), "",
        *(_memory(number, life) for number, life in enumerate(run.lives, 1)), "",
        *(complaint(run.plan, one) for one in bad), verdict,
    ]  # fmt: skip
    return "\n".join(lines)


def _head(run: Run) -> list[str]:
    plan, venues = run.plan, len(run.venues["connections"])
    faults = run.venues["faults"]
    what = f"{plan.bars} bars of 1h on {len(run.judged)} streams over {venues} venues"
    how = f"{plan.pace:g} bars a second, {len(plan.kills)} kills; {run.seconds:.0f} s"
    return [f"seed {plan.seed}: {what}, {how}", f"faults: {sum(faults.values())}: {said(faults)}"]


def _by_stream(judged: list[Judged]) -> list[str]:
    """Return a row for each stream, and their sums."""
    columns = {
        "slots": [one.slots for one in judged],
        "missing": [len(one.missing) for one in judged],
        "wrong": [len(one.wrong) for one in judged],
        "bars wrong": [len(one.bars_wrong) for one in judged],
        "revised": [one.revised for one in judged],
        "corrected": [one.corrections for one in judged],
        "signals": [signals_of(one) for one in judged],
    }
    names = [*(one.stream.path for one in judged), "all"]
    cells = {name: [*numbers, sum(numbers)] for name, numbers in columns.items()}
    head = "stream".ljust(_NAME) + "".join(name.rjust(_CELL) for name in cells)
    rows = [
        name.ljust(_NAME) + "".join(str(numbers[at]).rjust(_CELL) for numbers in cells.values())
        for at, name in enumerate(names)
    ]
    return [head, *rows]


def _lateness(run: Run) -> list[str]:
    late = np.concatenate([one.late_s for one in run.judged])
    p50, p90, p99 = np.percentile(late, [50, 90, 99])
    sources = sum((one.sources for one in run.judged), Counter())
    frames, connections = run.venues["frames"], said(run.venues["connections"])
    lateness = f"p50 {p50:.3f}, p90 {p90:.3f}, p99 {p99:.2f}, max {late.max():.1f}"
    return [
        f"first decisions by source: {said(sources)}",
        "real seconds from a bar's end to its first decision, by the venues' clocks as believed: "
        + lateness,
        f"frames sent {frames}, connections {connections}",
    ]


def _counters(run: Run) -> list[str]:
    incidents = sum((Counter(life.last.get("incidents", {})) for life in run.lives), Counter())
    return [
        "counted by the feeds (of each life up to half a second before it was killed):",
        *(f"  {name}: {said(by_venue(run, name))}" for name in COUNTED),
        "",
        "incidents by hazard and act:",
        f"  {said(dict(incidents.most_common()))}",
    ]


def _memory(number: int, life: Life) -> str:
    sizes = [size / 1024 for _, size in life.sizes] or [float("nan")]
    marks = [sizes[len(sizes) * part // 4] for part in range(4)] + sizes[-1:]
    return (
        f"life {number}: {life.real_s:.0f} s, CPU {life.cpu_s:.0f} s, RSS (MiB) at its quarters "
        f"{', '.join(f'{mark:.1f}' for mark in marks)}; slope after the first quarter "
        f"{slope_kb(life, 0.25):+.0f} kB per 1,000 bars of each stream, in the second half "
        f"{slope_kb(life, 0.5):+.0f}"
    )


def by_venue(run: Run, name: str) -> dict[str, int]:
    """Sum a counter over the lives; nothing for venues where it is 0."""
    total: Counter[str] = Counter()
    for life in run.lives:
        for venue, stats in life.last.get("stats", {}).items():
            total[venue] += stats[name]
    return {"all": total.total(), **{venue: n for venue, n in total.items() if n}}


def said(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
