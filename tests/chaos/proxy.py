"""A bad network between two programs: a TCP proxy on loopback whose weather can change at any time.

    async with Proxy(broker.port) as proxy:
        ... connect to proxy.port ...
        proxy.weather = Weather(latency_s=0.1, jitter_s=0.05)
        proxy.reset()          # every connection, by RST

Bytes are late, slow, cut short or swallowed, never changed or swapped: that is what TCP promises.
It runs in the event loop of whoever uses it.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_CHUNK = 16_384
_TICK_S = 0.01
_AHEAD = 64
"""Chunks that wait for their time; beyond them the sender is held back."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What befalls bytes; `up` is from the client to the server. Fair by default."""

    latency_s: float = 0.0
    jitter_s: float = 0.0
    """Of each chunk, added to the latency."""
    bytes_per_s: float = float("inf")
    drip: int = _CHUNK
    """At most so many bytes are written at once."""
    up: bool = True
    """False: nothing gets through, and nobody is told; a half-open connection."""
    down: bool = True
    cut_after: int | None = None
    """So many further bytes of each connection go up; then it ends, in the middle of a packet."""
    refuse: bool = False
    """New connections are reset at once."""


FAIR = Weather()
HOLE = Weather(up=False, down=False)


@dataclass(slots=True, eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    weather: Weather
    passed: int = 0
    """Bytes that went up under the present weather."""

    def reset(self) -> None:
        """End both halves by RST."""
        for writer in (self.client, self.server):
            _reset(writer)


class Proxy:
    """Listens on `port` and passes on to `target` on 127.0.0.1."""

    def __init__(self, target: int, seed: int = 0) -> None:
        self.target = target
        self.port = 0
        self.weather = FAIR
        self.accepted = 0
        self._chance = random.Random(seed)
        self._connections: set[_Connection] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cut everything."""
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def reset(self) -> None:
        """End every connection by RST, whatever is on its way."""
        for connection in list(self._connections):
            connection.reset()

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.accepted += 1
        try:
            if self.weather.refuse:
                _reset(client)
            else:
                await self._connect(reader, client)
        except asyncio.CancelledError:
            return  # the proxy ends; asyncio would log a cancelled server task as a fault
        finally:
            self._serving.discard(task)
            await _close(client)

    async def _connect(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            answers, server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            _reset(client)
            return
        connection = _Connection(client, server, self.weather)
        self._connections.add(connection)
        halves = [
            asyncio.create_task(self._pass(connection, reader, server, going_up=True)),
            asyncio.create_task(self._pass(connection, answers, client, going_up=False)),
        ]
        try:
            await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        finally:  # what the other half still holds has no way to go
            await _end(halves)
            self._connections.discard(connection)
            await _close(server)

    async def _pass(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        going_up: bool,
    ) -> None:
        """Pass bytes on in one direction until their source ends."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_AHEAD)
        feeding = asyncio.create_task(self._feed(reader, waiting))
        with suppress(OSError):
            try:
                while True:
                    due, chunk = await waiting.get()
                    if not chunk:
                        return
                    await asyncio.sleep(max(0.0, due - _now()))
                    await self._write(connection, writer, chunk, going_up=going_up)
            finally:
                await _end([feeding])

    async def _feed(
        self, reader: asyncio.StreamReader, waiting: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        """Take what comes and say when it is to go on; an empty chunk is the end."""
        latest = 0.0
        chunk = b"?"
        while chunk:
            try:
                chunk = await reader.read(_CHUNK)
            except OSError:
                chunk = b""
            weather = self.weather
            late = weather.latency_s + weather.jitter_s * self._chance.random()
            latest = max(latest, _now() + late)
            await waiting.put((latest, chunk))

    async def _write(
        self,
        connection: _Connection,
        writer: asyncio.StreamWriter,
        chunk: bytes,
        *,
        going_up: bool,
    ) -> None:
        rest = deque([chunk])
        while rest:
            await self._opening(going_up=going_up)
            weather = self.weather
            part = rest.popleft()
            if len(part) > weather.drip:
                rest.appendleft(part[weather.drip :])
                part = part[: weather.drip]
            if going_up and self._is_cut(connection, part, writer):
                return
            writer.write(part)
            await writer.drain()
            if weather.bytes_per_s < float("inf"):
                await asyncio.sleep(len(part) / weather.bytes_per_s)

    def _is_cut(self, connection: _Connection, part: bytes, writer: asyncio.StreamWriter) -> bool:
        """Count what goes up; write the last bytes and reset where the weather says so."""
        weather = self.weather
        if connection.weather is not weather:
            connection.weather, connection.passed = weather, 0
        connection.passed += len(part)
        if weather.cut_after is None or connection.passed <= weather.cut_after:
            return False
        over = connection.passed - weather.cut_after
        writer.write(part[: len(part) - over])
        writer.close()  # what was written still arrives
        _reset(connection.client)
        return True

    async def _opening(self, *, going_up: bool) -> None:
        """Wait until the weather lets something through in this direction."""
        while not (self.weather.up if going_up else self.weather.down):  # noqa: ASYNC110
            await asyncio.sleep(_TICK_S)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other end sees RST."""
    connection = writer.get_extra_info("socket")
    with suppress(OSError, AttributeError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
