"""`tune`: a folder that a search can be gone on with in, a recipe that `train` takes."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from candled.core.bar import Interval
from candled.core.labels import LabelParams
from candled.lab.recipe import Boosting, Recipe
from candled.lab.tune import (
    SEARCHABLE,
    Range,
    TuningError,
    default_space,
    read_journal,
    space_of,
)
from candled.offline.report import ReportOptions, UnjudgedError, run_report
from candled.offline.training import TrainOptions, train_bundle
from candled.offline.tune import JOURNAL, RECIPE, RESULT, TuneOptions, run_tune
from candled_adapters.artifacts.bundle import load_bundle
from candled_adapters.candles.candlefile import write_candles
from candles import candles
from models import bundle

SMALL = Recipe(
    feature_set="mar",
    labels=LabelParams(4, profit_target_pct=0.5, stop_loss_pct=0.4),
    boosting=Boosting(n_estimators=2, min_child_weight=5.0),
    folds=2,
)
SPACE = """
[boosting]
n_estimators = { low = 1, high = 4 }
learning_rate = { low = 0.05, high = 0.2, log = true }
"""
TRIALS = 4
PAGE = (Path(__file__).parents[2] / "docs" / "tuning.md").read_text()


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Write candles, a small recipe and a space."""
    folder = tmp_path_factory.mktemp("tuning")
    write_candles(folder / "BTCUSDT_1h.csv.gz", candles(1500, seed=8))
    (folder / "base.json").write_text(json.dumps(SMALL.as_json()))
    (folder / "space.toml").write_text(SPACE)
    return folder


