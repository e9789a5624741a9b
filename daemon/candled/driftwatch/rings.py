"""The newest rows of the streams of one model: a ring of bin numbers for each, counted as they go.

A value is kept as the number of the bin that it lies in, a byte; so 1,000 streams with 220 features
and 500 rows are 110 MB, and no more ever. Rows are counted in and out: the figures of a stream do
not depend on how its rows came, one by one or all at once. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Stream
from candled.core.drift import PSI_MOVED, Bins, counted
from candled.core.model import Model
from candled.core.track import Moved, StreamDrift

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

_WORST: Final = 10
_AT_ONCE: Final = 16  # streams that are worked on together: what is between stays in the cache


@dataclass(frozen=True, slots=True)
class Table:
    """n rows that a model was asked about; of n streams, or of one in time order."""

    opened: NDArray[np.int64]
    """[n] open time of each row's bar (UTC ms)."""
    features: Floats
    """[n, k] finite."""
    sides: Floats
    """[n, 2] the model's probabilities of long and short."""

    def __len__(self) -> int:
        """Return n."""
        return len(self.opened)

    def __getitem__(self, rows: slice | Places | NDArray[np.bool_]) -> Table:
        """Return some of the rows."""
        return Table(self.opened[rows], self.features[rows], self.sides[rows])


class Rings:
    """The rings of some streams; stream number i is row i everywhere."""

    def __init__(self, model: Model, streams: Sequence[Stream], size: int) -> None:
        self.model = model
        self.streams = tuple(streams)
        self._size = size
        self._k = len(model.features.columns) if model.reference else 0
        self._bins = model.reference.columns if model.reference else _NO_BINS
        count, columns = len(streams), len(self._bins.cuts)
        self._pieces = np.zeros((count, size, columns), dtype=np.uint8)
        self._outside = np.zeros((count, size), dtype=np.uint16)
        self._counts = np.zeros((count, columns, self._bins.width), dtype=np.uint16)
        self._outside_sum = np.zeros(count, dtype=np.int64)
        self._next = np.zeros(count, dtype=np.intp)
        self._rows = np.zeros(count, dtype=np.int64)
        self._newest = np.full(count, np.iinfo(np.int64).min)

    @property
    def nbytes(self) -> int:
        """Bytes of all rings when they are full."""
        parts = (self._pieces, self._outside, self._counts, self._outside_sum, self._next)
        return sum(part.nbytes for part in (*parts, self._rows, self._newest))

    def push(self, places: Places, table: Table) -> Places:
        """Add a row to each of some distinct streams `places` [n]; return which of them took it.

        One that is not newer than a stream's newest is not taken.
        """
        new = table.opened > self._newest[places]
        places, table = places[new], table[new]
        for start in range(0, len(places), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            self._push(places[part], table[part])
        return places

    def _push(self, places: Places, table: Table) -> None:
        at = self._next[places]
        full = self._rows[places] == self._size
        self._count(places[full], self._pieces[places[full], at[full]], -1)
        self._outside_sum[places] -= self._outside[places, at]  # 0 where nothing was
        pieces, outside = self._binned(table)
        self._pieces[places, at], self._outside[places, at] = pieces, outside
        self._count(places, pieces, 1)
        self._outside_sum[places] += outside
        self._next[places] = (at + 1) % self._size
        self._rows[places] += ~full
        self._newest[places] = table.opened

    def fill(self, place: int, table: Table) -> None:
        """Begin a stream anew with its newest rows, oldest first."""
        table = table[-self._size :] if len(table) else table
        n = len(table)
        pieces, outside = self._binned(table)
        self._pieces[place, :n], self._outside[place, :n] = pieces, outside
        self._outside[place, n:] = 0
        self._counts[place] = counted(pieces, self._bins.width)
        self._outside_sum[place] = int(np.sum(outside, dtype=np.int64))
        self._next[place], self._rows[place] = n % self._size, n
        self._newest[place] = table.opened[-1] if n else np.iinfo(np.int64).min

    def _binned(self, table: Table) -> tuple[NDArray[np.unsignedinteger], NDArray[np.uint16]]:
        """Return bin numbers [n, k + 2], and how many features of each row [n] lie outside."""
        ranges = self.model.ranges
        outside = ranges.share_outside(table.features) if ranges else np.zeros(len(table))
        count = np.rint(outside * table.features.shape[1]).astype(np.uint16)
        columns = [table.features, table.sides] if self._k else [table.features[:, :0]]
        return self._bins.pieces(np.concatenate(columns, axis=1)), count

    def _count(self, places: Places, pieces: NDArray[np.unsignedinteger], one: int) -> None:
        """Count a row of each of some distinct streams in, or out."""
        columns = np.arange(pieces.shape[1])
        self._counts[places[:, np.newaxis], columns, pieces] += np.uint16(one % 2**16)

    def figures(self, places: Places) -> list[StreamDrift]:
        """Return how the rows of some streams differ from training."""
        parts = [places[at : at + _AT_ONCE] for at in range(0, len(places), _AT_ONCE)]
        return [found for part in parts for found in self._figures(part)]

    def _figures(self, places: Places) -> list[StreamDrift]:
        rows = np.maximum(self._rows[places], 1)  # without rows there is nothing to divide
        psi = self._bins.psi(self._counts[places], rows)
        moved = _moved(psi[:, : self._k], psi[:, self._k :]) if self._k else [None] * len(places)
        return [self._of(int(place), found) for place, found in zip(places, moved, strict=True)]

    def _of(self, place: int, moved: _Indices | None) -> StreamDrift:
        model, rows, names = self.model, int(self._rows[place]), self.model.features.columns
        known = moved if rows else None
        outside = int(self._outside_sum[place]) / (rows or 1) / len(names)
        return StreamDrift(
            stream=self.streams[place],
            model_digest=model.digest,
            rows=rows,
            psi_median=known.median if known else None,
            moved_share=known.moved_share if known else None,
            outside_share=outside if rows and model.ranges else None,
            psi_answers=known.answers if known else None,
            worst=tuple(Moved(names[at], psi) for at, psi in known.worst) if known else (),
            bar_open=int(self._newest[place]) if rows else None,
            usual=model.reference.usual_of(rows) if model.reference else None,
        )


@dataclass(frozen=True, slots=True)
class _Indices:
    """What is said of one stream's indices."""

    median: float
    moved_share: float
    answers: float
    worst: tuple[tuple[int, float], ...]
    """Number of the feature and its index, largest first; of equal ones the first feature."""


def _moved(features: Floats, answers: Floats) -> list[_Indices]:
    """Sum up the indices [n, k] of features and [n, 2] of answers, stream by stream."""
    order = np.argsort(-features, axis=1, kind="stable")[:, :_WORST]
    worst = np.take_along_axis(features, order, axis=1)
    columns = (
        np.median(features, axis=1).tolist(),
        np.mean(features > PSI_MOVED, axis=1).tolist(),
        answers.max(axis=1).tolist(),
        (
            tuple(zip(*pair, strict=True))
            for pair in zip(order.tolist(), worst.tolist(), strict=True)
        ),
    )
    return [_Indices(*row) for row in zip(*columns, strict=True)]


_NO_BINS: Final = Bins(
    np.empty((0, 0)), np.empty((0, 1), dtype=np.int64), np.empty(0, dtype=np.int64)
)
"""Of a model that does not say how its training looked."""
