"""The gaps that an attacker would try, and the page that lists them."""

from __future__ import annotations

import ast
import functools
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from brokers import free_port
from candled.config import ConfigError, load_config
from candled.offline.models import show_model
from candled.outlets import info_of
from candled_adapters.artifacts.bundle import load_bundle, write_bundle
from candled_adapters.artifacts.manifest import BundleError
from candled_adapters.protocol.signing import make_key
from candled_adapters.sinks.log import configure_logging
from models import bundle, changed

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "security.md"
NASTY = "BTC\x1b[2J\r\n2025-01-01T00:00:00Z [info] health state=online\x9b31m\u202e"

anything = st.text(st.characters(codec="utf-8", exclude_categories=[]), max_size=30)


def named_tests() -> list[tuple[str, str]]:
    """Return the tests that the page names, each as its file and its name."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text(encoding="utf-8"))


@functools.cache
def functions_of(file: str) -> set[str]:
    """Return the names of a file's functions; none when there is no file."""
    path = TESTS.parent / file
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_page_names_exists():
    """The list of threats cannot outlive its proofs: file and function are there."""
    named = named_tests()
    assert len(named) > 40
    missing = [f"{file}::{name}" for file, name in named if name not in functions_of(file)]
    assert missing == []


def test_every_row_of_the_page_has_an_answer():
    """A threat without a setting or a test beside it is not answered."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    threats = [row.split("|")[1:-1] for row in rows if not set(row) <= set("| -")]
    assert len(threats) > 20
    for cells in threats:
        assert len(cells) == 3
        assert all(cell.strip() for cell in cells), cells


@pytest.fixture
def console():
    stream = io.StringIO()
    configure_logging(stream, "console")
    yield stream
    structlog.reset_defaults()


@settings(max_examples=60)
@given(anything, anything)
def test_nobody_can_forge_a_line_of_the_console_log(event: str, value: str):
    """Whatever a venue, a bundle or a broker says, an event is one line of what can be seen."""
    stream = io.StringIO()
    configure_logging(stream, "console")
    structlog.get_logger().warning(event or "x", text=value, symbol=NASTY, many=[value])
    structlog.reset_defaults()
    said = stream.getvalue()
    assert said.endswith("\n")
    assert said[:-1].isprintable()


def refuse(text: str) -> None:
    raise ValueError(text)


def test_an_exception_steers_no_terminal(console: io.StringIO):
    """Its traceback has lines of its own, and what it quotes is escaped."""
    try:
        refuse(NASTY)
    except ValueError:
        structlog.get_logger().exception("it broke")
    lines = console.getvalue().split("\n")
    assert all(line.isprintable() for line in lines), lines
    assert any("\\x1b[2J" in line for line in lines)


def test_a_bundle_cannot_forge_lines_of_what_is_shown_of_it(tmp_path: Path):
    """Names and provenance in `model show` are what can be seen, one line each."""
    spec = changed(symbol=NASTY, provenance={"created_at": NASTY})
    shown = show_model(write_bundle(spec, tmp_path / "b").path, as_json=False)
    assert all(line.isprintable() for line in shown.split("\n"))
    assert sum(line.startswith("symbol") for line in shown.split("\n")) == 1


def test_an_error_steers_no_terminal(tmp_path: Path):
    """What a broken file quotes reaches standard error escaped."""
    folder = bundle(tmp_path / "b")
    said = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(said | {"schema": "\x1b[2Jcandled.bundle/1"}))
    command = [sys.executable, "-m", "candled", "model", "check", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 78
    assert done.stderr.removesuffix("\n").isprintable()


@pytest.mark.parametrize("opening", ["[", "{ a = ", "[{ a = "])
def test_a_configuration_nested_without_end_is_refused(tmp_path: Path, opening: str):
    """In words, not with a traceback."""
    (tmp_path / "config.toml").write_text("a = " + opening * 50_000)
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_config(tmp_path / "config.toml")


def test_a_configuration_without_end_is_refused(tmp_path: Path):
    """A device or a file of another kind fills no memory."""
    with pytest.raises(ConfigError, match="that is no configuration"):
        load_config(Path("/dev/zero"))
    (tmp_path / "config.toml").write_text("# \n" * 2_000_000)
    with pytest.raises(ConfigError, match="that is no configuration"):
        load_config(tmp_path / "config.toml")


def refused(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    return str(caught.value)


def test_a_bundle_whose_parts_are_pipes_or_endless_is_refused(tmp_path: Path):
    """Nobody is kept waiting by a pipe, and what is too large is not read to its end."""
    for part in ("manifest.json", "model.ubj", "golden.json"):
        folder = bundle(tmp_path / part)
        (folder / part).unlink()
        os.mkfifo(folder / part)
        assert f"{part}: is not a file" in refused(folder)
        (folder / part).unlink()
        with (folder / part).open("wb") as file:
            file.truncate(17 * 2**20 if part == "manifest.json" else 2**40)
        if part == "manifest.json":  # the others would take half a gigabyte to show
            assert "is larger than" in refused(folder)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "model.ubj/../../x"])
def test_a_bundle_names_no_file_outside_itself(tmp_path: Path, name: str):
    """Its parts are two names that are known beforehand; a manifest cannot lead elsewhere."""
    folder = bundle(tmp_path / "b")
    text = (folder / "manifest.json").read_text().replace('"golden.json"', json.dumps(name))
    (folder / "manifest.json").write_text(text)
    assert "digest differs" in refused(folder)  # and were it sealed anew:
    spec = json.loads(text)
    spec["digest"] = ""
    sealed = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    import hashlib  # noqa: PLC0415 - to do by hand what an attacker would

    spec["digest"] = hashlib.sha256(sealed.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(spec))
    assert "parts must be model.ubj and golden.json" in refused(folder)


def test_a_bundle_nested_without_end_is_refused(tmp_path: Path):
    """In words, whichever part it is."""
    folder = bundle(tmp_path / "b")
    (folder / "manifest.json").write_text('{"provenance":' + '{"a":' * 100_000)
    assert "manifest.json: cannot be read" in refused(folder)


CONFIG = """
[mqtt]
url = "mqtt://127.0.0.1:{port}"
username = "bot"
password_file = "password"
signing_key_file = "key"
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
WORD = "correct-horse-battery"


