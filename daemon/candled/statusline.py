"""The line by which `systemctl status` says how the daemon is doing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from candled.core.bar import Stream
from candled.core.text import visible
from candled.notify import mention
from candled.ports import Health, HealthBoard, StreamState

_PAUSE_S: Final = 1.0
_LENGTH: Final = 300


def status_line(health: Health, states: Collection[StreamState | None]) -> str:
    """Return one line: how many streams are live, and the first reason of what is wrong."""
    live = sum(state is StreamState.LIVE for state in states)
    count = str(live) if live == len(states) else f"{live} of {len(states)}"
    first = f"; {health.reasons[0]}" if health.reasons else ""
    more = f" (and {len(health.reasons) - 1} more)" if len(health.reasons) > 1 else ""
    return visible(f"{count} streams live{first}"[:_LENGTH] + more)


async def keep_status(
    board: HealthBoard, streams: Collection[Stream], say: Callable[[str], None] = mention
) -> None:
    """Tell systemd until cancelled, whenever something has changed, once a second at most."""
    while True:
        health = board.health
        seen = [board.stream(stream) for stream in streams]
        states = [None if one is None else one.state for one in seen]
        say(f"STATUS={status_line(health, states)}")
        await asyncio.sleep(_PAUSE_S)
        await board.changed(health)
