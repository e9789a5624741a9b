"""Bad weather between daemon and broker, and between application and broker."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from brokers import free_port, needs_mosquitto
from chaos.figures import Figures
from chaos.journals import until_decided
from chaos.plan import KILLS, SEED, only_long
from chaos.proxy import FAIR, HOLE, Proxy, Weather
from chaos.scenes import TITLE, told, verdict_of
from chaos.world import DEBIAN, PATIENCE_S, World, settle, stage, world

BARS_PER_SECOND = 8.0
SPELLS = 9 + KILLS // 4
SPELL_S = (0.3, 2.5)
MENU = (
    Weather(latency_s=0.15, jitter_s=0.3),
    Weather(bytes_per_s=3_000, drip=200),
    Weather(drip=1, bytes_per_s=2_000),
    Weather(up=False),
    Weather(down=False),
    HOLE,
    Weather(cut_after=700),
    Weather(cut_after=3),
    Weather(refuse=True),
)

pytestmark = [needs_mosquitto, only_long]


def test_no_weather_on_the_way_loses_anything(tmp_path: Path, figures: Figures):
    """Latency, drip, silence one way or both, resets and cuts: every signal once, in order."""
    bars = int((60 + SPELLS * 5) * BARS_PER_SECOND)
    made = stage(tmp_path, seed=SEED + 30, bars=bars, bars_per_second=BARS_PER_SECOND)
    chance = random.Random(SEED)
    menu = chance.sample(MENU, len(MENU))  # their number is odd: each comes to each way in time

    async def scenario() -> World:
        port = free_port()
        async with (
            Proxy(port, SEED) as before,
            Proxy(port, SEED + 1) as behind,
            world(made, conf=DEBIAN, ports=(port, before.port, behind.port)) as w,
        ):
            await until_decided(w.state, 20, PATIENCE_S)
            for number in range(SPELLS):
                proxy = (before, behind)[number % 2]
                proxy.weather = menu[number % len(menu)]
                if chance.random() < 0.4:
                    proxy.reset()
                await asyncio.sleep(chance.uniform(*SPELL_S))
                if chance.random() < 0.5:
                    proxy.weather = FAIR
            before.weather = behind.weather = FAIR
            await settle(w)
            assert before.accepted > 1
            assert behind.accepted > 1
            return w

    verdict = verdict_of(asyncio.run(scenario()))
    figures.add(TITLE, [told(f"{SPELLS} spells of bad weather in the network", verdict)])
    assert verdict.faultless, verdict
