"""`Signals` over a real broker that is killed, forgets, overflows and refuses."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiomqtt
import pytest

from adapters.subscriber.daemon import STREAM, daemon
from adapters.subscriber.world import ANSWERS, Journal, encode, head, signal
from brokers import free_port, mosquitto, needs_mosquitto
from candled_adapters.subscriber import (
    Broker,
    BrokerError,
    Event,
    Go,
    Halt,
    Heard,
    Limits,
    Lost,
    Refused,
    Signals,
    VenueClock,
    client,
)
from fakes import ended, until

WORD = "correct-horse"
QUICK = Limits(hold_s=1.0, grace_s=0.1, patience_s=0.5)


class Bot:
    """A consumer at work, and what it was told."""

    def __init__(self, signals: Signals) -> None:
        self.signals = signals
        self.events: list[Event] = []
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self.signals:
            self.events.append(event)

    def told(self) -> list[tuple[int, bool]]:
        """Return number and whether it could be acted on of each signal."""
        return [(e.signal.seq, e.act) for e in self.events if isinstance(e, Heard)]

    async def ready(self) -> None:
        """Wait until it may act."""
        await until(lambda: self.signals.halted(STREAM) is None, 8, "never ready")

    async def has_told(self, count: int) -> None:
        await until(lambda: len(self.told()) >= count, 8, f"{count} signals, not {self.told()}")


@asynccontextmanager
async def bot(port: int, **options: object) -> AsyncIterator[Bot]:
    """Run a consumer for the length of the block."""
    settings = {"client_id": "bot", "limits": QUICK, **options}
    running = Bot(Signals(f"mqtt://127.0.0.1:{port}", **settings))
    try:
        yield running
    finally:
        await ended(running.task)


def play(tmp_path, scenario: Callable, conf: str = "", seconds: float = 30) -> None:
    with mosquitto(tmp_path, conf=conf) as broker:
        asyncio.run(asyncio.wait_for(scenario(broker), seconds))


@needs_mosquitto
@pytest.mark.parametrize("mqtt5", [True, False])
def test_what_a_broker_lost_is_asked_for(tmp_path, mqtt5):
    """With MQTT 5 and 3.1.1, in pages: what never came is told in order, for the record."""

    async def scenario(broker) -> None:
        at = Broker("127.0.0.1", broker.port, mqtt5=mqtt5)
        consumer = Bot(Signals(at, client_id="bot", limits=QUICK))
        async with daemon(broker.port, page=3) as speaking:
            await consumer.ready()
            await speaking.signals(2)
            for _ in range(7):
                speaking.decide()
            await speaking.signals(1)
            await consumer.has_told(10)
            acts = [True] * 2 + [False] * 7 + [True]
            assert consumer.told() == list(zip(range(1, 11), acts, strict=True))
            assert [request.since_seq for request in speaking.asked] == [2, 5, 8]
            assert not any(isinstance(event, Refused) for event in consumer.events)
        await ended(consumer.task)

    play(tmp_path, scenario)


@needs_mosquitto
def test_a_broker_that_forgets_everything_costs_nothing(tmp_path):
    """Killed with what it had accepted, retained and queued: all is told once, and in order."""

    async def scenario(broker) -> None:
        journal = Journal()
        async with bot(broker.port) as consumer:
            async with daemon(broker.port, journal) as speaking:
                await consumer.ready()
                await speaking.signals(5)
                await consumer.has_told(5)
                for _ in range(20):
                    speaking.decide()  # accepted by the broker, and gone with it
                broker.kill()
                await until(lambda: isinstance(consumer.events[-1], Halt), 5)
            broker.start()
            async with daemon(broker.port, journal) as speaking:
                await speaking.signals(1)
                await speaking.head()
                await consumer.has_told(26)
                await consumer.ready()
                await speaking.signals(1)
                await consumer.has_told(27)
            assert [seq for seq, _ in consumer.told()] == list(range(1, 28))
            assert consumer.told()[26] == (27, True)
            assert [act for _, act in consumer.told()[5:25]] == [False] * 20

    play(tmp_path, scenario)


@needs_mosquitto
def test_a_queue_that_overflows_at_the_broker_costs_nothing(tmp_path):
    """Of 60 signals for a consumer that is away the broker keeps 10; the others are asked for."""

    async def scenario(broker) -> None:
        async with daemon(broker.port) as speaking:
            state = tmp_path / "bot.state"
            async with bot(broker.port, state=state) as consumer:
                await consumer.ready()
                await speaking.signals(3)
                await consumer.has_told(3)
            await speaking.signals(60)
            await speaking.head()
            async with bot(broker.port, state=state) as consumer:
                await consumer.has_told(60)
                assert [seq for seq, _ in consumer.told()] == list(range(4, 64))
            assert len(speaking.asked) == 1

    play(tmp_path, scenario, conf="max_queued_messages 10")


@needs_mosquitto
def test_a_killed_consumer_is_told_the_rest_once(tmp_path):
    """After kill -9 nothing is handed over twice, and at most what was just being handed over not.

    Whether the bot had acted on that one nobody could know.
    """
    program = tmp_path / "bot.py"
    program.write_text(f"""
