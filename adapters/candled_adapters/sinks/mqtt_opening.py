"""How a connection comes about: the version of MQTT, the way there, and why it did not.

aiomqtt and paho know neither: their way to the broker blocks on names and on TLS for as long as
others like, and of what TLS said nothing is left. Nothing is known here of messages.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final, Self, TypeVar

import aiomqtt
import paho.mqtt.client as paho
import structlog
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from candled_adapters.sinks import mqtt_reach
from candled_adapters.sinks.mqtt_codes import WRONG_VERSION, explain
from candled_adapters.sinks.mqtt_limits import Limits
from candled_adapters.sinks.mqtt_messages import Message, MqttSettings
from candled_adapters.sinks.mqtt_properties import will_of
from candled_adapters.sinks.mqtt_pulse import Pulse
from candled_adapters.sinks.mqtt_versions import LOSSES, Version, Versions
from candled_adapters.sinks.mqtt_wire import LinkError

_MOST_HEARD: Final = 256  # messages that wait to be taken
_AGAIN_S: Final = 0.05

_T = TypeVar("_T")

log = structlog.get_logger("candled.mqtt")

_PROTOCOLS: Final = {
    "5": aiomqtt.ProtocolVersion.V5,
    "3.1.1": aiomqtt.ProtocolVersion.V311,
}


def _quiet() -> logging.Logger:
    """Return a logger for paho, whose errors all come to us as the end of the connection."""
    logger = logging.getLogger(f"{__name__}.paho")
    logger.setLevel(logging.CRITICAL)
    return logger


class Opening(aiomqtt.Client):
    """A connection that may come about, once. Needs a running event loop.

    Entering raises LinkError when there is none to be had; afterwards `version` and `limits` say
    what came of it.
    """

    def __init__(
        self,
        settings: MqttSettings,
        will: Message | None,
        versions: Versions,
    ) -> None:
        self._versions = versions
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
            will=will_of(will, settings, self.version),
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
        self._pulse = Pulse(settings.keepalive, settings.publish_timeout)
        self._hung_up = False
        self._trouble: BaseException | None = None
        self._server: str | None = None
        self._addresses: list[mqtt_reach.Address] = []
        self._reached: socket.socket | None = None
        self._dialling = False
        self._dialled = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Connect; raises LinkError."""
        await self._find()
        opening = asyncio.ensure_future(super().__aenter__())
        try:
            await asyncio.shield(opening)
            if self._versions.accepted(self.version) and self.version != "5":
                log.warning("mqtt_3_1_1", broker=self._settings.url, lost=LOSSES)
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
        # Who ends all tasks at once may end `opening` before its thread has begun.
        while not self._dialled.is_set() and (self._dialling or not opening.done()):
            if self._reached is not None:
                with suppress(OSError):  # it may be between plain and TLS
                    self._reached.shutdown(socket.SHUT_RDWR)
            with suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_S):
                    await self._dialled.wait()
        opening.cancel()
        self._drop()

    async def _wait_for(self, fut: Awaitable[_T], timeout: float | None) -> _T:  # noqa: ASYNC109 - aiomqtt's
        """Wait for aiomqtt, whose own `asyncio.wait_for` loses a cancellation in Python 3.11.

        It comes to that when what is waited for is done at the same moment; the service would
        then wait for ever for a task that was told to end.
        """
        try:
            async with asyncio.timeout(self.timeout if timeout is None else timeout):
                return await fut
        except TimeoutError:
            raise aiomqtt.MqttError("it has not answered in time") from None

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
        self._dialling = True
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
        self._server = getattr(properties, "ServerReference", self._server)
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

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
            why = str(error)
        return LinkError(f"no connection to {self._settings.url}: {why}")
