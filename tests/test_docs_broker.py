"""docs/broker.md is what a Mosquitto is started with, and `check` finds all well with it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import confined
from brokers import free_port, mosquitto, needs_mosquitto
from candled.brokercheck import check_broker
from candled.config import Config, MqttConfig
from certificates import Authority, needs_openssl
from systemd_units import exposure, judged

FILES = Path(__file__).parents[1] / "systemd/mosquitto"
DEBIAN = Path("/lib/systemd/system/mosquitto.service")
DOCUMENT = (Path(__file__).parents[1] / "docs/broker.md").read_text()
PASSWORD = {"candled": "tallow", "bot": "wick"}

pytestmark = [needs_mosquitto, needs_openssl]


def block(containing: str) -> str:
    """Return the one block of code with this text in it."""
    (found,) = [
        code for code in re.findall(r"```\w*\n(.*?)```", DOCUMENT, re.DOTALL) if containing in code
    ]
    return found


def placed(text: str, folder: Path, port: int) -> str:
    """Return the document's configuration for a broker in `folder`; only places are changed."""
    moved = text.replace("/etc/mosquitto/certs", str(folder)).replace("/etc/mosquitto", str(folder))
    moved = moved.replace("/var/lib/mosquitto", str(folder))
    listener = "listener 8883\n"
    assert listener in moved
    return moved.replace(listener, f"listener {port} 127.0.0.1\n")


