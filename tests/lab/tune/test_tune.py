"""A search: the same again, blind to the holdout, honest about luck."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from candled.core.features.mar import MAR
from candled.core.labels import LabelParams
from candled.lab.bootstrap import Interval
from candled.lab.dataset import TrainingError
from candled.lab.evaluate import losses
from candled.lab.overfit import backtest_overfitting, deflated_sharpe, sharpe
from candled.lab.recipe import Boosting, Recipe, ThresholdRule, Tried
from candled.lab.study import walk_forward_study
from candled.lab.tune import (
    Look,
    Space,
    TuningError,
    default_space,
    read_journal,
    space_of,
    tried_in,
)
from candled.lab.tune.asking import asking
from candled.lab.tune.ground import grounds
from candled.lab.tune.outcome import best, tuning_of
from candles import candles
from searches import (
    BARS,
    NOISE,
    RECIPE,
    SPACE,
    Noise,
    ground_truth,
    labelled,
    planted,
    searched,
    senseless,
)


def trials_in(journal: Path) -> list[bytes]:
    """Return the lines about trials."""
    return [line for line in journal.read_bytes().splitlines() if b'"kind": "trial"' in line]


def without_seconds(journal: Path) -> list[dict[str, object]]:
    """Return the trials but for how long they took."""
    told = [json.loads(line) for line in trials_in(journal)]
    return [{name: value for name, value in one.items() if name != "seconds"} for one in told]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Search once, for the tests that only look."""
    journal = tmp_path_factory.mktemp("search") / "j.jsonl"
    return searched(journal), journal


# --- the same again


def test_equal_searches_write_equal_bytes(made, tmp_path):
    """Data, space, seed and number of trials decide every byte but the seconds."""
    searched(tmp_path / "j.jsonl")
    assert (tmp_path / "j.jsonl").read_bytes() == made[1].read_bytes()


def test_another_seed_asks_for_other_trials(made, tmp_path):
    """The default stays trial 0; what follows is another search."""
    searched(tmp_path / "j.jsonl", seed=4)
    ours, theirs = without_seconds(tmp_path / "j.jsonl"), without_seconds(made[1])
    assert ours[0] == theirs[0]
    assert [one["values"] for one in ours[1:]] != [one["values"] for one in theirs[1:]]


@pytest.mark.parametrize("first", [1, 3])
def test_a_search_that_goes_on_is_the_search_it_would_have_been(made, tmp_path, first):
    """Trials made in two runs are those of one run."""
    searched(tmp_path / "j.jsonl", trials=first)
    later = searched(tmp_path / "j.jsonl", trials=4)
    assert without_seconds(tmp_path / "j.jsonl") == without_seconds(made[1])
    assert later.chosen.recipe == made[0].chosen.recipe


def test_a_finished_search_does_nothing_again(made):
    """The same command prints the same and adds no byte: no trial, and no further look."""
    before = made[1].read_bytes()
    again = searched(made[1])
    assert made[1].read_bytes() == before
    assert again.as_json() == made[0].as_json()
    assert searched(made[1], trials=2).as_json() == made[0].as_json()


def test_a_timeout_begins_no_further_trial(tmp_path):
    """The clock is asked before each trial; the default is always tried."""
    assert len(searched(tmp_path / "a", timeout=0).trials) == 1
    few = searched(tmp_path / "b", timeout=4, trials=9)
    assert 1 < len(few.trials) < 9
    assert few.looks == 1


# --- what trials see


def test_the_holdout_is_seen_by_no_trial(made, tmp_path):
    """Other labels and features in the holdout: not a digit of any trial changes; the look does."""
    first = made[0].look.first_open_time
    cut = int(np.flatnonzero(BARS.open_time == first)[0])
    of = planted()
    classes = of.labels.classes.copy()
    classes[cut - 2 * 2 :] = np.random.default_rng(9).integers(0, 3, len(classes) - cut + 4)
    other = Noise("noise", NOISE.seed, until=cut - 4)
    searched(tmp_path / "j.jsonl", labelled(classes), features=(other,))
    assert without_seconds(tmp_path / "j.jsonl") == without_seconds(made[1])
    assert read_journal(tmp_path / "j.jsonl").looks[0].tuned != made[0].look.tuned


