"""A decision in words: one line for people. What others have written is made visible."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from candled.core import regime
from candled.core.bar import iso
from candled.core.decision import Decision, Reason, Side
from candled.core.text import visible
from candled.ports import Entry

#: Why a decision is no signal although the model and threshold alone might say so.
REASONS: Final[dict[Reason, str]] = {
    Reason.WARMUP: "too few bars yet",
    Reason.NOT_FINITE: "a feature is not a number",
    Reason.GAP_MUTE: "muted after a gap",
    Reason.AMBIGUOUS: "the model cannot rule out the others",
    Reason.NOVELTY: "too unlike the training data",
    Reason.REGIME: "against the regime",
    Reason.COOLDOWN: "cooling down",
    Reason.EXPIRED: "the model is too old",
}
COLOURS: Final = {Side.LONG: "green", Side.SHORT: "red", Side.NO_DECISION: "yellow"}

_SIDES: Final = {Side.NO_DECISION: "none"}


def reason_words(reason: Reason) -> str:
    """Return why a decision is no signal, in words; a reason without any by its name."""
    return REASONS.get(reason, reason.value.replace("_", " "))


def line(entry: Entry, *, with_stream: bool = True) -> Text:
    """Return one line that says what was decided of which bar, and why."""
    decision = entry.decision
    stream = f"{visible(decision.stream.path):28}  " if with_stream else ""
    number = f"#{entry.seq}" if entry.seq else ""
    said = Text(f"{iso(decision.bar_close)}  {stream}")
    side = _SIDES.get(decision.side, decision.side.value)
    said.append(f"{side:5}", COLOURS.get(decision.side, ""))
    said.append(f"  {number:>6}  {_about(entry)}")
    said.rstrip()
    return said


def _about(entry: Entry) -> str:
    decision = entry.decision
    parts = [odds_words(decision), f"at {decision.price:g}", regime.NAMES[decision.regime]]
    if decision.reason:
        parts.append(reason_words(decision.reason))
    parts += [flag.value.replace("_", " ") for flag in decision.quality]
    if decision.supersedes:
        was = decision.supersedes
        number = f" #{was.seq}" if was.seq else ""
        parts.append(f"corrects {was.side.value}{number}")
    parts.append(f"{entry.source.value} {late_words(entry)}")
    return ", ".join(part for part in parts if part)


def odds_words(decision: Decision) -> str:
    """Return the larger of long's and short's probabilities beside the threshold."""
    if decision.probabilities is None:
        return ""
    odds = decision.probabilities
    side = decision.side if decision.side.is_signal else None
    if side is None:
        side = Side.LONG if odds.long >= odds.short else Side.SHORT
    return f"p({side.value})={getattr(odds, side.value):.3f} of {decision.threshold:.3g}"


def late_words(entry: Entry) -> str:
    """Return how long after the end of its bar an entry was decided, on the venue's clock."""
    return duration(entry.decided_ms - entry.decision.bar_close)


def duration(ms: float) -> str:
    """Return a span of time in the largest unit that keeps two digits of it, with its sign."""
    sign, left = ("-" if ms < 0 else "+"), abs(ms)
    for unit, length, most in (("ms", 1, 2_000), ("s", 1_000, 120), ("min", 60_000, 120)):
        if left < most * length:
            return f"{sign}{left / length:.0f} {unit}"
    if left < 48 * 3_600_000:
        return f"{sign}{left / 3_600_000:.1f} h"
    return f"{sign}{left / 86_400_000:.1f} d"
