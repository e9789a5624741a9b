"""The reconnecting websocket, against real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import http
import time
from collections.abc import Awaitable, Callable

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve

from candled_adapters.feeds.socket import Budget, Socket, SocketSettings

QUICK = SocketSettings(
    connect_s=2.0, first_retry_s=0.01, last_retry_s=0.05, frames_per_second=1000.0
)


class Heard:
    """Keeps what a socket tells it."""

    def __init__(self, hello: tuple[bytes, ...] = ()) -> None:
        self.greeting = hello
        self.ups = 0
        self.greeted = 0
        self.batches: list[list[bytes]] = []
        self.downs: list[str] = []
        self.slow_s = 0.0

    def hello(self) -> tuple[bytes, ...]:
        return self.greeting

    async def on_up(self) -> None:
        self.ups += 1

    async def on_hello(self) -> None:
        self.greeted += 1

    async def on_frames(self, frames: list[bytes]) -> None:
        self.batches.append(list(frames))
        await asyncio.sleep(self.slow_s)

    async def on_down(self, reason: str) -> None:
        self.downs.append(reason)

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
Body = Callable[[Server, Socket], Awaitable[None]]


def port_of(server: Server) -> int:
    return next(iter(server.sockets)).getsockname()[1]


async def stay(connection: ServerConnection) -> None:
    await connection.wait_closed()


def play(
    handler: Handler,
    heard: Heard,
    body: Body,
    settings: SocketSettings = QUICK,
    budget: tuple[int, float] = (300, 300.0),
    **options,
) -> None:
    """Run a server and a socket to it while `body` looks on."""

    async def main() -> None:
        async with serve(handler, "127.0.0.1", 0, **options) as server:
            url = f"ws://127.0.0.1:{port_of(server)}/"
            socket = Socket(url, heard, settings, Budget(*budget))
            running = asyncio.create_task(socket.run())
            try:
                await body(server, socket)
            finally:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running

    asyncio.run(main())


def test_hello_is_sent_and_frames_arrive_as_bytes():
    """The greeting goes out as text after the connection is up; answers come back."""
    heard = Heard((b"one", b"two"))
    got: list[str | bytes] = []

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)
            got.append(message)

    async def body(_server: Server, _socket: Socket) -> None:
        await until(lambda: len(heard.frames) == 2 and heard.greeted)
        assert got == ["one", "two"]
        assert heard.frames == [b"one", b"two"]
        assert (heard.ups, heard.downs) == (1, [])

    play(echo, heard, body)


def test_hello_is_no_faster_than_the_venue_allows():
    """At ten frames a second, four of them take at least three tenths."""
    heard = Heard((b"1", b"2", b"3", b"4"))
    times: list[float] = []

    async def note(connection: ServerConnection) -> None:
        while True:
            await connection.recv()
            times.append(time.monotonic())

    async def body(_server: Server, _socket: Socket) -> None:
        await until(lambda: len(times) == 4)
        assert times[-1] - times[0] >= 0.28

    play(note, heard, body, SocketSettings(frames_per_second=10.0))


def test_a_burst_is_one_batch():
    """Frames that have arrived while nobody looked come in one piece."""
    heard = Heard()
    told = asyncio.Event()

    async def burst(connection: ServerConnection) -> None:
        await told.wait()
        for number in range(1000):
            await connection.send(b"%d" % number + b" " * 300)
        await connection.wait_closed()

    async def body(_server: Server, _socket: Socket) -> None:
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

    async def body(_server: Server, _socket: Socket) -> None:
        await until(lambda: len(heard.frames) == 200)
        assert [int(frame) for frame in heard.frames] == list(range(200))

    play(chatter, heard, body)


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011])
def test_a_closed_connection_is_made_again(code):
    """Whatever the code, the last frames are delivered, the reason told, and hello said anew."""
    heard = Heard((b"hi",))

    async def leave(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(b"last words")
        await connection.close(code)

    async def body(_server: Server, _socket: Socket) -> None:
        await until(lambda: heard.ups >= 3)
        assert len(heard.frames) >= 2
        assert str(code) in heard.downs[0]

    play(leave, heard, body)


def test_a_reset_connection_is_made_again():
    """A TCP reset is as good as a close."""
    heard = Heard()

    async def reset(connection: ServerConnection) -> None:
        connection.transport.abort()

    async def body(_server: Server, _socket: Socket) -> None:
        await until(lambda: heard.ups >= 3)

    play(reset, heard, body)


def test_a_server_that_is_away_is_tried_for_ever():
    """Refused connections are told and tried again; it comes up when the server does."""

    async def main() -> None:
        heard = Heard()
        async with serve(stay, "127.0.0.1", 0) as server:
            port = port_of(server)
        socket = Socket(f"ws://127.0.0.1:{port}/", heard, QUICK, Budget(300, 300))
        running = asyncio.create_task(socket.run())
        await until(lambda: len(heard.downs) >= 3)
        assert "cannot connect" in heard.downs[0]
        async with serve(stay, "127.0.0.1", port):
            await until(lambda: heard.ups == 1)
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    asyncio.run(main())


def test_a_refused_handshake_obeys_retry_after():
    """HTTP 429 with Retry-After: 1 keeps the socket away for a second."""
    heard = Heard()
    asked: list[float] = []

    def refuse(connection: ServerConnection, _request):
        asked.append(time.monotonic())
        response = connection.respond(http.HTTPStatus.TOO_MANY_REQUESTS, "slow down")
        response.headers["Retry-After"] = "1"
        return response

    async def body(_server: Server, _socket: Socket) -> None:
        await until(lambda: len(asked) == 2)
        assert asked[1] - asked[0] >= 0.99
        assert heard.downs[0] == "handshake refused: HTTP 429"

    play(stay, heard, body, process_request=refuse)


def test_silence_ends_a_connection():
    """A connection that answers pings but brings no frame is given up."""
    heard = Heard()
    settings = SocketSettings(silence_s=0.1, first_retry_s=0.01, last_retry_s=0.05)

    async def body(_server: Server, _socket: Socket) -> None:
        await until(lambda: heard.ups >= 2)
        assert heard.downs[0] == "no frames for too long"

    play(stay, heard, body, settings)


def test_frames_keep_a_connection():
    """As long as anything comes within the limit, nothing is given up."""
    heard = Heard()
    settings = SocketSettings(silence_s=0.2, first_retry_s=0.01, last_retry_s=0.05)

    async def tick(connection: ServerConnection) -> None:
        with contextlib.suppress(Exception):
            while True:
                await connection.send(b"tick")
                await asyncio.sleep(0.05)

    async def body(_server: Server, _socket: Socket) -> None:
        await until(lambda: len(heard.frames) >= 12)
        assert heard.downs == []

    play(tick, heard, body, settings)


def test_an_old_connection_is_renewed():
    """The venue's age limit is met by a reconnect of our own."""
    heard = Heard()
    settings = SocketSettings(max_age_s=0.1, first_retry_s=0.01, last_retry_s=0.05)

    async def body(_server: Server, _socket: Socket) -> None:
        await until(lambda: heard.ups >= 2)
        assert heard.downs[0] == "old enough to be renewed"

    play(stay, heard, body, settings)


