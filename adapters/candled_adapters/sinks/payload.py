"""What is said on the wire: the payloads as types, and pure functions from facts to bytes.

The one source of truth for the JSON of topics and log lines, and for the schemas generated from
it. No broker, no file and no clock is known here: the present is an argument.

A signal, on ``candled/signal/binance/BTCUSDT/1m`` (wrapped here, one line on the wire)::

    {"schema":"candled.signal/1","id":"2c2fdc2ad62d1bbbee0ccbcc0ab3a3b8","epoch":"e1",
     "exchange":"binance","symbol":"BTCUSDT","interval":"1m","bar_open":"2025-01-01T00:00:00Z",
     "bar_close":"2025-01-01T00:01:00Z","bar_open_ms":1735689600000,"bar_close_ms":1735689660000,
     "threshold":0.6,"price":93576.0,"regime":1,"regime_name":"Trending Up","raw_regime":1,
     "quality":[],"model":"ribbon","digest":"f3...","policy":"0a...",
     "decided_at":"2025-01-01T00:01:00.041Z","seq":7,"side":"long",
     "probabilities":{"no_trade":0.21,"long":0.6123,"short":0.1777},
     "target":{"profit_pct":0.6,"stop_pct":0.3,"lookahead_bars":10},
     "published_at":"2025-01-01T00:01:00.042Z","valid_until":"2025-01-01T00:02:00Z",
     "valid_until_ms":1735689720000,"lateness_ms":38,"source":"ws","live":true,"supersedes":null,
     "novelty":0.0136,"evidence":{"above":0.55,"below":null,"n":812,"coverage":0.05,
     "precision":0.328,"low":0.29,"high":0.366,"base_rate":0.245,"gross_pct":0.17}}

Times are UTC; a name ending in ``_ms`` is milliseconds since 1970, the same name without it
ISO-8601 with ``Z``. Numbers are written with the fewest digits that give back the same bits: prices
read as float64, probabilities as float32.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta

from candled.core import regime
from candled.core.bar import iso
from candled.core.decision import Evidence, Probabilities, Side, Target
from candled.core.model import Model
from candled.ports import Entry, Health

SignalSide = Literal["long", "short"]
AnySide = Literal["long", "short", "flat", "no_decision"]
Reason = Annotated[str | None, Meta(description="Why it is not what the bare model would say")]
Position = Annotated[int, Meta(ge=0, le=2, description="0 ranging, 1 trending up, 2 trending down")]
Unit = Annotated[float, Meta(ge=0, le=1, description="A float32 in its shortest decimal text")]
Share = Annotated[float, Meta(ge=0, le=1)]
Seq = Annotated[int, Meta(ge=1, description="Contiguous within a stream and an epoch, from 1")]


class Odds(msgspec.Struct, frozen=True):
    """The model's answer."""

    no_trade: Unit
    long: Unit
    short: Unit


MaybeOdds = Annotated[Odds | None, Meta(description="null when the model was not asked")]


class Goal(msgspec.Struct, frozen=True):
    """What the model was trained to foresee."""

    profit_pct: float
    stop_pct: float
    lookahead_bars: int


