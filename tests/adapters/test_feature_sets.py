"""A set of one's own works like a built-in one, and one that cannot is told where it came from."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from candled.core.bar import Stream
from candled.core.decision import BarClosed, Policy, Source
from candled.core.engine import Engine, Lane
from candled.core.features import built_in_sets
from candled.lab.predict import predict
from candled.lab.regimes import bar_regimes
from candled.lab.tables import feature_table
from candled_adapters.artifacts.bundle import BundleError, load_bundle, write_bundle
from candled_adapters.feature_sets import FeatureSetError, find_feature_set
from candles import HOURLY, candles
from feature_models import spec_on

PLUGIN = Path(__file__).resolve().parents[2] / "docs" / "examples" / "feature_set_plugin"
BARS = candles(1_200, seed=1)


def install(folder: Path, name: str, value: str, *, package: str = "candled-wicks",
            version: str = "0.1.0") -> None:  # fmt: skip
    """Put into `folder` what an installation leaves of a package with one feature set."""
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[candled.features]\n{name} = {value}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a folder that is imported from; what comes from it is forgotten afterwards."""
    known = set(sys.modules)
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in set(sys.modules) - known:
        if name.startswith(("candled_wicks", "plugin")):
            del sys.modules[name]


@pytest.fixture
def wicks(site: Path) -> Path:
    """Install the example of the documentation."""
    (site / "candled_wicks.py").write_bytes((PLUGIN / "candled_wicks.py").read_bytes())
    install(site, "wicks", "candled_wicks:WICKS")
    return site


def refusal(name: str) -> str:
    with pytest.raises(FeatureSetError) as caught:
        find_feature_set(name)
    return str(caught.value)


# --- found


def test_built_in_sets_are_found_first_and_have_no_package():
    """Every built-in name leads to its set, which came from nowhere else."""
    for name, features in built_in_sets().items():
        found = find_feature_set(name)
        assert found.features is features
        assert found.origin is None


def test_an_unknown_name_tells_what_there_is(wicks: Path):
    """The message lists built-in and installed sets and the group where more would come from."""
    assert wicks.exists()
    said = refusal("rsi")
    assert said.startswith("unknown feature set 'rsi'; known are mar, mar-scalefree, mar-scalefree")
    assert ", wicks; " in said
    assert "'candled.features'" in said


def test_a_package_may_bring_a_function_that_makes_the_set(site: Path):
    """The entry point's value may be a factory without arguments."""
    (site / "plugin.py").write_bytes((PLUGIN / "candled_wicks.py").read_bytes())
    with (site / "plugin.py").open("a") as file:
        file.write("\n\ndef make():\n    return WICKS\n")
    install(site, "wicks", "plugin:make")
    assert find_feature_set("wicks").features.columns[0] == "wick_balance"


def test_the_example_is_trained_bundled_loaded_and_decides_live(wicks: Path, tmp_path: Path):
    """A set of one's own gets a bundle that names its package, and live is the batch table."""
    assert wicks.exists()
    found = find_feature_set("wicks")
    write_bundle(spec_on(found.features, BARS), tmp_path / "b")
    bundle = load_bundle(tmp_path / "b")
    package = bundle.manifest.feature_package
    assert package is not None
    assert (bundle.manifest.feature_set, package.distribution, package.version) == (
        "wicks", "candled-wicks", "0.1.0",
    )  # fmt: skip
    stream = Stream("binance", "BTCUSDT", "1h")
    engine = Engine([Lane(stream, bundle.model, Policy(threshold=0.4, regime_gate=True))])
    assert engine.history(stream) == 720
    engine.warm(stream, BARS[100:820], from_listing=False)
    closed = [BarClosed(stream, bar, Source.WS, 0, 0) for bar in BARS[820:]]
    made = engine.decide(closed)
    answers = predict(BARS, bundle.model).probabilities[820 - 19 :].tolist()
    assert [dataclasses.astuple(d.probabilities) for d in made if d.probabilities] == [
        tuple(answer) for answer in answers
    ]
    regimes = bar_regimes(BARS, HOURLY, "notebook")[820:].tolist()
    assert [[d.raw_regime, d.regime] for d in made] == regimes
    assert {d.regime for d in made} == {0, 1, 2}
    assert len({(d.side, d.reason) for d in made}) >= 3


def test_a_table_of_the_example_has_its_columns(wicks: Path):
    """Tables take any set: time, close, the set's columns, regimes."""
    assert wicks.exists()
    frame = feature_table(BARS, HOURLY, features=find_feature_set("wicks").features)
    assert list(frame.columns) == [
        "open_time", "close", "wick_balance", "return_19_pct", "mean_range_pct",
        "raw_regime", "regime",
    ]  # fmt: skip
    assert np.isfinite(frame.to_numpy(np.float64)[19:]).all()


# --- another version


def test_another_version_that_computes_the_same_is_taken(wicks: Path, tmp_path: Path):
    """A new version of the package is no reason to refuse a bundle as long as the bits agree."""
    bundle = write_bundle(spec_on(find_feature_set("wicks").features, BARS), tmp_path / "b")
    (wicks / "candled_wicks-0.1.0.dist-info").rename(wicks / "old")
    install(wicks, "wicks", "candled_wicks:WICKS", version="0.2.0")
    importlib.invalidate_caches()
    assert load_bundle(bundle.path).manifest.digest == bundle.manifest.digest


