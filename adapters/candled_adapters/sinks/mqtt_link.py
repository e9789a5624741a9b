"""One connection to an MQTT broker that tells the truth about every message.

The only user of aiomqtt. It knows topics and bytes, nothing of decisions. aiomqtt connects and
drives paho from the event loop; what it leaves out is added here:

- The reason code of each PUBACK. aiomqtt's `publish` returns normally when the broker refuses.
- An end for messages in flight. aiomqtt lets them wait 10 s after the connection is gone.
- A window. Messages are handed to paho at once and acknowledged through futures, so a burst costs
  no task each. paho's own window is off, because it scans all messages at every PUBACK.
- A pulse. paho gives a frozen broker three times the keepalive, and blames it for our own pauses.
- MQTT 3.1.1 for brokers that know no better, without what must not be said in it.

A link is used once. Whatever goes wrong ends it: a lost connection, a silent broker, a refusal.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from candled_adapters.sinks import mqtt_reach
from candled_adapters.sinks.mqtt_codes import (
    FIRST_REFUSAL,
    NOT_AUTHORIZED,
    TAKEN_OVER,
    UNSPECIFIED,
    explain,
    pubacks,
)
from candled_adapters.sinks.mqtt_messages import Heard, Message, MqttSettings
from candled_adapters.sinks.mqtt_opening import Opening
from candled_adapters.sinks.mqtt_properties import properties_of
from candled_adapters.sinks.mqtt_pulse import Beat
from candled_adapters.sinks.mqtt_rights import prove_all
from candled_adapters.sinks.mqtt_versions import Version, Versions
from candled_adapters.sinks.mqtt_wire import LinkError, TakenOverError, Wire

__all__ = ["Dial", "Heard", "Link", "LinkError", "TakenOverError", "Wire"]

_LAST_WORDS: Final = 65_536
_PINGREQ: Final = 0xC0


@dataclass(frozen=True, slots=True)
class _Flight:
    ack: asyncio.Future[None]
    topic: str
    since: int
    """The pulse's tick at which it was sent."""


