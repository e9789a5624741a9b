"""What a revised bar may change: the bars and decisions around it, as they are stored.

Reads; what is written about a revision is the journal's business, since it gives the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bar, Bars
from candled.journal import statements
from candled.journal.looking import Look
from candled.journal.rows import bar_cells, bars_of, table_of
from candled.ports import Entry

_Cells = NDArray[np.float64]

_FOR_EVER: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Affected:
    """A bar's new numbers, and what rests on it."""

    bar: Bar
    """As it is to be stored: what the venue does not tell now stays what it was."""
    past: Bars
    """The newest bars before the first decided one at or after it, so many as were asked for."""
    bars: Bars
    """From that one to the stream's newest; empty when nothing has been decided since."""
    entries: Mapping[int, Entry]
    """The newest decision about each of them that has one, by open time."""


def affected(look: Look, stream: int, bar: Bar, history: int) -> Affected | None:
    """Return what `bar` may change in the stream with that key; None when it is stored like this.

    `history` is how many bars before the first decision are wanted. Raises KeyError when no bar
    is stored that opens then.
    """
    stored = look.table(stream, statements.BAR, (bar.open_time,))
    if not len(stored):
        raise KeyError(bar.open_time)
    told = _told(bar, stored[0])
    if np.array_equal(told, stored[0], equal_nan=True):
        return None
    first = look.first_decided(stream, bar.open_time)
    start = _FOR_EVER if first is None else first
    past = look.table(stream, statements.NEWEST_BARS_BEFORE, (start, history))[::-1]
    later = look.table(stream, statements.BARS_FROM, (start,))
    return Affected(
        bar=bars_of(told[np.newaxis]).row(0),
        past=bars_of(_with(past, told)),
        bars=bars_of(_with(later, told)),
        entries=_decided(look, stream, start),
    )


def _told(bar: Bar, stored: _Cells) -> _Cells:
    """Return the new cells, and the stored ones where these tell nothing (NaN)."""
    (cells,) = table_of([bar_cells(bar)])
    return np.where(np.isnan(cells), stored, cells)


def _with(table: _Cells, told: _Cells) -> _Cells:
    """Return the table with one of its rows told anew, if that is among them."""
    return np.where(table[:, :1] == told[0], told, table)


def _decided(look: Look, stream: int, start: int) -> dict[int, Entry]:
    entries = look.entries(statements.ENTRIES_FROM_BAR, (stream, start))
    return {entry.decision.bar_open: entry for entry in entries}
