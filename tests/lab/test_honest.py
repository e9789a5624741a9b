"""The honest training: judged by what it had not seen, and the same bits on any machine."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json

import joblib
import numpy as np
import pytest

import candled.lab.walkforward as walkforward_module
from candled.core.decision import Side
from candled.core.features.mar import MAR
from candled.core.labels import LabelParams
from candled.core.model import Booster
from candled.lab.calibration import base_of, tempered
from candled.lab.controls import leak_trials, planted_signal, shuffled_labels
from candled.lab.dataset import TrainingError, honest_rows, material
from candled.lab.evaluate import losses
from candled.lab.fitting import fit
from candled.lab.honest import finished_fit, train_honest
from candled.lab.publishing import limits_in_effect, published
from candled.lab.recipe import Boosting, Recipe, ThresholdRule
from candled.lab.study import model_study, walk_forward_study, with_controls
from candled.lab.trained import write_notebook_files
from candled.lab.walkforward import (
    OutOfSample,
    base_of_trees,
    class_shares,
    out_of_sample,
    regime_shares,
    weights,
)
from candled_adapters.artifacts.bundle import load_bundle, write_bundle
from candles import HOURLY, candles, differing

NOON = dt.datetime(2025, 6, 1, 12, tzinfo=dt.UTC)
LOOKAHEAD = 8
RECIPE = Recipe(
    feature_set="mar",
    labels=LabelParams(LOOKAHEAD, profit_target_pct=0.8, stop_loss_pct=0.6),
    boosting=Boosting(n_estimators=8, min_child_weight=5.0),
    folds=4,
    first_share=0.4,
)
BARS = candles(1500, seed=5)


def _train(**changes):
    recipe = dataclasses.replace(RECIPE, **changes)
    return train_honest(BARS, "BTCUSDT", "1h", MAR, recipe, created_at=NOON)


@pytest.fixture(scope="module")
def made():
    return _train()


@pytest.fixture(scope="module")
def study(made):
    return made.study


def test_no_fold_has_seen_what_it_answers(study):
    """Train labels end before the test block, with the embargo between; each row is tested once."""
    rows = study.dataset
    for fold in study.folds:
        assert rows.end[fold.train].max() + RECIPE.embargo_bars < rows.begin[fold.test].min() + 1
    tested = study.tested.rows
    assert len(np.unique(tested)) == len(tested) == sum(len(fold.test) for fold in study.folds)


def test_each_fold_answers_as_its_own_fit_would(study):
    """Raw answers are those of a fit on the fold's train rows, bit for bit."""
    rows, fold = study.dataset, study.folds[2]
    alone = fit(rows.features[fold.train], rows.classes[fold.train], RECIPE.boosting)
    found = study.raw.probabilities[study.raw.fold == 2]
    assert differing(found, alone.probabilities(rows.features[fold.test])) == 0


def test_a_later_bar_changes_no_earlier_answer(study):
    """Calibration and thresholds of a fold come from what lies before it, and from nothing else."""
    of = study.material
    cut = int(study.dataset.begin[study.folds[3].test[0]])
    classes = of.labels.classes.copy()
    classes[cut:] = np.random.default_rng(1).integers(0, 3, len(classes) - cut)
    labels = dataclasses.replace(of.labels, classes=classes)
    other = walk_forward_study(dataclasses.replace(of, labels=labels), "X", MAR, RECIPE)
    before = study.tested.fold <= 3
    same = differing(
        study.tested.probabilities[before], other.tested.probabilities[other.tested.fold <= 3]
    )
    assert same == 0
    assert (study.limits[before] == other.limits[other.tested.fold <= 3]).all()
    assert study.temperatures == other.temperatures


def test_training_again_gives_the_same_bits(made, monkeypatch):
    """One core or many, the bundle's parts are the same."""
    monkeypatch.setattr(walkforward_module.os, "cpu_count", lambda: 1)
    again = _train()
    assert again.trained.spec.booster == made.trained.spec.booster
    assert again.trained.spec.provenance == made.trained.spec.provenance
    assert again.trained.spec.evidence == made.trained.spec.evidence


def test_the_bundle_carries_the_evidence(made, tmp_path):
    """Written and read back: the same answers, bands, ranges, limits and threshold."""
    spec = made.trained.spec
    loaded = load_bundle(write_bundle(spec, tmp_path / "bundle").path).model
    rows = made.study.dataset.features[:50]
    scaled = ((rows - spec.mean) / spec.scale).astype(np.float32)
    assert differing(loaded.probabilities(rows), Booster(spec.booster).predict(scaled)) == 0
    assert loaded.evidence == spec.evidence
    assert {band.side for band in loaded.evidence} == {Side.LONG, Side.SHORT}
    assert sum(band.n for band in loaded.evidence if band.side is Side.LONG) == len(
        made.study.truth
    )
    assert (loaded.novelty(made.study.dataset.features) == 0).all()
    assert loaded.threshold == made.study.threshold.value == spec.threshold


