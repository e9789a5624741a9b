"""A bundle keeps a model's evidence, ranges and limits to the bit, and refuses what is none."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.decision import Evidence, Side
from candled.core.features.mar import COLUMNS, MAR
from candled.core.model import ModelSpec, Ranges
from candled_adapters.artifacts.bundle import BundleError, load_bundle, write_bundle
from candled_adapters.artifacts.fit import assemble
from candled_adapters.artifacts.manifest import (
    Manifest,
    manifest_bytes,
    manifest_of,
    read_manifest,
    spec_of,
)
from models import changed, spec

K = len(COLUMNS)
LATER_KEYS = {"evidence", "ranges", "abstain_limits"}
#: Written before a manifest could hold any of these.
OLD = (
    '{"schema":"candled.bundle/1","symbol":"BTCUSDT","interval":"1h","feature_set":"mar",'
    '"features":["a","b"],"scaler":{"mean":["0x1.999999999999ap-4","0x1.0000000000000p+1"],'
    '"scale":["0x1.0000000000000p+0","0x1.3333333333333p-2"]},'
    '"classes":["no_trade","long","short"],"threshold":0.6,"target":null,"regime":"notebook",'
    '"provenance":{"rows":3,"note":null,"empty":[]},"parts":{"model.ubj":"00","golden.json":"11"},'
    '"digest":"42668fbce4c938515d02817d7a54e96228843a0b5aac51c96db5d9c3377ed6b8"}'
)

UNIT = st.floats(0, 1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def _bands(draw: st.DrawFn, side: Side) -> list[Evidence]:
    edges = sorted(draw(st.lists(st.floats(0, 1, width=32), max_size=4, unique=True)))
    made = []
    for above, below in zip(edges, [*edges[1:], None], strict=False):
        low, precision, high = sorted(draw(st.tuples(UNIT, UNIT, UNIT)))
        gross = draw(st.none() | FINITE)
        n, coverage, base = draw(st.integers(0, 10**9)), draw(UNIT), draw(UNIT)
        made.append(Evidence(side, above, below, n, coverage, precision, low, high, base, gross))
    return made


@st.composite
def _ranges(draw: st.DrawFn) -> Ranges:
    some = [sorted(draw(st.tuples(FINITE, FINITE))) for _ in range(4)]
    low, high = np.array([some[at % 4] for at in range(K)]).T.copy()
    return Ranges(low, high)


LIMITS = st.tuples(*[st.floats(-1, 2, width=32)] * 3).map(lambda x: np.array(x, dtype=np.float32))


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    """Make a model that knows some of what its answers can be judged by, or all, or nothing."""
    return changed(
        evidence=(*draw(_bands(Side.LONG)), *draw(_bands(Side.SHORT))),
        ranges=draw(st.none() | _ranges()),
        abstain_limits=draw(st.none() | LIMITS),
    )


def bits(array: np.ndarray | None) -> tuple[object, ...] | None:
    return None if array is None else (array.dtype, array.tobytes())


def trust(known: object) -> tuple[object, ...]:
    """Return what a spec or model knows, comparable to the bit."""
    low, high = (known.ranges.low, known.ranges.high) if known.ranges else (None, None)
    return repr(known.evidence), bits(low), bits(high), bits(known.abstain_limits)


@settings(max_examples=60, deadline=None)
@given(specs())
def test_what_is_written_is_read_to_the_bit(made: ModelSpec):
    """Evidence, ranges and limits come back from the manifest's text with every bit, -0.0 too."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = manifest_of(made, {"model.ubj": made.booster, "golden.json": b""}, None)
        file = Path(folder) / "manifest.json"
        file.write_bytes(manifest_bytes(manifest))
        read = read_manifest(Path(folder))
        assert read == manifest
        assert trust(spec_of(file, read, made.booster)) == trust(made)
        known = {key for key in LATER_KEYS if key in json.loads(file.read_bytes())}
    assert known == {
        key
        for key, value in (
            ("evidence", made.evidence or None),
            ("ranges", made.ranges),
            ("abstain_limits", made.abstain_limits),
        )
        if value is not None
    }


BAND = Evidence(Side.LONG, 0.5, None, 120, 0.05, 0.33, 0.28, 0.38, 0.25, 0.17)


def known() -> dict[str, object]:
    limits = np.array([0.3, 0.2, 0.25], dtype=np.float32)
    return {
        "evidence": (BAND, dataclasses.replace(BAND, side=Side.SHORT)),
        "ranges": Ranges(np.full(K, -1.5), np.full(K, 2.5)),
        "abstain_limits": limits,
    }


def test_a_bundle_hands_them_to_the_model(tmp_path: Path):
    """A loaded model knows what the spec knew, and each of the three is part of the digest."""
    written = write_bundle(changed(**known()), tmp_path / "b")
    assert (
        trust(written.model)
        == trust(load_bundle(tmp_path / "b").model)
        == trust(changed(**known()))
    )
    digests = {written.manifest.digest, write_bundle(spec(), tmp_path / "n").manifest.digest}
    for key in known():
        less = {**known(), key: getattr(spec(), key)}
        digests.add(write_bundle(changed(**less), tmp_path / key).manifest.digest)
    assert len(digests) == 5


