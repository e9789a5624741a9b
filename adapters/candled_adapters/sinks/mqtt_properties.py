"""What goes with a message in MQTT 5: expiry, correlation, signature.

https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901109
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from candled_adapters.sinks.mqtt_messages import Message, MqttSettings
from candled_adapters.sinks.mqtt_versions import Version

_USER_PROPERTY: Final = b"\x26"
_LONGEST_S: Final = (
    2**32 - 1
)  # what four bytes hold; a venue's clock that stands still asks for more
_MORE: Final = 128  # a byte of a length that has more bytes after it


class _Packed(Properties):
    """Properties that were packed once; paho packs them anew for each message, at 15 us."""

    packed: bytes

    def __init__(self, packed: bytes) -> None:
        object.__setattr__(self, "packed", packed)  # paho's own refuses names it does not know

    def pack(self) -> bytes:
        """Return the bytes as they go into the packet."""
        return self.packed


def will_of(will: Message | None, settings: MqttSettings, version: Version) -> aiomqtt.Will | None:
    """Return what the broker shall say when it loses us, signed now, since we cannot then."""
    if will is None:
        return None
    properties = None
    if settings.sign and version == "5":
        properties = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]  # paho's
        properties.UserProperty = list(settings.sign(will.topic, will.payload))
    return aiomqtt.Will(will.topic, will.payload, qos=1, retain=will.retain, properties=properties)


def properties_of(message: Message, settings: MqttSettings) -> Properties | None:
    """Return what goes with a message: expiry, correlation, its signature where we sign."""
    expiry = None if message.expiry is None else min(message.expiry, _LONGEST_S)
    plain = None if expiry is None else _expiry(expiry)
    if message.correlation is not None:
        plain = _correlated(message.correlation, expiry)
    if settings.sign is None:
        return plain
    pairs = settings.sign(message.topic, message.payload)
    return _Packed(with_pairs(plain.packed if plain else b"\0", pairs))


def _correlated(correlation: bytes, expiry: int | None) -> _Packed:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's
    properties.CorrelationData = correlation
    if expiry is not None:
        properties.MessageExpiryInterval = expiry
    return _Packed(properties.pack())  # type: ignore[no-untyped-call]  # paho's


def with_pairs(packed: bytes, pairs: Iterable[tuple[str, str]]) -> bytes:
    """Add user properties to packed properties; paho takes 30 us for that.

    https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901111
    """
    length = next(at for at, byte in enumerate(packed) if byte < _MORE) + 1
    body = packed[length:]
    for name, value in pairs:
        body += _USER_PROPERTY + _text(name) + _text(value)
    size: bytes = VariableByteIntegers.encode(len(body))  # type: ignore[no-untyped-call]  # paho's
    return size + body


def _text(text: str) -> bytes:
    return len(text.encode()).to_bytes(2) + text.encode()


@lru_cache(maxsize=256)
def _expiry(seconds: int) -> _Packed:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's
    properties.MessageExpiryInterval = seconds
    return _Packed(properties.pack())  # type: ignore[no-untyped-call]  # paho's
