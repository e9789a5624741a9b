"""Kill -9 of daemon, broker and application, at any moment: every signal once, in order.

The broker is configured as Debian's package does: what it has acknowledged it forgets when it is
killed. `make chaos` deals hundreds of kills, the ordinary test run a few.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from brokers import needs_mosquitto
from chaos.faults import Storm, blows
from chaos.figures import Figures, add_storm
from chaos.journals import decided, entries, until_decided
from chaos.plan import BOT_KILLS, BROKER_KILLS, KILLS, SEED
from chaos.scenes import assert_decided_as_a_batch
from chaos.verdict import judge
from chaos.world import PATIENCE_S, Stage, settle, stage, world

BARS_PER_SECOND = 4.0
#: Longer than any storm lasts: the venue must not come to its end.
SECONDS_A_KILL = 6.0
#: Order before time, so that order can be asked for: a storm may keep an answer away for long, and
#: a signal is held back for at most half of its life.
VALID_BARS, HOLD_S = 240, 25.0

pytestmark = needs_mosquitto


def test_kills_at_any_moment_lose_double_and_disorder_nothing(tmp_path: Path, figures: Figures):
    """Through all kills each slot is decided once as a batch decides it, each signal told once."""
    kills = KILLS + BROKER_KILLS + BOT_KILLS
    bars = int((60 + kills * SECONDS_A_KILL) * BARS_PER_SECOND)
    made = replace(
        stage(tmp_path, seed=SEED, bars=bars, bars_per_second=BARS_PER_SECOND),
        valid_bars=VALID_BARS,
        hold_s=HOLD_S,
    )
    storm = asyncio.run(rage(made))

    kept = entries(storm.world.state)
    assert_decided_as_a_batch(made, kept)
    signals = [e for e in kept if e.seq is not None]
    verdict = judge([e.decision.id for e in signals], storm.world.told())
    add_storm(figures, storm, kept, verdict)
    assert verdict.faultless, verdict
    assert verdict.belated == 0, verdict
    assert verdict.told > 0


async def rage(made: Stage) -> Storm:
    async with world(made, naive=True) as w:
        await until_decided(w.state, 10, PATIENCE_S)
        storm = Storm(w)
        await storm.rage(blows(SEED, daemon=KILLS, broker=BROKER_KILLS, bot=BOT_KILLS))
        await until_decided(w.state, decided(w.state) + 10, PATIENCE_S)
        await settle(w)
    return storm
