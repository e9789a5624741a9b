"""The bench's venue, a process: Binance's protocol on loopback, where bars close on command.

It serves every way the same bars, each in its own turn. The first part of a path says whose turn
it is: ``ws://127.0.0.1:PORT/candled/stream``. A burst is the closing frames of one slot of all
symbols that a connection has subscribed to, encoded before and written at once.

REST time runs at its normal speed and never reaches the end of a way's first slot, so that nobody
misses a bar between two bursts; pushes carry the time of their bar's end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response

from candled.bench.children import heard, say
from candled.core.bar import Interval
from candled.simulate import synthetic_start
from candled_adapters.simulator import binance, rest
from candled_adapters.simulator.generator import generate_many
from candled_adapters.simulator.market import Market, Tape
from candled_adapters.simulator.session import Session
from candled_adapters.simulator.sockets import response
from candled_adapters.simulator.venue import Asked

_HOST: Final = "127.0.0.1"
_PAUSE_S: Final = 0.03  # so that whoever gave the command sleeps again


@dataclass(eq=False, slots=True)
class _Client:
    way: str
    connection: ServerConnection
    session: Session


class _Venue:
    """A market, who is connected, and each way's first slot where that is not the first played."""

    def __init__(self, market: Market, first: Mapping[str, int]) -> None:
        self._market = market
        self._interval = market.interval
        self._tapes = {
            binance.stream_name(symbol, self._interval.name): tape
            for symbol, tape in market.tapes.items()
        }
        self._clients: list[_Client] = []
        self._began = time.monotonic()
        self._first = first

    def _now_ms(self, way: str) -> int:
        first = self._market.slots[self._first.get(way, 0)]
        now = first + int((time.monotonic() - self._began) * 1000)
        return min(now, self._interval.end(first) - 1)

    async def request(self, _: ServerConnection, request: Request) -> Response | None:
        """Answer REST; let a websocket handshake pass."""
        way, target = _whose(request.path)
        if Session.of(target) is not None:
            return None
        now_ms = self._now_ms(way)
        answer = rest.answer(Asked(self._market, target, b"", now_ms, now_ms))
        return response(answer.status, answer.body)

    async def attend(self, connection: ServerConnection) -> None:
        """Obey one websocket client until it is gone."""
        way, target = _whose(connection.request.path if connection.request else "")
        client = _Client(way, connection, Session.of(target) or Session(combined=False))
        self._clients.append(client)
        try:
            async for frame in connection:
                await connection.send(client.session.answer(frame), text=True)
        except ConnectionClosed:
            pass  # however it went, it is gone
        finally:
            self._clients.remove(client)

    async def burst(self, way: str, number: int) -> int:
        """Close played slot `number` for one way; return when its frames were sent (wall ns)."""
        slot = self._market.slots[number]
        ready = [(c.connection, self._frames(c, slot)) for c in self._clients if c.way == way]
        await asyncio.sleep(_PAUSE_S)
        sent_ns = time.time_ns()
        for connection, frames in ready:
            connection.transport.write(frames)
        return sent_ns

    def _frames(self, client: _Client, slot: int) -> bytes:
        names = [name for name in client.session.streams if name in self._tapes]
        pushed = [binance.combined(name, self._push(self._tapes[name], slot)) for name in names]
        return b"".join(Frame(Opcode.TEXT, data).serialize(mask=False) for data in pushed)

    def _push(self, tape: Tape, slot: int) -> bytes:
        index, end = tape.find(slot), self._interval.end(slot)
        if index is None:
            raise ValueError(f"{tape.symbol} has no bar at {slot}")
        return binance.push(tape.symbol, self._interval.name, tape.kline(index, end), end)


def _whose(path: str) -> tuple[str, str]:
    """Split ``/candled/stream?x`` into ``candled`` and ``/stream?x``."""
    url = urlsplit(path)
    way, _, rest_of_path = url.path.lstrip("/").partition("/")
    return way, f"/{rest_of_path}" + (f"?{url.query}" if url.query else "")


def _market(symbols: Sequence[str], interval: Interval, settings: dict[str, Any]) -> Market:
    history, slots = settings["history"], settings["slots"]
    start = synthetic_start(interval)
    bars = generate_many(settings["seed"], symbols, interval, start, history + slots)
    return Market.of(bars, interval, start_at=history)


async def _serve() -> None:
    commands = heard()
    settings = await anext(commands, None)
    if settings is None:
        return  # the bench has ended
    interval = Interval(settings["interval"])
    venue = _Venue(_market(settings["symbols"], interval, settings), settings["first"])
    # No pings: a client that is a minute behind with reading would be taken for dead.
    server = serve(
        venue.attend, _HOST, 0, process_request=venue.request, compression=None, ping_interval=None
    )
    async with server as listening:
        say({"port": next(iter(listening.sockets)).getsockname()[1]})
        sent_ns = 0
        async for command in commands:
            if command["op"] == "burst":
                sent_ns = await venue.burst(command["way"], command["slot"])
            else:
                say({"sent_ns": sent_ns})


if __name__ == "__main__":
    asyncio.run(_serve())
