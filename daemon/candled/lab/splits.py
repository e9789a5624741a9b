"""Which rows a model may learn from, and which it is judged by.

Row numbers only: no features, no models, no clock. A label looks ahead, so a train row is usable
only if the bars that its label looks at stay clear of the test rows' (purge), with a margin
(embargo). Method: M. Lopez de Prado, "Advances in Financial Machine Learning" (2018), chapter 7,
and chapter 12 for the combinatorial form.

Rows are in time order. `begin` [m] is the bar number of each row and `end` [m] that of the last
bar that its label looks at, that bar included. Rows of several streams may share a bar number.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
Numbers = NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Fold:
    """One training and its test."""

    train: Rows
    """Row numbers, ascending."""
    test: Rows
    """Row numbers, ascending; none of them in `train`."""


@dataclass(frozen=True, slots=True)
class Combinatorial:
    """All ways to test some of the groups and train on the others."""

    groups: tuple[Rows, ...]
    """The rows of each group: consecutive, and together all rows."""
    chosen: tuple[tuple[int, ...], ...]
    """For each fold, which groups it tests."""
    folds: tuple[Fold, ...]

    def paths(self, answers: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Recombine the folds' test answers into whole histories, none of which was trained on.

        Args:
            answers: for each fold, its answers [len(fold.test), ...] in the order of `fold.test`.

        Returns:
            One array [m, ...] for each path. Every answer is used in exactly one path, so there
            are as many paths as folds that test a given group.

        Raises:
            ValueError: not one answer for each test row of each fold.
        """
        if [len(one) for one in answers] != [len(fold.test) for fold in self.folds]:
            raise ValueError("paths need one answer for each test row of each fold, in fold order")
        pieces: list[list[NDArray[Any]]] = [[] for _ in self.groups]
        for groups, one in zip(self.chosen, answers, strict=True):
            sizes = [len(self.groups[group]) for group in groups]
            for group, piece in zip(groups, np.split(one, np.cumsum(sizes)[:-1]), strict=True):
                pieces[group].append(piece)
        return [np.concatenate(path) for path in zip(*pieces, strict=True)]


def walk_forward(
    begin: Numbers,
    end: Numbers,
    *,
    folds: int = 11,
    first: float = 0.4,
    embargo: int = 0,
    window: int | None = None,
) -> tuple[Fold, ...]:
    """Train on the past and test on what follows, block after block.

    The rows after the first share are cut into consecutive test blocks, equal to one row. A train
    row begins before its block and its label ends before `begin` of the block's first row less
    `embargo`. With ``folds=1`` this is the notebook's split made honest.

    Args:
        begin: [m] as in the module's text.
        end: [m] as in the module's text.
        folds: number of test blocks.
        first: share of the rows that are never tested.
        embargo: bars kept free between the last train label and the test block.
        window: train only on rows of this many bars before the block; None is all of the past.

    Raises:
        ValueError: numbers out of order or range, too few rows, or a fold without train rows.
    """
    _refuse_bad_numbers(begin, end, embargo)
    if not 0.0 < first < 1.0:
        raise ValueError(f"first must be a share between 0 and 1; it is {first}")
    if window is not None and window < 1:
        raise ValueError(f"window must be 1 bar or more, or None for all; it is {window}")
    edges = _edges(int(first * len(begin)), len(begin), folds)
    return tuple(
        _past(begin, end, np.arange(start, stop), embargo, window)
        for start, stop in itertools.pairwise(edges)
    )


def combinatorial(
    begin: Numbers, end: Numbers, *, groups: int = 6, tests: int = 2, embargo: int = 0
) -> Combinatorial:
    """Test every choice of `tests` out of `groups` consecutive groups, training on the rest.

    A train row is dropped if its bars `begin..end` share one with a test group's, or if it begins
    within `embargo` bars after them. Features look back: an embargo of the feature window keeps
    those of the later train rows clear of the test bars as well.

    Raises:
        ValueError: numbers out of order or range, too few rows, or a fold without train rows.
    """
    _refuse_bad_numbers(begin, end, embargo)
    if not 0 < tests < groups:
        raise ValueError(f"tests must be between 1 and groups - 1; it is {tests} of {groups}")
    edges = _edges(0, len(begin), groups)
    blocks = tuple(np.arange(start, stop) for start, stop in itertools.pairwise(edges))
    chosen = tuple(itertools.combinations(range(groups), tests))
    folds = tuple(_around(begin, end, [blocks[one] for one in some], embargo) for some in chosen)
    return Combinatorial(blocks, chosen, folds)


def notebook_split(m: int, share: float = 0.8) -> Fold:
    """Train on the first int(share * m) rows and test on the rest, nothing purged.

    The notebook's split: the labels of its last train rows look into the test bars.
    """
    rows = np.arange(m)
    cut = int(share * m)
    return Fold(rows[:cut], rows[cut:])


def shuffled_split(m: int, seed: int, share: float = 0.8) -> Fold:
    """Split at random, to demonstrate the leak and for nothing else.

    Neighbouring rows share most of their label's bars, so nearly every test row has its answer
    among the train rows: whatever a model scores on this split is worthless.
    """
    order = np.random.default_rng(seed).permutation(m)
    cut = int(share * m)
    return Fold(np.sort(order[:cut]), np.sort(order[cut:]))


def _past(begin: Numbers, end: Numbers, test: Rows, embargo: int, window: int | None) -> Fold:
    start = int(begin[test[0]])
    earlier = np.arange(test[0])
    kept = end[earlier] < start - embargo
    if window is not None:
        kept &= begin[earlier] >= start - window
    return _fold(earlier[kept], test)


def _around(begin: Numbers, end: Numbers, blocks: Sequence[Rows], embargo: int) -> Fold:
    test = np.concatenate(blocks)
    kept = np.ones(len(begin), dtype=np.bool_)
    for block in blocks:
        kept &= (end < begin[block[0]]) | (begin > end[block].max() + embargo)
    return _fold(np.flatnonzero(kept), test)


def _fold(train: Rows, test: Rows) -> Fold:
    if not len(train):
        raise ValueError(
            f"no train row is left for the test rows {test[0]} to {test[-1]} after the purge; give "
            "more rows, fewer folds or groups, a larger first share or window, or less embargo"
        )
    return Fold(train, test)


def _edges(start: int, stop: int, parts: int) -> list[int]:
    if parts < 1 or stop - start < parts:
        raise ValueError(
            f"{stop - start} rows cannot be cut into {parts} blocks; give at least one row a block"
        )
    return [start + (stop - start) * part // parts for part in range(parts + 1)]


def _refuse_bad_numbers(begin: Numbers, end: Numbers, embargo: int) -> None:
    if len(begin) != len(end):
        raise ValueError(f"begin has {len(begin)} rows and end {len(end)}; give one of each a row")
    if embargo < 0:
        raise ValueError(f"embargo must be 0 bars or more; it is {embargo}")
    late = np.flatnonzero(np.diff(begin) < 0)
    if len(late):
        raise ValueError(f"row {late[0] + 1} begins before the row before it; sort rows by time")
    short = np.flatnonzero(end < begin)
    if len(short):
        raise ValueError(f"row {short[0]} has a label that ends before the row begins")