class Showing(msgspec.Struct, frozen=True):
    """What out-of-sample rows showed when a side's probability was in one band."""

    above: Annotated[Unit, Meta(description="Lower edge of the band, which belongs to it")]
    below: Annotated[Unit | None, Meta(description="Upper edge, which does not; null: none")]
    n: Annotated[int, Meta(ge=0, description="How many rows fell into the band")]
    coverage: Annotated[Share, Meta(description="Their share of all out-of-sample rows")]
    precision: Annotated[Share, Meta(description="The share of them for which the side was right")]
    low: Annotated[Share, Meta(description="Lower end of the precision's 95 % interval")]
    high: Annotated[Share, Meta(description="Its upper end")]
    base_rate: Annotated[Share, Meta(description="Of all out-of-sample rows, right for the side")]
    gross_pct: Annotated[float | None, Meta(description="Mean result before costs; null: unknown")]


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What every message about a decision says first."""

    id: Annotated[str, Meta(description="The same whenever this bar is decided again")]
    epoch: Annotated[str, Meta(description="Changes only if the journal was lost")]
    exchange: str
    symbol: str
    interval: str
    bar_open: str
    bar_close: Annotated[str, Meta(description="Exclusive end of the bar")]
    bar_open_ms: int
    bar_close_ms: int
    threshold: Annotated[float, Meta(description="A side needs a probability strictly above it")]
    price: Annotated[float, Meta(description="Close of the bar")]
    regime: Position
    regime_name: str
    raw_regime: Annotated[Position, Meta(description="The regime before confirmation")]
    quality: Annotated[tuple[str, ...], Meta(description="What is unusual about the bars")]
    model: str
    digest: Annotated[str, Meta(description="Of the model bundle")]
    policy: Annotated[str, Meta(description="Digest of the policy")]
    decided_at: Annotated[str, Meta(description="Venue's clock")]
    novelty: Annotated[
        Share | None, Meta(description="Of the features outside their training ranges; or unknown")
    ]


class Effect(Subject, frozen=True, kw_only=True):
    """And what follows from it."""

    target: Goal | None
    valid_until: Annotated[str, Meta(description="From then on not to be acted on; venue's clock")]
    valid_until_ms: int
    lateness_ms: Annotated[int, Meta(description="From the end of the bar to its arrival here")]
    source: Annotated[Literal["ws", "rest", "backfill"], Meta(description="How the bar arrived")]
    evidence: Annotated[
        Showing | None, Meta(description="At this confidence; null when unknown or no signal")
    ]


class Signal(Effect, frozen=True, kw_only=True, tag_field="schema", tag="candled.signal/1"):
    """A long or a short. To be acted on once, only while live and before valid_until."""

    seq: Seq
    side: SignalSide
    probabilities: Odds
    published_at: Annotated[str, Meta(description="Venue's clock")]
    live: Annotated[bool, Meta(description="False when it was already too late on publishing")]
    supersedes: Annotated[str | None, Meta(description="Id of the signal that this corrects")]


class Record(Effect, frozen=True, kw_only=True):
    """A decision of any kind, as a line of the log says it."""

    seq: Annotated[Seq | None, Meta(description="null unless it is a signal")]
    side: AnySide
    reason: Reason
    probabilities: MaybeOdds


class Head(Subject, frozen=True, kw_only=True, tag_field="schema", tag="candled.head/1"):
    """The newest decision of a stream, of any kind. A sign of life, never a reason to trade."""

    last_signal_seq: Annotated[int, Meta(ge=0, description="0 before the first signal")]
    side: AnySide
    reason: Reason
    probabilities: MaybeOdds
    updated_at: Annotated[str, Meta(description="Venue's clock")]


class Status(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="candled.status/1"):
    """Whether the service can be relied on; retained, and also its will."""

    state: Literal["online", "degraded", "offline"]
    reasons: tuple[str, ...]
    since: Annotated[str | None, Meta(description="Wall clock; null in a will")]
    instance: Annotated[str, Meta(description="Which process says so")]
    epoch: str


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A model in use and what is known about it."""

    name: str
    digest: str
    evidence: Annotated[
        dict[SignalSide, tuple[Showing, ...]], Meta(description="Bands of each side, where known")
    ]


class Info(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="candled.info/1"):
    """What is running; retained."""

    version: str
    config_digest: str
    models: tuple[ModelInfo, ...]
    streams: Annotated[tuple[str, ...], Meta(description="exchange/symbol/interval")]
    epoch: str


#: Any payload, or plain data, as one line of JSON without a line end.
encode: Final = msgspec.json.Encoder().encode

_SIGNAL_SIDES: Final[dict[Side, SignalSide]] = {Side.LONG: "long", Side.SHORT: "short"}
_iso = lru_cache(maxsize=1024)(iso)  # a thousand streams close at the same moment


def shortest(value: float) -> float:
    """Return the double with the shortest text that still reads back as this float32.

    0.6122999787330627 becomes 0.6123. A value that is not a float32, or whose short text would
    come back as another one, is returned as it is.
    """
    single = np.float32(value)
    short = float(str(single))
    return short if single == value and np.float32(short) == single else value