def test_rows_before_the_holdout_are_seen(made, tmp_path):
    """The test above can fail: a label one row earlier than the purged ones changes trials."""
    cut = int(np.flatnonzero(BARS.open_time == made[0].look.first_open_time)[0])
    classes = planted().labels.classes.copy()
    classes[cut - 5] = (classes[cut - 5] + 1) % 3
    searched(tmp_path / "j.jsonl", labelled(classes))
    assert without_seconds(tmp_path / "j.jsonl") != without_seconds(made[1])


def test_the_halves_are_purged():
    """Labels of what trials see end an embargo before the holdout; its folds are as fresh."""
    halves = grounds(ground_truth(), [NOISE], RECIPE, 0.2)
    seen, whole = halves.seen.rows["noise"], halves.whole.rows["noise"]
    held = halves.whole.tested[halves.is_holdout]
    assert seen.end.max() + RECIPE.embargo_bars < whole.begin[held[0]]
    assert seen.end.max() + RECIPE.embargo_bars >= whole.begin[held[0]] - 1
    assert len(held) == len(whole) - int(len(whole) * 0.8)
    assert halves.whole.folds[: RECIPE.folds] == halves.seen.folds
    for fold in halves.whole.folds:
        assert whole.end[fold.train].max() + RECIPE.embargo_bars < whole.begin[fold.test[0]]


def test_feature_sets_are_compared_on_the_same_rows():
    """What one set lacks, because it looks back further, is taken from the others as well."""
    deep = Noise("deep", 2, window=300)
    halves = grounds(ground_truth(), [NOISE, deep], RECIPE, 0.2)
    one, other = halves.seen.rows.values()
    assert (one.begin == other.begin).all()
    assert one.begin[0] == 299
    assert (one.classes == other.classes).all()


def test_the_objective_is_the_skill_of_the_walk_forward(made):
    """Trial 0 is what a study of the bars before the holdout says of the default."""
    default = made[0].trials[0]
    cut = int(np.flatnonzero(BARS.open_time == made[0].look.first_open_time)[0])
    end = cut - RECIPE.embargo_bars
    of = labelled(planted().labels.classes[:end], ground_truth(BARS[:end]))
    study = walk_forward_study(of, "BTCUSDT", NOISE, RECIPE)
    gained = losses(study.baselines["class shares"], study.truth)
    gained = gained - losses(study.tested.probabilities, study.truth)
    assert default.skill is not None
    assert default.skill.n == len(gained)
    assert default.estimate == pytest.approx(gained.mean(), abs=1e-12)
    assert default.folds == pytest.approx(
        [gained[study.tested.fold == number].mean() for number in range(3)]
    )
    assert sum(default.periods) == pytest.approx(gained.sum())


# --- what comes of it


def test_a_planted_signal_is_found(tmp_path):
    """A default too small to see it is beaten, on rows that no trial saw."""
    base = dataclasses.replace(RECIPE, boosting=Boosting(n_estimators=2, max_depth=1))
    space = space_of(
        {
            "boosting.n_estimators": {"low": 2, "high": 30},
            "boosting.max_depth": {"low": 1, "high": 4},
            "boosting.learning_rate": {"low": 0.05, "high": 0.3},
            "boosting.min_child_weight": [5, 20],
        }
    )
    tuning = searched(tmp_path / "j.jsonl", base=base, space=space, trials=6)
    assert tuning.found
    assert tuning.headline.text.startswith("Tuning found something")
    assert tuning.look.difference.low > 0
    assert tuning.recipe.boosting.n_estimators > 2
    assert tuning.recipe.tried.deflated_sharpe > 0.95


