"""The proxy's weather does what it says, and never what TCP forbids."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.proxy import FAIR, HOLE, Proxy, Weather

SOON_S = 5.0

weathers = st.builds(
    Weather,
    latency_s=st.floats(0, 0.01),
    jitter_s=st.floats(0, 0.01),
    bytes_per_s=st.sampled_from([float("inf"), 1e6]),
    drip=st.sampled_from([1, 7, 16_384]),
)


class Ends:
    """Both ends of one connection through a proxy."""

    proxy: Proxy

    def __init__(self) -> None:
        self.got: bytearray = bytearray()
        """What the server received."""
        self.over = asyncio.Event()
        """The server's end is over."""
        self.answer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answer = writer
        try:
            while chunk := await reader.read(65_536):
                self.got += chunk
        except OSError:
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            self.over.set()


@asynccontextmanager
async def through(
    weather: Weather,
) -> AsyncIterator[tuple[Ends, asyncio.StreamReader, asyncio.StreamWriter]]:
    ends = Ends()
    server = await asyncio.start_server(ends.serve, "127.0.0.1", 0)
    async with Proxy(server.sockets[0].getsockname()[1]) as proxy:
        proxy.weather = weather
        ends.proxy = proxy
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        try:
            yield ends, reader, writer
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
    if ends.answer is not None:
        await asyncio.wait_for(ends.over.wait(), SOON_S)
    server.close()
    await server.wait_closed()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not true():  # noqa: ASYNC110 - sockets tell nobody
            await asyncio.sleep(0.002)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=6), st.lists(weathers, min_size=1, max_size=4))
def test_bytes_are_neither_changed_nor_swapped_nor_lost(
    chunks: list[bytes], changes: list[Weather]
):
    """Under any latency, jitter, limit and drip, changing on the way, all bytes arrive in order."""

    async def scenario() -> None:
        async with through(changes[0]) as (ends, _, writer):
            for number, chunk in enumerate(chunks):
                ends.proxy.weather = changes[number % len(changes)]
                writer.write(chunk)
                await writer.drain()
            await until(lambda: len(ends.got) >= sum(map(len, chunks)))
            assert bytes(ends.got) == b"".join(chunks)

    asyncio.run(scenario())


def test_latency_holds_back_and_does_not_throttle():
    """A chunk is late by the latency, and many at once are no later than one."""

    async def scenario() -> None:
        async with through(Weather(latency_s=0.1)) as (ends, _, writer):
            began = time.monotonic()
            for _ in range(20):
                writer.write(b"x" * 100)
                await asyncio.sleep(0)
            await until(lambda: len(ends.got) == 2_000)
            assert 0.1 <= time.monotonic() - began < 1.0

    asyncio.run(scenario())


def test_a_limit_throttles():
    """So many bytes take at least as long as the limit says."""

    async def scenario() -> None:
        async with through(Weather(bytes_per_s=10_000, drip=100)) as (ends, _, writer):
            began = time.monotonic()
            writer.write(b"x" * 2_000)
            await until(lambda: len(ends.got) == 2_000)
            assert time.monotonic() - began > 0.15

    asyncio.run(scenario())


def test_a_cut_ends_in_the_middle_of_what_was_said():
    """Exactly so many bytes arrive; then both ends see that it is over, the client by a reset."""

    async def scenario() -> None:
        async with through(Weather(cut_after=150)) as (ends, reader, writer):
            writer.write(b"x" * 100)
            await until(lambda: len(ends.got) == 100)
            writer.write(b"y" * 100)
            await asyncio.wait_for(ends.over.wait(), SOON_S)
            assert bytes(ends.got) == b"x" * 100 + b"y" * 50
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(1), SOON_S)

    asyncio.run(scenario())


def test_a_reset_is_seen_by_both_ends():
    """Every connection ends with a reset, and new ones may be had at once."""

    async def scenario() -> None:
        async with through(FAIR) as (ends, reader, writer):
            writer.write(b"x")
            await until(lambda: ends.got == b"x")
            ends.proxy.reset()
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(1), SOON_S)
            await asyncio.wait_for(ends.over.wait(), SOON_S)
            await until(lambda: ends.proxy.connections == 0)
            _, again = await asyncio.open_connection("127.0.0.1", ends.proxy.port)
            again.write(b"z")
            await until(lambda: ends.got == b"xz")
            again.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("up", [True, False])
def test_silence_may_be_one_way_only(up: bool):  # noqa: FBT001 - a parameter
    """What the weather swallows stays away while the other way is open; it comes when it clears."""

    async def scenario() -> None:
        async with through(FAIR) as (ends, reader, writer):
            writer.write(b"-")
            await until(lambda: ends.got == b"-")
            ends.proxy.weather = Weather(up=up, down=not up)
            assert ends.answer is not None
            ends.answer.write(b"answer")
            writer.write(b"x")
            heard = asyncio.create_task(reader.readexactly(6))
            if up:
                await until(lambda: ends.got == b"-x")
                assert not heard.done()
            else:
                assert await asyncio.wait_for(heard, SOON_S) == b"answer"
                assert ends.got == b"-"
            ends.proxy.weather = FAIR
            await until(lambda: ends.got == b"-x")
            assert await asyncio.wait_for(heard, SOON_S) == b"answer"

    asyncio.run(scenario())


def test_a_hole_takes_new_connections_and_says_nothing():
    """A new connection is accepted, nothing passes, and nobody is told."""

    async def scenario() -> None:
        async with through(HOLE) as (ends, reader, writer):
            writer.write(b"x")
            await until(lambda: ends.answer is not None)
            ends.answer.write(b"y")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.1)
            assert not ends.got

    asyncio.run(scenario())


def test_a_refusal_is_a_reset_at_once():
    """Who connects is sent away without a byte, and the target never hears of it."""

    async def scenario() -> None:
        async with through(Weather(refuse=True)) as (ends, reader, _):
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(1), SOON_S)
            assert ends.answer is None

    asyncio.run(scenario())
