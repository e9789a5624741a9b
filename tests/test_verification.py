"""`candled verify`: on candles, and on the journal of a daemon that may be running."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from candled.core.bar import Bars, Stream
from candled.core.decision import BarClosed, Decision, Policy, Source
from candled.core.engine import Engine, Lane
from candled.core.features.mar import MAR
from candled.errors import Exit, explain
from candled.journal import Journal, open_journal
from candled.lab.verify import Verification, VerificationError, verify
from candled.lab.verify.series import with_columns
from candled.offline.verification import described, verify_candles, verify_live
from candled_adapters.artifacts.bundle import load_bundle
from candled_adapters.candles.candlefile import write_candles
from candles import HOURLY, candles
from journals import change
from models import bundle
from toys import Toy, shifted

BTC = Stream("binance", "BTCUSDT", "1h")
ETH = Stream("binance", "ETHUSDT", "1h")
FIRST = MAR.history
BARS = candles(FIRST + 30, seed=5)

CONFIG = """
[exchanges.binance]
dialect = "binance-spot"
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT", "ETHUSDT"]
interval = "1h"
bundle = "{bundle}"
any_symbol = true
"""


def of_candles(path: Path, **options) -> tuple[str, bool]:
    settings = {
        "features": "mar", "bundle": None, "interval": None, "rows": None, "seed": 0,
        "as_json": False, **options,
    }  # fmt: skip
    return verify_candles(path, **settings)


class Daemon:
    """A state folder, its configuration, and an open journal that was filled as live."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.config = folder / "config.toml"
        made = bundle(folder / "bundle")
        self.config.write_text(CONFIG.format(bundle=made.name))
        loaded = load_bundle(made)
        policy = Policy(threshold=loaded.model.threshold, regime=loaded.manifest.regime)
        self.lanes = {stream: Lane(stream, loaded.model, policy) for stream in (BTC, ETH)}
        self.journal: Journal = open_journal(self.state)
        for stream in (BTC, ETH):
            self._live(stream)

    def _live(self, stream: Stream) -> list[Decision]:
        self.journal.store_history(stream, BARS[:FIRST], from_listing=False)
        engine = Engine([self.lanes[stream]])
        engine.warm(stream, BARS[:FIRST], from_listing=False)
        events = [BarClosed(stream, bar, Source.WS, 1, 1) for bar in BARS[FIRST:]]
        decisions = engine.decide(events)
        self.journal.commit(events, decisions, [0] * len(events))
        return decisions

    def verify(self, *candles: str, bundles: tuple[Path, ...] = (), as_json: bool = False):
        return verify_live(
            self.state, self.config, bundles=bundles, candles=candles, as_json=as_json
        )

    def report(self, *candles: str):
        text, ok = self.verify(*candles, as_json=True)
        return {stream["stream"]: stream for stream in json.loads(text)["streams"]}, ok

    def spoil(self, sql: str, *values: object) -> None:
        """Change the journal behind the daemon's back."""
        change(self.state, sql, *values)


@pytest.fixture
def daemon(tmp_path: Path):
    running = Daemon(tmp_path)
    yield running
    running.journal.close()


# --- on candles


def test_candles_are_verified_and_the_table_says_what_was_compared(tmp_path: Path):
    """Every check has a line, the last line says that no bit differs, and the model takes part."""
    write_candles(tmp_path / "candles.csv", candles(900, seed=17))
    made = bundle(tmp_path / "bundle")
    text, ok = of_candles(tmp_path / "candles.csv", bundle=made, rows=300)
    lines = text.splitlines()
    assert ok
    assert lines[1] == "feature set mar, 300 bars"
    assert lines[2].split() == ["check", "rows", "cells", "differ", "compared"]
    assert [line.split()[-1] for line in lines if line.startswith("cold start")] == ["bars"]
    assert next(line for line in lines if line.startswith("model")).split()[3] == "0"
    assert lines[-1].startswith("ok: ")
    assert lines[-1].endswith("0 differing bits")
    told = json.loads(of_candles(tmp_path / "candles.csv", rows=60, as_json=True)[0])
    assert (told["ok"], told["bars"], told["subject"]) == (True, 60, "mar")
    assert told["cells"] == sum(check["cells"] for check in told["checks"])


def test_findings_are_printed_with_their_check_and_their_columns_in_the_verdict():
    """A column that looks ahead is named by check, column and time; many findings are cut short."""
    done = verify(Toy(lambda bars: shifted(bars.close, -1)), BARS[:300], HOURLY)
    lines = described(done, 1.0).splitlines()
    assert any(line.startswith("future dropped: bad at 20") for line in lines)
    assert lines[-1].startswith("not ok: ")
    assert lines[-1].endswith("in 1.0 s; differing: bad")
    many = Verification("toy", 300, (replace(done.checks[0], findings=done.findings[:1] * 23),))
    assert "and 3 findings more" in described(many, 1.0)


# --- on a daemon's journal


