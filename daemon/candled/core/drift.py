"""How far rows lie from those that a model was trained on: bins, their shares, and what is usual.

One arithmetic for the lab, which has both tables, and the live watch, which has the newest rows and
what a bundle says of training. The population stability index is the symmetric relative entropy of
two histograms, sum((q - p) * ln(q / p)); by custom below 0.1 is stable and above 0.25 has moved.
N. Siddiqi, "Credit Risk Scorecards" (2006). Knows tables of numbers; no bars, no streams.

Custom thinks of rows that do not depend on each other. Those of neighbouring bars do: three quiet
weeks move most features beyond 0.25, and few rows move them by chance alone. So a bundle also says
how far stretches of as many rows lay from the training before them, in rows that nothing was fitted
on: what is beyond all of these is unusual.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.integer]
Pieces = NDArray[np.unsignedinteger]

BINS: Final = 10
PSI_MOVED: Final = 0.25
"""By custom: above it, a distribution has moved."""
SMALLEST_SHARE: Final = 1e-4
"""What an empty bin counts as, so that its logarithm exists."""


@dataclass(frozen=True, slots=True)
class Bins:
    """The histogram of each of k features.

    A cut is a bin of its own: so a value that many rows share (a flag, a count, a constant) is
    compared by itself. Pieces are numbered: below the first cut, at it, between it and the next...
    """

    cuts: Floats
    """[k, c] ascending; a feature with fewer than c has infinity after its last."""
    counts: NDArray[np.int64]
    """[k, 2 c + 1] rows in each piece."""
    rows: NDArray[np.int64]
    """[k] rows that each feature was counted over."""

    @property
    def width(self) -> int:
        """How many pieces there are, 2 c + 1."""
        return 2 * int(self.cuts.shape[1]) + 1

    def pieces(self, table: Floats) -> Pieces:
        """Return the piece [n, k] that each value lies in."""
        narrow = self.width <= np.iinfo(np.uint8).max + 1
        found = np.zeros(table.shape, dtype=np.uint8 if narrow else np.uint16)
        for cut in np.ascontiguousarray(self.cuts.T):
            found += table > cut
            found += table >= cut
        return found

    def psi(self, counts: Counts, rows: Counts | int) -> Floats:
        """Compare with other rows: `counts` [..., k, 2 c + 1] of `rows` [...] of them; [..., k].

        Pieces that a feature does not have are empty on both sides, and add nothing.
        """
        p = _shares(self.counts, self.rows)
        q = _shares(counts, np.asarray(rows)[..., np.newaxis])
        grown = q - p
        np.log(np.divide(q, p, out=q), out=q)  # in place: many streams are many megabytes
        return np.asarray(np.cumsum(np.multiply(grown, q, out=grown), axis=-1)[..., -1])

    def without(self, counts: NDArray[np.int64], rows: int) -> Bins:
        """Return the histogram without some of its rows; some must remain."""
        return Bins(self.cuts, self.counts - counts, self.rows - rows)


def bins_of(table: Floats, bins: int = BINS) -> Bins:
    """Cut each column of a table [m, k] at its quantiles; all values are finite, m > 0."""
    each = [np.unique(np.quantile(column, np.arange(1, bins) / bins)) for column in table.T]
    cuts = np.full((table.shape[1], max(map(len, each), default=0)), np.inf)
    for row, own in zip(cuts, each, strict=True):
        row[: len(own)] = own
    rows = np.full(len(cuts), len(table), dtype=np.int64)
    empty = Bins(cuts, np.zeros((len(cuts), 2 * cuts.shape[1] + 1), dtype=np.int64), rows)
    return Bins(cuts, counted(empty.pieces(table), empty.width), rows)


def side_by_side(one: Bins, other: Bins) -> Bins:
    """Return the histograms of two tables' features as those of one table."""
    c = max(one.cuts.shape[1], other.cuts.shape[1])
    cuts, counts = [], []
    for part in (one, other):
        more = c - part.cuts.shape[1]
        cuts.append(np.pad(part.cuts, ((0, 0), (0, more)), constant_values=np.inf))
        counts.append(np.pad(part.counts, ((0, 0), (0, 2 * more))))
    rows = np.concatenate([one.rows, other.rows])
    return Bins(np.concatenate(cuts), np.concatenate(counts), rows)