def furnish(folder: Path) -> None:
    """Put certificates, passwords and the access list where the document has them."""
    authority = Authority(folder, "ca")
    authority.sign("server")
    (folder / "acl").write_text(block("pattern read"))
    (folder / "passwd").write_text("".join(f"{who}:{what}\n" for who, what in PASSWORD.items()))
    program = shutil.which("mosquitto_passwd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("no mosquitto_passwd here: apt-get install mosquitto")
    subprocess.run([program, "-U", str(folder / "passwd")], check=True)
    for name in ("acl", "passwd"):
        (folder / name).chmod(0o600)


def config(folder: Path, port: int) -> Config:
    """Return candled's configuration as the document has it."""
    (folder / "password").write_text(PASSWORD["candled"] + "\n")
    (folder / "password").chmod(0o600)
    stream = {"exchange": "b", "symbols": ["BTCUSDT"], "interval": "1h", "bundle": "none"}
    mqtt = {
        "url": f"mqtts://127.0.0.1:{port}",
        "username": "candled",
        "password_file": folder / "password",
        "ca_file": folder / "ca.pem",
    }
    return Config.model_validate(
        {"exchanges": {"b": {"dialect": "binance-spot"}}, "streams": [stream], "mqtt": mqtt}
    )


def client(who: str, folder: Path, port: int, program: str, *arguments: str) -> str:
    """Run one of Mosquitto's clients with MQTT 5 and QoS 1; return all that it says."""
    login = ["-u", who, "-P", PASSWORD[who], "--cafile", str(folder / "ca.pem")]
    command = [program, "-h", "127.0.0.1", "-p", str(port), "-V", "5", "-q", "1"]
    done = subprocess.run(
        [*command, *login, *arguments], capture_output=True, text=True, timeout=20, check=False
    )
    return done.stdout + done.stderr


@contextmanager
def documented(folder: Path) -> Iterator[int]:
    """Run the document's broker; give its port."""
    furnish(folder)
    port = free_port()
    with mosquitto(folder, port, conf=placed(block("persistence true"), folder, port), bare=True):
        yield port


def test_the_documented_broker_serves_candled_and_its_bots(tmp_path: Path):
    """Without a problem or a warning; a bot asks, and can write nothing else."""
    with documented(tmp_path) as port:
        found = asyncio.run(check_broker(config(tmp_path, port)))
        assert [f.text for f in found if f.code or f.warning] == []
        assert "hands them back (MQTT 5)" in found[0].text

        def published(topic: str) -> str:
            return client("bot", tmp_path, port, "mosquitto_pub", "-t", topic, "-m", "{}")

        assert published("candled/replay/request") == ""
        for forbidden in ("signal/b/X/1m", "status", "head/b/X/1m", "replay/response/bot-1"):
            assert "authori" in published(f"candled/{forbidden}"), forbidden


def test_a_bot_reads_its_own_answers_and_no_others(tmp_path: Path):
    """`%c` in the access list is the client id."""
    with documented(tmp_path) as port:
        for bot in ("bot-1", "bot-2"):
            where = ("-t", f"candled/replay/response/{bot}", "-m", bot, "-r")
            assert client("candled", tmp_path, port, "mosquitto_pub", *where) == ""
        where = ("-i", "bot-1", "-t", "candled/replay/response/+", "-t", "candled/#", "-W", "1")
        got = client("bot", tmp_path, port, "mosquitto_sub", *where)
    assert "bot-1" in got.split()
    assert "bot-2" not in got


@pytest.mark.parametrize(
    ("file", "containing"), [("candled.conf", "persistence true"), ("acl", "pattern read")]
)
def test_the_files_beside_the_unit_are_the_documents(file: str, containing: str):
    """Who copies them gets what is tested here."""
    text = (FILES / file).read_text()
    assert text.endswith(block(containing))
    assert all(line.startswith("#") for line in text.removesuffix(block(containing)).splitlines())


def test_the_brokers_unit_is_little_exposed_with_what_is_added_to_it(tmp_path: Path):
    """Debian's own is at 9.6, which nobody should trust with money."""
    if shutil.which("systemd-analyze") is None or not DEBIAN.exists():
        pytest.skip("needs systemd-analyze and Debian's mosquitto.service")
    unit = tmp_path / DEBIAN.name
    unit.write_text(DEBIAN.read_text())
    assert exposure(unit) > 9
    added = tmp_path / f"{unit.name}.d"
    added.mkdir()
    shutil.copy(FILES / "override.conf", added / "candled.conf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYSTEMD_UNIT_PATH", f"{tmp_path}:")
        assert exposure(unit) <= 1.5
        found = judged("verify", str(unit))
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become mosquitto")
@pytest.mark.skipif(not confined.is_possible(), reason="needs libseccomp and Linux 6.3")
def test_the_broker_serves_under_what_is_added_to_its_unit(tmp_path: Path):
    """As mosquitto, with the system calls, the memory and the limits that are left to it."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    port = free_port()
    home = Path(tempfile.mkdtemp(prefix="candled-broker-"))  # mosquitto may not look into tmp_path
    try:
        furnish(home)
        text = placed(block("persistence true"), home, port)
        (home / "mosquitto.conf").write_text(text)
        for path in (home, *home.iterdir()):
            shutil.chown(path, "mosquitto", "mosquitto")
        become = ["setpriv", "--reuid=mosquitto", "--regid=mosquitto", "--clear-groups"]
        shutil.copy(confined.__file__, home)
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        said = tmp_path / "said"
        command = [*become, "/usr/bin/python3", str(home / "confined.py"), str(home / "unit")]
        shutil.copy(FILES / "override.conf", home / "unit")
        with (
            said.open("w") as file,
            subprocess.Popen(
                [*command, str(program), "-c", str(home / "mosquitto.conf")], stderr=file
            ) as child,
        ):
            try:
                reached_within(10, port)
                assert client("bot", home, port, "mosquitto_pub", "-t", "candled/replay/request",
                              "-m", "{}") == ""  # fmt: skip
            finally:
                child.kill()
        assert "refused: memory ptrace chroot" in said.read_text()
    finally:
        shutil.rmtree(home)


def reached_within(seconds: float, port: int) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline, "the broker does not listen"
            time.sleep(0.02)
        else:
            return


def test_candleds_own_part_of_the_document_is_valid():
    """Its keys exist, those that are commented out as well."""
    text = re.sub(r"^# (?=\w+ = )", "", block("[mqtt]"), flags=re.MULTILINE)
    part = MqttConfig.model_validate(tomllib.loads(text)["mqtt"])
    assert part.password_file == Path("credential:mqtt")
    assert part.cert_file
