"""The cadence bench counts what it says, on the real parts; how fast they are is not tested."""

from __future__ import annotations

import asyncio
import io
import json

import pytest
from rich.console import Console

from candled.bench.cadence.report import Glance, Watched, summary, table
from candled.bench.cadence.run import CadencePlan, measure_cadence
from candled.bench.children import BenchError
from candled.bench.measure import Plan

SEEN = {
    "began_ns": 10**18, "start_ms": 0, "connections": 2, "subscribed": 2, "frames_sent": 9,
    "breaches": [],
}  # fmt: skip


def told(frames: int, decided: list[tuple[str, int, int, int]]) -> dict[str, object]:
    stats = {"frames": frames, "audits": 0, "connects": 2, "rest_requests": 5}
    return {"stats": stats, "decided": decided}


def test_a_run_decides_every_bar_within_the_real_limits():
    """Seven streams on three connections, two minutes of one second each: all is counted."""
    plan = CadencePlan(7, 2, 3, 1.0, Plan((1,), 1, train_bars=1_000, estimators=5))
    result = json.loads(json.dumps(asyncio.run(measure_cadence(plan))))

    assert result["schema"] == "candled.bench-cadence/1"
    assert result["closes"] == 2
    assert result["missing"] == 0
    assert result["breaches"] == []
    assert result["connects"] == result["connections"] == result["subscribe_messages"] == 3
    assert result["frames_per_s"] == pytest.approx(7 * 60, rel=0.2)
    assert 0 < result["daemon_cpu_percent"] < 200
    for name in ("after_end_ms", "after_receipt_ms"):
        assert 0 < result[name]["p50"] <= result[name]["p99"] <= result[name]["max"]
    shown = Console(record=True, file=io.StringIO(), width=100)
    shown.print(table(result))
    assert "bars without a decision" in shown.export_text()


def test_the_sums_are_those_of_the_window():
    """Frames and CPU before it do not count; a bar without a decision does, by stream and slot."""
    glances = [
        Glance(5.0, 1.0, 2.0, 70.0),
        Glance(6.0, 1.1, 2.2, 71.0),
        Glance(9.0, 1.4, 2.8, 72.0),
    ]
    ns = 10**18 + 60_000_000_000
    decided = [("A", 0, ns + 10**6, ns + 3 * 10**6), ("A", 60_000, 0, 0), ("B", -60_000, 0, 0)]
    watched = Watched([0], glances, told(100, []), told(300, decided), SEEN, 1.0)
    found = summary(2, 1, watched)

    assert found["missing"] == 1
    assert found["frames_per_s"] == 50.0
    assert found["daemon_cpu_percent"] == pytest.approx(10.0)
    assert found["venue_cpu_percent"] == pytest.approx(20.0)
    assert found["after_end_ms"] == {"p50": 3.0, "p99": 3.0, "max": 3.0}
    assert found["after_receipt_ms"]["max"] == 2.0


def test_nothing_to_measure_is_refused():
    """No streams, no minutes or no connections are an error that says so."""
    with pytest.raises(BenchError, match="1 or more"):
        CadencePlan(0, 1, 1).check()
