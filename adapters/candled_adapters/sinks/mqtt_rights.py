"""Proof of what a broker lets us do: a message must come back to who sent it.

A broker that denies a right often says nothing: Mosquitto grants a subscription and sends nothing
on it, and MQTT 3.1.1 has no word for a message that was refused. So a message is published where
no stream can be, under a level named `check` and our client id, and must be heard there. Consumers
know it by its schema, ``candled.check/1``, and ignore it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from candled_adapters.protocol.topics import Topics
from candled_adapters.sinks.mqtt_messages import Message, MqttSettings
from candled_adapters.sinks.mqtt_wire import LinkError, Wire

SCHEMA: Final = "candled.check/1"
_EXPIRY_S: Final = 5


@dataclass(frozen=True, slots=True)
class Probe:
    """A kind of message that must come back, and the lines of an access list that let it."""

    kind: str
    topic: str
    branch: str
    """What the lines grant: the topic's branch."""

    @property
    def write(self) -> str:
        """The line that lets us say it, as Mosquitto spells it."""
        return f"topic write {self.branch}"

    @property
    def read(self) -> str:
        """The line that lets us hear it."""
        return f"topic read {self.branch}"


class NotHeardError(LinkError):
    """A message that the broker took did not come back."""


def probes(base: str, client: str) -> list[Probe]:
    """Return one for each kind of topic that the daemon writes, for `client` below `base`."""
    topics, own = Topics(base), f"check/{client}"
    places = {
        "check": (topics.check(client), f"{base}/check/#"),
        "signals": (topics.signal(f"{own}/check"), f"{base}/signal/#"),
        "heads": (topics.head(f"{own}/check"), f"{base}/head/#"),
        "events": (topics.event(f"{own}/check"), f"{base}/event/#"),
        "digests": (topics.digest("check", client), f"{base}/digest/#"),
        "replays": (topics.replay_response(client), f"{base}/replay/response/#"),
    }
    return [Probe(kind, topic, branch) for kind, (topic, branch) in places.items()]


def shadow_probe(base: str, client: str) -> Probe:
    """Return the one for what challengers say, which the daemon writes only where it has some."""
    return Probe("shadows", Topics(base).shadow(f"check/{client}/check"), f"{base}/shadow/#")


def request_probe(base: str) -> Probe:
    """Return the one for what the daemon listens to."""
    topic = Topics(base).replay_request
    return Probe("requests for replay", topic, topic)


async def echo(
    link: Wire, tried: Iterable[Probe], patience: float, said: bytes | None = None
) -> list[Probe]:
    """Publish on every topic; return those whose message did not come back in `patience` seconds.

    `said` is the payload, where it must be of another kind than ``candled.check/1``.
    Raises LinkError when the connection ends, as it does with Mosquitto at the first refusal.
    """
    waiting = {probe.topic: probe for probe in tried}
    said = said or json.dumps({"schema": SCHEMA, "mark": os.urandom(8).hex()}).encode()
    for topic in waiting:
        await link.listen(topic)
    acks = [await link.send(Message(topic, said, expiry=_EXPIRY_S)) for topic in waiting]
    for ack in acks:
        await ack
    try:
        async with asyncio.timeout(patience), aclosing(link.heard()) as heard:  # type: ignore[type-var]
            while waiting:
                message = await anext(heard)
                if message.payload == said:
                    waiting.pop(message.topic, None)
    except TimeoutError:
        pass
    return list(waiting.values())


async def prove_all(link: Wire, settings: MqttSettings) -> None:
    """Raise LinkError unless all that the daemon says comes back; names each missing right.

    One by one: some brokers end a connection of MQTT 3.1.1 at what they refuse, and only the order
    tells what that was.
    """
    missing: list[Probe] = []
    for probe in probes(settings.base_topic, settings.client_id):
        try:
            missing += await echo(link, [probe], settings.publish_timeout)
        except LinkError as error:
            raise NotHeardError(
                f"{settings.url} ended the connection at a message on {probe.topic}, so it "
                f"refuses it, it seems: grant topic readwrite {probe.branch}"
            ) from error
    if missing:
        lines = ", ".join(f"topic readwrite {probe.branch}" for probe in missing)
        raise NotHeardError(
            f"{settings.url} speaks MQTT 3.1.1, takes messages and does not hand them back, so "
            f"nobody knows whether it refuses them: grant {lines}"
        )
