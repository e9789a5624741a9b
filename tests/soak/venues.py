"""The venues of a soak, a process: simulators side by side, each misbehaving as the plan says.

Says where they are, and when asked writes down what finally is the truth: the bars as their history
shows them once all is over.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np

from candled.bench.children import heard, say
from candled.core.bar import COLUMNS, Bars
from candled_adapters.simulator.market import Query
from candled_adapters.simulator.server import Simulator
from candled_adapters.simulator.venues import VENUES
from contract.cases import CASES
from soak.plan import HOURLY, SYMBOLS, Plan

LINGER_S = 3_600.0


def simulator(plan: Plan, venue: str) -> Simulator:
    return Simulator(
        plan.candles(venue), HOURLY, venue=VENUES[venue], speed=3600.0 * plan.pace,
        start_at=plan.start_at(venue), bars=plan.played, linger=LINGER_S,
        scenario=plan.scenario(venue),
    )  # fmt: skip


def final(name: str, venue: Simulator, symbol: str) -> Bars:
    """Return all bars that the venue's history shows now, with the columns that the venue has."""
    now, tape = venue.now_ms(), venue.market.tapes[symbol]
    change = venue._answerer._wrong_rows(set(), now, tape)
    shown = list(tape.klines(Query(len(tape.bars)), now, change))
    case = next(case for case in CASES if case.name == name)
    return Bars.of([case.shown(kline.bar) for kline in shown if kline.closed])


def write_truth(venues: dict[str, Simulator], path: Path) -> None:
    tables = {
        f"{name} {symbol} {column}": getattr(bars, column)
        for name, venue in venues.items()
        for symbol in SYMBOLS[name]
        for bars in [final(name, venue, symbol)]
        for column in COLUMNS
    }
    np.savez(path, **tables)


def summary(venues: dict[str, Simulator]) -> dict[str, Any]:
    kinds = Counter(entry.kind for v in venues.values() for entry in v._scenario.entries)
    return {
        "faults": dict(kinds.most_common()),
        "frames": sum(venue.frames_sent for venue in venues.values()),
        "connections": {name: venue._connections_made for name, venue in venues.items()},
    }


async def serve() -> None:
    commands = heard()
    plan = Plan.told(await anext(commands))
    venues = {name: simulator(plan, name) for name in SYMBOLS}
    async with AsyncExitStack() as stack:
        for venue in venues.values():
            await stack.enter_async_context(venue)
        say({"urls": {name: [v.ws_url, v.rest_url] for name, v in venues.items()}})
        async for command in commands:
            write_truth(venues, Path(command["path"]))
            say(summary(venues))


if __name__ == "__main__":
    asyncio.run(serve())
