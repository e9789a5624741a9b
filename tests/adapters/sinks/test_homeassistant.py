"""What Home Assistant is told obeys its rules, and its templates find the values in real heads.

The rules here are written from Home Assistant's documentation of MQTT discovery, sensors and binary
sensors, and from `homeassistant/components/mqtt/schemas.py`, `sensor.py` and `discovery.py` of
https://github.com/home-assistant/core; the code under test is not asked.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiomqtt
import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers import free_port, mosquitto, needs_mosquitto
from candled.core.bar import Stream
from candled.core.decision import Side
from candled.ports import Health, ServiceState, StreamHealth, StreamState
from candled_adapters.sinks import payload
from candled_adapters.sinks.homeassistant import Announced, Announcer
from candled_adapters.sinks.homeassistant_words import (
    Household,
    announcement,
    service_announcement,
    withdrawal,
)
from candled_adapters.sinks.mqtt_link import Link
from candled_adapters.sinks.mqtt_messages import Message, MqttSettings
from fakes import BTC, EVENING_MS, Board, Decisions, MemoryOutbox, ended, until

ETH = Stream("binance", "ETHUSDT", "1m")
HOME = Household("candled", "1.2.3", {"binance": "binance-spot"}, head_refresh=30.0)
NOW = EVENING_MS + 60_050

TOPIC = re.compile(
    r"(?P<component>\w+)/(?:(?P<node>[a-zA-Z0-9_-]+)/)?(?P<id>[a-zA-Z0-9_-]+)/config"
)
SHARED = {"availability_topic", "availability_template", "payload_available", "state_topic", "qos"}
SHARED |= {"payload_not_available", "availability", "availability_mode", "encoding"}
DEVICE = {"identifiers", "connections", "manufacturer", "model", "name", "sw_version"}
DEVICE |= {"via_device", "hw_version", "serial_number", "suggested_area", "configuration_url"}
ENTITY = {"platform", "unique_id", "name", "value_template", "device_class", "expire_after"}
ENTITY |= {"json_attributes_topic", "json_attributes_template", "icon", "entity_category"}
SENSOR = {"options", "state_class", "unit_of_measurement", "suggested_display_precision"}
BINARY = {"payload_on", "payload_off", "off_delay"}
SENSOR_CLASSES = {None, "enum", "timestamp"}  # of those there are, the ones that fit our values


def parsed(message: Message, prefix: str = "homeassistant") -> dict[str, Any]:
    """Take a discovery message as Home Assistant does, and complain of what it would refuse."""
    assert message.retain
    rest = message.topic.removeprefix(f"{prefix}/")
    match = TOPIC.fullmatch(rest)
    assert match, message.topic
    assert match["component"] == "device"
    body = json.loads(message.payload)
    assert body.keys() <= {"device", "origin", "components"} | SHARED
    device, origin = body["device"], body["origin"]
    assert device.keys() <= DEVICE
    assert device["identifiers"]
    assert all(isinstance(text, str) for text in device["identifiers"])
    assert isinstance(origin["name"], str)
    assert origin.keys() <= {"name", "sw_version", "support_url"}
    shared = {key: value for key, value in body.items() if key in SHARED}
    parts = {name: shared | part for name, part in body["components"].items()}
    for part in parts.values():
        obey(part)
    assert len({part["unique_id"] for part in parts.values()}) == len(parts)
    return body | {"components": parts}


def obey(part: dict[str, Any]) -> None:
    """Hold a component to the rules of its platform."""
    kinds = {"sensor": SENSOR, "binary_sensor": BINARY}
    assert part.keys() <= SHARED | ENTITY | kinds[part["platform"]]
    for key in (key for key in part if key.endswith("_topic")):
        assert part[key]
        assert not set(part[key]) & set("+#\0")
    assert part["state_topic"]
    assert isinstance(part["unique_id"], str)
    if "expire_after" in part:
        assert isinstance(part["expire_after"], int)
        assert part["expire_after"] > 0
    if part["platform"] == "binary_sensor":
        assert part["device_class"] == "connectivity"
        return
    kind = part.get("device_class")
    assert kind in SENSOR_CLASSES
    assert ("options" in part) == (kind == "enum")
    if kind == "enum":
        assert part["options"]
        assert not part.keys() & {"state_class", "unit_of_measurement"}
    assert part.get("state_class") in {None, "measurement"}


def shown(part: dict[str, Any], said: bytes) -> str | None:
    """Return the state that a component has after a message; None for unknown."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701
    template = environment.from_string(part["value_template"])
    text = template.render(value=said.decode(), value_json=json.loads(said))
    if part["platform"] == "binary_sensor":
        return {"ON": "on", "OFF": "off"}[text]
    if text == "None":
        return None
    if part.get("device_class") == "enum":
        assert text in part["options"], text
    elif part.get("device_class") == "timestamp":
        assert dt.datetime.fromisoformat(text).tzinfo
    else:
        float(text)
    return text


