"""The daemon's connection to the simulated broker: what `mqtt_link.Link` is to the sink.

It keeps the same promises: one end for everything in flight, two seconds for every answer, reason
codes told. Whatever is sent arrives in order, a moment later, even when the sender has died.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Self

from candled_adapters.sinks.mqtt_link import LinkError
from candled_adapters.sinks.mqtt_messages import Heard, Message, MqttSettings
from simulation.broker import Broker

#: Told of every message that is sent, and on which connection.
OnSend = Callable[["Wire", Message], None]


class Wire:
    """The daemon's connection; `candled_adapters.sinks.mqtt_link.Wire`."""

    def __init__(
        self,
        broker: Broker,
        settings: MqttSettings,
        will: Message,
        tick: Callable[[str], None],
        on_send: OnSend,
    ) -> None:
        self.will: Message | None = will
        self.cut = self.left = False
        self.subscribed: set[str] = set()
        self.most_flying = 0
        self._broker, self._settings, self._tick, self._on_send = broker, settings, tick, on_send
        self._loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._flying: dict[int, tuple[asyncio.Future[None], str]] = {}
        self._count = 0
        self._heard: asyncio.Queue[Heard] = asyncio.Queue(256)
        self._arrives = 0.0

    async def __aenter__(self) -> Self:
        broker, timeout = self._broker, self._settings.publish_timeout
        if broker.hit("broker_freeze"):
            await asyncio.sleep(timeout)
            raise LinkError(f"no connection to {self._settings.url}: timed out")
        await asyncio.sleep(broker.way() * 2)
        if not broker.up:
            raise LinkError(f"no connection to {self._settings.url}: refused")
        broker.attach(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        """Close the socket: what was sent arrives, then the end."""
        self._fail(LinkError("the connection was closed"))
        broker = self._broker
        if not self.left:
            when = max(self._arrives, broker.timeline.now) + 0.001
            broker.timeline.at(when, broker.when_thawed, self._over)

    def _over(self) -> None:
        self.cut = True
        self._broker.gone(self)

    async def leave(self) -> None:
        if self._lost.done():
            raise LinkError("no proper goodbye")
        self.left = True
        self._post(self._left)

    def _left(self) -> None:
        self.cut, self.will = True, None
        if self._broker.wire is self:
            self._broker.wire = None

    async def lost(self) -> None:
        await asyncio.shield(self._lost)

    async def send(self, message: Message) -> asyncio.Future[None]:
        while len(self._flying) >= self._settings.max_outstanding:
            await asyncio.wait([next(iter(self._flying.values()))[0]])
        self._check()
        self._tick("send")
        self._on_send(self, message)
        self._count += 1
        number, ack = self._count, self._loop.create_future()
        self._flying[number] = ack, message.topic
        self.most_flying = max(self.most_flying, len(self._flying))
        self._post(self._broker.publish, self, message, number)
        self._loop.call_later(self._settings.publish_timeout, self._too_late, number)
        return ack

    def send_unacked(self, message: Message) -> None:
        self._check()
        self._on_send(self, message)
        self._post(self._broker.publish, self, message, None)

    async def listen(self, topic: str) -> None:
        self._check()
        await asyncio.sleep(self._broker.way() * 2)
        self._check()
        self.subscribed.add(topic)

    async def heard(self) -> AsyncIterator[Heard]:
        while True:
            coming = asyncio.ensure_future(self._heard.get())
            try:
                await asyncio.wait((coming, self._lost), return_when=asyncio.FIRST_COMPLETED)
                if self._lost.done():
                    await self.lost()
                yield coming.result()
            finally:
                coming.cancel()

    def hear(self, heard: Heard) -> None:
        """Take a message of somebody else's."""
        if not self._lost.done() and not self._heard.full():
            self._heard.put_nowait(heard)

    def answered(self, number: int, code: int) -> None:
        """Take the broker's PUBACK."""
        if self._loop.is_closed() or self._lost.done() or number not in self._flying:
            return
        ack, topic = self._flying.pop(number)
        if code:
            error = LinkError(f"the broker refused a message on {topic} (code {code})")
            _break(ack, error)
            self._fail(error)
        elif not ack.done():
            ack.set_result(None)

    def end(self, why: str) -> None:
        """Lose the connection at the broker's end."""
        self.cut = True
        if not self._loop.is_closed():
            self._fail(LinkError(why))

    def _check(self) -> None:
        if self._lost.done():
            self._lost.result()

    def _post(self, do: Callable[..., None], *args: object) -> None:
        """Let something arrive at the broker after all that was sent before."""
        timeline = self._broker.timeline
        self._arrives = max(self._arrives + 1e-6, timeline.now + self._broker.way())
        timeline.at(self._arrives, self._broker.when_thawed, do, *args)

    def _too_late(self, number: int) -> None:
        if number in self._flying:
            self._fail(LinkError(f"{self._settings.url} has not answered in time"))

    def _fail(self, error: LinkError) -> None:
        if self._loop.is_closed():
            return
        _break(self._lost, error)
        for ack, _ in self._flying.values():
            _break(ack, error)
        self._flying.clear()


def _break(future: asyncio.Future[None], error: LinkError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()
