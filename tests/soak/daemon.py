"""The daemon's side of a soak, a process: the live parts as `candled run` joins them, no broker.

Feeds, engine, journal on disk and the log of decisions, run by the service. Twice a second it says
what it has counted since it started, because it is killed now and then.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from candled.bench.children import heard, say
from candled.board import Board
from candled.core.engine import Engine
from candled.journal import Journal, open_journal
from candled.ports import Incident
from candled.service import Service
from candled.telling import Teller
from candled_adapters.artifacts.bundle import load_bundle
from candled_adapters.feeds.feed import VenueFeed
from candled_adapters.sinks.log import LogSettings, LogSink, configure_logging
from soak.plan import SETTINGS, dialect, lanes

EVERY_S = 0.5


async def run() -> None:
    commands = heard()
    settings = await anext(commands)
    folder = Path(settings["folder"])
    feeds = [
        VenueFeed(name, dialect(name), websocket_base=urls[0], rest_base=urls[1], settings=SETTINGS)
        for name, urls in settings["urls"].items()
    ]
    incidents: Counter[str] = Counter()

    def met(incident: Incident) -> None:
        incidents[f"{incident.hazard.value} {incident.act.value}"] += 1

    board = Board(lambda: time.time_ns() // 1_000_000)
    journal = open_journal(folder / "state")
    service = Service(
        engine=Engine(lanes(load_bundle(folder / "bundle").model)),
        journal=journal,
        feeds=feeds,
        sinks=[LogSink(LogSettings(folder / "decisions.jsonl", max_bytes=20_000_000, backups=1))],
        board=board,
        tell=Teller(board, met),
    )
    stop = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(service.run(stop))
            telling = tasks.create_task(tell(journal, feeds, incidents))
            async for _ in commands:
                pass
            telling.cancel()
            stop.set()
    finally:
        journal.close()


async def tell(journal: Journal, feeds: list[VenueFeed], incidents: Counter[str]) -> None:
    while True:
        await asyncio.sleep(EVERY_S)
        stats = {feed.exchange: asdict(feed.stats) for feed in feeds}
        newest = {e.decision.stream: e.decision.bar_open for e in journal.latest()}
        say(
            {"position": journal.last_position, "streams": len(newest),
             "all_to": min(newest.values(), default=0), "stats": stats,
             "incidents": dict(incidents)}
        )  # fmt: skip


if __name__ == "__main__":
    configure_logging(sys.stderr, "json", "warning")
    asyncio.run(run())