def available(part: dict[str, Any], status: bytes) -> bool:
    template = jinja2.Environment(autoescape=True).from_string(part["availability_template"])
    return {"online": True, "offline": False}[template.render(value_json=json.loads(status))]


SENSORS = parsed(announcement(HOME, BTC))["components"]
made = Decisions()
ENTRIES = {side: made.make(side) for side in Side}


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("state", [None, *StreamState])
def test_every_sensor_finds_its_value_in_every_head(side: Side, state: StreamState | None):
    """Whatever was decided and however the stream is doing, no template fails or invents."""
    health = StreamHealth(BTC, state, "why") if state else None
    said = payload.head(ENTRIES[side], "e1", NOW, health)
    values = {name: shown(part, said) for name, part in SENSORS.items()}
    live = state is StreamState.LIVE
    asked = ENTRIES[side].decision.probabilities
    odds = {Side.LONG: 61.23, Side.SHORT: 17.77, Side.FLAT: 21.0}
    assert values["side"] == (side.value if live else "not_live")
    assert values["confidence"] == (str(odds[side]) if asked else None)
    assert float(values["price"]) == ENTRIES[side].decision.price
    assert values["regime"] == "Trending Up"
    assert values["newest_bar"] == json.loads(said)["bar_close"]
    assert values["freshness"] == (state.value if state else "stopped")


@pytest.mark.parametrize("state", ServiceState)
def test_the_service_shows_its_state_and_without_it_no_sensor_has_a_value(state: ServiceState):
    """Online is on, all else off; sensors are unavailable once we are gone, by our will as well."""
    parts = parsed(service_announcement(HOME))["components"]
    status = payload.status(Health(state, ("a",), EVENING_MS), "i", "e")
    assert shown(parts["online"], status) == ("on" if state is ServiceState.ONLINE else "off")
    assert shown(parts["state"], status) == state.value
    for part in SENSORS.values():
        assert available(part, status) == (state is not ServiceState.OFFLINE)
        assert not available(part, payload.will("i", "e"))
        assert part["availability_topic"] == "candled/status"


def test_a_head_may_be_missed_twice_before_its_values_are_gone():
    """Expiry follows from how often heads are said."""
    assert {part["expire_after"] for part in SENSORS.values()} == {100}


def test_streams_of_an_exchange_share_a_device_behind_the_services():
    """One device an exchange, whose parent is the service's own."""
    one, other = (parsed(announcement(HOME, stream)) for stream in (BTC, ETH))
    assert one["device"] == other["device"]
    assert one["device"]["model"] == "binance-spot"
    service = parsed(service_announcement(HOME))
    assert one["device"]["via_device"] in service["device"]["identifiers"]
    assert set(one["components"]) == set(other["components"])


levels = st.text(st.characters(exclude_characters="+#/\0 ", exclude_categories=["Cs"]), min_size=1)
streams = st.builds(Stream, levels, levels, st.sampled_from(["1m", "1h"]))


@given(streams, streams, levels, levels)
def test_no_two_streams_or_services_share_a_name(one: Stream, two: Stream, base: str, next_: str):
    """Whatever a venue calls its symbols, topics are valid, and ids are as many as streams."""
    ids = set()
    homes = {base, next_}
    for stream in {one, two}:
        for text in homes:
            message = announcement(replace(HOME, base_topic=text), stream)
            ids |= {part["unique_id"] for part in parsed(message)["components"].values()}
    assert len(ids) == len({one, two}) * len(homes) * len(SENSORS)


def test_a_withdrawal_is_empty_on_the_same_topic():
    """And retained, so that the broker forgets the announcement."""
    gone = withdrawal(HOME, BTC)
    assert gone == Message(announcement(HOME, BTC).topic, b"", retain=True)


# --- with a real broker


class Listening:
    """What Home Assistant has heard on its discovery topics, newest by topic, and how often."""

    def __init__(self) -> None:
        self.found: dict[str, bytes] = {}
        self.count = 0
        self.ready = False

    async def run(self, port: int) -> None:
        version = aiomqtt.ProtocolVersion.V5
        with suppress(aiomqtt.MqttError):
            async with aiomqtt.Client("127.0.0.1", port, protocol=version) as client:
                await client.subscribe("homeassistant/+/+/+/config", qos=1)
                self.ready = True
                async for message in client.messages:
                    self.count += 1
                    self.found[str(message.topic)] = message.payload


