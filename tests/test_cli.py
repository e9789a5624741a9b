"""The commands as people run them: real processes, real files, clear lines and the right codes."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from typer.main import get_command

from candled.cli import app
from candled.core.bar import HOUR, Bars, Stream
from candled.core.decision import BarClosed, Evidence, Policy, Side, Source, signals
from candled.core.drift import Levels, Usual
from candled.core.engine import Engine, Lane
from candled.core.features.mar import COLUMNS
from candled.core.features.scalefree import SCALEFREE
from candled.core.labels import LabelParams
from candled.core.model import Ranges
from candled.journal import open_journal
from candled.lab.predict import predict
from candled.lab.tablefile import read_table
from candled.lab.tables import feature_table
from candled_adapters.artifacts.bundle import load_bundle, write_bundle
from candled_adapters.candles.candlefile import write_candles
from candles import HOURLY, bars_at, candles, differing
from models import THRESHOLD, bundle, changed, model, spec


def commands_of(group: Any, path: str = "") -> list[str]:
    """Return the words of every command of a group, and of the groups in it."""
    found = [path]
    for name, command in getattr(group, "commands", {}).items():
        found += commands_of(command, f"{path} {name}".strip())
    return found


COMMANDS = commands_of(get_command(app))
BARS = candles(900, seed=17)


def start(*arguments: str | Path, cwd: Path | None = None) -> subprocess.Popen[str]:
    """Start a command; it says what it says in plain text of a fixed width."""
    return subprocess.Popen(
        [sys.executable, "-m", "candled", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
    )


def run(*arguments: str | Path, cwd: Path | None = None) -> tuple[int, str, str]:
    """Run a command to its end; return code, output and errors."""
    with start(*arguments, cwd=cwd) as child:
        try:
            out, err = child.communicate(timeout=60)
        finally:
            child.kill()
    return child.returncode, out, err


def succeed(*arguments: str | Path) -> str:
    """Run a command that must succeed; return its output."""
    code, out, err = run(*arguments)
    assert (code, err) == (0, ""), (code, out, err)
    return out


def fail(*arguments: str | Path) -> tuple[int, str]:
    """Run a command that must fail; return its code and the line that says why."""
    code, out, err = run(*arguments)
    assert code != 0, out
    assert out == ""
    assert "Traceback" not in err, err
    assert err.startswith("error: ")
    assert err.endswith("\n")
    return code, err.removeprefix("error: ").removesuffix("\n")


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    """Write the candles that most tests read."""
    write_candles(tmp_path / "candles.csv", BARS)
    return tmp_path / "candles.csv"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Write a bundle."""
    return bundle(tmp_path / "bundle")


def table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Read a CSV file: its header and its rows."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


# --- help


def test_every_command_has_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """`--help` of every command says how it is used, in a moment and without an error."""
    for name, value in {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    assert run("--help")[0] == 0
    for command in COMMANDS:
        words = [*command.split(), "--help"]
        assert not app(words, prog_name="python -m candled", standalone_mode=False), command
        out, err = capsys.readouterr()
        assert err == "", command
        assert out.startswith(f"Usage: python -m candled {command}".rstrip()), command
        assert "--help" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("runn", "No such command 'runn'"),
        ("train --interval 7m --candles x --symbol B --out y", "unknown interval '7m'; known are"),
        ("train --interval 1h --candles x --symbol B --out y --lookahead 0", "--lookahead"),
        ("train --interval 1h --candles x --symbol B --out y --profit 0", "not a percentage above"),
        ("train --interval 1h --candles x --symbol B --out y --stop nan", "not a percentage above"),
        ("predict --bundle b --candles x --out y --threshold 60", "--threshold"),
        ("features --candles x --out y --regime bold", "--regime"),
        ("backtest --bundle b --candles x --exits stop,luck", "'luck' is not one of target, stop"),
        ("backtest --bundle b --candles x --from someday", "YYYY-MM-DD"),
        ("backtest --bundle b --candles x --sides up", "--sides"),
        ("verify", "give one --candles FILE and at most one --bundle, or --live"),
        ("verify --candles x --candles y", "give one --candles FILE"),
        ("verify --candles x --rows 0", "--rows"),
        ("bench --streams 1,x", "'1,x' is not a list of numbers"),
        ("bench --streams 0", "'0' is not a list of numbers"),
        ("bench --json learning", "--json before learning is of the live bench"),
        ("bench learning --rows -1", "--rows"),
        ("fetch --exchange e --symbol B --interval 1h --since 1/2/24 --out y", "YYYY-MM-DD"),
        ("candles import x --out y --columns when=Date", "'when=Date' is not NAME=COLUMN"),
        ("candles check x --interval 7m", "unknown interval '7m'; known are"),
        ("simulate --port 99999", "--port"),
        ("simulate --port 0 --speed 0", "--speed"),
        ("simulate --port 0 --start-at -1", "--start-at"),
    ],
)
def test_wrong_usage_is_told_with_the_option(arguments: str, said: str):
    """A value that an option cannot take is refused at once, with code 2 and the option's name."""
    code, out, err = run(*arguments.split())
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


