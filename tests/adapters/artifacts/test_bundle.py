"""A bundle that loads is the one that was made, to the bit; anything else is refused by name."""

from __future__ import annotations

import functools
import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from candled.core.features.mar import COLUMNS
from candled_adapters.artifacts.bundle import BundleError, load_bundle, write_bundle
from candles import HOURLY, candles
from models import bundle, changed, model, spec

PARTS = ("manifest.json", "model.ubj", "golden.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a sound bundle."""
    return bundle(tmp_path / "BTCUSDT_1h")


def refusal(folder: Path) -> str:
    """Return why a bundle is refused."""
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    return str(caught.value)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# --- what is written is what is read


def test_a_bundle_gives_what_it_was_made_of(tmp_path: Path):
    """Names, scaler, booster, threshold, target and provenance come back as they went in."""
    written = write_bundle(spec(), tmp_path / "new" / "b")
    read = load_bundle(tmp_path / "new" / "b")
    assert written.manifest == read.manifest
    assert names(tmp_path / "new" / "b") == sorted(PARTS)
    assert names(tmp_path / "new") == ["b"]
    for attribute in ("symbol", "interval", "threshold", "target"):
        assert getattr(read.model, attribute) == getattr(spec(), attribute)
    assert read.model.name == read.manifest.name == "BTCUSDT_1h"
    assert read.model.mean.tobytes() == spec().mean.tobytes()
    assert read.model.scale.tobytes() == spec().scale.tobytes()
    assert tuple(read.manifest.features) == spec().feature_names
    assert read.manifest.provenance == json.loads(json.dumps(spec().provenance))
    assert (tmp_path / "new" / "b" / "model.ubj").read_bytes() == spec().booster


def test_the_same_model_makes_the_same_bytes(tmp_path: Path):
    """Two bundles of one model are equal in every byte, and another threshold is another digest."""
    one, two = (write_bundle(spec(), tmp_path / name) for name in "ab")
    assert contents(one.path) == contents(two.path)
    other = write_bundle(changed(threshold=0.43), tmp_path / "c")
    assert other.manifest.digest != one.manifest.digest == two.manifest.digest


def test_a_loaded_model_answers_as_the_trained_one(folder: Path):
    """Probabilities are those of XGBoost's own package and scikit-learn's scaler, to the bit."""
    rows = model().features.table(candles(300, seed=8), HOURLY)[40:]
    booster = xgboost.Booster(model_file=bytearray(spec().booster))
    scaled = ((rows - spec().mean) / spec().scale).astype(np.float32)
    expected = booster.predict(xgboost.DMatrix(scaled))
    assert load_bundle(folder).model.probabilities(rows).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("provenance", "rule"),
    [
        ({}, "window"),
        ({"labels": {"rule": "first_touch"}}, "first_touch"),
        ({"labels": {"rule": "of tomorrow"}}, "of tomorrow"),
        ({"labels": "by hand"}, "window"),
        ({"labels": {"rule": 7}}, "window"),
    ],
)
def test_a_model_says_by_which_rule_it_was_labelled(tmp_path: Path, provenance: dict, rule: str):
    """It is the one that training noted; a bundle that notes none is the notebook's."""
    made = write_bundle(changed(provenance=provenance), tmp_path / "b")
    assert made.model.target is not None
    assert made.model.target.rule == rule


def test_other_files_are_left_alone(folder: Path):
    """A note beside the parts does not make a bundle unfit."""
    (folder / "notes.txt").write_text("mine")
    assert load_bundle(folder).model.name == "BTCUSDT_1h"


def test_a_model_without_target_makes_a_bundle(tmp_path: Path):
    """What is not known of the labels stays unknown."""
    assert write_bundle(changed(target=None), tmp_path / "b").model.target is None


# --- every byte counts


@pytest.mark.parametrize("part", PARTS)
def test_any_changed_byte_is_refused_by_its_file(folder: Path, part: str):
    """One wrong bit anywhere in any part is found before the model can be asked."""
    file = folder / part
    sound = file.read_bytes()
    dice = random.Random(part)
    places = {0, len(sound) - 1, *(dice.randrange(len(sound)) for _ in range(150))}
    for place in places:
        content = bytearray(sound)
        content[place] ^= 1 << dice.randrange(8)
        file.write_bytes(bytes(content))
        assert refusal(folder).startswith(str(folder / part)), (place, content[place])
    file.write_bytes(sound)
    load_bundle(folder)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_part_cut_short_is_refused(folder: Path, part: str, keep: int):
    """A part that lost its end, or everything, is refused by name."""
    file = folder / part
    file.write_bytes(file.read_bytes()[:keep])
    assert refusal(folder).startswith(str(file))


