"""The server: sockets, requests, and who is let in. What is answered is the desk's business."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, cast

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.protocol import State

from candled_adapters.web.answers import problem
from candled_adapters.web.client import Client
from candled_adapters.web.desk import Asked
from candled_adapters.web.gate import host_problem, origin_problem

MOST_CLIENTS: Final = 64  # that look on
_MOST_CONNECTIONS: Final = 128  # of any kind
_REQUEST_S: Final = 20.0  # for a request, its answer and the way out
_CLOSE_S: Final = 5.0
_LARGEST: Final = 4_096  # bytes of what a client says
_SYSTEM_KEEPS: Final = 256 * 1024  # bytes of a connection; else it would be megabytes
_LONGEST_METHOD: Final = 16
_GOODBYE_S: Final = 1.0
_LIVE: Final = "/live"

log = structlog.get_logger("candled.web")

#: Answers a request that is no websocket's.
Answer = Callable[[Asked], Awaitable[Response]]
#: Looks after somebody who looks on, until the connection is gone.
Attend = Callable[[ServerConnection], Awaitable[None]]


class Door:
    """Counts connections; too many are hung up on."""

    def __init__(self) -> None:
        self.open = 0
        self.looking = 0


class Connection(ServerConnection):
    """A connection whose first request may have any method.

    The library's server reads GETs without a body only. A HEAD reaches it as a GET; anything else
    is refused in our words.
    """

    def __init__(self, *args: Any, door: Door, **kwargs: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(*args, **kwargs)
        self.is_head = False
        self._is_refused = False
        self._door = door
        self._begun: bytes | None = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it, unless there are too many; bound what the system keeps for it."""
        super().connection_made(transport)
        taken = transport.get_extra_info("socket")
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SYSTEM_KEEPS)
        self._door.open += 1
        if self._door.open > _MOST_CONNECTIONS:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no longer."""
        self._door.open -= 1
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hold the first bytes back until the method is known."""
        if self._is_refused:
            return
        if self._begun is None:
            super().data_received(data)
            return
        self._begun += data
        method, blank, rest = self._begun.partition(b" ")
        if not blank and len(method) <= _LONGEST_METHOD:
            return
        self._begun = None
        if method in (b"GET", b"HEAD"):
            self.is_head = method == b"HEAD"
            super().data_received(b"GET " + rest)
        else:
            self._is_refused = True
            text = "nothing can be changed here: only GET and HEAD are answered"
            self.transport.write(problem(405, text, {"Allow": "GET, HEAD"}).serialize())
            self.transport.write_eof()  # closing at once would reset it where a body still comes


class Pipe:
    """A connection as a client's wire."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    def is_open(self) -> bool:
        """Whether messages may be written."""
        return self._connection.state is State.OPEN

    def write(self, data: bytes) -> None:
        """Take bytes, and keep what the other side does not take yet."""
        self._connection.transport.write(data)

    def kept(self) -> int:
        """Return how many bytes are kept."""
        return self._connection.transport.get_write_buffer_size()

    def abort(self) -> None:
        """Hang up without another word."""
        self._connection.transport.abort()


def client_of(connection: ServerConnection) -> Client:
    """Return who is at the other end."""
    return Client(Pipe(connection), time.monotonic())


async def listen(host: str, port: int, attend: Attend, respond: Answer) -> Server:
    """Serve `attend` on /live and `respond` on everything else; raises OSError for a bad port."""
    door = Door()
    return await serve(
        partial(_look, door, attend),
        host,
        port,
        process_request=cast("Any", partial(_receive, door, respond)),
        create_connection=cast("Any", partial(Connection, door=door)),
        compression=None,
        open_timeout=_REQUEST_S,
        close_timeout=_CLOSE_S,
        max_size=_LARGEST,
        max_queue=4,
        server_header=None,
    )


async def _look(door: Door, attend: Attend, connection: ServerConnection) -> None:
    door.looking += 1
    try:
        await attend(connection)
    finally:
        door.looking -= 1


async def _receive(
    door: Door, respond: Answer, connection: Connection, request: Request
) -> Response | None:
    """Answer a request; None lets it become a websocket."""
    try:
        response = _refusal(door, request)
        if response is None and request.path != _LIVE:
            response = await respond(_asked(request))
    except Exception:
        log.exception("a request failed", path=request.path[:200])
        response = problem(500, "this failed; the daemon's log says why")
    if response is not None and connection.is_head:
        response.body = b""
    return response


def _refusal(door: Door, request: Request) -> Response | None:
    headers = request.headers
    hosts = headers.get_all("Host")
    if wrong := host_problem(hosts):
        return problem(403, wrong)
    if request.path != _LIVE:
        return None
    if wrong := origin_problem(headers.get_all("Origin"), hosts[0]):
        return problem(403, wrong)
    if "websocket" not in ",".join(headers.get_all("Upgrade")).lower():
        return problem(426, "this is a websocket", {"Upgrade": "websocket"})
    if door.looking >= MOST_CLIENTS:
        return problem(503, f"{MOST_CLIENTS} look on already", {"Retry-After": "10"})
    return None


def _asked(request: Request) -> Asked:
    def said(name: str) -> str:
        return ",".join(request.headers.get_all(name))

    return Asked(request.path, said("Accept"), said("Accept-Encoding"), said("If-None-Match"))


async def close(server: Server) -> None:
    """Say goodbye to everybody, and wait for nobody who does not listen."""
    server.close(reason="the daemon stops")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GOODBYE_S):
            await server.wait_closed()
            return
    for connection in list(server.all_connections):
        connection.transport.abort()
