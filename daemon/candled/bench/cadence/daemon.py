"""The cadence bench's daemon, a process: feed, engine and journal as `candled run` joins them.

Without a broker: it is over when a decision is durable. Says when all streams are live, and when
it is asked what it has counted and when each decision was durable.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
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

_EXCHANGE: Final = "bench"


class _Book:
    """When each decision was durable."""

    def __init__(self) -> None:
        self.decided: list[tuple[str, int, int, int]] = []
        """Symbol, open time (UTC ms), wall times of receipt and of the commit (ns)."""

    def durable(self, entries: Sequence[Entry], times: BatchTimes) -> None:
        """Note a batch that is on disk."""
        self.decided += [
            (e.decision.stream.symbol, e.decision.bar_open, e.received_ns, times.durable_ns)
            for e in entries
        ]


def _feed(settings: dict[str, Any]) -> VenueFeed:
    limits = replace(SPOT.limits, streams_per_connection=settings["per_connection"])
    return VenueFeed(
        _EXCHANGE,
        replace(SPOT, limits=limits),
        websocket_base=settings["websocket"],
        rest_base=settings["rest"],
    )


def _lanes(settings: dict[str, Any]) -> list[Lane]:
    bundle = load_bundle(Path(settings["bundle"]))
    policy = Policy(threshold=bundle.model.threshold, regime=bundle.manifest.regime)
    streams = [Stream(_EXCHANGE, symbol, settings["interval"]) for symbol in settings["symbols"]]
    return [Lane(stream, bundle.model, policy) for stream in streams]


async def _run() -> None:
    commands = heard()
    settings = await anext(commands, None)
    if settings is None:
        return  # the bench has ended
    book, board = _Book(), Board(lambda: time.time_ns() // 1_000_000)
    feed, journal = _feed(settings), open_journal(Path(settings["state"]))
    service = Service(
        engine=Engine(_lanes(settings)),
        journal=journal,
        feeds=[feed],
        sinks=[],
        board=board,
        tell=Teller(board),
        observer=book.durable,
    )
    stop = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(service.run(stop))
            telling = tasks.create_task(_tell_live(board))
            async for _ in commands:
                say({"stats": asdict(feed.stats), "decided": book.decided})
            telling.cancel()
            stop.set()
    finally:
        journal.close()


async def _tell_live(board: Board) -> None:
    health = board.health
    while health.state is not ServiceState.ONLINE:
        health = await board.changed(health)
    say({"live": True})


if __name__ == "__main__":
    configure_logging(sys.stderr, "json", "warning")
    asyncio.run(_run())
