"""Bars and entries as rows of the journal, there and back, to the bit. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from candled.core.bar import COLUMNS, Bar
from candled.ports import Entry

Cell = float | int | str | None


def bar_cells(bar: Bar) -> tuple[Cell, ...]:
    """Return a bar's columns in order; SQLite stores NaN as NULL."""
    return tuple(getattr(bar, name) for name in COLUMNS)


def bar_of(cells: Sequence[float | None]) -> Bar:
    """Build a bar from the cells that `bar_cells` made."""
    return Bar(*(float("nan") if cell is None else cell for cell in cells))  # type: ignore[arg-type]


def decision_row(stream: int, entry: Entry) -> tuple[Cell, ...]:
    """Return the row of an entry in the table of decisions; `stream` is its stream's key."""
    decision = entry.decision
    return (
        entry.position,
        stream,
        decision.bar_open,
        decision.revision,
        decision.id,
        decision.side.value,
        entry.seq,
        msgspec.json.encode(entry).decode(),
    )


def entry_of(text: str) -> Entry:
    """Build an entry from its JSON; raises msgspec.DecodeError."""
    return msgspec.json.decode(text, type=Entry)