def counted(pieces: Pieces, width: int) -> NDArray[np.int64]:
    """Count pieces [n, k] by feature; [k, width]."""
    k = pieces.shape[1]
    places = pieces + width * np.arange(k)
    return np.bincount(places.ravel(), minlength=k * width).reshape(k, width)


def _shares(counts: Counts, rows: Counts) -> Floats:
    shares = counts / rows[..., np.newaxis]
    return np.maximum(shares, SMALLEST_SHARE, out=shares)


@dataclass(frozen=True, slots=True)
class Levels:
    """The three figures that say how far some rows lie from training."""

    psi_median: float | None
    """Of the features' indices; None where the bundle does not say how training was."""
    outside_share: float | None
    """Mean share of a row's features outside their training ranges, where these are known."""
    psi_answers: float | None
    """Of the model's answers: the larger of long's and short's."""


FIGURES: Final = ("psi_median", "outside_share", "psi_answers")
"""Of `Levels`, in order."""
_FLOOR: Final = Levels(psi_median=0.1, outside_share=0.01, psi_answers=0.1)
"""Nobody is told of less, however quiet the past was."""
_CAUTION: Final = 4.0
"""With it, rows like those of training are called drifted in less than 1 % of the stretches when
years were seen, and in up to 3 % when months were: docs/drift.md has the simulation."""


@dataclass(frozen=True, slots=True)
class Usual:
    """How far stretches of so many rows, which nothing was fitted on, lay from training."""

    rows: int
    """In one stretch."""
    stretches: int
    """How many were looked at; each shares half of its rows with the next."""
    middle: Levels
    """Medians over the stretches."""
    most: Levels
    """The largest of each figure."""


@dataclass(frozen=True, slots=True)
class Reference:
    """How training looked."""

    features: Bins
    """[k] of the training rows."""
    answers: Bins
    """[2] the probabilities of long and short, of rows that nothing was fitted on."""
    usual: tuple[Usual, ...] = ()
    """By their rows, ascending; empty where history was too short to know."""

    @property
    def columns(self) -> Bins:
        """The bins [k + 2] of the features and, after them, the answers."""
        return side_by_side(self.features, self.answers)

    def usual_of(self, rows: int) -> Usual | None:
        """Return what is usual for the longest stretch of at most so many rows, if any is known.

        More rows move less: what a shorter stretch did is no smaller a bound.
        """
        return next((one for one in reversed(self.usual) if one.rows <= rows), None)


def entering(usual: Usual) -> Levels:
    """Return the levels above which rows are called drifted: well beyond all that was.

    How far beyond depends on how much was seen: the largest of a few stretches is soon exceeded.
    """
    return _limits(usual, 1.0, _CAUTION)


def leaving(usual: Usual) -> Levels:
    """Return the levels at which rows that were called drifted no longer are."""
    return _limits(usual, 0.8, _CAUTION / 2)


def _limits(usual: Usual, of_floor: float, caution: float) -> Levels:
    factor = 1.0 + caution / math.sqrt(usual.stretches)
    known = {
        name: max(of_floor * floor, factor * most)
        for name, floor, most in _pairs(_FLOOR, usual.most)
    }
    return Levels(*map(known.get, FIGURES))


def above(found: Levels, limits: Levels) -> tuple[str, ...]:
    """Name the figures that exceed their limits; one that is not known does not."""
    return tuple(name for name, value, limit in _pairs(found, limits) if value > limit)


def _pairs(one: Levels, other: Levels) -> Iterator[tuple[str, float, float]]:
    """Yield name and both values of each figure that both know."""
    for name in FIGURES:
        pair: tuple[float | None, float | None] = (getattr(one, name), getattr(other, name))
        if pair[0] is not None and pair[1] is not None:
            yield name, pair[0], pair[1]
