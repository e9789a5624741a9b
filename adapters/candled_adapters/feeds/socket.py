"""One websocket connection: open it, hand over its frames in batches, say what is to be said.

The feeds' only user of the websockets library (`probe` looks once, for `check`). Knows no venue and
no candle: frames are bytes, whoever listens decides what they mean, and whether another connection
follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Never, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from candled_adapters.exchanges.dialect import KeepAlive
from candled_adapters.feeds.budget import Budget

_BURST: Final = 8  # a batch from here on is worth a look whether more has arrived
_BURST_WAIT_S: Final = 0.02
_PENDING: Final = 20_000  # frames read ahead of a listener that is slow
_CLOSE_S: Final = 0.5
_LIMITED: Final = (429, 418)
_DEFAULT_PAUSE_S: Final = 30.0  # when a limit was hit and no Retry-After was given
_LONGEST_BAN_S: Final = 3 * 86_400.0

#: Sends a text frame, no faster than the venue allows.
Say = Callable[[bytes], Awaitable[None]]


class Listener(Protocol):
    """Who is told. An exception raised here ends the socket: it is a defect, not the network."""

    async def on_up(self) -> None:
        """Note that the connection is open."""
        ...

    async def speak(self, say: Say) -> Never:
        """Say what is to be said, as it comes up."""
        ...

    async def over(self) -> str:
        """Return why the connection is to end, once it is."""
        ...

    async def on_frames(self, frames: list[bytes]) -> None:
        """Take all frames that have arrived since the last call; awaiting it holds the socket."""
        ...


@dataclass(frozen=True, slots=True)
class SocketSettings:
    """Bounds of patience with connections and subscriptions, in seconds."""

    connect_s: float = 10.0
    """Until a handshake is given up."""
    ping_s: float = 20.0
    """Between pings of ours; a lost answer ends the connection after the same time."""
    max_age_s: float = 23.5 * 3600
    """Another connection takes over before the venue cuts one for its age."""
    first_retry_s: float = 0.5
    last_retry_s: float = 60.0
    """Back-off of connections doubles from the first to the last, with full jitter."""
    stable_s: float = 30.0
    """A connection that lasted this long resets the back-off."""
    ack_s: float = 5.0
    """A subscription that is not answered by then is taken as made."""
    data_s: float = 5.0
    """Until a connection that takes over is taken as good although it has brought no data yet."""
    calm_s: float = 10.0
    """A connection that is only old is not handed over so near to a bar's close."""
    look_s: float = 0.5
    """Between looks at what was not answered and at who is quiet."""
    stream_silence_s: float = 180.0
    """A stream that is silent for so long is subscribed to anew; where all of a connection are,
    another one takes over. Lost connections are found sooner, by pings."""
    last_silence_s: float = 3600.0
    """For a stream that stays silent that doubles up to this."""
    first_refusal_s: float = 5.0
    last_refusal_s: float = 300.0
    """A refused subscription is asked for again; the pauses double from the first to the last."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended, or that it could not be made."""

    reason: str
    """For people."""
    wait_s: float = 0.0
    """How long the venue wants to be left alone; 0 when it did not say."""
    limited: bool = False
    """Whether the venue refused because of how often it is asked."""


