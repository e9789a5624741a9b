"""One connection to an MQTT 5 broker that tells the truth about every message.

The only user of aiomqtt. It knows topics and bytes, nothing of decisions. aiomqtt connects, keeps
alive and drives paho from the event loop; three things that it leaves out are added here:

- The reason code of each PUBACK. aiomqtt's `publish` returns normally when the broker refuses.
- An end for messages in flight. aiomqtt lets them wait 10 s after the connection is gone.
- A window. Messages are handed to paho at once and acknowledged through futures, so a burst costs
  no task each. paho's own window is off, because it scans all messages at every PUBACK.

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
from typing import Any, Final, Protocol, Self

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers
from paho.mqtt.reasoncodes import ReasonCode

from candled_adapters.sinks.mqtt_codes import (
    FIRST_REFUSAL,
    NOT_AUTHORIZED,
    UNSPECIFIED,
    explain,
    pubacks,
)
from candled_adapters.sinks.mqtt_messages import Message, MqttSettings

_LAST_WORDS: Final = 65_536
_USER_PROPERTY: Final = b"\x26"
_MORE: Final = 128  # a byte of a length that has more bytes after it
_MOST_HEARD: Final = 256  # messages that wait to be taken
_ALL_RECEIVED: Final = 65_535  # a broker that names no Receive Maximum


class LinkError(Exception):
    """The connection is of no more use. The text says what happened and how to mend it."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A message that others have published."""

    topic: str
    payload: bytes
    retained: bool
    response_topic: str | None
    correlation: bytes | None


