"""The backtest command: what the daemon would have decided, traded, and never flattered."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest

from candled.core.bar import HOUR, Bars, Stream, iso
from candled.core.decision import BarClosed, Side, Source
from candled.core.engine import Engine
from candled.core.labels import LabelParams
from candled.core.touch import outcomes
from candled.offline.backtest import BacktestError, BacktestOptions, run_backtest
from candled_adapters.artifacts.bundle import write_bundle
from candled_adapters.candles.candlefile import write_candles
from candles import candles
from models import bundle, lane, spec
from real import real_data

BTC = Stream("binance", "BTCUSDT", "1h")
COUNT = 2400


@functools.cache
def bars() -> Bars:
    return candles(COUNT, seed=10)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle(tmp_path_factory.mktemp("bundles") / "BTCUSDT_1h")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("candles") / "BTCUSDT_1h.csv.gz"
    write_candles(path, bars())
    return path


def options(made: Path, *files: Path, **changed: object) -> BacktestOptions:
    usual = BacktestOptions(
        bundle=made,
        candles=files,
        exchange="binance",
        threshold=None,
        regime="notebook",
        regime_gate=False,
        fee_pct=0.1,
        slippage_pct=0.0,
        funding_pct=0.0,
        exits=("target", "stop", "time"),
        sides="both",
        limit_pct=None,
        fraction=1.0,
        max_positions=None,
        first=None,
        last=None,
        trained_until=None,
        out_of_sample=False,
        sweep=False,
        trades=None,
        as_json=True,
    )
    return dataclasses.replace(usual, **changed)


def parts(chosen: BacktestOptions) -> dict[str, dict]:
    return {part["part"]: part for part in json.loads(run_backtest(chosen))["parts"]}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as text:
        return list(csv.DictReader(text))


@pytest.mark.parametrize("gate", [False, True])
def test_trades_are_those_of_the_daemons_signals(
    made: Path, file: Path, tmp_path: Path, *, gate: bool
):
    """Each trade has the id that deciding bar by bar gives, and the outcome from the next open."""
    run_backtest(options(made, file, regime_gate=gate, trades=tmp_path / "t.csv"))
    engine = Engine([lane(BTC, regime_gate=gate)])
    live = [
        one
        for bar in bars()
        for one in engine.decide([BarClosed(BTC, bar, Source.WS, 0, 0)])
        if one.side.is_signal
    ]
    signals = {decision.id: decision for decision in live}
    traded = rows(tmp_path / "t.csv")
    assert len(traded) > 10
    ahead = outcomes(bars(), LabelParams())
    for trade in traded:
        decision = signals[trade["id"]]
        assert trade["signal_open"] == iso(decision.bar_open)
        assert trade["entry_time"] == iso(decision.bar_open + HOUR)
        assert trade["side"] == decision.side.value
        row = int(np.searchsorted(bars().open_time, decision.bar_open))
        side = ahead.long if decision.side is Side.LONG else ahead.short
        if trade["ending"] != "end":
            assert float(trade["exit"]) == side.price[row]
            assert float(trade["gross_pct"]) == side.gross_pct[row]
    entered = {trade["id"] for trade in traded}
    first = next(decision for decision in live)
    assert first.id in entered


def test_what_the_training_knew_is_reported_apart(made: Path, file: Path):
    """Bars up to the last trained one and its label's future are in sample; the rest is not."""
    trained = spec().provenance["train"]["last_open_time"]
    assert trained < bars().open_time[-1]
    knew = trained + 24 * HOUR
    found = parts(options(made, file, first=int(bars().open_time[0])))
    assert set(found) == {"out of sample"}  # the history ends after the training did
    unseen = found["out of sample"]
    assert unseen["first_open_time"] > knew
    assert unseen["out_of_sample"] is True
    assert unseen["warning"] is None
    until = int(bars().open_time[1800])
    both = parts(options(made, file, trained_until=until))
    assert list(both) == ["out of sample", "IN SAMPLE"]
    assert both["out of sample"]["first_open_time"] == until + 25 * HOUR
    assert both["IN SAMPLE"]["last_open_time"] == until + 24 * HOUR
    assert both["IN SAMPLE"]["out_of_sample"] is False
    assert "the model was trained on these bars" in both["IN SAMPLE"]["warning"]
    only = parts(options(made, file, trained_until=until, out_of_sample=True))
    assert only == {"out of sample": both["out of sample"]}


def test_a_bundle_that_does_not_say_is_not_believed(file: Path, tmp_path: Path):
    """Without a training range nothing counts as out of sample, and the report says so aloud."""
    silent = dataclasses.replace(spec(), provenance={})
    write_bundle(silent, tmp_path / "b")
    text = run_backtest(options(tmp_path / "b", file, as_json=False))
    assert "NOT KNOWN TO BE OUT OF SAMPLE: " in text
    assert "WARNING: the bundle does not say what it was trained on" in text
    with pytest.raises(BacktestError, match="give --trained-until"):
        run_backtest(options(tmp_path / "b", file, out_of_sample=True))


