"""The daemon's engine over a stretch of history: the decisions that it would have published."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from candled.core.bar import Bars, Stream
from candled.core.decision import Decision, Policy
from candled.core.engine import Engine, Lane
from candled.core.model import Model

if TYPE_CHECKING:
    from candled.lab.backtest import Tape


def replayed(stream: Stream, bars: Bars, model: Model, policy: Policy) -> Iterator[Decision]:
    """Decide every bar of a stream, oldest first, ids included."""
    return decided_from(Lane(stream, model, policy), bars, 0)


def decided_from(
    lane: Lane, bars: Bars, first: int, *, from_listing: bool = False
) -> Iterator[Decision]:
    """Decide the bars from the one at index `first` on; those before it are their history.

    As a daemon would that starts then: `from_listing` says that the venue has no bar before these.
    """
    engine = Engine([lane])
    past = bars[max(0, first - engine.history(lane.stream)) : first]
    engine.warm(lane.stream, past, from_listing=from_listing)
    return (made for block in engine.replay(lane.stream, bars[first:]) for made in block)


def replayed_tape(stream: Stream, bars: Bars, model: Model, policy: Policy) -> Tape:
    """Return the decisions beside their bars, ready to be traded."""
    from candled.lab.backtest import tape_of_decisions, told

    tape = tape_of_decisions(bars, replayed(stream, bars, model, policy))
    if policy.regime_gate:  # what the gate held back is told too, to be compared with
        return replace(told(tape, policy.threshold), ids=tape.ids)
    return tape


def asked_part(tape: Tape) -> Tape:
    """Return the tape from the first bar on that the model was asked about."""
    asked = tape.probabilities[:, 0] == tape.probabilities[:, 0]  # not NaN
    return tape[int(asked.argmax()) if asked.any() else len(tape) :]
