"""What challengers would signal is published beside the signals, and never among them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiomqtt

from brokers import Mosquitto, free_port, mosquitto, needs_mosquitto
from candled.core.decision import Side
from candled.ports import Entry
from candled_adapters.sinks.mqtt import MqttSink
from candled_adapters.sinks.mqtt_link import Dial
from candled_adapters.sinks.mqtt_messages import MqttSettings
from candled_adapters.sinks.shadows import NAME, ROUND, ShadowTeller
from fakes import BTC, EVENING_MS, Board, Decisions, FixedClock, MemoryOutbox, ended, until
from mqtt_tap import tap

pytestmark = needs_mosquitto


def settings(port: int, **changes: object) -> MqttSettings:
    return replace(MqttSettings("127.0.0.1", port, backoff_max=0.2), **changes)


def clock(_exchange: str) -> FixedClock:
    return FixedClock(EVENING_MS)


@asynccontextmanager
async def telling(
    mqtt: MqttSettings, shadows: MemoryOutbox, board: Board
) -> AsyncIterator[asyncio.Task[None]]:
    dial = Dial(mqtt)
    teller = ShadowTeller(
        mqtt,
        clock,
        connect=dial.follow,
        protocol=lambda: mqtt_of(mqtt),
        give_way=lambda: asyncio.sleep(0),
    )
    task = asyncio.create_task(teller.run(shadows, board))
    try:
        yield task
    finally:
        await ended(task)


def mqtt_of(mqtt: MqttSettings) -> str:
    return "5" if mqtt.protocol == "auto" else mqtt.protocol


@asynccontextmanager
async def listening(broker: Mosquitto, topic: str = "candled/#") -> AsyncIterator[list]:
    heard: list[aiomqtt.Message] = []

    async def hear(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            heard.append(message)  # noqa: PERF401 - for who looks meanwhile

    async with aiomqtt.Client("127.0.0.1", broker.port, identifier="ear") as client:
        await client.subscribe(topic, qos=1)
        task = asyncio.create_task(hear(client))
        try:
            yield heard
        finally:
            await ended(task)


def some(count: int) -> list[Entry]:
    made = Decisions()
    return [made.make([Side.LONG, Side.FLAT, Side.SHORT][at % 3]) for at in range(count)]


def test_only_signals_are_told_in_order_and_never_retained(tmp_path: Path):
    """On the shadow topic, with a schema of their own and nothing that a bot could act upon."""
    entries = some(2 * ROUND + 7)
    shadows, board = MemoryOutbox(entries), Board()

    async def run() -> list[aiomqtt.Message]:
        with mosquitto(tmp_path) as broker:
            async with listening(broker) as heard, telling(settings(broker.port), shadows, board):
                await until(lambda: shadows.position(NAME) == entries[-1].position)
                await until(lambda: len(heard) == sum(e.seq is not None for e in entries))
            async with listening(broker) as later:
                await asyncio.sleep(0.1)
            assert later == []
            return heard

    heard = asyncio.run(run())
    said = [json.loads(message.payload) for message in heard]
    assert {str(message.topic) for message in heard} == {f"candled/shadow/{BTC.path}"}
    assert [one["id"] for one in said] == [e.decision.id for e in entries if e.seq is not None]
    assert [one["seq"] for one in said] == [e.seq for e in entries if e.seq is not None]
    assert {one["schema"] for one in said} == {"candled.shadow/1"}
    assert not {"live", "valid_until", "valid_until_ms"} & set(said[0])
    assert all(message.qos == 1 and not message.retain for message in heard)
    assert board.reports == []


def test_nothing_is_lost_with_the_broker(tmp_path: Path):
    """It goes on after the last one that was accepted: the order is kept, some are said twice."""
    making = Decisions()
    shadows, board = MemoryOutbox(), Board()

    def all_marked() -> bool:
        return shadows.position(NAME) == shadows.entries[-1].position

    async def run() -> list[object]:
        with mosquitto(tmp_path) as broker:
            async with tap(broker.port) as wire, telling(settings(wire.port), shadows, board):
                for _ in range(3):
                    shadows.add(*making.some(2 * ROUND))
                    await until(lambda: shadows.position(NAME) > shadows.entries[-ROUND].position)
                    wire.cut()
                    shadows.add(*making.some(20))
                    await until(all_marked)
                    broker.kill()
                    shadows.add(*making.some(5))
                    await until(lambda: board.remarks and board.remarks[-1][1])
                    broker.start()
                await until(all_marked)
                return [said.payload["id"] for said in wire.topics("/shadow/")]

    ids = asyncio.run(run())
    assert list(dict.fromkeys(ids)) == [entry.decision.id for entry in shadows.entries]
    assert board.reports == []
    marks = [position for _, position in shadows.marks]
    assert marks == sorted(marks)


def test_only_what_was_accepted_is_marked(tmp_path: Path):
    """A broker that stands still has accepted nothing; what it did not is said again."""
    making = Decisions()
    shadows, board = MemoryOutbox(making.some(3)), Board()

    async def run() -> None:
        with mosquitto(tmp_path) as broker:
            mqtt = settings(broker.port, publish_timeout=0.3)
            async with (
                tap(broker.port) as wire,
                telling(replace(mqtt, port=wire.port), shadows, board),
            ):
                await until(lambda: shadows.position(NAME) == 3)
                broker.freeze()
                shadows.add(*making.some(3))
                await until(lambda: board.remarks[-1][1])
                assert len(wire.topics("/shadow/")) == 6
                assert shadows.position(NAME) == 3
                broker.thaw()
                await until(lambda: shadows.position(NAME) == 6)
                assert len(wire.topics("/shadow/")) == 9

    asyncio.run(run())


def test_what_is_refused_is_told_and_delays_no_signal(tmp_path: Path):
    """Without the right to shadow topics the champion's signals go out, and all is online."""
    (tmp_path / "passwd").touch(0o600)
    (tmp_path / "acl").write_text(
        "".join(
            f"topic readwrite candled/{part}\n"
            for part in ("status", "info", "signal/#", "head/#", "event/#", "digest/#", "check/#")
        )
    )
    conf = f"allow_anonymous true\nacl_file {tmp_path}/acl"
    for protocol in ("5", "3.1.1"):
        champion, shadows = MemoryOutbox(Decisions().some(5)), MemoryOutbox(some(5))
        board, other = Board(), Board()

        async def run(protocol: str, champion: MemoryOutbox, shadows: MemoryOutbox,
                      board: Board, other: Board) -> None:  # fmt: skip
            folder = tmp_path / protocol
            folder.mkdir()
            with mosquitto(folder, conf=conf) as broker:
                mqtt = settings(broker.port, protocol=protocol, replay=False, publish_timeout=0.3)
                if protocol == "5":
                    sink = MqttSink(mqtt, clock, lambda: b"{}", streams=[BTC])
                    task = asyncio.create_task(sink.run(champion, other))
                else:  # where its own rights are proven, which is another test's
                    task = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
                async with telling(mqtt, shadows, board):
                    await until(lambda: board.remarks and board.remarks[-1][1])
                    if protocol == "5":
                        await until(lambda: champion.position("mqtt") == 5)
                        await until(lambda: other.problem is None)
                await ended(task)

        asyncio.run(run(protocol, champion, shadows, board, other))
        assert shadows.position(NAME) == 0
        assert "candled/shadow/" in str(board.remarks[-1][1]), protocol
        assert board.reports == []