def test_a_running_daemon_is_verified_without_being_disturbed(daemon: Daemon):
    """All its decisions are made again and equal; its journal is neither locked nor written."""
    before = (daemon.state / "candled.journal-wal").read_bytes()
    text, ok = daemon.verify()
    assert ok
    assert text.splitlines() == [
        "binance/BTCUSDT/1h: 30 decisions, 30 compared, 0 differ, 0 of them in their side",
        "binance/ETHUSDT/1h: 30 decisions, 30 compared, 0 differ, 0 of them in their side",
        "ok: 2 streams, 60 decisions, 60 made again, 0 differ, 0 could not be made again",
    ]
    assert (daemon.state / "candled.journal-wal").read_bytes() == before


def test_a_decision_that_was_stored_otherwise_is_shown(daemon: Daemon):
    """The first differences are shown field by field, with what is stored and what it would be."""
    at = int(BARS.open_time[FIRST + 3])
    daemon.spoil(
        "UPDATE decisions SET entry = replace(entry, '\"raw_regime\":', '\"raw_regime\":1')"
        " WHERE bar_open = ? AND stream = 1", at,
    )  # fmt: skip
    report, ok = daemon.report()
    told = report["binance/BTCUSDT/1h"]
    assert not ok
    assert (told["differing"], told["other_side"]) == (1, 0)
    (one,) = told["first"]
    was, now = one["fields"]["raw_regime"]
    assert was == 10 + now
    assert report["binance/ETHUSDT/1h"]["ok"]
    text, _ = daemon.verify()
    assert f"{one['bar_open']} raw_regime: stored {was}, again {now}" in text


def test_a_bar_that_was_changed_is_found_by_its_decisions(daemon: Daemon):
    """One bit of a stored close shows in decisions from its bar on."""
    at = int(BARS.open_time[FIRST + 3])
    close = float(np.nextafter(BARS.close[FIRST + 3], 0.0))
    daemon.spoil("UPDATE bars SET close = ? WHERE stream = 2 AND open_time = ?", close, at)
    report, ok = daemon.report()
    assert not ok
    assert "price" in report["binance/ETHUSDT/1h"]["first"][0]["fields"]


def test_what_cannot_be_made_again_is_counted(daemon: Daemon, tmp_path: Path):
    """Without history, or with another model configured, decisions are counted and not equal."""
    daemon.spoil("DELETE FROM bars WHERE stream = 1 AND open_time < ?", int(BARS.open_time[9]))
    report, ok = daemon.report()
    told = report["binance/BTCUSDT/1h"]
    assert ok
    assert (told["compared"], told["not_compared"]) == (
        22, {"the history behind it is no longer stored": 8},
    )  # fmt: skip
    other = bundle(tmp_path / "other", seed=2)
    daemon.config.write_text(CONFIG.format(bundle=other.name))
    text, ok = daemon.verify()
    assert not ok  # nothing could be compared
    assert "30 not compared: the model or policy that made it is not at hand" in text
    assert "0 made again" in text.splitlines()[-1]
    text, ok = daemon.verify(bundles=(tmp_path / "bundle",))
    assert ok
    assert "52 made again, 0 differ, 8 could not be made again" in text


def _revised() -> Bars:
    close = BARS.close.copy()
    close[FIRST + 2] = (BARS.high[FIRST + 2] + BARS.low[FIRST + 2]) / 2
    return with_columns(BARS, close=close)


def test_the_final_history_tells_revised_bars_and_what_they_would_change(
    daemon: Daemon, tmp_path: Path
):
    """Bars that the venue has changed since are listed, with the decisions they would change."""
    write_candles(tmp_path / "same.csv", BARS)
    write_candles(tmp_path / "revised.csv", _revised())
    report, ok = daemon.report(f"binance/BTCUSDT/1h={tmp_path / 'same.csv'}")
    assert ok
    assert report["binance/BTCUSDT/1h"]["final"]["bars"] == len(BARS)
    assert "final" not in report["binance/ETHUSDT/1h"]
    given = f"binance/BTCUSDT/1h={tmp_path / 'revised.csv'}"
    report, ok = daemon.report(given)
    final = report["binance/BTCUSDT/1h"]["final"]
    assert not ok
    assert [bar["columns"] for bar in final["changed"]] == [["close"]]
    assert final["decisions"]["differing"] > 0
    assert report["binance/BTCUSDT/1h"]["differing"] == 0
    text, _ = daemon.verify(given)
    assert f"{final['changed'][0]['bar_open']} differs in close" in text


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("candles.csv", "with --live give EXCHANGE/SYMBOL/INTERVAL=FILE"),
        ("binance/BTCUSDT=candles.csv", "with --live give EXCHANGE/SYMBOL/INTERVAL=FILE"),
        ("binance/XRPUSDT/1h={file}", "has no stream binance/XRPUSDT/1h"),
    ],
)
def test_candles_of_no_stream_are_refused(daemon: Daemon, tmp_path: Path, given: str, says: str):
    """A final history must name a stream of the journal; the error says how."""
    write_candles(tmp_path / "candles.csv", BARS)
    with pytest.raises(VerificationError, match=says) as told:
        daemon.verify(given.format(file=tmp_path / "candles.csv"))
    assert explain(told.value) == (str(told.value), Exit.DATA)