def test_the_report_reads_well(made: Path, file: Path):
    """All ways are columns, the figures are rows, and a sweep says how much was tried."""
    until = int(bars().open_time[1800])
    chosen = options(made, file, trained_until=until, sweep=True, as_json=False)
    text = run_backtest(chosen)
    for word in (
        f"{file}: {COUNT} bars from ",
        "bundle BTCUSDT_1h, 220 features",
        "model + regime gate",
        "regime, long only",
        "buy and hold",
        "95 % interval",
        "deepest drawdown",
        "net % a trade (trades) by regime",
        "600 configurations",
        "no forecast",
        "IN SAMPLE: ",
    ):
        assert word in text
    assert max(map(len, text.splitlines()[2:])) <= 120


def test_a_sweeps_cell_is_the_report_at_that_threshold(made: Path, file: Path):
    """The grid in the JSON holds, at the bundle's threshold and fee, the report's own figures."""
    (part,) = parts(options(made, file, threshold=0.42, sweep=True)).values()
    grid, model = part["sweep"], part["ways"]["model"]
    cell = grid["thresholds"].index(0.42), grid["side_pct"].index(0.1)
    assert grid["trades"][cell[0]][cell[1]] == model["trades"] > 0
    assert grid["net_pct"][cell[0]][cell[1]] == pytest.approx(model["net_pct"])
    assert grid["final_equity"][cell[0]][cell[1]] - 1 == pytest.approx(model["total_return"])


def test_the_gate_is_a_column_whether_asked_for_or_not(made: Path, file: Path):
    """With and without the gate in the policy, both ways are compared on the same bars."""
    free, gate = (parts(options(made, file, regime_gate=gate)) for gate in (False, True))
    assert free == gate
    ways = free["out of sample"]["ways"]
    assert ways["model + regime gate"]["trades"] < ways["model"]["trades"]


def test_several_symbols_share_a_purse(made: Path, file: Path, tmp_path: Path):
    """Files are streams of their own names; with one position at once their trades take turns."""
    other = tmp_path / "ETHUSDT_1h.csv"
    write_candles(other, candles(COUNT, seed=19))
    out = tmp_path / "t.csv"
    run_backtest(options(made, file, other, max_positions=1, trades=out))
    traded = rows(out)
    assert {trade["stream"] for trade in traded} == {
        "binance/BTCUSDT/1h",
        "binance/ETHUSDT/1h",
    }
    exits = [trade["exit_time"] for trade in traded]
    entries = [trade["entry_time"] for trade in traded]
    assert all(over <= entry for over, entry in zip(exits, entries[1:], strict=False))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"exits": ("target",)}, "a target or a stop needs a time limit: add time"),
        ({"limit_pct": -1.0}, "limit_pct must be a number above 0"),
        ({"fraction": 0.0}, "fraction must be above 0"),
        ({"first": int(bars().open_time[-1]) + HOUR}, "no bar was decided"),
        (
            {"trained_until": int(bars().open_time[-1]), "out_of_sample": True},
            "no decided bar after .* give newer candles",
        ),
    ],
)
def test_what_cannot_be_tested_is_refused(made: Path, file: Path, changed: dict, message: str):
    """The message says what is wrong and what to change."""
    with pytest.raises(BacktestError, match=message):
        run_backtest(options(made, file, **changed))


def test_files_and_options_that_do_not_go_together_are_refused(
    made: Path, file: Path, tmp_path: Path
):
    """Two files of one symbol, a sweep of several, a target that the model never had."""
    again = tmp_path / "BTCUSDT.csv"
    write_candles(again, bars())
    with pytest.raises(BacktestError, match="two candle files are named after BTCUSDT"):
        run_backtest(options(made, file, again))
    other = tmp_path / "ETHUSDT.csv"
    write_candles(other, candles(COUNT, seed=19))
    with pytest.raises(BacktestError, match="--sweep is for one candle file"):
        run_backtest(options(made, file, other, sweep=True))
    write_bundle(dataclasses.replace(spec(), target=None), tmp_path / "b")
    with pytest.raises(BacktestError, match="give --exits opposite"):
        run_backtest(options(tmp_path / "b", file))
    assert parts(options(tmp_path / "b", file, exits=("opposite",)))


def test_the_real_model_on_real_candles(tmp_path: Path):
    """The notebook's model loses out of sample what it seems to win in sample."""
    from candled.offline.models import import_model  # noqa: PLC0415

    data = real_data()
    import_model(data / "notebook", tmp_path / "b", None, None, 0.6)
    candle_file = data / "candles" / "BTCUSDT_1h.csv.gz"
    until = 1_750_240_800_000  # 2025-06-18T10:00Z, the last of the first 80 % of the rows
    found = parts(options(tmp_path / "b", candle_file, trained_until=until))
    seen, unseen = (found[name]["ways"]["model"] for name in ("IN SAMPLE", "out of sample"))
    assert seen["net_pct"] > 0.5
    assert unseen["net_pct"] < 0.1
    assert unseen["trades"] > 100
