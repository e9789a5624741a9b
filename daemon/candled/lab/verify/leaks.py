"""The future in a table of features: found by what a column holds, and refused by its name.

For tables that come from elsewhere there is no code to run twice. A column that orders the rows as
their future does is not a feature, whatever it is called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars
from candled.lab.verify.facts import Check, Ledger, VerificationError

Floats = NDArray[np.float64]

#: Agreement of order from which a column counts as a function of the future (1 is perfect).
LIMIT: Final = 0.995
_LEAST_ROWS: Final = 100
_MOST_ROWS: Final = 10_000
_MOST_CLASSES: Final = 5

_DENIED: Final = (
    (
        r"(future|fut|fwd|forward|next|ahead|lookahead|lead)(_.*)?",
        "tells what came after the bar",
    ),
    (
        r"(signal|label|target|outcome|y|y_true|tp_hit|sl_hit)(s|\d*|_.*)?",
        "is what is to be foreseen",
    ),
    (r"(prob|pred|predicted|prediction)(_.*)?", "is a model's answer"),
    (r"(raw_)?regime(_.*)?", "is a regime, which gates signals and is never a feature"),
    (r"(open_time|close_time|timestamp|time|date|datetime|symbol|interval|index)", "names the row"),
)


def refuse_denied_columns(names: Iterable[str]) -> None:
    """Refuse feature names that say by themselves that they must not be features.

    Raises VerificationError that names each of them, why, and the mend.
    """
    denied = [f"{name!r} {why}" for name in names if (why := _denied(name))]
    if denied:
        raise VerificationError(
            f"{len(denied)} column(s) must not be features: {'; '.join(denied)}; "
            "remove them, or rename what truly knows only the past"
        )


def _denied(name: str) -> str | None:
    plain = name.strip().lower()
    return next((why for pattern, why in _DENIED if re.fullmatch(pattern, plain)), None)


def futures_of(bars: Bars, horizon: int) -> dict[str, Floats]:
    """Return what came after each bar, [n] each: NaN where bars are lacking.

    The extremes over `horizon` bars and the closes of 1, 2, ... up to `horizon` bars later, as
    percent of the close: the content of any return or price label.
    """
    close, n = bars.close, len(bars)
    steps = sorted({1, 2, 3, 5, 10, horizon // 2, horizon} - {0})
    made = {
        f"close {s} bars later": _percent(_shifted(close, s), close) for s in steps if s <= horizon
    }
    high, low = np.full(n, -np.inf), np.full(n, np.inf)
    for step in range(1, horizon + 1):
        high = np.maximum(high, _shifted(bars.high, step))
        low = np.minimum(low, _shifted(bars.low, step))
    made[f"highest of {horizon} bars ahead"] = _percent(high, close)
    made[f"lowest of {horizon} bars ahead"] = _percent(low, close)
    return made


def _shifted(values: Floats, step: int) -> Floats:
    out = np.full(len(values), np.nan)
    out[: max(0, len(values) - step)] = values[step:]
    return out


def _percent(values: Floats, close: Floats) -> Floats:
    return np.asarray((values / close - 1.0) * 100.0)


def find_leaks(
    table: Floats,
    columns: Sequence[str],
    bars: Bars,
    *,
    horizon: int = 24,
    labels: Mapping[str, NDArray[np.generic]] | None = None,
) -> Check:
    """Name the columns that are a function of the future, by content.

    Args:
        table: [n, k] features of n bars.
        columns: k names.
        bars: the same n bars.
        horizon: how many bars ahead a label may look.
        labels: further columns [n] that hold the future, by name: returns, or classes.

    A column is named when it, or its ratio to the close, orders the rows as a future column does
    (rank correlation of `LIMIT` or more, either way), or tells a class from the others. Rising or
    falling functions of a future are found; one that is not, or with much noise, is not.
    """
    ledger = Ledger(
        "leaks",
        "the order of the rows by each column, and by their future",
        columns,
        bars.open_time,
    )
    futures = _told_apart(futures_of(bars, horizon), labels or {})
    usable = np.isfinite(table).all(axis=1)
    for values in futures.values():
        usable &= np.isfinite(values)
    rows = np.flatnonzero(usable)
    if len(rows) < _LEAST_ROWS:
        return ledger.done(f"not compared: needs {_LEAST_ROWS} complete rows with a future")
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, _MOST_ROWS).astype(np.intp))]
    features, close = table[rows], bars.close[rows, None]
    ordered = (_ranks(features), _ranks(features / close))
    for name, values in futures.items():
        future = _ranks(values[rows, None])
        agree = np.maximum(*(np.abs(np.mean(ranks * future, axis=0)) for ranks in ordered))
        agree /= _most(future[:, 0])
        ledger.count(len(columns) * len(rows), rows)
        for at in np.flatnonzero(agree >= LIMIT).tolist():
            says = f"orders the rows as what came after them does ({name})"
            ledger.add(columns[at], says, cells=len(rows))
    return ledger.done()


def _told_apart(
    futures: dict[str, Floats], labels: Mapping[str, NDArray[np.generic]]
) -> dict[str, Floats]:
    """Join futures and labels; a label of few values becomes one column for each of them."""
    for name, label in labels.items():
        values = np.asarray(label, dtype=np.float64)
        classes = np.unique(values[np.isfinite(values)])
        if len(classes) > _MOST_CLASSES:
            futures[name] = values
            continue
        for one in classes.tolist():
            futures[f"{name} is {one:g}"] = np.where(np.isfinite(values), values == one, np.nan)
    return futures


def _ranks(table: Floats) -> Floats:
    """Return the ranks of each column [n, k], ties sharing theirs, with mean 0 and deviation 1.

    A column that is constant becomes 0.
    """
    out = np.empty(table.shape)
    for at in range(table.shape[1]):
        _, place, counts = np.unique(table[:, at], return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[place]
        ranks -= ranks.mean()
        out[:, at] = ranks / (ranks.std() or 1.0)
    return out


def _most(future: Floats) -> float:
    """Return how well a column without ties can agree with a future that may have some."""
    in_order = _ranks(np.arange(float(len(future)))[:, None])[:, 0]
    return float(np.mean(np.sort(future) * in_order)) or 1.0