def test_the_notebooks_files_hold_the_cooled_model(made, tmp_path):
    """The classifier that is saved answers as the bundle does, temperature included."""
    model, scaler, _ = write_notebook_files(made.trained, tmp_path)
    rows = made.study.dataset.features[:50]
    found = joblib.load(model).predict_proba(joblib.load(scaler).transform(rows))
    spec = made.trained.spec
    scaled = ((rows - spec.mean) / spec.scale).astype(np.float32)
    assert differing(found, Booster(spec.booster).predict(scaled)) == 0


def test_the_temperature_is_in_the_trees(study):
    """The finished fit is the plain fit, cooled towards its class shares."""
    plain = finished_fit(study.dataset, RECIPE, 1.0)
    cooled = finished_fit(study.dataset, RECIPE, 4.0)
    rows = study.dataset.features[:200]
    assert (
        np.ptp(cooled.probabilities(rows), axis=0).max()
        < np.ptp(plain.probabilities(rows), axis=0).max()
    )


def test_what_trees_begin_with_are_the_weighed_class_shares(study):
    """The base that answers are cooled towards is the booster's own intercept."""
    for recipe in (RECIPE, dataclasses.replace(RECIPE, balance_classes=True)):
        fitted = finished_fit(study.dataset, recipe, 1.0)
        base = base_of_trees(recipe)(study.dataset)(study.dataset[:1])
        assert base_of(fitted.booster()) == pytest.approx(base[0], abs=1e-5)


def test_provenance_tells_how_it_was_made(made):
    """The recipe, the folds and what was dropped are there, as JSON; the recipe comes out again."""
    told = json.loads(json.dumps(made.trained.spec.provenance, allow_nan=False))
    assert Recipe.from_json(told["recipe"]) == RECIPE
    assert [fold["test_rows"] for fold in told["walk_forward"]["folds"]] == [
        len(fold.test) for fold in made.study.folds
    ]
    assert told["dropped"]["unlabelled"] == LOOKAHEAD
    assert told["train"]["rows"] == len(made.study.dataset)
    assert told["evaluation"]["rows"] == len(made.study.truth)


def test_weights_follow_the_recipe(study):
    """None unless asked for; else a mean of 1, and rare classes count more when balanced."""
    assert weights(study.dataset, RECIPE) is None
    balanced = weights(study.dataset, dataclasses.replace(RECIPE, balance_classes=True))
    assert balanced.mean() == pytest.approx(1.0)
    by_class = [balanced[study.dataset.classes == one].sum() for one in range(3)]
    assert by_class == pytest.approx([by_class[0]] * 3)


def test_regime_shares_answer_by_regime(study):
    """Each regime gets the shares that its train rows had, but for one row added to each class."""
    rows = study.dataset
    answers = regime_shares(rows)(rows)
    for regime in np.unique(rows.regimes):
        among = rows.classes[rows.regimes == regime]
        expected = (np.bincount(among, minlength=3) + 1) / (len(among) + 3)
        assert answers[rows.regimes == regime][0] == pytest.approx(expected)


def test_a_missing_class_names_the_fold():
    """A target that is never met cannot be learned, and the message says in which rows."""
    with pytest.raises(TrainingError, match=r"training rows before bar \d+ hold no long, short"):
        _train(labels=LabelParams(LOOKAHEAD, profit_target_pct=90.0, stop_loss_pct=0.6))


def test_too_few_rows_for_the_folds_are_refused():
    """Folds that would be empty are an error with a mend."""
    with pytest.raises(TrainingError, match="fetch a longer history or ask for fewer folds"):
        _train(folds=900)


# --- thresholds


def _gross(study, costs=0.0):
    traded, at = study.outcomes, study.dataset.begin
    return traded.long.gross_pct[at] - costs, traded.short.gross_pct[at] - costs


def _limits(study, rule, costs=0.0):
    base = out_of_sample(study.dataset, study.folds, base_of_trees(RECIPE)).probabilities
    return limits_in_effect(rule, study.raw, base, study.temperatures, _gross(study, costs))


def _answers(study, rule):
    return published(rule, study.finished, _gross(study)), _limits(study, rule)


def test_a_threshold_at_the_time_is_what_training_then_would_have_published():
    """The last fold's threshold is that of a training whose bars end where the fold begins."""
    whole = _train(folds=4).study
    fold = whole.folds[3]
    cut = int(whole.dataset.begin[fold.test[0]])
    then = whole.tested.fold < 3
    base = out_of_sample(whole.dataset, whole.folds, base_of_trees(RECIPE)).probabilities
    cooled = tempered(whole.raw.probabilities[then], whole.temperatures[3], base[then])
    larger = cooled[:, 1:].max(axis=1)
    limit = whole.limits[whole.tested.fold == 3]
    assert len(np.unique(limit)) == 1
    assert np.mean(larger > limit[0]) == pytest.approx(RECIPE.threshold.value, abs=0.01)
    assert whole.dataset.end[whole.tested.rows[then]].max() >= cut - LOOKAHEAD - 1


