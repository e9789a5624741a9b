"""Predictions over a table: the live model's answers, row by row the same."""

from __future__ import annotations

import csv
import gzip

import joblib
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.preprocessing import StandardScaler

from candled.core.bar import COLUMNS as BAR_COLUMNS
from candled.core.decision import signals
from candled.core.features.ema import MEMORY
from candled.core.features.mar import COLUMNS, MAR
from candled.core.model import Booster, Model
from candled.lab.predict import predict, write_predictions
from candles import HOURLY, bars_of, candles, differing, real_candles
from real import real_data

BARS = candles(2_000, seed=51)
TABLE = MAR.table(BARS, HOURLY)


def _model(booster, mean, scale, threshold=0.4):
    return Model(
        name="test",
        digest="00",
        symbol="BTCUSDT",
        interval="1h",
        features=MAR,
        mean=mean,
        scale=scale,
        booster=booster,
        threshold=threshold,
        target=None,
    )


@pytest.fixture(scope="module")
def model():
    """Train a small real classifier on the seeded table's own rows."""
    rows = TABLE[40:]
    scaler = StandardScaler().fit(rows)
    ahead = np.roll(BARS.close, -5)[40:] / BARS.close[40:] - 1.0
    classifier = xgboost.XGBClassifier(n_estimators=8, max_depth=3, random_state=1, n_jobs=2)
    classifier.fit(scaler.transform(rows), np.digitize(ahead, [-0.005, 0.005]))
    return _model(
        Booster(bytes(classifier.get_booster().save_raw("ubj"))), scaler.mean_, scaler.scale_
    )


def test_every_complete_row_is_asked_once(model):
    """The first 40 bars have no answer; every later bar has the model's, in order."""
    found = predict(BARS, model)
    assert found.open_time.tolist() == BARS.open_time[40:].tolist()
    assert differing(found.probabilities, model.probabilities(TABLE[40:])) == 0
    assert found.signal.tolist() == signals(found.probabilities, model.threshold).tolist()
    assert set(found.signal.tolist()) == {0, 1, 2}


def test_live_answers_are_the_predicted_ones(model):
    """A stream pushed bar by bar and asked one row at a time gets the same bits."""
    found, state, row = predict(BARS, model), MAR.state(1, HOURLY), np.array([0])
    state.warm(0, BARS[:1_000])
    for at in range(1_000, len(BARS)):
        answer = model.probabilities(state.push(row, BARS[at : at + 1]))
        assert differing(answer[0], found.probabilities[at - 40]) == 0


def test_a_restart_from_the_history_gives_the_same_answers(model):
    """Asked after `history` bars, at 40 places of the table, no probability differs."""
    found = predict(BARS, model)
    for end in np.linspace(MAR.history + 1, len(BARS), 40).astype(int):
        again = predict(BARS[end - MAR.history - 1 : end], model)
        assert differing(again.probabilities[-1], found.probabilities[end - 41]) == 0


def test_blocks_do_not_show(model):
    """Bars enough for several blocks get the answers of their rows asked at once."""
    many = candles(9_000, seed=52)
    found = predict(many, model)
    assert differing(found.probabilities, model.probabilities(MAR.table(many, HOURLY)[40:])) == 0
    assert found.open_time.tolist() == many.open_time[40:].tolist()


def test_the_threshold_may_be_another(model):
    """Given one it replaces the model's own; probabilities stay."""
    strict = predict(BARS, model, 0.99)
    assert not strict.signal.any()
    assert differing(strict.probabilities, predict(BARS, model).probabilities) == 0


@pytest.mark.parametrize("length", [0, 1, 40])
def test_too_short_a_history_has_no_answers(model, length):
    """Without a complete row the model is not asked, and that is no error."""
    found = predict(BARS[:length], model)
    assert len(found) == 0
    assert found.probabilities.shape == (0, 3)


def test_the_model_is_never_asked_about_a_hole(model):
    """Rows that a NaN close reaches have no answer; those before it and long after it have."""
    closes = BARS.close.copy()
    closes[800] = np.nan
    broken = bars_of({n: closes if n == "close" else getattr(BARS, n) for n in BAR_COLUMNS})
    found = predict(broken, model)
    first_clean = 800 + MEMORY  # the soonest that the averages can be seeded after the hole
    later = found.open_time[found.open_time > BARS.open_time[800]]
    assert found.open_time[:760].tolist() == BARS.open_time[40:800].tolist()
    assert len(later) > 0
    assert later[0] >= BARS.open_time[first_clean]
    assert differing(found.probabilities[:760], predict(BARS, model).probabilities[:760]) == 0


@pytest.mark.parametrize("name", ["p.csv", "p.csv.gz"])
def test_written_predictions_read_back_to_the_bit(model, tmp_path, name):
    """The shortest digits of each float32 read back to it; the header is the documented one."""
    found = predict(BARS, model)
    write_predictions(found, tmp_path / name)
    opened = gzip.open if name.endswith("gz") else open
    with opened(tmp_path / name, "rt", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["open_time", "prob_no_trade", "prob_long", "prob_short", "signal"]
    assert [int(row[0]) for row in rows] == found.open_time.tolist()
    assert [int(row[-1]) for row in rows] == found.signal.tolist()
    texts = np.array([row[1:4] for row in rows])
    assert differing(texts.astype(np.float32), found.probabilities) == 0
    assert max(map(len, texts.ravel())) <= len("0.123456789")


def test_the_same_predictions_are_the_same_file(model, tmp_path):
    """Writing twice gives the same bytes and leaves nothing else behind."""
    found = predict(BARS, model)
    for name in ("a.csv.gz", "b.csv.gz"):
        write_predictions(found, tmp_path / name)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_the_notebooks_predictions_are_reproduced():
    """All 37,883 real rows: candled's probabilities and signals are the notebook's, to the bit."""
    place = real_data() / "notebook"
    classifier = joblib.load(place / "BTCUSDT_1h_signal_model.joblib")
    scaler = joblib.load(place / "BTCUSDT_1h_signal_scaler.joblib")
    booster = Booster(bytes(classifier.get_booster().save_raw("ubj")))
    found = predict(real_candles(), _model(booster, scaler.mean_, scaler.scale_), 0.6)
    expected = pd.read_csv(place / "predictions.csv.gz")
    hexes = expected[["prob_no_trade", "prob_long", "prob_short"]].to_numpy()
    values = np.array([[float.fromhex(text) for text in row] for row in hexes])
    assert len(found) == 37_883
    assert booster.feature_count == len(COLUMNS)
    assert found.open_time.tolist() == expected["open_time"].tolist()
    assert differing(found.probabilities.astype(np.float64), values) == 0
    assert found.signal.tolist() == expected["signal"].tolist()
