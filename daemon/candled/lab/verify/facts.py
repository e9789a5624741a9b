"""What a verification says: findings, checks and the whole, as frozen facts; and how bits compare.

Knows arrays and bar times, nothing of how a check works.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import iso

#: In place of a column where a whole call fails.
ALL_COLUMNS: Final = "*"

_UNSIGNED: Final = {1: np.uint8, 4: np.uint32, 8: np.uint64}


class VerificationError(ValueError):
    """Features, or a table of them, that a model must not be trained or run on."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One column that one check has found to differ, where it did so first."""

    check: str
    column: str
    """Name of the feature column; ``bars.NAME`` for a column of the input, ``*`` for all."""
    row: int | None
    """Index of the bar among those that were verified."""
    open_time: int | None
    """Of this bar (UTC ms)."""
    expected: float | None
    """What the table of all bars, or whatever else the check takes as true, says."""
    found: float | None
    says: str
    """What happens there, to be read after the column and the time."""
    cells: int
    """How many compared cells of this column differ."""

    @property
    def text(self) -> str:
        """The finding in a sentence."""
        place = "" if self.open_time is None else f" at {iso(self.open_time)}"
        values = ""
        if self.expected is not None and self.found is not None:
            values = f" ({self.found!r} instead of {self.expected!r}; {self.cells} cells differ)"
        return f"{self.column}{place} {self.says}{values}"


@dataclass(frozen=True, slots=True)
class Check:
    """One check, done."""

    name: str
    about: str
    """What it compares, in a few words."""
    cells: int
    """How many cells were compared."""
    rows: int
    """How many of the bars they belong to."""
    findings: tuple[Finding, ...]
    """At most one for each column."""
    note: str = ""
    """Why nothing or little was compared, where that is so."""


@dataclass(frozen=True, slots=True)
class Verification:
    """All checks of one subject on one series of bars."""

    subject: str
    """Name of the feature set."""
    bars: int
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no bit differs."""
        return not self.findings

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of all checks, in their order."""
        return tuple(finding for check in self.checks for finding in check.findings)

    @property
    def columns(self) -> frozenset[str]:
        """Names of all columns that some check has found to differ."""
        return frozenset(finding.column for finding in self.findings)

    @property
    def cells(self) -> int:
        """How many cells were compared in all."""
        return sum(check.cells for check in self.checks)


def differs(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where two arrays of one shape differ in any bit; NaN equals NaN, 0.0 is not -0.0.

    Raises VerificationError where shape or type differ.
    """
    if one.shape != other.shape or one.dtype != other.dtype:
        raise VerificationError(
            f"gave {other.dtype}{list(other.shape)} where {one.dtype}{list(one.shape)} was due"
        )
    unsigned = _UNSIGNED[one.dtype.itemsize]
    unequal = np.ascontiguousarray(one).view(unsigned) != np.ascontiguousarray(other).view(unsigned)
    if one.dtype.kind == "f" and unequal.any():
        unequal &= ~(np.isnan(one) & np.isnan(other))
    return np.asarray(unequal)


class Ledger:
    """Collects what one check compares; keeps the first finding of each column."""

    def __init__(
        self, name: str, about: str, columns: Sequence[str], open_time: NDArray[np.int64]
    ) -> None:
        self.name = name
        self.about = about
        self._columns = columns
        self._open_time = open_time
        self._cells = 0
        self._seen = np.zeros(len(open_time), dtype=bool)
        self._findings: dict[str, Finding] = {}

    def compare(
        self, expected: NDArray[Any], found: NDArray[Any], rows: slice | NDArray[np.intp], says: str
    ) -> list[Finding]:
        """Compare rows [m, k] that belong to the bars `rows`; return findings of new columns."""
        unequal = differs(expected, found)
        self._cells += unequal.size
        self._seen[rows] = True
        if not unequal.any():
            return []
        places = np.arange(len(self._open_time))[rows]
        new = []
        for at in np.flatnonzero(unequal.any(axis=0)).tolist():
            first = int(np.argmax(unequal[:, at]))
            finding = self.add(
                self._columns[at],
                says,
                row=int(places[first]),
                expected=expected[first, at].item(),
                found=found[first, at].item(),
                cells=int(np.count_nonzero(unequal[:, at])),
            )
            new += [finding] if finding else []
        return new

    def add(
        self,
        column: str,
        says: str,
        *,
        row: int | None = None,
        expected: float | None = None,
        found: float | None = None,
        cells: int = 1,
    ) -> Finding | None:
        """Add a finding; of a column that has one, only the cells are counted and None returned."""
        if known := self._findings.get(column):
            self._findings[column] = replace(known, cells=known.cells + cells)
            return None
        at = None if row is None else int(self._open_time[row])
        finding = Finding(self.name, column, row, at, expected, found, says, cells)
        self._findings[column] = finding
        return finding

    def restate(self, column: str, says: str) -> None:
        """Say more precisely what happens in a column that has a finding."""
        self._findings[column] = replace(self._findings[column], says=says)

    def count(self, cells: int, rows: slice | NDArray[np.intp]) -> None:
        """Count cells of the bars `rows` that were looked at without `compare`."""
        self._cells += cells
        self._seen[rows] = True

    def done(self, note: str = "") -> Check:
        """Return the check."""
        rows = int(np.count_nonzero(self._seen))
        found = tuple(self._findings.values())
        return Check(self.name, self.about, self._cells, rows, found, note)
