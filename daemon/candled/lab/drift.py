"""Whether the rows that a model is asked about look like those it was trained on.

Feature tables beside each other; knows no labels, no models and no bars. What the index is and how
it is computed: `candled.core.drift`, which the live watch shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candled.core.drift import BINS, bins_of, counted

Floats = NDArray[np.float64]


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
    before = bins_of(train, bins)
    return Drift(
        psi=before.psi(counted(before.pieces(rows), before.width), len(rows)),
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
