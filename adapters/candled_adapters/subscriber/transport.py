"""One connection of a consumer to a broker: what comes, and the questions that go.

The only user of aiomqtt here. Knows topics and bytes, nothing of signals. A connection is used
once; whatever goes wrong ends it with a BrokerError that says what happened and how to mend it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from candled_adapters.subscriber.facts import Message

_SESSION_S: Final = 24 * 3600
_FIRST_REFUSAL: Final = 128
_UNSPECIFIED: Final = 128  # what paho says, too, when the socket closed without a word
_MENDS: Final = {
    132: "it must speak MQTT 5; or choose MQTT 3.1.1",
    133: "choose another client id",
    134: "check the user name and the password",
    135: "check the user name and the password",
    137: "the broker is busy or shutting down",
    142: "another client uses this client id; stop it, or choose another id",
}


class BrokerError(Exception):
    """No connection, or no more. The text names the broker and the mend."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and how to get in."""

    host: str
    port: int = 1883
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: str | None = None
    """Certificates to trust instead of the system's."""
    cert_file: str | None = None
    """Our own certificate, for brokers that ask for one."""
    key_file: str | None = None
    keepalive: int = 10
    """Seconds of silence after which either side asks whether the other is there."""
    timeout: float = 5.0
    """Seconds to wait for the broker."""
    mqtt5: bool = True
    """False: MQTT 3.1.1, without expiry, reasons and signatures."""

    @classmethod
    def at(cls, url: str, *, username: str | None = None, password: str | None = None) -> Broker:
        """Return the broker at mqtt://host:1883 or mqtts://host:8883; raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ValueError(f"{url!r} must look like mqtt://host:1883 or mqtts://host:8883")
        if parts.username or parts.password:
            raise ValueError("the URL must not hold a name or password: give them beside it")
        tls = parts.scheme == "mqtts"
        port = parts.port or (8883 if tls else 1883)
        return cls(parts.hostname, port, username=username, password=password, tls=tls)

    @property
    def url(self) -> str:
        """The broker's address without secrets, for messages."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Wish:
    """A topic to listen to."""

    topic: str
    qos: int
    needed: bool = True
    """Whether there is no use in a connection without it."""


