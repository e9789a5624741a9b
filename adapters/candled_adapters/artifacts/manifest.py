"""manifest.json: what a bundle says of its model, and the digest that seals it.

The form of the file and the way between it and a `ModelSpec`; whether the values fit a model and
this program is not judged here. Floats that must be exact are written as C99 hex. A key that later
versions added is absent where nothing is known, so that older manifests keep their digests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from candled.core.decision import WINDOW_RULE, Evidence, Side, Target
from candled.core.drift import Reference
from candled.core.model import CLASSES, ModelSpec, Ranges
from candled_adapters.artifacts.reference import ReferencePart, reference_of, reference_part

SCHEMA: Final = "candled.bundle/1"
MANIFEST: Final = "manifest.json"
BOOSTER: Final = "model.ubj"
GOLDEN: Final = "golden.json"
LARGEST_PART: Final = 512 * 2**20
_LARGEST_MANIFEST: Final = 16 * 2**20
_REMAKE: Final = "make it again with `candled train` or `candled model import`"


class BundleError(Exception):
    """A bundle that must not be used; the text names the file, what is wrong and the mend."""

    def __init__(self, path: Path, what: str, mend: str = _REMAKE) -> None:
        super().__init__(f"{path}: {what}; {mend}")
        self.path = path


class _TargetPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    lookahead_bars: int
    profit_pct: float
    stop_pct: float


class _ScalerPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mean: list[str]
    scale: list[str]


class _RangesPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    low: list[str]
    high: list[str]


class _EvidencePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    side: Literal["long", "short"]
    above: float
    below: float | None
    n: int
    coverage: float
    precision: float
    low: float
    high: float
    base_rate: float
    gross_pct: float | None


class PackagePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which package brought the feature set."""

    distribution: str
    version: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The file's content."""

    schema: str
    symbol: str
    interval: str
    feature_set: str
    features: list[str]
    scaler: _ScalerPart
    classes: list[str]
    threshold: float
    target: _TargetPart | None
    regime: str
    provenance: dict[str, Any]
    parts: dict[str, str]
    digest: str
    evidence: list[_EvidencePart] = []
    ranges: _RangesPart | None = None
    abstain_limits: list[str] | None = None
    feature_package: PackagePart | None = None
    """Where the feature set came from; absent for a built-in one."""
    reference: ReferencePart | None = None
    """How training looked."""

    @property
    def name(self) -> str:
        """Symbol and interval, as in the notebook's file names."""
        return f"{self.symbol}_{self.interval}"


def manifest_of(
    spec: ModelSpec, parts: Mapping[str, bytes], package: PackagePart | None
) -> Manifest:
    """Describe a model and the other parts of its bundle; sealed."""
    target, ranges, limits = spec.target, spec.ranges, spec.abstain_limits
    manifest = Manifest(
        schema=SCHEMA,
        symbol=spec.symbol,
        interval=spec.interval,
        feature_set=spec.feature_set,
        features=list(spec.feature_names),
        scaler=_ScalerPart(_hex(spec.mean), _hex(spec.scale)),
        classes=list(CLASSES),
        threshold=spec.threshold,
        target=_TargetPart(target.lookahead_bars, target.profit_pct, target.stop_pct)
        if target
        else None,
        regime=spec.regime,
        provenance=dict(spec.provenance),
        parts={name: sha256(content) for name, content in parts.items()},
        digest="",
        evidence=[_evidence_part(band) for band in spec.evidence],
        ranges=_RangesPart(_hex(ranges.low), _hex(ranges.high)) if ranges else None,
        abstain_limits=None if limits is None else _hex(limits),
        feature_package=package,
        reference=reference_part(spec.reference) if spec.reference else None,
    )
    return msgspec.structs.replace(manifest, digest=_digest(manifest))


def spec_of(file: Path, manifest: Manifest, booster: bytes) -> ModelSpec:
    """Return what a manifest describes; raises BundleError where numbers cannot be read."""
    target, ranges, limits = manifest.target, manifest.ranges, manifest.abstain_limits
    return ModelSpec(
        symbol=manifest.symbol,
        interval=manifest.interval,
        feature_set=manifest.feature_set,
        feature_names=tuple(manifest.features),
        mean=_unhex(file, "scaler", manifest.scaler.mean),
        scale=_unhex(file, "scaler", manifest.scaler.scale),
        booster=booster,
        threshold=manifest.threshold,
        target=Target(**msgspec.structs.asdict(target), rule=_label_rule(manifest))
        if target
        else None,
        regime=manifest.regime,
        provenance=manifest.provenance,
        evidence=tuple(_evidence(file, part) for part in manifest.evidence),
        ranges=Ranges(_unhex(file, "ranges", ranges.low), _unhex(file, "ranges", ranges.high))
        if ranges
        else None,
        abstain_limits=None if limits is None else _limits(file, limits),
        reference=_reference(file, manifest.reference) if manifest.reference else None,
    )


