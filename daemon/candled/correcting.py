"""What is decided otherwise once a bar has been revised: the corrections, made anew by the engine.

Only what the present model and policy have decided can be made again. What others decided before a
reload is left as it is, and that is said: a correction by another model would be a lie.
"""

from __future__ import annotations

from itertools import chain

from candled.core.correction import by_same_means, correction
from candled.core.decision import BarRevised, Decision
from candled.core.engine import Engine
from candled.journal import Affected
from candled.ports import Act, Hazard, Incident


def corrections(
    engine: Engine, event: BarRevised, affected: Affected, *, from_listing: bool
) -> tuple[list[Decision], Incident | None]:
    """Decide again what rests on the bar; return what changes, and what people should know of it.

    Afterwards the engine's windows stand at the stream's newest bar, as after a restart.
    """
    engine.warm(event.stream, affected.past, from_listing=from_listing)
    found, others = [], 0
    for again in chain.from_iterable(engine.replay(event.stream, affected.bars)):
        last = affected.entries.get(again.bar_open)
        if last is None:  # the bar was never decided
            continue
        others += not by_same_means(again, last.decision)
        if corrected := correction(again, last.decision, last.seq):
            found.append(corrected)
    return found, _left_alone(event, others) if others else None


def _left_alone(event: BarRevised, count: int) -> Incident:
    text = (
        f"{count} decision(s) by another model or policy rest on the revised bar; "
        "what made them is no longer there, so they are left as they are"
    )
    stream, opened = event.stream, event.bar.open_time
    return Incident(
        stream.exchange, stream, Hazard.REVISED_BAR, Act.FLAG, text, event.received_ms, opened
    )
