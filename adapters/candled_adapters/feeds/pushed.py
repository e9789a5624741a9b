"""Pushed bars at the door of one stream: kept for their turn, or dropped and counted.

Pure. What is next is the caller's to know; this is only the waiting room.
"""

from __future__ import annotations

from dataclasses import dataclass

from candled.core.bar import COLUMNS, Bar, Rule, Stream
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
    """Closed bars that were pushed and have not gone out; at most `limit`."""

    def __init__(self, stream: Stream, stats: SourceStats, limit: int) -> None:
        self.last: Bar | None = None
        """The bar that went out last."""
        self._stream = stream
        self._stats = stats
        self._limit = limit
        self._bars: dict[int, tuple[Bar, Moment]] = {}

    def __bool__(self) -> bool:
        """Whether any bar waits."""
        return bool(self._bars)

    def keep(self, bar: Bar, moment: Moment, next_open: int | None) -> bool:
        """Keep a bar unless it, or a later one, has been here; the first push of a slot stays."""
        if next_open is not None and bar.open_time < next_open:
            self._count_old(bar)
            return False
        if bar.open_time in self._bars:
            self._count_again(self._bars[bar.open_time][0], bar)
            return False
        self._bars[bar.open_time] = (bar, moment)
        return True

    def pop(self, open_time: int) -> tuple[Bar, Moment] | None:
        """Take out the bar of a slot, and when it came; None when it is not here."""
        return self._bars.pop(open_time, None)

    def any_in(self, start: int, end: int) -> bool:
        """Whether a bar that opens in [start, end) waits."""
        return any(start <= open_time < end for open_time in self._bars)

    def trim(self, next_open: int | None) -> None:
        """Forget bars that REST has overtaken, and the oldest if there is one too many."""
        if next_open is not None and self._bars and min(self._bars) < next_open:
            self._bars = {t: held for t, held in self._bars.items() if t >= next_open}
        if len(self._bars) > self._limit:
            del self._bars[min(self._bars)]
            self._stats.overflowed += 1

    def quarantine(self, bar: Bar, rule: Rule) -> None:
        """Count a bar that breaks a rule, and keep it as the sample."""
        self._stats.quarantined += 1
        self._stats.quarantined_sample = (
            f"{self._stream.path}: {rule.field} {rule.demand}; found {bar}"
        )

    def _count_old(self, bar: Bar) -> None:
        if self.last is not None and self.last.open_time == bar.open_time:
            self._count_again(self.last, bar)
        else:
            self._stats.late += 1

    def _count_again(self, known: Bar, bar: Bar) -> None:
        if same(known, bar):
            self._stats.duplicates_same += 1
        else:
            self._stats.duplicates_changed += 1
