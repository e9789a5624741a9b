"""Whether what is called 60 % happens in 60 % of cases.

Probabilities beside what happened, in bins; knows no model and no bars. Source for the expected
calibration error: M. P. Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian
Binning" (2015).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from candled.core.model import CLASSES

Binning = Literal["count", "width"]
BINS: Final = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows with probabilities near each other."""

    said: float
    """Mean probability."""
    happened: float
    """Share of the rows where it came true."""
    n: int
    """Rows."""
    low: float
    """Smallest probability."""
    high: float
    """Largest probability."""


def reliability(
    probability: NDArray[np.float32],
    happened: NDArray[np.bool_],
    *,
    bins: int = BINS,
    by: Binning = "count",
) -> tuple[Bin, ...]:
    """Return the bins that hold rows, by rising probability.

    Args:
        probability: [m] of one event in each row.
        happened: [m] whether it did.
        bins: how many at most.
        by: `count` gives bins of nearly equal size, equal probabilities staying together in the
            lower one; `width` cuts 0 to 1 into equal pieces, each without its lower edge.

    Raises:
        ValueError: lengths that differ, or no bins.
    """
    if len(probability) != len(happened) or bins < 1:
        raise ValueError(
            f"{len(probability)} probabilities, {len(happened)} events and {bins} bins: give one "
            "event a probability, and at least one bin"
        )
    order = np.argsort(probability, kind="stable")
    said, came = probability[order].astype(np.float64), happened[order]
    numbers = _equal_counts(said, bins) if by == "count" else _equal_widths(said, bins)
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    pieces = itertools.pairwise(np.append(starts, len(said)).tolist())
    return tuple(_bin(said[start:stop], came[start:stop]) for start, stop in pieces)


def calibration_error(bins: tuple[Bin, ...]) -> float | None:
    """Return the expected calibration error: the mean gap of said and happened, by rows."""
    rows = sum(one.n for one in bins)
    if not rows:
        return None
    return sum(one.n * abs(one.said - one.happened) for one in bins) / rows


def calibration_errors(
    answers: NDArray[np.float32],
    truth: NDArray[np.int8],
    *,
    bins: int = BINS,
    by: Binning = "count",
) -> dict[str, float | None]:
    """Return the error of each class by name, and of the class held most likely as `top`.

    Args:
        answers: [m, 3] probabilities.
        truth: [m] classes.
        bins: as for `reliability`.
        by: as for `reliability`.
    """
    events = {name: (answers[:, i], truth == i) for i, name in enumerate(CLASSES)}
    events["top"] = (answers.max(axis=1), answers.argmax(axis=1) == truth)
    return {
        name: calibration_error(reliability(said, came, bins=bins, by=by))
        for name, (said, came) in events.items()
    }


def _equal_counts(said: NDArray[np.float64], bins: int) -> NDArray[np.intp]:
    first = np.searchsorted(said, said, side="left")  # of the rows with the same probability
    return np.asarray(first * bins // max(1, len(said)))


def _equal_widths(said: NDArray[np.float64], bins: int) -> NDArray[np.intp]:
    return np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], said, side="left")


def _bin(said: NDArray[np.float64], came: NDArray[np.bool_]) -> Bin:
    return Bin(float(said.mean()), float(came.mean()), len(said), float(said[0]), float(said[-1]))