class Socket:
    """One connection, from its handshake to its end."""

    def __init__(
        self,
        url: str,
        listener: Listener,
        settings: SocketSettings,
        paces: Sequence[Budget] = (),
        keepalive: KeepAlive | None = None,
    ) -> None:
        """Connect to `url`. Every frame of ours is spent of all `paces`."""
        self._url = url
        self._listener = listener
        self._settings = settings
        self._paces = paces
        self._keepalive = keepalive
        self._frames: list[bytes] = []
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()

    async def run(self) -> Ending:
        """Live through the connection; raise only what the listener raises."""
        try:
            async with connect(
                self._url,
                open_timeout=self._settings.connect_s,
                ping_interval=None,  # pings count as frames of ours: they are sent at their pace
                close_timeout=_CLOSE_S,
                compression=None,
                max_queue=_PENDING,
            ) as connection:
                return await self._serve(connection)
        except InvalidStatus as error:
            status = error.response.status_code
            wait_s = _retry_after_s(error)
            limited = status in _LIMITED or wait_s > 0
            wait_s = wait_s or (_DEFAULT_PAUSE_S if limited else 0.0)
            return Ending(f"handshake refused: HTTP {status}", wait_s, limited)
        except (OSError, TimeoutError, WebSocketException) as error:
            return Ending(f"cannot connect: {error or type(error).__name__}")

    async def _serve(self, connection: ClientConnection) -> Ending:
        await self._listener.on_up()
        try:
            ending = await _first(
                self._read(connection),
                self._speak(connection),
                self._keep_alive(connection),
                self._ping(connection),
                self._deliver(),
                self._over(),
            )
        finally:
            await connection.close()  # as a normal end, whatever the reason
        if self._frames:
            await self._listener.on_frames(self._take())
        return ending

    async def _read(self, connection: ClientConnection) -> Ending:
        """Move frames to the batch; only waits when nothing more has arrived."""
        try:
            while True:
                frame = await connection.recv(decode=False)
                self._frames.append(frame)
                self._arrived.set()
                if len(self._frames) >= _PENDING:
                    self._taken.clear()
                    await self._taken.wait()
        except ConnectionClosed as error:
            return Ending(f"connection lost: {error}")

    async def _deliver(self) -> Ending:
        while True:
            await self._arrived.wait()
            if len(self._frames) >= _BURST:
                await self._let_the_burst_arrive()
            await self._listener.on_frames(self._take())

    async def _let_the_burst_arrive(self) -> None:
        """Read on while the kernel still has frames, so that a burst is one batch."""
        until = time.monotonic() + _BURST_WAIT_S
        seen = 0
        while seen < len(self._frames) < _PENDING and time.monotonic() < until:
            seen = len(self._frames)
            for _ in range(3):  # the transport reads, the reader wakes, the reader moves
                await asyncio.sleep(0)

    def _take(self) -> list[bytes]:
        frames, self._frames = self._frames, []
        self._arrived.clear()
        self._taken.set()
        return frames

    async def _pace(self) -> None:
        for pace in self._paces:
            await pace.spend()

    async def _speak(self, connection: ClientConnection) -> Ending:
        async def say(frame: bytes) -> None:
            await self._pace()
            await connection.send(frame.decode())

        try:
            await self._listener.speak(say)
        except ConnectionClosed as error:
            return Ending(f"connection lost: {error}")

    async def _over(self) -> Ending:
        return Ending(await self._listener.over())

    async def _keep_alive(self, connection: ClientConnection) -> Ending:
        """Say what the venue wants to hear now and then, for ever."""
        if self._keepalive is None:
            return await asyncio.Future()
        try:
            while True:
                await asyncio.sleep(self._keepalive.every_s)
                await self._pace()
                await connection.send(self._keepalive.frame.decode())
        except ConnectionClosed as error:
            return Ending(f"connection lost: {error}")

    async def _ping(self, connection: ClientConnection) -> Ending:
        """Ask now and then whether the other end is there."""
        try:
            while True:
                await asyncio.sleep(self._settings.ping_s)
                await self._pace()
                answered = await connection.ping()
                async with asyncio.timeout(self._settings.ping_s):  # wait_for may lose an end
                    await answered
        except ConnectionClosed as error:
            return Ending(f"connection lost: {error}")
        except TimeoutError:
            return Ending(f"connection lost: no pong within {self._settings.ping_s:g} s")


def _retry_after_s(error: InvalidStatus) -> float:
    with contextlib.suppress(ValueError):
        wait_s = float(error.response.headers.get("Retry-After", ""))
        return min(max(0.0, wait_s), _LONGEST_BAN_S)
    return 0.0


async def _first(*coroutines: Coroutine[Any, Any, Ending]) -> Ending:
    """Return what the first to end returns (or raise what it raised); the others are cancelled."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(iter(done)).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
