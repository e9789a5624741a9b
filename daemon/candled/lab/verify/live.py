"""Is a live row the batch row? Bars are pushed into rolling windows and compared with the table.

Live windows are fed with the past alone, so equality on every row also proves that no row of the
table looks ahead, however rare the condition under which it would.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import COLUMNS, Bars
from candled.lab.verify.facts import Check
from candled.lab.verify.series import copy
from candled.lab.verify.subject import Subject

_ALONE: Final = 10_000  # bars at most: a push of one costs fifty times a row of many
_STREAMS: Final = 64
_SINGLE: Final = 0.1  # share of groups that are one stream alone
_SIZES: Final = ((1, 1_500), (7, 3_000), (997, None), (4_096, None))  # rows a block, of how many

Rows = NDArray[np.intp]


def check_alone(subject: Subject) -> Check:
    """Push the bars one by one into one stream's windows, from nothing."""
    ledger = subject.ledger("live alone", "bars pushed one by one from the first on, and the table")
    state, only = subject.state(1), np.zeros(1, dtype=np.intp)
    bars = subject.bars[:_ALONE]
    given = copy(bars)
    with np.errstate(all="ignore"):
        rows = [state.push(only, given[i : i + 1])[0].copy() for i in range(len(given))]
    subject.look_at(bars, given)
    said = "is another when bars are pushed one by one"
    ledger.compare(subject.whole[: len(bars)], np.stack(rows), slice(0, len(bars)), said)
    return ledger.done()


def check_groups(subject: Subject) -> Check:
    """Push stretches of the bars as streams of their own, in groups of random size and order.

    Each stream but the first is warmed with as many bars as complete its `history` with its first.
    """
    ledger = subject.ledger(
        "live in groups", "streams warmed with `history`, pushed in random groups, and the table"
    )
    n, history = len(subject.bars), subject.features.history
    segments = list(subject.segments(_STREAMS))
    state = subject.state(len(segments))
    for row, (start, _) in enumerate(segments):
        subject.warm(state, row, subject.bars[max(0, start - history + 1) : start])
    found = np.full((n, len(subject.features.columns)), np.nan)
    for rows, places in _groups(segments, np.random.default_rng(subject.seed)):
        given = _pick(subject.bars, places)
        with np.errstate(all="ignore"):
            found[places] = state.push(rows.copy(), given)
        subject.look_at(_pick(subject.bars, places), given)
    ledger.compare(
        subject.whole, found, slice(None), "is another in a group of streams warmed with `history`"
    )
    return ledger.done()


def _groups(
    segments: list[tuple[int, int]], rng: np.random.Generator
) -> Iterator[tuple[Rows, Rows]]:
    """Yield (streams, bars) of groups of distinct streams until all bars have been pushed.

    All streams together once, then random groups: some of one stream, some of many.
    """
    at = np.array([start for start, _ in segments], dtype=np.intp)
    ends = np.array([end for _, end in segments], dtype=np.intp)
    size = len(segments)
    while len(left := np.flatnonzero(at < ends)):
        rows = rng.permutation(left)[:size]
        yield rows, at[rows]
        at[rows] += 1
        size = 1 if rng.random() < _SINGLE else int(rng.integers(1, len(segments) + 1))


def _pick(bars: Bars, places: Rows) -> Bars:
    return Bars(**{name: getattr(bars, name)[places] for name in COLUMNS})


def check_blocks(subject: Subject) -> Check:
    """Make the table in blocks of several sizes."""
    ledger = subject.ledger("blocks", "the table made in blocks of 1, 7, 997 and 4,096 rows")
    for size, most in _SIZES:
        bars = subject.bars[:most]
        whole = subject.table(bars)
        says = f"is another in blocks of {size} rows"
        ledger.compare(whole, subject.blocks(bars, size), slice(0, len(bars)), says)
    return ledger.done()
