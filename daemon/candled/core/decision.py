"""What is decided about a closed bar, as data, and the few rules that decide it.

A decision is a pure function of the last `history` closed bars, a model bundle and a policy. Its
id is a digest of what it is about, so that deciding again after a crash gives the same id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bar, Stream

WINDOW_RULE: Final = "window"
"""The label rule of a model that names none."""


class Side(StrEnum):
    """What a decision says."""

    LONG = "long"
    SHORT = "short"
    FLAT = "flat"
    """The model was asked and says no trade, or a gate suppressed its signal (see `reason`)."""
    NO_DECISION = "no_decision"
    """The model could not be asked (see `reason`)."""

    @property
    def is_signal(self) -> bool:
        """Whether it says to take a position; see `Decision.is_signal` for what is published."""
        return self in (Side.LONG, Side.SHORT)


class Reason(StrEnum):
    """Why a decision is not what the bare model and threshold would say.

    The last six are gates, in the order in which they are asked: the first that closes is named.
    """

    WARMUP = "warmup"
    """Too few bars yet for a feature row that does not depend on where history starts."""
    NOT_FINITE = "features_not_finite"
    """A feature is NaN or infinite: the model must not be asked."""
    EXPIRED = "expired"
    """The bar closed too long after the end of what the model was trained on."""
    GAP_MUTE = "gap_mute"
    """Too few bars since one that the venue never made."""
    AMBIGUOUS = "ambiguous"
    """The classes that the model cannot rule out are not just the signal's own."""
    NOVELTY = "novelty"
    """Too many features lie outside the ranges that the model was trained on."""
    REGIME = "regime_gate"
    """A long outside Trending Up or a short outside Trending Down."""
    COOLDOWN = "cooldown"
    """One of the stream's last few bars has passed all other gates already."""


class Quality(StrEnum):
    """What is unusual about the bars behind a decision; informs, does not suppress."""

    GAP = "gap"
    """A slot that the venue never filled lies within the kernel's window."""
    ZERO_VOLUME = "zero_volume"
    """Nobody traded in this bar."""
    FLAT_RUN = "flat_run"
    """Neither price nor volume in this bar and those before it, as venues fill in an outage."""
    WICK = "wick"
    """The bar reached far beyond what its neighbours do, and came back."""


class Source(StrEnum):
    """How a closed bar came to us."""

    WS = "ws"
    REST = "rest"
    BACKFILL = "backfill"


@dataclass(frozen=True, slots=True)
class BarClosed:
    """A bar that the venue has closed, as a feed reports it."""

    stream: Stream
    bar: Bar
    source: Source
    received_ns: int
    """Wall clock (`time.time_ns`) when its frame or answer was received."""
    received_ms: int
    """The same moment on the venue's clock (UTC ms)."""


@dataclass(frozen=True, slots=True)
class BarRevised:
    """A bar that was reported before and that the venue's history now shows with other numbers."""

    stream: Stream
    bar: Bar
    received_ns: int
    """Wall clock (`time.time_ns`) when the answer that settled it was received."""
    received_ms: int
    """The same moment on the venue's clock (UTC ms)."""


@dataclass(frozen=True, slots=True)
class Probabilities:
    """The model's answer; float32 values, widened exactly to Python floats."""

    no_trade: float
    long: float
    short: float


@dataclass(frozen=True, slots=True)
class Target:
    """What the model was trained to foresee: its label's parameters."""

    lookahead_bars: int
    profit_pct: float
    stop_pct: float
    rule: str = field(default=WINDOW_RULE, compare=False)
    """Name of the label rule. It follows from the model: what was decided before decisions said it
    is no other decision for that."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What out-of-sample rows showed when a side's probability was in one band, above <= p < below.

    A band's edges are float32 values, widened exactly. Shares are from 0 to 1.
    """

    side: Side
    """Long or short."""
    above: float
    below: float | None
    """None for the last band, which has no upper edge."""
    n: int
    """How many rows fell into the band."""
    coverage: float
    """Their share of all out-of-sample rows."""
    precision: float
    """The share of them for which the side was right."""
    low: float
    """Lower end of the precision's 95 % interval."""
    high: float
    """Its upper end."""
    base_rate: float
    """The share of all out-of-sample rows for which the side was right."""
    gross_pct: float | None
    """Mean result of a trade on these rows before costs (percent); None when not measured."""

    def covers(self, probability: float) -> bool:
        """Whether a probability, a float32 widened exactly, lies in the band."""
        return self.above <= probability and (self.below is None or probability < self.below)