def test_with_mqtt_311_the_right_is_proven_and_then_they_are_told(tmp_path: Path):
    """The proof is on a topic where no stream can be."""
    entries = Decisions().some(3)
    shadows, board = MemoryOutbox(entries), Board()

    async def run() -> list[tuple[str, str]]:
        with mosquitto(tmp_path) as broker:
            mqtt = settings(broker.port, protocol="3.1.1")
            async with listening(broker) as heard, telling(mqtt, shadows, board):
                await until(lambda: len(heard) == 4)
                return [(str(m.topic), json.loads(m.payload)["schema"]) for m in heard]

    heard = asyncio.run(run())
    assert heard[0] == ("candled/shadow/check/candled-shadow/check", "candled.check/1")
    assert heard[1:] == [(f"candled/shadow/{BTC.path}", "candled.shadow/1")] * 3
    assert shadows.position(NAME) == 3


def test_a_broker_that_is_away_is_told_as_a_remark():
    """Nobody acts upon shadows: the service is not degraded by it."""
    shadows, board = MemoryOutbox(some(3)), Board()

    async def run() -> None:
        async with telling(settings(free_port()), shadows, board):
            await until(lambda: board.remarks)

    asyncio.run(run())
    assert board.remarks[0][0] == NAME
    assert board.reports == []
