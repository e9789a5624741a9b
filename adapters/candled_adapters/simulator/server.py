"""A venue on loopback: one TCP port that speaks its websocket and REST from one `Market`.

Owns the connections and the real clock; what the venue knows is in `market`, how it says it is a
`Venue`'s business. The venue's clock starts with the first request of any kind, so a
client sees every bar from the first played one on::

    async with Simulator({"BTCUSDT": bars}, Interval("1h"), speed=3600) as venue:
        print(venue.ws_url, venue.rest_url)
        await venue.finished.wait()
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from candled.core.bar import Bars, Interval
from candled_adapters.simulator import sockets
from candled_adapters.simulator.faults import Faults
from candled_adapters.simulator.market import Instant, Market
from candled_adapters.simulator.pushing import Client, Frames, Pusher
from candled_adapters.simulator.records import Burst, ClientFrame, HttpRequest
from candled_adapters.simulator.sockets import Connection, PortInUse
from candled_adapters.simulator.venue import Asked, Venue
from candled_adapters.simulator.venues import BINANCE

__all__ = ["PortInUse", "Simulator"]

_RECORDS: Final = 10_000
_POLICY_VIOLATION: Final = 1008
_GOING_AWAY: Final = 1001


class Simulator:
    """A running venue; an async context manager. See the module's docstring.

    Raises `ValueError` for candles, speed or host that it cannot play, and `PortInUse` on entry.
    Tests misuse clients through `faults` and `drop_connections`, and look at `frames`, `requests`
    and `bursts`, the newest 10,000 of each.
    """

    def __init__(
        self,
        markets: Mapping[str, Bars],
        interval: Interval,
        *,
        venue: Venue = BINANCE,
        host: str = "127.0.0.1",
        port: int = 0,
        speed: float = 1.0,
        start_at: int = 0,
        bars: int | None = None,
        updates: int = 2,
        linger: float = 2.0,
        max_buffer: int = 16 * 2**20,
    ) -> None:
        """Play `markets`: symbol -> bars of `interval`, as `venue` would.

        `speed` is venue seconds per real second. The bars before `start_at` (an index of the
        union of all symbols' slots) are history; the next `bars` slots (None: all) close while
        clients watch. Each bar is pushed `updates` times open and once closed. `linger` real
        seconds after the last one the server says goodbye. A connection that has more than
        `max_buffer` bytes waiting to be read by its client is dropped.
        """
        sockets.check_loopback(host)
        for symbol in markets:
            if not venue.spells(symbol):
                raise ValueError(
                    f"symbol {symbol!r} is not spelled as the venue does, e.g. {venue.example}"
                )
        self._venue = venue
        self.market = Market.of(markets, interval, start_at=start_at, bars=bars)
        self.clock = self.market.clock(speed)
        self.host = host
        self.port = port
        """The port that is listened on; when 0 was asked for, known once entered."""
        self.updates = updates
        self.linger = linger
        self.max_buffer = max_buffer
        self.faults = Faults(time.monotonic)
        self.started = asyncio.Event()
        """The first client has come and the venue's clock runs."""
        self.finished = asyncio.Event()
        """All bars have been pushed and `linger` has passed."""
        self.frames: deque[ClientFrame] = deque(maxlen=_RECORDS)
        self.requests: deque[HttpRequest] = deque(maxlen=_RECORDS)
        self.bursts: deque[Burst] = deque(maxlen=_RECORDS)
        self.frames_sent = 0
        self._pusher = Pusher.of(venue, self.market, self.faults)
        self._clients: dict[int, Client] = {}
        self._connections_made = 0
        self._began_s = 0.0
        self._pushed_ms = 0
        self._closing = asyncio.Event()
        self._goodbyes: set[asyncio.Task[None]] = set()
        self._server: Server
        self._playing: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        """Listen. The venue's clock still stands."""
        self._server = await sockets.listen(self.host, self.port, self._attend, self._request)
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        self._playing = asyncio.create_task(self._play())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop playing and close everything; an error of the player is raised here."""
        self._playing.cancel()
        await self._close()
        await self._server.wait_closed()
        await asyncio.wait([self._playing])
        if not self._playing.cancelled():
            self._playing.result()

    @property
    def ws_url(self) -> str:
        """Base URL of the websocket, without a path."""
        return f"ws://{self._address}"

    @property
    def rest_url(self) -> str:
        """Base URL of REST, without a path."""
        return f"http://{self._address}"

    @property
    def _address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def connections(self) -> int:
        """How many websocket connections are open."""
        return len(self._clients)

    def now_ms(self) -> int:
        """Venue time (UTC ms)."""
        if not self.started.is_set():
            return self.clock.start_ms
        now = self.clock.at(time.monotonic() - self._began_s)
        return max(now, self._pushed_ms)  # rounding must not take back what was pushed

    def drop_connections(self, code: int | None = _GOING_AWAY) -> None:
        """Close every websocket with `code`, or, when None, reset its TCP connection."""
        for client in list(self._clients.values()):
            if code is None:
                sockets.reset(client.connection)
            else:
                self._say_goodbye(client, code, "")

    async def _play(self) -> None:
        try:
            await self.started.wait()
            for instant in self.market.instants(self.updates):
                if instant.closing or self._wait_s(instant) > 0:
                    frames = self._pusher.encode(self._clients.values(), instant)
                    await asyncio.sleep(max(self._wait_s(instant), 0.0))
                    self._push(instant, frames)
            await asyncio.sleep(self.linger)
        finally:
            self.finished.set()
        await self._close()

    def _wait_s(self, instant: Instant) -> float:
        return self._began_s + self.clock.due(instant.venue_ms) - time.monotonic()

    def _push(self, instant: Instant, frames: Frames) -> None:
        """Write to all subscribers in one go."""
        self._pushed_ms = instant.venue_ms
        if self.faults.muted:
            return
        began, before = time.perf_counter(), self.frames_sent
        for client in self._clients.values():
            if client.connection.state is not State.OPEN:
                continue
            self.frames_sent += self._pusher.push(client, instant, frames)
            if client.connection.transport.get_write_buffer_size() > self.max_buffer:
                self._say_goodbye(client, _POLICY_VIOLATION, "too slow")
        if instant.closing:
            seconds = time.perf_counter() - began
            self.bursts.append(Burst(instant.venue_ms, self.frames_sent - before, seconds))

    async def _attend(self, connection: ServerConnection) -> None:
        """Obey one websocket client until it is gone."""
        target = connection.request.path if connection.request else ""
        session = self._venue.session(target)
        assert session is not None, "no handshake passes without one"  # noqa: S101
        self._connections_made += 1
        number = self._connections_made
        self._clients[number] = Client(number, connection, session)
        try:
            async for frame in connection:
                self.frames.append(ClientFrame(number, frame, time.monotonic()))
                for reply in self._venue.replies(session, frame):
                    await connection.send(reply, text=True)
        except ConnectionClosed:
            pass  # however it went, it is gone
        finally:
            del self._clients[number]

    async def _request(self, connection: Connection, request: Request) -> Response | None:
        """Start the clock; answer REST, let a websocket handshake pass."""
        if not self.started.is_set():
            self._began_s = time.monotonic()
            self.started.set()
        now_ms = self.now_ms()
        if self._venue.session(request.path) is not None:
            self._record(request.path, HTTPStatus.SWITCHING_PROTOCOLS, now_ms)
            return None
        response = self._answer(request.path, connection.body, now_ms)
        self._record(request.path, response.status_code, now_ms)
        if self.faults.rest_delay_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self.faults.rest_delay_s)
        return response

    def _answer(self, target: str, body: bytes, now_ms: int) -> Response:
        refusal = self.faults.refusal
        if refusal is not None:
            said = self._venue.refusal(refusal)
            return sockets.json_response(refusal, said, self.faults.retry_after_s)
        asked = Asked(self.market, target, body, now_ms, self.faults.hidden_rows)
        answer = self._venue.answer(asked)
        return sockets.json_response(answer.status, answer.body)

    def _record(self, target: str, status: int, now_ms: int) -> None:
        self.requests.append(HttpRequest(target, status, now_ms, time.monotonic()))

    def _say_goodbye(self, client: Client, code: int, reason: str) -> None:
        task = asyncio.create_task(sockets.goodbye(client.connection, code, reason))
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)

    async def _close(self) -> None:
        self._closing.set()
        self._server.close(close_connections=False)  # it would wait for clients that do not read
        for client in list(self._clients.values()):
            self._say_goodbye(client, _GOING_AWAY, "the candles are over")
        if self._goodbyes:
            await asyncio.wait(self._goodbyes)
