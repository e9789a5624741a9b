"""When a model should rather say that it does not know.

Class-conditional split conformal prediction: for each class a limit such that the set of classes
at or above their limits misses the true one in at most a share `alpha` of the rows of each class.
A signal is worth making only where that set is its own side and nothing else. Source: V. Vovk,
"Conditional validity of inductive conformal predictors" (2012), https://arxiv.org/abs/1209.2673

The promise is exact for rows that could have come in any order. Rows of a market overlap and
drift, so on later rows it holds only about; measure it there.

Everything is a comparison of float32 values, none is computed: batch and live agree to the bit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from candled.core.decision import SIDES
from candled.core.model import CLASSES

Probabilities = NDArray[np.float32]


def conformal_limits(
    probabilities: Probabilities, y: NDArray[np.int8], alpha: float
) -> NDArray[np.float32]:
    """Return [3] the limit of each class, from rows that the model was not trained on.

    With n rows of a class, its limit is the k-th largest probability that they gave to it,
    k = n + 1 - floor(alpha * (n + 1)). Where k is more than n there are too few rows to exclude
    the class ever, and the limit is 0.

    Args:
        probabilities: [m, 3] no trade, long, short.
        y: [m] true classes.
        alpha: share of rows whose set may miss the truth, between 0 and 1.

    Raises:
        ValueError: alpha out of range, lengths that differ, or a probability that is not finite.
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must be between 0 and 1; it is {alpha}")
    if len(probabilities) != len(y):
        raise ValueError(f"{len(probabilities)} answers for {len(y)} classes; give one a row")
    if not np.isfinite(probabilities).all():
        row = int(np.flatnonzero(~np.isfinite(probabilities).all(axis=1))[0])
        raise ValueError(f"row {row} holds a probability that is not finite; leave it out")
    of_class = (probabilities[y == i, i] for i in range(len(CLASSES)))
    return np.array([_limit(given, alpha) for given in of_class], dtype=np.float32)


def conformal_sets(probabilities: Probabilities, limits: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return [m, 3] whether each class is in a row's set: probability >= limit, in float32."""
    return np.asarray(probabilities >= limits)


def ambiguous(probabilities: Probabilities, limits: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return [m] whether a row's set is not exactly one class: none fits, or more than one."""
    return np.asarray(np.count_nonzero(conformal_sets(probabilities, limits), axis=1) != 1)


def abstains(
    signalled: NDArray[np.int8], probabilities: Probabilities, limits: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Return [m] where a signal is made but the row's set is not its side alone.

    Args:
        signalled: [m] 0 none, 1 long, 2 short, as `candled.core.decision.signals` gives.
        probabilities: [m, 3].
        limits: [3] of `conformal_limits`.
    """
    own = np.arange(len(SIDES)) == signalled[:, np.newaxis]
    alone = (conformal_sets(probabilities, limits) == own).all(axis=1)
    return np.asarray((signalled > 0) & ~alone)


def _limit(given: NDArray[np.float32], alpha: float) -> np.float32:
    n = len(given)
    rank = n + 1 - math.floor(alpha * (n + 1))
    return np.float32(0.0) if rank > n else np.sort(given)[n - rank]