def test_edges_become_float32_when_written(tmp_path: Path):
    """An edge given as a double is the float32 that it is compared as."""
    band = dataclasses.replace(BAND, above=0.6)
    (read,) = write_bundle(changed(evidence=(band,)), tmp_path / "b").model.evidence
    assert read.above == float(np.float32(0.6)) != 0.6


def test_older_manifests_keep_their_digest(tmp_path: Path):
    """A manifest from before these keys is read, and sealed again it is the same."""
    (tmp_path / "manifest.json").write_text(OLD)
    manifest = read_manifest(tmp_path)
    assert isinstance(manifest, Manifest)
    assert json.loads(manifest_bytes(manifest)) == json.loads(OLD)
    read = spec_of(tmp_path / "manifest.json", manifest, b"")
    assert trust(read) == (repr(()), None, None, None)


def test_what_is_not_known_is_not_written(tmp_path: Path):
    """A model without evidence, ranges and limits makes a manifest without these keys."""
    written = write_bundle(spec(), tmp_path / "b")
    assert not LATER_KEYS & set(json.loads((written.path / "manifest.json").read_bytes()))


NAN, INF = float("nan"), float("inf")


def _span(low: float, high: float) -> Ranges:
    at = np.arange(K) == 7
    return Ranges(np.where(at, low, 0.0), np.where(at, high, 1.0))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ranges": _span(1.0, 0.5)}, f"ranges of {COLUMNS[7]} is 1.0 to 0.5, it must be finite"),
        ({"ranges": _span(NAN, 0.5)}, f"ranges of {COLUMNS[7]} is nan to 0.5"),
        ({"ranges": _span(0.0, INF)}, f"ranges of {COLUMNS[7]} is 0.0 to inf"),
        ({"ranges": _span(-INF, 1.0)}, f"ranges of {COLUMNS[7]} is -inf to 1.0"),
        ({"ranges": Ranges(np.zeros(K), np.ones(K - 1))}, "has 220 lows and 219 highs"),
        ({"abstain_limits": np.zeros(2, np.float32)}, "abstain_limits has 2 values, expected 3"),
        ({"abstain_limits": np.full(3, np.nan, np.float32)}, "[nan, nan, nan], each must be"),
    ],
)
def test_ranges_and_limits_without_sense_are_refused(
    tmp_path: Path, fields: dict[str, object], said: str
):
    """Lengths, order and finiteness are held, the column is named, and nothing is written."""
    with pytest.raises(BundleError) as caught:
        write_bundle(changed(**fields), tmp_path / "b")
    assert str(caught.value).startswith(f"{tmp_path / 'b' / 'manifest.json'}: ")
    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([{"n": -1}], "long band 1: n is -1, it must be at least 0"),
        ([{"above": -0.5}], "long band 1: above is -0.5, it must lie from 0 to 1"),
        ([{"above": 1.5}], "above is 1.5"),
        ([{"above": NAN}], "above is nan"),
        ([{"coverage": 1.1}], "coverage is 1.1"),
        ([{"base_rate": -0.1}], "base_rate is -0.1"),
        ([{"low": 0.34}], "precision 0.33 with its interval 0.34 to 0.38: they must be 0 <= low"),
        ([{"high": 0.32}], "interval 0.28 to 0.32"),
        ([{"low": -0.1}], "interval -0.1 to"),
        ([{"high": 1.1}], "to 1.1"),
        ([{"precision": NAN}], "precision nan"),
        ([{"gross_pct": INF}], "gross_pct is inf, it must be finite or absent"),
        ([{"below": 0.75}], "the last long band ends at 0.75; it must be open"),
        ([{}, {}], "long band 1 is 0.5 to None and the next begins at 0.5"),
        ([{"below": 0.75}, {"above": 0.875}], "is 0.5 to 0.75 and the next begins at 0.875"),
        ([{"below": 0.75}, {"above": 0.625}], "is 0.5 to 0.75 and the next begins at 0.625"),
        ([{"below": 0.25}, {"above": 0.25}], "is 0.5 to 0.25 and the next begins at 0.25"),
        ([{"below": 0.5}, {"above": 0.5}], "bands must ascend"),
        ([{"side": Side.FLAT}], "evidence is of side 'flat', it must be long or short"),
    ],
)
def test_evidence_without_sense_is_refused(changes: list[dict[str, object]], said: str):
    """Shares, intervals, counts, sides and the chain of bands are held; the band is named."""
    bands = tuple(dataclasses.replace(BAND, **change) for change in changes)
    with pytest.raises(BundleError) as caught:
        assemble(changed(evidence=bands), MAR, "", Path("b"))
    assert said in str(caught.value)


def test_ends_that_touch_are_sound():
    """Equal low and high, no rows, and shares of exactly 0 and 1 are values like others."""
    flat = Ranges(np.ones(K), np.ones(K))
    ends = Evidence(Side.SHORT, 0.0, 1.0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, -3.0)
    last = Evidence(Side.SHORT, 1.0, None, 1, 1.0, 1.0, 1.0, 1.0, 1.0, None)
    model = assemble(changed(ranges=flat, evidence=(ends, last)), MAR, "", Path("b"))
    assert model.evidence == (ends, last)