import asyncio, os, sys
from pathlib import Path
from candled_adapters.subscriber import Heard, Signals
async def main():
    signals = Signals(sys.argv[1], client_id="bot", state=Path({str(tmp_path / "bot.state")!r}))
    async for event in signals:
        os.write(1, b"%d\\n" % (event.signal.seq if isinstance(event, Heard) else 0))
asyncio.run(main())
""")

    async def killed_after(count: int, speaking, port: int) -> list[int]:
        """Let the bot print something, send it 20 signals, kill it after `count` in this life."""
        child = subprocess.Popen(  # noqa: ASYNC220 - a moment
            [sys.executable, str(program), f"mqtt://127.0.0.1:{port}"], stdout=subprocess.PIPE
        )
        printed: list[bytes] = []
        reading = asyncio.create_task(asyncio.to_thread(printed.extend, child.stdout))
        try:
            await until(lambda: printed, 20, "the bot never began")
            await speaking.signals(20)
            await speaking.head()
            await until(lambda: sum(int(line) > 0 for line in printed) >= count, 20)
        finally:
            child.kill()
            await reading
            child.wait()
            child.stdout.close()
        return [int(line) for line in printed if int(line)]

    async def scenario(broker) -> None:
        async with daemon(broker.port) as speaking:
            seen: list[int] = []
            for count in (5, 20, 15):
                seen += await killed_after(count, speaking, broker.port)
            async with bot(broker.port, state=tmp_path / "bot.state") as consumer:
                await consumer.ready()
                await speaking.signals(1)
                await until(lambda: (61, True) in consumer.told())
                seen += [seq for seq, _ in consumer.told()]
            assert seen == sorted(set(seen))
            assert len(seen) >= 58

    play(tmp_path, scenario, seconds=90)


@needs_mosquitto
def test_a_consumer_that_is_slow_judges_when_it_is_handed_the_signal(tmp_path):
    """What became late, or lost its ground, while the bot was busy is not acted on."""

    async def scenario(broker) -> None:
        async with daemon(broker.port) as speaking:
            signals = Signals(f"mqtt://127.0.0.1:{broker.port}", client_id="bot", limits=QUICK)
            heard: list[Heard] = []
            async for event in signals:
                if event == Go(STREAM):
                    await speaking.signals(2)
                    await speaking.signals(1, life_ms=1)
                if not isinstance(event, Heard):
                    continue
                heard.append(event)
                if len(heard) == 3:
                    break
                if len(heard) == 1:
                    assert signals.why_not(event) is None
                    await speaking.status("degraded")
                    await until(lambda: signals.halted(STREAM) == "the service is degraded")
                    assert signals.why_not(event) == "the service is degraded"
            whys = [event.why_not for event in heard]
            assert whys[:2] == [None, "the service is degraded"]
            assert "late" in str(whys[2])

    play(tmp_path, scenario)


@needs_mosquitto
def test_a_consumer_that_is_too_far_behind_is_cut_off_until_it_has_caught_up(tmp_path, monkeypatch):
    """Its memory is bounded: it is halted, the broker keeps the rest, and nothing is lost."""
    monkeypatch.setattr(client, "_MOST_FACTS", 20)

    async def scenario(broker) -> None:
        async with daemon(broker.port) as speaking:
            signals = Signals(f"mqtt://127.0.0.1:{broker.port}", client_id="bot", limits=QUICK)
            heard: list[int] = []
            async for event in signals:
                if event == Go(STREAM) and not heard:
                    await speaking.signals(60)
                    await speaking.head()
                    await until(lambda: "is behind" in str(signals.halted(STREAM)))
                    assert len(signals._facts) <= 25
                if isinstance(event, Heard):
                    heard.append(event.signal.seq)
                    if len(heard) == 60:
                        break
            assert heard == list(range(1, 61))

    play(tmp_path, scenario)


@needs_mosquitto
def test_a_daemon_that_does_not_answer_is_asked_again(tmp_path):
    """Meanwhile signals are told, held for a moment only; the answer comes when it comes."""

    async def scenario(broker) -> None:
        async with daemon(broker.port) as speaking, bot(broker.port) as consumer:
            await consumer.ready()
            speaking.deaf = True
            await speaking.signals(1)
            speaking.decide()
            await speaking.signals(1)
            await consumer.has_told(2)
            assert consumer.told() == [(1, True), (3, True)]
            await until(lambda: len(speaking.asked) >= 2)
            speaking.deaf = False
            await consumer.has_told(3)
            assert consumer.told()[2] == (2, False)

    play(tmp_path, scenario)


@needs_mosquitto
def test_a_new_epoch_is_told_from_its_first_signal(tmp_path):
    """After a lost journal nothing of the new one is missing, though its numbers were told."""

    async def scenario(broker) -> None:
        async with bot(broker.port) as consumer:
            async with daemon(broker.port) as speaking:
                await consumer.ready()
                await speaking.signals(4)
                await consumer.has_told(4)
            async with daemon(broker.port, epoch="e2") as speaking:
                speaking.decide()
                await speaking.signals(2)
                await consumer.has_told(7)
            assert [seq for seq, _ in consumer.told()] == [1, 2, 3, 4, 1, 2, 3]

    play(tmp_path, scenario)


@needs_mosquitto
def test_an_answer_of_a_stranger_is_passed_over(tmp_path):
    """Whoever does not know our question's correlation tells us nothing and loses us nothing."""

    async def scenario(broker) -> None:
        async with daemon(broker.port) as speaking, bot(broker.port) as consumer:
            await consumer.ready()
            speaking.deaf = True
            await speaking.signals(1)
            speaking.decide()
            await speaking.signals(1)
            await until(lambda: speaking.asked)
            forged = {"schema": "candled.replay/1", "stream": STREAM, "epoch": "e1",
                      "since_seq": 1, "last_seq": 2, "first_kept": None, "signals": [],
                      "complete": True, "correlation": "0123456789abcdef"}  # fmt: skip
            async with aiomqtt.Client("127.0.0.1", broker.port) as stranger:
                await stranger.publish(ANSWERS, encode(forged), 1)
                await stranger.publish(ANSWERS, b"[" * 50_000, 1)
            speaking.deaf = False
            await consumer.has_told(3)
            assert not any(isinstance(event, Lost) for event in consumer.events)

    play(tmp_path, scenario)


