"""One websocket connection, against real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import http
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Never

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from candled_adapters.exchanges.dialect import KeepAlive
from candled_adapters.feeds.budget import Budget, evenly
from candled_adapters.feeds.socket import Ending, Say, Socket, SocketSettings

QUICK = SocketSettings(connect_s=2.0)


class Heard:
    """Keeps what a socket tells it."""

    def __init__(self, hello: tuple[bytes, ...] = ()) -> None:
        self.greeting = hello
        self.ups = 0
        self.batches: list[list[bytes]] = []
        self.slow_s = 0.0
        self.enough = asyncio.Event()

    async def on_up(self) -> None:
        self.ups += 1

    async def speak(self, say: Say) -> Never:
        for frame in self.greeting:
            await say(frame)
        await asyncio.Future()
        raise AssertionError

    async def over(self) -> str:
        await self.enough.wait()
        return "it was enough"

    async def on_frames(self, frames: list[bytes]) -> None:
        self.batches.append(list(frames))
        await asyncio.sleep(self.slow_s)

    @property
    def frames(self) -> list[bytes]:
        return [frame for batch in self.batches for frame in batch]


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for a condition; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        await asyncio.sleep(0.005)


Handler = Callable[[ServerConnection], Awaitable[None]]
Body = Callable[[asyncio.Task[Ending]], Awaitable[None]]


def port_of(server: Server) -> int:
    return next(iter(server.sockets)).getsockname()[1]


async def stay(connection: ServerConnection) -> None:
    await connection.wait_closed()


def play(
    handler: Handler,
    heard: Heard,
    body: Body,
    *,
    settings: SocketSettings = QUICK,
    paces: tuple[Budget, ...] = (),
    keepalive: KeepAlive | None = None,
    **options,
) -> None:
    """Run a server and a connection to it while `body` looks on."""

    async def main() -> None:
        async with serve(handler, "127.0.0.1", 0, **options) as server:
            url = f"ws://127.0.0.1:{port_of(server)}/"
            socket = Socket(url, heard, settings, paces, keepalive)
            running = asyncio.create_task(socket.run())
            try:
                await body(running)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


def test_what_is_said_is_sent_and_frames_arrive_as_bytes():
    """What the listener says goes out as text after the connection is up; answers come back."""
    heard = Heard((b"one", b"two"))
    got: list[str | bytes] = []

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)
            got.append(message)

    async def body(_running: asyncio.Task[Ending]) -> None:
        await until(lambda: len(heard.frames) == 2)
        assert got == ["one", "two"]
        assert heard.frames == [b"one", b"two"]
        assert heard.ups == 1

    play(echo, heard, body)


def test_everything_that_is_said_keeps_the_pace():
    """At ten frames a second what is said and the keep-alive never come closer than a tenth."""
    heard = Heard((b"1", b"2", b"3", b"4"))
    times: list[float] = []

    async def note(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await connection.recv()
                times.append(time.monotonic())

    async def body(_running: asyncio.Task[Ending]) -> None:
        await until(lambda: len(times) == 8)
        gaps = [after - before for before, after in pairwise(times)]
        assert min(gaps) >= 0.08
        assert times[-1] - times[0] >= 0.68

    play(note, heard, body, paces=(evenly(10.0),), keepalive=KeepAlive(b"ping", 0.02))


def test_a_burst_is_one_batch():
    """Frames that have arrived while nobody looked come in one piece."""
    heard = Heard()
    told = asyncio.Event()

    async def burst(connection: ServerConnection) -> None:
        await told.wait()
        for number in range(1000):
            await connection.send(b"%d" % number + b" " * 300)
        await connection.wait_closed()

    async def body(_running: asyncio.Task[Ending]) -> None:
        await until(lambda: heard.ups)
        told.set()
        await until(lambda: len(heard.frames) == 1000)
        assert [int(frame) for frame in heard.frames] == list(range(1000))
        assert len(heard.batches) <= 5

    play(burst, heard, body)


def test_a_slow_listener_gets_everything_in_order():
    """Batches are never delivered at the same time; nothing is dropped."""
    heard = Heard()
    heard.slow_s = 0.02

    async def chatter(connection: ServerConnection) -> None:
        for number in range(200):
            await connection.send(b"%d" % number)
            await asyncio.sleep(0)
        await connection.wait_closed()

    async def body(_running: asyncio.Task[Ending]) -> None:
        await until(lambda: len(heard.frames) == 200)
        assert [int(frame) for frame in heard.frames] == list(range(200))

    play(chatter, heard, body)


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011])
def test_a_closed_connection_ends_with_its_reason(code):
    """Whatever the code, the last frames are delivered and the reason told."""
    heard = Heard((b"hi",))

    async def leave(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(b"last words")
        await connection.close(code)

    async def body(running: asyncio.Task[Ending]) -> None:
        ending = await asyncio.wait_for(running, 5)
        assert heard.frames == [b"last words"]
        assert str(code) in ending.reason
        assert not ending.limited

    play(leave, heard, body)


def test_a_reset_connection_ends():
    """A TCP reset is as good as a close."""

    async def reset(connection: ServerConnection) -> None:
        connection.transport.abort()

    async def body(running: asyncio.Task[Ending]) -> None:
        assert "connection lost" in (await asyncio.wait_for(running, 5)).reason

    play(reset, Heard(), body)


def test_a_server_that_is_away_is_told():
    """A connection that cannot be made is an ending, not an exception."""

    async def main() -> None:
        async with serve(stay, "127.0.0.1", 0) as server:
            port = port_of(server)
        ending = await Socket(f"ws://127.0.0.1:{port}/", Heard(), QUICK).run()
        assert "cannot connect" in ending.reason

    asyncio.run(main())


@pytest.mark.parametrize(("retry_after", "wait_s"), [("7", 7.0), ("soon", 30.0), (None, 30.0)])
def test_a_refused_handshake_says_how_long_to_stay_away(retry_after, wait_s):
    """HTTP 429 with Retry-After, or a while when it does not say."""

    def refuse(connection: ServerConnection, _request):
        response = connection.respond(http.HTTPStatus.TOO_MANY_REQUESTS, "slow down")
        if retry_after is not None:
            response.headers["Retry-After"] = retry_after
        return response

    async def body(running: asyncio.Task[Ending]) -> None:
        ending = await asyncio.wait_for(running, 5)
        assert ending == Ending("handshake refused: HTTP 429", wait_s, limited=True)

    play(stay, Heard(), body, process_request=refuse)


def test_a_lost_pong_ends_a_connection():
    """Nobody is at the other end although TCP still stands."""

    async def stop_reading(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await connection.wait_closed()

    async def body(running: asyncio.Task[Ending]) -> None:
        ending = await asyncio.wait_for(running, 5)
        assert ending.reason == "connection lost: no pong within 0.1 s"

    settings = SocketSettings(ping_s=0.1)
    play(stop_reading, Heard(), body, settings=settings, close_timeout=0.2)


def test_whoever_listens_may_end_it():
    """What has arrived is delivered, and the other end sees a normal close."""
    heard = Heard()
    seen: list[int | None] = []

    async def watch(connection: ServerConnection) -> None:
        await connection.send(b"x")
        await connection.wait_closed()
        seen.append(connection.close_code)

    async def body(running: asyncio.Task[Ending]) -> None:
        await until(lambda: heard.ups)
        heard.enough.set()
        assert (await asyncio.wait_for(running, 5)).reason == "it was enough"
        await until(lambda: seen)
        assert seen == [1000]

    play(watch, heard, body)


def test_cancelling_closes_cleanly_and_fast():
    """The server sees a proper close; ours is over within a second, even if it does not answer."""
    heard = Heard()
    seen: list[int | None] = []

    async def watch(connection: ServerConnection) -> None:
        await connection.wait_closed()
        seen.append(connection.close_code)

    async def body(running: asyncio.Task[Ending]) -> None:
        await until(lambda: heard.ups)
        began = time.monotonic()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert time.monotonic() - began < 1.0
        await until(lambda: seen)
        assert seen == [1000]

    play(watch, heard, body)


def test_a_defect_of_the_listener_is_not_hidden():
    """An exception from on_frames ends the socket: it is not the network's fault."""

    class Broken(Heard):
        async def on_frames(self, frames: list[bytes]) -> None:
            raise RuntimeError(f"cannot read {frames}")

    async def speak(connection: ServerConnection) -> None:
        await connection.send(b"x")
        await connection.wait_closed()

    async def body(running: asyncio.Task[Ending]) -> None:
        with pytest.raises(RuntimeError, match="cannot read"):
            await asyncio.wait_for(running, 5)

    play(speak, Broken(), body)


def test_a_budget_keeps_a_limit_in_every_window():
    """With three in 0.3 s, the seventh comes 0.6 s after the first at the earliest."""

    async def main() -> None:
        budget, times = Budget(3, 0.3), list[float]()

        async def spend() -> None:
            await budget.spend()
            times.append(time.monotonic())

        await asyncio.gather(*(spend() for _ in range(7)))
        assert times[2] - times[0] < 0.2
        assert times[3] - times[0] >= 0.29
        assert times[6] - times[0] >= 0.59

    asyncio.run(main())


def test_a_closed_budget_holds_back_even_those_who_wait_already():
    """Two at a time again once it opens: nobody's turn is forgotten, none comes in a crowd."""

    async def main() -> None:
        budget, times = Budget(2, 0.1), list[float]()

        async def spend() -> None:
            await budget.spend()
            times.append(time.monotonic())

        began = time.monotonic()
        waiting = [asyncio.create_task(spend()) for _ in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        budget.close(0.3)
        await asyncio.gather(*waiting)
        late = [at for at in times if at - began >= 0.29]
        assert len(late) == 3
        assert late[2] - late[0] >= 0.09

    asyncio.run(main())
