"""What a revised bar may change: the bars and decisions around it, as they are stored.

Reads; what is written about a revision is the journal's business, since it gives the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from candled.core.bar import Bar, Bars
from candled.journal import statements
from candled.journal.database import Database
from candled.journal.rows import Cell, bar_cells, bars_of, entry_of
from candled.ports import Entry

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


def affected(database: Database, stream: int, bar: Bar, history: int) -> Affected | None:
    """Return what `bar` may change in the stream with that key; None when it is stored like this.

    `history` is how many bars before the first decision are wanted. Raises KeyError when no bar
    is stored that opens then.
    """
    rows = database.rows(statements.BAR, (stream, bar.open_time))
    if not rows:
        raise KeyError(bar.open_time)
    told = _told(bar_cells(bar), rows[0])
    if told == rows[0]:
        return None
    first = database.rows(statements.FIRST_DECIDED, (stream, bar.open_time))[0][0]
    start = _FOR_EVER if first is None else first
    past = database.rows(statements.NEWEST_BARS_BEFORE, (stream, start, history))[::-1]
    return Affected(
        bar=bars_of([told]).row(0),
        past=_with(past, told),
        bars=_with(database.rows(statements.BARS_FROM, (stream, start)), told),
        entries=_decided(database, stream, start),
    )


def _told(cells: Sequence[Cell], stored: Sequence[Cell]) -> tuple[float | None, ...]:
    """Return the new cells, and the stored ones where these tell nothing (NaN)."""
    pairs = zip(cells, stored, strict=True)
    return tuple(was if cell != cell else cell for cell, was in pairs)  # type: ignore[misc] # noqa: PLR0124 - NaN


def _with(rows: Sequence[Sequence[float | None]], told: Sequence[float | None]) -> Bars:
    """Build the table of rows, with one of them told anew if it is among them."""
    return bars_of([told if row[0] == told[0] else row for row in rows])


def _decided(database: Database, stream: int, start: int) -> dict[int, Entry]:
    entries = (
        entry_of(text) for (text,) in database.rows(statements.ENTRIES_FROM_BAR, (stream, start))
    )
    return {entry.decision.bar_open: entry for entry in entries}