# --- features, train, predict


def test_features_are_written_to_the_bit(csv_file: Path, tmp_path: Path):
    """The exported table is the kernel's: every cell reads back to the same float64."""
    said = succeed("features", "--candles", csv_file, "--out", tmp_path / "f.csv", "--labels")
    assert said == (
        f"{csv_file}: 900 bars from 2023-11-14T22:00:00Z to 2023-12-22T09:00:00Z\n"
        f"{tmp_path / 'f.csv'}: 900 rows, 231 columns\n"
    )
    header, rows = table(tmp_path / "f.csv")
    assert tuple(header[2:222]) == COLUMNS
    assert header[222:] == [
        "raw_regime", "regime", "future_high", "future_low", "future_return_up",
        "future_return_down", "signal_long", "signal_short", "signal",
    ]  # fmt: skip
    expected = feature_table(BARS, HOURLY).to_numpy(dtype=np.float64)
    written = np.array([[float(cell or "nan") for cell in row[:224]] for row in rows])
    assert differing(written, expected) == 0


def test_any_set_is_written_in_the_notebooks_own_form(csv_file: Path, tmp_path: Path):
    """`--features` names a set, `--raw` adds the bars, and a parquet file holds the same bits."""
    out = tmp_path / "BTCUSDT_1h_features_labeled.parquet"
    said = succeed(
        "features", "--candles", csv_file, "--out", out, "--features", "mar-scalefree", "--raw",
        "--labels",
    )  # fmt: skip
    assert said.endswith(f"{out}: 900 rows, 119 columns\n")
    frame = read_table(out, SCALEFREE)
    expected = feature_table(BARS, HOURLY, features=SCALEFREE, labels=LabelParams(), raw=True).drop(
        columns="regime_name"
    )
    assert [name for name in frame.columns if name != "regime_name"] == list(expected.columns)
    written = frame[list(expected.columns)].to_numpy(np.float64)
    assert differing(written, expected.to_numpy(np.float64)) == 0
    code, why = fail("features", "--candles", csv_file, "--out", out, "--features", "rsi")
    assert code == 78
    assert why.startswith("unknown feature set 'rsi'; known are mar, mar-scalefree, ")


def test_train_import_check_show_and_predict_agree(tmp_path: Path):
    """A trained bundle passes its check, and its notebook files import into the same model."""
    write_candles(tmp_path / "c.csv.gz", candles(400, seed=1))
    out = tmp_path / "models" / "BTCUSDT_1h"
    options = ("--symbol", "BTCUSDT", "--interval", "1h", "--notebook", "--threshold", "0.42")
    said = succeed("train", "--candles", tmp_path / "c.csv.gz", *options, "--out", out)
    assert said.startswith(f"{tmp_path / 'c.csv.gz'}: 400 bars from ")
    assert f"{out}: bundle BTCUSDT_1h, 220 features, threshold 0.42, digest " in said
    assert sorted(file.name for file in out.iterdir()) == [
        "BTCUSDT_1h_signal_metadata.json", "BTCUSDT_1h_signal_model.joblib",
        "BTCUSDT_1h_signal_scaler.joblib", "golden.json", "manifest.json", "model.ubj",
    ]  # fmt: skip
    notebook = tmp_path / "notebook"
    notebook.mkdir()
    for file in out.glob("*_signal_*"):
        (notebook / file.name).write_bytes(file.read_bytes())
    succeed("model", "import", notebook, "--out", tmp_path / "imported", "--threshold", "0.42")
    trained, imported = load_bundle(out), load_bundle(tmp_path / "imported")
    rows = trained.model.features.table(BARS, HOURLY)[40:]
    assert (
        imported.model.probabilities(rows).tobytes() == trained.model.probabilities(rows).tobytes()
    )
    checked = succeed("model", "check", tmp_path / "imported")
    assert checked.endswith("\nok: digests, names, order and golden vectors agree\n")
    shown = json.loads(succeed("model", "show", out, "--json"))
    assert (shown["name"], shown["digest"]) == ("BTCUSDT_1h", trained.manifest.digest)
    assert shown["features"] == 220
    assert shown["target"] == {"lookahead_bars": 24, "profit_pct": 1.5, "stop_pct": 1.0}
    assert "symbol         BTCUSDT\n" in succeed("model", "show", out)


