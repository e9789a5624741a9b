"""What a model's own confidence was worth on rows that it was not trained on, band by band.

The table that goes into a bundle, so that a signal can carry the record of its like. Knows
probabilities, classes and outcomes; no models and no files. `Model.evidence_of` looks a band up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.decision import SIDES, Evidence, Side
from candled.lab.bootstrap import BLOCK, Interval, ratio_interval

Floats = NDArray[np.float64]

QUANTILES: Final = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Where bands begin, as shares of the rows below; the first begins at probability 0."""
FEWEST_ROWS: Final = 200


@dataclass(frozen=True, slots=True)
class Band:
    """The rows in which a side's probability p was above <= p < below."""

    side: Side
    """Long or short."""
    above: float
    """A float32, widened exactly."""
    below: float | None
    """The same; None for the last band, which has no upper edge."""
    coverage: float
    """Share of all rows that are in the band."""
    precision: Interval
    """Share of the band's rows in which the side was right, with its 95 % interval."""
    base_rate: float
    """Share of all rows in which the side was right."""
    gross_pct: Interval | None
    """Mean outcome of the side on the band's rows before costs (percent), with its interval; None
    when not measured."""


def evidence_bands(
    probabilities: NDArray[np.float32],
    y: NDArray[np.int8],
    gross_pct: Mapping[Side, Floats] | None = None,
    *,
    fewest: int = FEWEST_ROWS,
    block: int = BLOCK,
    seed: int = 0,
) -> tuple[Band, ...]:
    """Return the bands of long, then of short, each ascending from probability 0 without holes.

    A band begins at the probability that a share of `QUANTILES` of the rows lie below. One with
    fewer than `fewest` rows becomes part of the next lower one, and the lowest of its neighbour;
    with fewer rows in all there is one band.

    Args:
        probabilities: [m, 3] no trade, long, short, in time order; of rows not trained on.
        y: [m] true classes.
        gross_pct: for each side, [m] what entering it after the row earns before costs (percent).
        fewest: rows in a band.
        block: rows redrawn together; see `candled.lab.bootstrap`.
        seed: of the draws.

    Raises:
        ValueError: no rows, lengths that differ, a probability outside 0 to 1, an outcome that is
            not finite, or `fewest` < 1.
    """
    _refuse_bad_rows(probabilities, y, gross_pct or {})
    if fewest < 1:
        raise ValueError(f"fewest must be 1 row or more; it is {fewest}")
    bands = []
    for number, side in list(enumerate(SIDES))[1:]:
        values, right = probabilities[:, number], y == number
        gross = None if gross_pct is None else gross_pct.get(side)
        edges = _edges(values, fewest)
        for above, below in zip(edges, [*edges[1:], None], strict=True):
            inside = values >= np.float32(above)
            if below is not None:
                inside &= values < np.float32(below)
            band = Band(
                side=side,
                above=above,
                below=below,
                coverage=float(np.mean(inside)),
                precision=ratio_interval(right & inside, inside, block=block, seed=seed),
                base_rate=float(np.mean(right)),
                gross_pct=None
                if gross is None
                else ratio_interval(gross * inside, inside, block=block, seed=seed),
            )
            bands.append(band)
    return tuple(bands)


def facts(bands: Iterable[Band]) -> tuple[Evidence, ...]:
    """Return what a bundle and a signal carry of the bands.

    Where the rows do not say how sure a precision is, its interval is all of 0 to 1.
    """
    return tuple(
        Evidence(
            side=band.side,
            above=band.above,
            below=band.below,
            n=band.precision.n,
            coverage=band.coverage,
            precision=band.precision.estimate,
            low=0.0 if band.precision.low is None else band.precision.low,
            high=1.0 if band.precision.high is None else band.precision.high,
            base_rate=band.base_rate,
            gross_pct=None if band.gross_pct is None else band.gross_pct.estimate,
        )
        for band in bands
        if band.precision.estimate is not None
    )


def _edges(values: NDArray[np.float32], fewest: int) -> list[float]:
    """Return where bands begin, 0 first; each holds `fewest` values unless there is only one."""
    kept: list[float] = []
    left = len(values)  # values below the lowest edge kept
    for edge in np.unique(np.quantile(values, QUANTILES, method="higher"))[::-1]:
        below = int(np.count_nonzero(values < edge))
        if left - below >= fewest:
            kept.insert(0, float(edge))
            left = below
    if kept and left < fewest:
        kept.pop(0)
    return [0.0, *kept]


def _refuse_bad_rows(
    probabilities: NDArray[np.float32], y: NDArray[np.int8], gross_pct: Mapping[Side, Floats]
) -> None:
    lengths = {len(probabilities), len(y), *(len(one) for one in gross_pct.values())}
    if len(lengths) > 1 or not len(y):
        raise ValueError(
            f"{len(probabilities)} answers, {len(y)} classes and outcomes of "
            f"{[len(one) for one in gross_pct.values()]} rows: give one of each a row, and at "
            "least one row"
        )
    sane = ((probabilities >= 0) & (probabilities <= 1)).all(axis=1)
    if not sane.all():
        row = int(np.flatnonzero(~sane)[0])
        raise ValueError(f"row {row} holds a value that is no probability; leave it out")
