"""A broker played by a test, byte by byte, for what a real one cannot be brought to do.

    async with raw_broker(play) as broker:
        ... connect to 127.0.0.1, broker.port ...
        broker.versions     # protocol level of each CONNECT: 4 is MQTT 3.1.1, 5 is MQTT 5

`play(call)` is run for each connection whose CONNECT has arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

WELCOME = {5: b"\x20\x03\x00\x00\x00", 4: b"\x20\x02\x00\x00"}
_PUBLISH, _SUBSCRIBE, _PING = 3, 8, 12


@dataclass
class Call:
    """One connection, its CONNECT read."""

    version: int
    number: int
    """1, 2, 3 ..."""
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    pings: int = 0

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    def refuse(self, code: int, properties: bytes = b"") -> None:
        """Answer the CONNECT with a reason code, in the form of its version."""
        body = bytes([0, code])
        if self.version == 5:
            body += bytes([len(properties)]) + properties
        self.say(bytes([0x20, len(body)]) + body)

    def accept(self, properties: bytes = b"") -> None:
        self.refuse(0, properties)

    async def serve(self) -> None:
        """Acknowledge all that is said and asked, until the connection ends; hand nothing on."""
        while True:
            kind, body = await read_packet(self.reader)
            if kind >> 4 == _PUBLISH and kind & 0x06:
                end = 2 + int.from_bytes(body[:2])
                self.say(b"\x40\x02" + body[end : end + 2])
            elif kind >> 4 == _SUBSCRIBE:
                granted = b"\x00\x01" if self.version == 5 else b"\x01"
                self.say(bytes([0x90, 2 + len(granted)]) + body[:2] + granted)
            elif kind >> 4 == _PING:
                self.pings += 1
                self.say(b"\xd0\x00")


Play = Callable[[Call], Awaitable[None]]


@dataclass
class RawBroker:
    """What came, oldest first."""

    port: int = 0
    versions: list[int] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


@asynccontextmanager
async def raw_broker(play: Play) -> AsyncIterator[RawBroker]:
    """Listen on a free port; play each connection to its end, then close it."""
    broker = RawBroker()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            _, body = await read_packet(reader)
            call = Call(body[6], len(broker.calls) + 1, reader, writer)
            broker.versions.append(body[6])
            broker.calls.append(call)
            await play(call)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return the first byte and the body of the next packet."""
    kind = (await reader.readexactly(1))[0]
    length, shift = 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return kind, await reader.readexactly(length)
