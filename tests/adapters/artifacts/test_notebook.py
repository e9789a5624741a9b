"""The notebook's three files, made here by real scikit-learn and XGBoost, and by the notebook."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable

import joblib
import numpy as np
import pandas as pd
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from candled_adapters.artifacts.artifact import Refused
from candled_adapters.artifacts.notebook import ArtifactError, read_notebook
from candled_adapters.artifacts.xgboost_bytes import split_snapshot
from real import REAL, needs_real_data

NAMES = ["ma5_sma", "ma6_sma", "spread_pct", "slope_ma5_sma", "price_position"]
RNG = np.random.default_rng(7)
X = RNG.normal(3.0, 2.0, size=(240, len(NAMES)))
Y = RNG.integers(0, 3, len(X))
FRAME = pd.DataFrame(X, columns=NAMES)


def metadata(**changes):
    target = {"lookahead_bars": 24, "profit_target_pct": 1.5, "stop_loss_pct": 1}
    return {
        "symbol": "BTCUSDT",
        "interval": "1h",
        "created_at": "2024-05-01T10:00:00.123456",
        "feature_cols": NAMES,
        "target_params": target,
        "train_samples": 192,
        "test_samples": 48,
    } | changes


def train(rows=X, labels=Y, **changes):
    settings = {"n_estimators": 5, "max_depth": 3, "eval_metric": "mlogloss", "n_jobs": 1}
    return xgboost.XGBClassifier(**(settings | {"random_state": 42} | changes)).fit(rows, labels)


SCALER = StandardScaler().fit(FRAME)
SCALED = SCALER.transform(FRAME)
MODEL = train(SCALED)


def save(folder, model=MODEL, scaler=SCALER, facts=None, stem="BTCUSDT_1h", **how):
    joblib.dump(model, folder / f"{stem}_signal_model.joblib", **how)
    joblib.dump(scaler, folder / f"{stem}_signal_scaler.joblib", **how)
    text = json.dumps(metadata() if facts is None else facts)
    (folder / f"{stem}_signal_metadata.json").write_text(text)
    return folder


def refusal(folder, *which):
    with pytest.raises(ArtifactError) as caught:
        read_notebook(folder, *which)
    assert caught.value.mend
    return str(caught.value)


def answers(model, scaled, names=None):
    booster = xgboost.Booster()
    booster.load_model(bytearray(model.booster))
    return booster.predict(xgboost.DMatrix(scaled, feature_names=names, nthread=1))


# ---- what it reads


@pytest.mark.parametrize(
    "how", [{}, {"compress": 3}, {"compress": ("xz", 3)}, {"protocol": 2}], ids=str
)
def test_reads_what_the_notebook_saved(tmp_path, how):
    """All facts come out, and booster and scaler answer as the saved ones, to the bit."""
    save(tmp_path, **how)
    model = read_notebook(tmp_path)
    assert (model.symbol, model.interval) == ("BTCUSDT", "1h")
    assert model.created_at == "2024-05-01T10:00:00.123456"
    assert model.feature_names == tuple(NAMES)
    assert (model.lookahead_bars, model.profit_target_pct, model.stop_loss_pct) == (24, 1.5, 1.0)
    assert (model.train_samples, model.test_samples) == (192, 48)
    scaled = (X - model.mean) / model.scale
    assert scaled.tobytes() == SCALED.tobytes()
    assert answers(model, scaled).tobytes() == MODEL.predict_proba(SCALED).tobytes()
    assert model.booster == bytes(MODEL.get_booster().save_raw("ubj"))
    assert model.sources == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()
    }


def test_arrays_are_read_only(tmp_path):
    """Mean and scale are facts: float64, one for each column, not to be written to."""
    model = read_notebook(save(tmp_path))
    for row in (model.mean, model.scale):
        assert row.dtype == np.float64
        assert row.shape == (len(NAMES),)
        with pytest.raises(ValueError, match="read-only"):
            row[0] = 0.0


@pytest.mark.parametrize("with_std", [True, False])
@pytest.mark.parametrize("with_mean", [True, False])
def test_scaler_that_does_not_centre_or_scale(tmp_path, with_mean, with_std):
    """A scaler without centring has mean 0, one without scaling has scale 1, as it transforms."""
    scaler = StandardScaler(with_mean=with_mean, with_std=with_std).fit(X)
    model = read_notebook(save(tmp_path, scaler=scaler))
    assert ((X - model.mean) / model.scale).tolist() == scaler.transform(X).tolist()
    assert with_mean or not model.mean.any()
    assert with_std or (model.scale == 1).all()


def test_column_that_never_changes(tmp_path):
    """A column without variance has scale 1 in scikit-learn and here."""
    rows = X.copy()
    rows[:, 2] = 0.25
    scaler = StandardScaler().fit(rows)
    assert read_notebook(save(tmp_path, scaler=scaler)).scale[2] == 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: train(pd.DataFrame(SCALED, columns=NAMES)),
        lambda: train(SCALED, Y.astype(np.int32)),
        lambda: train(SCALED, random_state=np.int64(42)),
        lambda: train(SCALED, num_parallel_tree=2),
        lambda: train(SCALED, monotone_constraints=(0, 1, 0, 0, 0)),
    ],
)
def test_other_ways_to_train(tmp_path, make: Callable[[], xgboost.XGBClassifier]):
    """Models that were trained on a table, or with other parameters, answer the same."""
    trained = make()
    model = read_notebook(save(tmp_path, trained))
    names = trained.get_booster().feature_names
    assert answers(model, SCALED, names).tobytes() == trained.predict_proba(SCALED).tobytes()


def test_history_of_training(tmp_path):
    """A model that kept its evaluation history is read; the history is not needed."""
    trained = xgboost.XGBClassifier(n_estimators=5, eval_metric=["mlogloss", "merror"], n_jobs=1)
    trained.fit(SCALED, Y, eval_set=[(SCALED, Y)], verbose=False)
    assert trained.evals_result()
    model = read_notebook(save(tmp_path, trained))
    assert answers(model, SCALED).tobytes() == trained.predict_proba(SCALED).tobytes()


def test_model_in_json_text():
    """The snapshot that XGBoost 1.3 to 1.5 wrote, JSON text, gives a model that loads the same."""
    model = bytes(MODEL.get_booster().save_raw("json"))
    snapshot = b'{"Config":{"learner":{"a":[1,2]}},"Model":' + model + b"}"
    booster, facts = split_snapshot(snapshot)
    assert booster == model
    assert facts == split_snapshot(bytes(MODEL.get_booster().__getstate__()["handle"]))[1]
    assert (facts.objective, facts.classes, facts.features) == ("multi:softprob", 3, len(NAMES))


# ---- which files


def test_choice_among_models(tmp_path):
    """With several models the symbol and the interval choose; without them all are named."""
    for symbol, interval in (("BTCUSDT", "1h"), ("BTCUSDT", "1m"), ("BTC_USDT", "1M")):
        facts = metadata(symbol=symbol, interval=interval)
        save(tmp_path, facts=facts, stem=f"{symbol}_{interval}")
    assert "BTCUSDT_1h, BTCUSDT_1m, BTC_USDT_1M. Choose" in refusal(tmp_path)
    assert "several models: BTCUSDT_1h, BTCUSDT_1m." in refusal(tmp_path, "BTCUSDT")
    assert read_notebook(tmp_path, "BTCUSDT", "1m").interval == "1m"
    assert read_notebook(tmp_path, None, "1M").symbol == "BTC_USDT"
    assert "no ETHUSDT_1h_signal_model.joblib" in refusal(tmp_path, "ETHUSDT", "1h")
    assert "no SYMBOL_5m_signal_model.joblib" in refusal(tmp_path, None, "5m")


@pytest.mark.parametrize("end", ["model.joblib", "scaler.joblib", "metadata.json"])
def test_missing_file(tmp_path, end):
    """A missing file is named, and the other two are not enough."""
    missing = save(tmp_path) / f"BTCUSDT_1h_signal_{end}"
    missing.unlink()
    assert refusal(tmp_path).startswith(f"{missing}: is missing")
    missing.mkdir()
    assert refusal(tmp_path).startswith(f"{missing}: is not a regular file")


def test_no_directory(tmp_path):
    """A directory that is not there, or is a file, or is empty, is said to be so."""
    assert "cannot be listed" in refusal(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "cannot be listed" in refusal(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "no SYMBOL_INTERVAL_signal_model.joblib" in refusal(tmp_path / "empty")


# ---- what it refuses


TARGET = metadata()["target_params"]


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ([], "holds a list, not an object"),
        *[
            ({key: value for key, value in metadata().items() if key != gone}, f"no key {gone}")
            for gone in metadata()
        ],
        *[
            (
                metadata(target_params={k: v for k, v in TARGET.items() if k != gone}),
                f"no key target_params.{gone}",
            )
            for gone in TARGET
        ],
        (metadata(symbol="ETHUSDT"), "is of ETHUSDT_1h, but is named BTCUSDT_1h"),
        (metadata(interval="4h"), "is of BTCUSDT_4h, but is named BTCUSDT_1h"),
        (metadata(symbol=7), "7 for symbol, which must be text"),
        (metadata(symbol="BTC\x1b[2J"), "for symbol, which must be text"),
        (metadata(created_at=None), "None for created_at"),
        (metadata(feature_cols=[]), "feature_cols that are not a list"),
        (metadata(feature_cols="ma5_sma"), "for feature_cols"),
        (metadata(feature_cols=[*NAMES[:4], 5]), "feature_cols that are not a list"),
        (metadata(feature_cols=[*NAMES[:4], "\ud800"]), "feature_cols that are not a list"),
        (metadata(feature_cols=[*NAMES[:4], "ma5_sma"]), "names 'ma5_sma' 2 times"),
        (metadata(feature_cols=NAMES[:4]), "does not have the metadata's 4 columns"),
        (
            metadata(feature_cols=NAMES[::-1]),
            "number 0: the scaler was fitted on 'ma5_sma', the met",
        ),
        (metadata(train_samples=-1), "-1 for train_samples"),
        (metadata(train_samples=1.0), "1.0 for train_samples"),
        (metadata(test_samples=True), "True for test_samples"),
        (metadata(target_params=[]), "for target_params"),
        (
            metadata(target_params=TARGET | {"lookahead_bars": 0}),
            "0 for target_params.lookahead_bars",
        ),
        (
            metadata(target_params=TARGET | {"stop_loss_pct": 0}),
            "0 for target_params.stop_loss_pct",
        ),
        (
            metadata(target_params=TARGET | {"stop_loss_pct": "1"}),
            "'1' for target_params.stop_loss_",
        ),
        (
            metadata(target_params=TARGET | {"profit_target_pct": float("nan")}),
            "nan for target_par",
        ),
        (
            metadata(target_params=TARGET | {"profit_target_pct": 10**400}),
            "for target_params.profit",
        ),
    ],
)
def test_metadata_that_does_not_hold(tmp_path, facts, what):
    """Metadata is checked key by key; the message names the key and what stands there."""
    message = refusal(save(tmp_path, facts=facts))
    assert what in message
    assert "BTCUSDT_1h_signal_" in message
    assert message.isprintable()


@pytest.mark.parametrize(
    "text", ["", "{", "\xff", '{"symbol": "a", "symbol": "b"}', "[" * 100_000, "9" * 5_000]
)
def test_metadata_that_is_not_json(tmp_path, text):
    """Metadata that is not JSON, or says a thing twice, is refused by its name."""
    (save(tmp_path) / "BTCUSDT_1h_signal_metadata.json").write_text(text, "latin-1")
    assert "BTCUSDT_1h_signal_metadata.json: " in refusal(tmp_path)


def test_unknown_interval(tmp_path):
    """An interval that no venue knows is refused."""
    save(tmp_path, facts=metadata(interval="7h"), stem="BTCUSDT_7h")
    assert "unknown interval '7h'" in refusal(tmp_path)


def scaler_with(**changes):
    scaler = StandardScaler().fit(X)
    scaler.__dict__.update(changes)
    return scaler


@pytest.mark.parametrize(
    ("scaler", "what"),
    [
        (MinMaxScaler().fit(X), "'sklearn.preprocessing._data.MinMaxScaler'"),
        ({"mean_": X[0]}, "holds a dict where a StandardScaler belongs"),
        (MODEL, "holds xgboost.sklearn.XGBClassifier where a StandardScaler belongs"),
        (StandardScaler(), "no mean_ of 5 floats"),
        (StandardScaler().fit(X[:, :4]), "4 features, the metadata 5"),
        (scaler_with(n_features_in_=X), "a ndarray features"),
        (scaler_with(mean_=X[0, :4]), "no mean_ of 5 floats"),
        (scaler_with(mean_=[1.0] * 5), "no mean_ of 5 floats"),
        (scaler_with(mean_=np.arange(5)), "no mean_ of 5 floats"),
        (scaler_with(mean_=np.array([1, 2, 3, 4, np.nan])), "mean_ that is not finite"),
        (scaler_with(scale_=np.array([1, 2, 3, 4, np.inf])), "scale_ that is not finite"),
        (scaler_with(scale_=np.array([1.0, 2, 0, 4, 5])), "not above 0, for spread_pct"),
        (scaler_with(scale_=np.array([1.0, 2, 3, -4, 5])), "not above 0, for slope_ma5_sma"),
        (scaler_with(with_mean="yes"), "'yes' for with_mean"),
        (StandardScaler().fit(FRAME[NAMES[::-1]]), "fitted on 'price_position', the metadata says"),
        (scaler_with(feature_names_in_=NAMES), "does not have the metadata's 5 columns"),
        (scaler_with(feature_names_in_=tuple(NAMES[:4])), "does not have the metadata's 5"),
        (scaler_with(feature_names_in_=(X, *NAMES[1:])), "fitted on a ndarray"),
        (scaler_with(feature_names_in_=np.array([*NAMES[:4], 1], object)), "one row of names"),
    ],
)
def test_scaler_that_does_not_fit(tmp_path, scaler, what):
    """A scaler of another kind, shape or order of columns is refused by its file's name."""
    message = refusal(save(tmp_path, scaler=scaler))
    assert what in message
    assert "BTCUSDT_1h_signal_scaler.joblib" in message


