"""The newest rows of a stream, computed anew from the journal's bars by the batch kernel.

They are those that the engine asked its model about, to the bit. May run in any thread, beside a
daemon that uses the journal: it reads with a connection of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars, Interval, Stream
from candled.core.model import Model
from candled.driftwatch.rings import Table
from candled.journal import JournalReader, open_reader


@dataclass(frozen=True, slots=True)
class Refill:
    """Where rows come from, and how many."""

    state: Path
    """Folder of the journal."""
    count: int
    """Newest rows of a stream."""

    def __call__(self, stream: Stream, model: Model) -> Table:
        """Return a stream's newest rows as `model` sees them; raises JournalError, or OSError."""
        with open_reader(self.state) as reader:
            return newest_rows(reader, stream, model, self.count)


def newest_rows(reader: JournalReader, stream: Stream, model: Model, count: int) -> Table:
    """Return the newest `count` rows of a stream that any model answered about, oldest first.

    Rows whose history the journal no longer has are left out.
    """
    answered = reader.newest_answered(stream, count)
    if not answered:
        return no_rows(model)
    needed = reader.count_bars(stream, answered[0]) + model.features.history - 1
    bars = reader.newest_bars(stream, needed)
    whole = len(bars) < needed and reader.from_listing(stream)
    first = (model.features.window if whole else model.features.history) - 1
    wanted = np.isin(bars.open_time, answered)
    wanted[:first] = False
    return _rows(bars, wanted, stream, model)


def _rows(bars: Bars, wanted: NDArray[np.bool_], stream: Stream, model: Model) -> Table:
    """Compute the wanted ones of the bars' rows."""
    parts, start = [no_rows(model)], 0
    for block in model.features.blocks(bars, Interval(stream.interval)):
        rows = wanted[start : start + len(block)] & np.isfinite(block).all(axis=1)
        if rows.any():
            features = block[rows]
            sides = model.probabilities(features)[:, 1:].astype(np.float64)
            parts.append(Table(bars.open_time[start : start + len(block)][rows], features, sides))
        start += len(block)
    return Table(
        np.concatenate([part.opened for part in parts]),
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.sides for part in parts]),
    )


def no_rows(model: Model) -> Table:
    """Return a table without rows."""
    k = len(model.features.columns)
    return Table(np.empty(0, dtype=np.int64), np.empty((0, k)), np.empty((0, 2)))
