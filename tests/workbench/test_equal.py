"""The Python API gives the numbers of the commands and of the lab, to the last bit."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

import candled
from candled.core.features import feature_set
from candled.core.features.mar import MAR
from candled.core.labels import LabelParams
from candled.core.regime import NAMES
from candled.core.touch import first_touch_labels
from candled.lab.findings import findings
from candled.lab.honest import train_honest
from candled.lab.notebook import train_notebook
from candled.lab.predict import predict
from candled.lab.recipe import Boosting, Recipe, ThresholdRule
from candled.lab.regimes import bar_regimes
from candled.lab.tables import LABELS, feature_table
from candled.offline.backtest import BacktestOptions, run_backtest
from candled.offline.tables import write_features, write_predictions_of
from candled.workbench.candles import frame_of
from candled_adapters.candles.candlefile import write_candles
from candles import HOURLY, bars_at, candles, differing

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
BARS = candles(2600, seed=5)
FRAME = frame_of(BARS)
RECIPE = Recipe(
    labels=LabelParams(8, profit_target_pct=0.8, stop_loss_pct=0.6),
    boosting=Boosting(n_estimators=6, min_child_weight=5.0),
    folds=3,
    threshold=ThresholdRule("fixed", 0.36),
)


@pytest.fixture(scope="module")
def notebook():
    """Train as the notebook does on the first 2,000 bars."""
    return candled.train(
        FRAME.iloc[:2000], "BTCUSDT", mode="notebook", trees=12, threshold=0.42, created_at=NOW
    )


@pytest.fixture(scope="module")
def honest():
    """Train honestly on the first 2,000 bars."""
    return candled.train(FRAME.iloc[:2000], "BTCUSDT", recipe=RECIPE, created_at=NOW)


@pytest.fixture(scope="module")
def room(tmp_path_factory, notebook):
    """Put the candles and the model where commands find them."""
    folder = tmp_path_factory.mktemp("room")
    write_candles(folder / "BTCUSDT_1h.csv.gz", BARS)
    notebook.save(folder / "bundle")
    return folder


def equal(one: pd.Series, other: pd.Series) -> bool:
    """Whether two columns are of one kind and equal to the bit."""
    a, b = one.to_numpy(), other.to_numpy()
    if a.dtype.kind == "f":
        return differing(a, b) == 0
    return a.dtype == b.dtype and a.tolist() == b.tolist()


def test_bars_become_a_frame_and_bars_again():
    """No bit of any column is lost on the way, in either direction."""
    again = candled.bars(FRAME)
    for name in ("open_time", "close_time"):
        assert getattr(again, name).tolist() == getattr(BARS, name).tolist()
    for name in ("open", "high", "low", "close", "volume", "quote_volume", "trades"):
        assert differing(getattr(again, name), getattr(BARS, name)) == 0


@pytest.mark.parametrize("name", ["mar", "mar-scalefree"])
def test_features_are_the_kernels(name):
    """Every complete row is that of the core's own table; the index is the candles'."""
    made, found = candled.features(FRAME, features=name), feature_set(name)
    whole = found.table(BARS, HOURLY)[found.window - 1 :]
    assert tuple(made.columns) == found.columns
    assert made.index.equals(FRAME.index)
    assert differing(made.to_numpy(np.float64)[found.window - 1 :], whole) == 0


def test_tables_are_those_of_the_command(room):
    """Features, regimes and labels together are the columns that `candled features` writes."""
    write_features(
        room / "BTCUSDT_1h.csv.gz", room / "t.csv", interval=None, features="mar",
        regime="notebook", label=(24, 1.5, 1.0), raw=True,
    )  # fmt: skip
    written = pd.read_csv(room / "t.csv", float_precision=None)
    parts = (candled.features(FRAME), candled.regimes(FRAME), candled.labels(FRAME))
    made = pd.concat(parts, axis=1).drop(columns="known")
    assert [*made.columns] == [*written.columns[11:]]
    for name in made.columns:
        assert equal(made[name], written[name]), name


def test_labels_by_first_touch_are_the_labs():
    """Class and what became of each side; rows whose class is not known yet are marked."""
    made = candled.labels(FRAME, rule="first_touch", lookahead_bars=8, profit_pct=0.3, stop_pct=5)
    regimes = candled.regimes(FRAME)["regime"].to_numpy()
    params = LabelParams(8, 0.3, 5)  # a bar often touches both targets, and the regime decides
    expected = first_touch_labels(BARS, params, regimes)
    assert expected.signal.tolist() != first_touch_labels(BARS, params).signal.tolist()
    assert made["signal"].tolist() == expected.signal.tolist()
    assert differing(made["long_gross_pct"].to_numpy(), expected.long.gross_pct) == 0
    assert made["known"].tolist() == (expected.end < len(BARS)).tolist()
    assert 0 < (~made["known"]).sum() <= 8


def test_regimes_have_their_names():
    """Each number stands beside its name."""
    made = candled.regimes(FRAME, preset="aggressive")
    assert made["regime_name"].tolist() == [NAMES[one] for one in made["regime"]]
    both = bar_regimes(BARS, HOURLY, "aggressive")
    assert made[["raw_regime", "regime"]].to_numpy().tolist() == both.tolist()
    assert both.tolist() != bar_regimes(BARS, HOURLY, "notebook").tolist()


def test_the_notebook_mode_is_train_notebook(notebook):
    """Trees, scaler, provenance and the notebook's metadata are those of the lab's function."""
    expected = train_notebook(
        BARS[:2000], "BTCUSDT", "1h", created_at=NOW, threshold=0.42, estimators=12
    )
    assert notebook.trained.spec.booster == expected.spec.booster
    assert differing(notebook.model.mean, expected.spec.mean) == 0
    assert differing(notebook.model.scale, expected.spec.scale) == 0
    assert notebook.provenance == expected.spec.provenance
    assert notebook.trained.metadata == expected.metadata


def test_the_honest_mode_is_train_honest(honest):
    """Trees, evidence, provenance and findings are those of the lab's functions."""
    features = feature_set(RECIPE.feature_set)
    expected = train_honest(BARS[:2000], "BTCUSDT", "1h", features, RECIPE, created_at=NOW)
    assert honest.trained.spec.booster == expected.trained.spec.booster
    assert honest.model.evidence == expected.trained.spec.evidence
    assert honest.trained.spec.provenance == expected.trained.spec.provenance
    told = findings(expected.study, evidence=expected.trained.spec.evidence)
    assert honest.report.findings == told
    assert len(honest.evidence) == len(honest.model.evidence)