def model_with(**changes):
    model = train(SCALED)
    model.__dict__.update(changes)
    return model


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: LogisticRegression().fit(SCALED, Y), "linear_model._logistic.LogisticRegression'"),
        (SCALER.__sklearn_clone__, "StandardScaler where an XGBClassifier belongs"),
        (lambda: {"model": MODEL}, "holds a dict where an XGBClassifier belongs"),
        (MODEL.get_booster, "holds xgboost.core.Booster where"),
        (lambda: xgboost.XGBRegressor().fit(SCALED, Y), "'xgboost.sklearn.XGBRegressor'"),
        (xgboost.XGBClassifier, "None classes, not 3"),
        (lambda: train(SCALED, Y % 2), "2 classes, not 3"),
        (lambda: train(SCALED, np.arange(240) % 4), "4 classes, not 3"),
        (lambda: train(SCALED[:, :4]), "booster of 4 features, the metadata 5"),
        (lambda: train(SCALED, objective="multi:softmax"), "objective 'multi:softmax', not"),
        (lambda: train(SCALED, missing=0.0), "takes 0.0 for missing values"),
        (lambda: train(SCALED, booster="dart"), "booster of kind 'dart'"),
        (lambda: train(SCALED, booster="gblinear", verbosity=0), "booster of kind 'gblinear'"),
        (lambda: train(pd.DataFrame(SCALED, columns=NAMES[::-1])), "the booster was trained on"),
        (lambda: model_with(n_classes_=X), "a ndarray classes"),
        (lambda: model_with(_le=1), "holds 1 where a label encoder belongs"),
        (lambda: model_with(_Booster=None), "holds None where a trained booster belongs"),
        (lambda: model_with(eval_metric=np.mean), "'numpy.mean'"),
        (lambda: model_with(callbacks=[print]), "'builtins.print'"),
    ],
)
def test_model_that_is_another(tmp_path, make, what):
    """A model of another kind, or one whose answers would differ here, is refused."""
    message = refusal(save(tmp_path, make()))
    assert what in message
    assert "BTCUSDT_1h_signal_model.joblib" in message