def test_nothing_is_found_in_noise(tmp_path):
    """Of sets that know nothing the best is luck: overfitting is about as likely as not."""
    sets = tuple(Noise(name, at) for at, name in enumerate(("noise", "b", "c", "d", "e"), start=20))
    space = space_of({"feature_set": [one.name for one in sets]})
    overfitting = []
    for seed in range(3):
        of = senseless(seed)
        journal = tmp_path / f"{seed}.jsonl"
        tuning = searched(journal, of, features=sets, space=space, trials=10, seed=seed)
        assert not tuning.found
        assert tuning.headline.text.startswith("Tuning found nothing")
        overfitting.append(tuning.tried.overfitting_probability)
    assert np.mean(overfitting) >= 0.45


def test_a_recipe_that_is_tried_again_is_neither_fitted_nor_counted_again(tmp_path):
    """Two sets are two configurations, however often they are asked for."""
    sets = (NOISE, Noise("other", 2))
    space = space_of({"feature_set": ["noise", "other"]})
    tuning = searched(tmp_path / "j.jsonl", features=sets, space=space, trials=7)
    assert tuning.tried.configurations == 2
    repeated = [one for one in tuning.trials if one.state == "repeated"]
    assert len(repeated) == 5
    for one in repeated:
        first = tuning.trials[one.repeats]
        assert (first.state, first.recipe, first.skill) == ("complete", one.recipe, one.skill)


def test_a_failed_trial_ends_nothing(tmp_path):
    """It is logged with its reason, and counts among the tried ones; the others go on."""
    space = space_of({"boosting.subsample": [0.5, 1.5], "boosting.max_depth": [1, 2, 3]})
    tuning = searched(tmp_path / "j.jsonl", space=space, trials=8)
    failed = [one for one in tuning.trials if one.state == "failed"]
    assert failed
    assert all("subsample" in one.reason for one in failed)
    assert all(one.values["boosting.subsample"] == 1.5 for one in failed)
    told = [one for one in tuning.trials if one.state != "repeated"]
    assert tuning.tried.configurations == len(told) > len(failed)
    assert any("trials failed" in one.text for one in tuning.statements)
    assert searched(tmp_path / "j.jsonl", space=space, trials=8).as_json() == tuning.as_json()


def test_a_default_that_cannot_be_trained_ends_the_search(tmp_path):
    """Without it nothing can be compared: the reason is said, and stays in the journal."""
    of = labelled(np.zeros(len(BARS)))
    for _ in range(2):
        with pytest.raises(
            TrainingError, match=r"default cannot be trained: .*hold no long, short"
        ):
            searched(tmp_path / "j.jsonl", of)
    assert len(trials_in(tmp_path / "j.jsonl")) == 1


def test_the_figures_are_those_of_the_periods(made):
    """Deflated Sharpe ratio and probability of overfitting are of all trials' series."""
    tuning, journal = made
    done = [one for one in tuning.trials if one.state == "complete"]
    returns = np.array([one.periods for one in done]).T
    parts = len(returns) // 2 // 2 * 2
    assert 4 <= parts < 16
    expected = Tried(
        len(done),
        deflated_sharpe(
            np.array(tuning.chosen.periods), np.array([sharpe(one) for one in returns.T])
        ),
        backtest_overfitting(returns, parts=parts).probability,
    )
    assert tuning.tried == tuning.recipe.tried == expected
    assert tried_in(journal, tuning.recipe) == expected


def test_the_chosen_one_has_the_most_skill(made):
    """Whatever the holdout says: it is looked at, not chosen by."""
    tuning = made[0]
    assert tuning.chosen.number > 0
    assert tuning.chosen.estimate == max(one.estimate for one in tuning.trials)
    assert dataclasses.replace(tuning.recipe, tried=None) == tuning.chosen.recipe


def test_of_equals_the_earliest_is_chosen(made):
    """A recipe that is no better than the default does not replace it."""
    trials = made[0].trials
    equal = [dataclasses.replace(one, skill=trials[0].skill) for one in trials]
    assert best(equal).number == 0
    assert best(equal[2:]).number == 2


def test_what_the_default_brought_is_told_to_the_search(tmp_path):
    """What is asked for after the first random trials depends on it, where the space holds it."""
    journal = tmp_path / "j.jsonl"
    trials = searched(journal, trials=13).trials
    with asking(SPACE, 3) as asker:
        asker.know(trials[0].values, trials[0].estimate)
        for one in trials[1:]:
            number, values = asker.ask()
            assert values == one.values
            asker.tell(number, one.estimate)