def test_a_running_daemon_shows_its_secrets_to_nobody(tmp_path: Path):
    """Not in its arguments, its environment, its log, nor in what it writes down."""
    bundle(tmp_path / "bundle")
    (tmp_path / "password").write_text(WORD)
    make_key(tmp_path / "key")
    key = (tmp_path / "key").read_text().splitlines()[1]
    (tmp_path / "config.toml").write_text(CONFIG.format(port=free_port()))
    command = [sys.executable, "-m", "candled", "run", "--config", str(tmp_path / "config.toml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            assert child.stderr is not None
            said = b""
            while b"no connection to" not in said:  # it has tried to use them by then
                line = child.stderr.readline()
                assert line, said
                said += line
            there = Path(f"/proc/{child.pid}")
            seen = (there / "cmdline").read_bytes() + (there / "environ").read_bytes()
            child.terminate()
            out, err = child.communicate(timeout=20)
        finally:
            child.kill()
    written = b"".join(f.read_bytes() for f in (tmp_path / "state").rglob("*") if f.is_file())
    for secret in (WORD.encode(), key.encode()):
        assert secret not in seen + said + out + err + written


def test_what_is_told_of_the_configuration_names_no_secret_and_no_place(tmp_path: Path):
    """The info topic has a digest of the configuration, not the configuration."""
    (tmp_path / "config.toml").write_text(CONFIG.format(port=1))
    config = load_config(tmp_path / "config.toml")
    said = msgspec.json.encode(info_of(config, [], "e1")).decode()
    assert not [word for word in ("bot", "password", "key", str(tmp_path)) if word in said]
