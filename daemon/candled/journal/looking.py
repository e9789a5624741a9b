"""Reads decisions and bars out of a journal, and believes none that is not what was written.

A row is compared with its checksum. What an earlier version wrote has none and is believed, as far
as its columns say the same as its JSON. Knows the statements, and not who asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars
from candled.core.track import Outcome
from candled.journal.database import damaged
from candled.journal.rows import bars_of, entry_of, outcome_of, table_of
from candled.journal.statements import (
    DECIDED_BARS,
    FIRST_DECIDED,
    NEWEST_BARS,
    NO_SUM,
    NTH_NEWEST_BAR,
    SUM,
)
from candled.journal.sums import WrongSumError, bar_sums, check_row
from candled.ports import Entry

_NEVER: Final = -1


class Asked(Protocol):
    """A journal that answers questions."""

    path: Path

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        ...


class Look:
    """A checked look into a journal; `summed` is False for one of a version without checksums."""

    def __init__(self, asked: Asked, *, summed: bool = True) -> None:
        self._asked = asked
        self._summed = summed
        self.meta: dict[str, str] = {}
        if summed:
            self.meta = dict(self.small("meta", "key, value"))

    def small(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        """Return all rows of one of the small tables, which have all been summed up."""
        rows = self._asked.rows(f"SELECT {columns}, sum FROM {table}")  # noqa: S608 - constants
        with self._believed():
            for row in rows:
                check_row(f"a row of {table}", row)
        return [row[:-1] for row in rows]

    def entries(self, sql: str, values: Sequence[int | str] = ()) -> list[Entry]:
        """Return the entries that a query finds; raises JournalError for one that is damaged."""
        with self._believed():
            return [self._entry(row) for row in self._rows(sql, values)]

    def shadows(self, sql: str, values: Sequence[int] = ()) -> list[Entry]:
        """Return the entries of challengers that a query finds; checked like others."""
        with self._believed():
            return [_shadow(row) for row in self._asked.rows(sql, values)]

    def outcomes(self, sql: str, values: Sequence[int | str] = ()) -> list[Outcome]:
        """Return the outcomes that a query finds; checked like entries."""
        with self._believed():
            return [_outcome(row) for row in self._asked.rows(sql, values)]

    def shadow(self, row: tuple[Any, ...]) -> Entry:
        """Return the shadow of a row; raises JournalError when that is damaged."""
        with self._believed():
            return _shadow(row)

    def newest_bars(self, stream: int, count: int) -> Bars:
        """Return the newest `count` bars of a stream, oldest first; checked like entries.

        Raises JournalError also where one is missing that was decided on.
        """
        decided = self._decided(stream, count) if self._summed else []
        bars = bars_of(self.table(stream, NEWEST_BARS, (count,))[::-1])
        first = int(bars.open_time[0]) if len(bars) else 0
        if lost := {at for at in decided if at >= first}.difference(bars.open_time.tolist()):
            raise damaged(
                self._asked.path, f"the bar of stream {stream} that opens at {min(lost)} is missing"
            )
        return bars

    def _decided(self, stream: int, count: int) -> list[int]:
        """Return which of the newest `count` bars were decided; all of them when it is negative.

        It must be asked before the bars are: a daemon may decide and store more in between.
        """
        rows = self._asked.rows(NTH_NEWEST_BAR, (stream, count - 1)) if count > 0 else []
        return [at for (at,) in self._asked.rows(DECIDED_BARS, (stream, rows[0][0] if rows else 0))]

    def table(self, stream: int, sql: str, values: Sequence[int] = ()) -> NDArray[np.float64]:
        """Return bars as a table of their cells."""
        rows = self._rows(sql, (stream, *values))
        with self._believed():
            table = table_of([row[:-1] for row in rows])
            self._check_bars(stream, table, [row[-1] for row in rows])
            steps = np.diff(table[:, 0])
            if not ((steps > 0).all() or (steps < 0).all()):
                raise WrongSumError(f"bars of stream {stream} are out of order")
        return table

    def first_decided(self, stream: int, start: int) -> int | None:
        """Return when the first bar at or after `start` opens that was decided (UTC ms)."""
        ((first,),) = self._asked.rows(FIRST_DECIDED, (stream, start))
        return None if first is None else int(first)

    def _rows(self, sql: str, values: Sequence[int | str]) -> list[tuple[Any, ...]]:
        return self._asked.rows(sql if self._summed else sql.replace(SUM, NO_SUM), values)

    @property
    def _summed_after(self) -> int:
        """Position of the newest decision that an earlier version wrote, if one did."""
        return int(self.meta.get("summed_after", _NEVER))

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        position, _, bar_open, revision, name, side, seq, text, told = row
        if told is not None or (self._summed and position > self._summed_after):
            check_row(f"decision {position}", row)
        entry = entry_of(text)
        decision = entry.decision
        plain = (decision.bar_open, decision.revision, decision.id, decision.side.value)
        if (entry.position, entry.seq, *plain) != (position, seq, bar_open, revision, name, side):
            raise WrongSumError(f"decision {position} contradicts its columns")
        return entry

    def _check_bars(
        self, stream: int, table: NDArray[np.float64], told: Sequence[int | None]
    ) -> None:
        if not self._summed:
            return
        sums = bar_sums(stream, table).tolist()
        may_lack = self._summed_after != _NEVER
        for at, (found, wanted) in enumerate(zip(sums, told, strict=True)):
            if found != wanted and not (wanted is None and may_lack):
                raise WrongSumError(
                    f"the bar of stream {stream} that opens at {table[at, 0]:.0f} is not as it was "
                    "written: its checksum differs"
                )

    @contextmanager
    def _believed(self) -> Iterator[None]:
        """Tell of damage in our words, whatever it makes of a row."""
        try:
            yield
        except (msgspec.DecodeError, ValueError, TypeError) as error:
            raise damaged(self._asked.path, error) from error


def _shadow(row: tuple[Any, ...]) -> Entry:
    position, _, bar_open, name, side, seq, text, _ = row
    check_row(f"shadow {position}", row)
    entry = entry_of(text)
    decision = entry.decision
    plain = (decision.bar_open, decision.id, decision.side.value)
    if (entry.position, entry.seq, *plain) != (position, seq, bar_open, name, side):
        raise WrongSumError(f"shadow {position} contradicts its columns")
    return entry


def _outcome(row: tuple[Any, ...]) -> Outcome:
    name, _, bar_open, resolved_bar, text, _ = row
    check_row(f"outcome {name}", row)
    outcome = outcome_of(text)
    if (outcome.id, outcome.bar_open, outcome.resolved_bar) != (name, bar_open, resolved_bar):
        raise WrongSumError(f"outcome {name} contradicts its columns")
    return outcome