def test_early_stopping(tmp_path):
    """A model that uses only its best rounds is refused: its bytes alone would use all of them."""
    model = train(SCALED, n_estimators=200, learning_rate=1.0)
    model.get_booster().set_attr(best_iteration="3")
    assert "uses 4 of its 200 rounds" in refusal(save(tmp_path, model))
    model.get_booster().set_attr(best_iteration="199")
    assert answers(read_notebook(save(tmp_path, model)), SCALED).shape == (240, 3)


def test_categorical_features(tmp_path):
    """A model with a categorical feature is refused: a scaled row holds none."""
    frame = pd.DataFrame(SCALED, columns=NAMES)
    frame[NAMES[2]] = pd.Categorical(Y % 2)
    model = train(frame, enable_categorical=True)
    assert "categorical" in refusal(save(tmp_path, model))


def test_code_in_any_file_does_not_run(tmp_path):
    """A model or scaler that is a program is refused, and the program does not run."""

    class Code:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    for files in ({"model": Code()}, {"scaler": Code()}, {"model": model_with(kwargs=Code())}):
        assert "'posix.mkdir'" in refusal(save(tmp_path, **files))
    joblib.dump(Code(), tmp_path / "BTCUSDT_1h_signal_metadata.json")
    refusal(tmp_path)
    assert not (tmp_path / "ran").exists()


