"""The simulator's dealings with TCP and HTTP: where it may listen, how it answers and hangs up."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import struct
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, cast

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.protocol import State

_HANDSHAKE_S: Final = 300.0  # REST answers share the handshake's time, and may be delayed
_CLOSE_S: Final = 2.0
_PING_S: Final = 20.0  # Binance spot: a ping every 20 s, a pong within 60 s
_PONG_S: Final = 60.0

#: Looks after one websocket connection until it is gone.
Attend = Callable[[ServerConnection], Awaitable[None]]
#: Answers a GET or POST, or lets it become a websocket with None.
Answer = Callable[["Connection", Request], Awaitable[Response | None]]


class PortInUse(OSError):  # noqa: N818 - reads as what it says in an except clause
    """Another program listens on the port."""


def check_loopback(host: str) -> None:
    """Raise `ValueError` for a host that others could reach."""
    with contextlib.suppress(ValueError):
        if host == "localhost" or ipaddress.ip_address(host).is_loopback:
            return
    raise ValueError(
        f"host {host!r} is not loopback: the simulator is no venue for others; use 127.0.0.1"
    )


class Connection(ServerConnection):
    """A connection whose first request may be a POST.

    The library's server reads GETs without a body only. A POST reaches it as a GET, and its body
    waits here.
    """

    body: bytes = b""
    _begun: bytes | None = b""

    def data_received(self, data: bytes) -> None:
        """Hold a first request back until it is whole; pass everything else on."""
        if self._begun is None:
            super().data_received(data)
            return
        self._begun += data
        whole = _as_get(self._begun)
        if whole is not None:
            self._begun = None
            self.body = whole[1]
            super().data_received(whole[0])


def _as_get(request: bytes) -> tuple[bytes, bytes] | None:
    """Return a POST's head as that of a GET, and its body; None while they are not whole."""
    if not b"POST ".startswith(request[:5]):
        return request, b""
    head, blank, body = request.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    lengths = [line for line in lines if line.lower().startswith(b"content-length:")]
    if not blank or len(body) < sum(int(line.split(b":")[1]) for line in lengths):
        return None
    kept = [b"GET " + lines[0][5:], *(line for line in lines[1:] if line not in lengths)]
    return b"\r\n".join(kept) + blank, body


async def listen(host: str, port: int, attend: Attend, request: Answer) -> Server:
    """Serve websockets through `attend` and plain GETs through `request`. Raises `PortInUse`."""
    try:
        return await serve(
            attend,
            host,
            port,
            process_request=cast("Any", request),
            create_connection=Connection,
            compression=None,
            open_timeout=_HANDSHAKE_S,
            close_timeout=_CLOSE_S,
            ping_interval=_PING_S,
            ping_timeout=_PONG_S,
        )
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        what = (
            f"port {port} on {host} is in use; stop the program that has it, "
            "or choose another port (0 takes any free one)"
        )
        raise PortInUse(errno.EADDRINUSE, what) from None


def response(
    status: int, body: bytes, *, retry_after_s: int | None = None, html: bool = False
) -> Response:
    """Build an HTTP answer; the connection ends with it."""
    headers = Headers(
        {
            "Content-Type": "text/html" if html else "application/json;charset=UTF-8",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
    )
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    return Response(status, HTTPStatus(status).phrase, headers, body)


async def goodbye(connection: ServerConnection, code: int, reason: str) -> None:
    """Close with `code`, but do not wait for a client that does not read."""
    try:
        async with asyncio.timeout(_CLOSE_S):
            await connection.close(code, reason)
    except TimeoutError:
        connection.transport.abort()


def write(connection: ServerConnection, wire: bytes) -> None:
    """Write a frame's bytes, unless the connection has ended."""
    if connection.state is State.OPEN:
        connection.transport.write(wire)


def reset(connection: ServerConnection) -> None:
    """Send a TCP RST instead of any goodbye."""
    raw = connection.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()
