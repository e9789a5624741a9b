"""The model: XGBoost's own answers to the bit, and no answer from a broken file."""

from __future__ import annotations

import json

import joblib
import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from candled.core.features import feature_set
from candled.core.model import CLASSES, Booster, Model, ModelError, as_ubjson
from candles import differing
from real import real_data

RANDOM = np.random.default_rng(11)
ROWS = RANDOM.normal(100.0, 40.0, (1_000, 12)) * 10.0 ** RANDOM.integers(-6, 6, 12)


@pytest.fixture(scope="module")
def trained():
    """Train a real classifier with three classes; return it with its scaler."""
    score = ROWS[:, 0] / np.abs(ROWS[:, 0]).mean() + RANDOM.normal(0.0, 0.5, len(ROWS))
    classes = np.digitize(score, [0.7, 1.3])
    scaler = StandardScaler().fit(ROWS)
    classifier = xgboost.XGBClassifier(
        n_estimators=30, max_depth=4, subsample=0.8, random_state=42, n_jobs=2
    )
    return classifier.fit(scaler.transform(ROWS), classes), scaler


@pytest.fixture(scope="module")
def serialized(trained):
    return bytes(trained[0].get_booster().save_raw("ubj"))


def _model(booster, scaler):
    return Model(
        name="test",
        digest="00",
        symbol="BTCUSDT",
        interval="1h",
        features=feature_set("mar"),
        mean=scaler.mean_,
        scale=scaler.scale_,
        booster=booster,
        threshold=0.6,
        target=None,
    )


@pytest.mark.parametrize("count", [1, 3, 1_000])
def test_probabilities_are_those_of_predict_proba(trained, serialized, count):
    """Scaled and asked through the C library, rows get predict_proba's answer, bit for bit."""
    classifier, scaler = trained
    found = _model(Booster(serialized), scaler).probabilities(ROWS[:count])
    expected = classifier.predict_proba(scaler.transform(ROWS[:count]))
    assert found.dtype == np.float32
    assert differing(found, expected) == 0
    assert len(np.unique(found)) > count  # the answers are not all one


def test_a_model_in_old_text_form_is_brought_up_to_date(trained, serialized):
    """A model as JSON text becomes UBJSON with the same answers; UBJSON stays as it is."""
    text = bytes(trained[0].get_booster().save_raw("json"))
    modern = as_ubjson(text)
    rows = RANDOM.normal(size=(50, 12)).astype(np.float32)
    assert text.startswith(b'{"')
    assert not modern.startswith(b'{"')
    assert differing(Booster(modern).predict(rows), Booster(text).predict(rows)) == 0
    assert as_ubjson(serialized) is serialized


def test_scaling_is_that_of_standard_scaler(trained, serialized):
    """The scaled row is StandardScaler's, rounded to float32."""
    _, scaler = trained
    found = _model(Booster(serialized), scaler).scaled(ROWS)
    assert differing(found, scaler.transform(ROWS).astype(np.float32)) == 0


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, len(ROWS) - 1), min_size=1, max_size=50))
def test_a_row_has_one_answer_in_any_company(trained, serialized, rows):
    """The answer to a row does not depend on the rows that are asked with it."""
    model = _model(Booster(serialized), trained[1])
    alone = np.concatenate([model.probabilities(ROWS[row : row + 1]) for row in rows])
    assert differing(model.probabilities(ROWS[rows]), alone) == 0


def test_json_is_read_too(trained, serialized):
    """XGBoost's JSON form gives the same model as its binary form."""
    rows = ROWS[:50].astype(np.float32)
    text = bytes(trained[0].get_booster().save_raw("json"))
    assert differing(Booster(text).predict(rows), Booster(serialized).predict(rows)) == 0


def test_text_and_binary_say_the_same(serialized):
    """A model written as text is JSON, and and as binary again has the same bytes."""
    booster = Booster(serialized)
    assert json.loads(booster.text())["learner"]["objective"]["name"] == "multi:softprob"
    assert Booster(booster.text()).ubjson() == booster.ubjson()


def test_how_rows_lie_in_memory_changes_nothing(trained, serialized):
    """Rows stored by column, with strides, or as doubles get the answers of plain rows."""
    model = _model(Booster(serialized), trained[1])
    plain = model.probabilities(ROWS[:40])
    strided = np.repeat(ROWS[:40], 2, axis=0)[::2]
    assert differing(model.probabilities(np.asfortranarray(ROWS[:40])), plain) == 0
    assert differing(model.probabilities(strided), plain) == 0
    doubles = model.scaled(ROWS[:40]).astype(np.float64)
    assert differing(model.booster.predict(doubles), plain) == 0


def test_an_answer_is_not_overwritten_by_the_next(serialized):
    """Probabilities handed out stay what they were when the booster is asked again."""
    booster, rows = Booster(serialized), ROWS.astype(np.float32)
    first = booster.predict(rows[:4])
    kept = first.copy()
    booster.predict(-rows[4:8])
    assert differing(first, kept) == 0


def test_a_booster_knows_how_many_columns_it_reads(serialized):
    """The number of features is the one that it was trained on."""
    assert Booster(serialized).feature_count == ROWS.shape[1]


def test_too_few_columns_are_refused(serialized):
    """Rows that lack columns are an error, not an answer."""
    with pytest.raises(ModelError, match="XGBoost"):
        Booster(serialized).predict(np.zeros((2, ROWS.shape[1] - 3), dtype=np.float32))


@pytest.mark.parametrize("damage", ["empty", "half", "last byte", "flipped", "zeros", "text"])
def test_a_damaged_model_is_refused(serialized, damage):
    """Bytes that are not a whole model raise ModelError; none of them ends the process."""
    damaged = {
        "empty": b"",
        "half": serialized[: len(serialized) // 2],
        "last byte": serialized[:-1],
        "flipped": bytes([serialized[0] ^ 1]) + serialized[1:],
        "zeros": bytes(100),
        "text": b"<html>404 Not Found</html>",
    }[damage]
    with pytest.raises(ModelError, match="XGBoost"):
        Booster(damaged)


def test_classes_are_in_the_notebooks_order():
    """Column 0 is no trade, 1 long, 2 short."""
    assert CLASSES == ("no_trade", "long", "short")


def test_the_notebooks_own_model_answers_as_the_notebook_did():
    """A model file of the notebook, held by the C library, gives predict_proba's bits."""
    place = real_data() / "notebook"
    classifier = joblib.load(place / "BTCUSDT_1h_signal_model.joblib")
    scaler = joblib.load(place / "BTCUSDT_1h_signal_scaler.joblib")
    rows = scaler.mean_ + scaler.scale_ * RANDOM.normal(0.0, 1.0, (500, len(scaler.mean_)))
    booster = Booster(bytes(classifier.get_booster().save_raw("ubj")))
    found = _model(booster, scaler).probabilities(rows)
    assert differing(found, classifier.predict_proba(scaler.transform(rows))) == 0