class Link(Opening):
    """A connection, from `async with` to its end. Needs a running event loop.

    Entering raises LinkError when there is no connection to be had. Leaving cuts it without a
    word, so that the broker publishes the will; after `leave` there is none to publish.
    """

    def __init__(
        self,
        settings: MqttSettings,
        will: Message | None,
        versions: Versions | None = None,
        *,
        prove: bool = True,
    ) -> None:
        super().__init__(settings, will, versions or Versions(settings.protocol))
        self._prove = prove
        self._flying: dict[int, _Flight] = {}
        self._quick = False
        self._lost: asyncio.Future[None] = self._loop.create_future()

    async def __aenter__(self) -> Self:
        """Connect; with MQTT 3.1.1, prove the rights, too."""
        self._disconnected.add_done_callback(self._on_end)
        await super().__aenter__()
        try:
            if self.version != "5" and self._prove:
                await prove_all(self, self._settings)
        except BaseException:
            self._drop()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Cut the connection, if it still stands."""
        self._fail(LinkError("the connection was closed"))
        self._drop()

    async def leave(self) -> None:
        """Say goodbye to the broker, which then forgets the will. Raises LinkError."""
        try:
            await super().__aexit__(None, None, None)
        except aiomqtt.MqttError as error:
            raise LinkError(f"no proper goodbye to {self._settings.url}") from error

    async def lost(self) -> None:
        """Wait for the end of the connection; raises its LinkError."""
        await asyncio.shield(self._lost)

    async def send(self, message: Message) -> asyncio.Future[None]:
        """Publish at QoS 1, in order of the calls, as soon as the window has room.

        The future is done when the broker has accepted the message. Both raise LinkError when the
        connection ends first, whatever the reason: a refusal, a timeout, a lost connection.
        """
        while len(self._flying) >= self._window():
            await asyncio.wait([self._oldest().ack])
        mid = self._hand_over(message, qos=1)
        ack: asyncio.Future[None] = self._loop.create_future()
        self._flying[mid] = _Flight(ack, message.topic, self._pulse.now)
        return ack

    def send_unacked(self, message: Message) -> None:
        """Publish at QoS 0: at most once, and no word of a refusal. Raises LinkError."""
        self._hand_over(message, qos=0)

    async def listen(self, topic: str) -> None:
        """Subscribe at QoS 1; returns once the broker has granted it. Raises LinkError."""
        try:
            granted = await super().subscribe(topic, qos=1)
        except aiomqtt.MqttError as error:
            raise LinkError(f"cannot listen to {topic} at {self._settings.url}: {error}") from error
        _heed_cancellation()
        for code in granted:
            number = code.value if isinstance(code, ReasonCode) else code
            if number >= FIRST_REFUSAL:
                raise LinkError(
                    f"{self._settings.url} refused to let us listen to {topic} (code {number}): "
                    "grant read rights on it"
                )

    async def heard(self) -> AsyncIterator[Heard]:
        """Iterate over what is heard, until the connection ends with its LinkError.

        What comes faster than it is taken is dropped beyond a bound.
        """
        messages = super().messages
        while True:
            coming = asyncio.ensure_future(anext(messages))
            try:
                await asyncio.wait((coming, self._lost), return_when=asyncio.FIRST_COMPLETED)
                if self._lost.done() or coming.exception():
                    await self.lost()
                yield _heard(coming.result())
            finally:
                coming.cancel()

    def _hand_over(self, message: Message, qos: int) -> int:
        if self._lost.done():
            self._lost.result()  # raises
        properties, retain = None, message.retain
        if self.version == "5":
            properties = properties_of(message, self._settings)
        elif message.expiry is not None:
            retain = False  # what should expire and cannot must not be kept
        info = self._client.publish(message.topic, message.payload, qos, retain, properties)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            error = LinkError(f"cannot send to {self._settings.url}: {paho.error_string(info.rc)}")
            self._fail(error)
            raise error
        return info.mid

    def _window(self) -> int:
        return min(self._settings.max_outstanding, self.limits.receive_maximum)

    def _oldest(self) -> _Flight:
        return next(iter(self._flying.values()))

    async def _misc_loop(self) -> None:
        """Run by aiomqtt while the socket is open: the pulse, instead of paho's keepalive."""
        while True:
            await asyncio.sleep(self._pulse.seconds)
            self._beat()

    def _beat(self) -> None:
        if not self._connected.done() or self._lost.done():
            return  # before, the publish timeout rules
        beat = self._pulse.tick()
        if beat is Beat.GONE or (self._flying and self._pulse.overdue(self._oldest().since)):
            limit = self._settings.publish_timeout
            self._fail(LinkError(f"{self._settings.url} has not answered for {limit:g} s"))
        elif beat is Beat.ASK:
            self._client._send_simple_command(_PINGREQ)  # noqa: SLF001 - paho only pings late

    def _on_publish(
        self,
        client: paho.Client,  # noqa: ARG002 - paho's signature
        userdata: Any,  # noqa: ANN401, ARG002 - paho's
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,  # noqa: ARG002 - paho's signature
    ) -> None:
        self._answered(mid, reason_code.value)
        if not self._quick:
            self._quick = True
            self._loop.call_soon(self._acknowledge_now)

    def _answered(self, mid: int, code: int) -> None:
        flight = self._flying.pop(mid, None)
        if flight is None:
            return  # QoS 0: written to the socket, which says nothing
        if code >= FIRST_REFUSAL:
            error = self._refusal(flight.topic, code)
            _break(flight.ack, error)
            self._fail(error)
        elif not flight.ack.done():
            flight.ack.set_result(None)

    def _on_socket_close(self, client: paho.Client, userdata: Any, sock: Any) -> None:  # noqa: ANN401 - paho's
        """Read what paho leaves unread when a write fails.

        Mosquitto 2.0 refuses a message and closes at once. The next write then fails, and the
        refusal, the one thing to know, would be thrown away with the socket.
        """
        words = bytearray()
        with suppress(OSError):  # TLS gives one record at a time
            while len(words) < _LAST_WORDS and (more := sock.recv(_LAST_WORDS)):
                words += more
        for mid, code in pubacks(bytes(words)):
            self._answered(mid, code)
        super()._on_socket_close(client, userdata, sock)

    def _acknowledge_now(self) -> None:
        """Let the kernel acknowledge what has arrived, once for all PUBACKs of one wake-up.

        A broker without TCP_NODELAY holds back the next PUBACK until we acknowledged the last,
        and the kernel likes to wait 40 ms with that. Linux forgets the option after each use.
        """
        self._quick = False
        connection = self._client.socket()
        if isinstance(connection, socket.socket) and hasattr(socket, "TCP_QUICKACK"):
            with suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _on_end(self, disconnected: asyncio.Future[None]) -> None:
        error = None if disconnected.cancelled() else disconnected.exception()
        code = getattr(error, "rc", None)
        text = f"the connection to {self._settings.url} was lost"
        if self._flying:
            text += f" while a message on {self._oldest().topic} was on its way"
        kind = LinkError
        if isinstance(code, ReasonCode) and code.value != UNSPECIFIED:
            text = f"{self._settings.url} ended the connection {explain(code, self._server)}"
            kind = TakenOverError if code.value == TAKEN_OVER else LinkError
        elif self._trouble is not None:
            text += f": {mqtt_reach.explain(self._trouble)}"
        self._fail(kind(text))

    def _fail(self, error: LinkError) -> None:
        _break(self._lost, error)
        for flight in self._flying.values():
            _break(flight.ack, error)
        self._flying.clear()

    def _refusal(self, topic: str, number: int) -> LinkError:
        code = ReasonCode(PacketTypes.PUBACK, identifier=number)
        what = f"{self._settings.url} refused a message on {topic}"
        if number == NOT_AUTHORIZED:
            rights = f"{self._settings.base_topic}/#"
            return LinkError(f"{what} (code {number} {code}): grant write rights on {rights}")
        return LinkError(f"{what} {explain(code)}")