def training(room: Path, out: Path, recipe: Path) -> TrainOptions:
    return TrainOptions(
        candles=room / "BTCUSDT_1h.csv.gz",
        out=out,
        symbol="BTCUSDT",
        interval=Interval("1h"),
        as_notebook=False,
        recipe=recipe,
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


def options(room: Path, out: Path, **changes: object) -> TuneOptions:
    usual = TuneOptions(
        default=training(room, out, room / "base.json"),
        sets=(),
        trials=TRIALS,
        timeout=None,
        seed=1,
        space=room / "space.toml",
        only=(),
        holdout=0.25,
        as_json=False,
    )
    return dataclasses.replace(usual, **changes)


@pytest.fixture(scope="module")
def made(room):
    """Search once."""
    return run_tune(options(room, room / "search")), room / "search"


def command(room: Path, out: Path) -> list[str]:
    """Return the command that is `options`."""
    told = {
        "--candles": room / "BTCUSDT_1h.csv.gz",
        "--symbol": "BTCUSDT",
        "--interval": "1h",
        "--recipe": room / "base.json",
        "--space": room / "space.toml",
        "--trials": TRIALS,
        "--seed": 1,
        "--holdout": 0.25,
        "--out": out,
    }
    parts = [str(part) for pair in told.items() for part in pair]
    return [sys.executable, "-W", "error", "-m", "candled", "tune", *parts]


def told_of(journal: Path) -> list[dict[str, object]]:
    """Return the records but for the seconds."""
    records = [json.loads(line) for line in journal.read_bytes().splitlines()]
    return [{name: one[name] for name in one if name != "seconds"} for one in records]


def test_the_search_is_told_in_words(made):
    """Verdict, trials, holdout, and where the files are."""
    text, folder = made
    assert text.startswith(f"{folder.parent / 'BTCUSDT_1h.csv.gz'}: 1500 bars")
    words = " ".join(text.split())
    assert "Tuning found" in words
    assert "In the search the default's skill is" in words
    assert "On the holdout from" in words
    assert "(probability of overfitting; 50 % is pure luck)" in words
    assert "n_estimators 2, learning_rate 0.05" in text
    assert text.splitlines()[-1].startswith(f"{folder}: {JOURNAL} ({TRIALS} trials")


def test_the_result_is_json_too(room, made):
    """The same in the file and with `--json`, and a finished search only reads."""
    _, folder = made
    printed = run_tune(options(room, folder, as_json=True))
    told = json.loads(printed)
    assert told == json.loads((folder / RESULT).read_bytes())
    assert told["recipe"] == json.loads((folder / RECIPE).read_bytes())
    assert told["tried"]["configurations"] == TRIALS
    assert told["holdout"]["looks"] == 1
    assert [one["number"] for one in told["trials"]] == list(range(TRIALS))
    assert told["trials"][0]["recipe"] == SMALL.as_json()


def test_a_bundle_knows_that_its_recipe_was_searched_for(room, made, tmp_path, capsys):
    """Tuned, trained, reported: the number tried goes along, and the verdict names it."""
    _, folder = made
    text = train_bundle(training(room, tmp_path / "bundle", folder / RECIPE))
    assert f"best of {TRIALS} configurations" in text
    told = load_bundle(tmp_path / "bundle").manifest.provenance["recipe"]
    assert told == json.loads((folder / RECIPE).read_bytes())
    assert told["tried"]["configurations"] == TRIALS
    judged = ReportOptions(
        bundle=tmp_path / "bundle",
        candles=room / "BTCUSDT_1h.csv.gz",
        out=tmp_path / "page.html",
        trained_until=None,
        quick=True,
        tuning=None,
        as_json=True,
    )
    run_report(judged)
    without = json.loads(capsys.readouterr().out)
    assert without["studies"][0]["tried"] == told["tried"]
    assert f"best of {TRIALS} configurations" in (tmp_path / "page.html").read_text()
    run_report(dataclasses.replace(judged, tuning=folder / JOURNAL))
    assert json.loads(capsys.readouterr().out) == without


def test_a_bundle_without_a_recipe_was_not_searched_for(room, made, tmp_path):
    """A journal beside it would tell of something else."""
    judged = ReportOptions(
        bundle=bundle(tmp_path / "bundle"),
        candles=room / "BTCUSDT_1h.csv.gz",
        out=None,
        trained_until=None,
        quick=True,
        tuning=made[1] / JOURNAL,
        as_json=True,
    )
    with pytest.raises(UnjudgedError, match="leave out --tuning"):
        run_report(judged)


def test_a_process_killed_in_a_trial_loses_no_other(room, made, tmp_path):
    """Kill -9 as soon as two trials are on the disk: the same command ends the same search."""
    out, line = tmp_path / "search", command(room, tmp_path / "search")
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        deadline = time.monotonic() + 60
        while not (out / JOURNAL).exists() or (out / JOURNAL).read_bytes().count(b"\n") < 3:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    kept = (out / JOURNAL).read_bytes()
    assert len(read_journal(out / JOURNAL).trials) >= 2
    assert not (out / RECIPE).exists()
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (out / JOURNAL).read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
    assert told_of(out / JOURNAL) == told_of(made[1] / JOURNAL)
    assert (out / RECIPE).read_bytes() == (made[1] / RECIPE).read_bytes()


def test_the_space_of_a_file_can_be_restricted(room, tmp_path):
    """`--only` searches what it names; the rest is as in the default."""
    run_tune(options(room, tmp_path, only=("boosting.n_estimators",), trials=2))
    for one in read_journal(tmp_path / JOURNAL).trials:
        assert list(one.values) == ["boosting.n_estimators"]
        assert one.recipe.boosting.learning_rate == SMALL.boosting.learning_rate


def test_several_sets_are_searched(room, tmp_path):
    """Named sets become a choice, the first of them the default's."""
    train = dataclasses.replace(training(room, tmp_path, room / "base.json"), features="mar")
    sets = ("mar", "mar-scalefree")
    run_tune(
        options(
            room, tmp_path, default=train, sets=sets, space=None, only=("feature_set",), trials=3
        )
    )
    tried = [one.recipe.feature_set for one in read_journal(tmp_path / JOURNAL).trials]
    assert tried[0] == "mar"
    assert set(tried) == set(sets)


@pytest.mark.parametrize(
    ("text", "says"),
    [("[boosting\n", "space.toml: "), ("regime = ['default']", r"space.toml: regime is part of")],
)
def test_a_bad_space_names_its_file(room, tmp_path, text, says):
    """Before anything is searched or written."""
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(TuningError, match=says):
        run_tune(options(room, tmp_path / "out", space=tmp_path / "space.toml"))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_said(room, tmp_path):
    """The system's own error, which names the file, as every command tells it."""
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="file"):
        run_tune(options(room, tmp_path / "file"))


def test_the_page_says_what_is_searched():
    """Every choice is in the docs with the default space's limits, and the example is a space."""
    space = dict(default_space(["mar", "mar-scalefree"], Recipe(label_rule="first_touch")))
    for name in SEARCHABLE:
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
        if isinstance(axis := space.get(name), Range):
            assert f"| {axis.low:g} to {axis.high:g}" in row
            assert ("by factors" in row) == axis.log
    example = PAGE.split("and a table a range:")[1].split("`--only")[0].split("Balanced")[0]
    names = [name for name, _ in space_of(tomllib.loads(example))]
    assert names == ["boosting.max_depth", "boosting.learning_rate", "balance_classes"]
