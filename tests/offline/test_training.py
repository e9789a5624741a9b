"""`train` and `report`: a bundle with its evidence, a verdict in words, nothing half-written."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

import candled.offline.files as files_module
from candled.core.bar import Interval
from candled.core.labels import LabelParams
from candled.lab.dataset import TrainingError
from candled.lab.recipe import Boosting, Recipe, ThresholdRule
from candled.offline.known import last_trained
from candled.offline.report import ReportOptions, UnjudgedError, run_report
from candled.offline.training import RecipeError, TrainOptions, recipe_of, train_bundle
from candled_adapters.artifacts.bundle import load_bundle, write_bundle
from candled_adapters.candles.candlefile import write_candles
from candled_adapters.feature_sets import FeatureSetError
from candles import bars_at, candles
from models import changed, spec

RECIPE = Recipe(
    feature_set="mar",
    labels=LabelParams(8, profit_target_pct=0.8, stop_loss_pct=0.6),
    boosting=Boosting(n_estimators=6, min_child_weight=5.0),
    folds=3,
)


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Write candles with a hole, and a small recipe."""
    folder = tmp_path_factory.mktemp("training")
    bars = candles(1500, seed=8)
    write_candles(folder / "c.csv.gz", bars_at(bars, [*range(700), *range(703, 1500)]))
    (folder / "recipe.json").write_text(json.dumps(RECIPE.as_json()))
    return folder


def options(room: Path, **changes: object) -> TrainOptions:
    usual = TrainOptions(
        candles=room / "c.csv.gz",
        out=room / "out",
        symbol="BTCUSDT",
        interval=Interval("1h"),
        as_notebook=False,
        recipe=room / "recipe.json",
        features=None,
        rule=None,
        label=(None, None, None),
        regime=None,
        threshold=None,
        coverage_pct=None,
        costs_pct=None,
        folds=None,
        balance=False,
        calibrate=True,
    )
    return dataclasses.replace(usual, **changes)


@pytest.fixture(scope="module")
def said(room):
    """Train once; return what was said."""
    return train_bundle(options(room))


def test_training_says_what_it_used_and_what_it_found(room, said):
    """The gap, the rows left out by reason, the bundle, then the verdict."""
    lines = said.splitlines()
    assert "3 absent in 1 gap(s)" in lines[0]
    assert "(rows that it reaches are left out)" in lines[0]
    assert f"{room / 'out'}: bundle BTCUSDT_1h, 220 features" in lines[1]
    assert "left out: 40 warm up, 8 unlabelled, 40 gap behind, 8 gap ahead" in lines[2]
    assert "skill" in lines[3]
    assert len(lines) > 6


def test_the_bundle_carries_its_recipe_and_evidence(room, said):
    """What was made can be made again, and its signals can say what their like was worth."""
    assert said
    bundle = load_bundle(room / "out")
    assert Recipe.from_json(bundle.manifest.provenance["recipe"]) == RECIPE
    assert bundle.model.evidence
    assert bundle.model.ranges is not None
    assert bundle.model.abstain_limits is not None
    names = {file.name for file in (room / "out").iterdir()}
    assert {f"BTCUSDT_1h_signal_{part}" for part in ("model.joblib", "metadata.json")} < names


def test_options_override_the_recipe(room):
    """What is given on the command line goes first; the rest is the recipe's."""
    made = recipe_of(options(room, rule="first_touch", label=(None, 2.0, None), costs_pct=0.1))
    assert made.label_rule == "first_touch"
    assert made.labels == LabelParams(8, 2.0, 0.6)
    assert made.threshold == ThresholdRule("value", 0.1)
    assert made.boosting == RECIPE.boosting
    assert recipe_of(options(room, recipe=None)) == Recipe()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"threshold": 0.5, "coverage_pct": 5.0}, "one of --threshold, --coverage and --costs"),
        ({"coverage_pct": 100.0}, "between 0 and 1"),
        ({"as_notebook": True}, "--recipe belongs to the honest training"),
        ({"as_notebook": True, "recipe": None, "rule": "window"}, "--labels belongs to"),
        ({"as_notebook": True, "recipe": None, "calibrate": False}, "--no-calibrate belongs to"),
    ],
)
def test_options_that_do_not_go_together_are_refused(room, changes, says):
    """The message names the option, and nothing is written."""
    with pytest.raises(RecipeError, match=says):
        train_bundle(options(room, out=room / "none", **changes))
    assert not (room / "none").exists()


