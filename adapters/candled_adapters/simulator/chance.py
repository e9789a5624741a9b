"""Scenarios by chance, for soak runs: a seed in, a scenario out, always the same one. Pure.

Print a failing one with `Scenario.toml` and replay it from the file.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from candled_adapters.simulator.damage import DAMAGES
from candled_adapters.simulator.scenario import KINDS, VENUE_WIDE, Scenario

_LONGEST: Final = 5  # bars
_PRICE: Final = 1.001
_TIMES: Final = 3


def _ways(dice: random.Random) -> dict[str, Any]:
    """Draw where a change is seen: on the websocket, in REST, or both."""
    ws, rest = dice.choice(((True, False), (False, True), (True, True)))
    return {"ws": ws, "rest": rest}


def _factors(dice: random.Random) -> dict[str, float]:
    return dice.choice(({"price": _PRICE}, {"volume": 1.5}, {"volume": 1000.0}, {"price": 1000.0}))


def _status(dice: random.Random) -> dict[str, Any]:
    return {"status": dice.choice((403, 418, 429, 500, 503)), "times": dice.randint(1, _TIMES)}


#: What is drawn for a kind besides its bounds; the others take their defaults.
_DRAWN: Final[Mapping[str, Callable[[random.Random], dict[str, Any]]]] = {
    "double": lambda dice: dice.choice(({}, {"factors": {"price": _PRICE}})),
    "hide": _ways,
    "late": lambda dice: {"by_s": dice.choice((0.2, 2.0, 30.0))},
    "again": lambda dice: {"back": dice.randint(1, _LONGEST)},
    "mute": lambda dice: {"share": dice.choice((0.5, 1.0))},
    "alter": lambda dice: {"factors": _factors(dice), **_ways(dice)},
    "revise": lambda dice: {"factors": {"price": _PRICE}, "wait_bars": dice.choice((0.0, 1.0))},
    "outage": lambda dice: {"fill": dice.choice((False, True))},
    "lag": lambda dice: {"rows": dice.randint(1, 2)},
    "damage": lambda dice: {"how": dice.choice(tuple(DAMAGES)), **_ways(dice)},
    "delay_rest": lambda dice: {"by_s": dice.choice((0.05, 0.2))},
    "refuse_rest": _status,
    "refuse_handshake": _status,
    "refuse_subscribe": lambda dice: {"times": dice.randint(1, _TIMES)},
    "drop": lambda dice: {"code": dice.choice((1001, 1006, 1008, 1011, 1012, "rst"))},
    "max_age": lambda _: {"age_s": 0.5},
    "clock": lambda dice: {"offset_s": dice.choice((-30.0, -2.0, 2.0, 30.0))},
}
#: Kinds from which nothing comes back, or that need another symbol: only when asked for.
_ENDLESS: Final = frozenset({"halt", "delist", "other_symbol"})
#: Kinds from which a venue recovers.
PASSING: Final = tuple(kind for kind in KINDS if kind not in _ENDLESS)


def random_scenario(
    seed: int,
    slots: int,
    symbols: Sequence[str],
    kinds: Sequence[str] = PASSING,
    share: float = 0.2,
) -> Scenario:
    """Draw faults of some `kinds` for a run of so many played `slots`.

    About the `share` (0 to 1) of all slots begins a fault, of one symbol or the whole venue, which
    lasts up to 5 slots. Raises `ScenarioError` for an unknown kind, and `ValueError` for a kind
    that needs another symbol when there is none.
    """
    if "other_symbol" in kinds and len(symbols) < 2:  # noqa: PLR2004 - one and another
        raise ValueError("other_symbol needs two symbols; name another, or leave the kind out")
    dice = random.Random(seed)
    starts = [slot for slot in range(slots) if dice.random() < share]
    return Scenario.of(
        [_drawn(dice, dice.choice(kinds), slot, symbols) for slot in starts],
        f"random scenario {seed}",
    )


def _drawn(dice: random.Random, kind: str, slot: int, symbols: Sequence[str]) -> dict[str, Any]:
    symbol = dice.choice(symbols)
    bars = dice.randint(1, _LONGEST)
    entry: dict[str, Any] = {"kind": kind, "after_bars": slot, "for_bars": bars}
    if kind not in VENUE_WIDE:
        entry["symbol"] = symbol
    if kind == "swap":
        entry["for_bars"] = 2 * bars
    if kind == "other_symbol":
        entry["other"] = dice.choice([name for name in symbols if name != symbol])
    return entry | (_DRAWN[kind](dice) if kind in _DRAWN else {})
