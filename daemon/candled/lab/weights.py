"""How much each row should count when its label overlaps the labels around it.

Plain arithmetic on bar numbers and classes; knows no features and no models. Source: M. Lopez de
Prado, "Advances in Financial Machine Learning" (2018), chapter 4, sections 4.2 to 4.5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.integer]


def uniqueness(begin: Numbers, end: Numbers) -> Floats:
    """Return [m] the average uniqueness of labels that look at the bars begin..end, both included.

    With c(t) the number of labels that look at bar t, a label's uniqueness is the mean of 1/c(t)
    over its bars: 1 for a label that overlaps no other, 1/k for k equal ones. Between two bars
    where a label begins or ends c is constant, so only those pieces are summed, whatever the
    numbers count (bars, or milliseconds on a grid).

    Args:
        begin: [m] number of the first bar of each label.
        end: [m] number of its last bar.

    Raises:
        ValueError: lengths that differ, or a label that ends before it begins.
    """
    if len(begin) != len(end):
        raise ValueError(f"begin has {len(begin)} rows and end {len(end)}; give one of each a row")
    short = np.flatnonzero(end < begin)
    if len(short):
        raise ValueError(f"row {short[0]} has a label that ends before it begins")
    if not len(begin):
        return np.empty(0)
    cuts, place = np.unique(np.concatenate([begin, end + 1]), return_inverse=True)
    first, after = place[: len(begin)], place[len(begin) :]
    opened = np.bincount(first, minlength=len(cuts)) - np.bincount(after, minlength=len(cuts))
    concurrent = np.maximum(np.cumsum(opened)[:-1], 1)  # where no label looks, nobody asks
    unique_until = np.concatenate([[0.0], np.cumsum(np.diff(cuts) / concurrent)])
    return np.asarray((unique_until[after] - unique_until[first]) / (end + 1 - begin))


def effective_size(begin: Numbers, end: Numbers) -> float:
    """Return how many labels that overlap nothing the m labels are worth: the sum of uniqueness."""
    return float(np.cumsum(uniqueness(begin, end))[-1]) if len(begin) else 0.0


def class_balance(y: NDArray[np.int8], classes: int = 3) -> Floats:
    """Return [m] weights that make the classes count alike: m / (classes * rows of the class).

    Their mean is 1. Multiply with other weights as needed.

    Raises:
        ValueError: a class without rows, which no weight makes up for, or an unknown class.
    """
    counts = np.bincount(y, minlength=classes)
    if len(counts) > classes or not counts.all():
        raise ValueError(
            f"the classes 0 to {classes - 1} must each occur and no other; their counts are "
            f"{counts.tolist()}: use more rows or other labels"
        )
    return np.asarray((len(y) / (classes * counts))[y])