def _label_rule(manifest: Manifest) -> str:
    """Return the rule that training noted; who imported a model of the notebook noted none."""
    labels = manifest.provenance.get("labels")
    rule = labels.get("rule") if isinstance(labels, dict) else None
    return rule if isinstance(rule, str) else WINDOW_RULE


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return the content of manifest.json."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1)


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest and check its digest; raises BundleError."""
    file = folder / MANIFEST
    if not folder.exists():
        raise BundleError(
            folder, "there is no such bundle", "name the folder of a bundle, or " + _REMAKE
        )
    if not file.exists():
        raise BundleError(
            folder, f"is not a bundle (no {MANIFEST})", "name the bundle's own folder"
        )
    try:
        manifest = msgspec.json.decode(read_file(file, _LARGEST_MANIFEST), type=Manifest)
    except (
        ValueError,
        RecursionError,
    ) as error:  # msgspec's errors and those of text that is no UTF-8
        raise BundleError(file, f"cannot be read: {error}") from error
    if manifest.schema != SCHEMA:
        raise BundleError(file, f"has schema {manifest.schema!r}, this version reads {SCHEMA!r}")
    if _digest(manifest) != manifest.digest:
        raise BundleError(file, "has been changed or damaged (its digest differs)")
    if set(manifest.parts) != {BOOSTER, GOLDEN}:
        raise BundleError(file, f"parts must be {BOOSTER} and {GOLDEN}")
    if manifest.classes != list(CLASSES):
        raise BundleError(file, f"classes are {manifest.classes}, expected {list(CLASSES)}")
    return manifest


def read_file(path: Path, limit: int = LARGEST_PART) -> bytes:
    """Read a part of a bundle, a file of at most `limit` bytes; raises BundleError."""
    try:
        if path.exists() and not path.is_file():
            raise BundleError(path, "is not a file")  # a pipe would keep us waiting
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise BundleError(path, f"cannot be read: {error.strerror}") from error
    if len(content) > limit:
        raise BundleError(path, f"is larger than {limit} bytes; no bundle of candled is")
    return content


def sha256(content: bytes) -> str:
    """Return the hex digest by which a manifest knows a part."""
    return hashlib.sha256(content).hexdigest()


def _digest(manifest: Manifest) -> str:
    """Digest of everything: the manifest without it, which names the sha256 of each part."""
    content = msgspec.to_builtins(msgspec.structs.replace(manifest, digest=""))
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def _evidence_part(band: Evidence) -> _EvidencePart:
    """Write a band; its edges are float32 from here on, as the probabilities are."""
    said = {name: getattr(band, name) for name in _EvidencePart.__struct_fields__}
    said["side"] = band.side.value
    for edge in ("above", "below"):
        said[edge] = None if said[edge] is None else float(np.float32(said[edge]))
    return _EvidencePart(**said)


def _evidence(file: Path, part: _EvidencePart) -> Evidence:
    edges = [edge for edge in (part.above, part.below) if edge is not None]
    _singles(file, "evidence", np.array(edges))
    return Evidence(**{**msgspec.structs.asdict(part), "side": Side(part.side)})


def _reference(file: Path, part: ReferencePart) -> Reference:
    try:
        return reference_of(part)
    except (ValueError, OverflowError) as error:
        raise BundleError(file, f"the reference cannot be read: {error}") from error


def _limits(file: Path, texts: list[str]) -> NDArray[np.float32]:
    return _singles(file, "abstain_limits", _unhex(file, "abstain_limits", texts))


def _singles(file: Path, key: str, values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return what is compared with probabilities, which would not be what was written if rounded.

    Numbers that are not finite are judged elsewhere.
    """
    with np.errstate(over="ignore"):
        singles = values.astype(np.float32)
    if (singles != values)[np.isfinite(values)].any():
        raise BundleError(file, f"{key} holds a number that is no float32")
    return singles


def _hex(values: Iterable[Any]) -> list[str]:
    return [float(value).hex() for value in values]


def _unhex(file: Path, key: str, texts: list[str]) -> NDArray[np.float64]:
    try:
        return np.array([float.fromhex(text) for text in texts])
    except (ValueError, OverflowError) as error:
        raise BundleError(file, f"the {key} cannot be read: {error}") from error
