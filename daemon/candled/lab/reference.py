"""How training looked, for the bundle: what the live watch compares the newest rows with.

And how far it is usual to lie from it. Each fold of a walk-forward is a training and what followed:
the rows after it, cut into stretches, are compared with its train rows as live rows will be with
all of them. Knows row tables and folds; no bars, no models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.drift import FIGURES, Bins, Levels, Pieces, Reference, Usual, bins_of, counted
from candled.lab.splits import Fold

Floats = NDArray[np.float64]

LENGTHS: Final = (100, 250, 500, 1000, 2000)
"""Rows of the stretches that are looked at."""
FEWEST: Final = 8
"""Of fewer stretches it is not said what is usual."""


def reference(
    features: Floats, train: NDArray[np.intp], folds: Sequence[Fold], answers: NDArray[np.float32]
) -> Reference:
    """Describe a training.

    Args:
        features: [m, k] all rows in time order.
        train: which of them the model was fitted on.
        folds: trainings on earlier rows, and the rows that each was asked about.
        answers: [q, 3] what was answered about the folds' test rows, one fold after another.
    """
    asked = _Asked(features, folds, answers[:, 1:].astype(np.float64))
    usual = (asked.usual(length) for length in LENGTHS)
    return Reference(
        bins_of(features[train]), asked.bins, tuple(one for one in usual if one is not None)
    )


@dataclass(frozen=True, slots=True)
class _Followed:
    """What followed one training: the q test rows of a fold, as its train rows have them."""

    trained: Bins
    pieces: Pieces
    """[q, k]"""
    outside: Floats
    """[q] share of each row's features outside the range of the train rows."""


def _followed(features: Floats, fold: Fold) -> _Followed:
    train, rows = features[fold.train], features[fold.test]
    trained = bins_of(train)
    outside = (rows < train.min(axis=0)) | (rows > train.max(axis=0))
    return _Followed(trained, trained.pieces(rows), np.asarray(outside.mean(axis=1)))


class _Asked:
    """The stretches of what the folds were asked about."""

    def __init__(self, features: Floats, folds: Sequence[Fold], sides: Floats) -> None:
        self.bins = bins_of(sides)
        self._pieces = self.bins.pieces(sides)
        self._folds = [_followed(features, fold) for fold in folds]

    def usual(self, length: int) -> Usual | None:
        """Return what is usual for stretches of so many rows; None where there are too few."""
        found = list(self._stretches(length))
        if len(found) < FEWEST:
            return None
        table = np.array([[getattr(one, name) for name in FIGURES] for one in found])
        middle, most = np.median(table, axis=0), table.max(axis=0)
        return Usual(length, len(found), Levels(*middle.tolist()), Levels(*most.tolist()))

    def _stretches(self, length: int) -> Iterator[Levels]:
        before = 0
        for fold in self._folds:
            for start in range(0, len(fold.pieces) - length + 1, length // 2):
                part = slice(start, start + length)
                psi = fold.trained.psi(counted(fold.pieces[part], fold.trained.width), length)
                yield Levels(
                    psi_median=float(np.median(psi)),
                    outside_share=float(np.mean(fold.outside[part])),
                    psi_answers=self._psi_answers(before + start, length),
                )
            before += len(fold.pieces)

    def _psi_answers(self, start: int, length: int) -> float:
        """Compare the answers of a stretch with all the others."""
        counts = counted(self._pieces[start : start + length], self.bins.width)
        if length == len(self._pieces):
            return 0.0
        return float(self.bins.without(counts, length).psi(counts, length).max())