def test_predictions_are_those_of_the_command(room, notebook):
    """The same rows, float32 bits and signals, from the model in hand and from its bundle."""
    write_predictions_of(room / "bundle", room / "BTCUSDT_1h.csv.gz", room / "p.csv", None)
    written = pd.read_csv(room / "p.csv", dtype={f"prob_{n}": str for n in ("long", "short")})
    made = notebook.predict(FRAME)
    assert made.index.equals(FRAME.index[MAR.window - 1 :])
    assert made["signal"].tolist() == written["signal"].tolist()
    assert set(made["signal"]) == {0, 1, 2}
    for name in ("prob_long", "prob_short"):
        assert differing(made[name].to_numpy(), written[name].to_numpy().astype(np.float32)) == 0
    pd.testing.assert_frame_equal(candled.predict_signals(FRAME, room / "bundle"), made)
    strict = notebook.predict(FRAME, 0.999)
    assert not strict["signal"].any()
    assert differing(strict["prob_long"].to_numpy(), made["prob_long"].to_numpy()) == 0


def test_rows_that_cannot_be_asked_about_are_left_out_by_name(notebook):
    """With a hole in the taker columns nothing shifts: answers keep the index of their bar."""
    odd = FRAME.reset_index().set_index(pd.Index([f"bar {at}" for at in range(len(FRAME))]))
    made, expected = notebook.predict(odd), predict(BARS, notebook.model)
    assert made.index.tolist() == odd.index[MAR.window - 1 :].tolist()
    assert made["signal"].tolist() == expected.signal.tolist()


