"""What `replay` tells: decisions, counts, differences; for people and as JSON. Pure text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec

from candled.core.bar import iso
from candled.core.decision import Decision, Side
from candled.core.engine import Lane
from candled.core.text import visible
from candled.operating.rehearsal import Played
from candled.operating.words import odds_words, reason_words

_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a replay."""

    lane: Lane
    bars_from: str
    made: Sequence[Decision]
    shown: Sequence[Decision]
    """Those that are told one by one."""
    against: dict[str, Any] | None
    """What the journal says of the same bars, if that was asked."""
    played: Played | None
    where: str
    """To where they were published."""


def as_json(done: Replayed) -> str:
    """Return one object with everything."""
    said = {
        "stream": done.lane.stream.path,
        "bars_from": done.bars_from,
        "model": done.lane.model.name,
        "digest": done.lane.model.digest,
        "policy": done.lane.policy.digest,
        **_counts(done.made),
        "decisions": msgspec.to_builtins(done.shown),
        "against_journal": done.against,
        "published": asdict(done.played) if done.played else None,
    }
    return msgspec.json.encode(said).decode()


def as_text(done: Replayed) -> str:
    """Return lines: the decisions that are shown, what they sum up to, and what differs."""
    lines = [*map(_line, done.shown), *_summary(done)]
    if done.against:
        lines += _differences(done.against)
    if played := done.played:
        lines.append(
            f"published {played.decisions} decisions, {played.signals} of them signals, "
            f"{done.where}; {played.undelivered} undelivered"
        )
    return "\n".join(map(visible, lines))


def _counts(made: Sequence[Decision]) -> dict[str, Any]:
    sides = Counter(one.side.value for one in made)
    reasons = Counter(one.reason.value for one in made if one.reason)
    return {"bars": len(made), "sides": {s.value: sides[s.value] for s in Side}, "reasons": reasons}


def _line(one: Decision) -> str:
    why = reason_words(one.reason) if one.reason else ""
    parts = [odds_words(one), f"at {one.price:g}", why]
    side = "none" if one.side is Side.NO_DECISION else one.side.value
    return f"{iso(one.bar_close)}  {side:5}  {', '.join(part for part in parts if part)}"


def _summary(done: Replayed) -> list[str]:
    counts, lane = _counts(done.made), done.lane
    sides = ", ".join(f"{count} {side}" for side, count in counts["sides"].items())
    why = ", ".join(f"{count} {reason}" for reason, count in counts["reasons"].items())
    by = f"{lane.model.name} ({lane.model.digest[:16]}) over {lane.policy.threshold:g}"
    head = f"{lane.stream.path}: {counts['bars']} bars of {done.bars_from}, decided by {by}"
    return [head, sides + (f"; held back: {why}" if why else "")]


def _differences(found: dict[str, Any]) -> list[str]:
    others = f"{found['by_another_model']} of them by another model or policy: by their side alone"
    differ = f"{found['differ']} differ"
    lines = [f"against the journal: {found['compared']} compared ({others}), {differ}"]
    lines += [f"  {count} not compared: {why}" for why, count in found["not_compared"].items()]
    for one in found["differences"][:_SHOWN]:
        for field, (was, now) in one["fields"].items():
            lines.append(f"  {one['bar_open']} {field}: the journal says {was}, now {now}")
    more = found["differ"] - _SHOWN
    return [*lines, f"  and {more} more"] if more > 0 else lines
