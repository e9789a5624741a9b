"""What a Hummingbot controller is told about a pair at one moment. Pure functions.

The consumer is Hummingbot's `ai_livestream` controller:
https://github.com/hummingbot/hummingbot/blob/master/controllers/directional_trading/ai_livestream.py
It takes three numbers, short, neutral, long, compares short and then long with its own thresholds
(strictly above, 0.5 by default), and keeps what follows until the next message: it looks at no
time and at no other field for it. So each word must be one that may be held on to, and whatever
ends that must be said: neutral is what makes it do nothing.

On ``hbot/predictions/btc_usdt/ML_SIGNALS``::

    {"timestamp":1735689660000,"probabilities":[0.1777,0.21,0.6123],"target_pct":0.006}
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import msgspec

from candled.core.bar import Stream
from candled.core.decision import Side, Target
from candled.core.single import shortest
from candled.ports import Clock, Entry, ServiceState, StreamHealth, StreamState
from candled_adapters.sinks.mqtt_messages import Message

_TOPIC: Final = "ML_SIGNALS"


@dataclass(frozen=True, slots=True)
class Pair:
    """A stream as Hummingbot knows it."""

    stream: Stream
    name: str
    """Its trading pair there, e.g. ``BTC-USDT``."""
    target: Target | None
    """What the stream's model at the start was trained to foresee: until one has decided."""

    @property
    def level(self) -> str:
        """The pair as a level of a topic, as the controller spells it."""
        return self.name.replace("-", "_").lower()

    def topic(self, base: str) -> str:
        """Name where the controller listens."""
        return f"{base}/{self.level}/{_TOPIC}"


@dataclass(frozen=True, slots=True)
class Word:
    """What is to be held on to."""

    short: float
    neutral: float
    long: float
    about: int
    """Which close it is about (UTC ms); 0 for none."""
    until: int | None
    """From then on (UTC ms, venue's clock) neutral is to be said; None for what is neutral."""
    target: Target | None = None
    """What the model that decided was trained to foresee."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a word depends on beside the decision."""

    service: ServiceState
    stream: StreamHealth | None
    now_ms: int
    """Venue's clock."""
    flat_is_neutral: bool
    """Whether a decision that is no signal is told as neutral, instead of its probabilities."""


def word(entry: Entry | None, around: Circumstances) -> Word:
    """Return what may be held on to now: the newest decision's numbers while all is well.

    Neutral follows from anything else: no decision, one that a gate suppressed, one whose time is
    over, a stream that is not live, a service that is not online.
    """
    if entry is None:
        return neutral(0)
    decision, asked = entry.decision, entry.decision.probabilities
    untold = around.flat_is_neutral and decision.side is Side.FLAT
    over = around.now_ms >= decision.valid_until
    if asked is None or decision.reason or untold or over or not _well(around):
        return neutral(decision.bar_close, decision.target)
    return Word(
        shortest(asked.short),
        shortest(asked.no_trade),
        shortest(asked.long),
        about=decision.bar_close,
        until=decision.valid_until,
        target=decision.target,
    )


def neutral(about: int, target: Target | None = None) -> Word:
    """Return the word that makes the controller do nothing."""
    return Word(0.0, 1.0, 0.0, about, None, target)


def _well(around: Circumstances) -> bool:
    live = around.stream is not None and around.stream.state is StreamState.LIVE
    return live and around.service is ServiceState.ONLINE


def message(pair: Pair, base: str, said: Word, clock: Clock, repeat_s: float | None) -> Message:
    """Render a word. Never retained: a bot that starts must not begin with an old one.

    A broker keeps a word for who is away until its time is over. A neutral one has no such time:
    it is kept, unless it only repeats (`repeat_s` is then the pause between repetitions).
    """
    body: dict[str, object] = {
        "timestamp": said.about,
        "probabilities": [said.short, said.neutral, said.long],
    }
    if (target := said.target or pair.target) is not None:
        body["target_pct"] = round(target.profit_pct / 100, 12)
    limits = [] if repeat_s is None else [2 * repeat_s]
    if said.until is not None:
        limits.append(clock.local_seconds(said.until - clock.now_ms()))
    expiry = max(1, math.ceil(min(limits))) if limits else None
    return Message(pair.topic(base), msgspec.json.encode(body), expiry=expiry)
