"""The receiving end: a durable MQTT 5 subscription that survives lost connections.

A message may come more than once (QoS 1): tell them apart by their `id`. A signal that `supersedes`
another has an id of its own: who acted on that one replaces what it did, and does nothing where the
side is the same. Knows topics and bytes, and nothing of what is in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

_SESSION_SECONDS: Final = 24 * 3600
_PAUSE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came."""

    topic: str
    payload: bytes
    retained: bool
    expiry: int | None
    """Seconds that the broker would still keep it, if it expires at all."""


@dataclass(slots=True)
class Subscriber:
    """Subscribes to `topics` at QoS 1 under a session that the broker keeps for a day."""

    host: str
    port: int
    client_id: str
    topics: Sequence[str]
    subscribed: asyncio.Event
    """Set while the broker has acknowledged the subscription."""

    async def messages(self) -> AsyncIterator[Received]:
        """Yield messages until cancelled, over any number of connections."""
        while True:
            try:
                async with self._client() as client:
                    for topic in self.topics:
                        await client.subscribe(topic, qos=1)
                    self.subscribed.set()
                    async for message in client.messages:
                        yield _received(message)
            except aiomqtt.MqttError:
                self.subscribed.clear()
                await asyncio.sleep(_PAUSE_SECONDS)

    def _client(self) -> aiomqtt.Client:
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = _SESSION_SECONDS
        return aiomqtt.Client(
            self.host,
            self.port,
            identifier=self.client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=False,
            properties=session,
            keepalive=5,
            timeout=5,
        )


def _received(message: aiomqtt.Message) -> Received:
    payload = message.payload if isinstance(message.payload, bytes) else b""
    return Received(
        topic=str(message.topic),
        payload=payload,
        retained=message.retain,
        expiry=getattr(message.properties, "MessageExpiryInterval", None),
    )