def test_a_default_outside_the_space_is_tried_all_the_same(tmp_path):
    """It is what the others are compared with; the search is not told of it."""
    space = space_of({"boosting.n_estimators": {"low": 3, "high": 6}})
    trials = searched(tmp_path / "j.jsonl", space=space, trials=3).trials
    assert trials[0].recipe == RECIPE
    assert all(3 <= one.values["boosting.n_estimators"] <= 6 for one in trials[1:])


def test_a_recipe_survives_json_with_its_search(made):
    """What `train --recipe` reads is what was chosen, search included."""
    recipe = made[0].recipe
    assert Recipe.from_json(json.loads(json.dumps(recipe.as_json()))) == recipe
    old = {name: value for name, value in RECIPE.as_json().items() if name != "tried"}
    assert Recipe.from_json(old) == RECIPE


def test_a_search_begun_from_a_search_counts_both(tmp_path, made):
    """The best of 4, tuned again, is the best of more."""
    base = made[0].recipe
    before = base.tried.configurations
    tuning = searched(tmp_path / "j.jsonl", base=base, trials=2)
    assert tuning.tried.configurations == before + 1
    assert tried_in(tmp_path / "j.jsonl", tuning.recipe) == tuning.tried


def test_a_further_look_at_the_holdout_is_told(tmp_path):
    """More trials after a look make the holdout less of one."""
    assert searched(tmp_path / "j.jsonl", trials=1).looks == 1
    more = searched(tmp_path / "j.jsonl", trials=3)
    assert more.chosen.number > 0
    assert more.looks == 2
    assert any("looked at 2 times" in one.text for one in more.statements)


INTERVALS = st.tuples(st.floats(-1, 1), st.floats(0, 1), st.booleans()).map(
    lambda made: Interval(
        made[0],
        made[0] - made[1] if made[2] else None,
        made[0] + made[1] if made[2] else None,
        500,
    )
)


SURE = Interval(0.5, 0.4, 0.6, 500)


@settings(max_examples=40)
@example((SURE, SURE, SURE), 0, 1)
@example((SURE, SURE, SURE), 1, 1)
@given(st.tuples(INTERVALS, INTERVALS, INTERVALS), st.integers(0, 3), st.integers(1, 3))
def test_the_verdict_cannot_flatter(made, skills, chosen, looks):
    """Found is only what is better than the default, and than nothing, beyond doubt."""
    tuning, (tuned, default, difference) = made[0], skills
    look = Look(4, chosen, 0, 1, tuned, default, difference)
    said = tuning_of(tuning.search, tuning.trials, look, looks)
    sure = [one.low is not None and one.low > 0 for one in (tuned, difference)]
    assert said.found == (chosen > 0 and all(sure))
    assert said.found == said.headline.text.startswith("Tuning found something")
    assert (said.headline.tone == "good") == said.found
    assert any("looked at" in one.text for one in said.statements) == (looks > 1)
    json.dumps(said.as_json(), allow_nan=False)


# --- journals


def test_a_journal_says_all_of_its_trials(made):
    """Read back, it is what the search knew."""
    told = read_journal(made[1])
    assert told.search == made[0].search
    assert tuple(told.trials) == made[0].trials
    assert told.looks == [made[0].look]
    assert told.trials[1].versions["optuna"] == optuna.__version__


@given(st.data())
def test_a_torn_line_is_cut_off(made, tmp_path_factory, data):
    """Wherever a write was interrupted, what was whole stays, and the search ends the same."""
    content = made[1].read_bytes()
    ends = [at + 1 for at, byte in enumerate(content) if byte == ord("\n")]
    torn = data.draw(st.integers(1, len(content)))
    whole = sum(end <= torn for end in ends)
    path = tmp_path_factory.mktemp("torn") / "j.jsonl"
    path.write_bytes(content[:torn])
    if whole:
        assert len(read_journal(path).trials) == min(whole - 1, 4)
    else:
        with pytest.raises(TuningError, match="is empty"):
            read_journal(path)