@pytest.mark.parametrize("part", PARTS[1:])
def test_a_missing_part_is_named(folder: Path, part: str):
    """A part that is not there is named, with the mend."""
    (folder / part).unlink()
    assert refusal(folder) == (
        f"{folder / part}: cannot be read: No such file or directory; "
        "make it again with `candled train` or `candled model import`"
    )


def test_a_folder_without_manifest_is_no_bundle(folder: Path):
    """Without its manifest a folder is not a bundle; a path that leads nowhere is said to."""
    (folder / "manifest.json").unlink()
    assert "is not a bundle (no manifest.json)" in refusal(folder)
    assert f"{folder / 'x'}: there is no such bundle" in refusal(folder / "x")
    assert "is not a bundle" in refusal(folder / "model.ubj")


def test_parts_swapped_between_bundles_are_refused(folder: Path, tmp_path: Path):
    """A booster or golden vectors of another bundle do not pass, however sound they are there."""
    other = bundle(tmp_path / "other", seed=2)
    for part in PARTS[1:]:
        shutil.copy(other / part, folder / part)
        assert refusal(folder).startswith(str(folder / part))
        bundle_again = bundle(tmp_path / f"again {part}")
        shutil.copy(bundle_again / part, folder / part)
    load_bundle(folder)


# --- a manifest that is sealed anew is still held to what the program knows


