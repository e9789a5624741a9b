"""From facts to what is said of them: pure functions that make the payloads of `shapes`.

No broker, no file and no clock is known here: the present is an argument.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec

from candled.core import regime
from candled.core.bar import iso
from candled.core.decision import Evidence, Probabilities, Side, Target
from candled.core.model import Model
from candled.core.single import shortest
from candled.ports import Entry, Health, Notice, StreamHealth
from candled_adapters.protocol.shapes import (
    Correction,
    Digest,
    DigestLine,
    Event,
    Goal,
    Head,
    ModelInfo,
    Odds,
    Record,
    Replaced,
    Shadow,
    Showing,
    Signal,
    SignalSide,
    Status,
)
from candled_adapters.sinks.digest import Part

#: Any payload, or plain data, as one line of JSON without a line end.
encode: Final = msgspec.json.Encoder().encode

_SIGNAL_SIDES: Final[dict[Side, SignalSide]] = {Side.LONG: "long", Side.SHORT: "short"}
_iso = lru_cache(maxsize=1024)(iso)  # a thousand streams close at the same moment


def signal(entry: Entry, epoch: str, now_ms: int, *, withdrawn: bool = False) -> bytes:
    """Return the payload of a long or short at venue time `now_ms`.

    It is live until its `valid_until`, exclusive, unless it was `withdrawn`: its correction is
    known. Raises ValueError for an entry that is no signal.
    """
    live = now_ms < entry.decision.valid_until and not withdrawn
    return encode(_signal(entry, epoch, now_ms, live=live))


def replayed(entry: Entry, epoch: str, now_ms: int) -> Signal:
    """Return what is said of a long or short that was published before: it is never live.

    Raises ValueError for an entry that is no signal.
    """
    return _signal(entry, epoch, now_ms, live=False)


def _signal(entry: Entry, epoch: str, now_ms: int, *, live: bool) -> Signal:
    decision = entry.decision
    seq, side, probabilities = _numbered(entry)
    return Signal(
        **_effect(entry, epoch),
        seq=seq,
        side=side,
        probabilities=probabilities,
        published_at=_iso(now_ms),
        live=live,
        supersedes=decision.supersedes.signal if decision.supersedes else None,
    )


def shadow(entry: Entry, epoch: str, now_ms: int) -> bytes:
    """Return the payload of what a challenger would signal, at venue time `now_ms`.

    Raises ValueError for an entry that is no signal.
    """
    decision = entry.decision
    seq, side, probabilities = _numbered(entry)
    return encode(
        Shadow(
            **_subject(entry, epoch),
            seq=seq,
            side=side,
            probabilities=probabilities,
            target=_goal(decision.target),
            evidence=_showing(decision.evidence) if decision.evidence else None,
            published_at=_iso(now_ms),
        )
    )


def _numbered(entry: Entry) -> tuple[int, SignalSide, Odds]:
    decision = entry.decision
    if entry.seq is None or decision.probabilities is None or decision.side not in _SIGNAL_SIDES:
        raise ValueError(f"entry {entry.position} ({decision.side}) is not a signal with a number")
    return entry.seq, _SIGNAL_SIDES[decision.side], _odds(decision.probabilities)


def head(
    entry: Entry, epoch: str, now_ms: int, health: StreamHealth | None, why: str = ""
) -> bytes:
    """Return the payload of a stream's newest decision at venue time `now_ms`.

    `health` is how the stream is doing, None when it is not served now: `why` tells the reason.
    """
    return encode(
        Head(
            **_subject(entry, epoch),
            **_verdict(entry),
            last_signal_seq=entry.last_seq,
            updated_at=_iso(now_ms),
            stream_state=health.state.value if health else None,
            stream_reason=health.reason if health else why,
        )
    )


def digest(part: Part, epoch: str, now_ms: int) -> bytes:
    """Return the payload of a part of a close's decisions at venue time `now_ms`."""
    first = part.entries[0].decision
    return encode(
        Digest(
            epoch=epoch,
            exchange=first.stream.exchange,
            interval=first.stream.interval,
            bar_open=_iso(first.bar_open),
            bar_close=_iso(first.bar_close),
            bar_open_ms=first.bar_open,
            bar_close_ms=first.bar_close,
            part=part.number,
            decided=part.decided,
            expected=part.expected,
            decisions=tuple(map(_line, part.entries)),
            published_at=_iso(now_ms),
        )
    )


def _line(entry: Entry) -> DigestLine:
    decision = entry.decision
    return DigestLine(
        id=decision.id,
        symbol=decision.stream.symbol,
        seq=entry.seq,
        price=decision.price,
        regime=decision.regime,
        **_verdict(entry),
    )


def record(entry: Entry, epoch: str) -> Record:
    """Return what the log says about a decision."""
    return Record(**_effect(entry, epoch), **_verdict(entry), seq=entry.seq)


def correction(entry: Entry, epoch: str) -> Correction:
    """Return what is said of a correction; raises ValueError for an entry that is none."""
    decision = entry.decision
    if decision.supersedes is None:
        raise ValueError(f"entry {entry.position} ({decision.side}) corrects nothing")
    was = decision.supersedes
    return Correction(
        **_effect(entry, epoch),
        **_verdict(entry),
        seq=entry.seq,
        revision=decision.revision,
        supersedes=Replaced(was.id, was.side.value, was.signal, was.seq),
    )


def event(notice: Notice) -> bytes:
    """Return the payload of an incident."""
    incident, stream = notice.incident, notice.incident.stream
    return encode(
        Event(
            exchange=incident.exchange,
            symbol=stream.symbol if stream else None,
            interval=stream.interval if stream else None,
            hazard=incident.hazard.value,
            act=incident.act.value,
            text=incident.text,
            bar_open=None if incident.bar_open is None else iso(incident.bar_open),
            at=iso(incident.venue_ms),
            unsaid=notice.unsaid,
        )
    )


def status(health: Health, instance: str, epoch: str, beat_s: float | None = None) -> bytes:
    """Return the payload of the service's state, said again every `beat_s` seconds, if at all."""
    return encode(
        Status(
            state=health.state.value,
            reasons=health.reasons,
            since=iso(health.since_ms),
            instance=instance,
            epoch=epoch,
            beat_s=beat_s,
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
