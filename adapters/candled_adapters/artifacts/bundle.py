"""Model bundles on disk: a folder that holds a model and the proof that it is the trained one.

    manifest.json   what it is: names in order, scaler as exact hex floats, threshold, provenance,
                    the sha256 of every other part, and the digest of all of it
    model.ubj       the booster in XGBoost's own format
    golden.json     golden vectors: bars -> features -> scaled -> probabilities

Other files in the folder are left alone. Nothing here is pickled, and nothing is executed: a bundle
is numbers. Loading recomputes the golden vectors on this machine and refuses any differing bit.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Interval
from candled.core.decision import Target
from candled.core.features import FeatureSet
from candled.core.golden import Golden, differing_stage, golden_vectors
from candled.core.model import CLASSES, Booster, Model, ModelError, ModelSpec
from candled.core.regime import regime_rule
from candled_adapters.feature_sets import FeatureSetError, Found, Origin, find_feature_set

SCHEMA: Final = "candled.bundle/1"
MANIFEST: Final = "manifest.json"
BOOSTER: Final = "model.ubj"
GOLDEN: Final = "golden.json"
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


class _PackagePart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    distribution: str
    version: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """manifest.json; floats that must be exact are written as C99 hex."""

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
    feature_package: _PackagePart | None = None
    """Where the feature set came from; absent for a built-in one."""

    @property
    def name(self) -> str:
        """Symbol and interval, as in the notebook's file names."""
        return f"{self.symbol}_{self.interval}"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that has passed every check."""

    path: Path
    manifest: Manifest
    model: Model


def load_bundle(path: Path) -> Bundle:
    """Load and check a bundle: parts, digest, names, order, sizes and golden vectors.

    Raises BundleError; a bundle that loads gives the probabilities it was made with, bit for bit.
    """
    manifest = _read_manifest(path)
    parts = {name: _read_part(path / name, sha256) for name, sha256 in manifest.parts.items()}
    spec = _spec(path / MANIFEST, manifest, parts[BOOSTER])
    found = _features(path / MANIFEST, spec.feature_set, manifest.feature_package)
    model = _assemble(spec, found.features, manifest.digest, path)
    _check_golden(path / GOLDEN, parts[GOLDEN], model, _versions(found, manifest))
    return Bundle(path, manifest, model)


def write_bundle(
    spec: ModelSpec, path: Path, extra: Callable[[Path], None] | None = None
) -> Bundle:
    """Write a bundle so that it appears whole or not at all, and load it again.

    `extra` may put further files into the folder before it appears. An existing bundle at `path` is
    replaced; a folder that holds anything else is refused with FileExistsError and left as it is.
    """
    path = path.absolute()
    _refuse_foreign(path)
    found = _features(path / MANIFEST, spec.feature_set, None)
    model = _assemble(spec, found.features, "", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        draft.chmod(0o755)
        _write_parts(spec, model, found.origin, draft)
        if extra:
            extra(draft)
        load_bundle(draft)
        _refuse_leftovers(path, draft)
        _swap(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return load_bundle(path)


def _refuse_foreign(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise FileExistsError(f"{path} is a file; name a folder for the bundle")
    if any(path.iterdir()) and not _is_ours(path / MANIFEST):
        raise FileExistsError(f"{path} holds other files and no bundle; name a new folder")


def _is_ours(file: Path) -> bool:
    """Whether a file is a bundle's manifest of any version; many programs have a manifest.json."""
    try:
        content = msgspec.json.decode(file.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and str(content.get("schema")).startswith("candled.bundle/")


def _refuse_leftovers(path: Path, draft: Path) -> None:
    """Refuse to replace a bundle when that would remove what somebody has put beside it."""
    made = {file.name for file in draft.iterdir()}
    others = sorted(file.name for file in path.iterdir()) if path.exists() else []
    if foreign := [name for name in others if name not in made]:
        raise FileExistsError(
            f"{path} also holds {', '.join(foreign[:3])}, which the new bundle does not have; "
            "move it away or name a new folder"
        )


def _swap(draft: Path, path: Path) -> None:
    """Put the draft in the place of what is at `path`, if anything."""
    if not path.exists():
        draft.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
    path.rename(old / path.name)
    try:
        draft.rename(path)
    except BaseException:
        (old / path.name).rename(path)
        old.rmdir()
        raise
    shutil.rmtree(old)


def _write_parts(spec: ModelSpec, model: Model, origin: Origin | None, folder: Path) -> None:
    (folder / BOOSTER).write_bytes(spec.booster)
    golden = msgspec.json.format(msgspec.json.encode(golden_vectors(model)), indent=1)
    (folder / GOLDEN).write_bytes(golden)
    manifest = Manifest(
        schema=SCHEMA,
        symbol=spec.symbol,
        interval=spec.interval,
        feature_set=spec.feature_set,
        features=list(spec.feature_names),
        scaler=_ScalerPart(_hex(spec.mean), _hex(spec.scale)),
        classes=list(CLASSES),
        threshold=spec.threshold,
        target=_TargetPart(spec.target.lookahead_bars, spec.target.profit_pct, spec.target.stop_pct)
        if spec.target
        else None,
        regime=spec.regime,
        provenance=dict(spec.provenance),
        parts={name: _sha256((folder / name).read_bytes()) for name in (BOOSTER, GOLDEN)},
        digest="",
        feature_package=_PackagePart(origin.distribution, origin.version) if origin else None,
    )
    sealed = msgspec.structs.replace(manifest, digest=_digest(manifest))
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(sealed), indent=1))
    for name in (BOOSTER, GOLDEN, MANIFEST):
        _sync(folder / name)