def reseal(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest as somebody would who knows how to make its digests right again."""
    file = folder / "manifest.json"
    manifest = json.loads(file.read_bytes())
    change(manifest)
    for part in manifest.get("parts", ()):
        manifest["parts"][part] = hashlib.sha256((folder / part).read_bytes()).hexdigest()
    manifest["digest"] = ""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    manifest["digest"] = hashlib.sha256(text.encode()).hexdigest()
    file.write_text(json.dumps(manifest))


def set_key(*path: str | int, value: object) -> Callable[[dict[str, Any]], object]:
    """Return a change of one value inside a manifest."""

    def change(manifest: Any) -> None:
        *way, last = path
        functools.reduce(lambda part, key: part[key], way, manifest)[last] = value

    return change


def swap_names(manifest: dict[str, Any]) -> None:
    names = manifest["features"]
    names[3], names[7] = names[7], names[3]


def set_evidence(**fields: object) -> Callable[[dict[str, Any]], object]:
    """Return a change that puts one band of evidence into a manifest, with other values."""
    said = {"side": "long", "above": 0.5, "below": None, "n": 10, "coverage": 0.1, "low": 0.2}
    rest = {"precision": 0.3, "high": 0.4, "base_rate": 0.25, "gross_pct": None}
    return set_key("evidence", value=[{**said, **rest, **fields}])


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "schema": (set_key("schema", value="candled.bundle/2"), "has schema 'candled.bundle/2'"),
    "reordered names": (
        swap_names,
        "feature order differs: column 3 is 'ma12_sma', expected 'ma8_sma'",
    ),
    "unknown name": (
        set_key("features", 0, value="rsi_14"),
        r"feature names differ (unknown ['rsi_14'], missing ['ma5_sma'])",
    ),
    "name too many": (lambda m: m["features"].append("ma5_sma"), "221 feature names are given"),
    "name too few": (lambda m: m["features"].pop(), "missing ['cross_below']"),
    "class order": (
        set_key("classes", value=["no_trade", "short", "long"]),
        "classes are ['no_trade', 'short', 'long'], expected ['no_trade', 'long', 'short']",
    ),
    "scale of zero": (set_key("scaler", "scale", 5, value="0x0p+0"), "scale above zero"),
    "negative scale": (set_key("scaler", "scale", 5, value="-0x1p+0"), "scale above zero"),
    "scale NaN": (set_key("scaler", "scale", 5, value="nan"), "must be finite"),
    "mean NaN": (set_key("scaler", "mean", 219, value="nan"), "must be finite"),
    "mean infinite": (set_key("scaler", "mean", 0, value="inf"), "must be finite"),
    "mean too large": (set_key("scaler", "mean", 0, value="0x1p+9999"), "scaler cannot be read"),
    "mean no number": (set_key("scaler", "mean", 0, value="zz"), "scaler cannot be read"),
    "a mean too few": (lambda m: m["scaler"]["mean"].pop(), "scaler has 219 columns, expected 220"),
    "threshold 1": (set_key("threshold", value=1.0), "threshold is 1.0, it must lie between 0"),
    "threshold 0": (set_key("threshold", value=0.0), "threshold is 0.0, it must lie between 0"),
    "threshold above": (set_key("threshold", value=60.0), "threshold is 60.0"),
    "regime": (set_key("regime", value="bold"), "unknown regime preset 'bold'; known are notebook"),
    "interval": (set_key("interval", value="7m"), "unknown interval '7m'"),
    "feature set": (set_key("feature_set", value="mar-2"), "unknown feature set 'mar-2'"),
    "parts": (lambda m: m["parts"].pop("golden.json"), "parts must be model.ubj and golden.json"),
    "missing key": (lambda m: m.pop("regime"), "missing required field `regime`"),
    "unknown key": (set_key("more", value=1), "unknown field `more`"),
    "unknown key inside": (set_key("target", "more", value=1), "unknown field `more`"),
    "ranges too short": (
        set_key("ranges", value={"low": ["0x0p+0"], "high": ["0x0p+0"]}),
        "ranges has 1 lows and 1 highs, expected 220 of each",
    ),
    "ranges no number": (set_key("ranges", value={"low": ["x"], "high": []}), "ranges cannot be"),
    "limits too few": (set_key("abstain_limits", value=["0x0p+0"]), "has 1 values, expected 3"),
    "limit NaN": (set_key("abstain_limits", value=["0x0p+0"] * 2 + ["nan"]), "must be finite"),
    "limit infinite": (set_key("abstain_limits", value=["inf"] * 3), "must be finite"),
    "limit too large": (
        set_key("abstain_limits", value=["0x1p+300"] * 3),
        "abstain_limits holds a number that is no float32",
    ),
    "limit a double": (
        set_key("abstain_limits", value=[(0.6).hex()] * 3),
        "abstain_limits holds a number that is no float32",
    ),
    "edge a double": (set_evidence(above=0.6), "evidence holds a number that is no float32"),
    "evidence of a flat": (set_evidence(side="flat"), "Invalid enum value 'flat'"),
    "evidence without n": (set_evidence(n=None), "Expected `int`, got `null`"),
    "text for number": (set_key("threshold", value="0.6"), "Expected `float`, got `str`"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_manifest_that_makes_no_sense_is_refused(folder: Path, name: str):
    """Right digests do not help a manifest whose values do not fit; what is wrong is said."""
    change, text = CHANGES[name]
    reseal(folder, change)
    said = refusal(folder)
    assert said.startswith(f"{folder / 'manifest.json'}: ")
    assert text in said


def test_a_changed_scaler_is_found_by_the_golden_vectors(folder: Path):
    """With every digest made right again, a mean that is off still shows in what is computed."""
    mean = float(spec().mean[4])
    reseal(folder, set_key("scaler", "mean", 4, value=(mean * (1 + 1e-6)).hex()))
    assert "golden.json: this machine computes other scaled features" in refusal(folder)


def change_golden(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = folder / "golden.json"
    golden = json.loads(file.read_bytes())
    change(golden)
    file.write_text(json.dumps(golden))
    reseal(folder, lambda _: None)


def one_bit_more(*path: str | int) -> Callable[[dict[str, Any]], object]:
    """Return a change of the last bit of one number of the golden vectors."""

    def change(golden: Any) -> None:
        *way, last = path
        row = functools.reduce(lambda part, key: part[key], way, golden)
        row[last] = float(np.nextafter(float.fromhex(row[last]), np.inf)).hex()

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (one_bit_more("features", 2, 117), "computes other features"),
        (one_bit_more("scaled", 0, 0), "computes other scaled features"),
        (one_bit_more("probabilities", 7, 1), "computes other probabilities"),
        (one_bit_more("bars", "close", 30), "computes other features"),
        (set_key("features", value=[]), "cannot be read: 0 rows for 48 bars"),
        (set_key("bars", "close", 3, value="x"), "cannot be read: "),
        (set_key("bars", "close", 3, value="0x1p+5000"), "cannot be read: "),
        (set_key("bars", "open_time", 3, value="inf"), "cannot be read: "),
        (lambda g: g["bars"].pop("close"), "cannot be read: 'close'"),
        (lambda g: g["bars"]["close"].pop(), "columns of different lengths"),
        (lambda g: g.pop("scaled"), "missing required field `scaled`"),
        (lambda g: g["probabilities"].pop(), "computes other probabilities"),
    ],
)
def test_golden_vectors_hold_the_machine_to_the_bit(
    folder: Path, change: Callable[[dict[str, Any]], object], said: str
):
    """A bit's difference at any stage is named by its stage; vectors without sense are refused."""
    change_golden(folder, change)
    assert refusal(folder).startswith(f"{folder / 'golden.json'}: ")
    assert said in refusal(folder)


# --- boosters that do not fit


def trained(columns: int, classes: int) -> bytes:
    """Train a tiny booster of another shape."""
    rng = np.random.default_rng(0)
    rows, truth = rng.normal(size=(60, columns)), np.arange(60) % max(classes, 2)
    settings: dict[str, Any] = {"objective": "multi:softprob", "num_class": classes}
    if classes == 1:
        settings = {"objective": "binary:logistic"}
    booster = xgboost.train(
        {**settings, "nthread": 1}, xgboost.DMatrix(rows, truth), num_boost_round=2
    )
    return bytes(booster.save_raw("ubj"))


@pytest.mark.parametrize(
    ("booster", "said"),
    [
        (lambda: trained(219, 3), "was trained on 219 columns, expected 220"),
        (lambda: trained(220, 4), "gives 4 classes, expected 3"),
        (lambda: trained(220, 2), "gives 2 classes, expected 3"),
        (lambda: trained(220, 1), "gives 1 classes, expected 3"),
        (lambda: b"", "XGBoost: "),
        (lambda: b"{}", "XGBoost: "),
        (lambda: b"no model at all", "XGBoost: "),
    ],
)
def test_a_booster_of_another_shape_is_refused(
    folder: Path, tmp_path: Path, booster: Callable[[], bytes], said: str
):
    """A booster with other columns or classes, or that is none, is neither written nor loaded."""
    with pytest.raises(BundleError, match=said) as caught:
        write_bundle(changed(booster=booster()), tmp_path / "new")
    assert str(caught.value).startswith(str(tmp_path / "new" / "model.ubj"))
    assert not (tmp_path / "new").exists()
    (folder / "model.ubj").write_bytes(booster())
    reseal(folder, lambda _: None)
    assert said in refusal(folder)


# --- writing is all or nothing


def with_one(value: float) -> np.ndarray:
    """Return one value for each column, 1.0 but for a single one."""
    return np.where(np.arange(len(COLUMNS)) == 9, value, 1.0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"threshold": 0.0}, "threshold is 0.0"),
        ({"threshold": 1.0}, "threshold is 1.0"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"scale": with_one(0.0)}, "scale above zero"),
        ({"mean": with_one(float("nan"))}, "must be finite"),
        ({"mean": with_one(1.0)[:-1]}, "has 219 columns, expected 220"),
        ({"feature_names": COLUMNS[::-1]}, "feature order differs: column 0"),
        ({"feature_set": "mine"}, "unknown feature set 'mine'"),
        ({"interval": "1H"}, "unknown interval '1H'"),
        ({"regime": "x"}, "unknown regime preset 'x'"),
    ],
)
def test_what_could_not_be_loaded_is_not_written(
    tmp_path: Path, fields: dict[str, object], said: str
):
    """A model that does not fit its description is refused by the bundle's name, before a trace."""
    with pytest.raises(BundleError) as caught:
        write_bundle(changed(**fields), tmp_path / "below" / "b")
    assert str(caught.value).startswith(str(tmp_path / "below" / "b" / "manifest.json"))
    assert said in str(caught.value)
    assert names(tmp_path) == []


