"""`candled drift`: a daemon's journal in, how each stream differs from training out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from candled.compose import build
from candled.config import load_config
from candled.core.bar import Stream
from candled.core.decision import BarClosed, Source
from candled.core.engine import Engine
from candled.core.features.mar import MAR
from candled.driftwatch import DriftWatch
from candled.journal import open_journal
from candled.lab.drift import drift
from candled.lineup import load_lineup
from candled.offline.drift import drift_of
from candles import HOURLY, candles
from models import bundle, lane, model

BTC = Stream("binance", "BTCUSDT", "1h")
FIRST, LAST = 60, 260

CONFIG = """
log.decisions = ""
track.drift_rows = 150
[exchanges.binance]
dialect = "binance-spot"
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT", "ETHUSDT"]
interval = "1h"
bundle = "model"
any_symbol = true
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a configuration, a bundle and a journal of one of its two streams."""
    folder = tmp_path_factory.mktemp("daemon")
    bundle(folder / "model")
    (folder / "config.toml").write_text(CONFIG)
    bars, engine = candles(LAST, seed=17), Engine([lane(BTC)])
    journal = open_journal(folder / "state")
    try:
        journal.store_history(BTC, bars[:FIRST], from_listing=True)
        engine.warm(BTC, bars[:FIRST], from_listing=True)
        batch = [BarClosed(BTC, bar, Source.WS, 0, 0) for bar in bars[FIRST:]]
        journal.commit(batch, engine.decide(batch), [0] * len(batch))
    finally:
        journal.close()
    return folder


def test_the_json_has_the_labs_figures(place: Path):
    """220 features of 150 rows beside those of the bundle's training, to the bit."""
    found, other = json.loads(drift_of(place / "config.toml", None, as_json=True))
    table = MAR.table(candles(LAST, seed=17), HOURLY)[LAST - 150 :]
    trained = MAR.table(candles(1000, seed=1), HOURLY)[MAR.window - 1 :]
    train = trained[: int(0.8 * len(trained))]
    expected = drift(train, table)
    assert (found["stream"], found["rows"]) == (BTC.path, 150)
    assert found["psi_median"] == np.median(expected.psi)
    assert found["moved_share"] == np.mean(expected.psi > 0.25)
    assert found["worst"][0]["psi"] == expected.psi.max()
    assert len(found["worst"]) == 10
    sides = model().probabilities(table)[:, 1:].astype(np.float64)
    tests = model().probabilities(trained[len(train) :])[:, 1:].astype(np.float64)
    assert found["psi_answers"] == drift(tests, sides).psi.max()
    assert found["outside_share"] is found["usual"] is None  # the notebook's way knows no ranges
    assert (found["flagged"], found["model_digest"]) == (False, model().digest)
    assert (other["stream"], other["rows"]) == ("binance/ETHUSDT/1h", 0)
    assert other["psi_median"] is None


def test_the_command_shows_a_line_for_each_stream(place: Path):
    """As a table, from anywhere, with the state named or as configured; an absent one is told."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "candled", "drift", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    config = place / "config.toml"
    done = run("--config", config)
    assert (done.returncode, done.stderr) == (0, "")
    head, btc, eth = done.stdout.splitlines()
    assert head.split()[:4] == ["stream", "rows", "median", "PSI"]
    assert btc.split()[:2] == [BTC.path, "150"]
    assert "not known" in btc
    assert eth.split()[:3] == ["binance/ETHUSDT/1h", "0", "-"]
    assert drift_of(config, place / "state", as_json=False) == done.stdout.rstrip("\n")
    absent = run("--config", config, "--state", place / "none")
    assert absent.returncode == 65
    assert "there is no journal; name the daemon's [state] path" in absent.stderr


@pytest.mark.parametrize("drift", ["flag", "off"])
def test_the_daemon_watches_unless_told_not_to(place: Path, tmp_path: Path, drift: str):
    """A part of the service and the engine's ear; off, nothing of it is there."""
    text = CONFIG.replace("track.drift_rows", f'track.drift = "{drift}"\ntrack.drift_rows')
    path = place / f"{drift}.toml"
    path.write_text(f'state.path = "{tmp_path}"\n{text}')
    config = load_config(path)
    daemon = build(config, load_lineup(config, path))
    try:
        watches = [sink for sink in daemon.service._watchers if isinstance(sink, DriftWatch)]
        known = daemon.drift(BTC)
        assert len(watches) == (drift == "flag")
        assert (known is not None) == (drift == "flag")
        if known:
            assert daemon.service._engine.on_rows == watches[0].on_rows
            assert watches[0]._drifts.wanted == 160
        else:
            assert daemon.service._engine.on_rows is None
    finally:
        daemon.journal.close()
