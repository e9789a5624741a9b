"""Does a row depend on what comes after it? Another future must leave every past row as it was.

For each cut, the bars after it are dropped or replaced and the table is made anew. All rows up to
the cut are compared, so a peek is seen wherever in the past it acts, and a peek at the last bar or
at the mean of a whole table is seen as well as one at the next bar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from candled.core.bar import Bars
from candled.lab.verify.facts import Check, Finding, Ledger, differs
from candled.lab.verify.series import FUTURES, Alteration
from candled.lab.verify.subject import Floats, Subject

_AHEAD: Final = 64  # bars after the cut in a short stretch
_WHOLE: Final = 3  # cuts at which all bars are used
_TRACED: Final = 3  # columns whose reach is looked for


def check_future(subject: Subject, kind: str) -> Check:
    """Compare tables before cuts whose futures are changed in the way called `kind`."""
    alter, says = FUTURES[kind]
    ledger = subject.ledger(f"future {kind}", f"rows before a cut, when the bars after it {says}")
    traced = 0
    for start, cut, end in _stretches(subject):
        bars = subject.bars[start:end]
        here = cut - start
        before = subject.whole if len(bars) == len(subject.bars) else subject.table(bars)
        after = subject.table(alter(bars, here, subject.interval))
        new = ledger.compare(
            before[: here + 1],
            after[: here + 1],
            slice(start, cut + 1),
            f"changes when the bars after it {says}",
        )
        for finding in new[: max(0, _TRACED - traced)]:
            _trace(subject, ledger, finding, before, (bars, start, here, alter))
            traced += 1
    return ledger.done()


def _stretches(subject: Subject) -> Iterator[tuple[int, int, int]]:
    """Yield (start, cut, end): a short stretch around each cut, and all bars for a few more."""
    n, back = len(subject.bars), subject.features.history
    for cut in subject.rows[subject.rows < n - 1].tolist():
        yield max(0, cut - back), cut, min(n, cut + 1 + _AHEAD)
    for part in range(1, _WHOLE + 1):
        if n > 1:
            yield 0, part * (n - 1) // (_WHOLE + 1), n


def _trace(
    subject: Subject,
    ledger: Ledger,
    finding: Finding,
    before: Floats,
    how: tuple[Bars, int, int, Alteration],
) -> None:
    """Find how far ahead the first row that changed looks, and say that instead."""
    bars, start, cut, alter = how
    at, row = subject.features.columns.index(finding.column), (finding.row or 0) - start
    cell = before[row : row + 1, at]

    def changes(kept: int) -> bool:
        """Whether the cell changes with the bars after `kept`."""
        after = subject.table(alter(bars, kept, subject.interval))
        return bool(differs(cell, after[row : row + 1, at]).any())

    newest = len(bars) - 2
    reach = _last_that_holds(changes, cut, newest)
    which = "the last bar of the table" if reach == newest else "the bar"
    ledger.restate(finding.column, f"changes when {which}, {reach + 1 - row} after it, changes")


def _last_that_holds(holds: Callable[[int], bool], first: int, last: int) -> int:
    """Return the greatest number for which `holds`, which does for `first` and then ceases."""
    if holds(last):
        return last
    while first + 1 < last:
        middle = (first + last) // 2
        if holds(middle):
            first = middle
        else:
            last = middle
    return first
