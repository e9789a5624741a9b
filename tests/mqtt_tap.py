"""A wire tap between an MQTT client and its broker: what was really said, independent of either.

    async with tap(broker.port) as wire:
        ... connect to 127.0.0.1, wire.port ...
        wire.accepted       # ids of the payloads whose PUBACK was positive, in that order

Understands just enough MQTT 5 (PUBLISH and PUBACK,
https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901100) to tell.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_PUBLISH, _PUBACK, _REFUSED = 3, 4, 128


@dataclass
class Said:
    """A PUBLISH as it went over the wire."""

    topic: str
    payload: dict[str, object]
    qos: int
    retain: bool


@dataclass
class Tap:
    """What was said over all connections, oldest first."""

    port: int = 0
    said: list[Said] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    """Ids of signals whose PUBACK was positive."""
    codes: list[int] = field(default_factory=list)
    """Reason codes of all PUBACKs."""
    most_outstanding: int = 0
    on_accepted: Callable[[int], None] = lambda _count: None
    """Called before a positive PUBACK of a signal is passed on, with how many there were."""
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def topics(self, part: str) -> list[Said]:
        """Return what was said on topics that contain `part`."""
        return [said for said in self.said if part in said.topic]

    def cut(self) -> None:
        """Cut all connections without a word, as a dying process would."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


@asynccontextmanager
async def tap(broker_port: int) -> AsyncIterator[Tap]:
    """Listen on a port of one's own and pass everything on to the broker and back."""
    wire = Tap()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", broker_port)
        except OSError:
            writer.transport.abort()
            return
        wire._writers += [writer, there[1]]
        flying: dict[int, str] = {}
        await asyncio.gather(
            _pass_on(reader, there[1], lambda kind, body: _out(wire, flying, kind, body)),
            _pass_on(there[0], writer, lambda kind, body: _back(wire, flying, kind, body)),
        )

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        wire.cut()
        await asyncio.sleep(0)


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[int, bytes], None]
) -> None:
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readexactly(1)
            length, shift = 0, 0
            while True:
                byte = await reader.readexactly(1)
                head += byte
                length |= (byte[0] & 127) << shift
                shift += 7
                if byte[0] < 128:
                    break
            body = await reader.readexactly(length)
            note(head[0], body)
            writer.write(head + body)
    writer.transport.abort()


def _out(wire: Tap, flying: dict[int, str], kind: int, body: bytes) -> None:
    if kind >> 4 != _PUBLISH:
        return
    qos, retain = kind >> 1 & 3, bool(kind & 1)
    end = 2 + int.from_bytes(body[:2])
    topic = body[2:end].decode()
    mid = int.from_bytes(body[end : end + 2]) if qos else 0
    end += 2 if qos else 0
    payload = json.loads(body[end + 1 + body[end] :])  # our properties are shorter than 128 bytes
    wire.said.append(Said(topic, payload, qos, retain))
    if qos:
        flying[mid] = payload["id"] if "/signal/" in topic else ""
        wire.most_outstanding = max(wire.most_outstanding, len(flying))


def _back(wire: Tap, flying: dict[int, str], kind: int, body: bytes) -> None:
    if kind >> 4 != _PUBACK:
        return
    code = body[2] if len(body) > 2 else 0
    wire.codes.append(code)
    signal = flying.pop(int.from_bytes(body[:2]))
    if signal and code < _REFUSED:
        wire.accepted.append(signal)
        wire.on_accepted(len(wire.accepted))
