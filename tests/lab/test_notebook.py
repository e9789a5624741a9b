"""Training as the notebook does it: the same steps, the same files, and clear refusals."""

from __future__ import annotations

import datetime as dt
import json
import math

import joblib
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.metrics import accuracy_score, log_loss
from sklearn.preprocessing import StandardScaler

import reference
from candled.core.bar import COLUMNS as BAR_COLUMNS
from candled.core.decision import Target
from candled.core.features.mar import COLUMNS, MAR
from candled.core.labels import LabelParams
from candled.core.model import Booster
from candled.lab.dataset import TrainingError
from candled.lab.evaluate import evaluation
from candled.lab.notebook import train_notebook
from candled.lab.tables import feature_table
from candled.lab.trained import data_digest, write_notebook_files
from candles import HOURLY, bars_at, bars_from_closes, bars_of, candles, differing
from real import real_data

BARS = candles(800, seed=41)
ROUNDS = 4
PARAMS = LabelParams(lookahead_bars=12, profit_target_pct=1.0, stop_loss_pct=0.8)
NOON = dt.datetime(2025, 6, 1, 12, tzinfo=dt.UTC)


def _train(bars=BARS, **changes):
    settings = {"params": PARAMS, "created_at": NOON, "estimators": ROUNDS} | changes
    return train_notebook(bars, "BTCUSDT", "1h", **settings)


@pytest.fixture(scope="module")
def trained():
    return _train()


@pytest.fixture(scope="module")
def by_hand():
    """Do the notebook's steps with its own tools; return scaler, classifier, X and y."""
    frame = feature_table(BARS, HOURLY, labels=PARAMS).dropna(subset=list(COLUMNS))
    x, y = frame[list(COLUMNS)].to_numpy(np.float64), frame["signal"].to_numpy()
    split = int(len(x) * 0.8)
    scaler = StandardScaler().fit(x[:split])
    classifier = xgboost.XGBClassifier(
        n_estimators=ROUNDS,
        max_depth=6,
        learning_rate=0.1,
        subsample=0.8,
        colsample_bytree=0.8,
        random_state=42,
        eval_metric="mlogloss",
        n_jobs=-1,
    )
    classifier.fit(scaler.transform(x[:split]), y[:split])
    return scaler, classifier, x, y


def test_the_model_is_that_of_the_notebooks_steps(trained, by_hand):
    """Scaler and probabilities equal those of the notebook's steps done by hand, bit for bit."""
    scaler, classifier, x, _ = by_hand
    assert differing(trained.spec.mean, scaler.mean_) == 0
    assert differing(trained.spec.scale, scaler.scale_) == 0
    rows = ((x - trained.spec.mean) / trained.spec.scale).astype(np.float32)
    found = Booster(trained.spec.booster).predict(rows)
    assert differing(found, classifier.predict_proba(scaler.transform(x))) == 0


def test_training_again_gives_the_same_model(trained):
    """The same bars give the same bytes."""
    again = _train()
    assert again.spec.booster == trained.spec.booster
    assert again.spec.provenance == trained.spec.provenance


def test_the_spec_says_what_the_model_is(trained):
    """Names in order, the label's parameters, threshold and regime are carried along."""
    spec = trained.spec
    assert (spec.symbol, spec.interval, spec.feature_set) == ("BTCUSDT", "1h", "mar")
    assert spec.feature_names == COLUMNS
    assert spec.target == Target(lookahead_bars=12, profit_pct=1.0, stop_pct=0.8)
    assert (spec.threshold, spec.regime) == (0.6, "notebook")
    assert Booster(spec.booster).feature_count == len(COLUMNS)


def test_provenance_says_where_the_model_came_from(trained):
    """Ranges, counts, digest and versions are there, and all of it is JSON."""
    told = json.loads(json.dumps(trained.spec.provenance, allow_nan=False))
    rows = len(BARS) - 40
    split = int(0.8 * rows)
    assert told["train"] == {
        "rows": split,
        "first_open_time": BARS.open_time[40],
        "last_open_time": BARS.open_time[40 + split - 1],
    }
    assert told["test"]["rows"] == rows - split
    assert told["test"]["last_open_time"] == BARS.open_time[-1]
    assert told["data_sha256"] == data_digest(BARS)
    assert (told["bars"], told["gaps"]) == (len(BARS), 0)
    assert told["created_at"] == "2025-06-01T12:00:00+00:00"
    assert told["versions"]["xgboost"] == xgboost.__version__


