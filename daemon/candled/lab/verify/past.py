"""Does a row depend on where the history starts? Not once there are `history` bars.

And rows that come before the window is full must not look usable when they are not.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from candled.lab.verify.facts import Check, Finding, Ledger, differs
from candled.lab.verify.subject import Floats, Subject

_TRACED: Final = 3  # columns whose needs are looked for
_STARTS: Final = 12


def check_cold(subject: Subject) -> Check:
    """Compute sampled rows from exactly `history` bars, the fewest that the engine decides on."""
    ledger = subject.ledger("cold start", "rows from exactly `history` bars, and from all of them")
    history, traced = subject.features.history, 0
    rows = [row for row in subject.rows.tolist() if row >= history]
    for row in rows:
        found = _last_row(subject, row, history)
        says = f"depends on more than the {history} bars that `history` declares"
        new = ledger.compare(subject.whole[row : row + 1], found, slice(row, row + 1), says)
        for finding in new[: max(0, _TRACED - traced)]:
            _trace(subject, ledger, finding, row)
            traced += 1
    note = "" if rows else f"not compared: needs more than {history} bars"
    return ledger.done(note)


def _last_row(subject: Subject, row: int, count: int) -> Floats:
    return subject.table(subject.bars[row - count + 1 : row + 1])[-1:]


def _trace(subject: Subject, ledger: Ledger, finding: Finding, row: int) -> None:
    """Find how many bars make this cell what it is, and say so."""
    at = subject.features.columns.index(finding.column)
    whole = subject.whole[row : row + 1, at]
    few, enough = subject.features.history, row + 1
    while few + 1 < enough:
        middle = (few + enough) // 2
        if differs(whole, _last_row(subject, row, middle)[:, at]).any():
            few = middle
        else:
            enough = middle
    need = f"{enough} bars" if enough <= row else f"all {enough} bars that there are"
    ledger.restate(
        finding.column, f"depends on {need}, but `history` declares {subject.features.history}"
    )


def check_warm_up(subject: Subject) -> Check:
    """Look at the first rows of tables that start late: complete means right, from `window` on.

    A row before the window is full may be complete only if it is what more past would make it.
    From then on no column may be absent that more past would fill.
    """
    ledger = subject.ledger("warm-up", "first rows of tables that start late, and of the whole one")
    window = subject.features.window
    starts = [row for row in subject.rows.tolist() if window <= row < len(subject.bars) - window]
    for start in starts[:: max(1, len(starts) // _STARTS)]:
        _warm_up_of(subject, ledger, start)
    note = "" if starts else f"not compared: needs more than {2 * window} bars"
    return ledger.done(note)


def _warm_up_of(subject: Subject, ledger: Ledger, start: int) -> None:
    window = subject.features.window
    reach = min(len(subject.bars), start + 2 * max(window, subject.features.history))
    cold, whole = subject.table(subject.bars[start:reach]), subject.whole[start:reach]
    complete = np.flatnonzero(np.isfinite(cold[: window - 1]).all(axis=1))
    ledger.compare(
        whole[complete],
        cold[complete],
        start + complete,
        f"is in a complete row before {window} bars (`window`) are there, and wrong",
    )
    late = np.isnan(cold[window - 1 :]) & np.isfinite(whole[window - 1 :])
    ledger.count(late.size, slice(start + window - 1, reach))
    for at in np.flatnonzero(late[0]).tolist():
        need = window + int(np.argmin(late[:, at]))
        ledger.add(
            subject.features.columns[at],
            f"needs {need} bars, but `window` declares {window}",
            row=start + window - 1,
            expected=whole[window - 1, at].item(),
            found=float("nan"),
            cells=need - window,
        )
