"""Calibration: the temperature that costs least, found, applied, and put into the model itself."""

from __future__ import annotations

import json
import math

import joblib
import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import softmax

import models
from candled.core.model import Booster
from candled.lab.calibration import (
    HOTTEST,
    CalibrationError,
    base_of,
    fit_temperature,
    fold_temperature,
    tempered,
)
from candled_adapters.artifacts.bundle import load_bundle, write_bundle
from real import real_data

RANDOM = np.random.default_rng(17)


def _answers(margins):
    return softmax(margins, axis=1).astype(np.float32)


def _sampled(m, sharpness, seed=0):
    """Return the answers of a model `sharpness` times too sure, and what then happened."""
    random = np.random.default_rng(seed)
    margins = random.normal(size=(m, 3))
    true = softmax(margins, axis=1)
    y = (random.random(m)[:, None] > np.cumsum(true, axis=1)).sum(axis=1).astype(np.int8)
    return _answers(margins * sharpness), y


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.3, 4.0),
    st.integers(0, 99),
    st.booleans(),
    st.sampled_from([None, (0.5, 0.3, 0.2), (0.05, 0.9, 0.05)]),
)
def test_the_temperature_found_is_the_best(sharpness, seed, weighted, shares):
    """A general minimiser of the weighted log-loss finds the same temperature, for any base."""
    answers, y = _sampled(600, sharpness, seed)
    weights = np.random.default_rng(seed).random(600) if weighted else None
    base = None if shares is None else np.array(shares, dtype=np.float32)
    ground = np.log(np.float64(1) if base is None else base.astype(np.float64))

    def loss(temperature):
        added = np.log(answers.astype(np.float64)) - ground
        logs = np.log(softmax(ground + added / temperature, axis=1))
        return -np.average(logs[np.arange(len(y)), y], weights=weights)

    best = minimize_scalar(loss, bounds=(0.05, 20.0), method="bounded", options={"xatol": 1e-9})
    found = fit_temperature(answers, y, weights, base=base)
    assert found == pytest.approx(best.x, rel=1e-5)
    assert loss(found) <= min(loss(found * (1 + 1e-4)), loss(found * (1 - 1e-4)))


def test_an_overconfident_model_is_cooled_by_as_much():
    """A model 2.5 times too sure gets T = 2.5, a timid one less than 1, within sampling error."""
    assert fit_temperature(*_sampled(40_000, 2.5)) == pytest.approx(2.5, rel=0.03)
    assert fit_temperature(*_sampled(40_000, 0.5)) == pytest.approx(0.5, rel=0.03)


def test_a_model_that_knows_nothing_is_cooled_to_the_base_rates():
    """Noise on top of the true shares costs nothing once it is cooled towards them."""
    random = np.random.default_rng(3)
    shares = np.array([0.6, 0.3, 0.1])
    y = random.choice(3, 20_000, p=shares).astype(np.int8)
    noise = _answers(np.log(shares) + random.normal(size=(20_000, 3)))
    base = shares.astype(np.float32)
    cooled = tempered(noise, fit_temperature(noise, y, base=base), base)
    loss = -np.log(cooled[np.arange(len(y)), y]).mean()
    assert loss == pytest.approx(-np.log(shares[y]).mean(), abs=1e-4)
    even = tempered(noise, fit_temperature(noise, y))
    assert -np.log(even[np.arange(len(y)), y]).mean() > loss + 0.02


def test_tempering_keeps_the_order_and_the_sum():
    """Rows still sum to 1, the largest class stays the largest, T = 1 changes nothing."""
    answers, _ = _sampled(500, 2.0)
    hot = tempered(answers, 3.0)
    assert hot.dtype == np.float32
    np.testing.assert_allclose(hot.sum(axis=1), 1.0, rtol=1e-6)
    assert (hot.argsort(axis=1) == answers.argsort(axis=1)).all()
    assert (hot.max(axis=1) < answers.max(axis=1)).all()
    np.testing.assert_allclose(tempered(answers, 1.0), answers, rtol=1e-6)
    extreme = tempered(np.array([[1, 0, 0]], dtype=np.float32), 2.0)
    assert np.isfinite(extreme).all()


@pytest.mark.parametrize(
    ("answers", "y", "weights", "says"),
    [
        (np.empty((0, 3)), [], None, "at least one row"),
        ([[0.2, 0.3, 0.5]], [0, 1], None, "one of each"),
        ([[0.2, 0.3, 0.5]], [2], [1.0, 1.0], "one of each"),
        ([[0.2, 0.3, 0.5], [np.nan, 0.3, 0.5]], [0, 1], None, "row 1 holds"),
        ([[0.2, 0.3, 0.5], [-0.1, 0.6, 0.5]], [0, 1], None, "row 1 holds"),
        ([[0.2, 0.3, 0.5]], [2], [0.0], "not all 0"),
        ([[0.2, 0.3, 0.5]], [2], [-1.0], "0 or more"),
        ([[1 / 3, 1 / 3, 1 / 3]], [2], None, "the base"),
        ([[0.2, 0.3, 0.5]] * 3, [2, 2, 2], None, "all right"),
    ],
)
def test_answers_that_tell_no_temperature_are_refused(answers, y, weights, says):
    """There is no best temperature to return, and none is invented."""
    with pytest.raises(CalibrationError, match=says):
        fit_temperature(
            np.array(answers, dtype=np.float32),
            np.array(y, dtype=np.int8),
            None if weights is None else np.array(weights),
        )