ACL = """
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/acl
"""


@needs_mosquitto
def test_rights_that_are_missing_are_told(tmp_path):
    """A bot that may not ask, or not hear answers, is told which right to grant, and goes on."""
    (tmp_path / "passwords").touch(0o600)
    for name in ("bot", "daemon"):
        subprocess.run(["mosquitto_passwd", "-b", tmp_path / "passwords", name, WORD], check=True)
    (tmp_path / "acl").write_text(
        "user daemon\ntopic readwrite candled/#\n"
        "user bot\ntopic read candled/status\ntopic read candled/head/#\n"
        "topic read candled/signal/#\n"
    )

    async def scenario(broker) -> None:
        login = {"username": "daemon", "password": WORD}
        address = Broker("127.0.0.1", broker.port, username="bot", password=WORD)
        assert WORD not in repr(address)
        consumer = Bot(Signals(address, client_id="bot", limits=QUICK))
        async with daemon(broker.port, **login) as speaking:
            await consumer.ready()
            await speaking.signals(1)
            speaking.decide()
            await speaking.signals(1)
            await consumer.has_told(2)
            refused = [event for event in consumer.events if isinstance(event, Refused)]
            wanted = "grant write rights on candled/replay/request"
            assert any(wanted in event.why for event in refused), refused
        await ended(consumer.task)

    play(tmp_path, scenario, conf=ACL.format(folder=tmp_path))