class Connection(aiomqtt.Client):
    """A connection, from `async with` to its end. Needs a running event loop.

    With `durable` the broker keeps what comes at QoS 1 for a day when we are away. `refused` is
    told what the broker takes from us, or does not let us have, without ending the connection.
    """

    def __init__(
        self, broker: Broker, client_id: str, *, durable: bool, refused: Callable[[str, str], None]
    ) -> None:
        super().__init__(
            broker.host,
            broker.port,
            logger=_quiet(),
            username=broker.username,
            password=broker.password,
            identifier=client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if broker.mqtt5 else aiomqtt.ProtocolVersion.V311,
            timeout=broker.timeout,
            keepalive=broker.keepalive,
            tls_context=_tls(broker),
            **_session(broker, durable=durable),
        )
        self._client.connect_timeout = broker.timeout
        self._broker = broker
        self._refused = refused
        self._questions: dict[int, str] = {}

    async def __aenter__(self) -> Self:
        """Connect; raises BrokerError."""
        opening = asyncio.ensure_future(super().__aenter__())
        try:
            await asyncio.shield(opening)
        except aiomqtt.MqttError as error:
            self._client._sock_close()  # noqa: SLF001 - paho can only close with a DISCONNECT
            raise BrokerError(self._no_connection(error)) from error
        except asyncio.CancelledError:
            await asyncio.wait((opening,))  # the thread that connects cannot be cancelled
            self._client._sock_close()  # noqa: SLF001
            opening.exception()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Say goodbye, if anybody is there."""
        try:
            await super().__aexit__(exc_type, exc, tb)
        except aiomqtt.MqttError:
            pass
        finally:
            self._client._sock_close()  # noqa: SLF001

    async def listen(self, wishes: Sequence[Wish]) -> None:
        """Subscribe; what the broker keeps comes again. Raises BrokerError."""
        topics: list[Any] = [(wish.topic, wish.qos) for wish in wishes]
        if self._broker.mqtt5:
            topics = [(wish.topic, SubscribeOptions(qos=wish.qos)) for wish in wishes]
        try:
            granted: Sequence[Any] = await self.subscribe(topics)
        except aiomqtt.MqttError as error:
            raise BrokerError(f"cannot subscribe at {self._broker.url}: {error}") from error
        for wish, code in zip(wishes, granted, strict=True):
            number = code.value if isinstance(code, ReasonCode) else code
            if number < _FIRST_REFUSAL:
                continue
            why = f"{self._broker.url} refused to let us listen (code {number}): grant read rights"
            if wish.needed:
                raise BrokerError(f"{why} on {wish.topic}")
            self._refused(wish.topic, why)

    async def heard(self) -> AsyncGenerator[Message, None]:
        """Iterate over what comes, until the connection ends with its BrokerError."""
        try:
            async for message in self.messages:
                yield _message(message)
        except aiomqtt.MqttError as error:
            code = getattr(error.__cause__, "rc", None)
            why = ""
            if isinstance(code, ReasonCode) and code.value != _UNSPECIFIED:
                why = _explain(code)
            raise BrokerError(f"the connection to {self._broker.url} was lost{why}") from error

    def ask(self, topic: str, payload: bytes, reply_to: str, correlation: str) -> None:
        """Publish a question at QoS 1; a refusal is told. What is not sent is lost."""
        properties = None
        if self._broker.mqtt5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's
            properties.ResponseTopic = reply_to
            properties.CorrelationData = correlation.encode()
        info = self._client.publish(topic, payload, 1, properties=properties)
        if info.rc == paho.MQTT_ERR_SUCCESS:
            self._questions[info.mid] = topic

    def _on_socket_register_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:  # noqa: ANN401, ARG002 - paho's
        """Watch the socket for room to write, unless it was closed by then.

        aiomqtt registers whatever had that number, be it the next connection's socket.
        """
        self._loop.call_soon_threadsafe(self._watch, client, sock)

    def _watch(self, client: paho.Client, sock: Any) -> None:  # noqa: ANN401 - paho's
        ours = client.socket()
        if ours is not None and ours is sock and ours.fileno() >= 0:
            self._loop.add_writer(ours.fileno(), self._write, client)

    def _write(self, client: paho.Client) -> None:
        try:
            client.loop_write()
        except Exception as error:  # noqa: BLE001 - as aiomqtt does: the connection is broken
            if not self._disconnected.done():
                self._disconnected.set_exception(error)

    def _on_publish(
        self,
        client: paho.Client,  # noqa: ARG002 - paho's signature
        userdata: Any,  # noqa: ANN401, ARG002 - paho's
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,  # noqa: ARG002 - paho's signature
    ) -> None:
        topic = self._questions.pop(mid, None)
        if topic is not None and reason_code.value >= _FIRST_REFUSAL:
            why = (
                f"{self._broker.url} refused the question (code {reason_code.value} {reason_code})"
            )
            self._refused(topic, f"{why}: grant write rights on {topic}")

    def _no_connection(self, error: aiomqtt.MqttError) -> str:
        code = getattr(error, "rc", None)
        if isinstance(code, ReasonCode):
            return f"{self._broker.url} refused the connection{_explain(code)}"
        return f"no connection to {self._broker.url}: {error}; is the broker running?"


def _session(broker: Broker, *, durable: bool) -> dict[str, Any]:
    """Return how the two versions of MQTT say that a session is to be kept."""
    if not broker.mqtt5:
        return {"clean_session": not durable}
    session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's
    session.SessionExpiryInterval = _SESSION_S if durable else 0
    return {"clean_start": not durable, "properties": session}


def _explain(code: ReasonCode) -> str:
    mend = _MENDS.get(code.value)
    return f" (code {code.value} {code})" + (f": {mend}" if mend else "")


def _message(message: aiomqtt.Message) -> Message:
    said = message.payload
    return Message(
        topic=str(message.topic),
        payload=said if isinstance(said, bytes) else b"",
        retained=message.retain,
        properties=dict(getattr(message.properties, "UserProperty", ())),
    )


def _quiet() -> logging.Logger:
    """Return a logger for paho, whose errors all come to us as the end of the connection."""
    logger = logging.getLogger(f"{__name__}.paho")
    logger.setLevel(logging.CRITICAL)
    return logger


def _tls(broker: Broker) -> ssl.SSLContext | None:
    if not broker.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=broker.ca_file)
        if broker.cert_file:
            context.load_cert_chain(broker.cert_file, broker.key_file)
    except OSError as error:
        files = [file for file in (broker.ca_file, broker.cert_file, broker.key_file) if file]
        raise BrokerError(f"cannot use the TLS files {', '.join(files)}: {error}") from error
    return context
