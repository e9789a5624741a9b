"""Pushed bars at the door of one stream: kept for their turn, or dropped and counted.

Pure. What is next, and what has gone out, is the caller's to know; this is the waiting room.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from candled.core.bar import COLUMNS, Bar, Stream
from candled.ports import Hazard
from candled_adapters.feeds.stats import SourceStats


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, on the three clocks that matter."""

    local_s: float
    """Monotonic, for delays."""
    venue_ms: int
    """The venue's clock (UTC ms)."""
    wall_ns: int
    """Wall clock, for records only."""


def same(one: Bar, other: Bar) -> bool:
    """Whether two bars hold the same numbers; a column that both lack (NaN) is the same."""
    pairs = [(getattr(one, name), getattr(other, name)) for name in COLUMNS]
    return all(a == b or (a != a and b != b) for a, b in pairs)  # noqa: PLR0124 - NaN


class Held:
    """Closed bars that were pushed and have not gone out; at most `limit`.

    `gone` returns the bar that went out for an open time, as long as that is remembered.
    """

    def __init__(
        self, stream: Stream, stats: SourceStats, limit: int, gone: Callable[[int], Bar | None]
    ) -> None:
        self._stream = stream
        self._stats = stats
        self._limit = limit
        self._gone = gone
        self._bars: dict[int, tuple[Bar, Moment, int]] = {}
        self._last: tuple[int, int] | None = None  # slot and line of what was taken out last

    def __bool__(self) -> bool:
        """Whether any bar waits."""
        return bool(self._bars)

    def keep(
        self, bar: Bar, moment: Moment, line: int, next_open: int | None
    ) -> tuple[bool, Hazard | None]:
        """Keep a bar unless its slot is filled; return whether it was, and what was wrong.

        The same bar from another `line` than the first is no hazard: two connections overlap.
        """
        open_time = bar.open_time
        waiting = self._bars.get(open_time)
        old = next_open is not None and open_time < next_open
        if not old and waiting is None:
            self._bars[open_time] = (bar, moment, line)
            return True, None
        return False, self._again(bar, waiting[0] if waiting else self._gone(open_time), line)

    def pop(self, open_time: int) -> tuple[Bar, Moment] | None:
        """Take out the bar of a slot, and when it came; None when it is not here."""
        held = self._bars.pop(open_time, None)
        if held is None:
            return None
        self._last = open_time, held[2]
        return held[0], held[1]

    def any_in(self, start: int, end: int) -> bool:
        """Whether a bar that opens in [start, end) waits."""
        return any(start <= open_time < end for open_time in self._bars)

    def trim(self, next_open: int | None) -> bool:
        """Forget bars that REST has overtaken, and the oldest if there is one too many; say so."""
        if next_open is not None and self._bars and min(self._bars) < next_open:
            self._bars = {t: held for t, held in self._bars.items() if t >= next_open}
        overflows = len(self._bars) > self._limit
        if overflows:
            del self._bars[min(self._bars)]
            self._stats.overflowed += 1
        return overflows

    def quarantine(self, bar: Bar, what: str) -> None:
        """Count a bar that must not pass, and keep it as the sample."""
        self._stats.quarantined += 1
        self._stats.quarantined_sample = f"{self._stream.path}: {what}; found {bar}"

    def _again(self, bar: Bar, known: Bar | None, line: int) -> Hazard | None:
        """Judge a bar whose slot is filled, by the bar that fills it if that is known."""
        if known is None:
            self._stats.late += 1
            return Hazard.OUT_OF_ORDER
        if not same(known, bar):
            self._stats.duplicates_changed += 1
            return Hazard.CHANGED_CLOSE
        if self._line_of(bar.open_time) not in (None, line):
            self._stats.overlapped += 1
            return None
        self._stats.duplicates_same += 1
        return Hazard.DUPLICATE_CLOSE

    def _line_of(self, open_time: int) -> int | None:
        if self._last is not None and self._last[0] == open_time:
            return self._last[1]
        return self._bars[open_time][2] if open_time in self._bars else None
