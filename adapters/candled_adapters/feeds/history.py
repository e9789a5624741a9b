"""A stretch of one stream's history: what to ask next, and what an answer is worth. Pure.

No network, no clock; times are arguments. Bars are asked for in order of time. Every hole between
two bars is asked for once more before it is believed, so what has been taken needs no second look.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from candled.core.bar import COLUMNS, Bar, Bars, Interval, iso
from candled_adapters.exchanges.dialect import Rows
from candled_adapters.feeds.backlog import (
    Hole,
    Read,
    closed_rows,
    first_broken,
    holes_in,
)
from candled_adapters.feeds.sanity import complaint


class HistoryError(ValueError):
    """An answer that cannot be taken; the text names the bar and the field."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is wanted: the closed bars that open in [since, until)."""

    interval: Interval
    since: int
    """UTC ms; need not be on the grid."""
    until: int
    """UTC ms, exclusive."""
    server_ms: int
    """The venue's time, taken before; bars that close later are not wanted yet."""

    def question(self, last: int | None, page: int) -> Read | None:
        """Return what to ask when `last` is the newest open time at hand; None when all is."""
        start = self.since if last is None else self.interval.end(last)
        closed = start if last is None else self.interval.end(start) - 1
        if start >= self.until or closed >= self.server_ms:
            return None
        return Read(start, self.until - 1, page, self.server_ms, 0)

    def take(self, answer: Rows, read: Read) -> Bars:
        """Return the closed bars of an answer to `read`. Raises `HistoryError`."""
        bars, rows = answer.bars, closed_rows(answer, self.server_ms)
        opens = bars.open_time
        low, high = read.start_ms or 0, read.end_ms or 0
        if len(bars) > read.limit or ((opens < low) | (opens > high)).any():
            raise HistoryError(
                f"the venue answers with {len(bars)} bars that were not asked for: at most "
                f"{read.limit} from {iso(low)} to {iso(high)} were"
            )
        broken = first_broken(rows, self.interval)
        if broken is not None:
            index, rule = broken
            opened, found = int(rows.open_time[index]), getattr(rows, rule.field)[index].item()
            raise HistoryError(f"{complaint(opened, rule)}; the venue gives {found}")
        return rows

    def holes(self, last: int | None, rows: Bars) -> list[Hole]:
        """Return the holes before and between `rows`, which follow on `last` or the beginning."""
        opens = rows.open_time.tolist()
        if last is not None:
            return holes_in([last, *opens], self.interval)
        late = opens[0] - self.since >= self.interval.typical_ms
        return [(self.since, opens[0])] * late + holes_in(opens, self.interval)

    def within(self, hole: Hole) -> Stretch:
        """Return the stretch of a hole."""
        return Stretch(self.interval, hole[0], hole[1], self.server_ms)


def joined(parts: list[Bars]) -> Bars:
    """Return all bars of `parts` in order of time."""
    if not parts:
        return Bars.of([])
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    order = np.argsort(columns["open_time"], kind="stable")
    return Bars(**{name: column[order] for name, column in columns.items()})


def difference(stored: Bar, now: Bar) -> str:
    """Say in which column a stored bar is not what the venue says now; '' when they are equal."""
    for name in COLUMNS:
        before, after = getattr(stored, name), getattr(now, name)
        if before != after and not (before != before and after != after):  # noqa: PLR0124 - NaN
            return f"{name} was {before} and is now {after}"
    return ""
