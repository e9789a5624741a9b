"""Tells people that a model is about to be too old to decide, and when it is.

That it then decides nothing is the gate's doing (`Lane.expires_at`), by the bars' own time; here
this is only said. A remark for a week before and as long as it lasts; an incident of each stream
once it has begun.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from candled.core.bar import DAY, Stream, iso
from candled.core.engine import Lane
from candled.ports import Act, Entry, Hazard, HealthBoard, Incident
from candled.telling import Tell

_BEFORE_MS: Final = 7 * DAY
_MEND: Final = "train it anew and reload"


class Ageing:
    """Looks at what is decided; `lanes` returns how the streams are decided now."""

    def __init__(self, lanes: Callable[[], Sequence[Lane]], board: HealthBoard, tell: Tell) -> None:
        self._lanes = lanes
        self._board = board
        self._tell = tell
        self._limits: dict[Stream, tuple[str, int]] = {}
        self._told: set[tuple[Stream, str, int]] = set()
        self._remarks: dict[str, str] = {}

    def begin(self, latest: Iterable[Entry]) -> None:
        """Begin with the present lanes, after a start or a reload; `latest` are newest entries."""
        self._limits = {
            lane.stream: (f"model {lane.model.name} {lane.model.digest[:8]}", lane.expires_at)
            for lane in self._lanes()
            if lane.expires_at is not None
        }
        for part in self._remarks:
            self._board.remark(part, None)
        self._remarks.clear()
        self.look(list(latest))

    def look(self, entries: Sequence[Entry]) -> None:
        """Look at entries that are durable now; a model is as old as its stream's newest bar."""
        if not self._limits:
            return
        for entry in entries:
            if limit := self._limits.get(entry.decision.stream):
                self._judge(entry, *limit)

    def _judge(self, entry: Entry, part: str, expires_at: int) -> None:
        made = entry.decision
        if made.bar_close > expires_at:
            self._remark(part, f"expired at {iso(expires_at)} and gives no signals; {_MEND}")
            self._tell_once(entry, part, expires_at)
        elif made.bar_close > expires_at - _BEFORE_MS and part not in self._remarks:
            self._remark(part, f"expires at {iso(expires_at)}; {_MEND}")

    def _remark(self, part: str, text: str) -> None:
        if self._remarks.get(part) != text:
            self._remarks[part] = text
            self._board.remark(part, text)

    def _tell_once(self, entry: Entry, part: str, expires_at: int) -> None:
        stream, opened = entry.decision.stream, entry.decision.bar_open
        if (stream, part, expires_at) in self._told:
            return
        self._told.add((stream, part, expires_at))
        text = f"{part} expired at {iso(expires_at)}: it gives no signals any more; {_MEND}"
        self._tell(
            Incident(
                stream.exchange,
                stream,
                Hazard.MODEL_EXPIRED,
                Act.FLAG,
                text,
                entry.decided_ms,
                opened,
            )
        )