def test_a_saved_model_is_the_model(room, notebook):
    """Bundle and the notebook's three files; what loads has the digest, hence the same ids."""
    loaded = candled.load_model(room / "bundle")
    assert loaded.model.digest == notebook.model.digest
    names = {file.name for file in (room / "bundle").iterdir()}
    parts = ("model.joblib", "scaler.joblib", "metadata.json")
    assert {f"BTCUSDT_1h_signal_{part}" for part in parts} < names
    made, again = candled.decide(FRAME, loaded), candled.decide(FRAME, notebook)
    pd.testing.assert_frame_equal(made, again)
    asked = made[made["side"] != "no_decision"]
    signals = asked["side"].map({"flat": 0, "long": 1, "short": 2})
    predicted = notebook.predict(FRAME).loc[asked.index]
    assert signals.tolist() == predicted["signal"].tolist()
    assert differing(
        asked["prob_long"].to_numpy().astype(np.float32), predicted["prob_long"].to_numpy()
    ) == 0  # fmt: skip


def test_a_decision_is_about_a_stream_and_a_policy(notebook):
    """Exchange, symbol and policy make other ids; a gate says why it held a signal back."""
    usual = candled.decide(FRAME, notebook)
    assert len(usual) == len(FRAME)
    assert (usual["side"] == "no_decision").sum() == notebook.history - 1
    for changes in ({"exchange": "okx"}, {"symbol": "ETHUSDT"}):
        other = candled.decide(FRAME, notebook, **changes)
        assert not set(other["id"]) & set(usual["id"])
        assert other["side"].tolist() == usual["side"].tolist()
    strict = candled.decide(FRAME, notebook, policy=candled.Policy(0.42, regime_gate=True))
    held = strict["reason"] == "regime_gate"
    assert held.any()
    assert usual.loc[held, "side"].isin(["long", "short"]).all()
    assert (usual["valid_until"] - usual.index == pd.Timedelta(hours=2)).all()


def test_a_backtest_is_that_of_the_command(room, notebook):
    """The trades out of sample, with their decision ids and results, are those it writes."""
    options = BacktestOptions(
        bundle=room / "bundle", candles=(room / "BTCUSDT_1h.csv.gz",), exchange="binance",
        threshold=0.4, regime="notebook", regime_gate=False, fee_pct=0.05, slippage_pct=0.0,
        funding_pct=0.0, exits=("target", "stop", "time"), sides="both", limit_pct=None,
        fraction=1.0, max_positions=None, first=None, last=None, trained_until=None,
        out_of_sample=True, sweep=False, trades=room / "trades.csv", as_json=False,
    )  # fmt: skip
    run_backtest(options)
    written = pd.read_csv(room / "trades.csv", float_precision=None)
    result = candled.backtest(FRAME, notebook, threshold=0.4, costs=candled.Costs(0.05))
    assert len(written) > 5
    assert result.warning is None
    assert result.trades["id"].tolist() == written["id"].tolist()
    assert differing(result.trades["net_pct"].to_numpy(), written["net_pct"].to_numpy()) == 0
    assert set(result.trades["id"]) <= set(
        candled.decide(
            FRAME, notebook, policy=candled.Policy(threshold=0.4, regime="notebook")
        )["id"]
    )  # fmt: skip
    assert result.statistics.loc["trades", "model"] == len(written)
    gated = candled.backtest(FRAME, notebook, threshold=0.4, regime_gate=True)
    assert len(gated.trades) == gated.statistics.loc["trades", "model + regime gate"]
    assert 0 < len(gated.trades) < gated.statistics.loc["trades", "model"]
    assert result.equity["model"].iloc[-1] == pytest.approx(1 + result.trades["profit"].sum())


def test_what_a_model_remembers_is_not_sold_as_a_test(honest, notebook):
    """Bars that training knew are refused, or said to be remembered, never mixed in silently."""
    with pytest.raises(candled.BacktestError, match="in_sample=True"):
        candled.backtest(FRAME.iloc[:2000], honest)
    result = candled.backtest(FRAME, notebook, in_sample=True)
    assert "remembers" in result.warning
    assert "Warning" in result._repr_html_()
    assert repr(result).startswith("WARNING")