def test_a_coverage_threshold_signals_that_share(study):
    """The published one on all rows; before the first fold's end nothing is known: no signal."""
    chosen, limits = _answers(study, ThresholdRule("coverage", 0.2))
    larger = study.finished.probabilities[:, 1:].max(axis=1)
    assert np.mean(larger > np.float32(chosen.value)) == pytest.approx(0.2, abs=0.02)
    assert (limits[study.tested.fold == 0] == 1.0).all()
    assert (limits[study.tested.fold > 0] < 1.0).all()


def test_a_fixed_threshold_is_in_effect_from_the_start(study):
    """Nothing has to be learned for it."""
    chosen, limits = _answers(study, ThresholdRule("fixed", 0.55))
    assert chosen.value == np.float32(0.55)
    assert (limits == np.float32(0.55)).all()


def test_no_threshold_is_invented_where_none_pays(study):
    """Costs that nothing survives are an error, not a model."""
    with pytest.raises(TrainingError, match=r"none paid 50 % costs.*do not trade it"):
        _answers(study, ThresholdRule("value", 50.0))


def test_unpaid_folds_signal_nothing(study):
    """Where the folds before gave no paying threshold, none is in effect."""
    assert (_limits(study, ThresholdRule("value", 0.0), costs=50.0) == 1.0).all()


# --- a finished model on what followed


def test_a_finished_model_is_judged_by_what_followed(made, tmp_path):
    """Rows begin after the last trained bar and the lookahead; answers are the model's own."""
    spec = made.trained.spec
    model = load_bundle(write_bundle(spec, tmp_path / "bundle").path).model
    of, last = made.study.material, int(BARS.open_time[1000])
    found = model_study(of, model, RECIPE.labels, last)
    assert int(found.dataset.begin[found.tested.rows[0]]) == 1000 + LOOKAHEAD + 1
    assert found.dataset.end[found.folds[0].train].max() <= 1000
    expected = model.probabilities(found.dataset.features[found.tested.rows])
    assert differing(found.tested.probabilities, expected) == 0
    assert found.importances[0][1] >= found.importances[-1][1]
    assert sum(share for _, share in found.importances) == pytest.approx(1.0)
    with pytest.raises(TrainingError, match="0 after the last bar"):
        model_study(of, model, RECIPE.labels, int(BARS.open_time[-1]))


# --- the method on trial

DEEP = Boosting(30, max_depth=6, learning_rate=0.3, min_child_weight=1.0, colsample_bytree=0.2)
LONG_BARS = candles(4000, seed=6)


@pytest.fixture(scope="module")
def rows():
    of = material(LONG_BARS, HOURLY, rule="window", params=RECIPE.labels, regime=RECIPE.regime)
    return honest_rows(of, MAR, LOOKAHEAD)


def _gained(trial):
    return float(
        np.mean(losses(trial.shares, trial.classes) - losses(trial.answers, trial.classes))
    )


def test_shuffled_labels_show_no_skill_and_a_planted_signal_does(rows):
    """The method finds nothing where nothing is, and something where it was put."""
    recipe = dataclasses.replace(RECIPE, boosting=Boosting(n_estimators=40))
    assert abs(_gained(shuffled_labels(rows, recipe))) < 0.004
    assert _gained(planted_signal(rows, recipe)) > 0.02


def test_a_shuffled_split_flatters(rows):
    """The same trees look far better about rows whose neighbours they have seen."""
    by_time, at_random = leak_trials(rows, RECIPE, DEEP)
    assert _gained(at_random) > _gained(by_time) + 0.05


def test_controls_come_beside_the_study(study):
    """They and the linear baseline are added; what was found stays as it is."""
    found = with_controls(study, RECIPE, deep=DEEP)
    assert found.controls is not None
    assert set(found.baselines) == {"class shares", "regime shares", "logistic regression"}
    assert found.tested is study.tested


def test_answers_come_in_the_order_of_the_folds(study):
    """Rows, fold numbers and answers belong together."""
    shares = out_of_sample(study.dataset, study.folds, class_shares)
    assert isinstance(shares, OutOfSample)
    for number, fold in enumerate(study.folds):
        of_fold = shares.fold == number
        assert (shares.rows[of_fold] == fold.test).all()
        expected = np.bincount(study.dataset.classes[fold.train], minlength=3) / len(fold.train)
        assert shares.probabilities[of_fold][0] == pytest.approx(expected)
