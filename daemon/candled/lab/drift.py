"""Whether the rows that a model is asked about look like those it was trained on.

Feature tables beside each other; knows no labels, no models and no bars. The population stability
index is the symmetric relative entropy of two histograms, sum((q - p) * ln(q / p)); by custom
below 0.1 is stable and above 0.25 has moved. N. Siddiqi, "Credit Risk Scorecards" (2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS: Final = 10
_SMALLEST_SHARE: Final = 1e-4
"""What an empty bin counts as, so that its logarithm exists."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How n rows differ from the train rows, by k features."""

    psi: Floats
    """[k] population stability index of each feature."""
    outside: Floats
    """[k] share of the n values that lie outside the range of the train values."""
    novelty: Floats
    """[n] share of each row's features that lie outside."""


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One feature's drift."""

    name: str
    """Of the feature."""
    psi: float
    """Population stability index."""
    outside: float
    """Share of values outside the range of the train values."""


def drift(train: Floats, rows: Floats, *, bins: int = BINS) -> Drift:
    """Compare rows [n, k] with train rows [m, k], feature by feature.

    Bins are cut at the quantiles of the train values, and a cut is a bin of its own: so a value
    that many rows share (a flag, a count, a constant) is compared by itself.

    Raises:
        ValueError: no rows on a side, tables of different width, values that are not finite, or
            fewer than 2 bins.
    """
    _refuse_bad_tables(train, rows, bins)
    outside = (rows < train.min(axis=0)) | (rows > train.max(axis=0))
    columns = zip(train.T, rows.T, strict=True)
    return Drift(
        psi=np.array([_psi(before, after, bins) for before, after in columns]),
        outside=np.asarray(outside.mean(axis=0)),
        novelty=np.asarray(outside.mean(axis=1)),
    )


def worst(found: Drift, names: Sequence[str], count: int = 10) -> tuple[FeatureDrift, ...]:
    """Return the features that moved most: by psi, then by share outside, then in their order.

    Raises ValueError unless there is a name for each feature.
    """
    features = [
        FeatureDrift(name, psi, outside)
        for name, psi, outside in zip(
            names, found.psi.tolist(), found.outside.tolist(), strict=True
        )
    ]
    return tuple(sorted(features, key=lambda one: (-one.psi, -one.outside))[:count])


def _psi(before: Floats, after: Floats, bins: int) -> float:
    cuts = np.unique(np.quantile(before, np.arange(1, bins) / bins))
    p, q = _shares(before, cuts), _shares(after, cuts)
    return float(np.cumsum((q - p) * np.log(q / p))[-1])


def _shares(values: Floats, cuts: Floats) -> Floats:
    """Return the share in each piece: below the first cut, at it, between it and the next..."""
    below, up_to = (np.searchsorted(cuts, values, side=side) for side in ("left", "right"))
    counts = np.bincount(below + up_to, minlength=2 * len(cuts) + 1)
    return np.maximum(counts / len(values), _SMALLEST_SHARE)


def _refuse_bad_tables(train: Floats, rows: Floats, bins: int) -> None:
    if bins < 2:  # noqa: PLR2004 - one bin holds everything
        raise ValueError(f"bins must be 2 or more; it is {bins}")
    if not len(train) or not len(rows) or train.shape[1] != rows.shape[1]:
        raise ValueError(
            f"train is {train.shape} and rows {rows.shape}; both need rows, and equal columns"
        )
    for name, table in (("train", train), ("rows", rows)):
        if not np.isfinite(table).all():
            row, column = np.argwhere(~np.isfinite(table))[0].tolist()
            raise ValueError(f"{name}[{row}, {column}] is not finite; leave such rows out")