def test_an_existing_bundle_is_replaced(tmp_path: Path):
    """Writing again leaves the new bundle and nothing of the old one, here or beside."""
    write_bundle(changed(threshold=0.3), tmp_path / "b")
    replaced = write_bundle(spec(), tmp_path / "b")
    assert load_bundle(tmp_path / "b").manifest == replaced.manifest
    assert replaced.model.threshold == spec().threshold
    assert names(tmp_path) == ["b"]
    (tmp_path / "empty").mkdir()
    write_bundle(spec(), tmp_path / "empty")
    assert names(tmp_path / "empty") == sorted(PARTS)


def put(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    "files",
    [
        {"notes.txt": "mine"},
        {"sub/notes.txt": "mine"},
        {"manifest.json": '{"name": "a web page", "icons": []}', "index.html": "<p>"},
        {"manifest.json": '["schema"]'},
        {"manifest.json": "not JSON"},
    ],
)
def test_a_foreign_folder_is_not_touched(tmp_path: Path, files: dict[str, str]):
    """A folder without a bundle stays as it is, even one with a manifest.json of its own."""
    put(tmp_path / "b", files)
    with pytest.raises(FileExistsError, match="holds other files and no bundle"):
        write_bundle(spec(), tmp_path / "b")
    assert {name: (tmp_path / "b" / name).read_text() for name in files} == files
    assert names(tmp_path) == ["b"]


