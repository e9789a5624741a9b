"""`fetch`, `candles import` and `candles check` as people run them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from candled.core.bar import COLUMNS, HOUR, Bars
from candled_adapters.candles.candlefile import read_candles, write_candles
from candles import HOURLY, START_MS, bars_at, candles
from test_cli import fail, run, start, succeed

BARS = candles(200, seed=4)
DOCS = Path(__file__).parents[1] / "docs" / "candles.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_candles(tmp_path / "whole.csv", BARS)
    write_candles(tmp_path / "early.csv.gz", BARS[:120])
    write_candles(tmp_path / "late.parquet", BARS[100:])
    return tmp_path


@pytest.fixture
def venue() -> Iterator[str]:
    """Run the simulator as people do; give its address."""
    child = start("simulate", "--port", "0", "--start-at", "3000", "--bars", "5")
    try:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(3)]
        yield lines[2].split()[1]
    finally:
        child.kill()
        child.communicate()


def test_fetch_import_and_check_work_together(venue: str, tmp_path: Path):
    """What is fetched is sound; it grows, it can be imported, and each command says what it did."""
    out = tmp_path / "b.csv.gz"
    what = ("fetch", "--exchange", "binance-spot", "--symbol", "BTCUSDT", "--interval", "1h",
            "--since", "2025-01-01", "--rest-url", venue, "--out")  # fmt: skip
    said = succeed(*what, out, "--until", "2025-02-01")
    assert said == (
        f"{out}: 744 bars from 2025-01-01T00:00:00Z to 2025-01-31T23:00:00Z, 744 of them new\n"
        "no gaps\n"
    )
    grown = json.loads(succeed(*what, out, "--json"))
    assert (grown["bars"], grown["new"], grown["gaps"], grown["ends_early"]) == (
        3000,
        2256,
        [],
        False,
    )
    assert "usable: nothing in it that a reader refuses" in succeed("candles", "check", out)
    succeed("candles", "import", out, "--out", tmp_path / "b.parquet")
    succeed(*what, tmp_path / "b.parquet")
    assert fail(*what, tmp_path / "c.csv", "--symbol", "NOPE")[0] == 65
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b.csv.gz", "b.parquet"]


def test_wrong_fetches_are_told(tmp_path: Path):
    """Code 65 for what a person must change, 75 for what time may mend."""
    what = ("fetch", "--symbol", "BTCUSDT", "--interval", "1h", "--since", "2025-01-01")
    code, said = fail(*what, "--exchange", "bitfnx", "--out", tmp_path / "x.csv")
    assert (code, said.split(";")[0]) == (65, "'bitfnx' is no dialect")
    what = (*what, "--exchange", "binance-spot")
    for url in ("example.org", "http://a:b", "ftp://a"):
        code, said = fail(*what, "--out", tmp_path / "x.csv", "--rest-url", url)
        assert (code, said) == (65, f"--rest-url {url!r} is no address; give http(s)://HOST")
    code, said = fail(*what, "--out", tmp_path / "no" / "x.csv")
    assert (code, said) == (65, f"{tmp_path / 'no'}: no such directory; make it first")
    assert not list(tmp_path.iterdir())


def test_import_joins_files_to_the_bit(folder: Path):
    """Overlapping files of two forms become the table they were cut from."""
    said = succeed(
        "candles", "import", folder / "late.parquet", folder / "early.csv.gz",
        "--out", folder / "out.csv",
    )  # fmt: skip
    assert (folder / "out.csv").read_bytes() == (folder / "whole.csv").read_bytes()
    assert "20 rows were there more than once, equal; kept once" in said
    assert said.endswith(f"{folder / 'out.csv'}: 200 bars of 1h\n")


def test_import_refuses_what_it_cannot_join(folder: Path):
    """Bars that differ, and an output that is one of the inputs; nothing is written."""
    other = Bars(**{n: getattr(BARS, n) for n in COLUMNS} | {"volume": BARS.volume + 1.0})
    write_candles(folder / "other.csv", other[50:60])
    arguments = ("candles", "import", folder / "whole.csv", folder / "other.csv", "--out")
    code, said = fail(*arguments, folder / "out.csv")
    assert code == 65
    assert "column volume" in said
    assert not (folder / "out.csv").exists()
    code, said = fail(*arguments, folder / "other.csv")
    assert (code, "is the candle file itself" in said) == (65, True)


def test_every_candles_option_reads_the_forms(folder: Path):
    """Features of a table are the same from CSV, gzip and parquet, and from seconds."""
    lines = [f"{START_MS // 1000 + i * 3600},{b.open},{b.high},{b.low},{b.close},{b.volume}"
             for i, b in enumerate(BARS)]  # fmt: skip
    (folder / "tv.csv").write_text("\n".join(["time,open,high,low,close,Volume", *lines]))
    write_candles(folder / "whole.parquet", BARS)
    for name in ("whole.csv", "whole.parquet", "tv.csv"):
        succeed("features", "--candles", folder / name, "--out", folder / f"{name}.features")
    tables = {(folder / f"{name}.features").read_bytes() for name in ("whole.csv", "whole.parquet")}
    assert len(tables) == 1
    assert read_candles(folder / "tv.csv").interval == HOURLY
    assert len((folder / "tv.csv.features").read_text().splitlines()) == 201


def test_check_says_all_and_ends_with_its_verdict(folder: Path):
    """Code 0 for a file that a reader takes, 65 for one that it does not, with every fault."""
    said = succeed("candles", "check", folder / "whole.csv")
    assert said.splitlines() == [
        f"{folder / 'whole.csv'}: 200 rows, interval 1h",
        "  from 2023-11-14T22:00:00Z to 2023-11-23T05:00:00Z",
        "  absent columns: none",
        "  gaps: none",
        "usable: nothing in it that a reader refuses",
    ]
    rows = np.array([0, 1, 2, 3, 3, 4, 9, *range(10, 80)])
    write_candles(folder / "bad.csv", bars_at(BARS, rows))
    code, out, err = run("candles", "check", folder / "bad.csv")
    assert (code, err) == (65, "")
    assert "  gaps: 1, 4 bars absent; the longest:\n           4 from 2023-11-15T03:00:00Z\n" in out
    assert (
        "  WRONG  1 rows whose time was there before\n           row 6 (2023-11-15T01:00:00Z)"
        in out
    )
    assert out.splitlines()[-1].startswith("not usable: ")
    code, out, err = run("candles", "check", folder / "bad.csv", "--json")
    found = json.loads(out)
    assert (code, found["usable"], found["gaps"]["bars"]) == (65, False, 4)
    assert [finding["kind"] for finding in found["findings"]] == ["duplicate"]
    assert found["findings"][0]["weight"] == "fault"


def test_check_of_what_is_no_candle_file(tmp_path: Path):
    """An error as everywhere, or in JSON."""
    (tmp_path / "x.csv").write_text("dear diary\n")
    code, _ = fail("candles", "check", tmp_path / "x.csv")
    assert code == 65
    code, out, _ = run("candles", "check", tmp_path / "x.csv", "--json")
    assert (code, json.loads(out)["usable"]) == (65, False)


def test_parquet_without_its_library_says_what_to_install(folder: Path):
    """The extra is named; code 78."""
    program = (
        "import sys; sys.modules['pyarrow'] = None; from candled.__main__ import main; "
        "sys.argv = ['candled', 'candles', 'check', sys.argv[1]]; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder / "late.parquet")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 78
    assert "pip install 'candled[parquet]'" in done.stderr


def documented() -> list[list[str]]:
    """Return the commands of the guide."""
    lines = re.findall(r"^    candled (.*)$", DOCS.read_text(), re.MULTILINE)
    return [shlex.split(line.removesuffix(" &")) for line in lines]


def test_the_commands_of_the_guide_run(venue: str, tmp_path: Path):
    """Each documented command does what it says, in a folder with such files as it names."""
    bars = BARS[:72]
    for month in ("2024-12", "2025-01"):
        part = bars[:40] if month == "2024-12" else bars[40:]
        write_candles(tmp_path / f"BTCUSDT-1h-{month}.zip", part)
    rows = [(b.open_time, b.open, b.high, b.low, b.close, b.volume) for b in bars]
    texts = [",".join(map(str, row)) for row in rows]
    (tmp_path / "kraken.csv").write_text("\n".join(f"{text},5" for text in texts))
    head = "Gmt time,open,high,low,close,Volume_(BTC),Volume_(Currency)"
    (tmp_path / "export.csv").write_text("\n".join([head, *(f"{text},9" for text in texts)]))
    days = [
        (row[0] - row[0] % (24 * HOUR) + i * 24 * HOUR, *row[1:5]) for i, row in enumerate(rows)
    ]
    lines = [",".join(map(str, day)) for day in days]
    (tmp_path / "indices.csv").write_text("\n".join(["time,open,high,low,close", *lines]))
    commands = documented()
    assert len(commands) == 8
    for command in commands:
        if command[0] == "simulate":
            continue
        if command[0] == "fetch":
            command = [*command, "--rest-url", venue]  # noqa: PLW2901 - the last one counts
        names = [name for part in command for name in sorted(
            str(path.name) for path in tmp_path.glob(part)) or [part]]  # fmt: skip
        code, _, err = run(*names, cwd=tmp_path)
        assert (code, err) == (0, ""), (command, err)
    assert len(read_candles(tmp_path / "BTCUSDT_1h.csv.gz").bars) == 72
