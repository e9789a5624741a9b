"""The systemd unit: what it forbids leaves the daemon whole, and what it would break is told."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import aiomqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import confined
from brokers import mosquitto, needs_mosquitto
from candled.config import Config
from candled.core.bar import Interval
from candled.unit import USUAL, Places, check_name, unit_of, write_unit
from candled_adapters.simulator.generator import generate_many
from candled_adapters.simulator.server import Simulator
from models import bundle
from systemd_units import exposure, judged, needs_systemd

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "systemd/candled.service"


def config(**parts: object) -> Config:
    stream = {"exchange": "b", "symbols": ["BTCUSDT"], "interval": "1h", "bundle": "none"}
    usual = {
        "state": {"path": "/var/lib/candled"},
        "exchanges": {"b": {"dialect": "binance-spot"}},
        "streams": [stream],
    }
    return Config.model_validate({**usual, **parts})


def test_the_file_is_the_program_s_own_text():
    """There is one text of the unit: in the program, for its usual places."""
    assert UNIT.read_text() == unit_of(USUAL).text


@needs_systemd
def test_systemd_finds_the_unit_valid_and_little_exposed(tmp_path: Path):
    """1.5 at most, as CI asks; a bare unit has more than 9, so the measure measures."""
    placed = tmp_path / "candled.service"
    text = unit_of(Places(Path(sys.executable), Path("/etc/candled/config.toml"))).text
    placed.write_text(text)
    found = judged("verify", str(placed))
    assert (found.returncode, found.stderr) == (0, "")
    assert exposure(placed) <= 1.5
    bare = tmp_path / "bare.service"
    bare.write_text(f"[Service]\nExecStart={sys.executable}\n")
    assert exposure(bare) > 9
    placed.write_text(text.replace("Restart=always", "Restart=allways"))
    assert "Failed to parse" in judged("verify", str(placed)).stderr


def test_each_credential_of_the_configuration_is_handed_over():
    """And nothing is warned of, when every secret is one."""
    hook = {
        "name": "bot", "url": "https://bot.example/hook",
        "headers": {"Authorization": "credential:hook"}, "secrets": {"token": "credential:token"},
    }  # fmt: skip
    unit = unit_of(
        USUAL,
        config(
            mqtt={"password_file": "credential:mqtt", "signing_key_file": "credential:signing"},
            webhooks=[hook],
        ),
    )
    found = re.findall(r"^LoadCredential=(.*)$", unit.text, re.MULTILINE)
    assert found == [
        f"{name}:/etc/candled/secrets/{name}" for name in ("hook", "mqtt", "signing", "token")
    ]
    assert unit.warnings == ()


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"state": {"path": "/srv/state"}}, "state.path: /srv/state cannot be written by the"),
        ({"log": {"decisions": "/srv/log"}}, "log.decisions: /srv/log cannot be written by the"),
        (
            {"mqtt": {"password_file": "/srv/mqtt"}},
            'user that is made at each start; set "credential:mqtt"',
        ),
        (
            {"alerts": {"urls_file": "/srv/urls"}},
            "alerts.urls_file: /srv/urls must be readable",
        ),
    ],
)
def test_what_the_unit_would_break_is_told_with_the_mend(parts: dict, said: str):
    """A folder that the service cannot write, a secret that it cannot read."""
    (warning,) = unit_of(USUAL, config(**parts)).warnings
    assert said in warning


def test_a_program_in_a_home_is_told():
    """The unit hides homes from the service."""
    places = Places(Path("/home/me/.venv/bin/candled"), Path("/root/config.toml"))
    assert [w.split()[1] for w in unit_of(places, config()).warnings] == [
        "program",
        "configuration",
    ]


def test_several_daemons_have_units_and_states_of_their_own():
    """The name is the unit's and its folder's."""
    unit = unit_of(Places(USUAL.program, USUAL.config, "candled-b"), config())
    assert "StateDirectory=candled-b\n" in unit.text
    assert [w.split(":")[0] for w in unit.warnings] == ["state.path"]


@given(st.text(max_size=80))
def test_a_name_cannot_say_anything_else(name: str):
    """What is taken as a name is one word of a unit file."""
    try:
        check_name(name)
    except ValueError:
        return
    assert re.fullmatch(r"[\w.-]+", name, re.ASCII)
    assert "@" not in unit_of(Places(USUAL.program, USUAL.config, name)).text.replace(
        "@system-service", ""
    ).replace("@privileged", "").replace("@resources", "")


def test_odd_places_are_spelled_as_systemd_reads_them():
    """A percent sign is doubled, a place with spaces quoted."""
    places = Places(Path("/opt/a b/candled"), Path("/etc/100%/config.toml"))
    text = unit_of(places).text
    assert 'ExecStart="/opt/a b/candled" run --config /etc/100%%/config.toml\n' in text


def test_a_written_unit_is_whole_and_readable(tmp_path: Path):
    """It takes the place of the one before; nothing is left beside it."""
    path = tmp_path / "candled.service"
    path.write_text("old")
    write_unit(unit_of(USUAL), path)
    assert path.read_text() == unit_of(USUAL).text
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


CONFIG = """
[state]
path = "state"
[mqtt]
url = "mqtt://127.0.0.1:{port}"
[log]
decisions = ""
format = "json"
[exchanges.binance]
dialect = "binance-spot"
ws_url = "{ws}"
rest_url = "{rest}"
max_skew_s = inf
[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "bundle"
"""


@needs_mosquitto
@needs_systemd
@pytest.mark.skipif(not confined.is_possible(), reason="needs libseccomp and Linux 6.3")
def test_the_daemon_does_its_work_under_what_the_unit_forbids(tmp_path: Path):
    """System calls, memory, families, limits as in the unit: bars are decided and told.

    What must be refused is refused in the same process, so that the confinement is real.
    """
    bundle(tmp_path / "bundle")
    start, interval = 1_735_689_600_000, Interval("1h")
    market = generate_many(3, ["BTCUSDT"], interval, start, 820)

    async def head(port: int) -> dict[str, object]:
        async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            await client.subscribe("candled/head/#")
            async for message in client.messages:
                said = json.loads(bytes(message.payload))
                if said["probabilities"] and said["stream_state"] == "live":
                    return said
        raise AssertionError

    async def scenario(port: int) -> tuple[dict[str, object], int, str]:
        simulator = Simulator(market, interval, speed=36_000, start_at=700, bars=110)
        async with simulator:
            text = CONFIG.format(port=port, ws=simulator.ws_url, rest=simulator.rest_url)
            (tmp_path / "config.toml").write_text(text)
            child = await asyncio.create_subprocess_exec(
                sys.executable, confined.__file__, str(UNIT),
                sys.executable, "-m", "candled", "run", "--config", str(tmp_path / "config.toml"),
                stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            saying = asyncio.create_task(child.stderr.read())
            try:
                said = await asyncio.wait_for(head(port), 40)
                child.terminate()
                await asyncio.wait_for(child.wait(), 20)
            finally:
                if child.returncode is None:
                    child.kill()
                words = (await saying).decode()
            return said, child.returncode, words

    with mosquitto(tmp_path) as broker:
        said, code, words = asyncio.run(scenario(broker.port))
    assert "refused: memory ptrace chroot\n" in words
    assert code == 0, words
    assert "Traceback" not in words
    assert said["symbol"] == "BTCUSDT"