async def start_home(port: int) -> None:
    """Say what Home Assistant says when it has started."""
    async with aiomqtt.Client("127.0.0.1", port) as home:
        await home.publish("homeassistant/status", "online")


@needs_mosquitto
def test_streams_are_announced_again_when_home_assistant_starts_and_the_lost_ones_taken_back(
    tmp_path: Path,
):
    """Retained for a Home Assistant that comes later, also after the broker forgot everything."""
    outbox = MemoryOutbox([Decisions().make(stream=ETH)])  # served once, and not any more
    old = announcement(HOME, ETH)

    async def go(broker: Any) -> None:
        async with aiomqtt.Client("127.0.0.1", broker.port) as before:
            await before.publish(old.topic, old.payload, qos=1, retain=True)
        mqtt = MqttSettings("127.0.0.1", broker.port, backoff_max=0.1)
        task = asyncio.create_task(Announcer(mqtt, HOME, [BTC], pause_s=0.05).run(outbox))
        expected = {
            m.topic: m.payload for m in (announcement(HOME, BTC), service_announcement(HOME))
        }
        try:
            for restarts in (False, True):
                if restarts:
                    broker.restart()
                home = Listening()
                listening = asyncio.create_task(home.run(broker.port))
                await until(lambda home=home: home.found.items() >= expected.items())
                await until(lambda home=home: not home.found.get(old.topic))
                heard = home.count
                await start_home(broker.port)
                await until(lambda home=home, heard=heard: home.count >= heard + len(expected))
                assert {t for t, said in home.found.items() if said} == set(expected)
                await ended(listening)
        finally:
            await ended(task)

    with mosquitto(tmp_path) as broker:
        asyncio.run(asyncio.wait_for(go(broker), 20))


@needs_mosquitto
def test_who_floods_the_birth_topic_gets_no_flood_of_announcements(tmp_path: Path):
    """A thousand births, and whatever else is said there, are answered after the pause, once."""

    async def go(port: int) -> int:
        mqtt = MqttSettings("127.0.0.1", port)
        home = Listening()
        listening = asyncio.create_task(home.run(port))
        await until(lambda: home.ready)
        announcer = Announcer(mqtt, HOME, [BTC], pause_s=3_600.0)
        task = asyncio.create_task(announcer.run(MemoryOutbox()))
        try:
            await until(lambda: home.count == 2)
            async with aiomqtt.Client("127.0.0.1", port) as hostile:
                for payload in ("online", "", "offline", b"\xff" * 10_000, '{"online": 1}'):
                    for _ in range(200):
                        await hostile.publish("homeassistant/status", payload)
                await hostile.publish("homeassistant/device/the/end/config", "", qos=1)
            await until(lambda: "homeassistant/device/the/end/config" in home.found)
            assert not task.done()
            return home.count
        finally:
            await ended(task)
            await ended(listening)

    with mosquitto(tmp_path) as broker:
        assert asyncio.run(asyncio.wait_for(go(broker.port), 15)) == 3


def test_a_broker_that_is_away_is_logged_once_and_degrades_nothing(
    caplog: pytest.LogCaptureFixture,
):
    """No bot stops because a dashboard could not be reached; the sink beside it goes on."""

    class Quiet:
        name = "mqtt"
        runs = False

        async def run(self, _outbox: MemoryOutbox, _board: Board) -> None:
            self.runs = True
            await asyncio.Event().wait()

    async def go() -> tuple[Board, Quiet]:
        mqtt = MqttSettings("127.0.0.1", free_port(), backoff_max=0.02)
        sink, board = Quiet(), Board()
        attempts: list[MqttSettings] = []

        def connect(settings: MqttSettings, will: Message | None) -> Link:
            attempts.append(settings)
            return Link(settings, will)

        both = Announced(sink, Announcer(mqtt, HOME, [BTC], connect=connect))
        assert both.name == "mqtt"
        task = asyncio.create_task(both.run(MemoryOutbox(), board))
        await until(lambda: len(attempts) > 3)
        await ended(task)
        return board, sink

    with caplog.at_level(logging.WARNING):
        board, sink = asyncio.run(go())
    assert sink.runs
    assert board.reports == []
    assert [r.getMessage().split(":")[0] for r in caplog.records] == [
        "cannot announce the streams to Home Assistant"
    ]
