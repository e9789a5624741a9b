"""The sums and the table of the cadence bench. Pure; measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from candled.core.bar import MINUTE


@dataclass(frozen=True, slots=True)
class Glance:
    """Both processes at one moment."""

    at_s: float
    """Monotonic time (s)."""
    daemon_cpu_s: float
    venue_cpu_s: float
    resident_mib: float
    """Of the daemon."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen of a run."""

    closes: Sequence[int]
    """Open times (UTC ms) of the bars that count."""
    glances: Sequence[Glance]
    before: Mapping[str, Any]
    """What the daemon said at the first of them ..."""
    after: Mapping[str, Any]
    """... and at the last."""
    seen: Mapping[str, Any]
    """What the venue said at the end."""
    speed: float
    """Of the venue's clock."""


def summary(streams: int, per_connection: int, watched: Watched) -> dict[str, Any]:
    """Sum up a run."""
    glances, after, seen = watched.glances, watched.after, watched.seen
    first, last = glances[0], glances[-1]
    span = last.at_s - first.at_s
    shares = np.diff([g.daemon_cpu_s for g in glances]) / np.diff([g.at_s for g in glances])
    frames, audits = (
        after["stats"][name] - watched.before["stats"][name] for name in ("frames", "audits")
    )
    bars = set(watched.closes)
    decided = [row for row in after["decided"] if row[1] in bars]
    return {
        "streams": streams,
        "per_connection": per_connection,
        "closes": len(bars),
        "missing": streams * len(bars) - len({(row[0], row[1]) for row in decided}),
        "seconds": span,
        "frames_per_s": frames / span,
        "audits": audits,
        "daemon_cpu_percent": 100 * (last.daemon_cpu_s - first.daemon_cpu_s) / span,
        "second_cpu_percent": {
            f"p{p}": 100 * float(np.percentile(shares, p)) for p in (10, 50, 90)
        },
        "venue_cpu_percent": 100 * (last.venue_cpu_s - first.venue_cpu_s) / span,
        "resident_mib": last.resident_mib,
        "after_end_ms": _figures([_after_end_ms(row, watched) for row in decided]),
        "after_receipt_ms": _figures([(row[3] - row[2]) / 1e6 for row in decided]),
        "connects": after["stats"]["connects"],
        "connections": seen["connections"],
        "subscribe_messages": seen["subscribed"],
        "rest_requests": after["stats"]["rest_requests"],
        "breaches": list(seen["breaches"]),
    }


def _after_end_ms(row: Sequence[Any], watched: Watched) -> float:
    """Return the time from the bar's end, when its push is due, to its decision on disk."""
    end_ms = row[1] + MINUTE - watched.seen["start_ms"]
    return float((row[3] - watched.seen["began_ns"]) / 1e6 - end_ms / watched.speed)


def _figures(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {"p50": float("nan"), "p99": float("nan"), "max": float("nan")}
    p50, p99 = np.percentile(values, [50, 99]).tolist()
    return {"p50": p50, "p99": p99, "max": max(values)}


def table(result: Mapping[str, Any]) -> Table:
    """Lay a result out for people."""
    shown = Table(title=f"{result['streams']} streams, each open bar pushed once a second")
    shown.add_column("what")
    shown.add_column("measured", justify="right")
    cpu, end, receipt = (
        result[name] for name in ("second_cpu_percent", "after_end_ms", "after_receipt_ms")
    )
    rows = {
        "measured": f"{result['seconds']:.0f} s, {result['closes']} closes",
        "frames received": f"{result['frames_per_s']:.0f} /s",
        "CPU of the daemon": f"{result['daemon_cpu_percent']:.1f} % of a core",
        "in single seconds, p10 / p50 / p90": " / ".join(f"{cpu[p]:.1f} %" for p in cpu),
        "from a bar's end to its decision on disk": _times(end),
        "from its frame to its decision on disk": _times(receipt),
        "bars without a decision": str(result["missing"]),
        "connections (made)": f"{result['connections']} ({result['connects']})",
        "subscribe messages": str(result["subscribe_messages"]),
        "REST questions, histories included": str(result["rest_requests"]),
        "audits": str(result["audits"]),
        "limits exceeded": "; ".join(result["breaches"][:3]) or "none",
        "resident": f"{result['resident_mib']:.0f} MiB",
        "until all were live": f"{result['loaded_s']:.0f} s",
        "CPU of the venue": f"{result['venue_cpu_percent']:.1f} % of a core",
    }
    for what, measured in rows.items():
        shown.add_row(what, measured)
    return shown


def _times(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.0f} ms" for name, value in figures.items())