def test_the_evaluation_is_scikit_learns(trained, by_hand):
    """Accuracy, log-loss and precision of the test rows equal an independent count."""
    scaler, classifier, x, y = by_hand
    split = int(len(x) * 0.8)
    answers, truth = classifier.predict_proba(scaler.transform(x[split:])), y[split:]
    told = trained.spec.provenance["evaluation"]["as_notebook"]
    assert told["accuracy"] == pytest.approx(accuracy_score(truth, answers.argmax(axis=1)))
    exact = answers.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)  # scikit-learn insists on sums of 1
    assert told["log_loss"] == pytest.approx(log_loss(truth, exact), rel=1e-5)
    shares = np.bincount(y[:split]) / split
    expected = log_loss(truth, np.tile(shares, (len(truth), 1)))
    assert told["class_share_log_loss"] == pytest.approx(expected)
    assert told["majority_class_accuracy"] == np.bincount(truth).max() / len(truth)
    assert list(told["class_counts"].values()) == np.bincount(truth).tolist()


def test_the_honest_evaluation_drops_the_tail(trained):
    """`labelled_only` leaves out the rows that were called no trade for want of a future."""
    both = trained.spec.provenance["evaluation"]
    whole, honest = both["as_notebook"], both["labelled_only"]
    assert whole["rows"] - honest["rows"] == PARAMS.lookahead_bars
    dropped = whole["class_counts"]["no_trade"] - honest["class_counts"]["no_trade"]
    assert dropped == PARAMS.lookahead_bars


def test_precision_counts_only_what_is_above_the_threshold():
    """Signals, coverage, precision and base rate of a table small enough to count by eye."""
    answers = np.array(
        [[0.1, 0.8, 0.1], [0.1, 0.7, 0.2], [0.3, 0.6, 0.1], [0.2, 0.1, 0.7], [1, 0, 0]],
        dtype=np.float32,
    )
    truth = np.array([1, 0, 1, 1, 0], dtype=np.int8)
    told = evaluation(answers, truth, answers, 0.6)["above_threshold"]
    assert told["long"] == {"signals": 2, "coverage": 0.4, "precision": 0.5, "base_rate": 0.6}
    assert told["short"] == {"signals": 1, "coverage": 0.2, "precision": 0.0, "base_rate": 0.0}
    assert evaluation(answers, truth, answers, 0.9)["above_threshold"]["long"]["precision"] is None


def test_an_answer_of_zero_for_the_truth_has_a_finite_loss():
    """A model that excludes what happened is punished, but its report stays JSON."""
    answers = np.array([[1, 0, 0]], dtype=np.float32)
    one = np.array([1], dtype=np.int8)
    assert math.isfinite(evaluation(answers, one, answers, 0.6)["log_loss"])


def test_no_rows_have_no_figures():
    """With nothing to judge by there are counts of zero and no accuracy."""
    none = np.empty(0, dtype=np.int8)
    nothing = np.empty((0, 3), dtype=np.float32)
    told = evaluation(nothing, none, nothing, 0.6)
    assert told == {"rows": 0, "class_counts": {"no_trade": 0, "long": 0, "short": 0}}


def test_the_notebooks_files_are_what_the_notebook_would_load(trained, tmp_path):
    """Three files under its names; loaded with joblib they give the same probabilities."""
    paths = write_notebook_files(trained, tmp_path)
    assert sorted(path.name for path in paths) == [
        "BTCUSDT_1h_signal_metadata.json",
        "BTCUSDT_1h_signal_model.joblib",
        "BTCUSDT_1h_signal_scaler.joblib",
    ]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    model, scaler, metadata = paths
    rows = MAR.table(BARS, HOURLY)[40:]
    found = joblib.load(model).predict_proba(joblib.load(scaler).transform(rows))
    scaled = ((rows - trained.spec.mean) / trained.spec.scale).astype(np.float32)
    assert differing(found, Booster(trained.spec.booster).predict(scaled)) == 0
    assert json.loads(metadata.read_text()) == trained.metadata


