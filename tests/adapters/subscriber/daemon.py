"""A daemon's side of the contract for tests of consumers: it publishes from a list, and answers.

Its signals are numbered and kept; what the broker loses it answers when it is asked, as the daemon
does. It speaks to a real broker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiomqtt
import msgspec
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from adapters.subscriber.world import TOPICS, Journal, encode, head, on_topic, signal, status
from candled_adapters.protocol import shapes

STREAM = "x/BTC/1m"


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Daemon:
    """Publishes the signals of one stream over one connection."""

    def __init__(self, client: aiomqtt.Client, journal: Journal, epoch: str, page: int) -> None:
        self.journal = journal
        self.epoch = epoch
        self.asked: list[shapes.ReplayRequest] = []
        self.deaf = False
        """Whether questions are passed over."""
        self._client = client
        self._page = page

    async def say(self, said: object, *, retain: bool = False, qos: int = 1) -> None:
        message = on_topic(said)
        await self._client.publish(message.topic, message.payload, qos, retain)

    async def status(self, state: str = "online") -> None:
        await self.say(status(state, self.epoch), retain=True)

    async def head(self, state: str = "live") -> None:
        said = head(self.journal.last, epoch=self.epoch, state=state, now_ms=wall_ms())
        await self.say(said, retain=True)

    def decide(self, life_ms: int = 60_000) -> shapes.Signal:
        """Make the next signal, which nobody is told."""
        now = wall_ms()
        made = signal(
            self.journal.last + 1, epoch=self.epoch, now_ms=now, valid_until_ms=now + life_ms
        )
        self.journal.signals.append(made)
        return made

    async def signals(self, count: int, life_ms: int = 60_000) -> None:
        """Decide and publish so many."""
        for _ in range(count):
            await self.say(self.decide(life_ms))

    async def answer(self) -> None:
        """Answer questions until the connection ends."""
        with suppress(aiomqtt.MqttError):
            async for message in self._client.messages:
                request = msgspec.json.decode(message.payload, type=shapes.ReplayRequest)
                self.asked.append(request)
                if not self.deaf:
                    await self._reply(request, message.properties)

    async def _reply(self, request: shapes.ReplayRequest, asked: Properties | None) -> None:
        kept = self.journal.kept(request.since_seq)
        said = shapes.Replay(
            stream=request.stream, epoch=self.epoch, since_seq=request.since_seq,
            last_seq=self.journal.last, first_kept=self.journal.kept_from,
            signals=tuple(msgspec.structs.replace(s, live=False) for s in kept[: self._page]),
            complete=len(kept) <= self._page, correlation=request.correlation,
        )  # fmt: skip
        answer = Properties(PacketTypes.PUBLISH)
        reply_to = request.reply_to or asked.ResponseTopic
        if not request.reply_to:
            answer.CorrelationData = asked.CorrelationData
        await self._client.publish(reply_to, encode(said), 1, properties=answer)


@asynccontextmanager
async def daemon(
    port: int, journal: Journal | None = None, *, epoch: str = "e1", page: int = 100, **login: str
) -> AsyncIterator[Daemon]:
    """Run a daemon that is online for the length of the block; it leaves as by a crash."""
    async with aiomqtt.Client(
        "127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, timeout=5, **login
    ) as client:
        await client.subscribe(TOPICS.replay_request, qos=1)
        speaking = Daemon(client, journal or Journal(), epoch, page)
        await speaking.status()
        await speaking.head()
        answering = asyncio.create_task(speaking.answer())
        try:
            yield speaking
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
