"""A real daemon with every profile on: what bots and Home Assistant get, and what a kill leaves."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import aiomqtt

from brokers import mosquitto, needs_mosquitto
from candled_adapters.protocol.signing import Verifier, make_key
from fakes import ended, until
from models import bundle

CONFIG = """
[mqtt]
url = "mqtt://127.0.0.1:{port}"
signing_key_file = "key"
[models]
trusted_keys = ["{public}"]
[hummingbot]
pairs = {{ "binance/BTCUSDT/1h" = "BTC-USDT" }}
repeat_seconds = 0.5
[homeassistant]
enabled = true
[log]
decisions = ""
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
HBOT = "hbot/predictions/btc_usdt/ML_SIGNALS"


@contextmanager
def program(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command; kill it at the end."""
    command = [sys.executable, "-m", "candled", *map(str, words)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


async def collect(port: int, found: list[aiomqtt.Message], ready: asyncio.Event) -> None:
    version = aiomqtt.ProtocolVersion.V5
    with suppress(aiomqtt.MqttError):
        async with aiomqtt.Client("127.0.0.1", port, protocol=version) as client:
            await client.subscribe("#", qos=1)
            ready.set()
            async for message in client.messages:
                found.append(message)  # noqa: PERF401 - seen while it grows


def words(found: list[aiomqtt.Message]) -> list[list[float]]:
    """Return what a Hummingbot controller was told, oldest first."""
    said = [json.loads(m.payload) for m in found if str(m.topic) == HBOT]
    return [one["probabilities"] for one in said]


def signed(found: list[aiomqtt.Message], verifier: Verifier) -> dict[str, str | None]:
    """Return by topic what a verifier says against our messages."""
    ours = [m for m in found if str(m.topic).startswith("candled/")]
    return {
        str(m.topic): verifier.problem(
            str(m.topic), m.payload, dict(getattr(m.properties, "UserProperty", []))
        )
        for m in ours
    }


@needs_mosquitto
def test_a_signing_daemon_tells_bots_and_dashboards_until_it_is_killed(tmp_path: Path):
    """Every closed bar reaches Hummingbot, every message of ours is signed, the will as well."""
    key = make_key(tmp_path / "key")
    bundle(tmp_path / "bundle")
    sign = [sys.executable, "-m", "candled", "model", "sign", str(tmp_path / "bundle")]
    subprocess.run([*sign, "--key-file", str(tmp_path / "key")], check=True, capture_output=True)
    simulator = ("simulate", "--symbols", "BTCUSDT", "--interval", "1h", "--start-at", "700",
                 "--speed", "36000", "--port", "0")  # fmt: skip

    async def go(port: int, daemon_words: tuple[str, ...]) -> list[aiomqtt.Message]:
        found: list[aiomqtt.Message] = []
        ready = asyncio.Event()
        listening = asyncio.create_task(collect(port, found, ready))
        try:
            await ready.wait()
            with program(*daemon_words) as daemon:
                busy = lambda: any(word != [0, 1, 0] for word in words(found))  # noqa: E731
                await until(busy, 30, "no word of a bar")
                await until(lambda: len([w for w in words(found) if w != [0, 1, 0]]) > 5, 30)
                daemon.kill()
                last = "candled/status"
                offline = b'"state":"offline"'
                await until(
                    lambda: (
                        words(found)[-1] == [0, 1, 0]
                        and any(str(m.topic) == last and offline in m.payload for m in found)
                    ),
                    10,
                )
        finally:
            await ended(listening)
        return found

    with mosquitto(tmp_path) as broker, program(*simulator) as venue:
        assert venue.stdout is not None
        urls: dict[str, str] = {}
        while len(urls) < 2:
            line = venue.stdout.readline()
            assert line, "the simulator has ended"
            if match := re.match(r"(websocket|rest) +(\S+)", line):
                urls[match[1]] = match[2]
        os.set_blocking(venue.stdout.fileno(), False)
        config = tmp_path / "config.toml"
        text = CONFIG.format(
            port=broker.port, public=key.public_key, ws=urls["websocket"], rest=urls["rest"]
        )
        config.write_text(text)
        daemon = ("run", "--config", str(config))
        found = asyncio.run(asyncio.wait_for(go(broker.port, daemon), 90))
    problems = signed(found, Verifier.trusting([key.public_key]))
    assert set(problems.values()) == {None}, problems
    assert {"candled/status", "candled/info", "candled/head/binance/BTCUSDT/1h"} <= set(problems)
    assert any(topic.startswith("candled/signal/") for topic in problems)
    topics = {str(m.topic) for m in found}
    assert "homeassistant/device/candled/service/config" in topics
    assert len([t for t in topics if t.startswith("homeassistant/device/candled/binance")]) == 1
