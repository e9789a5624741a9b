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

from candled.core.bar import Bars, Interval
from candled_adapters.simulator import sockets
from candled_adapters.simulator.answering import Answerer
from candled_adapters.simulator.clients import GOING_AWAY, Roster
from candled_adapters.simulator.fault import Reply
from candled_adapters.simulator.faults import Faults
from candled_adapters.simulator.limits import Breach, LimitBook, VenueLimits
from candled_adapters.simulator.market import Instant, Market
from candled_adapters.simulator.pushing import CHANGING, SILENCING, Client, Frames, Pusher
from candled_adapters.simulator.records import Burst, ClientFrame, HttpRequest
from candled_adapters.simulator.scenario import Scenario
from candled_adapters.simulator.sockets import Connection, PortInUse
from candled_adapters.simulator.venue import Venue
from candled_adapters.simulator.venues import BINANCE

__all__ = ["PortInUse", "Simulator"]

_RECORDS: Final = 10_000
_POLICY_VIOLATION: Final = 1008
_TICK_S: Final = 0.01


class Simulator:
    """A running venue; an async context manager. See the module's docstring.

    Raises `ValueError` for candles, speed or host that it cannot play, and `PortInUse` on entry.
    Tests misuse clients through `faults` and the methods below, and look at `frames`, `requests`,
    `bursts` and `breaches`, the newest 10,000 of each.
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
        limits: VenueLimits | None = None,
        enforce: bool = False,
        scenario: Scenario | None = None,
    ) -> None:
        """Play `markets`: symbol -> bars of `interval`, as `venue` would.

        `speed` is venue seconds per real second. The bars before `start_at` (an index of the
        union of all symbols' slots) are history; the next `bars` slots (None: all) close while
        clients watch. Each bar is pushed `updates` times open and once closed. `linger` real
        seconds after the last one the server says goodbye. A connection that has more than
        `max_buffer` bytes waiting to be read by its client is dropped. What goes beyond `limits`
        is a breach, and when they are to be `enforce`d it is answered as venues do: 429, or a close
        with 1008. The faults of a `scenario` begin with the clock.
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
        self._stirred = asyncio.Event()
        self.faults = Faults(time.monotonic, self._stirred.set)
        self.started = asyncio.Event()
        """The first client has come and the venue's clock runs."""
        self.finished = asyncio.Event()
        """All bars have been pushed and `linger` has passed."""
        self.frames: deque[ClientFrame] = deque(maxlen=_RECORDS)
        self.requests: deque[HttpRequest] = deque(maxlen=_RECORDS)
        self.bursts: deque[Burst] = deque(maxlen=_RECORDS)
        self.frames_sent = 0
        self._book = LimitBook(limits or VenueLimits())
        self._enforce = enforce
        self._scenario = scenario
        if scenario is not None:
            scenario.check(self.market)
        self._pusher = Pusher.of(venue, self.market)
        self._answerer = Answerer(venue, self.market, self._pusher, self.faults)
        self._roster = Roster(self._farewell)
        self._connections_made = 0
        self._began_s = 0.0
        self._pushed_ms = 0
        self._closing = asyncio.Event()
        self._server: Server
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    async def __aenter__(self) -> Self:
        """Listen. The venue's clock still stands."""
        self._server = await sockets.listen(self.host, self.port, self._attend, self._request)
        self.port = next(iter(self._server.sockets)).getsockname()[1]
        self._tasks = tuple(map(asyncio.create_task, (self._play(), self._mind_faults())))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop playing and close everything; an error of the player is raised here."""
        for task in self._tasks:
            task.cancel()
        await self._close()
        await self._server.wait_closed()
        await asyncio.wait(self._tasks)
        for task in self._tasks:
            if not task.cancelled():
                task.result()

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
        return len(self._roster.clients)

    def now_ms(self) -> int:
        """Venue time (UTC ms)."""
        if not self.started.is_set():
            return self.clock.start_ms
        now = self.clock.at(time.monotonic() - self._began_s)
        return max(now, self._pushed_ms)  # rounding must not take back what was pushed

    @property
    def breaches(self) -> deque[Breach]:
        """Where clients went beyond the limits."""
        return self._book.breaches

    def drop_connections(self, code: int | None = GOING_AWAY) -> None:
        """Close every websocket with `code`, or, when None, reset its TCP connection."""
        self._roster.drop_connections(code)

    def abort_connections(self) -> None:
        """End every TCP connection without a goodbye, which clients see as 1006."""
        self._roster.abort_connections()

    def say(self, frame: bytes) -> None:
        """Send a text frame to every connection."""
        self._roster.say(frame)

    def shut_down(self, grace_s: float = 0.2, code: int = GOING_AWAY) -> None:
        """Announce the end in the venue's words, where it has some, and close after a while."""
        self._roster.shut_down(grace_s, code)

    async def _play(self) -> None:
        try:
            await self.started.wait()
            for instant in self.market.instants(self.updates):
                if instant.closing or self._wait_s(instant) > 0:
                    frames = self._pusher.encode(self._roster, instant)
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
        self._roster.suffer(self.faults, instant.open_time, time.monotonic())
        began, before = time.perf_counter(), self.frames_sent
        changing, silencing = self.faults.in_force(*CHANGING), self.faults.in_force(SILENCING)
        volley = self._pusher.volley(instant, frames, changing, silencing)
        for client in self._roster:
            self.frames_sent += self._pusher.push(client, volley, self._later)
            if client.connection.transport.get_write_buffer_size() > self.max_buffer:
                self._roster.dismiss(client, _POLICY_VIOLATION, "too slow")
        if instant.closing:
            seconds = time.perf_counter() - began
            self.bursts.append(Burst(instant.venue_ms, self.frames_sent - before, seconds))

    def _later(self, connection: ServerConnection, wire: bytes, delay_ms: int) -> None:
        """Write a frame that is late, in venue time."""
        wait_s = delay_ms / 1000.0 / self.clock.speed
        asyncio.get_running_loop().call_later(wait_s, sockets.write, connection, wire)

    async def _mind_faults(self) -> None:
        """While there are faults that act, or a greatest age, look whether they are due."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while self.faults.busy:
                pushed_ms = max(self._pushed_ms, self.clock.start_ms)
                self._roster.suffer(self.faults, pushed_ms, time.monotonic())
                await asyncio.sleep(_TICK_S)

    def _farewell(self, combined: bool) -> bytes | None:  # noqa: FBT001 - as `Farewell` has it
        return self._venue.farewell(self.now_ms(), combined=combined)

    async def _attend(self, connection: ServerConnection) -> None:
        """Obey one websocket client until it is gone."""
        target = connection.request.path if connection.request else ""
        session = self._venue.session(target)
        assert session is not None, "no handshake passes without one"  # noqa: S101
        self._connections_made += 1
        client = Client(self._connections_made, connection, session, time.monotonic())
        self._roster.clients[client.number] = client
        self._check(client, breached=False)
        try:
            async for frame in connection:
                await self._obey(client, frame)
        except ConnectionClosed:
            pass  # however it went, it is gone
        finally:
            del self._roster.clients[client.number]

    async def _obey(self, client: Client, frame: str | bytes) -> None:
        """Record a client's frame and answer it."""
        now_s = time.monotonic()
        self.frames.append(ClientFrame(client.number, frame, now_s))
        breached = self._book.message(client.number, now_s)
        for reply in self._answerer.frame(client.session, frame, self.now_ms()):
            await client.connection.send(reply, text=True)
        self._check(client, breached=breached)

    def _check(self, client: Client, *, breached: bool) -> None:
        """Close a connection that goes beyond the limits, when they are enforced."""
        streams = len(client.session.streams)
        breached |= self._book.streams(client.number, streams, time.monotonic())
        if breached and self._enforce:
            self._roster.dismiss(client, _POLICY_VIOLATION, "beyond the limits")

    async def _request(self, connection: Connection, request: Request) -> Response | None:
        """Start the clock; answer REST, let a websocket handshake pass."""
        if not self.started.is_set():
            self._start()
        now_ms, now_s = self.now_ms(), time.monotonic()
        if self._venue.session(request.path) is not None:
            reply = self._limited(self._book.connect(now_s)) or self._answerer.handshake(now_ms)
        else:
            reply = self._limited(self._book.question(now_s)) or self._answer(
                request.path, connection.body, now_ms
            )
        status = HTTPStatus.SWITCHING_PROTOCOLS if reply is None else reply.status
        self.requests.append(HttpRequest(request.path, status, now_ms, time.monotonic()))
        if reply is None:
            return None
        if reply.delay_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), reply.delay_s)
        return sockets.response(
            reply.status, reply.body, retry_after_s=reply.retry_after_s, html=reply.html
        )

    def _start(self) -> None:
        self._began_s = time.monotonic()
        self.started.set()
        if self._scenario is not None:
            for fault in self._scenario.faults(self.market, self._began_s):
                self.faults.add(fault)

    def _limited(self, breached: bool) -> Reply | None:  # noqa: FBT001 - the book's answer
        return self._answerer.limited() if breached and self._enforce else None

    def _answer(self, target: str, body: bytes, now_ms: int) -> Reply:
        return self._answerer.rest(target, body, now_ms)

    async def _close(self) -> None:
        self._closing.set()
        self._server.close(close_connections=False)  # it would wait for clients that do not read
        for client in list(self._roster.clients.values()):
            self._roster.dismiss(client, GOING_AWAY, "the candles are over")
        await self._roster.parted()
