"""How much a run does: as the environment says (`make chaos` sets it), else the short share."""

from __future__ import annotations

import os

import pytest


def _count(name: str, default: int) -> int:
    return int(os.environ.get(f"CANDLED_CHAOS_{name}", default))


LONG = "CANDLED_CHAOS_KILLS" in os.environ
SEED = _count("SEED", 11)
KILLS = _count("KILLS", 2)
BROKER_KILLS = _count("BROKER_KILLS", 1)
BOT_KILLS = _count("BOT_KILLS", max(1, KILLS // 6))
FREEZES = _count("FREEZES", 0)
PAGE = os.environ.get("CANDLED_CHAOS_PAGE", "")
"""File whose table is brought up to date by the run; none when empty."""

only_long = pytest.mark.skipif(not LONG, reason="a long run: make chaos")
