"""What is known of the drift of every stream: rows in, figures and alarms out.

Pure but for its memory: knows no journal, no loop and nobody to tell. One thread at a time may
change it; `of` may be asked by any.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Stream
from candled.core.decision import Decision
from candled.core.lane import Lane
from candled.core.model import Model
from candled.core.track import StreamDrift
from candled.driftwatch.alarm import CONFIRM, Alarm
from candled.driftwatch.rings import Places, Rings, Table

Floats = NDArray[np.float64]


class Drifts:
    """The streams of some lanes, each with a ring of its newest `size` rows."""

    def __init__(self, lanes: Iterable[Lane], size: int) -> None:
        self._size = size
        self._places: dict[Stream, tuple[Rings, int]] = {}
        self._alarms: dict[Stream, Alarm] = {}
        self._found: dict[Stream, StreamDrift] = {}
        self._filled: set[Stream] = set()
        alike: dict[str, list[Lane]] = {}
        for lane in lanes:
            alike.setdefault(lane.model.digest, []).append(lane)
        for members in alike.values():
            self.give(members[0].model, [lane.stream for lane in members])

    @property
    def streams(self) -> tuple[Stream, ...]:
        """All streams."""
        return tuple(self._places)

    @property
    def wanted(self) -> int:
        """How many newest rows `fill` wants: a ring full, and those that the alarm sees after."""
        return self._size + CONFIRM

    @property
    def nbytes(self) -> int:
        """Bytes of all rings when they are full."""
        rings = {id(rings): rings for rings, _ in self._places.values()}
        return sum(one.nbytes for one in rings.values())

    def model(self, stream: Stream) -> Model | None:
        """Return the model that a stream's rows are compared for; None for one not watched."""
        place = self._places.get(stream)
        return place[0].model if place else None

    def give(self, model: Model, streams: Sequence[Stream]) -> None:
        """Compare streams for this model from here on: they are without rows until filled."""
        rings = Rings(model, streams, self._size)
        for place, found in enumerate(rings.figures(np.arange(len(streams)))):
            self._places[found.stream] = rings, place
            self._alarms[found.stream] = Alarm()
            self._found[found.stream] = found
            self._filled.discard(found.stream)

    def of(self, stream: Stream) -> StreamDrift | None:
        """Return what is known of a stream; None for one that is not watched."""
        return self._found.get(stream)

    def fill(self, stream: Stream, table: Table) -> list[StreamDrift]:
        """Begin a stream with its newest rows, oldest first; return it if its alarm changed.

        The alarm sees the last rows one by one, as it would have seen them live. Raises KeyError
        for a stream that is not watched.
        """
        rings, place = self._places[stream]
        before = self._alarms[stream].flagged
        alarm = self._alarms[stream] = Alarm(flagged=before)
        at = np.array([place])
        tail = max(0, len(table) - CONFIRM)
        rings.fill(place, table[:tail])
        for row in range(tail, len(table)):
            rings.push(at, table[row : row + 1])
            alarm.step(rings.figures(at)[0])
        self._filled.add(stream)
        found = replace(rings.figures(at)[0], flagged=alarm.flagged)
        self._found[stream] = found
        return [found] if found.flagged is not before else []

    def take(
        self, model: Model, decisions: Sequence[Decision], features: Floats
    ) -> list[StreamDrift]:
        """Take the rows [n, k] of n decisions of distinct streams; return whose alarm changed.

        A stream that is not filled yet, or is compared for another model, takes none: its rows are
        in the journal.
        """
        by_rings: dict[int, tuple[Rings, list[int], list[int]]] = {}
        for row, made in enumerate(decisions):
            rings, place = self._places[made.stream]
            if made.stream in self._filled and rings.model.digest == model.digest:
                _, places, rows = by_rings.setdefault(id(rings), (rings, [], []))
                places.append(place)
                rows.append(row)
        changed = []
        for rings, places, rows in by_rings.values():
            table = _table([decisions[row] for row in rows], features[rows])
            changed += self._push(rings, np.array(places), table)
        return changed

    def _push(self, rings: Rings, places: Places, table: Table) -> list[StreamDrift]:
        changed = []
        for found in rings.figures(rings.push(places, table)):
            alarm = self._alarms[found.stream]
            before = alarm.flagged
            alarm.step(found)
            known = self._found[found.stream] = replace(found, flagged=alarm.flagged)
            if alarm.flagged is not before:
                changed.append(known)
        return changed


def _table(decisions: Sequence[Decision], features: Floats) -> Table:
    odds = [made.probabilities for made in decisions]
    return Table(
        np.array([made.bar_open for made in decisions], dtype=np.int64),
        features,
        np.array([(one.long, one.short) for one in odds if one], dtype=np.float64),
    )
