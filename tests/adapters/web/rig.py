"""A window over a world of one's own: an outbox, a board, an archive in memory, and who asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from brokers import free_port
from candled.core.bar import Bar, Bars, Interval, Stream
from candled.ports import Entry, StreamHealth, StreamState
from candled_adapters.web import shapes
from candled_adapters.web.files import Asset
from candled_adapters.web.seat import Beginning, Identity, Past, Sources
from candled_adapters.web.sink import WebSettings, WebSink
from fakes import BTC, EVENING_MS, Board, MemoryOutbox, ended

IDENTITY = Identity("1.2.3", "epoch-1", "c0ffee", EVENING_MS)
NOW = EVENING_MS + 77
Message = (
    shapes.Overview | shapes.Lines | shapes.Cards | shapes.Events | shapes.Beat | shapes.Bars
    | shapes.Service
)  # fmt: skip


def latest(entries: Iterable[Entry]) -> list[Entry]:
    """Return what `Outbox.latest` promises: each stream's newest entry and its newest bar's."""
    newest: dict[Stream, Entry] = {}
    of_bar: dict[Stream, Entry] = {}
    for entry in entries:
        stream, held = entry.decision.stream, of_bar.get(entry.decision.stream)
        newest[stream] = entry
        if held is None or entry.decision.bar_open >= held.decision.bar_open:
            of_bar[stream] = entry
    found = {entry.position: entry for entry in (*newest.values(), *of_bar.values())}
    return [found[position] for position in sorted(found)]


class Outbox(MemoryOutbox):
    """An outbox in memory that tells both newest entries of a stream."""

    def latest(self) -> list[Entry]:
        return latest(self.entries)


def bars_of(entries: Iterable[Entry]) -> list[Bar]:
    """Return a bar for each slot that was decided, closing at its newest price."""
    closes = {entry.decision.bar_open: entry.decision for entry in entries}
    return [
        Bar(opened, d.price, d.price + 1, d.price - 1, d.price, float("nan") if opened % 7 else 3.5,
            d.bar_close - 1, 1.0, 1.0, 1.0, 1.0)
        for opened, d in sorted(closes.items())
    ]  # fmt: skip


@dataclass
class Archive:
    """Holds what the outbox does, and may break."""

    outbox: MemoryOutbox
    broken: Exception | None = None
    asked: list[tuple[str, object]] = field(default_factory=list)

    def _of(self, stream: Stream) -> list[Entry]:
        if self.broken:
            raise self.broken
        return [entry for entry in self.outbox.entries if entry.decision.stream == stream]

    def past(self, stream: Stream, count: int, since: int | None = None) -> Past:
        self.asked.append(("past", (stream, count, since)))
        entries = self._of(stream)
        bars = [bar for bar in bars_of(entries)[-count:] if bar.open_time >= (since or 0)]
        opens = {bar.open_time for bar in bars}
        told = [entry for entry in entries if entry.decision.bar_open in opens]
        key = lambda e: (e.decision.bar_open, e.decision.revision)  # noqa: E731
        return Past(Bars.of(bars), tuple(sorted(told, key=key)))

    def beginnings(self, streams: Sequence[Stream], count: int) -> dict[Stream, Beginning]:
        return {stream: beginning(self._of(stream), count) for stream in streams}


def beginning(entries: Sequence[Entry], count: int) -> Beginning:
    """Return how a stream of these entries looks."""
    signals = [entry for entry in entries if entry.seq is not None]
    signal = max(signals, key=lambda e: e.seq or 0, default=None)
    about = [e for e in entries if signal and e.decision.bar_open == signal.decision.bar_open]
    verdict = max(about, key=lambda e: e.decision.revision, default=None)
    closes = [(bar.open_time, bar.close) for bar in bars_of(entries)][-count:]
    return Beginning(tuple(closes), signal, verdict)


@dataclass
class Window:
    """What is served, and what it is served from."""

    port: int
    outbox: Outbox
    board: Board
    archive: Archive
    task: asyncio.Task[None]

    async def ask(self, path: str, **more: Any) -> Answer:
        return await ask(self.port, path, **more)

    @asynccontextmanager
    async def look(self, **more: Any) -> AsyncIterator[Onlooker]:
        """Look on for the length of the block; the overview has been received."""
        async with connect(f"ws://127.0.0.1:{self.port}/live", max_size=None, **more) as socket:
            looking = Onlooker(socket)
            looking.overview = await looking.next(shapes.Overview)
            yield looking


class Onlooker:
    """A client of the push that keeps what it hears."""

    overview: shapes.Overview

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[Message] = []

    async def hear(self) -> Message:
        self.heard.append(msgspec.json.decode(await self.socket.recv(), type=Message))
        return self.heard[-1]

    async def next(self, kind: type, seconds: float = 10.0) -> Any:
        """Return the next message of a kind."""
        async with asyncio.timeout(seconds):
            while not isinstance(message := await self.hear(), kind):
                pass
        return message

    async def watch(self, path: str | None) -> None:
        await self.socket.send(json.dumps({"watch": path}))

    async def line(self, stream: Stream) -> shapes.Line:
        """Return the next line about a stream."""
        while True:
            for line in (await self.next(shapes.Lines)).lines:
                if line.stream == stream.path:
                    return line


@dataclass
class Answer:
    """What came back over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> Any:
        return json.loads(self.body)


async def ask(
    port: int, path: str, *, method: str = "GET", host: str | None = None, body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Answer:  # fmt: skip
    """Ask as a browser would; the connection ends with the answer."""
    told = {"Host": host if host is not None else f"127.0.0.1:{port}", **(headers or {})}
    if body:
        told["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return parsed(await raw(port, f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body))


async def raw(port: int, request: bytes, seconds: float = 10.0) -> bytes:
    """Send bytes and return everything that comes back until the other side is done."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(seconds):
            return await reader.read()
    finally:
        writer.close()


def parsed(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
    return Answer(int(first.split()[1]), headers, body)


@asynccontextmanager
async def window(
    streams: Sequence[Stream] = (BTC,), entries: Iterable[Entry] = (), *, port: int | None = None,
    files: Mapping[str, Asset] | None = None, live: bool = True, outbox: Outbox | None = None,
    board: Board | None = None, **sources: Any,
) -> AsyncIterator[Window]:  # fmt: skip
    """Serve a world until the block ends."""
    outbox, board = outbox or Outbox(entries), board or Board()
    archive = Archive(outbox)
    had = {
        "archive": archive,
        "wall_ms": lambda: NOW,
        "model": lambda _: "m",
        "backlogs": ("mqtt",),
    }
    for stream in streams if live else ():
        board.note(StreamHealth(stream, StreamState.LIVE, ""))
    settings = WebSettings("127.0.0.1", port or free_port(), files or {})
    sink = WebSink(settings, IDENTITY, Sources(**{**had, **sources}), streams)
    task = asyncio.create_task(sink.run(outbox, board))
    try:
        await listening(settings.port)
        yield Window(settings.port, outbox, board, archive, task)
    finally:
        await ended(task)


async def listening(port: int, seconds: float = 10.0) -> None:
    """Return once somebody listens on a port."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return


def next_close(entry: Entry) -> int:
    """Return when the bar after an entry's ends."""
    return Interval(entry.decision.stream.interval).end(entry.decision.bar_close)
