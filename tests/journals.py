"""Changes a journal behind its daemon's back, as no disk would do it: the checksums fit."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from candled.core.bar import COLUMNS
from candled.journal.rows import table_of
from candled.journal.sums import bar_sums, row_sum

FILE = "candled.journal"
_DECISION = "position, stream, bar_open, revision, id, side, seq, entry"


def change(folder: Path, sql: str, *values: object) -> None:
    """Execute a statement, and give every row the checksum of what it holds then."""
    with sqlite3.connect(folder / FILE) as db:
        db.create_function("row_sum", -1, row_sum)
        db.create_function("bar_sum", -1, _bar_sum)
        db.execute(sql, values)
        db.execute(f"UPDATE decisions SET sum = row_sum({_DECISION})")  # noqa: S608
        db.execute(f"UPDATE bars SET sum = bar_sum(stream, {', '.join(COLUMNS)})")  # noqa: S608
    db.close()


def _bar_sum(stream: int, *cells: float | None) -> int:
    return int(bar_sums(stream, table_of([cells]))[0])