class Wire(Protocol):
    """What the sink asks of a connection; `Link` is the real one."""

    async def __aenter__(self) -> Self:
        """Connect; raises LinkError."""
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Cut the connection, if it still stands."""
        ...

    async def leave(self) -> None:
        """Say goodbye, so that the will is forgotten."""
        ...

    async def lost(self) -> None:
        """Wait for the end of the connection; raises its LinkError."""
        ...

    async def send(self, message: Message) -> asyncio.Future[None]:
        """Publish at QoS 1; the future is done when the broker has accepted it."""
        ...

    def send_unacked(self, message: Message) -> None:
        """Publish at QoS 0."""
        ...

    async def listen(self, topic: str) -> None:
        """Subscribe at QoS 1; returns once the broker has granted it."""
        ...

    def heard(self) -> AsyncIterator[Heard]:
        """Iterate over what is heard, until the connection ends with its LinkError."""
        ...


@dataclass(frozen=True, slots=True)
class _Flight:
    ack: asyncio.Future[None]
    topic: str
    deadline: float


class Link(aiomqtt.Client):
    """A connection, from `async with` to its end. Needs a running event loop.

    Entering raises LinkError when there is no connection to be had. Leaving cuts it without a
    word, so that the broker publishes the will; after `leave` there is none to publish.
    """

    def __init__(self, settings: MqttSettings, will: Message | None) -> None:
        super().__init__(
            settings.host,
            settings.port,
            logger=_quiet(),
            username=settings.username,
            password=settings.password,
            identifier=settings.client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            will=_will(will, settings),
            timeout=settings.publish_timeout,
            keepalive=settings.keepalive,
            max_inflight_messages=0,
            max_queued_incoming_messages=_MOST_HEARD,
            tls_context=_tls(settings),
            socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
        )
        self._client.connect_timeout = settings.publish_timeout
        self._settings = settings
        self._window = settings.max_outstanding
        self._flying: dict[int, _Flight] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._quick = False
        self._dialled = asyncio.Event()
        self._lost: asyncio.Future[None] = self._loop.create_future()

    async def __aenter__(self) -> Self:
        """Connect."""
        self._disconnected.add_done_callback(self._on_end)
        opening = asyncio.ensure_future(super().__aenter__())
        try:
            await asyncio.shield(opening)
        except aiomqtt.MqttError as error:
            self._drop()
            raise LinkError(self._no_connection(error)) from error
        except asyncio.CancelledError:
            await self._dialled.wait()  # the thread that connects cannot be cancelled
            opening.cancel()
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
        while len(self._flying) >= self._window:
            await asyncio.wait([self._oldest().ack])
        mid = self._hand_over(message, qos=1)
        ack: asyncio.Future[None] = self._loop.create_future()
        deadline = self._loop.time() + self._settings.publish_timeout
        self._flying[mid] = _Flight(ack, message.topic, deadline)
        self._arm()
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
        properties = _properties(message, self._settings)
        info = self._client.publish(message.topic, message.payload, qos, message.retain, properties)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            error = LinkError(f"cannot send to {self._settings.url}: {paho.error_string(info.rc)}")
            self._fail(error)
            raise error
        return info.mid

    def _oldest(self) -> _Flight:
        return next(iter(self._flying.values()))

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_at(self._oldest().deadline, self._on_deadline)

    def _on_deadline(self) -> None:
        self._timer = None
        if not self._flying:
            return
        if self._oldest().deadline <= self._loop.time():
            limit = self._settings.publish_timeout
            self._fail(LinkError(f"{self._settings.url} has not answered for {limit:g} s"))
        else:
            self._arm()

    def _client_connect(self) -> None:
        """Run in a thread by aiomqtt; tell the loop when it is over, well or not."""
        try:
            super()._client_connect()
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
        allowed = getattr(properties, "ReceiveMaximum", _ALL_RECEIVED)
        self._window = min(self._settings.max_outstanding, allowed)
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
            self._connected.set_exception(aiomqtt.MqttError("closed before it was answered"))
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
        with suppress(OSError):
            for mid, code in pubacks(sock.recv(_LAST_WORDS)):
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
        if isinstance(code, ReasonCode) and code.value != UNSPECIFIED:
            text = f"{self._settings.url} ended the connection {explain(code)}"
        self._fail(LinkError(text))

    def _fail(self, error: LinkError) -> None:
        _break(self._lost, error)
        for flight in self._flying.values():
            _break(flight.ack, error)
        self._flying.clear()

    def _drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._client._sock_close()  # noqa: SLF001 - paho can only close with a DISCONNECT

    def _no_connection(self, error: aiomqtt.MqttError) -> str:
        code = getattr(error, "rc", None)
        if isinstance(code, ReasonCode):
            return f"{self._settings.url} refused the connection {explain(code)}"
        return f"no connection to {self._settings.url}: {error}"

    def _refusal(self, topic: str, number: int) -> LinkError:
        code = ReasonCode(PacketTypes.PUBACK, identifier=number)
        what = f"{self._settings.url} refused a message on {topic}"
        if number == NOT_AUTHORIZED:
            rights = f"{self._settings.base_topic}/#"
            return LinkError(f"{what} (code {number} {code}): grant write rights on {rights}")
        return LinkError(f"{what} {explain(code)}")


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


def _will(will: Message | None, settings: MqttSettings) -> aiomqtt.Will | None:
    """Return what the broker shall say when it loses us, signed now, since we cannot then."""
    if will is None:
        return None
    properties = None
    if settings.sign:
        properties = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]  # paho's
        properties.UserProperty = list(settings.sign(will.topic, will.payload))
    return aiomqtt.Will(will.topic, will.payload, qos=1, retain=will.retain, properties=properties)


def _properties(message: Message, settings: MqttSettings) -> Properties | None:
    """Return what goes with a message: its expiry, and its signature where we sign."""
    expiry = None if message.expiry is None else _expiry(message.expiry)
    if settings.sign is None:
        return expiry
    pairs = settings.sign(message.topic, message.payload)
    return _Packed(_with_pairs(expiry.pack() if expiry else b"\0", pairs))


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


def _tls(settings: MqttSettings) -> ssl.SSLContext | None:
    if not settings.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except OSError as error:
        files = [f for f in (settings.ca_file, settings.cert_file, settings.key_file) if f]
        raise LinkError(f"cannot use the TLS files {', '.join(files)}: {error}") from error
    return context