# ---- the booster's bytes


SNAPSHOT = bytes(train(SCALED[:30], Y[:30], n_estimators=1).get_booster().__getstate__()["handle"])
START = SNAPSHOT.index(b"\x05Model")


def survive(snapshot):
    try:
        split_snapshot(snapshot)
    except Refused as no:
        return not no.what  # a refusal says why
    return True


def test_snapshot_cut_anywhere():
    """A booster that is cut at any byte is refused."""
    assert survive(SNAPSHOT)
    assert not any(survive(SNAPSHOT[:size]) for size in range(0, len(SNAPSHOT), 3))
    assert not survive(SNAPSHOT + b"}")
    assert not survive(b"binf" + SNAPSHOT)


@given(st.integers(0, len(SNAPSHOT) - 1), st.binary(min_size=1, max_size=9))
@settings(max_examples=300)
def test_snapshot_changed_anywhere(place, change):
    """A booster with any bytes changed is taken for XGBoost to judge, or refused."""
    survive(SNAPSHOT[:place] + change + SNAPSHOT[place + len(change) :])


MARKERS = [b"{", b"}", b"[", b"]", b"L" + bytes(8), b"S", b"#", b"$d", b"T", b"[" * 50]
ENDLESS = [b"[$l#L" + b"\xff" * 8, b"[$l#L\x7f" + b"\xff" * 7, b"[#L\x7f" + b"\xff" * 7]


