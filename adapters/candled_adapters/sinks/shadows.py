"""Publishes what challengers would signal, beside the sink that publishes what holds.

On a connection of its own, a few at a time, so that no shadow delays a signal; without a will. At
least once, in order: a new connection begins again at the first that the broker has not accepted.
What it cannot say degrades nothing: nobody acts upon a shadow; people are told of it. With MQTT
3.1.1, which has no word for a refusal, the right to publish is proven at each connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from candled.ports import Clock, Entry, HealthBoard, ShadowOutbox
from candled_adapters.protocol.topics import Topics
from candled_adapters.sinks import payload
from candled_adapters.sinks.mqtt_link import LinkError, Wire
from candled_adapters.sinks.mqtt_messages import Message, MqttSettings
from candled_adapters.sinks.mqtt_retry import Retry
from candled_adapters.sinks.mqtt_rights import NotHeardError, echo, shadow_probe
from candled_adapters.sinks.mqtt_versions import Version
from candled_adapters.sinks.together import together

#: Where the journal remembers what was published.
NAME: Final = "shadow mqtt"
#: Shadows taken at once, and marked as done together.
ROUND: Final = 20
_GOODBYE_S: Final = 1.0

Connect = Callable[[MqttSettings, Message | None], Wire]


class ShadowTeller:
    """Tells shadows for ever.

    `clocks` gives the clock of every exchange; `connect` makes each connection, and `protocol` says
    which MQTT that will speak. `give_way` is awaited before each few: others deliver first.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        clocks: Callable[[str], Clock],
        *,
        connect: Connect,
        protocol: Callable[[], Version],
        give_way: Callable[[], Awaitable[None]],
    ) -> None:
        self._mqtt = replace(mqtt, client_id=f"{mqtt.client_id}-shadow")
        self._topics = Topics(mqtt.base_topic)
        self._clocks = clocks
        self._connect = connect
        self._protocol = protocol
        self._give_way = give_way
        self._well_since: float | None = None

    async def run(self, shadows: ShadowOutbox, board: HealthBoard) -> None:
        """Publish until cancelled, over any number of connections."""
        retry = Retry(self._mqtt.backoff_min, self._mqtt.backoff_max)
        while True:
            self._well_since = None
            try:
                async with self._connect(self._mqtt, None) as link:
                    await self._serve(link, shadows, board)
            except LinkError as problem:
                pause, said = retry.after(problem, self._well_for())
                board.remark(NAME, said)
                await asyncio.sleep(pause)

    def _well_for(self) -> float | None:
        return None if self._well_since is None else time.monotonic() - self._well_since

    async def _serve(self, link: Wire, shadows: ShadowOutbox, board: HealthBoard) -> None:
        try:
            await together(LinkError, link.lost(), self._tell(link, shadows, board))
        except asyncio.CancelledError:
            with suppress(LinkError, TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await link.leave()
            raise

    async def _tell(self, link: Wire, shadows: ShadowOutbox, board: HealthBoard) -> None:
        if self._protocol() != "5":
            await self._prove(link)
        board.remark(NAME, None)
        self._well_since = time.monotonic()
        done = shadows.position(NAME)
        while True:
            entries = shadows.after(done, ROUND)
            if entries:
                await self._give_way()
                await self._deliver(link, entries, shadows.epoch)
                done = entries[-1].position
                shadows.mark(NAME, done)
            if len(entries) < ROUND:
                await shadows.wait(done)

    async def _deliver(self, link: Wire, entries: Sequence[Entry], epoch: str) -> None:
        signals = [entry for entry in entries if entry.seq is not None]
        acks = [await link.send(self._message(entry, epoch)) for entry in signals]
        for ack in acks:
            await ack

    def _message(self, entry: Entry, epoch: str) -> Message:
        stream = entry.decision.stream
        now = self._clocks(stream.exchange).now_ms()
        return Message(self._topics.shadow(stream.path), payload.shadow(entry, epoch, now))

    async def _prove(self, link: Wire) -> None:
        """Raise LinkError unless a message comes back, where nothing else tells of a refusal."""
        probe = shadow_probe(self._mqtt.base_topic, self._mqtt.client_id)
        if await echo(link, [probe], self._mqtt.publish_timeout):
            raise NotHeardError(
                f"{self._mqtt.url} takes messages on {probe.topic} and does not hand them back: "
                f"grant topic readwrite {probe.branch}"
            )
