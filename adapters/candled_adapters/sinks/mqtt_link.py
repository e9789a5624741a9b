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
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Self

import aiomqtt
import paho.mqtt.client as paho
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers
from paho.mqtt.reasoncodes import ReasonCode

from candled_adapters.sinks import mqtt_reach
from candled_adapters.sinks.mqtt_codes import (
    FIRST_REFUSAL,
    NOT_AUTHORIZED,
    TAKEN_OVER,
    UNSPECIFIED,
    WRONG_VERSION,
    explain,
    pubacks,
)
from candled_adapters.sinks.mqtt_limits import Limits
from candled_adapters.sinks.mqtt_messages import Heard, Message, MqttSettings
from candled_adapters.sinks.mqtt_pulse import Beat, Pulse
from candled_adapters.sinks.mqtt_rights import prove_all
from candled_adapters.sinks.mqtt_versions import LOSSES, Version, Versions
from candled_adapters.sinks.mqtt_wire import LinkError, TakenOverError, Wire

__all__ = ["Dial", "Heard", "Link", "LinkError", "TakenOverError", "Wire"]

_LAST_WORDS: Final = 65_536
_USER_PROPERTY: Final = b"\x26"
_MORE: Final = 128  # a byte of a length that has more bytes after it
_MOST_HEARD: Final = 256  # messages that wait to be taken
_PINGREQ: Final = 0xC0

log = structlog.get_logger("candled.mqtt")


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


@dataclass(frozen=True, slots=True)
class _Flight:
    ack: asyncio.Future[None]
    topic: str
    since: int
    """The pulse's tick at which it was sent."""


class Link(aiomqtt.Client):
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
        self._prove = prove
        self._versions = versions or Versions(settings.protocol)
        self.version: Version = self._versions.choose(asyncio.get_running_loop().time())
        self.limits = Limits()
        """What the broker allows, once connected."""
        super().__init__(
            settings.host,
            settings.port,
            logger=_quiet(),
            username=settings.username,
            password=settings.password,
            identifier=settings.client_id,
            protocol=_PROTOCOLS[self.version],
            clean_start=True if self.version == "5" else paho.MQTT_CLEAN_START_FIRST_ONLY,
            will=_will(will, settings, self.version),
            timeout=settings.publish_timeout,
            keepalive=settings.keepalive,
            max_inflight_messages=0,
            max_queued_incoming_messages=_MOST_HEARD,
            socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
        )
        self._plain_recv = self._client._sock_recv  # noqa: SLF001 - paho has no hook for these
        self._client._sock_recv = self._receive  # type: ignore[method-assign] # noqa: SLF001
        self._client._create_socket = self._reach  # type: ignore[method-assign] # noqa: SLF001
        self._settings = settings
        self._window = settings.max_outstanding
        self._flying: dict[int, _Flight] = {}
        self._pulse = Pulse(settings.keepalive, settings.publish_timeout)
        self._quick = False
        self._hung_up = False
        self._trouble: BaseException | None = None
        self._server: str | None = None
        self._addresses: list[mqtt_reach.Address] = []
        self._reached: socket.socket | None = None
        self._dialled = asyncio.Event()
        self._lost: asyncio.Future[None] = self._loop.create_future()

    async def __aenter__(self) -> Self:
        """Connect; with MQTT 3.1.1, prove the rights, too."""
        self._disconnected.add_done_callback(self._on_end)
        await self._find()
        opening = asyncio.ensure_future(super().__aenter__())
        try:
            await asyncio.shield(opening)
            if self._versions.accepted(self.version) and self.version != "5":
                log.warning("mqtt_3_1_1", broker=self._settings.url, lost=LOSSES)
            if self.version != "5" and self._prove:
                await prove_all(self, self._settings)
        except aiomqtt.MqttError as error:
            self._drop()
            raise self._no_connection(error) from error
        except asyncio.CancelledError:
            await self._give_up(opening)
            raise
        except BaseException:
            self._drop()
            raise
        return self

    async def _find(self) -> None:
        settings = self._settings
        try:
            self._addresses = await mqtt_reach.find(
                settings.host, settings.port, settings.publish_timeout
            )
        except OSError as error:  # TimeoutError is one
            why = mqtt_reach.explain(error)
            raise LinkError(f"no connection to {settings.url}: {why}") from error

    async def _give_up(self, opening: asyncio.Future[Any]) -> None:
        """End the thread that connects, which cannot be cancelled, by taking its socket away."""
        if not self._dialled.is_set() and self._reached is not None:
            with suppress(OSError):
                self._reached.shutdown(socket.SHUT_RDWR)
        await self._dialled.wait()
        opening.cancel()
        self._drop()

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
        while len(self._flying) >= self._window:
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
            properties = _properties(message, self._settings)
        elif message.expiry is not None:
            retain = False  # what should expire and cannot must not be kept
        info = self._client.publish(message.topic, message.payload, qos, retain, properties)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            error = LinkError(f"cannot send to {self._settings.url}: {paho.error_string(info.rc)}")
            self._fail(error)
            raise error
        return info.mid

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

    def _on_socket_register_write(
        self,
        client: paho.Client,
        userdata: Any,  # noqa: ANN401, ARG002 - paho's
        sock: Any,  # noqa: ANN401 - paho's
    ) -> None:
        """Write once the socket has room; called from aiomqtt's thread, too."""
        self._loop.call_soon_threadsafe(self._watch_room, client, sock)

    def _watch_room(self, client: paho.Client, sock: socket.socket) -> None:
        if client.socket() is sock:  # not closed meanwhile, its number given to another
            self._loop.add_writer(sock, self._write, client)

    def _write(self, client: paho.Client) -> None:
        try:
            client.loop_write()
        except Exception as error:  # noqa: BLE001 - as aiomqtt does: whatever it is, it is the end
            if not self._disconnected.done():
                self._disconnected.set_exception(error)

    def _receive(self, bufsize: int) -> bytes:
        """Read for paho, and note what it would throw away: signs of life and TLS's reasons."""
        try:
            data = self._plain_recv(bufsize)
        except ssl.SSLError as error:
            self._trouble = error
            raise
        self._pulse.heard()
        return data

    def _reach(self) -> socket.socket:
        """Return a connected socket to paho; in aiomqtt's thread."""
        return mqtt_reach.connect(self._settings, self._addresses, self._note_socket)

    def _note_socket(self, there: socket.socket) -> None:
        self._reached = there

    def _client_connect(self) -> None:
        """Run in a thread by aiomqtt; tell the loop when it is over, well or not."""
        try:
            super()._client_connect()
        except OSError as error:
            self._trouble = error
            raise
        finally:
            self._loop.call_soon_threadsafe(self._dialled.set)

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,  # noqa: ANN401 - paho's
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.limits = Limits.of(properties)
        self._server = getattr(properties, "ServerReference", None)
        self._window = min(self._settings.max_outstanding, self.limits.receive_maximum)
        alarm = self.limits.server_keepalive or self._settings.keepalive
        self._pulse = Pulse(min(alarm, self._settings.keepalive), self._settings.publish_timeout)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,  # noqa: ANN401 - paho's
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if not self._connected.done():  # aiomqtt would wait for its timeout
            self._hung_up = True
            self._connected.set_exception(aiomqtt.MqttError("closed before it was answered"))
        self._server = getattr(properties, "ServerReference", None)
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

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

    def _drop(self) -> None:
        self._client._sock_close()  # noqa: SLF001 - paho can only close with a DISCONNECT

    def _no_connection(self, error: aiomqtt.MqttError) -> LinkError:
        code, now = getattr(error, "rc", None), self._loop.time()
        if isinstance(code, ReasonCode):
            text = f"{self._settings.url} refused the connection {explain(code, self._server)}"
            if code.value == WRONG_VERSION:
                self._versions.refused(self.version, now, in_words=True)
            return LinkError(text)
        if self._trouble is not None:
            why = mqtt_reach.explain(self._trouble)
        elif self._hung_up:
            self._versions.refused(self.version, now, in_words=False)
            why = f"{error}; a broker does so that expects TLS (mqtts://), or knows no such MQTT"
        else:
            why = f"{error}: it does not answer"
        return LinkError(f"no connection to {self._settings.url}: {why}")

    def _refusal(self, topic: str, number: int) -> LinkError:
        code = ReasonCode(PacketTypes.PUBACK, identifier=number)
        what = f"{self._settings.url} refused a message on {topic}"
        if number == NOT_AUTHORIZED:
            rights = f"{self._settings.base_topic}/#"
            return LinkError(f"{what} (code {number} {code}): grant write rights on {rights}")
        return LinkError(f"{what} {explain(code)}")