@pytest.mark.parametrize("threshold", [None, 0.0, 0.5])
def test_predictions_are_the_models_own(
    csv_file: Path, made: Path, tmp_path: Path, threshold: float | None
):
    """Every complete row has its probabilities to the bit and the signal of the asked threshold."""
    more = () if threshold is None else ("--threshold", str(threshold))
    out = tmp_path / "p.csv"
    said = succeed("predict", "--bundle", made, "--candles", csv_file, "--out", out, *more)
    header, rows = table(out)
    assert header == ["open_time", "prob_no_trade", "prob_long", "prob_short", "signal"]
    direct = predict(BARS, model())
    assert len(rows) == len(direct) == 860
    written = np.array([row[1:4] for row in rows]).astype(np.float32)
    assert written.tobytes() == direct.probabilities.tobytes()
    assert [int(row[0]) for row in rows] == direct.open_time.tolist()
    expected = signals(direct.probabilities, THRESHOLD if threshold is None else threshold)
    assert [int(row[4]) for row in rows] == expected.tolist()
    counts = np.bincount(expected, minlength=3).tolist()
    assert f"{out}: 860 rows ({counts[0]} flat, {counts[1]} long, {counts[2]} short)" in said


def test_holes_in_a_file_are_told(made: Path, tmp_path: Path):
    """Absent bars are no error, but how many and where the first is."""
    bars = bars_at(BARS, np.delete(np.arange(900), [100, 101, 500]))
    write_candles(tmp_path / "c.csv", bars)
    said = succeed(
        "predict", "--bundle", made, "--candles", tmp_path / "c.csv", "--out", tmp_path / "p.csv"
    )
    assert "897 bars" in said
    assert "3 absent in 2 gap(s), the first at 2023-11-19T02:00:00Z (taken by row)" in said


def now_ending(count: int) -> Bars:
    """Return hourly bars of which the last has opened and not closed yet."""
    hour = int(dt.datetime.now(dt.UTC).timestamp() * 1000) // HOUR * HOUR
    bars = candles(count, seed=2)
    moved = hour - int(bars.open_time[-1])
    return dataclasses.replace(
        bars, open_time=bars.open_time + moved, close_time=bars.close_time + moved
    )


def test_a_bar_that_is_still_open_is_left_out(made: Path, tmp_path: Path):
    """The last row of a fresh download is dropped, and that is said; alone it is an error."""
    write_candles(tmp_path / "c.csv", now_ending(60))
    common = ("predict", "--bundle", made, "--out", tmp_path / "p.csv", "--candles")
    said = succeed(*common, tmp_path / "c.csv")
    assert "59 bars" in said
    assert ", open last bar dropped" in said
    assert len(table(tmp_path / "p.csv")[1]) == 19
    write_candles(tmp_path / "one.csv", now_ending(1))
    code, why = fail(*common, tmp_path / "one.csv")
    assert (code, why) == (
        65,
        f"{tmp_path / 'one.csv'}: its only bar has not closed yet; give a file with closed candles",
    )


# --- verify


def test_verify_ends_well_when_no_bit_differs(csv_file: Path, made: Path):
    """`verify` prints its table and ends with 0; as JSON the same is data."""
    said = succeed("verify", "--candles", csv_file, "--bundle", made, "--rows", "60")
    assert said.splitlines()[-1].endswith("0 differing bits")
    told = json.loads(succeed("verify", "--candles", csv_file, "--rows", "60", "--json"))
    assert told["ok"]


