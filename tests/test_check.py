"""`candled check` against a real broker and the simulator: what is well, and what is not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from brokers import mosquitto, needs_mosquitto
from candled.core.features.mar import COLUMNS
from candled.core.model import Ranges
from candled_adapters.artifacts.bundle import write_bundle
from models import bundle, changed

RANGES = Ranges(np.zeros(len(COLUMNS)), np.ones(len(COLUMNS)))
LIMITS = np.full(3, 0.3, dtype=np.float32)

pytestmark = needs_mosquitto
LEAST = """
[mqtt]
url = "mqtt://127.0.0.1:9"
[web]
listen = ""
[exchanges.binance]
dialect = "binance-spot"
ws_url = "ws://127.0.0.1:9"
rest_url = "http://127.0.0.1:9"
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "bundle"
"""
READ_ONLY = "allow_anonymous true\nacl_file {folder}/acl"


@contextmanager
def venue(symbol: str) -> Iterator[tuple[str, str]]:
    """Run the simulator; give its websocket and REST addresses."""
    command = [sys.executable, "-m", "candled", "simulate", "--port", "0", "--symbols", symbol]
    command += ["--start-at", "5", "--speed", "7200"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        addresses = (line.split()[1] for line in child.stdout if line.startswith(("web", "rest ")))
        yield next(addresses), next(addresses)
    finally:
        child.terminate()
        child.communicate(timeout=10)


def check(
    folder: Path, port: int, urls: tuple[str, str], policy: str = "", max_skew_s: str = "inf"
) -> tuple[int, str]:
    """Run the command on a configuration for BTCUSDT; return its exit code and what it prints."""
    (folder / "config.toml").write_text(f"""
[mqtt]
url = "mqtt://127.0.0.1:{port}"
[exchanges.binance]
dialect = "binance-spot"
ws_url = "{urls[0]}"
rest_url = "{urls[1]}"
max_skew_s = {max_skew_s}
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "bundle"
[policy]
{policy}
""")
    command = [sys.executable, "-m", "candled", "check", "--config", str(folder / "config.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def test_all_is_well(tmp_path: Path):
    """With everything in place each part is ok, the newest bar is named, and the code is 0."""
    bundle(tmp_path / "bundle")
    with mosquitto(tmp_path) as broker, venue("BTCUSDT") as urls:
        code, said = check(tmp_path, broker.port, urls)
    assert code == 0, said
    assert "problem" not in said
    assert "accepts messages under candled/" in said
    assert "BTCUSDT 1h: newest bar opens 2025-01-01T" in said
    assert "takes 1 subscription(s) and pushes bars" in said


def test_gates_that_the_bundle_cannot_serve_are_named(tmp_path: Path):
    """Each gate is told by its key with what the bundle lacks; a bundle that has it passes."""
    bundle(tmp_path / "bundle")
    policy = "abstain = true\nnovelty_max = 0.1\ncooldown_bars = 3"
    with mosquitto(tmp_path) as broker, venue("BTCUSDT") as urls:
        code, said = check(tmp_path, broker.port, urls, policy)
        write_bundle(changed(ranges=RANGES, abstain_limits=LIMITS), tmp_path / "bundle")
        sound, then = check(tmp_path, broker.port, urls, policy)
    assert code == 78, said
    where = tmp_path / "bundle"
    assert f"problem bundles: policy.abstain: {where} holds no abstain limits; name" in said
    assert f"problem bundles: policy.novelty_max: {where} holds no training ranges; name" in said
    assert sound == 0, then


def test_a_refused_right_and_an_unknown_symbol_are_both_named(tmp_path: Path):
    """A broker that denies writing and a venue without the symbol are told at once, with mends."""
    bundle(tmp_path / "bundle")
    (tmp_path / "acl").write_text("topic read candled/#\n")
    conf = READ_ONLY.format(folder=tmp_path)
    with mosquitto(tmp_path, conf=conf) as broker, venue("ETHUSDT") as urls:
        code, said = check(tmp_path, broker.port, urls)
    assert code == 78, said
    assert "135 Not authorized" in said
    assert "grant write rights on candled/#" in said
    assert "problem exchanges.binance: BTCUSDT 1h: " in said


def test_a_venue_that_is_away_and_a_wrong_interval_are_both_named(tmp_path: Path):
    """What the documents say needs no answer: the interval is refused with what there is."""
    bundle(tmp_path / "bundle")
    config = tmp_path / "config.toml"
    with mosquitto(tmp_path) as broker:
        code, said = check(tmp_path, broker.port, ("ws://127.0.0.1:9", "http://127.0.0.1:9"))
        text = config.read_text().replace('dialect = "binance-spot"', 'dialect = "kraken"')
        config.write_text(text.replace('"1h"', '"2h"').replace("BTCUSDT", "BTC-USD"))
        command = [sys.executable, "-m", "candled", "check", "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert code == 75, said
    assert "cannot be asked: " in said
    assert "cannot be listened to: " in said
    assert done.returncode == 78, done.stdout
    assert "streams.0.interval: kraken has no 2h bars; it has 1m, 5m," in done.stdout


def test_a_wrong_clock_ends_with_75_unless_it_is_allowed(tmp_path: Path):
    """The key is max_skew_s; the simulator lives in another year."""
    bundle(tmp_path / "bundle")
    with mosquitto(tmp_path) as broker, venue("BTCUSDT") as urls:
        code, said = check(tmp_path, broker.port, urls, max_skew_s="5.0")
    assert code == 75, said
    assert "more than max_skew_s = 5 allows; set this machine's clock" in said


def test_json_tells_the_same_with_levels_and_codes(tmp_path: Path):
    """One object: what was found, each with its part, and the code that the command ends with."""
    (tmp_path / "config.toml").write_text(LEAST)
    command = [sys.executable, "-m", "candled", "check", "--json", "-c", "config.toml"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    told = json.loads(done.stdout)
    assert done.returncode == told["code"] == 78
    assert not told["ok"]
    levels = [one["level"] for one in told["findings"]]
    assert levels == sorted(levels, key=["ok", "warning", "problem"].index)
    bundles = next(one for one in told["findings"] if one["part"] == "bundles")
    assert (bundles["level"], bundles["code"]) == ("problem", 78)
    assert {"configuration", "state", "web", "mqtt"} <= {one["part"] for one in told["findings"]}


def test_a_broken_configuration_is_one_finding_in_json(tmp_path: Path):
    """Nothing else can be tried then; every problem of the file is in its text."""
    (tmp_path / "config.toml").write_text("[mqtt]\nurl = 7\nurll = 8\n")
    command = [sys.executable, "-m", "candled", "check", "--json", "-c", "config.toml"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    (one,) = json.loads(done.stdout)["findings"]
    assert done.returncode == one["code"] == 78
    assert "urll: unknown key" in one["text"]