@pytest.mark.parametrize("lines", [0, 1, 3, 5])
def test_a_search_goes_on_after_a_torn_line(made, tmp_path, lines):
    """The half-written line is gone, and the trial is made again."""
    parts = made[1].read_bytes().splitlines(keepends=True)
    path = tmp_path / "j.jsonl"
    path.write_bytes(b"".join(parts[:lines]) + parts[lines][:-1])
    searched(path)
    assert without_seconds(path) == without_seconds(made[1])
    assert len(path.read_bytes().splitlines()) == len(parts)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": 4}, "seed differ"),
        ({"of": senseless(1)}, "rows_sha256 differ"),
        ({"features": (Noise("noise", 2),)}, "rows_sha256 differ"),
        ({"of": labelled(planted().labels.classes, ground_truth(candles(2400, seed=12)))}, "data_"),
        ({"space": SPACE.only(["boosting.max_depth"])}, "space differ"),
        ({"base": dataclasses.replace(RECIPE, folds=4)}, "base differ"),
        ({"holdout": 0.3}, "holdout differ"),
        ({"features": (NOISE, Noise("other", 2))}, "sets differ"),
    ],
)
def test_the_journal_of_another_search_is_refused(made, changes, says):
    """The options that differ are named, and no byte is written."""
    before = made[1].read_bytes()
    with pytest.raises(TuningError, match=f"another search: its .*{says}"):
        searched(made[1], **changes)
    assert made[1].read_bytes() == before


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        (0, b"{}"),
        (0, b'{"kind": "trial"}'),
        (2, b"nonsense"),
        (2, b'{"kind": "trial"}'),
        (1, b"[]"),
    ],
)
def test_a_damaged_journal_is_refused(made, tmp_path, line, becomes):
    """The line is named; nothing is repaired by guessing."""
    parts = made[1].read_bytes().splitlines()
    parts[line] = becomes
    (tmp_path / "j.jsonl").write_bytes(b"\n".join(parts) + b"\n")
    with pytest.raises(TuningError, match=f"line {line + 1} is no record"):
        searched(tmp_path / "j.jsonl")


def test_trials_that_optuna_would_not_ask_for_are_refused(made, tmp_path):
    """A journal of another optuna cannot be gone on with unnoticed."""
    parts = made[1].read_bytes().splitlines(keepends=True)
    told = json.loads(parts[2])
    told["values"]["boosting.n_estimators"] += 1
    told["versions"]["optuna"] = "0.1"
    parts[2] = json.dumps(told).encode() + b"\n"
    (tmp_path / "j.jsonl").write_bytes(b"".join(parts))
    with pytest.raises(TuningError, match=r"trial 1 is not the one .* made with optuna 0\.1"):
        searched(tmp_path / "j.jsonl")


def test_two_searches_do_not_write_one_journal(tmp_path):
    """While one writes, another one is refused."""

    def meanwhile(_what: str, _done: int, _of: int) -> None:
        with pytest.raises(TuningError, match="another process"):
            searched(tmp_path / "j.jsonl")

    searched(tmp_path / "j.jsonl", trials=1, progress=meanwhile)


@pytest.mark.parametrize(
    "changes",
    [
        {"boosting": dataclasses.replace(RECIPE.boosting, max_depth=9)},
        {"labels": LabelParams(3, profit_target_pct=0.5, stop_loss_pct=0.4)},
        {"feature_set": "mar"},
    ],
)
def test_a_recipe_of_another_search_is_not_judged_by_this_one(made, changes):
    """The journal must hold a trial of the recipe."""
    other = dataclasses.replace(made[0].recipe, **changes)
    with pytest.raises(TuningError, match="no trial of this model's recipe"):
        tried_in(made[1], other)


def test_a_threshold_may_be_chosen_after_the_search(made):
    """It is no part of what was searched, and nothing of the figures depends on it."""
    other = dataclasses.replace(made[0].recipe, threshold=ThresholdRule("fixed", 0.5))
    assert tried_in(made[1], other) == made[0].tried


