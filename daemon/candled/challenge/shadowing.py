"""Decides the champion's bars with the challengers: in order, each once, from the journal alone.

A challenger decides a bar as it is stored at that moment, with windows as they are stored then.
What a venue revises later changes what comes next, and never what has been decided: a shadow has no
corrections. Knows no event loop; who calls says when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from candled.core.bar import Interval, Stream
from candled.core.decision import BarClosed
from candled.core.engine import Engine, Lane
from candled.journal import Journal
from candled.ports import Clock, Entry, Kind

#: Where the journal remembers how far challengers have come.
NAME: Final = "challenger"


@dataclass(frozen=True, slots=True)
class _Stand:
    """Where a stream's windows stand."""

    expects: int
    """When the bar opens that they are ready for (UTC ms)."""
    rewritten: int
    """How often the stream's past had been changed when they were filled."""


class Shadowing:
    """The challengers of some streams, one each. `clock` finds an exchange's clock."""

    def __init__(
        self, lanes: Sequence[Lane], journal: Journal, clock: Callable[[str], Clock]
    ) -> None:
        self.lanes = {lane.stream: lane for lane in lanes}
        self._engine = Engine(lanes)
        self._journal = journal
        self._clock = clock
        self._since: dict[Stream, int] = {}
        self._stands: dict[Stream, _Stand] = {}

    def begin(self) -> int:
        """Return the position of the last entry that is done with, marked; raises JournalError.

        A challenger that is new begins with what is decided from now on: of older bars nobody knows
        whether it was trained on them.
        """
        kinds = {kind_of(lane): lane.stream for lane in self.lanes.values()}
        courses = self._journal.shadows.begin(list(kinds), self._journal.last_position)
        self._since = {kinds[kind]: course.since for kind, course in courses.items()}
        first = min(self._since.values(), default=self._journal.last_position)
        if first > self._journal.position(NAME):
            self._journal.shadows.commit(NAME, first, [], [], [])
        return self._journal.position(NAME)

    def takes(self, entry: Entry) -> bool:
        """Whether a challenger decides this entry's bar."""
        since = self._since.get(entry.decision.stream)
        return since is not None and entry.position > since and entry.decision.revision == 0

    def runs(self, entries: Sequence[Entry]) -> Iterator[list[Entry]]:
        """Split entries so that within a run windows are filled once a stream, before it."""
        run: list[Entry] = []
        expected: dict[Stream, int] = {}
        for entry in entries:
            if self.takes(entry):
                stream, opened = entry.decision.stream, entry.decision.bar_open
                if expected.get(stream, opened) != opened:
                    yield run
                    run, expected = [], {}
                expected[stream] = Interval(stream.interval).end(opened)
            run.append(entry)
        if run:
            yield run

    def cold(self, run: Sequence[Entry]) -> list[Entry]:
        """Return the first entry of each stream whose windows are not ready for its bar."""
        first: dict[Stream, Entry] = {}
        for entry in filter(self.takes, run):
            first.setdefault(entry.decision.stream, entry)
        return [entry for stream, entry in first.items() if not self._ready(stream, entry)]

    def _ready(self, stream: Stream, entry: Entry) -> bool:
        return self._stands.get(stream) == _Stand(
            entry.decision.bar_open, self._journal.rewritten(stream)
        )

    def warm(self, entry: Entry) -> None:
        """Fill a stream's windows with what lies before an entry's bar.

        It may run in another thread, as long as nothing else is asked meanwhile. Raises
        JournalError.
        """
        stream, opened = entry.decision.stream, entry.decision.bar_open
        rewritten = self._journal.rewritten(stream)
        history = self._engine.history(stream)
        bars, from_listing = self._journal.shadows.bars_before(stream, opened, history)
        self._engine.warm(stream, bars, from_listing=from_listing)
        self._stands[stream] = _Stand(opened, rewritten)

    def decide(self, run: Sequence[Entry]) -> None:
        """Decide a run, whose streams are warm, and write it down with the mark.

        Raises JournalError; then nothing of it is written, and the streams are cold.
        """
        taken = [entry for entry in run if self.takes(entry)]
        stands = {entry.decision.stream: self._after(entry) for entry in taken}
        held = {stream: self._stands.pop(stream) for stream in stands}
        decisions = self._engine.decide([self._closed(entry) for entry in taken])
        now = [self._clock(entry.decision.stream.exchange).now_ms() for entry in taken]
        self._journal.shadows.commit(NAME, run[-1].position, taken, decisions, now)
        for stream, expects in stands.items():
            self._stands[stream] = _Stand(expects, held[stream].rewritten)

    def _after(self, entry: Entry) -> int:
        return Interval(entry.decision.stream.interval).end(entry.decision.bar_open)

    def _closed(self, entry: Entry) -> BarClosed:
        stream, opened = entry.decision.stream, entry.decision.bar_open
        bar = self._journal.shadows.bar(stream, opened)
        return BarClosed(stream, bar, entry.source, entry.received_ns, entry.received_ms)


def kind_of(lane: Lane) -> Kind:
    """Return who decides a lane."""
    return Kind(lane.stream, lane.model.digest, lane.policy.digest)
