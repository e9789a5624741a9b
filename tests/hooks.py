"""A target of webhooks for tests: a real HTTP server on loopback that does what its script says.

    async with receiver(script) as target:
        ... POST to target.url ...
        target.requests     # all that arrived whole, in order

A script is asked for each request and returns what to do with it: an answer, or worse.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request that arrived whole."""

    method: str
    target: str
    headers: Mapping[str, str]
    """By lower-case names."""
    body: bytes
    at: float
    """When, on the loop's clock (s)."""

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer; with `cut` the connection is reset in the middle of its body."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    close: bool = False
    stall: bool = False
    """The end of the body never comes."""
    endless: bool = False
    """The body comes again and again, and no end of it was promised."""


HANG = "hang"
"""Never answer."""
RESET = "reset"
"""Cut the connection without a word."""

Script = Callable[[Request], Reply | str]


class Receiver:
    """The server; made by `receiver`."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.connections = 0
        self.url = ""
        self.port = 0
        self._ending = False

    def end(self) -> None:
        """From now on connections are cut, not closed."""
        self._ending = True

    @property
    def posts(self) -> list[Request]:
        return [request for request in self.requests if request.method == "POST"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                while await self._answer(reader, writer):
                    pass
        finally:
            writer.transport.abort() if self._ending else writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {
            name.lower(): value
            for name, value in (line.split(": ", 1) for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        now = asyncio.get_running_loop().time()
        request = Request(method, target, headers, body, now)
        self.requests.append(request)
        reply = self.script(request)
        if reply == HANG:
            await reader.read()  # until the other side gives up
            return False
        if isinstance(reply, str) or reply.cut:
            if isinstance(reply, Reply):
                writer.write(_head(reply, len(reply.body) + 10) + reply.body)
                await writer.drain()
            writer.transport.abort()
            return False
        if reply.stall:
            writer.write(_head(reply, len(reply.body) + 1) + reply.body)
            await reader.read()
            return False
        if reply.endless:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            writer.write(_head(reply, len(reply.body)) + reply.body)
        while reply.endless:
            writer.write(reply.body)
            await writer.drain()
        await writer.drain()
        return not reply.close


def _head(reply: Reply, length: int) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} Something", f"Content-Length: {length}"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@asynccontextmanager
async def receiver(
    script: Script = lambda _: Reply(), *, tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[Receiver]:
    """Run a target on a port of its own."""
    target = Receiver(script)
    tasks: set[asyncio.Task[None]] = set()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(asyncio.CancelledError):  # at the end; asyncio would tell of it
                await target.serve(reader, writer)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(client, "127.0.0.1", port, ssl=tls)
    target.port = server.sockets[0].getsockname()[1]
    target.url = f"{'https' if tls else 'http'}://127.0.0.1:{target.port}/hook"
    try:
        yield target
    finally:
        server.close()
        target.end()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the next turn


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate of its own authority for 127.0.0.1; return it and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        f"-subj /CN={name} -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {cert}".split(),
        check=True,
        capture_output=True,
        timeout=30,
    )
    return cert, key
