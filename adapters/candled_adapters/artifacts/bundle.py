"""Model bundles on disk: a folder that holds a model and the proof that it is the trained one.

    manifest.json   what it is: names in order, scaler as exact hex floats, threshold, provenance,
                    what its answers can be judged by (evidence, training ranges, limits), the
                    sha256 of every other part, and the digest of all of it
    model.ubj       the booster in XGBoost's own format
    golden.json     golden vectors: bars -> features -> scaled -> probabilities
    signature.json  who vouches for it, where it was signed (see `signature`)

Other files in the folder are left alone. Nothing here is pickled, and nothing is executed: a bundle
is numbers. Loading recomputes the golden vectors on this machine and refuses any differing bit.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from candled.core.golden import Golden, differing_stage, golden_vectors
from candled.core.model import Model, ModelSpec
from candled_adapters.artifacts.fit import assemble
from candled_adapters.artifacts.manifest import (
    BOOSTER,
    GOLDEN,
    MANIFEST,
    BundleError,
    Manifest,
    PackagePart,
    manifest_bytes,
    manifest_of,
    read_file,
    read_manifest,
    sha256,
    spec_of,
)
from candled_adapters.artifacts.placing import place
from candled_adapters.artifacts.signature import SIGNATURE_FILE, check_signature
from candled_adapters.feature_sets import FeatureSetError, Found, Origin, find_feature_set
from candled_adapters.protocol.signing import Verifier

__all__ = ["Bundle", "BundleError", "Manifest", "load_bundle", "write_bundle"]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that has passed every check."""

    path: Path
    manifest: Manifest
    model: Model


def load_bundle(path: Path, trusted: Verifier | None = None) -> Bundle:
    """Load and check a bundle: parts, digest, names, order, sizes and golden vectors.

    With `trusted`, who signed it comes first, before anything but the manifest is read. Raises
    BundleError; a bundle that loads gives the probabilities it was made with, bit for bit.
    """
    manifest = read_manifest(path)
    if trusted:
        check_signature(path, manifest.digest, trusted)
    parts = {name: _read_part(path / name, digest) for name, digest in manifest.parts.items()}
    spec = spec_of(path / MANIFEST, manifest, parts[BOOSTER])
    found = _features(path / MANIFEST, spec.feature_set, manifest.feature_package)
    model = assemble(spec, found.features, manifest.digest, path)
    _check_golden(path / GOLDEN, parts[GOLDEN], model, _versions(found, manifest))
    return Bundle(path, manifest, model)


def write_bundle(
    spec: ModelSpec, path: Path, extra: Callable[[Path], None] | None = None
) -> Bundle:
    """Write a bundle so that it appears whole or not at all, and load it again.

    `extra` may put further files into the folder before it appears. An existing bundle at `path` is
    replaced, in one step where the file system can; a folder that holds anything else is refused
    with FileExistsError and left as it is.
    """
    path = path.absolute()
    refuse_foreign(path)
    found = _features(path / MANIFEST, spec.feature_set, None)
    model = assemble(spec, found.features, "", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        draft.chmod(0o755)
        _write_parts(spec, model, found.origin, draft)
        if extra:
            extra(draft)
        load_bundle(draft)
        _refuse_leftovers(path, draft)
        place(draft, path)
    finally:
        _discard(draft)
    return load_bundle(path)


def refuse_foreign(path: Path) -> None:
    """Raise FileExistsError where a bundle at `path` would replace what is none."""
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
    made = {file.name for file in draft.iterdir()} | {SIGNATURE_FILE}
    others = sorted(file.name for file in path.iterdir()) if path.exists() else []
    if foreign := [name for name in others if name not in made]:
        raise FileExistsError(
            f"{path} also holds {', '.join(foreign[:3])}, which the new bundle does not have; "
            "move it away or name a new folder"
        )


def _discard(draft: Path) -> None:
    """Remove the draft, or what was in its place."""
    if draft.is_symlink():
        draft.unlink()
    else:
        shutil.rmtree(draft, ignore_errors=True)


def _features(file: Path, name: str, package: PackagePart | None) -> Found:
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


def _write_parts(spec: ModelSpec, model: Model, origin: Origin | None, folder: Path) -> None:
    golden = msgspec.json.format(msgspec.json.encode(golden_vectors(model)), indent=1)
    parts = {BOOSTER: spec.booster, GOLDEN: golden}
    package = PackagePart(origin.distribution, origin.version) if origin else None
    manifest = manifest_bytes(manifest_of(spec, parts, package))
    for name, content in {**parts, MANIFEST: manifest}.items():
        (folder / name).write_bytes(content)


def _read_part(file: Path, digest: str) -> bytes:
    content = read_file(file)
    if sha256(content) != digest:
        raise BundleError(file, "has been changed or damaged (sha256 differs)")
    return content


def _check_golden(file: Path, content: bytes, model: Model, versions: str) -> None:
    try:
        golden = msgspec.json.decode(content, type=Golden)
        differs = differing_stage(model, golden)
    except (KeyError, ValueError, OverflowError, RecursionError) as error:
        raise BundleError(file, f"cannot be read: {error}") from error
    if differs:
        raise BundleError(
            file,
            f"this machine computes other {differs} than the bundle was made with{versions}",
            "the model cannot be trusted here; compare library versions with the manifest's",
        )
