"""What is left on the broker when the service ends because something failed: why, and no 'live'."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiomqtt
import pytest

from brokers import mosquitto, needs_mosquitto
from candled.board import Board
from candled.core.bar import Bar, Bars, Stream
from candled.core.decision import BarClosed, Source
from candled.core.engine import Engine
from candled.core.features.mar import MAR
from candled.errors import Exit, explain
from candled.journal import JournalUnavailableError, open_journal
from candled.ports import Emit, History, Resume, StreamHealth, StreamState
from candled.service import Service
from candled.telling import Teller
from candled_adapters.sinks.mqtt import MqttSettings, MqttSink
from candles import candles
from fakes import FixedClock, ended, until
from models import lane

pytestmark = needs_mosquitto

BTC = Stream("binance", "BTCUSDT", "1h")
HEAD = f"candled/head/{BTC.path}"
NOW = 1_900_000_000_000
_AT_ONCE = 20  # bars that close together


@contextmanager
def tiny_disk(place: Path) -> Iterator[Path]:
    """Mount a file system of 1 MB."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a tiny disk can only be mounted as root")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


class EndlessFeed:
    """Reports a history and a bar; then, when it may, bars as long as anybody takes them."""

    exchange = "binance"

    def __init__(self, bars: Bars, *, fails: bool = False) -> None:
        self.clock = FixedClock(NOW)
        self.may_go_on = False
        self._history = bars[: MAR.history]
        self._bars = [_closed(bar) for bar in bars[MAR.history :]]
        self._fails = fails

    async def run(self, resume: list[Resume], emit: Emit) -> None:
        del resume
        await emit([History(BTC, self._history, from_listing=False)])
        await emit([StreamHealth(BTC, StreamState.LIVE, ""), self._bars[0]])
        await until(lambda: self.may_go_on)
        if self._fails:
            raise RuntimeError("the venue is a toaster")
        for first in range(1, len(self._bars), _AT_ONCE):
            await emit(self._bars[first : first + _AT_ONCE])
            await asyncio.sleep(0.002)
        raise AssertionError("the disk has room for everything")


def _closed(bar: Bar) -> BarClosed:
    at = bar.close_time + 20
    return BarClosed(BTC, bar, Source.WS, at * 1_000_000, at)


@asynccontextmanager
async def listening(port: int) -> AsyncIterator[dict[str, list[dict[str, object]]]]:
    """Collect what is said, by topic."""
    said: dict[str, list[dict[str, object]]] = {}
    version = aiomqtt.ProtocolVersion.V5
    async with aiomqtt.Client("127.0.0.1", port, protocol=version) as client:
        await client.subscribe("candled/#", qos=1)

        async def collect() -> None:
            async for message in client.messages:
                said.setdefault(str(message.topic), []).append(json.loads(message.payload))

        task = asyncio.create_task(collect())
        try:
            yield said
        finally:
            await ended(task)


def serve(folder: Path, port: int, feed: EndlessFeed) -> tuple[BaseException, dict]:
    """Run a service until it fails; return its failure and what was said on each topic."""

    async def body() -> tuple[BaseException, dict]:
        journal, board = open_journal(folder), Board(lambda: NOW)
        settings = MqttSettings("127.0.0.1", port)
        sink = MqttSink(settings, lambda _: feed.clock, dict, streams=[BTC])
        service = Service(
            engine=Engine([lane(BTC)]),
            journal=journal,
            feeds=[feed],
            sinks=[sink],
            board=board,
            tell=Teller(board),
        )
        try:
            async with listening(port) as said:
                running = asyncio.create_task(service.run(asyncio.Event()))
                await until(lambda: said.get(HEAD))
                assert said[HEAD][-1]["stream_state"] == "live"
                feed.may_go_on = True
                await asyncio.wait([running], timeout=30)
                await until(lambda: said["candled/status"][-1]["state"] == "offline")
                await until(lambda: said[HEAD][-1]["stream_state"] is None)
                failure = running.exception()
                assert failure is not None
                return failure, said
        finally:
            journal.close()

    return asyncio.run(body())


def test_a_full_disk_is_told_by_the_last_status_and_the_last_heads(tmp_path: Path):
    """Consumers learn why, from the service itself and not from its will; a restart may mend it."""
    with tiny_disk(tmp_path / "disk") as disk, mosquitto(tmp_path) as broker:
        failure, said = serve(disk, broker.port, EndlessFeed(candles(MAR.history + 2_000, seed=3)))
        status = said["candled/status"][-1]
        (why,) = status["reasons"]
        assert f"{disk / 'candled.journal'}: database or disk is full" in why
        assert status["since"] is not None  # a will has none
        head = said[HEAD][-1]
        assert (head["stream_state"], head["stream_reason"]) == (None, why)
        known = explain(failure)
        assert known is not None
        assert known[1] == Exit.TEMPORARY
    assert JournalUnavailableError.__name__ in repr(failure)


def test_a_bug_in_a_part_is_told_as_well(tmp_path: Path):
    """Whatever nobody foresaw is named by its kind and text."""
    feed = EndlessFeed(candles(MAR.history + 1, seed=3), fails=True)
    with mosquitto(tmp_path) as broker:
        _, said = serve(tmp_path / "state", broker.port, feed)
    assert said["candled/status"][-1]["reasons"] == [
        "feed binance failed: RuntimeError: the venue is a toaster"
    ]
