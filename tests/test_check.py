"""`candled check` against a real broker and the simulator: what is well, and what is not."""

from __future__ import annotations

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
READ_ONLY = "allow_anonymous true\nacl_file {folder}/acl"


@contextmanager
def venue(symbol: str) -> Iterator[str]:
    """Run the simulator; give its REST address."""
    command = [sys.executable, "-m", "candled", "simulate", "--port", "0", "--symbols", symbol]
    child = subprocess.Popen([*command, "--start-at", "5"], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        yield next(line.split()[1] for line in child.stdout if line.startswith("rest "))
    finally:
        child.terminate()
        child.communicate(timeout=10)


def check(folder: Path, port: int, rest_url: str, policy: str = "") -> tuple[int, str]:
    """Run the command on a configuration for BTCUSDT; return its exit code and what it prints."""
    (folder / "config.toml").write_text(f"""
[mqtt]
url = "mqtt://127.0.0.1:{port}"
[exchanges.binance]
dialect = "binance-spot"
rest_url = "{rest_url}"
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
    with mosquitto(tmp_path) as broker, venue("BTCUSDT") as rest_url:
        code, said = check(tmp_path, broker.port, rest_url)
    assert code == 0, said
    assert "problem" not in said
    assert "accepts messages under candled/" in said
    assert "BTCUSDT 1h: newest bar opens 2025-01-01T05:00:00Z" in said


def test_gates_that_the_bundle_cannot_serve_are_named(tmp_path: Path):
    """Each gate is told by its key with what the bundle lacks; a bundle that has it passes."""
    bundle(tmp_path / "bundle")
    policy = "abstain = true\nnovelty_max = 0.1\ncooldown_bars = 3"
    with mosquitto(tmp_path) as broker, venue("BTCUSDT") as rest_url:
        code, said = check(tmp_path, broker.port, rest_url, policy)
        write_bundle(changed(ranges=RANGES, abstain_limits=LIMITS), tmp_path / "bundle")
        sound, then = check(tmp_path, broker.port, rest_url, policy)
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
    with mosquitto(tmp_path, conf=conf) as broker, venue("ETHUSDT") as rest_url:
        code, said = check(tmp_path, broker.port, rest_url)
    assert code == 78, said
    assert "135 Not authorized" in said
    assert "grant write rights on candled/#" in said
    assert "problem exchanges.binance: BTCUSDT 1h: " in said
