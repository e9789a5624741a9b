"""How training looked, as a part of a bundle's manifest: its form, and whether it makes sense.

Cuts are written as C99 hex, since a value is compared with them to the bit; counts are whole.
"""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import numpy as np

from candled.core.drift import FIGURES, Bins, Levels, Reference, Usual
from candled.core.model import CLASSES

_ANSWERS = len(CLASSES) - 1  # long and short; the third is what is left
_MOST_CUTS = 127  # so that the number of a piece is a byte


class _BinsPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rows: int
    cuts: list[list[str]]
    """Of each feature, ascending."""
    counts: list[list[int]]
    """Rows below the first cut, at it, between it and the next, ... above the last."""


class _LevelsPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    psi_median: float
    outside_share: float
    psi_answers: float


class _UsualPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rows: int
    stretches: int
    middle: _LevelsPart
    most: _LevelsPart


class ReferencePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the manifest holds; see `candled.core.drift.Reference`."""

    features: _BinsPart
    answers: _BinsPart
    usual: list[_UsualPart]


def reference_part(reference: Reference) -> ReferencePart:
    """Write a reference, as training makes one."""
    return ReferencePart(
        _bins_part(reference.features),
        _bins_part(reference.answers),
        [
            _UsualPart(one.rows, one.stretches, _levels_part(one.middle), _levels_part(one.most))
            for one in reference.usual
        ],
    )


def reference_of(part: ReferencePart) -> Reference:
    """Read a reference; raises ValueError for cuts without their counts, or that are no numbers."""
    usual = [
        Usual(one.rows, one.stretches, _levels(one.middle), _levels(one.most)) for one in part.usual
    ]
    return Reference(_bins(part.features), _bins(part.answers), tuple(usual))


def flaw_of(reference: Reference, k: int) -> str | None:
    """Say what of a reference makes no sense for a model of k features, if anything."""
    for name, bins, wanted in (
        ("features", reference.features, k),
        ("answers", reference.answers, _ANSWERS),
    ):
        if len(bins.cuts) != wanted:
            return f"{name}: {len(bins.cuts)} histograms, expected {wanted}"
        if wrong := _flaw_of_bins(bins):
            return f"{name}: {wrong}"
    for before, after in pairwise((0, *(one.rows for one in reference.usual))):
        if after <= before:
            return f"usual: stretches of {after} rows after those of {before}; they must ascend"
    for one in reference.usual:
        figures = [getattr(side, name) for side in (one.middle, one.most) for name in FIGURES]
        if one.stretches < 1 or not all(math.isfinite(x) and x >= 0 for x in figures):
            return f"usual, {one.rows} rows: what was seen must be finite, and seen in a stretch"
    return None


def _flaw_of_bins(bins: Bins) -> str | None:
    if bins.cuts.shape[1] > _MOST_CUTS:
        return f"{bins.cuts.shape[1]} cuts; {_MOST_CUTS} are the most"
    for at, (cuts, counts) in enumerate(zip(bins.cuts, bins.counts, strict=True)):
        own = cuts[np.isfinite(cuts)]
        if (np.diff(own) <= 0).any():
            return f"histogram {at} has cuts that do not ascend"
        if bins.rows[at] < 1 or (counts < 0).any() or counts.sum() != bins.rows[at]:
            return f"histogram {at} does not count its {bins.rows[at]} rows"
    return None


def _bins_part(bins: Bins) -> _BinsPart:
    cuts = [[float(cut).hex() for cut in row if np.isfinite(cut)] for row in bins.cuts]
    counts = [row[: 2 * len(own) + 1].tolist() for row, own in zip(bins.counts, cuts, strict=True)]
    return _BinsPart(int(bins.rows[0]), cuts, counts)


def _bins(part: _BinsPart) -> Bins:
    cuts = np.full((len(part.cuts), max(map(len, part.cuts), default=0)), np.inf)
    counts = np.zeros((len(part.cuts), 2 * cuts.shape[1] + 1), dtype=np.int64)
    for at, (texts, found) in enumerate(zip(part.cuts, part.counts, strict=True)):
        if len(found) != 2 * len(texts) + 1:
            raise ValueError(f"histogram {at} has {len(texts)} cuts and {len(found)} counts")
        own = np.array([float.fromhex(text) for text in texts])
        if not np.isfinite(own).all():
            raise ValueError(f"histogram {at} has a cut that is not finite")
        cuts[at, : len(own)], counts[at, : len(found)] = own, found
    return Bins(cuts, counts, np.full(len(cuts), part.rows, dtype=np.int64))


def _levels_part(levels: Levels) -> _LevelsPart:
    return _LevelsPart(*(float(getattr(levels, name)) for name in FIGURES))


def _levels(part: _LevelsPart) -> Levels:
    return Levels(part.psi_median, part.outside_share, part.psi_answers)
