"""The window as a part of the service: it follows the journal as sinks do, and only shows.

Whatever breaks in it is said and tried again; the pipeline knows nothing of it. Its port may be
another program's: that is a remark on the board, since bots can rely on the service as before.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response

from candled.core.bar import Stream
from candled.ports import HealthBoard, Outbox
from candled_adapters.web.answers import answer, problem
from candled_adapters.web.audience import Audience
from candled_adapters.web.client import frames_of
from candled_adapters.web.desk import Asked, Desk, history
from candled_adapters.web.files import Asset
from candled_adapters.web.following import Follower, Reading
from candled_adapters.web.seat import Identity, Sources
from candled_adapters.web.server import client_of, close, listen
from candled_adapters.web.shapes import Watch
from candled_adapters.web.view import View

_RETRY_S: Final = 3.0

log = structlog.get_logger("candled.web")


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Where the window is, and what of a page it has."""

    host: str
    """An address of loopback."""
    port: int
    """0 takes any free one, which the log names."""
    files: Mapping[str, Asset]
    """By path; none where there is no page."""


class WebSink:
    """Shows the service to people and monitors on loopback; implements `candled.ports.Sink`."""

    name = "web"

    def __init__(
        self,
        settings: WebSettings,
        identity: Identity,
        sources: Sources,
        streams: Sequence[Stream],
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._sources = sources
        self._streams = streams

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        """Show until cancelled. It has no mark and nothing waits for it."""
        while True:
            try:
                await self._show(outbox, board)
            except Exception as error:
                log.exception("the window broke")
                board.remark(self.name, f"broke ({type(error).__name__}), the log says why")
                await asyncio.sleep(_RETRY_S)

    async def _show(self, outbox: Outbox, board: HealthBoard) -> None:
        sources = self._sources
        view = View(self._streams, sources, board.stream)
        desk = Desk(
            self._identity, sources, self._settings.files, view=view, outbox=outbox, board=board
        )
        audience = Audience(view, sources.wall_ms, desk.service, sources.cards)
        reading = Reading(sources.archive)
        follower = Follower(view, audience, sources, reading)
        room = Room(desk, view, audience, follower, reading)
        try:
            async with asyncio.TaskGroup() as group:
                for work in (
                    follower.entries(outbox),
                    follower.streams(board),
                    follower.health(board),
                    follower.notices(board),
                    follower.stored(),
                    follower.outcomes(),
                    audience.run(),
                    self._listen(room, board),
                ):
                    group.create_task(work)
        finally:
            reading.close()

    async def _listen(self, room: Room, board: HealthBoard) -> None:
        """Listen until cancelled; a port that cannot be had is asked for again."""
        host, port = self._settings.host, self._settings.port
        while True:
            try:
                server = await listen(host, port, room.attend, room.respond)
            except OSError as error:
                board.remark(self.name, _port_problem(host, port, error))
                await asyncio.sleep(_RETRY_S)
                continue
            board.remark(self.name, None)
            log.info("web", address=_address(server))
            try:
                await server.wait_closed()
            finally:
                await close(server)


def _address(server: Server) -> str:
    host, port = next(iter(server.sockets)).getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _port_problem(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is another program's; stop that, or set another one in "
            "[web] listen"
        )
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"cannot listen on {host}, port {port}: {reason}; set another one in [web] listen"


class Room:
    """Where requests and those who look on are received."""

    def __init__(
        self, desk: Desk, view: View, audience: Audience, follower: Follower, reading: Reading
    ) -> None:
        self._desk = desk
        self._view = view
        self._audience = audience
        self._follower = follower
        self._reading = reading

    async def respond(self, asked: Asked) -> Response:
        """Answer a request that is no websocket's."""
        path = asked.path.partition("?")[0]
        if (response := self._desk.plain(path)) is not None:
            return response
        if path == "/metrics":
            return await self._desk.metrics(asked)
        if path == "/api/overview":
            await self._audience.render_all()
            return answer(200, self._desk.overview())
        if path.startswith("/api/stream/"):
            return await history(asked, self._view, self._follower, self._reading)
        return self._desk.file(asked) or problem(404, "there is nothing here")

    async def attend(self, connection: ServerConnection) -> None:
        """Tell somebody everything, and then what changes, until the connection is gone."""
        client = client_of(connection)
        await self._audience.render_all()
        self._audience.join(client, frames_of(self._desk.overview()))
        try:
            async for message in connection:
                try:
                    said = msgspec.json.decode(message, type=Watch)
                except msgspec.DecodeError:
                    await connection.close(1008, 'say {"watch": "exchange/symbol/interval"}')
                    return
                client.watched = self._stream(said.watch)
                if client.watched:
                    self._follower.begin(client.watched)
        except ConnectionClosed:
            return
        finally:
            self._audience.leave(client)

    def _stream(self, path: str | None) -> Stream | None:
        """Return the stream of that name; one that is not served is nothing to watch."""
        names = (path or "").split("/")
        stream = Stream(*names) if len(names) == 3 else None  # noqa: PLR2004 - of a stream's path
        return stream if stream in self._view else None
