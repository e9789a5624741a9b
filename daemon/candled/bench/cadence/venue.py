"""The cadence bench's venue, a process: the simulator as Binance spot.

It keeps a book of the venue's real limits and tells what it saw when it is asked.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Final

from candled.bench.children import heard, say
from candled.core.bar import Interval
from candled.simulate import synthetic_start
from candled_adapters.simulator.generator import generate_many
from candled_adapters.simulator.limits import LIMITS
from candled_adapters.simulator.server import Simulator

_VENUE: Final = "binance-spot"
_LINGER_S: Final = 3_600.0


def _simulator(settings: dict[str, Any]) -> Simulator:
    """Play `slots` bars after `history` ones, each pushed `updates` times while it is open."""
    interval = Interval(settings["interval"])
    count = settings["history"] + settings["slots"] + 1
    bars = generate_many(
        settings["seed"], settings["symbols"], interval, synthetic_start(interval), count
    )
    return Simulator(
        bars,
        interval,
        start_at=settings["history"],
        bars=settings["slots"],
        updates=settings["updates"],
        speed=settings["speed"],
        linger=_LINGER_S,
        limits=LIMITS[_VENUE],
    )


def _seen(venue: Simulator) -> dict[str, Any]:
    """Return what clients did, and when the clock began (wall ns, as of now)."""
    messages = [json.loads(frame.data) for frame in venue.frames]
    began_ns = time.time_ns() - round(venue.clock.due(venue.now_ms()) * 1e9)
    return {
        "began_ns": began_ns,
        "start_ms": venue.clock.start_ms,
        "connections": venue.connections,
        "subscribed": sum(message.get("method") == "SUBSCRIBE" for message in messages),
        "frames_sent": venue.frames_sent,
        "breaches": [f"{breach.kind}: {breach.detail}" for breach in venue.breaches],
    }


async def _serve() -> None:
    commands = heard()
    settings = await anext(commands, None)
    if settings is None:
        return  # the bench has ended
    async with _simulator(settings) as venue:
        say({"websocket": venue.ws_url, "rest": venue.rest_url})
        async for _ in commands:
            say(_seen(venue))


if __name__ == "__main__":
    asyncio.run(_serve())