def test_verify_ends_with_65_when_a_decision_cannot_be_confirmed(made: Path, tmp_path: Path):
    """`verify --live` on a journal whose bar has no decision prints what it found and ends so."""
    stream = Stream("binance", "BTCUSDT", "1h")
    settings = Policy(threshold=THRESHOLD)
    engine = Engine([Lane(stream, load_bundle(made).model, settings)])
    events = [BarClosed(stream, bar, Source.WS, 1, 1) for bar in BARS[:3]]
    decisions = engine.decide(events)
    journal = open_journal(tmp_path / "state")
    journal.commit(events[:1], decisions[:1], [0])
    journal.store_history(stream, BARS[1:2], from_listing=False)
    journal.commit(events[2:], decisions[2:], [0])
    journal.close()
    asked = ("verify", "--live", tmp_path / "state", "--config", config(tmp_path))
    code, out, err = run(*asked)
    assert (code, err) == (65, "")
    assert "1 bars without a decision" in out
    assert fail(*asked[:2], tmp_path / "no", *asked[3:])[0] == 65


# --- bad files


def lines() -> list[list[str]]:
    """Return 60 candles as cells, a header first."""
    rows = [[str(value) for value in dataclasses.astuple(bar)] for bar in BARS[:60]]
    return [[field.name for field in dataclasses.fields(BARS)], *rows]


def with_cell(row: int, column: str, value: str) -> list[list[str]]:
    """Change one cell; rows are counted as in the file, from 1."""
    rows = lines()
    rows[row - 1][rows[0].index(column)] = value
    return rows


