"""What a soak runs: five venues, their symbols, their pace, and what goes wrong on each of them.

Read by all processes of a run; a seed and a number of bars say everything. Hours are moments here,
so what a feed waits for by the clock on the wall is shortened as well, and the venues' limits on
questions and messages are lifted: they are about real time.
"""

from __future__ import annotations

import math
import random
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, Final, Self

from candled.core.bar import Bars, Interval, Stream
from candled.core.decision import Policy
from candled.core.engine import Lane
from candled.core.features.mar import MAR
from candled.simulate import synthetic_start
from candled_adapters.exchanges.dialect import Dialect
from candled_adapters.exchanges.registry import DIALECTS
from candled_adapters.feeds.backlog import Patience
from candled_adapters.feeds.feed import FeedSettings
from candled_adapters.feeds.socket import SocketSettings
from candled_adapters.simulator.chance import random_scenario
from candled_adapters.simulator.generator import generate_many
from candled_adapters.simulator.scenario import KINDS, Entry, Scenario

HOURLY: Final = Interval("1h")
WEEK: Final = 168
#: Four symbols of each venue.
SYMBOLS: Final = {
    "binance-spot": ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"),
    "bybit-linear": ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"),
    "okx": ("BTC-USDT", "ETH-USDT", "SOL-USDT", "XRP-USDT"),
    "kraken": ("BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD"),
    "hyperliquid": ("BTC", "ETH", "SOL", "XRP"),
}
#: Kinds by which the venue says of a bar, as closed, what is not true in the end.
LIES: Final = frozenset({"alter", "clock", "double", "other_symbol", "partial", "revise"})
#: Bars before the first that is decided. Kraken shows 720 of them, at this pace ever others: its
#: symbols are young, so that their first bars are among those.
BEFORE: Final = {"kraken": 500}
_BEFORE: Final = MAR.history + 300
_QUIET_BEFORE, _QUIET_AFTER = 5, 40
_SHARES: Final = (0.01, 0.03, 0.06)  # of the slots of a week, at which something begins
_HEALING_S: Final = 0.15
_SETTLING_S, _SPARE_S = 3.0, 15.0
_LONG_SILENCE: Final = 4  # times as long as other faults, so that it is noticed as such
_LONGER: Final = 240.0  # how much more an hour's length asks for than a moment's
_POLICY: Final = Policy(threshold=0.42, cooldown_bars=2, gap_mute_bars=3)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run."""

    seed: int
    bars: int
    """Slots that are judged on every venue."""
    pace: float = 10.0
    """How many of them in a real second."""
    kills: tuple[float, ...] = (0.1, 0.2, 0.3)
    """At which shares of the judged slots the daemon's side is killed and started again."""
    density: float = 1.0
    """How many faults there are, as a multiple of what is usual."""

    @classmethod
    def told(cls, message: dict[str, Any]) -> Self:
        """Read what `asdict` wrote, as JSON has it."""
        return cls(**{**message, "kills": tuple(message["kills"])})

    def tell(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    def start_at(self, venue: str) -> int:
        """Return the index of a venue's first played bar."""
        return BEFORE.get(venue, _BEFORE)

    @property
    def settling(self) -> int:
        """Slots after the judged ones that all streams must have decided: their audits are over."""
        return math.ceil(_SETTLING_S * self.pace)

    @property
    def played(self) -> int:
        """Slots that are played, the judged ones and those after; an end stops the venues' time."""
        return self.bars + self.settling + math.ceil(_SPARE_S * self.pace)

    @property
    def judged_to(self) -> int:
        """Open time (UTC ms) of the last slot that is judged."""
        return self.played_from + (self.bars - 1) * HOURLY.typical_ms

    @property
    def bar_s(self) -> float:
        """Real seconds of a bar."""
        return 1.0 / self.pace

    @property
    def played_from(self) -> int:
        """Open time (UTC ms) of the first played bar, on all venues."""
        return synthetic_start(HOURLY) + _BEFORE * HOURLY.typical_ms

    def candles(self, venue: str) -> dict[str, Bars]:
        """Generate a venue's bars; one more than is played, as the end of the last one's proof."""
        seed = random.Random(f"{self.seed} {venue}").randrange(2**31)
        before = self.start_at(venue)
        start = self.played_from - before * HOURLY.typical_ms
        return generate_many(seed, SYMBOLS[venue], HOURLY, start, before + self.played + 1)

    def scenario(self, venue: str) -> Scenario:
        """Return what goes wrong on a venue."""
        return _scenario(self, venue)


@cache
def _scenario(plan: Plan, venue: str) -> Scenario:
    """Draw what goes wrong week by week, in some weeks more than in others."""
    dice = random.Random(f"{plan.seed} {venue} faults")
    entries: list[Entry] = []
    for begin in range(0, plan.bars, WEEK):
        share = plan.density * dice.choice(_SHARES)
        week = random_scenario(dice.randrange(2**31), WEEK, SYMBOLS[venue], tuple(KINDS), share)
        entries += [replace(e, after_bars=begin + (e.after_bars or 0)) for e in week.entries]
    begun = range(_QUIET_BEFORE, plan.bars - _QUIET_AFTER)
    timed = [_timed(plan, entry, dice) for entry in entries if entry.after_bars in begun]
    return Scenario(tuple(timed), f"soak of {venue}")


def _timed(plan: Plan, entry: Entry, dice: random.Random) -> Entry:
    """Put an entry into this run's time: hours last moments, but some of what is wrong heals.

    What a stream would wait for until a person has looked (other units, another symbol), or
    what hides a bar, always heals; what changes a bar does in half of the cases.
    """
    said = dict(entry.parameters)
    match entry.kind:
        case "clock":
            said["offset_s"] *= 10 * _LONGER
        case "late":
            said["by_s"] *= _LONGER
        case "mute" | "stall":
            entry = replace(entry, for_bars=_LONG_SILENCE * (entry.for_bars or 1))
        case "refuse_rest" | "refuse_handshake" if said["status"] in (418, 429):
            said["retry_after_s"] = 1
        case "max_age":
            said["age_s"] = 2 * plan.bar_s
    heals = entry.kind in ("hide", "other_symbol") or 1000.0 in said.get("factors", {}).values()
    heals = heals or (entry.kind == "alter" and dice.random() < 0.5)
    over = (entry.after_bars or 0) + (entry.for_bars or 0)
    for_s = over * plan.bar_s + _HEALING_S if heals else entry.for_s
    return replace(entry, parameters=said, for_s=for_s)


def streams() -> list[Stream]:
    """Return all streams."""
    return [Stream(venue, s, HOURLY.name) for venue, symbols in SYMBOLS.items() for s in symbols]


def lanes(model: Any) -> list[Lane]:
    """Let one model decide all streams."""
    return [Lane(stream, model, _POLICY) for stream in streams()]


def dialect(venue: str) -> Dialect:
    """Return a venue's dialect without its limits on how often it may be approached."""
    known = DIALECTS[venue]
    lifted = replace(
        known.limits, questions=100_000, connects=100_000, frames_per_second=1_000,
        requests_per_hour=None, frames_per_second_in_all=None,
    )  # fmt: skip
    return replace(known, limits=lifted)


#: Patience with venues whose hours last a tenth of a second.
SETTINGS: Final = FeedSettings(
    socket=SocketSettings(
        connect_s=2.0, ping_s=5.0, max_age_s=20.0, first_retry_s=0.02,
        last_retry_s=0.3, stable_s=2.0, ack_s=0.3, data_s=0.3, calm_s=0.01, look_s=0.1,
        stream_silence_s=0.8, last_silence_s=2.0, first_refusal_s=0.2, last_refusal_s=1.0,
    ),
    patience=Patience(
        grace_s=0.25, confirm_s=1.2, first_retry_s=0.05, last_retry_s=0.5, fallback_s=0.2,
        audit_s=0.4,
    ),
)  # fmt: skip