def test_another_version_that_computes_otherwise_is_refused(wicks: Path, tmp_path: Path):
    """The golden vectors find the difference, and both versions are named."""
    bundle = write_bundle(spec_on(find_feature_set("wicks").features, BARS), tmp_path / "b")
    code = (wicks / "candled_wicks.py").read_text()
    (wicks / "candled_wicks_2.py").write_text(code.replace("reach / 20", "reach / 19"))
    (wicks / "candled_wicks-0.1.0.dist-info").rename(wicks / "old")
    install(wicks, "wicks", "candled_wicks_2:WICKS", version="0.2.0")
    importlib.invalidate_caches()
    with pytest.raises(BundleError) as caught:
        load_bundle(bundle.path)
    assert "computes other features than the bundle was made with" in str(caught.value)
    assert "made with candled-wicks 0.1.0 for 'wicks', here is candled-wicks 0.2.0" in str(
        caught.value
    )


def test_a_bundle_whose_package_is_gone_says_what_to_install(wicks: Path, tmp_path: Path):
    """Without the package the bundle is refused, with the version that is wanted."""
    bundle = write_bundle(spec_on(find_feature_set("wicks").features, BARS), tmp_path / "b")
    (wicks / "candled_wicks-0.1.0.dist-info").rename(wicks / "old")
    importlib.invalidate_caches()
    with pytest.raises(BundleError, match=r"unknown feature set 'wicks'.*candled-wicks==0\.1\.0"):
        load_bundle(bundle.path)


def test_bundles_of_built_in_sets_do_not_mention_a_package(tmp_path: Path):
    """Manifests of built-in sets are as they always were."""
    features = built_in_sets()["mar-scalefree"]
    bundle = write_bundle(spec_on(features, BARS), tmp_path / "b")
    assert "feature_package" not in (bundle.path / "manifest.json").read_text()
    assert load_bundle(bundle.path).model.features is features


# --- refused

GOOD = (PLUGIN / "candled_wicks.py").read_text()
BROKEN = {
    "an import that fails": ("import nothing_like_this\n", "ModuleNotFoundError: No module named"),
    "no such object": ("", "AttributeError: module 'plugin' has no attribute 'WICKS'"),
    "no set at all": ("WICKS = 7\n", "is no feature set: it has no name, columns, window"),
    "a factory that fails": ("def WICKS():\n    return 1 / 0\n", "ZeroDivisionError"),
    "another name": (GOOD.replace('"wicks"', '"mar"'), "calls itself 'mar'"),
    "a column twice": (
        GOOD.replace('"mean_range_pct")', '"wick_balance")'), "has the column 'wick_balance' twice"
    ),
    "a list of columns": (
        GOOD + "WICKS.columns = list(COLUMNS)\n", "must have a tuple of one or more column names"
    ),
    "a number as column": (GOOD + "WICKS.columns = ('a', 'b', 3)\n", "is no text: 3"),
    "a history too short": (GOOD + "WICKS.history = 3\n", "1 <= window <= history, not 20, 3"),
    "a window of nothing": (GOOD + "WICKS.window = 0\n", "1 <= window <= history, not 0"),
    "a column too few": (
        GOOD.replace('COLUMNS = ("wick_balance", ', "COLUMNS = ("), "could not broadcast"
    ),
    "rows of another shape": (
        GOOD.replace("axis=1)\n\n", "axis=1)[:, :2]\n\n", 1)
        + "WICKS.table = lambda bars, interval: np.zeros((len(bars), 3))\n",
        "gives a first block of shape (1, 2) where (1, 3) is due",
    ),
    "rows of another type": (
        GOOD.replace("axis=1)\n\n", "axis=1).astype(np.float32)\n\n", 1),
        "gives a first block of float32, it must be float64",
    ),
    "a bar column that is none": (GOOD.replace('"low", "close"))\n', '"low", "close", "oops"))\n'),
                                  "has no attribute 'oops'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_set_is_told_with_its_package(site: Path, name: str):
    """Whatever is wrong, the message names the entry point, its value and the distribution."""
    code, said = BROKEN[name]
    (site / "plugin.py").write_text(code)
    install(site, "wicks", "plugin:WICKS", package="broken-pack", version="3.1")
    found = refusal("wicks")
    assert found.startswith("feature set 'wicks' (plugin:WICKS, of broken-pack 3.1) ")
    assert said in found


def test_nobody_may_take_a_built_in_name(wicks: Path):
    """A package that calls its set `mar` is refused by name, and `mar` stays what it was."""
    install(wicks, "mar", "candled_wicks:WICKS", package="impostor")
    assert find_feature_set("mar").features is built_in_sets()["mar"]
    said = refusal("wicks")
    assert said.startswith("feature set 'mar' (candled_wicks:WICKS, of impostor 0.1.0) takes the ")


def test_two_packages_with_one_name_are_both_named(wicks: Path):
    """It is not left to chance which of two sets of one name is meant."""
    install(wicks, "wicks", "candled_wicks:WICKS", package="other-pack")
    said = refusal("wicks")
    assert said.startswith("two feature sets are called 'wicks': ")
    assert "candled-wicks 0.1.0" in said
    assert "other-pack 0.1.0" in said