def test_a_report_is_frames_words_and_a_page(honest, tmp_path):
    """Every view has its rows; the page holds the verdict; a cell shows it too."""
    report = honest.report
    facts = report.findings.facts
    assert report.confusion.to_numpy().sum() == facts.rows.tested
    assert report.classification["rows"].sum() == facts.rows.tested
    assert report.balance.loc["Tested rows", "rows"] == facts.rows.tested
    assert len(report.folds) == RECIPE.folds
    assert report.folds["rows"].sum() == facts.rows.tested
    for frame in (report.coverage, report.confidence, report.published):
        assert {"n", "precision", "precision_low", "base_rate", "net_pct_at_0.30"} < {*frame}
    assert report.losses.index[0] == "model"
    headline = report.findings.verdict.headline.text
    assert repr(report).startswith(headline)
    assert headline in report._repr_html_()
    assert headline in honest._repr_html_()
    page = report.save(tmp_path / "r.html", created_at=NOW)
    assert headline in page.read_text(encoding="utf-8")
    assert page.read_bytes() == report.save(tmp_path / "s.html", created_at=NOW).read_bytes()


def test_a_notebook_model_is_judged_by_rows_after_its_training(notebook):
    """Its own report takes only what followed; the whole one adds the honest recipe beside it."""
    facts = notebook.report.findings.facts
    assert facts.rows.tested_first > notebook.provenance["train"]["last_open_time"]
    assert notebook.evidence.empty
    again = candled.report(FRAME.iloc[:2000], notebook, quick=True)
    assert again.findings == notebook.report.findings
    later = int(BARS.open_time[1800])
    given = candled.report(FRAME, notebook, quick=True, trained_until=later).findings.facts
    assert given.rows.tested_first > later


def test_a_quick_report_leaves_the_trials_out(honest):
    """It is the walk-forward again, as the model's own report has it."""
    quick = candled.report(FRAME.iloc[:2000], honest, quick=True)
    assert quick.findings.facts.controls == ()
    assert quick.findings.facts.published == honest.report.findings.facts.published


def test_importances_are_shares_by_name(notebook):
    """All features, best first; together they are all of the gain."""
    made = notebook.importances
    assert set(made.index) == set(MAR.columns)
    assert made.is_monotonic_decreasing
    assert made.sum() == pytest.approx(1.0)


def test_gaps_are_left_out_of_honest_training():
    """A frame with holes trains; rows that a hole reaches are counted, not used."""
    kept = [*range(700), *range(703, 2000)]
    made = candled.train(frame_of(bars_at(BARS, kept)), "BTCUSDT", recipe=RECIPE, created_at=NOW)
    assert made.provenance["dropped"]["gap_ahead"] == 8
    assert made.provenance["gaps"] == 1


def test_labels_agree_with_the_frame_of_the_table():
    """The window rule's seven columns are the table's; the tail is marked as not known."""
    wide = {"lookahead_bars": 12, "profit_pct": 0.5, "stop_pct": 5.0}  # often both sides qualify
    made = candled.labels(FRAME, **wide, regime="aggressive")
    params = LabelParams(12, 0.5, 5.0)
    table = feature_table(BARS, HOURLY, labels=params, regime="aggressive")
    for name in LABELS:
        assert equal(made[name], table[name]), name
    assert made["known"].tolist() == [True] * (len(BARS) - 12) + [False] * 12
    assert made["signal"].tolist() != candled.labels(FRAME, **wide)["signal"].tolist()


def test_a_proof_shows_its_checks_or_its_findings(honest):
    """The model and its set are proved; the cell shows what was compared."""
    proof = candled.verify(FRAME.iloc[:900], honest, checks=["future dropped", "model"])
    assert proof.ok
    assert proof.findings.empty
    assert proof.checks["cells"].sum() == proof.verification.cells
    assert proof.checks.index.tolist() == ["future dropped", "model"]
    assert (proof.checks["cells"] > 0).all()
    assert "no bit differs" in repr(proof)
    assert "no bit differs" in proof._repr_html_()
