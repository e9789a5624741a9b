"""Candled's way, a process: the real parts as `candled run` joins them, with a stopwatch.

Feed, engine, journal on disk and MQTT sink, run by the service. The stopwatch listens to what the
service and the sink tell anyone who asks: batches that are durable, signals that are accepted.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from candled.bench.children import heard, say
from candled.board import Board
from candled.core.bar import Stream
from candled.core.decision import Policy
from candled.core.engine import Engine, Lane
from candled.journal import open_journal
from candled.ports import Entry, ServiceState
from candled.service import BatchTimes, Service
from candled.telling import Teller
from candled_adapters.artifacts.bundle import load_bundle
from candled_adapters.exchanges.binance import SPOT
from candled_adapters.feeds.feed import VenueFeed
from candled_adapters.sinks.log import configure_logging
from candled_adapters.sinks.mqtt import MqttSink
from candled_adapters.sinks.mqtt_messages import MqttSettings, Voice

_EXCHANGE: Final = "bench"


class _Stopwatch:
    """Collects one burst after another; a burst is over when its last signal is accepted."""

    def __init__(self, streams: int) -> None:
        self.bursts: asyncio.Queue[tuple[list[Entry], list[BatchTimes], int]] = asyncio.Queue()
        self._streams = streams
        self._begin()

    def _begin(self) -> None:
        self._batches: list[BatchTimes] = []
        self._accepted: list[Entry] = []
        self._decided = self._signals = 0

    def durable(self, entries: Sequence[Entry], times: BatchTimes) -> None:
        """Note a batch that is on disk."""
        self._batches.append(times)
        self._decided += len(entries)
        self._signals += sum(entry.decision.is_signal for entry in entries)

    def accepted(self, entries: list[Entry], at_ns: int) -> None:
        """Note signals that the broker has accepted."""
        self._accepted += entries
        if self._decided == self._streams and len(self._accepted) == self._signals:
            self.bursts.put_nowait((self._accepted, self._batches, at_ns))
            self._begin()


async def _run() -> None:
    commands = heard()
    settings = await anext(commands, None)
    if settings is None:
        return  # the bench has ended
    stopwatch = _Stopwatch(len(settings["symbols"]))
    mqtt = MqttSettings(
        settings["host"],
        settings["port"],
        base_topic="bench/candled",
        client_id="bench-candled",
    )
    feed = VenueFeed(
        _EXCHANGE, SPOT, websocket_base=settings["websocket"], rest_base=settings["rest"]
    )
    board = Board(lambda: time.time_ns() // 1_000_000)
    journal = open_journal(Path(settings["state"]))
    service = Service(
        engine=Engine(_lanes(settings)),
        journal=journal,
        feeds=[feed],
        sinks=[MqttSink(mqtt, lambda _: feed.clock, dict, on_acked=stopwatch.accepted)],
        board=board,
        tell=Teller(board),
        observer=stopwatch.durable,
    )
    voice = Voice(mqtt, lambda _: feed.clock, dict, mqtt.client_id, journal.epoch)
    stop = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(service.run(stop))
            telling = tasks.create_task(_tell(stopwatch, board, voice))
            async for _ in commands:
                pass
            telling.cancel()
            stop.set()
    finally:
        journal.close()


def _lanes(settings: dict[str, Any]) -> list[Lane]:
    bundle = load_bundle(Path(settings["bundle"]))
    policy = Policy(threshold=settings["threshold"], regime=bundle.manifest.regime)
    return [
        Lane(Stream(_EXCHANGE, symbol, bundle.model.interval), bundle.model, policy)
        for symbol in settings["symbols"]
    ]


async def _tell(stopwatch: _Stopwatch, board: Board, voice: Voice) -> None:
    """Say when all streams are live, then how each burst went; the first with its messages."""
    health = board.health
    while health.state is not ServiceState.ONLINE:
        health = await board.changed(health)
    say({"ready": True})
    first = True
    while True:
        entries, batches, accepted_ns = await stopwatch.bursts.get()
        said: dict[str, object] = {
            "accepted_ns": accepted_ns,
            "batches": len(batches),
            "received_ns": max(batch.received_ns for batch in batches),
            "taken_ns": batches[-1].taken_ns,
            "decided_ns": batches[-1].decided_ns,
            "durable_ns": batches[-1].durable_ns,
            "signals": [_signal(entry) for entry in entries],
        }
        if first:
            sent = [message for entry in entries for message in voice.decision(entry, ())]
            said["messages"] = [(m.topic, m.payload.decode(), m.expiry or 1) for m in sent]
            first = False
        say(said)


def _signal(entry: Entry) -> tuple[object, ...]:
    decision, odds = entry.decision, entry.decision.probabilities
    answer = (odds.no_trade, odds.long, odds.short) if odds else None
    return decision.stream.symbol, decision.bar_open, decision.side.value, answer


if __name__ == "__main__":
    configure_logging(sys.stderr, "json", "warning")
    asyncio.run(_run())
