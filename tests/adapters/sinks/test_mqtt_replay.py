"""The sink hears who missed signals and answers, at no live signal's cost."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from structlog.testing import capture_logs

import virtual_time
from brokers import mosquitto, needs_mosquitto
from candled.core.decision import Side
from candled_adapters.sinks.mqtt import MqttSettings, MqttSink
from candled_adapters.sinks.mqtt_link import LinkError
from candled_adapters.sinks.mqtt_messages import Heard, Message
from fakes import BTC, EVENING_MS, Board, Decisions, FixedClock, MemoryOutbox, ended, until

REQUEST = "candled/replay/request"
RESPONSE = "candled/replay/response"
ASK = json.dumps({"stream": BTC.path, "since_seq": 0}).encode()


class World:
    """A sink at work, and what it works with."""

    def __init__(self, settings: MqttSettings, connect: Callable | None = None) -> None:
        self.outbox = MemoryOutbox()
        self.board = Board()
        sink = MqttSink(
            settings,
            lambda _exchange: FixedClock(EVENING_MS),
            lambda: {"version": "1"},
            streams=[BTC],
            **({"connect": connect} if connect else {}),
        )
        self.task = asyncio.create_task(sink.run(self.outbox, self.board))

    async def delivered(self) -> None:
        last = self.outbox.entries[-1].position
        await until(lambda: self.outbox.position("mqtt") == last, what="all delivered")

    def problems(self, part: str = "mqtt replay") -> list[str | None]:
        return [problem for name, problem in self.board.reports if name == part]


@asynccontextmanager
async def working(settings: MqttSettings, connect: Callable | None = None) -> AsyncIterator[World]:
    world = World(settings, connect)
    try:
        yield world
    finally:
        await ended(world.task)


def quick(port: int, **changes: object) -> MqttSettings:
    patient = MqttSettings("127.0.0.1", port, status_beat=60.0)
    return replace(patient, backoff_max=0.3, **changes)


# --- with a real broker


class Bot:
    """Asks and collects what it is answered."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client = client
        self.got: list[aiomqtt.Message] = []

    async def ask(self, payload: bytes = ASK, topic: str | None = None, data: bytes = b"") -> None:
        asking = Properties(PacketTypes.PUBLISH)
        if topic:
            asking.ResponseTopic = topic
        if data:
            asking.CorrelationData = data
        await self.client.publish(REQUEST, payload, qos=1, properties=asking)

    async def answer(self, count: int = 1) -> dict[str, object]:
        """Wait for the answer with this number and return what it says."""
        await until(lambda: len(self.got) >= count, what=f"answer {count}")
        said: dict[str, object] = json.loads(self.got[count - 1].payload)
        return said


@asynccontextmanager
async def bot(port: int, topic: str = f"{RESPONSE}/#") -> AsyncIterator[Bot]:
    version = aiomqtt.ProtocolVersion.V5
    async with aiomqtt.Client("127.0.0.1", port, protocol=version) as client:
        await client.subscribe(topic, qos=1)
        asking = Bot(client)

        async def collect() -> None:
            async for message in client.messages:
                asking.got.append(message)

        task = asyncio.create_task(collect())
        try:
            yield asking
        finally:
            await ended(task)


def seqs(said: dict[str, object]) -> list[int]:
    return [signal["seq"] for signal in said["signals"]]  # type: ignore[attr-defined]


