"""When a decision is a correction of the one before it, and what it then says.

A bar that the venue revised is decided again, and so are the bars that rest on it. What comes out
as before is no news. Which corrections are signals is for `Decision.is_signal` to say.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Final

from candled.core.decision import Decision, Superseded, decision_id

_CONTENT: Final = tuple(
    field.name for field in fields(Decision) if field.name not in ("id", "revision", "supersedes")
)


def differing(one: Decision, other: Decision) -> tuple[str, ...]:
    """Return the fields in which two decisions say different things, whatever their revisions.

    No float of a decision about a sane bar is NaN or -0.0.
    """
    return tuple(name for name in _CONTENT if getattr(one, name) != getattr(other, name))


def correction(again: Decision, last: Decision, seq: int | None) -> Decision | None:
    """Return the decision that takes the place of `last`; None when there is nothing to correct.

    `again` is what the bar's decision is now; `seq` is the number of `last` as a signal, if it has
    one. What another model or policy decided is left alone: the bar is not all that changed.
    """
    if not by_same_means(again, last) or not differing(again, last):
        return None
    before = last.supersedes
    replaced = Superseded(last.id, last.side, signal=last.id, seq=seq)
    if seq is None:
        signal, number = (before.signal, before.seq) if before else (None, None)
        replaced = replace(replaced, signal=signal, seq=number)
    return with_revision(replace(again, supersedes=replaced), last.revision + 1)


def by_same_means(one: Decision, other: Decision) -> bool:
    """Whether the same model and policy made two decisions."""
    means = (one.model_digest, one.policy_digest)
    return means == (other.model_digest, other.policy_digest)


def with_revision(decision: Decision, revision: int) -> Decision:
    """Return the decision as that revision of its slot, with the id that follows from it."""
    identity = decision_id(
        decision.stream,
        decision.model_digest,
        decision.policy_digest,
        decision.bar_open,
        revision,
    )
    return replace(decision, id=identity, revision=revision)