def _digest(manifest: Manifest) -> str:
    """Digest of everything: the manifest without it, which names the sha256 of each part."""
    content = msgspec.to_builtins(msgspec.structs.replace(manifest, digest=""))
    return _sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def _read_manifest(path: Path) -> Manifest:
    file = path / MANIFEST
    if not path.exists():
        raise BundleError(
            path, "there is no such bundle", "name the folder of a bundle, or " + _REMAKE
        )
    if not file.exists():
        raise BundleError(path, f"is not a bundle (no {MANIFEST})", "name the bundle's own folder")
    try:
        manifest = msgspec.json.decode(_read(file), type=Manifest)
    except ValueError as error:  # msgspec's errors and those of text that is no UTF-8
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


def _read_part(file: Path, sha256: str) -> bytes:
    content = _read(file)
    if _sha256(content) != sha256:
        raise BundleError(file, "has been changed or damaged (sha256 differs)")
    return content


def _spec(file: Path, manifest: Manifest, booster: bytes) -> ModelSpec:
    target = manifest.target
    try:
        return ModelSpec(
            symbol=manifest.symbol,
            interval=manifest.interval,
            feature_set=manifest.feature_set,
            feature_names=tuple(manifest.features),
            mean=_unhex(manifest.scaler.mean),
            scale=_unhex(manifest.scaler.scale),
            booster=booster,
            threshold=manifest.threshold,
            target=Target(**msgspec.structs.asdict(target)) if target else None,
            regime=manifest.regime,
            provenance=manifest.provenance,
        )
    except (ValueError, OverflowError) as error:
        raise BundleError(file, f"the scaler cannot be read: {error}") from error


def _features(file: Path, name: str, package: _PackagePart | None) -> Found:
    try:
        return find_feature_set(name)
    except FeatureSetError as error:
        if package is None:
            raise BundleError(file, str(error)) from error
        mend = f"install {package.distribution}=={package.version}, which it was made with"
        raise BundleError(file, str(error), mend) from error


def _versions(found: Found, manifest: Manifest) -> str:
    """Say where another version of the feature set is installed than the model was made with."""
    part, origin = manifest.feature_package, found.origin
    made = Origin(part.distribution, part.version) if part else None
    if made == origin:
        return ""
    return (
        f" (made with {made or 'a built-in set'} for {manifest.feature_set!r}, "
        f"here is {origin or 'a built-in set'})"
    )


def _assemble(spec: ModelSpec, features: FeatureSet, digest: str, path: Path) -> Model:
    """Join the parts in memory; raises BundleError where names, sizes or values do not fit."""
    file = path / MANIFEST
    try:
        Interval(spec.interval)
        regime_rule(spec.regime)
    except ValueError as error:
        raise BundleError(file, str(error)) from error
    _check_names(file, spec.feature_names, features.columns)
    _check_numbers(file, spec, len(features.columns))
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
    )


def _check_numbers(file: Path, spec: ModelSpec, k: int) -> None:
    if not spec.mean.shape == spec.scale.shape == (k,):
        raise BundleError(file, f"the scaler has {len(spec.mean)} columns, expected {k}")
    if not (
        np.isfinite(spec.mean).all() and np.isfinite(spec.scale).all() and (spec.scale > 0).all()
    ):
        raise BundleError(file, "the scaler's mean and scale must be finite and scale above zero")
    if not 0 < spec.threshold < 1:
        raise BundleError(file, f"threshold is {spec.threshold}, it must lie between 0 and 1")


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


def _check_golden(file: Path, content: bytes, model: Model, versions: str) -> None:
    try:
        golden = msgspec.json.decode(content, type=Golden)
        differs = differing_stage(model, golden)
    except (KeyError, ValueError, OverflowError) as error:
        raise BundleError(file, f"cannot be read: {error}") from error
    if differs:
        raise BundleError(
            file,
            f"this machine computes other {differs} than the bundle was made with{versions}",
            "the model cannot be trusted here; compare library versions with the manifest's",
        )


def _hex(values: NDArray[Any]) -> list[str]:
    return [float(value).hex() for value in values.tolist()]


def _unhex(values: list[str]) -> NDArray[np.float64]:
    return np.array([float.fromhex(value) for value in values])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(path, f"cannot be read: {error.strerror}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