@needs_mosquitto
def test_who_missed_signals_asks_for_them_and_gets_them(tmp_path):
    """With a response topic, or with one in the payload; also after the broker was away."""

    async def scenario(broker) -> None:
        async with working(quick(broker.port)) as world:
            world.outbox.add(*Decisions().some(250))
            await world.delivered()
            async with bot(broker.port) as asking:
                await asking.ask(topic=f"{RESPONSE}/bot", data=b"\x00\x07")
                first = await asking.answer()
                message = asking.got[0]
                assert str(message.topic) == f"{RESPONSE}/bot"
                assert (message.qos, message.retain) == (1, False)
                assert message.properties.CorrelationData == b"\x00\x07"
                assert (first["correlation"], first["complete"]) == ("\x00\x07", False)
                since = seqs(first)[-1]
                assert seqs(first) == list(range(1, since + 1))
                rest = {"stream": BTC.path, "since_seq": since, "epoch": "epoch-1"}
                old = {"reply_to": f"{RESPONSE}/old", "correlation": "9"}
                await asking.ask(json.dumps(rest | old).encode())
                second = await asking.answer(2)
                assert str(asking.got[1].topic) == f"{RESPONSE}/old"
                assert (second["correlation"], seqs(second)[0]) == ("9", since + 1)
            broker.restart()
            async with bot(broker.port) as asking:
                await until(lambda: world.board.reports[-1] == ("mqtt", None))

                async with asyncio.timeout(5):
                    while not asking.got:
                        await asking.ask(topic=f"{RESPONSE}/bot")
                        await asyncio.sleep(0.02)
                assert seqs(await asking.answer()) == list(range(1, since + 1))

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker))


@needs_mosquitto
def test_a_request_cannot_make_the_sink_speak_elsewhere(tmp_path):
    """Nothing is said on a signal's topic or any other, and the log tells, once for many."""
    rogue = [f"candled/signal/{BTC.path}", "candled/status", f"{RESPONSE}/a/b", "elsewhere"]

    async def scenario(port: int) -> None:
        async with working(quick(port)) as world, bot(port, "#") as asking:
            await until(lambda: world.board.reports and world.board.problem is None)
            await until(lambda: len(asking.got) >= 2)  # status and info
            asking.got.clear()
            for topic in rogue * 5:
                await asking.ask(topic=topic)
                old = {"stream": BTC.path, "since_seq": 0, "reply_to": topic}
                await asking.ask(json.dumps(old).encode())
            await asking.ask(topic=f"{RESPONSE}/end")
            others = {"candled/replay/request"}

            def said() -> set[str]:
                return {str(message.topic) for message in asking.got} - others

            await until(lambda: f"{RESPONSE}/end" in said())
            assert said() == {f"{RESPONSE}/end"}

    with mosquitto(tmp_path) as broker, capture_logs() as logs:
        asyncio.run(scenario(broker.port))
    refused = [line for line in logs if line["event"] == "replay request refused"]
    assert len(refused) == 1
    assert f"wants the answer on 'candled/signal/{BTC.path}'" in refused[0]["why"]


@needs_mosquitto
def test_signals_go_on_where_answers_may_not_be_written(tmp_path):
    """A broker that cuts the connection over an answer is heard ever later; signals go on."""
    acl = tmp_path / "acl"
    parts = ("signal", "head", "digest", "status", "info", "replay/request")
    lines = [f"topic write candled/{part}/#" for part in parts]
    acl.write_text("\n".join(["topic read #", *lines]) + "\n")
    acl.chmod(0o700)

    async def scenario(port: int) -> None:
        made = Decisions()
        async with working(quick(port)) as world, bot(port) as asking:

            def refusals() -> int:
                said = world.problems("mqtt")
                return sum(f"message on {RESPONSE}/bot" in (text or "") for text in said)

            async with asyncio.timeout(10):
                while refusals() < 2:
                    world.outbox.add(made.make(Side.LONG))
                    await world.delivered()
                    await asking.ask(topic=f"{RESPONSE}/bot")
                    await asyncio.sleep(0.02)
            await until(lambda: "for 2 s" in str(world.problems()[-1:]))
            world.outbox.add(*made.some(50))
            await world.delivered()
            assert not asking.got

    with mosquitto(tmp_path, conf=f"acl_file {acl}") as broker:
        asyncio.run(scenario(broker.port))