@asynccontextmanager
async def granting(*codes: int) -> AsyncIterator[int]:
    """Serve MQTT 5 far enough to answer a subscription with these codes; yields the port."""

    async def packet(reader: asyncio.StreamReader) -> bytes:
        await reader.readexactly(1)
        length, shift = 0, 0
        while (byte := (await reader.readexactly(1))[0]) & 128:
            length, shift = length | (byte & 127) << shift, shift + 7
        return await reader.readexactly(length | byte << shift)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        writer.write(b"\x20\x03\0\0\0")
        asked = await packet(reader)
        writer.write(bytes([0x90, 3 + len(codes), *asked[:2], 0, *codes]))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def test_topics_that_are_not_granted_are_named():
    """Without status, heads or signals there is no use; without answers or corrections there is."""

    async def scenario() -> None:
        async with granting(1, 0x87, 1, 1, 1) as port:
            with pytest.raises(BrokerError, match=r"grant read rights on candled/head/#"):
                async for _ in Signals(f"mqtt://127.0.0.1:{port}", client_id="bot", patient=False):
                    pass
        async with granting(1, 0, 0x87, 1, 1) as port, bot(port) as consumer:
            await consumer.signals.subscribed.wait()
            await until(lambda: any(isinstance(event, Refused) for event in consumer.events))
            refused = [event for event in consumer.events if isinstance(event, Refused)]
            assert [event.topic for event in refused] == [ANSWERS]

    asyncio.run(scenario())


@needs_mosquitto
def test_a_wrong_password_is_told_with_its_mend(tmp_path):
    """An impatient consumer ends with the reason; a patient one tells it and goes on trying."""
    (tmp_path / "passwords").touch(0o600)

    async def scenario(broker) -> None:
        address = Broker("127.0.0.1", broker.port, username="bot", password=WORD)
        with pytest.raises(BrokerError, match="check the user name and the password") as caught:
            async for _ in Signals(address, client_id="bot", patient=False):
                pass
        assert WORD not in str(caught.value)
        consumer = Bot(Signals(address, client_id="bot"))
        await until(lambda: any("password" in getattr(e, "why", "") for e in consumer.events))
        await ended(consumer.task)

    play(tmp_path, scenario, conf=ACL.format(folder=tmp_path).replace("acl_file", "# acl_file"))


def test_a_broker_that_is_not_there_is_waited_for_or_told():
    """Impatient: BrokerError with the mend. Patient: halted, until it is cancelled."""

    async def scenario() -> None:
        url = f"mqtt://127.0.0.1:{free_port()}"
        with pytest.raises(BrokerError, match=r"no connection .* is the broker running\?"):
            async for _ in Signals(url, client_id="bot", patient=False):
                pass
        consumer = Bot(Signals(url, client_id="bot"))
        await until(lambda: consumer.events)
        assert isinstance(consumer.events[0], Halt)
        await ended(consumer.task)

    asyncio.run(scenario())


@needs_mosquitto
def test_a_simulated_venues_time_is_learned(tmp_path):
    """Signals of another year are judged by the clock that they are published by."""

    async def scenario(broker) -> None:
        clock = VenueClock()
        async with daemon(broker.port) as speaking, bot(broker.port, clock=clock) as consumer:
            await until(lambda: any(isinstance(event, Go) for event in consumer.events))
            then = 1_000_000_000_000
            await speaking.say(head(0, now_ms=then), qos=0)
            await consumer.ready()
            await speaking.say(signal(1, now_ms=then, valid_until_ms=then + 60_000))
            await speaking.say(signal(2, now_ms=then, valid_until_ms=then - 1))
            await consumer.has_told(2)
            # The daemon's first, retained head was of this year, and is not learned from.
            assert consumer.told() == [(1, True), (2, False)]

    play(tmp_path, scenario)


@pytest.mark.parametrize("wrong", ["", "a/b", "bot+", "#", "a\n", "x" * 129])
def test_a_client_id_that_is_no_topic_is_refused(wrong):
    """Answers come on a topic that ends with it."""
    with pytest.raises(ValueError, match="client_id"):
        Signals("mqtt://127.0.0.1", client_id=wrong)


@pytest.mark.parametrize("wrong", ["http://x", "mqtt://u:p@x", "127.0.0.1:1883", "mqtt://"])
def test_an_address_that_is_none_is_refused(wrong):
    """With what it must look like, and without repeating a password."""
    with pytest.raises(ValueError, match="must"):
        Broker.at(wrong)


def test_importing_it_brings_no_daemon():
    """A bot's process has none of the daemon's libraries, and is ready at once."""
    code = """
import sys, json, time
began = time.perf_counter()
import candled_adapters.subscriber
print(json.dumps([time.perf_counter() - began, sorted(sys.modules)]))
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    ).stdout
    _seconds, modules = json.loads(out)
    barred = {"numpy", "pandas", "sqlite3", "pydantic", "structlog", "candled", "rich", "typer",
              "httpx", "websockets", "pickle", "sklearn", "xgboost"}  # fmt: skip
    assert barred & set(modules) == set()
