"""How training looked comes back out of a bundle to the bit, and what makes no sense is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from candled.core.drift import Bins, Levels, Reference, Usual, bins_of
from candled_adapters.artifacts.bundle import BundleError, load_bundle, write_bundle
from candled_adapters.artifacts.manifest import manifest_bytes
from candled_adapters.artifacts.manifest import read_manifest as read
from candles import differing
from models import changed, spec

USUAL = tuple(
    Usual(rows, 9, Levels(0.1 / 3, 0.0, 1e-17), Levels(1.25, 1.0, 0.7)) for rows in (100, 500)
)


def with_reference() -> Reference:
    """Return the test model's own reference, as if long stretches had been seen, too."""
    own = spec().reference
    assert own is not None
    return Reference(own.features, own.answers, USUAL)


def equal(one: Bins, other: Bins) -> bool:
    return (
        differing(one.cuts, other.cuts) == 0
        and one.counts.tolist() == other.counts.tolist()
        and one.rows.tolist() == other.rows.tolist()
    )


def test_a_reference_comes_back_to_the_bit(tmp_path: Path):
    """Cuts, counts, rows and what is usual; the manifest stays small and `model` has them."""
    made = with_reference()
    bundle = write_bundle(changed(reference=made), tmp_path / "b")
    for found in (bundle.model.reference, load_bundle(tmp_path / "b").model.reference):
        assert found is not None
        assert equal(found.features, made.features)
        assert equal(found.answers, made.answers)
        assert found.usual == made.usual
    size = (tmp_path / "b" / "manifest.json").stat().st_size
    assert size < 200_000, size


def test_features_with_fewer_cuts_come_back_as_they_were(tmp_path: Path):
    """Constants, flags and features without a cut at all keep their own number of bins."""
    k = len(spec().feature_names)
    table = np.random.default_rng(4).normal(size=(300, k))
    table[:, 3], table[:, 5] = 1.0, table[:, 5] > 0
    made = with_reference()
    bins = bins_of(table)
    bundle = write_bundle(changed(reference=Reference(bins, made.answers)), tmp_path / "b")
    found = bundle.model.reference
    assert found is not None
    assert found.usual == ()
    assert equal(found.features, bins)
    assert np.isfinite(found.features.cuts[[3, 5]]).sum(axis=1).tolist() == [1, 2]


def test_a_bundle_without_a_reference_says_nothing_of_it(tmp_path: Path):
    """The manifest of one that has none has no key for it, as those of earlier versions."""
    bundle = write_bundle(changed(reference=None), tmp_path / "b")
    assert bundle.model.reference is None
    assert "reference" not in json.loads((tmp_path / "b" / "manifest.json").read_bytes())


def _cut(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    return lambda part: change(part["features"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_cut(lambda one: one["cuts"].pop()), "is longer than|is shorter than|argument"),
        (
            _cut(lambda one: (one["cuts"].pop(), one["counts"].pop())),
            "219 histograms, expected 220",
        ),
        (_cut(lambda one: one["counts"][7].pop()), "histogram 7 has 9 cuts and 18 counts"),
        (_cut(lambda one: one["cuts"][2].reverse()), "histogram 2 has cuts that do not ascend"),
        (_cut(lambda one: one["cuts"][2].__setitem__(8, "inf")), "has a cut that is not finite"),
        (_cut(lambda one: one["cuts"][2].__setitem__(8, "0x1.8p+9999")), "cannot be read"),
        (_cut(lambda one: one["cuts"][2].__setitem__(8, "high")), "cannot be read"),
        (_cut(lambda one: one["counts"][2].__setitem__(0, -1)), "histogram 2 does not count its"),
        (_cut(lambda one: one.__setitem__("rows", 1)), "histogram 0 does not count its 1 rows"),
        (lambda part: part["answers"]["cuts"].pop(), "reference cannot be read"),
        (lambda part: part["usual"].reverse(), "usual: stretches of 100 rows after those of 500"),
        (lambda part: part["usual"][0].__setitem__("rows", 0), "usual: stretches of 0 rows after"),
        (lambda part: part["usual"][0].__setitem__("stretches", 0), "usual, 100 rows: what was"),
        (lambda part: part["usual"][1]["most"].__setitem__("psi_median", -0.1), "usual, 500 rows"),
    ],
)
def test_a_reference_that_makes_no_sense_is_refused(tmp_path: Path, change, said):
    """By name and place, before anything is compared with it."""
    folder = tmp_path / "b"
    write_bundle(changed(reference=with_reference()), folder)
    plain = json.loads((folder / "manifest.json").read_bytes())
    change(plain["reference"])
    _seal(folder, plain)
    with pytest.raises(BundleError, match=said):
        load_bundle(folder)


def _seal(folder: Path, plain: dict[str, Any]) -> None:
    """Write a manifest with the digest of what it says."""
    from candled_adapters.artifacts.manifest import Manifest, _digest  # noqa: PLC0415

    manifest = msgspec.convert(plain, Manifest)
    sealed = msgspec.structs.replace(manifest, digest=_digest(manifest))
    (folder / "manifest.json").write_bytes(manifest_bytes(sealed))
    assert read(folder).digest == sealed.digest
