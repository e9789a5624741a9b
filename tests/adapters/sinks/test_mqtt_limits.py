"""What a broker allows, as its CONNACK says, and what of it hurts."""

from __future__ import annotations

import asyncio

import pytest

from candled_adapters.sinks.mqtt_limits import Limits
from candled_adapters.sinks.mqtt_link import Link
from candled_adapters.sinks.mqtt_messages import Message, MqttSettings
from raw_broker import Call, raw_broker

WILL = Message("candled/status", b"{}", retain=True)


def limits_of(properties: bytes) -> Limits:
    """Return what a link makes of a CONNACK's properties."""

    async def play(call: Call) -> None:
        call.accept(properties)
        await call.serve()

    async def scenario() -> Limits:
        async with (
            raw_broker(play) as broker,
            Link(MqttSettings("127.0.0.1", broker.port), WILL) as link,
        ):
            return link.limits

    return asyncio.run(scenario())


def settings(**changes: object) -> MqttSettings:
    return MqttSettings("127.0.0.1", **changes)


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        (b"\x24\x00", "it takes QoS 0 only"),
        (b"\x25\x00", "it keeps no retained messages"),
    ],
)
def test_limits_that_we_cannot_live_with_are_problems(properties, said):
    """Signals need QoS 1, the status must be kept."""
    (text,) = limits_of(properties).problems()
    assert text.startswith(said)


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        (b"\x21\x00\x13", "it takes only 19 message(s) at once"),
        (b"\x27\x00\x00\x10\x00", "it takes packets up to 4096 bytes"),
        (b"\x13\x00\x3c", "it insists on a keepalive of 60 s: if candled freezes, it says so"),
        (b"\x13\x00\x00", "it insists on a keepalive of 0 s: if candled freezes, it says so n"),
    ],
)  # fmt: skip
def test_limits_that_hurt_are_warnings(properties, said):
    """Each with its number and the mend."""
    limits = limits_of(properties)
    (text,) = limits.warnings(settings())
    assert text.startswith(said)
    assert not limits.problems()


@pytest.mark.parametrize(
    "properties", [b"", b"\x21\x00\x14\x27\x00\x00\x40\x00\x13\x00\x02\x24\x01"]
)
def test_a_broker_that_allows_enough_is_not_warned_of(properties):
    """Nor is one that names no limits."""
    limits = limits_of(properties)
    assert not limits.warnings(settings())
    assert not limits.problems()


def test_a_small_window_is_well_where_no_larger_one_is_asked_for():
    """max_outstanding is what it is measured by."""
    assert not Limits(receive_maximum=5).warnings(settings(max_outstanding=5))