@pytest.mark.parametrize("content", ["[]", "{", '{"labels": {}}', '{"folds": 3}', "7"])
def test_a_file_that_is_no_recipe_is_named(room, tmp_path, content):
    """Whatever is wrong with it, the file and what to give instead are said."""
    file = tmp_path / "r.json"
    file.write_text(content)
    with pytest.raises(RecipeError, match=r"r\.json is no recipe"):
        recipe_of(options(room, recipe=file))


def test_what_cannot_be_trained_leaves_nothing(room):
    """An unknown set, a target never met: clear errors, and no folder."""
    with pytest.raises(FeatureSetError, match="unknown feature set 'tea-leaves'"):
        train_bundle(options(room, out=room / "none", features="tea-leaves"))
    with pytest.raises(TrainingError, match="hold no long, short"):
        train_bundle(options(room, out=room / "none", label=(None, 80.0, None)))
    assert not (room / "none").exists()


@pytest.mark.parametrize("place", ["file", "foreign", "locked"])
def test_a_place_that_cannot_take_a_bundle_is_refused_before_the_work(
    room, tmp_path, monkeypatch, place
):
    """A file in the way, other people's files, a folder that is not ours: named, nothing read."""
    out = tmp_path / place
    match place:
        case "file":
            out.write_text("mine")
            out = out / "bundle"
        case "foreign":
            out.mkdir()
            (out / "note.txt").write_text("mine")
        case _:
            out = out / "bundle"
            out.parent.mkdir()
            monkeypatch.setattr(files_module.os, "access", lambda *_: False)
    missing = room / "no-such-candles.csv"
    with pytest.raises((FileExistsError, NotADirectoryError, PermissionError), match=place):
        train_bundle(options(room, out=out, candles=missing))


# --- the report


def judged(room: Path, **changes: object) -> ReportOptions:
    usual = ReportOptions(
        bundle=room / "out",
        candles=room / "c.csv.gz",
        out=room / "page.html",
        trained_until=None,
        quick=True,
        tuning=None,
        as_json=False,
    )
    return dataclasses.replace(usual, **changes)


def test_a_report_of_an_honest_bundle_finds_what_training_found(room, said, capsys):
    """The recipe is walked again: the same verdict, a page, and the very same figures."""
    run_report(judged(room))
    printed = capsys.readouterr().out
    assert said.splitlines()[3].split(";")[0] in " ".join(printed.split())
    assert (room / "page.html").read_bytes().startswith(b"<!doctype html>")
    run_report(judged(room, out=None, as_json=True))
    told = json.loads(capsys.readouterr().out)
    assert told["studies"][0]["verdict"]["headline"]["text"] == said.splitlines()[3]


@pytest.fixture(scope="module")
def plain(room):
    """Write a bundle that knows no recipe, as the notebook's way makes it, of older candles."""
    write_bundle(spec(), room / "plain")
    return room / "plain"


def test_a_report_of_another_bundle_judges_what_followed_its_training(room, plain, capsys):
    """Rows after the last trained bar are judged; candles of another making are said to be so."""
    bundle = load_bundle(plain)
    last = bundle.manifest.provenance["train"]["last_open_time"]
    run_report(judged(room, bundle=plain, out=None))
    printed = " ".join(capsys.readouterr().out.split())
    assert "these are not the very candles it was trained on" in printed
    run_report(judged(room, bundle=plain, out=None, as_json=True))
    told = json.loads(capsys.readouterr().out)["studies"]
    assert len(told) == 1
    assert last_trained(bundle, candles(50), None) == last


def test_nobody_knows_what_an_imported_bundle_has_seen(room, tmp_path):
    """Unless its files' row counts fit the candles, or it is said: then it is known."""
    told = {"train_samples": 800, "test_samples": 200}
    bundle = write_bundle(changed(provenance=told), tmp_path / "imported")
    bars = candles(1040, seed=8)
    assert last_trained(bundle, bars, None) == bars.open_time[40 + 799]
    assert last_trained(bundle, bars[:-1], None) is None
    assert last_trained(bundle, bars, 7) == 7
    with pytest.raises(UnjudgedError, match="give --trained-until"):
        run_report(judged(room, bundle=tmp_path / "imported"))


def test_a_bundle_without_a_target_cannot_be_judged(room, tmp_path):
    """Nobody knows what it was to foresee."""
    write_bundle(changed(target=None), tmp_path / "aimless")
    with pytest.raises(UnjudgedError, match="what it was trained to foresee"):
        run_report(judged(room, bundle=tmp_path / "aimless"))