def test_the_metadata_has_the_notebooks_keys(trained):
    """Keys and kinds are those of the file that the notebook writes."""
    theirs = {
        "symbol": str,
        "interval": str,
        "created_at": str,
        "feature_cols": list,
        "target_params": dict,
        "train_samples": int,
        "test_samples": int,
    }
    assert {key: type(value) for key, value in trained.metadata.items()} == theirs
    assert list(trained.metadata["target_params"]) == [
        "lookahead_bars", "profit_target_pct", "stop_loss_pct",
    ]  # fmt: skip


def test_the_metadata_fits_the_notebooks_real_file(trained):
    """Keys, their order and the feature names equal those of a real metadata file."""
    path = real_data() / "notebook" / "BTCUSDT_1h_signal_metadata.json"
    real = json.loads(path.read_text())
    assert list(trained.metadata) == list(real)
    assert trained.metadata["feature_cols"] == real["feature_cols"]
    assert list(trained.metadata["target_params"]) == list(real["target_params"])


def test_the_regime_settles_labels_before_training():
    """Labels of the whole frame, with its regimes, are what the model is trained on."""
    wide = LabelParams(lookahead_bars=12, profit_target_pct=0.5, stop_loss_pct=2.0)
    counts = _train(params=wide).spec.provenance["evaluation"]["as_notebook"]["class_counts"]
    frame = pd.DataFrame({"high": BARS.high, "low": BARS.low, "close": BARS.close})
    raws = reference.raw_regimes(reference.features(frame["close"]), "notebook")
    confirmed = reference.confirmed_regimes(raws, "notebook")
    loop = reference.label_loop(frame, 12, 0.5, 2.0, confirmed)["signal"].to_numpy()[40:]
    assert list(counts.values()) == np.bincount(loop[int(0.8 * len(loop)) :]).tolist()


def test_a_slash_in_a_symbol_stays_in_one_directory(tmp_path):
    """A symbol such as BTC/USD is written with a dash, and kept as it is inside."""
    trained = train_notebook(BARS, "BTC/USD", "1h", params=PARAMS, created_at=NOON, estimators=1)
    paths = write_notebook_files(trained, tmp_path)
    assert {path.parent for path in paths} == {tmp_path}
    assert paths[2].name == "BTC-USD_1h_signal_metadata.json"
    assert trained.metadata["symbol"] == "BTC/USD"


def test_gaps_are_counted():
    """Two places where slots are missing are two gaps, however long they are."""
    kept = np.delete(np.arange(len(BARS)), [500, 700, 701, 702])
    assert _train(bars_at(BARS, kept)).spec.provenance["gaps"] == 2


def test_a_missing_class_is_named_with_its_counts():
    """A market that only stands still cannot teach long or short, and the error says so."""
    still = bars_from_closes(100.0 + np.arange(400) * 1e-5)
    columns = {name: getattr(still, name) for name in BAR_COLUMNS}
    columns |= {"high": still.close, "low": still.close}
    with pytest.raises(TrainingError, match=r"hold no long, short \(no_trade 288, long 0, short 0"):
        _train(bars_of(columns))


def test_too_few_bars_are_refused_with_the_numbers():
    """139 bars are 99 complete rows, one less than training needs."""
    with pytest.raises(TrainingError, match=r"139 bars give 99 rows.*needs 100 rows or more"):
        _train(BARS[:139])


@pytest.mark.parametrize("close", [float("nan"), 0.0, float("inf")])
def test_a_bar_without_a_close_is_named(close):
    """The error names the row, its time and what was found."""
    closes = BARS.close.copy()
    closes[700] = close
    broken = bars_of({n: closes if n == "close" else getattr(BARS, n) for n in BAR_COLUMNS})
    with pytest.raises(TrainingError, match=rf"bar 700 \(2023-\S+Z\) has close {close}"):
        _train(broken)


def test_bars_out_of_order_are_refused():
    """A doubled bar is named by row and time."""
    doubled = bars_at(BARS, np.insert(np.arange(len(BARS)), 600, 600))
    with pytest.raises(TrainingError, match=r"bar 601 .* does not come after the bar before it"):
        _train(doubled)


def test_an_unknown_interval_or_preset_is_refused_before_any_work():
    """Names are checked first."""
    with pytest.raises(ValueError, match="unknown interval"):
        train_notebook(BARS, "BTCUSDT", "1hour", created_at=NOON)
    with pytest.raises(ValueError, match="unknown regime preset"):
        _train(regime="calm")