# --- spaces


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"labels": {"lookahead_bars": [12, 24]}}, "part of the question"),
        ({"label_rule": ["window", "first_touch"]}, "part of the question"),
        ({"boosting": {"random_state": [1, 2]}}, "pick luck"),
        ({"boosting.depth": [1]}, "'boosting.depth' cannot be searched; known are feature_set"),
        ({"boosting.max_depth": [1, 2.5]}, "takes int values; 2.5"),
        ({"boosting.max_depth": [True]}, "takes int values; True"),
        ({"boosting.max_depth": []}, "needs a list of different values"),
        ({"boosting.max_depth": [2, 2]}, "needs a list of different values"),
        ({"boosting.max_depth": 3}, "give a list of values, or"),
        ({"boosting.max_depth": {"low": 3}}, "give a list of values, or"),
        ({"boosting.max_depth": {"low": 3, "high": 3}}, "needs low < high"),
        ({"boosting.subsample": {"low": 0.1, "high": float("inf")}}, "needs low < high"),
        ({"boosting.subsample": {"low": float("nan"), "high": 1}}, "needs low < high"),
        ({"boosting.subsample": {"low": 0, "high": 1, "log": True}}, "needs low above 0"),
        ({"balance_classes": {"low": 0, "high": 1}}, "has no order"),
        ({"boosting": 3}, "'boosting' cannot be searched"),
    ],
)
def test_a_senseless_space_is_refused(told, says):
    """The choice is named, with what it takes."""
    with pytest.raises(TuningError, match=says):
        space_of(told)


def test_a_space_survives_json():
    """The journal's first line makes the same space again, in the same order."""
    space = default_space(["mar", "mar-scalefree"], Recipe(label_rule="first_touch"))
    assert space_of(json.loads(json.dumps(space.as_json()))) == space
    backwards = dict(reversed(space.as_json().items()))
    assert space_of(backwards) == space


@pytest.mark.parametrize("rule", ["window", "first_touch"])
def test_the_default_space_holds_the_default(rule):
    """The default can be told to the search; only what makes a difference is searched."""
    recipe = Recipe(label_rule=rule)
    space = default_space(["mar-scalefree"], recipe)
    names = [name for name, _ in space]
    assert space.holds(space.values(recipe))
    assert "feature_set" not in names
    assert ("weigh_uniqueness" in names) == (rule == "first_touch")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"space": Space(())}, "nothing to search"),
        ({"trials": 0}, "trials must be 1 or more"),
        ({"holdout": 1.0}, "share between 0 and 1"),
        ({"features": (NOISE, NOISE)}, "named twice"),
        ({"features": (MAR,)}, "needs the feature set 'noise', and has mar"),
        ({"space": space_of({"feature_set": ["noise", "x"]})}, "needs the feature set 'x'"),
    ],
)
def test_options_that_make_no_search_are_refused(tmp_path, changes, says):
    """Before any file is made."""
    with pytest.raises(TuningError, match=says):
        searched(tmp_path / "j.jsonl", **changes)
    assert not (tmp_path / "j.jsonl").exists()


def test_only_what_the_space_has_can_be_picked_from_it():
    """A restriction names what is there."""
    assert [name for name, _ in SPACE.only(["boosting.max_depth"])] == ["boosting.max_depth"]
    with pytest.raises(
        TuningError, match=r"no 'balance_classes' to search; it has boosting\.n_est"
    ):
        SPACE.only(["balance_classes"])


def test_without_optuna_the_mend_is_said(tmp_path, monkeypatch):
    """It is an extra; the command that installs it is named."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(TuningError, match=r"pip install 'candled\[tune\]'"):
        searched(tmp_path / "j.jsonl")


def test_optuna_is_silent_and_left_as_it_was(tmp_path, capfd):
    """Its log level is what it was, and nothing of its log is to be seen."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    searched(tmp_path / "j.jsonl", trials=2)
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    optuna.logging.set_verbosity(before)
    assert capfd.readouterr() == ("", "")
