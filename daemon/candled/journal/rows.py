"""Bars and entries as rows of the journal, there and back, to the bit. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from candled.core.bar import COLUMNS, TIME_COLUMNS, Bar, Bars
from candled.core.decision import Source
from candled.core.track import Outcome
from candled.journal.sums import bar_sums, row_sum
from candled.ports import Entry

Cell = float | int | str | None


def bar_cells(bar: Bar) -> tuple[Cell, ...]:
    """Return a bar's columns in order; SQLite stores NaN as NULL."""
    return tuple(getattr(bar, name) for name in COLUMNS)


def bar_rows(stream: int, bars: Sequence[Bar], sources: Sequence[Source]) -> list[tuple[Cell, ...]]:
    """Return the rows of bars in their table; `stream` is their stream's key."""
    cells = [bar_cells(bar) for bar in bars]
    sums = bar_sums(stream, table_of(cells)).tolist()
    return [
        (stream, *row, source.value, told)
        for row, source, told in zip(cells, sources, sums, strict=True)
    ]


def history_rows(stream: int, bars: Bars) -> Iterator[tuple[Cell, ...]]:
    """Yield the rows of a history in the table of bars; `stream` is its stream's key."""
    columns = [getattr(bars, name).tolist() for name in COLUMNS]
    table = np.column_stack([getattr(bars, name).astype(np.float64) for name in COLUMNS])
    sums = bar_sums(stream, table).tolist()
    return zip(repeat(stream), *columns, repeat(Source.BACKFILL.value), sums, strict=False)


def table_of(rows: Sequence[Sequence[Cell]]) -> NDArray[np.float64]:
    """Return rows of a bar's cells as one table; NULL becomes NaN.

    Times are whole milliseconds, which float64 holds exactly.
    """
    return np.array(rows, dtype=np.float64).reshape(-1, len(COLUMNS))


def bars_of(table: NDArray[np.float64]) -> Bars:
    """Build bars from a table of their cells, oldest first."""
    columns: dict[str, Any] = {
        name: table[:, at].astype(np.int64) if name in TIME_COLUMNS else table[:, at].copy()
        for at, name in enumerate(COLUMNS)
    }
    return Bars(**columns)


def decision_row(stream: int, entry: Entry) -> tuple[Cell, ...]:
    """Return the row of an entry in the table of decisions; `stream` is its stream's key."""
    decision = entry.decision
    cells = (
        entry.position,
        stream,
        decision.bar_open,
        decision.revision,
        decision.id,
        decision.side.value,
        entry.seq,
        msgspec.json.encode(entry).decode(),
    )
    return (*cells, row_sum(*cells))


def outcome_row(stream: int, outcome: Outcome) -> tuple[Cell, ...]:
    """Return the row of an outcome in its table; `stream` is its stream's key."""
    said = msgspec.json.encode(outcome).decode()
    cells = (outcome.id, stream, outcome.bar_open, outcome.resolved_bar, said)
    return (*cells, row_sum(*cells))


def outcome_of(text: str) -> Outcome:
    """Build an outcome from its JSON; raises msgspec.DecodeError."""
    return msgspec.json.decode(text, type=Outcome)


def shadow_row(stream: int, entry: Entry) -> tuple[Cell, ...]:
    """Return the row of an entry in the table of shadows; `stream` is its stream's key."""
    decision = entry.decision
    cells = (
        entry.position,
        stream,
        decision.bar_open,
        decision.id,
        decision.side.value,
        entry.seq,
        msgspec.json.encode(entry).decode(),
    )
    return (*cells, row_sum(*cells))


def entry_of(text: str) -> Entry:
    """Build an entry from its JSON; raises msgspec.DecodeError."""
    return msgspec.json.decode(text, type=Entry)
