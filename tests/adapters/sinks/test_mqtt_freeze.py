"""Brokers, name servers and event loops that hang."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from brokers import mosquitto, needs_mosquitto
from candled.core.bar import Stream
from candled_adapters.sinks.mqtt import MqttSink
from candled_adapters.sinks.mqtt_link import Link, LinkError
from candled_adapters.sinks.mqtt_messages import Message, MqttSettings
from candled_adapters.sinks.mqtt_pulse import Pulse
from candled_adapters.sinks.mqtt_session import HEAD_SLICE
from fakes import EVENING_MS, Board, Decisions, FixedClock, MemoryOutbox, ended, until
from raw_broker import Call, raw_broker, read_packet

WILL = Message("candled/status", b"{}", retain=True)


def quick(port: int, **changes: object) -> MqttSettings:
    """Return settings under which a frozen broker is left after about 0.9 s."""
    usual = MqttSettings("127.0.0.1", port, keepalive=1, publish_timeout=0.3, backoff_max=0.2)
    return replace(usual, **changes)


@asynccontextmanager
async def pauses() -> AsyncIterator[list[float]]:
    """Collect how long (s) the loop took from one look to the next, beyond 5 ms."""
    seen = [0.0]

    async def look() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            seen.append(time.monotonic() - before - 0.005)

    task = asyncio.create_task(look())
    try:
        yield seen
    finally:
        await ended(task)


@needs_mosquitto
def test_a_frozen_broker_is_noticed_while_nothing_is_under_way(tmp_path: Path):
    """Told within half a keepalive and the publish timeout; back again when it thaws."""

    async def scenario(broker) -> None:
        board = Board()
        sink = MqttSink(quick(broker.port), lambda _: FixedClock(0), lambda: {"v": 1})
        task = asyncio.create_task(sink.run(MemoryOutbox(), board))
        await until(lambda: board.reports and board.problem is None)
        broker.freeze()
        frozen = time.monotonic()
        await until(lambda: "has not answered for 0.3 s" in str(board.problem), 5.0)
        assert time.monotonic() - frozen > 0.3
        broker.thaw()
        await until(lambda: board.problem is None)
        await ended(task)

    with mosquitto(tmp_path) as broker:
        try:
            asyncio.run(scenario(broker))
        finally:
            broker.thaw()


@needs_mosquitto
def test_while_the_broker_is_frozen_nothing_blocks_and_nothing_piles_up(tmp_path: Path):
    """Socket buffer full, then connecting anew: the loop goes on, and what waits is bounded."""
    links: list[Link] = []

    def connect(settings: MqttSettings, will: Message) -> Link:
        links.append(Link(settings, will))
        return links[-1]

    async def scenario(broker) -> None:
        decisions, board = Decisions(), Board()
        streams = [Stream("binance", f"S{i}", "1m") for i in range(500)]
        outbox = MemoryOutbox([decisions.make(stream=stream) for stream in streams])
        sink = MqttSink(
            quick(broker.port), lambda _: FixedClock(EVENING_MS), lambda: {"v": 1}, connect=connect
        )
        task = asyncio.create_task(sink.run(outbox, board))
        await until(lambda: outbox.position("mqtt") == 500)
        await until(lambda: board.problem is None)
        broker.freeze()
        async with pauses() as seen, asyncio.timeout(30):
            waiting = 0
            while "no connection" not in str(board.problem) or len(links) < 3:
                if len(outbox.entries) < 5_000:
                    outbox.add(*[decisions.make(stream=stream) for stream in streams[:50]])
                await asyncio.sleep(0.001)
                waiting = max(waiting, *(len(link._client._out_packet) for link in links))
                waiting = max(waiting, *(len(link._flying) for link in links))
        assert max(seen) < 0.5  # a call that waits for the broker would take until it thaws
        assert waiting <= 100 + HEAD_SLICE + 5
        broker.thaw()
        last = outbox.entries[-1].position
        await until(lambda: outbox.position("mqtt") == last, 20.0)
        await ended(task)

    with mosquitto(tmp_path) as broker:
        try:
            asyncio.run(scenario(broker))
        finally:
            broker.thaw()


@needs_mosquitto
def test_our_own_pauses_are_not_held_against_the_broker(tmp_path: Path):
    """A loop that hangs for several patiences, with a message and a ping out, loses nothing."""

    async def scenario(port: int) -> None:
        async with Link(quick(port, publish_timeout=0.1), WILL) as link:
            for _ in range(2):
                ack = await link.send(Message("candled/x", b"{}"))
                time.sleep(0.35)  # noqa: ASYNC251 - the hang that this is about
                await ack
                before = link._pulse.now
                time.sleep(0.35)  # noqa: ASYNC251
                await until(lambda before=before: link._pulse.now > before + 2)
            assert not link._lost.done()

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


def test_a_name_server_that_hangs_holds_up_neither_the_loop_nor_the_end(monkeypatch):
    """Entering fails in time, and the process need not wait for the resolver."""
    hang = threading.Event()

    def look_up(*_arguments: object, **_named: object) -> list[object]:
        hang.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    async def scenario() -> None:
        async with pauses() as seen:
            with pytest.raises(LinkError, match=r"no connection to mqtt://.*no answer in time"):
                await Link(quick(1883), WILL).__aenter__()
        assert max(seen) < 0.25
        entering = asyncio.create_task(Link(quick(1883, publish_timeout=60.0), WILL).__aenter__())
        await asyncio.sleep(0)
        await ended(entering)

    start = time.monotonic()
    try:
        asyncio.run(scenario())
        assert time.monotonic() - start < 5
    finally:
        hang.set()


def test_who_is_connecting_when_everything_is_cancelled_ends():
    """Nobody waits for a thread that never began: all threads were busy, and the end came first."""

    async def scenario(port: int) -> None:
        loop, busy = asyncio.get_running_loop(), threading.Event()
        pool = ThreadPoolExecutor(1)
        loop.set_default_executor(pool)
        loop.run_in_executor(None, busy.wait, 30)
        entering = asyncio.create_task(Link(quick(port), WILL).__aenter__())
        entering.add_done_callback(lambda _: busy.set())
        await until(lambda: pool._work_queue.qsize() == 1)  # and now `asyncio.run` cancels all

    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        running = threading.Thread(target=lambda: asyncio.run(scenario(port)), daemon=True)
        running.start()
        running.join(20)
        assert not running.is_alive()


def test_a_name_that_is_not_known_is_told():
    """With the key that mends it."""

    async def scenario() -> None:
        settings = MqttSettings("no-such-host.invalid", publish_timeout=5.0)
        with pytest.raises(LinkError, match=r"its name is not known: correct mqtt.url"):
            await Link(settings, WILL).__aenter__()

    asyncio.run(scenario())


def test_of_several_addresses_the_first_that_answers_is_taken(monkeypatch):
    """One that is mute takes its share of the patience only."""
    with socket.create_server(("127.0.0.1", 0)) as there, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", address)
            for address in (closed.getsockname(), there.getsockname())
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_named: found)

        async def scenario() -> None:
            entering = asyncio.create_task(Link(quick(1), WILL).__aenter__())
            taken, _ = await asyncio.to_thread(there.accept)
            taken.close()
            with pytest.raises(LinkError, match="closed before it was answered"):
                await entering

        asyncio.run(scenario())


def test_an_idle_connection_is_kept_up_by_pings():
    """The broker hears of us, and its answers count as signs of life."""

    async def play(call: Call) -> None:
        call.accept()
        await call.serve()

    async def scenario() -> None:
        async with (
            raw_broker(play) as broker,
            Link(quick(broker.port, publish_timeout=0.1), WILL) as link,
        ):
            await until(lambda: broker.calls[0].pings >= 3)
            assert not link._lost.done()

    asyncio.run(scenario())


def test_a_broker_that_answers_pings_and_no_messages_is_left():
    """A message that is not acknowledged in time ends the connection, alive or not."""

    async def play(call: Call) -> None:
        call.accept()
        while True:
            kind, _ = await read_packet(call.reader)
            if kind >> 4 == 12:
                call.say(b"\xd0\x00")

    async def scenario() -> None:
        async with raw_broker(play) as broker, Link(quick(broker.port), WILL) as link:
            ack = await link.send(Message("candled/x", b"{}"))
            async with asyncio.timeout(5):
                with pytest.raises(LinkError, match=r"has not answered for 0.3 s"):
                    await ack

    asyncio.run(scenario())


def test_a_keepalive_that_the_broker_insists_on_is_kept():
    """The pulse beats as often as the shorter of both asks for."""

    async def play(call: Call) -> None:
        call.accept(b"\x13\x00\x01")
        await call.serve()

    async def scenario() -> None:
        async with raw_broker(play) as broker:
            settings = quick(broker.port, keepalive=60, publish_timeout=9.0)
            async with Link(settings, WILL) as link:
                assert link._pulse.seconds == Pulse(1, 9.0).seconds

    asyncio.run(scenario())


def test_a_socket_that_was_closed_is_not_watched():
    """Its number may belong to another one by then."""

    async def play(call: Call) -> None:
        call.accept()
        await call.serve()

    async def scenario() -> None:
        async with raw_broker(play) as broker, Link(quick(broker.port), WILL) as link:
            with socket.socket() as other:
                link._watch_room(link._client, other)
                assert not asyncio.get_running_loop().remove_writer(other)

    asyncio.run(scenario())