def documented(program: str, port: int) -> list[str]:
    """Return the command of docs/topics.md that begins with `program`, for this port."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if path is None:
        pytest.skip(f"no {program} here: apt-get install mosquitto-clients")
    docs = Path(__file__).parents[3] / "docs/topics.md"
    (line,) = re.findall(
        rf"^    {program} (.*)", docs.read_text().replace("\\\n", ""), re.MULTILINE
    )
    return [path, "-p", str(port), *shlex.split(line.removesuffix("&"))]


@needs_mosquitto
def test_the_documented_commands_work(tmp_path):
    """What docs/topics.md tells people to type asks for signals and shows the answer."""

    async def scenario(port: int) -> None:
        async with working(quick(port)) as world:
            world.outbox.add(*Decisions().some(19))
            await world.delivered()
            listen = await asyncio.create_subprocess_exec(
                *documented("mosquitto_sub", port), "-C", "1", "-W", "5",
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                ended_now = asyncio.ensure_future(listen.wait())
                while listen.returncode is None:  # until it has subscribed
                    ask = documented("mosquitto_pub", port)
                    await asyncio.to_thread(subprocess.run, ask, check=True)
                    await asyncio.wait({ended_now}, timeout=0.1)
                assert listen.stdout is not None
                answer = json.loads(await listen.stdout.read())
            finally:
                if listen.returncode is None:
                    listen.kill()
                    await listen.wait()
            assert (seqs(answer), answer["correlation"]) == ([18, 19], "1")

    with mosquitto(tmp_path) as broker:
        asyncio.run(scenario(broker.port))


# --- with a connection that is played, to see the order of things


class Played:
    """A broker that accepts, one message at each step of the loop, or as it is told."""

    def __init__(self) -> None:
        self.connections = 0
        self.said: list[Message] = []
        """What was accepted, or sent without acknowledgement."""
        self.flying: list[Message] = []
        self.requests: asyncio.Queue[Heard] = asyncio.Queue()
        self.on_listen: Callable[[Line], None] = lambda _line: None
        self.listened: list[float] = []

    def connect(self, _settings: MqttSettings, _will: Message) -> Line:
        self.connections += 1
        return Line(self)

    def on(self, part: str) -> list[Message]:
        return [message for message in self.said if part in message.topic]


class Line:
    """One connection to it; implements `Wire`."""

    def __init__(self, broker: Played) -> None:
        self._broker = broker
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def cut(self, text: str = "was lost") -> None:
        if not self._end.done():
            self._end.set_exception(LinkError(text))
            self._end.exception()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.cut()

    async def leave(self) -> None:
        pass

    async def lost(self) -> None:
        await asyncio.shield(self._end)

    async def send(self, message: Message) -> asyncio.Future[None]:
        ack: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._broker.flying.append(message)

        def accept() -> None:
            self._broker.flying.remove(message)
            self._broker.said.append(message)
            if not ack.done():
                ack.set_result(None)

        asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_soon(accept))
        return ack

    def send_unacked(self, message: Message) -> None:
        self._broker.said.append(message)

    async def listen(self, topic: str) -> None:
        assert topic == REQUEST
        self._broker.listened.append(asyncio.get_running_loop().time())
        self._broker.on_listen(self)
        if self._end.done():
            await asyncio.sleep(60)  # the end is told elsewhere first

    async def heard(self) -> AsyncIterator[Heard]:
        while True:
            yield await self._broker.requests.get()


def asked(client: str = "bot", since: int = 0) -> Heard:
    body = json.dumps({"stream": BTC.path, "since_seq": since}).encode()
    return Heard(
        REQUEST, body, retained=False, response_topic=f"{RESPONSE}/{client}", correlation=None
    )


def test_live_signals_go_before_answers_and_an_answer_is_one_at_a_time():
    """Under a flood of requests nothing that is decided waits, but for one answer on its way."""

    class Watched(Played):
        """Looks at the moment of each answer."""

        outbox: MemoryOutbox

        def connect(self, settings: MqttSettings, will: Message) -> Line:
            line, broker = super().connect(settings, will), self
            send = line.send

            async def watched(message: Message) -> asyncio.Future[None]:
                if RESPONSE in message.topic:
                    undelivered = broker.outbox.after(broker.outbox.position("mqtt"), 1)
                    assert not undelivered, "an answer went before a decision"
                    assert not [m for m in broker.flying if RESPONSE in m.topic], "two at once"
                return await send(message)

            line.send = watched
            return line

    async def scenario() -> None:
        broker, made = Watched(), Decisions()
        async with working(MqttSettings("played"), broker.connect) as world:
            broker.outbox = world.outbox
            await until(lambda: broker.listened)
            for number in range(600):
                broker.requests.put_nowait(asked(f"bot{number % 60}"))
                if number % 3 == 0:
                    world.outbox.add(*made.some(1 + number % 5))
                await asyncio.sleep(0)
            await world.delivered()
            await until(broker.requests.empty)
            await until(lambda: not broker.flying)
            answers = [json.loads(message.payload) for message in broker.on(RESPONSE)]
            assert 50 <= sum(answer["error"] is None for answer in answers) <= 60
            assert 100 <= len(answers) <= 120  # the rest was told when to come back, or nothing
            assert not world.task.done()
            live = [json.loads(message.payload) for message in broker.on("/signal/")]
            assert [signal["seq"] for signal in live] == list(range(1, len(live) + 1))
            assert len(live) == len(world.outbox.entries)
            for message in broker.on(RESPONSE):  # none tells what was not delivered before it
                before = broker.said[: broker.said.index(message)]
                delivered = sum("/signal/" in other.topic for other in before)
                assert json.loads(message.payload)["last_seq"] <= delivered

    virtual_time.run(scenario(), wall_ms=EVENING_MS)


def test_a_broker_that_lets_nobody_listen_still_gets_the_signals():
    """The board tells with the mend, it is tried again ever later, and heals when it may."""

    async def scenario() -> None:
        broker = Played()
        refusing = True

        def refuse(_line: Line) -> None:
            if refusing:
                raise LinkError("no right to read")

        broker.on_listen = refuse
        async with working(MqttSettings("played"), broker.connect) as world:
            world.outbox.add(*Decisions().some(20))
            await world.delivered()
            await until(lambda: len(broker.listened) == 2, 3)
            assert world.problems() == [
                "nobody is answered: no right to read; or set mqtt.replay = false"
            ]
            assert broker.connections == 1
            assert 0.99 <= broker.listened[1] - broker.listened[0] < 2
            assert len(broker.on("/signal/")) == 20
            refusing = False
            await until(lambda: world.problems()[-1] is None, 4)
            broker.requests.put_nowait(asked())
            await until(lambda: broker.on(RESPONSE))

    virtual_time.run(scenario(), wall_ms=EVENING_MS)


def test_a_broker_that_ends_the_connection_when_we_listen_is_asked_ever_later():
    """Between two attempts, over all connections, there are 1, 2, 4 ... seconds of delivery."""

    async def scenario() -> None:
        broker, made = Played(), Decisions()
        broker.on_listen = lambda line: line.cut("go away")
        settings = MqttSettings("played", backoff_min=0.001, backoff_max=0.001)
        async with working(settings, broker.connect) as world:
            await until(lambda: len(broker.listened) == 2, 3)
            first, second = broker.listened
            assert second - first >= 0.99
            world.outbox.add(*made.some(20))
            await world.delivered()
            assert broker.connections <= 3
            broker.on_listen = lambda _line: None
            await until(lambda: len(broker.listened) == 3, 4)
            assert broker.listened[2] - second >= 1.99

    virtual_time.run(scenario(), wall_ms=EVENING_MS)


def test_replay_can_be_turned_off():
    """Then nothing is listened to."""

    async def scenario() -> None:
        broker = Played()
        async with working(MqttSettings("played", replay=False), broker.connect) as world:
            world.outbox.add(*Decisions().some(3))
            await world.delivered()
            await until(lambda: broker.on("/head/"))
            assert not broker.listened

    virtual_time.run(scenario(), wall_ms=EVENING_MS)
