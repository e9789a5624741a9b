"""Bars and entries as rows of the journal, there and back, to the bit. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import msgspec
import numpy as np

from candled.core.bar import COLUMNS, TIME_COLUMNS, Bar, Bars
from candled.core.decision import Source
from candled.ports import Entry

Cell = float | int | str | None


def bar_cells(bar: Bar) -> tuple[Cell, ...]:
    """Return a bar's columns in order; SQLite stores NaN as NULL."""
    return tuple(getattr(bar, name) for name in COLUMNS)


def history_rows(stream: int, bars: Bars) -> Iterator[tuple[Cell, ...]]:
    """Yield the rows of a history in the table of bars; `stream` is its stream's key."""
    columns = [getattr(bars, name).tolist() for name in COLUMNS]
    return zip(repeat(stream), *columns, repeat(Source.BACKFILL.value), strict=False)


def bars_of(rows: Sequence[Sequence[float | None]]) -> Bars:
    """Build a table from rows of the cells that `bar_cells` made, oldest first.

    NULL becomes NaN; times are whole milliseconds, which float64 holds exactly.
    """
    table = np.array(rows, dtype=np.float64).reshape(-1, len(COLUMNS))
    columns: dict[str, Any] = {
        name: table[:, at].astype(np.int64) if name in TIME_COLUMNS else table[:, at].copy()
        for at, name in enumerate(COLUMNS)
    }
    return Bars(**columns)


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
