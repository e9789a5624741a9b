"""The sums and the tables: bursts in, medians and ratios out. Pure; measures nothing.

A burst's time runs from the moment its first byte is sent to the moment its last signal is
accepted, and its stages add up to it. Medians, not means: other programs share the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from rich.table import Table

SCHEMA: Final = "candled.bench/1"
TOLERANCE: Final = 1e-6  # of a probability: pandas rounds its averages differently

#: Symbol, open time of the bar, side, probabilities (no trade, long, short).
Signal = tuple[str, int, str, Sequence[float]]

#: What a job of one stream, or of many, cannot do without.
_LEAST_ALONE: Final = ("round_trip", "commit", "model")
_LEAST_TOGETHER: Final = ("raw_publish", "model")
_WAYS: Final = {"candled": "candled", "notebook": "notebook's", "baseline": "bare parts"}


@dataclass(frozen=True, slots=True)
class Burst:
    """One way's handling of one burst."""

    stages_ms: Mapping[str, float]
    """In order; they add up to the whole."""
    batches: int
    """In how many parts it arrived at the engine."""
    signals: Sequence[Signal]

    @property
    def total_ms(self) -> float:
        """From the first byte sent to the last signal accepted."""
        return sum(self.stages_ms.values())


def scale_summary(
    streams: int,
    candled: Sequence[Burst],
    notebook: Sequence[Burst],
    baselines: Sequence[Mapping[str, float]],
    resident_mib: Mapping[str, float],
) -> dict[str, Any]:
    """Sum up one number of streams. Burst i of both ways is about the same bars."""
    least = _LEAST_ALONE if streams == 1 else _LEAST_TOGETHER
    ours, theirs = _way(candled), _way(notebook)
    floor = _figures([sum(parts[name] for name in least) for parts in baselines])
    return {
        "streams": streams,
        "candled": {**ours, "batches": [burst.batches for burst in candled]},
        "notebook": theirs,
        "baseline": {
            "parts": list(least),
            **floor,
            "parts_ms": {name: _median([b[name] for b in baselines]) for name in baselines[0]},
        },
        "ratios": {
            "notebook_over_candled": theirs["p50_ms"] / ours["p50_ms"],
            "candled_over_baseline": ours["p50_ms"] / floor["p50_ms"],
        },
        "agreement": _agreement(candled, notebook),
        "resident_mib": dict(resident_mib),
    }


def _way(bursts: Sequence[Burst]) -> dict[str, Any]:
    names = list(bursts[0].stages_ms)
    samples = {name: [burst.stages_ms[name] for burst in bursts] for name in names}
    return {
        **_figures([burst.total_ms for burst in bursts]),
        "stages_p50_ms": {name: _median(values) for name, values in samples.items()},
        "stages_ms": {name: _rounded(values) for name, values in samples.items()},
    }


def _figures(totals: Sequence[float]) -> dict[str, Any]:
    p50, p90 = np.percentile(totals, [50, 90]).tolist()
    return {"n": len(totals), "p50_ms": p50, "p90_ms": p90, "total_ms": _rounded(totals)}


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 6) for value in values]  # nanoseconds


def _agreement(candled: Sequence[Burst], notebook: Sequence[Burst]) -> dict[str, Any]:
    """Compare what both said about the same bars."""
    ours = _said(candled[: len(notebook)])
    theirs = _said(notebook)
    both = ours.keys() & theirs.keys()
    off = [_distance(ours[key], theirs[key]) for key in both]
    return {
        "signals": len(both),
        "only_candled": len(ours.keys() - both),
        "only_notebook": len(theirs.keys() - both),
        "differing_sides": sum(ours[key][0] != theirs[key][0] for key in both),
        "tolerance": TOLERANCE,
        "above_tolerance": sum(distance > TOLERANCE for distance in off),
        "largest_difference": max(off, default=0.0),
    }


_Verdict = tuple[str, Sequence[float]]


