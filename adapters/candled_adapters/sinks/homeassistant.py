"""Announces the streams to Home Assistant, beside the sink that says their heads.

On a connection of its own, so that thousands of announcements delay no signal, and without a will:
the heads' own expiry and the status tell when we are gone. Again at each connection, and whenever
Home Assistant says that it has started. What it cannot announce degrades nothing: a dashboard that
is refused must stop no bot; it is logged. Which messages, see `homeassistant_words`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from candled.core.bar import Stream
from candled.ports import HealthBoard, Outbox, Sink
from candled_adapters.sinks.homeassistant_words import (
    Household,
    announcement,
    service_announcement,
    withdrawal,
)
from candled_adapters.sinks.mqtt_link import Dial, LinkError, Wire
from candled_adapters.sinks.mqtt_messages import Message, MqttSettings
from candled_adapters.sinks.together import together

_STARTED = b"online"

Connect = Callable[[MqttSettings, Message | None], Wire]

log = logging.getLogger(__name__)


class Announcer:
    """Announces `streams`, and takes back those that the journal knows and nobody serves now.

    At most every `pause_s` seconds: who asks in between is answered at the end of it.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        home: Household,
        streams: Sequence[Stream],
        *,
        connect: Connect | None = None,
        pause_s: float = 10.0,
    ) -> None:
        self._mqtt = replace(
            mqtt, client_id=f"{mqtt.client_id}-ha", base_topic=home.prefix, sign=None
        )
        self._home = home
        self._streams = streams
        self._pause_s = pause_s
        self._connect = connect or Dial(self._mqtt, prove=False)
        self._told = ""

    async def run(self, outbox: Outbox) -> None:
        """Announce until cancelled, over any number of connections."""
        messages = self._messages(outbox)
        while True:
            try:
                async with self._connect(self._mqtt, None) as link:
                    await together(LinkError, link.lost(), self._serve(link, messages))
            except LinkError as problem:
                self._warn(str(problem))
            await asyncio.sleep(random.uniform(0.5, 1) * self._mqtt.backoff_max)

    def _messages(self, outbox: Outbox) -> list[Message]:
        served = set(self._streams)
        known = dict.fromkeys(entry.decision.stream for entry in outbox.latest())
        gone = [withdrawal(self._home, stream) for stream in known if stream not in served]
        ours = [announcement(self._home, stream) for stream in self._streams]
        return [*gone, service_announcement(self._home), *ours]

    async def _serve(self, link: Wire, messages: Sequence[Message]) -> None:
        await link.listen(self._home.birth)
        asked = asyncio.Event()
        asked.set()
        await together(
            LinkError, self._announce_when(asked, link, messages), self._hear_births(asked, link)
        )

    async def _hear_births(self, asked: asyncio.Event, link: Wire) -> None:
        async for heard in link.heard():
            if heard.payload == _STARTED and not heard.retained:
                asked.set()

    async def _announce_when(
        self, asked: asyncio.Event, link: Wire, messages: Sequence[Message]
    ) -> None:
        """Announce when asked, but not as often as anybody may ask: each time is many messages."""
        while True:
            await asked.wait()
            asked.clear()
            await self._announce(link, messages)
            await asyncio.sleep(self._pause_s)

    async def _announce(self, link: Wire, messages: Sequence[Message]) -> None:
        acks = [await link.send(message) for message in messages]
        for ack in acks:
            await ack
        self._told = ""

    def _warn(self, problem: str) -> None:
        if problem != self._told:
            log.warning("cannot announce the streams to Home Assistant: %s", problem)
            self._told = problem


class Announced:
    """A sink, and an announcer beside it as long as it runs."""

    def __init__(self, sink: Sink, announcer: Announcer) -> None:
        self.name = sink.name
        self._sink = sink
        self._announcer = announcer

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        """Run both until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sink.run(outbox, board))
            tasks.create_task(self._announcer.run(outbox))
