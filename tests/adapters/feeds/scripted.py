"""A venue of one port that speaks Binance's websocket and misbehaves as a test tells it.

Keeps every frame and handshake with its time, so that limits can be checked. Pushes an open frame
of every stream some hundred times a second; bars close when a test says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from candled.core.bar import HOUR, Bar

_PUSH_S = 0.01


def name_of(symbol: str) -> str:
    return f"{symbol.lower()}@kline_1h"


def bar_at(open_time: int) -> Bar:
    return Bar(open_time, 1.0, 3.0, 0.5, 2.0, 10.0, open_time + HOUR - 1, 20.0, 7.0, 5.0, 9.0)


def push(symbol: str, open_time: int, *, closed: bool) -> str:
    bar = bar_at(open_time)
    k = {"t": open_time, "T": bar.close_time, "s": symbol, "i": "1h", "f": 1, "L": 7, "o": "1.0"}
    k |= {"c": "2.0", "h": "3.0", "l": "0.5", "v": "10.0", "n": 7, "x": closed, "q": "20.0"}
    k |= {"V": "5.0", "Q": "9.0", "B": "0"}
    event = {"e": "kline", "E": bar.close_time + 50, "s": symbol, "k": k}
    return json.dumps({"stream": name_of(symbol), "data": event}, separators=(",", ":"))


@dataclass(eq=False)
class Visitor:
    """One connection."""

    number: int
    connection: ServerConnection
    names: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Said:
    """A frame of the client's."""

    connection: int
    at_s: float
    method: str
    names: tuple[str, ...]


class Scripted:
    """See the module; an async context manager."""

    def __init__(self, open_time: int) -> None:
        self.open_time = open_time
        """Of the bar that is pushed as open (UTC ms)."""
        self.said: list[Said] = []
        self.handshakes: list[float] = []
        self.visitors: dict[int, Visitor] = {}
        self.refusing: tuple[int, str] | None = None
        """HTTP status and Retry-After with which handshakes are refused."""
        self.refused: set[str] = set()
        """A subscription that names one of them is refused whole."""
        self.deaf: set[tuple[int, str]] = set()
        """Connection and stream of which nothing is pushed, until it is unsubscribed."""
        self.mute: set[str] = set()
        """Streams of which nothing is ever pushed."""
        self.frozen: set[int] = set()
        """Connections on which nothing is pushed."""
        self.answers = True
        """Whether subscriptions are acknowledged."""
        self.pushes = True
        """Whether open frames are pushed at all."""

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._attend, "127.0.0.1", 0, process_request=self._request, close_timeout=0.2
        )
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ticking.cancel()
        await asyncio.gather(self._ticking, return_exceptions=True)
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        port = next(iter(self._server.sockets)).getsockname()[1]
        return f"ws://127.0.0.1:{port}"

    def subscribed(self, method: str = "SUBSCRIBE") -> list[tuple[str, ...]]:
        return [said.names for said in self.said if said.method == method]

    async def close_bar(self, symbol: str, open_time: int) -> None:
        """Push a closed bar on every connection that carries its stream."""
        for visitor in self._who_hears(name_of(symbol)):
            await self._send(visitor, push(symbol, open_time, closed=True))

    async def warn(self, number: int) -> None:
        """Announce that a connection will be cut."""
        await self._send(self.visitors[number], '{"e":"serverShutdown","E":1770123456789}')

    def cut(self, number: int) -> None:
        """Reset a connection."""
        self.visitors[number].connection.transport.abort()

    def _who_hears(self, name: str) -> Iterator[Visitor]:
        for visitor in list(self.visitors.values()):
            deaf = (visitor.number, name) in self.deaf or name in self.mute
            if name in visitor.names and not deaf and visitor.number not in self.frozen:
                yield visitor

    async def _send(self, visitor: Visitor, text: str) -> None:
        with contextlib.suppress(ConnectionClosed):
            await visitor.connection.send(text)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_PUSH_S)
            names = {name for one in self.visitors.values() for name in one.names}
            for name in sorted(names) if self.pushes else ():
                symbol = name.split("@")[0].upper()
                for visitor in self._who_hears(name):
                    await self._send(visitor, push(symbol, self.open_time, closed=False))

    def _request(self, connection: ServerConnection, _request):
        self.handshakes.append(time.monotonic())
        if self.refusing is None:
            return None
        status, retry_after = self.refusing
        response = connection.respond(http.HTTPStatus(status), "go away")
        response.headers["Retry-After"] = retry_after
        return response

    async def _attend(self, connection: ServerConnection) -> None:
        visitor = Visitor(len(self.handshakes), connection)
        self.visitors[visitor.number] = visitor
        try:
            async for frame in connection:
                await self._obey(visitor, json.loads(frame))
        except ConnectionClosed:
            pass
        finally:
            del self.visitors[visitor.number]

    async def _obey(self, visitor: Visitor, asked: dict) -> None:
        names = tuple(asked["params"])
        self.said.append(Said(visitor.number, time.monotonic(), asked["method"], names))
        wrong = self.refused & set(names)
        if asked["method"] == "UNSUBSCRIBE":
            visitor.names -= set(names)
            self.deaf -= {(visitor.number, name) for name in names}
        elif wrong:
            text = json.dumps({"code": 2, "msg": f"no such {sorted(wrong)}", "id": asked["id"]})
            await self._send(visitor, text)
            return
        else:
            visitor.names |= set(names)
        if self.answers:
            await self._send(visitor, json.dumps({"result": None, "id": asked["id"]}))