def _said(bursts: Sequence[Burst]) -> dict[tuple[str, int], _Verdict]:
    return {
        (symbol, opened): (side, answer)
        for burst in bursts
        for symbol, opened, side, answer in burst.signals
    }


def _distance(one: _Verdict, other: _Verdict) -> float:
    return max(abs(a - b) for a, b in zip(one[1], other[1], strict=True))


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Return what a person wants to see of a result."""
    return [
        _bursts_table(result),
        _stages_table(result),
        _agreement_table(result),
        _process_table(result),
    ]


def _bursts_table(result: Mapping[str, Any]) -> Table:
    machine = result["machine"]
    table = Table(
        title="From a burst's first byte to its last signal's acknowledgement (ms)",
        caption=f"{machine['cores']} cores, Python {machine['python']}, broker {machine['broker']}",
    )
    for name in ("streams", "way", "n", "p50", "p90", "ratio"):
        table.add_column(name, justify="left" if name in ("way", "ratio") else "right")
    for scale in result["scales"]:
        ratios = scale["ratios"]
        said = {
            "candled": "",
            "notebook": f"{ratios['notebook_over_candled']:.1f} times candled's",
            "baseline": f"candled's is {ratios['candled_over_baseline']:.1f} times this",
        }
        for key, ratio in said.items():
            part = scale[key]
            figures = (str(part["n"]), _ms(part["p50_ms"]), _ms(part["p90_ms"]))
            table.add_row(str(scale["streams"]), _WAYS[key], *figures, ratio)
        table.add_section()
    return table


def _stages_table(result: Mapping[str, Any]) -> Table:
    table = Table(title="Where the time goes (ms, p50 of each stage)")
    table.add_column("streams", justify="right")
    table.add_column("way")
    table.add_column("stages")
    for scale in result["scales"]:
        floor = scale["baseline"]
        stages = {
            "candled": scale["candled"]["stages_p50_ms"],
            "notebook": scale["notebook"]["stages_p50_ms"],
            "baseline": {name: floor["parts_ms"][name] for name in floor["parts"]},
        }
        for key, part in stages.items():
            said = ", ".join(f"{stage} {_ms(value)}" for stage, value in part.items())
            table.add_row(str(scale["streams"]), _WAYS[key], said)
        table.add_section()
    return table


def _ms(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"  # noqa: PLR2004 - three digits


def _agreement_table(result: Mapping[str, Any]) -> Table:
    table = Table(title="Did both ways publish the same?")
    for name in ("streams", "signals", "missing", "other side", "largest difference"):
        table.add_column(name, justify="right")
    for scale in result["scales"]:
        found = scale["agreement"]
        table.add_row(
            str(scale["streams"]),
            str(found["signals"]),
            str(found["only_candled"] + found["only_notebook"]),
            str(found["differing_sides"]),
            f"{found['largest_difference']:.1e} ({found['above_tolerance']} above"
            f" {found['tolerance']:g})",
        )
    return table


def _process_table(result: Mapping[str, Any]) -> Table:
    process = result["process"]
    table = Table(title="The process", show_header=False)
    table.add_row("start to ready, warm, one stream", f"{process['ready']['p50_ms']:.0f} ms")
    table.add_row("resident when idle, one stream", f"{process['resident_mib']:.0f} MiB")
    table.add_row("candled --help", f"{process['help']['p50_ms']:.0f} ms")
    for scale in result["scales"]:
        for way, mib in scale["resident_mib"].items():
            table.add_row(f"resident, {way}, {scale['streams']} streams", f"{mib:.0f} MiB")
    return table


def process_summary(
    ready_ms: Sequence[float], resident_mib: float, help_ms: Sequence[float]
) -> dict[str, Any]:
    """Sum up what the process itself costs."""
    return {
        "ready": _figures(ready_ms),
        "resident_mib": resident_mib,
        "help": _figures(help_ms),
    }
