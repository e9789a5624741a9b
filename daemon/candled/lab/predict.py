"""A model's answers over a whole table of bars.

Works on the core alone: the same kernel, the same booster and the same rule as the daemon, in
blocks, so that millions of bars fit in little memory. No frames and no scikit-learn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars, Interval
from candled.core.decision import signals
from candled.core.model import CLASSES, Model
from candled.lab.textfile import write_chunks

_ROWS_A_BLOCK: Final = 4096
_HEADER: Final = ",".join(("open_time", *(f"prob_{name}" for name in CLASSES), "signal"))


@dataclass(frozen=True, slots=True)
class Predictions:
    """The answers for the m complete rows of a table, oldest first."""

    open_time: NDArray[np.int64]
    """[m] of the bar that was asked about (UTC ms)."""
    probabilities: NDArray[np.float32]
    """[m, 3] no trade, long, short."""
    signal: NDArray[np.int8]
    """[m] 0 none, 1 long, 2 short."""

    def __len__(self) -> int:
        """Return m."""
        return len(self.open_time)


def predict(bars: Bars, model: Model, threshold: float | None = None) -> Predictions:
    """Ask `model` about every bar whose feature row is complete and finite.

    Args:
        bars: closed bars, ascending; the first 40 can have no answer.
        model: what to ask.
        threshold: a side's probability must be strictly above it; None is the model's own.
    """
    times, answers = [bars.open_time[:0]], [np.empty((0, len(CLASSES)), dtype=np.float32)]
    start = 0
    for block in model.features.blocks(bars, Interval(model.interval), _ROWS_A_BLOCK):
        rows = _complete(block, start, model.features.window)
        if len(rows):
            times.append(bars.open_time[start + rows])
            answers.append(model.probabilities(block[rows]))
        start += len(block)
    probabilities = np.concatenate(answers)
    limit = model.threshold if threshold is None else threshold
    return Predictions(np.concatenate(times), probabilities, signals(probabilities, limit))


def _complete(block: NDArray[np.float64], start: int, window: int) -> NDArray[np.intp]:
    usable = np.asarray(np.isfinite(block).all(axis=1))
    usable[: max(0, window - 1 - start)] = False
    return np.flatnonzero(usable)


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write CSV, or gzipped CSV if `path` ends in ``.gz``; whole or not at all.

    Columns: ``open_time,prob_no_trade,prob_long,prob_short,signal``. A probability has the fewest
    digits that read back to the same float32. Raises OSError.
    """
    write_chunks(path, _csv(predictions))


def _csv(predictions: Predictions) -> Iterator[bytes]:
    yield f"{_HEADER}\n".encode()
    for start in range(0, len(predictions), _ROWS_A_BLOCK):
        part = slice(start, start + _ROWS_A_BLOCK)
        lines = zip(
            predictions.open_time[part].tolist(),
            predictions.probabilities[part].astype(str).tolist(),
            predictions.signal[part].tolist(),
            strict=True,
        )
        yield "".join(
            f"{time},{','.join(asked)},{signal}\n" for time, asked, signal in lines
        ).encode()