def signal(entry: Entry, epoch: str, now_ms: int) -> bytes:
    """Return the payload of a long or short at venue time `now_ms`.

    It is live until its `valid_until`, exclusive. Raises ValueError for an entry that is no signal.
    """
    decision = entry.decision
    if entry.seq is None or decision.probabilities is None or decision.side not in _SIGNAL_SIDES:
        raise ValueError(f"entry {entry.position} ({decision.side}) is not a signal with a number")
    return encode(
        Signal(
            **_effect(entry, epoch),
            seq=entry.seq,
            side=_SIGNAL_SIDES[decision.side],
            probabilities=_odds(decision.probabilities),
            published_at=_iso(now_ms),
            live=now_ms < decision.valid_until,
            supersedes=None,
        )
    )


def head(entry: Entry, epoch: str, now_ms: int) -> bytes:
    """Return the payload of a stream's newest decision at venue time `now_ms`."""
    return encode(
        Head(
            **_subject(entry, epoch),
            **_verdict(entry),
            last_signal_seq=entry.last_seq,
            updated_at=_iso(now_ms),
        )
    )


def record(entry: Entry, epoch: str) -> Record:
    """Return what the log says about a decision."""
    return Record(**_effect(entry, epoch), **_verdict(entry), seq=entry.seq)


def status(health: Health, instance: str, epoch: str) -> bytes:
    """Return the payload of the service's state."""
    return encode(
        Status(
            state=health.state.value,
            reasons=health.reasons,
            since=iso(health.since_ms),
            instance=instance,
            epoch=epoch,
        )
    )


def will(instance: str, epoch: str) -> bytes:
    """Return what the broker shall say when it loses us: offline, since it alone knows when."""
    reasons = ("the broker lost the connection",)
    return encode(
        Status(state="offline", reasons=reasons, since=None, instance=instance, epoch=epoch)
    )


def model_info(model: Model) -> ModelInfo:
    """Return what is said of a model in use."""
    evidence: dict[SignalSide, tuple[Showing, ...]] = {
        name: tuple(_showing(band) for band in model.evidence if band.side is side)
        for side, name in _SIGNAL_SIDES.items()
        if model.evidence
    }
    return ModelInfo(name=model.name, digest=model.digest, evidence=evidence)


def _showing(band: Evidence) -> Showing:
    return Showing(
        above=shortest(band.above),
        below=None if band.below is None else shortest(band.below),
        n=band.n,
        coverage=band.coverage,
        precision=band.precision,
        low=band.low,
        high=band.high,
        base_rate=band.base_rate,
        gross_pct=band.gross_pct,
    )


def _odds(probabilities: Probabilities) -> Odds:
    return Odds(
        shortest(probabilities.no_trade),
        shortest(probabilities.long),
        shortest(probabilities.short),
    )


def _goal(target: Target | None) -> Goal | None:
    if target is None:
        return None
    return Goal(target.profit_pct, target.stop_pct, target.lookahead_bars)


def _verdict(entry: Entry) -> dict[str, Any]:
    decision = entry.decision
    return {
        "side": decision.side.value,
        "reason": decision.reason and decision.reason.value,
        "probabilities": decision.probabilities and _odds(decision.probabilities),
    }


def _subject(entry: Entry, epoch: str) -> dict[str, Any]:
    decision = entry.decision
    return {
        "id": decision.id,
        "epoch": epoch,
        "exchange": decision.stream.exchange,
        "symbol": decision.stream.symbol,
        "interval": decision.stream.interval,
        "bar_open": _iso(decision.bar_open),
        "bar_close": _iso(decision.bar_close),
        "bar_open_ms": decision.bar_open,
        "bar_close_ms": decision.bar_close,
        "threshold": decision.threshold,
        "price": decision.price,
        "regime": decision.regime,
        "regime_name": regime.NAMES[decision.regime],
        "raw_regime": decision.raw_regime,
        "quality": tuple(flag.value for flag in decision.quality),
        "model": decision.model,
        "digest": decision.model_digest,
        "policy": decision.policy_digest,
        "decided_at": _iso(entry.decided_ms),
        "novelty": decision.novelty,
    }


def _effect(entry: Entry, epoch: str) -> dict[str, Any]:
    decision = entry.decision
    fields = _subject(entry, epoch)
    fields["target"] = _goal(decision.target)
    fields["valid_until"] = _iso(decision.valid_until)
    fields["valid_until_ms"] = decision.valid_until
    fields["lateness_ms"] = entry.received_ms - decision.bar_close
    fields["source"] = entry.source.value
    fields["evidence"] = _showing(decision.evidence) if decision.evidence else None
    return fields
