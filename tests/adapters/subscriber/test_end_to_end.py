"""The daemon's sink, a real broker as Debian ships it, and a consumer: nothing is lost between.

Each broker here does what brokers do: it forgets on kill -9 what it had acknowledged, it drops what
exceeds its queue, and it loses what it retained.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiomqtt
import pytest

from adapters.subscriber.world import encode, signal
from brokers import Mosquitto, mosquitto, needs_mosquitto
from candled.core.bar import MINUTE, Stream
from candled.core.decision import Side
from candled.ports import Entry, StreamHealth, StreamState
from candled_adapters.protocol.signing import Verifier, make_key
from candled_adapters.sinks.mqtt import MqttSettings, MqttSink
from candled_adapters.sinks.mqtt_messages import Sign
from candled_adapters.subscriber import Heard, Limits, Lost, Refused, Signals
from candled_adapters.subscriber.rules import Verify
from fakes import BTC, EVENING_MS, Board, Decisions, FixedClock, MemoryOutbox, ended, until

pytestmark = needs_mosquitto

ETH = Stream("binance", "ETHUSDT", "1m")
#: /etc/mosquitto/mosquitto.conf of the package, and what it leaves to the broker's own defaults.
DEBIAN = """
persistence true
persistence_location {folder}/
max_queued_messages 1000
max_inflight_messages 20
"""


class House:
    """A daemon's sink and its journal, and the consumers of one test."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self.folder = folder
        self.clock = FixedClock(EVENING_MS)
        self.outbox = MemoryOutbox()
        self.board = Board()
        self.decisions = Decisions()
        self.heard: list[Heard] = []
        self.lost: list[Lost] = []
        self.refused: list[Refused] = []
        for stream in (BTC, ETH):
            self.board.note(StreamHealth(stream, StreamState.LIVE, ""))

    @property
    def signals(self) -> list[Entry]:
        return [entry for entry in self.outbox.entries if entry.seq is not None]

    def decide(self, count: int) -> None:
        """Decide so many bars of two streams; they are valid as if each had just closed."""
        sides = (Side.LONG, Side.FLAT, Side.SHORT)
        entries = [self.decisions.make(sides[i % 3], (BTC, ETH)[i % 2]) for i in range(count)]
        valid = EVENING_MS + MINUTE
        self.outbox.add(
            *(replace(e, decision=replace(e.decision, valid_until=valid)) for e in entries)
        )

    @asynccontextmanager
    async def daemon(self, sign: Sign | None = None) -> AsyncIterator[None]:
        settings = MqttSettings(
            "127.0.0.1", self.port, backoff_max=0.3, head_refresh=0.5, sign=sign
        )
        sink = MqttSink(settings, lambda _: self.clock, dict, streams=(BTC, ETH))
        task = asyncio.create_task(sink.run(self.outbox, self.board))
        try:
            yield
        finally:
            await ended(task)

    @asynccontextmanager
    async def consumer(self, verify: Verify | None = None) -> AsyncIterator[Signals]:
        signals = Signals(
            f"mqtt://127.0.0.1:{self.port}",
            client_id="bot",
            state=self.folder / "bot.state",
            since=0,
            verify=verify,
            clock=lambda: self.clock.now,
            limits=Limits(hold_s=10.0, patience_s=1.0),
        )
        task = asyncio.create_task(self._listen(signals))
        try:
            await until(signals.subscribed.is_set)
            yield signals
        finally:
            await ended(task)

    async def _listen(self, signals: Signals) -> None:
        async for event in signals:
            if isinstance(event, Heard):
                self.heard.append(event)
            if isinstance(event, Lost):
                self.lost.append(event)
            if isinstance(event, Refused):
                self.refused.append(event)

    async def delivered(self) -> None:
        last = self.outbox.entries[-1].position
        await until(lambda: self.outbox.position("mqtt") == last, 10, "not delivered")

    async def all_heard(self) -> None:
        """Wait until as many were told as were decided; then all of them, once and in order."""
        wanted = self.signals
        await until(lambda: len(self.heard) >= len(wanted), 15, f"{len(wanted)} signals")
        for stream in (BTC, ETH):
            seqs = [h.signal.seq for h in self.heard if h.stream == stream.path]
            assert seqs == [e.seq for e in wanted if e.decision.stream == stream]
        assert {h.signal.id for h in self.heard} == {e.decision.id for e in wanted}
        assert self.lost == []


