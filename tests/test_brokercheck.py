"""`candled check` proves the broker's rights, and tells limits that hurt."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from brokers import free_port, mosquitto, needs_mosquitto
from candled.brokercheck import check_broker
from candled.config import Config
from candled.venuecheck import Finding
from raw_broker import Call, raw_broker

BRANCHES = {
    "check": "check/#",
    "signals": "signal/#",
    "heads": "head/#",
    "events": "event/#",
    "digests": "digest/#",
    "replays": "replay/response/#",
}


def config(port: int, *, challenged: bool = False, **mqtt: Any) -> Config:
    """Return a configuration whose broker is on loopback; its bundles are never looked at."""
    stream = {"exchange": "b", "symbols": ["BTCUSDT"], "interval": "1h", "bundle": "none"}
    stream |= {"challenger": "none either"} if challenged else {}
    settings = {"url": f"mqtt://127.0.0.1:{port}", "publish_timeout": 0.2, **mqtt}
    return Config.model_validate(
        {"exchanges": {"b": {"dialect": "binance-spot"}}, "streams": [stream], "mqtt": settings}
    )


def check(port: int, **mqtt: Any) -> list[Finding]:
    return asyncio.run(check_broker(config(port, **mqtt)))


def problems(found: list[Finding]) -> list[str]:
    assert {finding.code for finding in found} <= {None, 75}
    return [finding.text for finding in found if finding.code]


def warnings(found: list[Finding]) -> list[str]:
    return [finding.text for finding in found if finding.warning]


def checked(folder: Path, lines: list[str], **mqtt: Any) -> list[Finding]:
    """Return what is found at a mosquitto with this access list."""
    acl = folder / "acl"
    acl.write_text("\n".join(lines) + "\n")
    acl.chmod(0o700)
    with mosquitto(folder, conf=f"acl_file {acl}") as broker:
        return check(broker.port, **mqtt)


@needs_mosquitto
@pytest.mark.parametrize("protocol", ["auto", "3.1.1"])
def test_with_all_rights_all_is_well(tmp_path: Path, protocol: str):
    """One finding says so; with MQTT 3.1.1 a warning tells what is lost."""
    found = checked(tmp_path, ["topic readwrite candled/#"], protocol=protocol)
    assert not problems(found)
    version = {"auto": "5", "3.1.1": "3.1.1"}[protocol]
    assert found[0].text.endswith(f"under candled/ and hands them back (MQTT {version})")
    assert len(warnings(found)) == (protocol == "3.1.1")


@needs_mosquitto
@pytest.mark.parametrize("protocol", ["auto", "3.1.1"])
def test_each_missing_right_to_write_is_named_with_its_line(tmp_path: Path, protocol: str):
    """Two of them, whichever way the broker tells; the others are not named."""
    lines = ["topic read candled/#", "topic write candled/replay/request"]
    granted = [branch for kind, branch in BRANCHES.items() if kind not in ("heads", "replays")]
    lines += [f"topic write candled/{branch}" for branch in granted]
    found = problems(checked(tmp_path, lines, protocol=protocol))
    assert [text.split(":")[0] for text in found] == ["heads", "replays"]
    for text, branch in zip(found, ("head/#", "replay/response/#"), strict=True):
        assert text.endswith(f"access list needs: topic write candled/{branch}")
        assert ("code 135" in text) == (protocol == "auto")


@needs_mosquitto
@pytest.mark.parametrize("kind", BRANCHES)
def test_each_missing_right_to_read_is_named_with_its_line(tmp_path: Path, kind: str):
    """Mosquitto grants the subscription and sends nothing."""
    lines = ["topic write candled/#", "topic read candled/replay/request"]
    lines += [f"topic read candled/{branch}" for other, branch in BRANCHES.items() if other != kind]
    (text,) = problems(checked(tmp_path, lines))
    assert text.startswith(f"{kind}: ")
    assert text.endswith(f"access list needs: topic read candled/{BRANCHES[kind]}")


@needs_mosquitto
def test_that_requests_for_replay_cannot_be_heard_is_named(tmp_path: Path):
    """The daemon must be able to listen where others ask."""
    lines = ["topic write candled/#"]
    lines += [f"topic read candled/{branch}" for branch in BRANCHES.values()]
    (text,) = problems(checked(tmp_path, lines))
    assert text.endswith("access list needs: topic read candled/replay/request")


@needs_mosquitto
def test_what_cannot_be_told_is_a_warning(tmp_path: Path):
    """Who may not write a request cannot prove that it would hear one."""
    lines = [f"topic readwrite candled/{branch}" for branch in BRANCHES.values()]
    found = checked(tmp_path, [*lines, "topic read candled/replay/request"])
    assert not problems(found)
    (text,) = warnings(found)
    assert text.endswith("access list needs: topic readwrite candled/replay/request")


@needs_mosquitto
def test_the_right_to_publish_shadows_is_tried_where_there_are_challengers(tmp_path: Path):
    """With the line of the access list; without a challenger nobody needs it."""
    lines = [f"topic readwrite candled/{branch}" for branch in BRANCHES.values()]
    lines.append("topic readwrite candled/replay/request")
    assert not problems(checked(tmp_path, lines))
    (text,) = problems(checked(tmp_path, lines, challenged=True))
    assert text.startswith("shadows: ")
    assert text.endswith("access list needs: topic write candled/shadow/#")
    lines.append("topic readwrite candled/shadow/#")
    assert not problems(checked(tmp_path, lines, challenged=True))


def test_a_broker_that_is_away_is_named():
    """With the mend."""
    (text,) = problems(check(free_port()))
    assert text.endswith("nobody listens there: start the broker, or correct mqtt.url")


def found_at(play, **mqtt: Any) -> list[Finding]:
    async def scenario() -> list[Finding]:
        async with raw_broker(play) as broker:
            return await check_broker(config(broker.port, **mqtt))

    return asyncio.run(scenario())


def allowing(properties: bytes):
    async def play(call: Call) -> None:
        call.accept(properties)
        await call.serve()

    return play


def test_a_limit_that_we_cannot_live_with_is_a_problem():
    """Nothing else is tried then."""
    (text,) = problems(found_at(allowing(b"\x24\x00")))
    assert "it takes QoS 0 only" in text


def test_a_broker_that_hands_nothing_back_is_found_out():
    """It grants and acknowledges everything; every kind of message, and its limit, are named."""
    found = found_at(allowing(b"\x21\x00\x13"), publish_timeout=0.1)
    assert [text.split(":")[0] for text in problems(found)] == [*BRANCHES, "requests for replay"]
    (text,) = warnings(found)
    assert "it takes only 19 message(s) at once" in text


@needs_mosquitto
def test_nothing_that_is_tried_stays_behind_or_looks_like_a_signal(tmp_path: Path):
    """Who listens to everything sees schemas to ignore, none of it retained."""
    import aiomqtt  # noqa: PLC0415 - only here

    async def scenario(port: int) -> list[aiomqtt.Message]:
        seen = []
        async with aiomqtt.Client("127.0.0.1", port) as client:
            await client.subscribe("candled/#", qos=1)
            found = await check_broker(config(port))
            assert not problems(found)
            await client.publish("candled/end", b"{}", qos=1)
            async for message in client.messages:
                if str(message.topic) == "candled/end":
                    break
                seen.append(message)
        async with aiomqtt.Client("127.0.0.1", port) as late:
            await late.subscribe("candled/#", qos=1)
            await late.publish("candled/end", b"{}", qos=1)
            async for message in late.messages:
                assert str(message.topic) == "candled/end"
                break
        return seen

    with mosquitto(tmp_path) as broker:
        seen = asyncio.run(scenario(broker.port))
    kinds = {json.loads(m.payload)["schema"] for m in seen}
    assert kinds == {"candled.check/1", "candled.replay-request/1"}
    assert len(seen) == 7


@needs_mosquitto
def test_secrets_that_others_may_read_are_warned_of(tmp_path: Path):
    """With the command that mends it."""
    secret = tmp_path / "password"
    secret.write_text("horse")
    secret.chmod(0o644)
    found = checked(tmp_path, ["topic readwrite #"], username="x", password_file=str(secret))
    assert f"chmod 600 {secret}" in warnings(found)[0]