def _heard(message: aiomqtt.Message) -> Heard:
    said = message.payload
    return Heard(
        topic=str(message.topic),
        payload=said if isinstance(said, bytes) else b"",
        retained=message.retain,
        response_topic=getattr(message.properties, "ResponseTopic", None),
        correlation=getattr(message.properties, "CorrelationData", None),
    )


def _heed_cancellation() -> None:
    """Raise the CancelledError that `asyncio.wait_for`, which aiomqtt uses, may have swallowed.

    Until Python 3.12 it does when what it waits for is done in the moment of the cancellation
    (https://github.com/python/cpython/issues/86296). Who was cancelled would go on for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _break(future: asyncio.Future[None], error: LinkError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # not everyone waits for it


class Dial:
    """Makes one connection after the other and remembers which MQTT the broker speaks.

    Without `prove` the rights are not tried at each connection of MQTT 3.1.1.
    """

    def __init__(self, settings: MqttSettings, *, prove: bool = True) -> None:
        self._versions = Versions(settings.protocol)
        self._prove = prove

    def __call__(self, settings: MqttSettings, will: Message | None) -> Link:
        """Return the next connection, not yet entered."""
        return Link(settings, will, self._versions, prove=self._prove)

    def follow(self, settings: MqttSettings, will: Message | None) -> Link:
        """Return a connection of another client to the same broker, in the version found here."""
        known = Versions(self.protocol)
        known.accepted(self.protocol)  # so that it is no news
        return Link(settings, will, known, prove=False)

    @property
    def protocol(self) -> Version:
        """What the last connection spoke; 5 before the first."""
        return self._versions.current or "5"

    @property
    def asks_again(self) -> bool:
        """Whether the next connection may come about where the last one did not."""
        return self._versions.asks_again

    @property
    def losses(self) -> tuple[str, ...]:
        """What consumers must do without on it."""
        return self._versions.losses