BAD = {
    "NaN price": (with_cell(31, "close", "nan"), ", row 31, column close: close nan must be a "),
    "negative price": (with_cell(8, "low", "-5.0"), ", row 8, column low: low -5.0 must be a "),
    "infinite price": (with_cell(9, "high", "inf"), ", row 9, column high: high inf must be a "),
    "no number": (with_cell(3, "open", "abc"), ", row 3, column open: 'abc' is not a number; "),
    "empty price": (with_cell(3, "open", ""), ", row 3, column open: '' is not a number; "),
    "duplicate": ([*lines()[:20], *lines()[19:]], ", row 21, column open_time: 2023-11-15T16:00"),
    "unsorted": (
        [*lines()[:10], lines()[11], lines()[10], *lines()[12:]],
        ", row 12, column open_time: 2023-11-15T07:00:00Z comes after the later",
    ),
    "between two milliseconds": (
        with_cell(4, "open_time", "1700006400000001"),
        ", row 4, column open_time: 1700006400000001 is not a whole millisecond; ",
    ),
    "minutes": (
        with_cell(2, "open_time", "28333320"),
        ", row 2, column open_time: 28333320 is not a time since 1970",
    ),
    "short row": ([*lines()[:5], lines()[5][:4]], ", row 6: has 4 cells where 11 are due; "),
    "empty": ([], ": the file is empty; "),
    "header only": (lines()[:1], ": there is a header but no candle; "),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_candle_is_told_by_row_and_column(made: Path, tmp_path: Path, name: str):
    """A file that cannot be candles ends with 65 and one line that points; the output stays."""
    rows, said = BAD[name]
    file, out = tmp_path / "bad.csv", tmp_path / "p.csv"
    file.write_text("".join(",".join(row) + "\n" for row in rows))
    out.write_text("old")
    code, why = fail("predict", "--bundle", made, "--candles", file, "--out", out)
    assert code == 65
    assert why.startswith(str(file))
    assert said in why
    assert "\n" not in why
    assert out.read_text() == "old"


def test_candles_of_another_interval_are_refused(csv_file: Path, tmp_path: Path):
    """An hourly file is not taken as a file of minutes or of four hours."""
    for interval in ("1m", "4h"):
        code, why = fail(
            "features", "--candles", csv_file, "--out", tmp_path / "f.csv", "--interval", interval
        )
        assert code == 65
        assert why.startswith(str(csv_file))
        assert "by its steps the file has 1h; check the interval" in why
    assert not (tmp_path / "f.csv").exists()


def test_places_that_cannot_be_read_or_written_are_named(
    csv_file: Path, made: Path, tmp_path: Path
):
    """Missing files, directories and the input itself as output are refused before any work."""
    common: Sequence[str | Path] = ("predict", "--bundle", made, "--candles")
    cases = (
        (tmp_path / "no.csv", tmp_path / "p.csv", f"{tmp_path / 'no.csv'}: no such file"),
        (made, tmp_path / "p.csv", f"{made}: this is a directory"),
        (csv_file, made, f"{made} is a directory; name a file to write"),
        (csv_file, tmp_path / "x" / "p.csv", f"{tmp_path / 'x'}: no such directory; make it first"),
        (csv_file, csv_file, f"{csv_file} is the candle file itself; name another file to write"),
    )
    before = csv_file.read_bytes()
    for source, out, said in cases:
        code, why = fail(*common, source, "--out", out)
        assert code == 65
        assert why.startswith(said)
    assert csv_file.read_bytes() == before
    assert not (tmp_path / "p.csv").exists()


def test_too_few_candles_do_not_make_a_model(tmp_path: Path):
    """Training that cannot be done ends with 65 and leaves no bundle."""
    write_candles(tmp_path / "c.csv", candles(100, seed=3))
    code, why = fail(
        "train", "--candles", tmp_path / "c.csv", "--symbol", "BTCUSDT", "--interval", "1h",
        "--out", tmp_path / "m", "--notebook",
    )  # fmt: skip
    assert code == 65
    assert "100 bars give 60 rows" in why
    assert [file.name for file in tmp_path.iterdir()] == ["c.csv"]


def test_show_lays_out_the_evidence(tmp_path: Path):
    """People see a line for each band, programs all of it with ranges and limits; or that none."""
    k = len(spec().feature_names)
    bands = (
        Evidence(Side.LONG, 0.5, 0.75, 812, 0.0512, 0.3279, 0.29, 0.366, 0.245, 0.17),
        Evidence(Side.LONG, 0.75, None, 9, 0.001, 0.5, 0.1, 0.9, 0.245, None),
    )
    levels = Levels(psi_median=0.5, outside_share=0.25, psi_answers=1.5)
    usual = tuple(Usual(rows, 9, levels, levels) for rows in (100, 250))
    known = changed(
        evidence=bands,
        ranges=Ranges(np.arange(k) - 0.5, np.arange(k) + 0.5),
        abstain_limits=np.array([0.25, 0.5, 0.75], dtype=np.float32),
        reference=dataclasses.replace(spec().reference, usual=usual),
    )
    write_bundle(known, tmp_path / "b")
    said = succeed("model", "show", tmp_path / "b")
    table = """
evidence (out of sample, by the side's probability)
  side    probability    n  coverage  precision            95 %   base  gross %
  long    0.5 to 0.75  812     5.12%      0.328  0.290 to 0.366  0.245   +0.170
  long  0.75 and more    9     0.10%      0.500  0.100 to 0.900  0.245        -
"""
    assert table in said
    assert "\nranges         of 220 features\n" in said
    assert "\nabstain_limits [0.25, 0.5, 0.75]\n" in said
    assert "\nreference      of 768 rows; what is usual for stretches of 100, 250 rows\n" in said
    shown = json.loads(succeed("model", "show", tmp_path / "b", "--json"))
    assert shown["evidence"] == [dataclasses.asdict(band) for band in bands]
    assert shown["ranges"]["ma6_sma"] == [0.5, 1.5]
    assert len(shown["ranges"]) == 220
    assert shown["abstain_limits"] == [0.25, 0.5, 0.75]
    assert shown["reference"]["usual"][1]["most"]["psi_answers"] == 1.5
    write_bundle(changed(reference=None), tmp_path / "n")
    said = succeed("model", "show", tmp_path / "n")
    for key in ("abstain_limits", "ranges", "evidence", "reference"):
        assert f"\n{key:14} None\n" in said
    shown = json.loads(succeed("model", "show", tmp_path / "n", "--json"))
    assert (shown["evidence"], shown["ranges"], shown["abstain_limits"]) == ([], None, None)
    assert shown["reference"] is None


def test_bad_bundles_end_with_78(made: Path, tmp_path: Path):
    """A bundle that is missing or damaged is a matter of configuration; the file is named."""
    (made / "golden.json").write_bytes((made / "golden.json").read_bytes()[:-1])
    for command in (("model", "check"), ("model", "show")):
        code, why = fail(*command, made)
        assert code == 78
        assert why.startswith(f"{made / 'golden.json'}: has been changed or damaged")
    code, why = fail("model", "check", tmp_path / "nowhere")
    assert (code, why.split(";")[0]) == (78, f"{tmp_path / 'nowhere'}: there is no such bundle")
    code, why = fail("model", "import", tmp_path / "nowhere", "--out", tmp_path / "b")
    assert code == 78
    assert not (tmp_path / "b").exists()


# --- run, check, simulate

CONFIG = """
[state]
path = "state"
[mqtt]
url = "mqtt://127.0.0.1:{port}"
[log]
decisions = ""
level = "error"
[exchanges.binance]
dialect = "binance-spot"
ws_url = "ws://127.0.0.1:{port}"
rest_url = "http://127.0.0.1:{port}"
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "bundle"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def config(folder: Path, old: str = "", new: str = "") -> Path:
    """Write a configuration whose broker and venue are not there, with one change."""
    assert old in CONFIG
    text = CONFIG.format(port=free_port())
    (folder / "config.toml").write_text(text.replace(old, new) if old else text)
    return folder / "config.toml"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"bundle"', '"nowhere"', "nowhere: there is no such bundle; name the folder of a bundle"),
        ("[mqtt]", "[mqtt]\nkeep_alive = 5", "mqtt.keep_alive: unknown key; did you mean"),
        ("[mqtt]", "[mqtt", "is not valid TOML: "),
        ('"BTCUSDT"', '"ETHUSDT"', "streams.0.symbols: ETHUSDT, but "),
        ('"1h"', '"4h"', "streams.0.interval: 4h, but "),
        ("[mqtt]", '[mqtt]\npassword_file = "no"', "mqtt.password_file: cannot be read"),
        ("[mqtt]", "[policy]\nnovelty_max = 0.1\n[mqtt]", "  policy.novelty_max: "),
        (
            '"bundle"',
            '"bundle"\npolicy = { abstain = true }',
            "bundle holds no abstain limits; name a bundle that does or remove the key",
        ),
        ('"bundle"', '"bundle"\npolicy = { abstain = true }', "  streams.0.policy.abstain: "),
        (
            '"bundle"',
            '"bundle"\npolicy = { novelty_max = 0.5 }',
            "bundle holds no training ranges; name a bundle that does or remove the key",
        ),
    ],
)
def test_a_configuration_that_cannot_be_run_ends_with_78(
    made: Path, tmp_path: Path, old: str, new: str, said: str
):
    """`run` names what is wrong with configuration or bundle and leaves no state behind."""
    code, why = fail("run", "--config", config(tmp_path, old, new))
    assert code == 78
    assert said in why
    assert "1 problem(s)" in why
    assert made.exists()
    assert not (tmp_path / "state").exists()


def test_a_damaged_bundle_is_not_run(made: Path, tmp_path: Path):
    """One changed byte in the model keeps the daemon from starting, with the file's name."""
    booster = bytearray((made / "model.ubj").read_bytes())
    booster[len(booster) // 2] ^= 1
    (made / "model.ubj").write_bytes(bytes(booster))
    code, why = fail("run", "--config", config(tmp_path))
    assert code == 78
    assert f"bundle {made / 'model.ubj'}: has been changed or damaged" in why


def test_a_second_daemon_on_one_state_ends_with_75(made: Path, tmp_path: Path):
    """While another process has the state, `run` says so and may be tried again later."""
    journal = open_journal(tmp_path / "state")
    try:
        code, why = fail("run", "--config", config(tmp_path))
    finally:
        journal.close()
    assert made.exists()
    holder = f"another candled uses this state (process {os.getpid()})"
    assert code == 75
    assert why == f"{tmp_path / 'state'}: {holder}; stop it or name another folder"


def test_a_damaged_journal_ends_with_70(made: Path, tmp_path: Path):
    """A state file that is no journal stops the daemon until a person has looked."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "candled.journal").write_bytes(b"nothing" * 999)
    code, why = fail("run", "--config", config(tmp_path))
    assert made.exists()
    assert code == 70
    assert "candled.journal: file is not a database; move it away to begin a new journal" in why


def test_a_daemon_without_broker_and_venue_runs_until_it_is_told_to_stop(
    made: Path, tmp_path: Path
):
    """What is unreachable does not end the daemon; SIGTERM does, properly and with code 0."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        child = subprocess.Popen(
            [sys.executable, "-m", "candled", "run", "--config", str(config(tmp_path))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )
        try:
            assert systemd.recv(100) == b"READY=1"
            child.send_signal(signal.SIGTERM)
            _, err = child.communicate(timeout=30)
            while (said := systemd.recv(1000)).startswith(b"STATUS=0 of 1 streams live; "):
                pass
            assert said == b"STOPPING=1"
        finally:
            child.kill()
            child.wait(10)
    assert made.exists()
    assert child.returncode == 0, err
    assert "Traceback" not in err


def test_check_names_every_problem_at_once(made: Path, tmp_path: Path):
    """`check` tries all that `run` needs: a broker that is away, a venue's REST, its pushes."""
    off = config(tmp_path, "[mqtt]", '[web]\nlisten = ""\n[mqtt]')
    code, out, err = run("check", "--config", off)
    assert (code, err) == (75, "")
    said = [line.split(":")[0].split() for line in out.splitlines()]
    assert said == [
        ["ok", "configuration"],
        ["ok", "bundle"],
        ["ok", "state"],
        ["ok", "state"],
        ["ok", "web"],
        ["problem", "mqtt"],
        ["problem", "exchanges.binance"],
        ["problem", "exchanges.binance"],
    ]
    (made / "model.ubj").unlink()
    code, out, _ = run("check", "--config", config(tmp_path))
    assert code == 78
    assert f"problem bundles: bundle {made / 'model.ubj'}: cannot be read" in out


def test_a_port_in_use_ends_with_75():
    """`simulate` on a port that somebody has says which, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, why = fail("simulate", "--port", str(port), "--bars", "2")
    assert code == 75
    assert f"port {port} on 127.0.0.1 is in use; stop the program that has it" in why


def test_simulate_speaks_as_the_venue_that_is_named():
    """`--venue` takes a dialect's name and that venue's symbols; a wrong one is told the right."""
    child = start("simulate", "--port", "0", "--venue", "kraken", "--start-at", "5")
    try:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(3)]
        url = said[2].removeprefix("rest ").strip()
        answer = httpx.get(f"{url}/0/public/OHLC?pair=XBTUSD&interval=60", timeout=10).json()
    finally:
        child.terminate()
        child.communicate(timeout=30)
    assert said[0].startswith("playing BTC-USD 1h as kraken from synthetic candles")
    assert len(answer["result"]["XBTUSD"]) == 6
    code, why = fail("simulate", "--port", "0", "--venue", "krakn")
    assert code == 65
    assert "--venue: 'krakn' is no dialect; known are binance-spot" in why
    assert "did you mean 'kraken'?" in why
    code, why = fail("simulate", "--port", "0", "--venue", "okx", "--symbols", "BTCUSDT")
    assert code == 65
    assert "'BTCUSDT' is not spelled as the venue does, e.g. BTC-USDT" in why


def test_simulate_misbehaves_as_a_scenario_says(tmp_path: Path):
    """`--scenario` takes a file of faults; one that cannot be played is refused with the mend."""
    file = tmp_path / "lag.toml"
    file.write_text('[[fault]]\nkind = "lag"\nrows = 3\n')
    child = start("simulate", "--port", "0", "--start-at", "5", "--scenario", file)
    try:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(4)]
        url = said[2].removeprefix("rest ").strip()
        rows = httpx.get(f"{url}/api/v3/klines?symbol=BTCUSDT&interval=1h", timeout=10).json()
    finally:
        child.terminate()
        child.communicate(timeout=30)
    assert said[3] == f"misbehaving as {file} says\n"
    assert len(rows) == 3, "of five closed and one open"
    file.write_text('[[fault]]\nkind = "lagg"\n')
    code, why = fail("simulate", "--port", "0", "--scenario", file)
    assert code == 65
    assert f"{file}: fault 1: unknown kind 'lagg'; did you mean 'lag'?" in why


def test_simulate_serves_until_it_is_told_to_stop(csv_file: Path):
    """`simulate` says what it plays and where, and ends properly on SIGTERM."""
    child = start("simulate", "--port", "0", "--candles", csv_file, "--start-at", "895")
    try:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(3)]
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=30)
    finally:
        child.kill()
        child.wait(10)
    assert said[0] == "playing BTCUSDT 1h as binance-spot from candle files\n"
    assert [line.split("://127.0.0.1:")[0] for line in said[1:]] == ["websocket ws", "rest http"]
    assert (child.returncode, err) == (0, "")