def play(folder: Path, scenario: Callable[[Mosquitto, House], object]) -> None:
    with mosquitto(folder, conf=DEBIAN.format(folder=folder)) as broker:
        house = House(broker.port, folder)
        asyncio.run(asyncio.wait_for(scenario(broker, house), 50))


def test_a_broker_that_is_killed_loses_nothing(tmp_path):
    """Three kill -9 amid a flood of signals: all are told once and in order."""

    async def scenario(broker: Mosquitto, house: House) -> None:
        async with house.consumer(), house.daemon():
            for _ in range(3):
                house.decide(600)
                before = len(house.heard)
                await until(lambda before=before: len(house.heard) > before + 50)
                broker.restart()
            house.decide(30)
            await house.delivered()
            await house.all_heard()

    play(tmp_path, scenario)


def test_a_queue_that_overflows_loses_nothing(tmp_path):
    """A consumer that is away misses 1,400 signals, of which the broker keeps 1,000."""

    async def scenario(_broker: Mosquitto, house: House) -> None:
        async with house.daemon():
            async with house.consumer():
                house.decide(30)
                await house.all_heard()
            house.decide(2_100)
            await house.delivered()
            async with house.consumer():
                await house.all_heard()
            replayed = sum(heard.replayed for heard in house.heard)
            assert 390 <= replayed < 1_400

    play(tmp_path, scenario)


def test_a_broker_that_forgot_all_when_both_were_away_loses_nothing(tmp_path):
    """No session, no retained head, no queue: what was acknowledged is told all the same.

    And what is decided when all are back may be acted on.
    """

    async def scenario(broker: Mosquitto, house: House) -> None:
        async with house.daemon():
            async with house.consumer():
                house.decide(30)
                await house.all_heard()
            house.decide(60)
            await house.delivered()
        broker.kill()
        (tmp_path / "mosquitto.db").unlink(missing_ok=True)
        broker.start()
        async with house.consumer() as signals, house.daemon():
            await house.all_heard()
            await until(lambda: not any(map(signals.halted, (BTC.path, ETH.path))), 10)
            house.decide(6)
            await house.all_heard()
            assert [heard.why_not for heard in house.heard[-4:]] == [None] * 4

    play(tmp_path, scenario)


def test_a_daemon_that_stops_halts_its_consumers(tmp_path):
    """A clean stop, a stream that holds and a degraded service are all reasons not to act."""

    async def scenario(_broker: Mosquitto, house: House) -> None:
        async with house.consumer() as signals:
            async with house.daemon():
                house.decide(6)
                await until(lambda: signals.halted(BTC.path) is None)
                house.board.note(StreamHealth(BTC, StreamState.HOLDING, "a bar is missing"))
                wanted = "the stream is holding: a bar is missing"
                await until(lambda: signals.halted(BTC.path) == wanted)
                assert signals.halted(ETH.path) is None
            await until(lambda: signals.halted(ETH.path) == "the service is offline: stopped")

    play(tmp_path, scenario)


def test_only_what_the_daemons_key_signed_is_believed(tmp_path):
    """Signals, answers, heads and the status prove themselves; a stranger's signal does not."""
    pytest.importorskip("cryptography")
    signer = make_key(tmp_path / "key.pem")
    verify = Verifier.trusting([signer.public_key]).problem

    async def scenario(_broker: Mosquitto, house: House) -> None:
        async with house.consumer(verify) as signals, house.daemon(signer.properties):
            house.decide(6)
            await house.all_heard()
            await until(lambda: signals.halted(BTC.path) is None)
            async with aiomqtt.Client("127.0.0.1", house.port) as stranger:
                forged = encode(signal(house.signals[-1].seq + 1, stream=BTC.path))
                await stranger.publish(f"candled/signal/{BTC.path}", forged, 1)
            await until(lambda: house.refused)
            assert house.refused == [Refused(f"candled/signal/{BTC.path}", "is not signed")]
            house.decide(6)
            await house.all_heard()
            assert house.heard[-1].act

    play(tmp_path, scenario)