def test_answers_worse_than_none_are_cooled_as_far_as_it_goes():
    """A model that is always wrong is left with next to nothing to say."""
    wrong = np.array([[0.2, 0.3, 0.5]] * 3, dtype=np.float32)
    assert fit_temperature(wrong, np.zeros(3, dtype=np.int8)) == HOTTEST


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_is_a_finite_number_above_zero(temperature):
    """Anything else is refused, for answers and for models."""
    with pytest.raises(CalibrationError, match="above 0"):
        tempered(_sampled(3, 1.0)[0], temperature)
    with pytest.raises(CalibrationError, match="above 0"):
        fold_temperature(models.spec().booster, temperature)


def _margins(booster, rows):
    loaded = xgboost.Booster(model_file=bytearray(booster))
    return loaded.predict(xgboost.DMatrix(rows), output_margin=True)


def _assert_folded(booster, folded, rows, temperature):
    """Compare what the trees add with the model's over T, and answers with the tempered ones."""
    raw, found = Booster(booster).predict(rows), Booster(folded).predict(rows)
    intercept = np.array(
        json.loads(
            json.loads(Booster(booster).text())["learner"]["learner_model_param"]["base_score"]
        )
    )
    np.testing.assert_allclose(
        _margins(folded, rows) - intercept,
        (_margins(booster, rows) - intercept) / temperature,
        atol=2e-6,
        rtol=2e-6,
    )
    np.testing.assert_allclose(found, tempered(raw, temperature, base_of(booster)), atol=1e-6)
    theirs = xgboost.Booster(model_file=bytearray(folded)).predict(xgboost.DMatrix(rows))
    assert (found == theirs).all()
    assert np.abs(found - raw).max() > 0.01  # something was done


@pytest.mark.parametrize("temperature", [0.4, 1.7, 6.0])
@pytest.mark.parametrize(("trees", "depth"), [(1, 1), (30, 3), (120, 6)])
def test_a_folded_model_answers_tempered(trees, depth, temperature):
    """For small and large models with uneven classes, missing values included."""
    rows = RANDOM.normal(size=(800, 6)).astype(np.float32)
    y = np.digitize(rows[:, 0] + RANDOM.normal(size=800), [0.9, 1.6])
    classifier = xgboost.XGBClassifier(n_estimators=trees, max_depth=depth, n_jobs=1)
    booster = bytes(classifier.fit(rows, y).get_booster().save_raw("ubj"))
    rows[::50, 2] = np.nan
    _assert_folded(booster, fold_temperature(booster, temperature), rows, temperature)


def test_contributions_are_folded_too():
    """What each feature adds to the margin is divided as well."""
    booster = models.spec().booster
    rows = RANDOM.normal(size=(20, Booster(booster).feature_count)).astype(np.float32)
    before, after = (
        xgboost.Booster(model_file=bytearray(one)).predict(
            xgboost.DMatrix(rows), pred_contribs=True
        )
        for one in (booster, fold_temperature(booster, 2.0))
    )
    np.testing.assert_allclose(after[..., :-1], before[..., :-1] / 2.0, atol=1e-5)


def test_the_weights_of_inner_nodes_follow():
    """Every node's own weight is divided, so that the trees still agree with themselves."""
    booster = models.spec().booster
    before, after = (
        json.loads(Booster(one).text())["learner"]["gradient_booster"]["model"]["trees"]
        for one in (booster, fold_temperature(booster, 2.0))
    )
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new["base_weights"], np.array(old["base_weights"]) / 2.0)


def test_a_temperature_of_one_gives_the_same_bytes():
    """The way through text loses nothing: folding 1 returns the model, byte for byte."""
    booster = Booster(models.spec().booster).ubjson()
    assert fold_temperature(booster, 1.0) == booster


def test_a_bundle_takes_a_folded_model(tmp_path):
    """Written and read back, with golden vectors, a folded model is a model like any other."""
    folded = fold_temperature(models.spec().booster, 1.5)
    write_bundle(models.changed(booster=folded), tmp_path / "bundle")
    rows = models.spec().mean + models.spec().scale * RANDOM.normal(size=(50, 220))
    found = load_bundle(tmp_path / "bundle").model.probabilities(rows)
    raw = models.model().probabilities(rows)
    expected = tempered(raw, 1.5, base_of(models.spec().booster))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_notebooks_own_model_is_folded():
    """200 rounds of depth 6, written by another version of XGBoost."""
    place = real_data() / "notebook"
    classifier = joblib.load(place / "BTCUSDT_1h_signal_model.joblib")
    booster = bytes(classifier.get_booster().save_raw("ubj"))
    rows = RANDOM.normal(size=(500, 220)).astype(np.float32)
    _assert_folded(booster, fold_temperature(booster, 2.5), rows, 2.5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"objective": "binary:logistic"}, "binary:logistic"),
        ({"objective": "multi:softprob", "num_class": 3, "booster": "dart"}, "dart"),
        ({"objective": "multi:softprob", "num_class": 3, "booster": "gblinear"}, "gblinear"),
        (
            {
                "objective": "multi:softprob",
                "num_class": 3,
                "multi_strategy": "multi_output_tree",
                "tree_method": "hist",
            },
            "vector in each leaf",
        ),
    ],
)
def test_models_of_another_kind_are_refused(settings, says):
    """Nothing is divided where it is not known that the answers follow."""
    rows = RANDOM.normal(size=(60, 3))
    data = xgboost.DMatrix(rows, RANDOM.integers(0, 2, 60))
    booster = bytes(xgboost.train({**settings, "nthread": 1}, data, 2).save_raw("ubj"))
    with pytest.raises(CalibrationError, match=says):
        fold_temperature(booster, 2.0)