@dataclass(frozen=True, slots=True)
class Policy:
    """How probabilities become signals. Part of every decision's id."""

    threshold: float = 0.6
    """A side is signalled when its probability is strictly above this, compared in float32."""
    regime: str = "notebook"
    """Preset of the regime machine."""
    regime_gate: bool = False
    """Allow long only in regime 1 and short only in regime 2."""
    valid_bars: int = 1
    """A signal may be acted on until this many bars after its own have closed."""
    novelty_max: float | None = None
    """The largest share of features outside the training ranges that a signal may have."""
    abstain: bool = False
    """Suppress a signal unless its side is the only class that the model cannot rule out."""
    cooldown_bars: int = 0
    """Suppress a signal if any of so many bars before its own has passed all other gates."""
    gap_mute_bars: int = 0
    """Suppress the signals of the first so many bars after a gap."""
    max_age_days: int | None = None
    """Suppress the signals of bars that close later than so many days after the last bar that the
    model was trained on had opened."""

    @property
    def digest(self) -> str:
        """Hex digest of the settings (16 bytes)."""
        settings = {
            field.name: (getattr(self, field.name), field.default) for field in fields(self)
        }
        said = {
            name: value
            for name, (value, default) in settings.items()
            if name in _ALWAYS_SAID or value != default
        }
        return _digest(json.dumps(said, sort_keys=True))


#: The settings that every policy's digest is made of. One that was added later is part of it only
#: when it is set, so that the ids of decisions made before it was there stay what they are.
_ALWAYS_SAID: Final = frozenset({"threshold", "regime", "regime_gate", "valid_bars"})


@dataclass(frozen=True, slots=True)
class Superseded:
    """What a correction takes the place of."""

    id: str
    """Of the decision that was made before."""
    side: Side
    signal: str | None
    """Id of the newest signal about this bar, which is an older decision's where the last one kept
    its side; None when there was none."""
    seq: int | None
    """That signal's number."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about one closed slot. Exactly one for each, and its corrections."""

    id: str
    """Hex digest of stream, model, policy, bar open and revision (16 bytes)."""
    stream: Stream
    bar_open: int
    """UTC ms."""
    bar_close: int
    """Exclusive end of the slot (UTC ms)."""
    revision: int
    """0, and one more for each correction."""
    side: Side
    reason: Reason | None
    probabilities: Probabilities | None
    """None when the model was not asked."""
    threshold: float
    target: Target | None
    price: float
    """Close of the bar."""
    regime: int
    """0 ranging, 1 trending up, 2 trending down; confirmed."""
    raw_regime: int
    quality: tuple[Quality, ...]
    model: str
    """Name of the bundle."""
    model_digest: str
    policy_digest: str
    valid_until: int
    """Not to be acted on after this (UTC ms, venue's clock)."""
    novelty: float | None = None
    """Share of the features outside their training ranges, where these are known; the model was
    asked."""
    evidence: Evidence | None = None
    """Of the band that the signal's probability lies in, where it is known; None without signal."""
    supersedes: Superseded | None = None
    """Of a correction; else None."""

    @property
    def is_signal(self) -> bool:
        """Whether this is published as a signal, with a number of its own.

        Long and short are, except a correction that keeps the side: whoever has acted on that has
        nothing to do, and must not do it twice.
        """
        news = self.supersedes is None or self.supersedes.side is not self.side
        return self.side.is_signal and news


SIDES: Final = (Side.FLAT, Side.LONG, Side.SHORT)


def signals(
    probabilities: NDArray[np.float32],
    threshold: float | Sequence[float] | NDArray[np.float32],
) -> NDArray[np.int8]:
    """Turn probabilities [n, 3] (no trade, long, short) into signals [n]: 0, 1 long, 2 short.

    `threshold` is one for all rows or one for each.

    The notebook's rule: long if its probability is strictly above the threshold, then short if its
    own is, so short wins where both are. The comparison is made in float32, so that a probability
    of float32(0.6) is not above 0.6.
    """
    limit = np.asarray(threshold, dtype=np.float32)
    result = np.zeros(len(probabilities), dtype=np.int8)
    result[probabilities[:, 1] > limit] = 1
    result[probabilities[:, 2] > limit] = 2
    return result


def decision_id(stream: Stream, model: str, policy: str, bar_open: int, revision: int) -> str:
    """Return the deterministic id of a decision; `model` and `policy` are digests."""
    return _digest(f"{stream.path}\n{model}\n{policy}\n{bar_open}\n{revision}")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