def test_what_lies_beside_a_bundle_is_not_lost(folder: Path):
    """A bundle with files of somebody else inside is not replaced; they are named."""
    put(folder, {"notes.txt": "mine", "ETHUSDT_1h/manifest.json": "{}"})
    before = load_bundle(folder).manifest
    with pytest.raises(FileExistsError, match=r"also holds ETHUSDT_1h, notes\.txt, which the new"):
        write_bundle(changed(threshold=0.3), folder)
    assert load_bundle(folder).manifest == before
    assert (folder / "notes.txt").read_text() == "mine"
    assert names(folder.parent) == [folder.name]


def test_a_file_in_the_way_is_named(tmp_path: Path):
    """A file where the bundle should be is refused and stays."""
    (tmp_path / "b").write_text("mine")
    with pytest.raises(FileExistsError, match="b is a file; name a folder for the bundle"):
        write_bundle(spec(), tmp_path / "b")
    assert (tmp_path / "b").read_text() == "mine"


def test_extra_files_appear_with_the_bundle(tmp_path: Path):
    """What `extra` adds is there when the bundle is, and replaced with it."""
    for text in ("one", "two"):
        write_bundle(spec(), tmp_path / "b", lambda at, text=text: put(at, {"more.txt": text}))
        assert names(tmp_path / "b") == sorted([*PARTS, "more.txt"])
    assert (tmp_path / "b" / "more.txt").read_text() == "two"


def test_extra_that_fails_leaves_nothing_behind(tmp_path: Path):
    """When the further files cannot be made, there is no bundle and no draft, or the old one."""

    def fail(draft: Path) -> None:
        put(draft, {"half.txt": "half"})
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_bundle(spec(), tmp_path / "b", fail)
    assert names(tmp_path) == []
    before = contents(write_bundle(spec(), tmp_path / "b").path)
    with pytest.raises(OSError, match="No space left"):
        write_bundle(changed(threshold=0.3), tmp_path / "b", fail)
    assert contents(tmp_path / "b") == before
    assert names(tmp_path) == ["b"]


def test_extra_that_damages_a_part_is_found(tmp_path: Path):
    """A draft that does not load does not appear."""
    with pytest.raises(BundleError, match=r"golden\.json: has been changed"):
        write_bundle(spec(), tmp_path / "b", lambda at: put(at, {"golden.json": "{}"}))
    assert names(tmp_path) == []


def test_a_link_to_a_bundle_is_replaced_and_its_target_stays(folder: Path):
    """A bundle written over a link stands in the link's place; nothing is left beside it."""
    link = folder.parent / "current"
    link.symlink_to(folder)
    before = contents(folder)
    write_bundle(changed(threshold=0.3), link)
    assert not link.is_symlink()
    assert load_bundle(link).model.threshold == 0.3
    assert contents(folder) == before
    assert names(folder.parent) == [folder.name, "current"]


def test_a_bundle_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A relative path means what it says."""
    monkeypatch.chdir(tmp_path)
    assert write_bundle(spec(), Path("b")).path == tmp_path / "b"
    assert load_bundle(Path("b")).model.digest == model().digest
