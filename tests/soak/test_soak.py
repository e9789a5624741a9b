"""A year of misbehaving venues, and what becomes of the decisions.

`make soak` plays a year, the ordinary test run some days of it. `CANDLED_SOAK_SEED` replays a run.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from soak.driver import soak
from soak.plan import Plan
from soak.report import table

BARS = int(os.environ.get("CANDLED_SOAK_BARS", "100"))
SEED = int(os.environ.get("CANDLED_SOAK_SEED", "11"))
PACE = float(os.environ.get("CANDLED_SOAK_PACE", "7"))


def test_a_year_of_faults_leaves_every_slot_decided_as_the_final_bars_say(tmp_path: Path):
    """Twenty streams, five lying venues, kill -9: none missing, none wrong, none without reason."""
    long = BARS >= 1_000
    kills, density = ((0.1, 0.2, 0.3), 1.0) if long else ((0.4,), 3.0)
    run = asyncio.run(soak(Plan(SEED, BARS, PACE, kills, density), tmp_path))
    found = table(run)
    print(f"\n{found}")  # noqa: T201 - the figures of a long run
    bad = [one.stream.path for one in run.judged if not one.faultless]
    if bad:
        pytest.fail(found)
    assert len(run.judged) == 20
    assert all(one.first < run.plan.played_from + 20 * 3_600_000 for one in run.judged)
    assert all(one.slots > 0.8 * BARS for one in run.judged)
