"""How a stream gets over a gap in history that is longer than a page of it. Pure.

Some venues answer by spans of time: an outage, or a day without a trade, can fill whole pages with
nothing. Then what comes next is looked for page by page further on.
"""

from __future__ import annotations

from typing import Final

from candled.core.bar import Bars, Interval
from candled_adapters.feeds.backlog import Read

_OVERLAP: Final = 2  # slots before the next bar that every question repeats


class Crossing:
    """Where the next question of one stream begins, relative to its next bar."""

    def __init__(self, interval: Interval, page: int) -> None:
        self.offset_ms = 0
        """How much further on; 0 when nothing is being crossed."""
        self.known_later = 0
        """Open time of a bar that was found beyond a gap: what lies before it is closed."""
        self.under_way = False
        """Whether the last answer calls for another question at once."""
        self._slot_ms = interval.typical_ms
        self._span_ms = (page - 1) * interval.typical_ms

    def turns(self, read: Read, fresh: Bars, *, anchored: bool) -> bool:
        """Judge an answer whose closed, new rows are `fresh`; True when it is not to be used yet.

        `anchored`: it began with bars that were known. What is found beyond a gap is first taken
        as a proof that a last bar before the gap, if there is one, is closed: that is asked anew.
        """
        if len(fresh):
            found = int(fresh.open_time[0])
            self.under_way = self.offset_ms > 0 and found > self.known_later
            if self.under_way:
                self.known_later, self.offset_ms = found, 0
            return self.under_way
        ended_ms = (read.start_ms or 0) + self._span_ms
        self.under_way = anchored and ended_ms < read.server_ms
        step_ms = self._span_ms - _OVERLAP * self._slot_ms
        self.offset_ms = self.offset_ms + step_ms if self.under_way else 0
        return self.under_way

    def over(self) -> None:
        """Begin at the next bar again."""
        self.offset_ms = 0
        self.under_way = False
