"""The part of the service that watches drift: fed by the engine, off the way of what it decides.

The engine hands over the rows that it asked about, and they lie here until the batch is durable and
the sinks have had their time with it; then another thread bins and counts them. What was decided
before the start, or under a revised bar, is read from the journal again, stream after stream, with
pauses. People are told of a stream that begins or ceases to drift; no decision changes for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from candled.core.bar import Interval, Stream
from candled.core.decision import Decision
from candled.core.lane import Lane
from candled.core.model import Model
from candled.core.track import StreamDrift
from candled.driftwatch.alarm import CONFIRM, told
from candled.driftwatch.drifts import Drifts, Floats
from candled.driftwatch.refill import Refill, no_rows
from candled.errors import describe
from candled.journal import JournalError
from candled.ports import Act, Hazard, HealthBoard, Incident, Outbox
from candled.telling import Tell

_AT_ONCE: Final = 4_096  # entries
_PAUSE: Final = 0.02  # seconds between streams that are read anew: others use the machine, too

log = structlog.get_logger("candled.drift")


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the engine showed of one call of a model."""

    model: Model
    decisions: Sequence[Decision]
    """[n]"""
    features: Floats
    """[n, k]"""


class DriftWatch:
    """Follows the journal as sinks do, but only looks; keeps what is known of each stream's drift.

    `state` is the journal's folder, `size` how many rows of a stream are compared with training,
    `grace_s` how many seconds the sinks have before anything is done here after a batch.
    """

    name = "drift"

    def __init__(
        self,
        lanes: Sequence[Lane],
        state: Path,
        size: int,
        tell: Tell,
        *,
        grace_s: float = 0.2,
    ) -> None:
        self._drifts = Drifts(lanes, size)
        self._refill = Refill(state, self._drifts.wanted)
        self._tell = tell
        self._grace_s = grace_s
        self._waiting: list[_Shown] = []
        self._stale: dict[Stream, None] = dict.fromkeys(self._drifts.streams)
        """Streams to read from the journal, in this order."""

    def on_rows(self, model: Model, decisions: Sequence[Decision], features: Floats) -> None:
        """Take what the engine asked about; nothing is done with it here."""
        self._waiting.append(_Shown(model, decisions, features))

    def drift(self, stream: Stream) -> StreamDrift | None:
        """Return what is known of a stream; None for one that is not watched."""
        return self._drifts.of(stream)

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        """Watch for ever."""
        position = max((entry.position for entry in outbox.latest()), default=0)
        while True:
            if not (self._waiting or self._stale):
                await outbox.wait(position)
                await asyncio.sleep(self._grace_s)
            position = self._follow(outbox, position)
            if self._waiting:
                await self._take(board)
            elif self._stale:
                await self._read(board)
                await asyncio.sleep(_PAUSE)

    def _follow(self, outbox: Outbox, position: int) -> int:
        """Pass by what has become durable; what corrects a decision has changed bars behind it."""
        while entries := outbox.after(position, _AT_ONCE):
            position = entries[-1].position
            self._reread(e.decision.stream for e in entries if e.decision.supersedes)
        return position

    async def _take(self, board: HealthBoard) -> None:
        waiting, self._waiting = self._waiting, []
        for shown in waiting:
            self._swap(shown)
        counts = Counter(made.stream for shown in waiting for made in shown.decisions)
        many = {stream for stream, count in counts.items() if count > CONFIRM}
        self._reread(many)  # the journal gives them at once
        self._say(board, await asyncio.to_thread(self._count, waiting, many))

    def _count(self, waiting: Sequence[_Shown], but: AbstractSet[Stream]) -> list[StreamDrift]:
        """Count rows in, those of some streams left out; runs in a thread."""
        changed = []
        for shown in waiting:
            at = [n for n, made in enumerate(shown.decisions) if made.stream not in but]
            if at:
                decisions = [shown.decisions[n] for n in at]
                changed += self._drifts.take(shown.model, decisions, shown.features[at])
        return changed

    def _swap(self, shown: _Shown) -> None:
        """Begin streams anew that another model decides now."""
        others = []
        for made in shown.decisions:
            model = self._drifts.model(made.stream)
            if model is None or model.digest != shown.model.digest:
                others.append(made.stream)
        if others:
            self._drifts.give(shown.model, others)
            self._reread(others)

    def _reread(self, streams: Iterable[Stream]) -> None:
        self._stale.update(dict.fromkeys(streams))

    async def _read(self, board: HealthBoard) -> None:
        """Read the next stream anew; one that cannot be read begins without rows."""
        stream = next(iter(self._stale))
        del self._stale[stream]
        if model := self._drifts.model(stream):
            self._say(board, await asyncio.to_thread(self._fill, stream, model))

    def _fill(self, stream: Stream, model: Model) -> list[StreamDrift]:
        """Read a stream from the journal; runs in a thread."""
        try:
            table = self._refill(stream, model)
        except (JournalError, OSError) as error:
            log.warning("drift begins anew", stream=stream.path, error=describe(error))
            table = no_rows(model)
        return self._drifts.fill(stream, table)

    def _say(self, board: HealthBoard, changed: Sequence[StreamDrift]) -> None:
        for found in changed:
            text = told(found)
            board.remark(f"{found.stream.path} drift", text if found.flagged else None)
            self._tell(_incident(found, text))


def _incident(found: StreamDrift, text: str) -> Incident:
    stream, opened = found.stream, found.bar_open
    closed = 0 if opened is None else Interval(stream.interval).end(opened)
    return Incident(
        exchange=stream.exchange,
        stream=stream,
        hazard=Hazard.DRIFT,
        act=Act.FLAG,
        text=text,
        venue_ms=closed,
        bar_open=opened,
    )
