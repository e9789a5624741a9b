"""The reconnecting websocket: connect, say hello, hand over frames in batches, for ever.

The only user of the websockets library on the client's side. Knows no venue and no candle: frames
are bytes, and whoever listens decides what they mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from candled_adapters.exchanges.dialect import KeepAlive
from candled_adapters.feeds.budget import Budget

_BURST: Final = 8  # a batch from here on is worth a look whether more has arrived
_BURST_WAIT_S: Final = 0.02
_PENDING: Final = 20_000  # frames read ahead of a listener that is slow
_CLOSE_S: Final = 0.5


class Listener(Protocol):
    """Who is told. An exception raised here ends the socket: it is a defect, not the network."""

    def hello(self) -> Sequence[bytes]:
        """Return the text frames to send on a new connection."""
        ...

    async def on_up(self) -> None:
        """Note that a connection is open; hello follows."""
        ...

    async def on_hello(self) -> None:
        """Note that everything of hello has been sent."""
        ...

    async def on_frames(self, frames: list[bytes]) -> None:
        """Take all frames that have arrived since the last call; awaiting it holds the socket."""
        ...

    async def on_down(self, reason: str) -> None:
        """Note that the connection ended, or could not be made."""
        ...


@dataclass(frozen=True, slots=True)
class SocketSettings:
    """Bounds of patience, in seconds."""

    connect_s: float = 10.0
    """Until a handshake is given up."""
    silence_s: float = 120.0
    """Without any frame, a connection is dead although it answers pings."""
    ping_s: float = 20.0
    """Between pings of ours; a lost answer ends the connection after the same time."""
    max_age_s: float = 23.5 * 3600
    """Reconnect before the venue does it for us."""
    first_retry_s: float = 0.5
    last_retry_s: float = 60.0
    """Back-off doubles from the first to the last, with full jitter."""
    stable_s: float = 30.0
    """A connection that lasted this long resets the back-off."""
    frames_per_second: float = 5.0
    """What we may send."""


class Socket:
    """One connection that is made again whenever it is lost, until cancelled."""

    def __init__(
        self,
        url: str,
        listener: Listener,
        settings: SocketSettings,
        budget: Budget,
        keepalive: KeepAlive | None = None,
    ) -> None:
        self._url = url
        self._listener = listener
        self._settings = settings
        self._budget = budget
        self._keepalive = keepalive
        self._frames: list[bytes] = []
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._over = asyncio.Event()
        self._over_reason = ""
        self._heard_at = 0.0

    def reconnect(self, reason: str) -> None:
        """Give up the present connection; the next follows."""
        self._over_reason = reason
        self._over.set()

    async def run(self) -> None:
        """Keep a connection; return never, raise only what the listener raises."""
        failures = 0
        while True:
            await self._budget.spend()
            started = time.monotonic()
            reason, pause_s = await self._connection()
            await self._listener.on_down(reason)
            lasted = time.monotonic() - started
            failures = 1 if lasted >= self._settings.stable_s else failures + 1
            await asyncio.sleep(max(pause_s, self._backoff(failures)))

    def _backoff(self, failures: int) -> float:
        bound = self._settings.first_retry_s * 2.0 ** min(failures - 1, 30)
        return random.uniform(0.0, min(bound, self._settings.last_retry_s))

    async def _connection(self) -> tuple[str, float]:
        """Live through one connection; return why it ended and what pause the venue asks for."""
        settings = self._settings
        try:
            async with connect(
                self._url,
                open_timeout=settings.connect_s,
                ping_interval=settings.ping_s,
                ping_timeout=settings.ping_s,
                close_timeout=_CLOSE_S,
                compression=None,
                max_queue=_PENDING,
            ) as connection:
                return await self._serve(connection), 0.0
        except InvalidStatus as error:
            status = error.response.status_code
            return f"handshake refused: HTTP {status}", _pause(error)
        except (OSError, TimeoutError, WebSocketException) as error:
            return f"cannot connect: {error or type(error).__name__}", 0.0

    async def _serve(self, connection: ClientConnection) -> str:
        self._frames = []
        for event in (self._arrived, self._taken, self._over):
            event.clear()
        self._heard_at = time.monotonic()
        await self._listener.on_up()
        try:
            reason = await _first(
                self._read(connection), self._greet(connection), self._deliver(), self._watch()
            )
        finally:
            await connection.close()  # as a normal end, whatever the reason
        if self._frames:
            await self._listener.on_frames(self._take())
        return reason

    async def _read(self, connection: ClientConnection) -> str:
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
            return f"connection lost: {error}"

    async def _deliver(self) -> str:
        while True:
            await self._arrived.wait()
            self._heard_at = time.monotonic()
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

    async def _greet(self, connection: ClientConnection) -> str:
        """Send hello no faster than the venue allows, then keep the connection alive."""
        try:
            for frame in self._listener.hello():
                await connection.send(frame.decode())
                await asyncio.sleep(1.0 / self._settings.frames_per_second)
        except ConnectionClosed as error:
            return f"connection lost: {error}"
        await self._listener.on_hello()
        return await self._keep_alive(connection)

    async def _keep_alive(self, connection: ClientConnection) -> str:
        """Say what the venue wants to hear now and then, for ever."""
        if self._keepalive is None:
            return await asyncio.Future()
        try:
            while True:
                await asyncio.sleep(self._keepalive.every_s)
                await connection.send(self._keepalive.frame.decode())
        except ConnectionClosed as error:
            return f"connection lost: {error}"

    async def _watch(self) -> str:
        """End a connection that is silent, too old, or given up."""
        oldest = time.monotonic() + self._settings.max_age_s
        while True:
            silent = self._heard_at + self._settings.silence_s
            left = min(silent, oldest) - time.monotonic()
            if left <= 0:
                return "no frames for too long" if silent < oldest else "old enough to be renewed"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._over.wait()
                    return self._over_reason


def _pause(error: InvalidStatus) -> float:
    try:
        return max(0.0, float(error.response.headers.get("Retry-After", "")))
    except ValueError:
        return 0.0


async def _first(*coroutines: Coroutine[Any, Any, str]) -> str:
    """Return what the first to end returns (or raise what it raised); the others are cancelled."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(iter(done)).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