def test_whoever_listens_may_ask_for_a_new_connection():
    """As after a shutdown notice; the reason is passed on."""
    heard = Heard()

    async def body(_server: Server, socket: Socket) -> None:
        await until(lambda: heard.ups == 1)
        socket.reconnect("told to leave")
        await until(lambda: heard.ups == 2)
        assert heard.downs == ["told to leave"]

    play(stay, heard, body)


def test_the_venues_limit_on_connects_is_kept():
    """With three connects in 0.4 s, the seventh comes 0.8 s after the first at the earliest."""
    heard = Heard()
    times: list[float] = []

    async def reset(connection: ServerConnection) -> None:
        times.append(time.monotonic())
        connection.transport.abort()

    async def body(_server: Server, _socket: Socket) -> None:
        await until(lambda: len(times) >= 7)
        assert times[6] - times[0] >= 0.75

    settings = SocketSettings(first_retry_s=0.001, last_retry_s=0.001)
    play(reset, heard, body, settings, budget=(3, 0.4))


def test_cancelling_closes_cleanly_and_fast():
    """The server sees a proper close; ours is over within a second, even if it does not answer."""

    async def main() -> None:
        heard = Heard()
        seen: list[int | None] = []

        async def watch(connection: ServerConnection) -> None:
            await connection.wait_closed()
            seen.append(connection.close_code)

        async with serve(watch, "127.0.0.1", 0) as server:
            url = f"ws://127.0.0.1:{port_of(server)}/"
            running = asyncio.create_task(Socket(url, heard, QUICK, Budget(300, 300)).run())
            await until(lambda: heard.ups)
            began = time.monotonic()
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            assert time.monotonic() - began < 1.0
            await until(lambda: seen)
            assert seen == [1000]

    asyncio.run(main())


def test_a_defect_of_the_listener_is_not_hidden():
    """An exception from on_frames ends the socket: it is not the network's fault."""

    class Broken(Heard):
        async def on_frames(self, frames: list[bytes]) -> None:
            raise RuntimeError(f"cannot read {frames}")

    async def speak(connection: ServerConnection) -> None:
        await connection.send(b"x")
        await connection.wait_closed()

    async def main() -> None:
        async with serve(speak, "127.0.0.1", 0) as server:
            url = f"ws://127.0.0.1:{port_of(server)}/"
            socket = Socket(url, Broken(), QUICK, Budget(300, 300))
            with pytest.raises(RuntimeError, match="cannot read"):
                await asyncio.wait_for(socket.run(), 5)

    asyncio.run(main())