@given(st.lists(st.sampled_from(MARKERS + ENDLESS), max_size=20))
def test_snapshot_of_any_markers(pieces):
    """Any sequence of markers is refused or read, and never costs more than its length."""
    survive(b"{L" + bytes(7) + b"\x05Model" + b"".join(pieces))


@given(st.text('{}[]":,0123456789eModlearn \\\ud800', max_size=60))
def test_snapshot_of_any_json(text):
    """Any text in place of JSON is refused."""
    assert not survive(('{"Model":' + text).encode("utf-8", "surrogatepass"))


# ---- the real one


FILES = REAL / "notebook"


@needs_real_data
def test_real_notebook():
    """The notebook's own BTCUSDT files load, and give its scaler and its answers to the bit."""
    model = read_notebook(FILES)
    scaler = joblib.load(FILES / "BTCUSDT_1h_signal_scaler.joblib")
    trained = joblib.load(FILES / "BTCUSDT_1h_signal_model.joblib")
    assert model.mean.tobytes() == scaler.mean_.tobytes()
    assert model.scale.tobytes() == scaler.scale_.tobytes()
    assert len(model.feature_names) == 220
    rows = RNG.normal(size=(2_000, 220))
    assert ((rows - model.mean) / model.scale).tobytes() == scaler.transform(rows).tobytes()
    assert answers(model, rows).tobytes() == trained.predict_proba(rows).tobytes()
    assert re.fullmatch("[0-9a-f]{64}", model.sources["BTCUSDT_1h_signal_model.joblib"])