_PROTOCOLS: Final = {
    "5": aiomqtt.ProtocolVersion.V5,
    "3.1.1": aiomqtt.ProtocolVersion.V311,
}


def _quiet() -> logging.Logger:
    """Return a logger for paho, whose errors all come to us as the end of the connection."""
    logger = logging.getLogger(f"{__name__}.paho")
    logger.setLevel(logging.CRITICAL)
    return logger


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


class _Packed(Properties):
    """Properties that were packed once; paho packs them anew for each message, at 15 us."""

    packed: bytes

    def __init__(self, packed: bytes) -> None:
        object.__setattr__(self, "packed", packed)  # paho's own refuses names it does not know

    def pack(self) -> bytes:
        """Return the bytes as they go into the packet."""
        return self.packed


def _will(will: Message | None, settings: MqttSettings, version: Version) -> aiomqtt.Will | None:
    """Return what the broker shall say when it loses us, signed now, since we cannot then."""
    if will is None:
        return None
    properties = None
    if settings.sign and version == "5":
        properties = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]  # paho's
        properties.UserProperty = list(settings.sign(will.topic, will.payload))
    return aiomqtt.Will(will.topic, will.payload, qos=1, retain=will.retain, properties=properties)


def _properties(message: Message, settings: MqttSettings) -> Properties | None:
    """Return what goes with a message: expiry, correlation, its signature where we sign."""
    plain = None if message.expiry is None else _expiry(message.expiry)
    if message.correlation is not None:
        plain = _correlated(message.correlation, message.expiry)
    if settings.sign is None:
        return plain
    pairs = settings.sign(message.topic, message.payload)
    return _Packed(_with_pairs(plain.packed if plain else b"\0", pairs))


def _correlated(correlation: bytes, expiry: int | None) -> _Packed:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's
    properties.CorrelationData = correlation
    if expiry is not None:
        properties.MessageExpiryInterval = expiry
    return _Packed(properties.pack())  # type: ignore[no-untyped-call]  # paho's


def _with_pairs(packed: bytes, pairs: Iterable[tuple[str, str]]) -> bytes:
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
