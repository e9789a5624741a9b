"""Whether what a bundle says fits a model and this program; if so, the model in memory.

Names and order, sizes, and numbers that make sense. XGBoost would accept columns in any order, and
a gate any limits, in silence. Knows the bundle's files only by name, to say which one is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from candled.core.bar import Interval
from candled.core.decision import Evidence, Side
from candled.core.features import FeatureSet
from candled.core.model import CLASSES, Booster, Model, ModelError, ModelSpec
from candled.core.regime import regime_rule
from candled_adapters.artifacts.manifest import BOOSTER, MANIFEST, BundleError
from candled_adapters.artifacts.reference import flaw_of


def assemble(spec: ModelSpec, features: FeatureSet, digest: str, path: Path) -> Model:
    """Join the parts in memory; raises BundleError where names, sizes or values do not fit."""
    file = path / MANIFEST
    try:
        Interval(spec.interval)
        regime_rule(spec.regime)
    except ValueError as error:
        raise BundleError(file, str(error)) from error
    _check_names(file, spec.feature_names, features.columns)
    _check_numbers(file, spec, len(features.columns))
    _check_means(file, spec, features.columns)
    return Model(
        name=f"{spec.symbol}_{spec.interval}",
        digest=digest,
        symbol=spec.symbol,
        interval=spec.interval,
        features=features,
        mean=spec.mean,
        scale=spec.scale,
        booster=_booster(path / BOOSTER, spec.booster, len(features.columns)),
        threshold=spec.threshold,
        target=spec.target,
        evidence=spec.evidence,
        ranges=spec.ranges,
        abstain_limits=spec.abstain_limits,
        reference=spec.reference,
        trained_until=_trained_until(spec.provenance),
    )


def _trained_until(provenance: Mapping[str, Any]) -> int | None:
    """Return the open time of the last bar trained on, where training has said it."""
    train = provenance.get("train")
    last = train.get("last_open_time") if isinstance(train, dict) else None
    return last if isinstance(last, int) and not isinstance(last, bool) else None


def _check_names(file: Path, names: tuple[str, ...], columns: tuple[str, ...]) -> None:
    """Names and order decide what a model sees; XGBoost would accept any order in silence."""
    if names == columns:
        return
    unknown = [name for name in names if name not in columns]
    missing = [name for name in columns if name not in names]
    if unknown or missing:
        what = f"feature names differ (unknown {unknown[:3]}, missing {missing[:3]})"
    elif len(names) != len(columns):
        what = f"{len(names)} feature names are given, expected {len(columns)}"
    else:
        at = next(i for i, (a, b) in enumerate(zip(names, columns, strict=True)) if a != b)
        what = f"feature order differs: column {at} is {names[at]!r}, expected {columns[at]!r}"
    raise BundleError(file, what, "train the model on the feature set's columns in their order")


def _check_numbers(file: Path, spec: ModelSpec, k: int) -> None:
    if not spec.mean.shape == spec.scale.shape == (k,):
        raise BundleError(file, f"the scaler has {len(spec.mean)} columns, expected {k}")
    if not (
        np.isfinite(spec.mean).all() and np.isfinite(spec.scale).all() and (spec.scale > 0).all()
    ):
        raise BundleError(file, "the scaler's mean and scale must be finite and scale above zero")
    if not 0 < spec.threshold < 1:
        raise BundleError(file, f"threshold is {spec.threshold}, it must lie between 0 and 1")


def _check_means(file: Path, spec: ModelSpec, columns: Sequence[str]) -> None:
    """Check what the gates and the evidence of signals are made of, where it is given."""
    if spec.ranges is not None:
        _check_ranges(file, spec, columns)
    if spec.reference is not None and (wrong := flaw_of(spec.reference, len(columns))):
        raise BundleError(file, f"reference, {wrong}")
    limits = spec.abstain_limits
    if limits is not None and limits.shape != (len(CLASSES),):
        raise BundleError(file, f"abstain_limits has {len(limits)} values, expected {len(CLASSES)}")
    if limits is not None and not np.isfinite(limits).all():
        raise BundleError(file, f"abstain_limits is {limits.tolist()}, each must be finite")
    for side in (Side.LONG, Side.SHORT):
        bands = [band for band in spec.evidence if band.side is side]
        for number, band in enumerate(bands, start=1):
            if wrong := _flaw(band):
                raise BundleError(file, f"evidence, {side} band {number}: {wrong}")
        _check_order(file, side, bands)
    if other := [band.side for band in spec.evidence if not band.side.is_signal]:
        raise BundleError(file, f"evidence is of side {other[0].value!r}, it must be long or short")


def _check_ranges(file: Path, spec: ModelSpec, columns: Sequence[str]) -> None:
    ranges, k = spec.ranges, len(columns)
    if ranges is None:
        return
    if not ranges.low.shape == ranges.high.shape == (k,):
        counts = f"{len(ranges.low)} lows and {len(ranges.high)} highs"
        raise BundleError(file, f"ranges has {counts}, expected {k} of each")
    bounded = np.isfinite(ranges.low) & np.isfinite(ranges.high)
    for at in np.flatnonzero(~(bounded & (ranges.low <= ranges.high)))[:1].tolist():
        raise BundleError(
            file,
            f"ranges of {columns[at]} is {ranges.low[at]} to {ranges.high[at]}, "
            "it must be finite and low at most high",
        )


def _flaw(band: Evidence) -> str | None:
    """Say what makes no sense in one band, if anything."""
    if band.n < 0:
        return f"n is {band.n}, it must be at least 0"
    for name in ("above", "coverage", "base_rate"):
        if not 0 <= getattr(band, name) <= 1:
            return f"{name} is {getattr(band, name)}, it must lie from 0 to 1"
    if not 0 <= band.low <= band.precision <= band.high <= 1:
        return (
            f"precision {band.precision} with its interval {band.low} to {band.high}: "
            "they must be 0 <= low <= precision <= high <= 1"
        )
    if band.gross_pct is not None and not math.isfinite(band.gross_pct):
        return f"gross_pct is {band.gross_pct}, it must be finite or absent"
    return None


def _check_order(file: Path, side: Side, bands: Sequence[Evidence]) -> None:
    """Refuse bands that do not ascend without hole and overlap to one without an upper edge."""
    for number, (band, after) in enumerate(pairwise(bands), start=1):
        if band.below != after.above or not band.above < after.above:
            raise BundleError(
                file,
                f"evidence, {side} band {number} is {band.above} to {band.below} and the next "
                f"begins at {after.above}; bands must ascend, each from where the last one ends",
            )
    if bands and bands[-1].below is not None:
        raise BundleError(
            file, f"evidence, the last {side} band ends at {bands[-1].below}; it must be open"
        )


def _booster(file: Path, serialized: bytes, k: int) -> Booster:
    try:
        booster = Booster(serialized)
        columns = booster.feature_count
        classes = booster.predict(np.zeros((1, columns), dtype=np.float32)).shape[-1]
    except ModelError as error:
        raise BundleError(file, str(error)) from error
    if columns != k:
        raise BundleError(file, f"was trained on {columns} columns, expected {k}")
    if classes != len(CLASSES):
        raise BundleError(file, f"gives {classes} classes, expected {len(CLASSES)}")
    return booster
