"""The subscribing application as a process: it writes down what it is told before it goes on.

Its diary is its only memory: what it was told is on record by one write, and after a kill -9 it
asks for what is numbered above. Its venue clock is asked of the venue, which may run fast.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from candled_adapters.subscriber import Event, Go, Halt, Heard, Limits, Lost, Signals
from chaos.diary import Diary, Line


@dataclass(frozen=True, slots=True)
class Settings:
    """What it is told on the command line, as JSON."""

    port: int
    diary: str
    rest: str
    speed: float
    """Venue seconds in one of ours."""
    streams: tuple[str, ...]
    hold_s: float


def venue_clock(rest: str, speed: float) -> Callable[[], int]:
    """Ask the venue for its time once; return a clock (UTC ms) that goes on from there."""
    before = time.monotonic()
    with urllib.request.urlopen(f"{rest}/api/v3/time", timeout=5) as answer:  # noqa: S310 - loopback
        asked_ms = json.load(answer)["serverTime"]
    return lambda: int(asked_ms + (time.monotonic() - before) * 1000 * speed)


def whole_until(lines: list[Line], streams: tuple[str, ...]) -> dict[str, int]:
    """Return the number up to which everything is on record, of each stream's newest epoch."""
    known: dict[str, set[int]] = {stream: set() for stream in streams}
    epochs: dict[str, str] = defaultdict(str)
    for line in lines:
        if line["kind"] == "signal":
            if epochs[line["stream"]] != line["epoch"]:
                known[line["stream"]] = set()
            epochs[line["stream"]] = line["epoch"]
            known[line["stream"]].add(line["seq"])
    return {
        stream: next(n for n in count(0) if n + 1 not in numbers)
        for stream, numbers in known.items()
    }


async def live(settings: Settings) -> None:
    diary = Diary(Path(settings.diary))
    seen = {line["id"] for line in diary.lines if line["kind"] == "signal"}
    now_ms = venue_clock(settings.rest, settings.speed)
    signals = Signals(
        f"mqtt://127.0.0.1:{settings.port}",
        client_id="bot",
        streams=settings.streams,
        since=whole_until(diary.lines, tuple(settings.streams)),
        clock=now_ms,
        limits=Limits(hold_s=settings.hold_s),
    )
    telling = asyncio.create_task(tell_ready(diary, signals.subscribed))
    async for event in signals:
        at_ns = time.time_ns()
        if isinstance(event, Heard) and event.signal.id in seen:
            continue  # on record before a kill
        line = line_of(event, now_ms())
        if line is not None:
            diary.write({**line, "at_ns": at_ns})
    await telling


async def tell_ready(diary: Diary, subscribed: asyncio.Event) -> None:
    await subscribed.wait()
    diary.write({"kind": "ready", "at_ns": time.time_ns()})


def line_of(event: Event, now_ms: int) -> Line | None:
    """Return what is put on record of an event; None when it is of no account here."""
    match event:
        case Heard():
            said = event.signal
            return {
                "kind": "signal", "id": said.id, "stream": event.stream, "epoch": said.epoch,
                "seq": said.seq, "acted": event.act, "late": now_ms >= said.valid_until_ms,
                "why_not": event.why_not, "replayed": event.replayed,
            }  # fmt: skip
        case Halt():
            return {"kind": "halt", "stream": event.stream, "why": event.why}
        case Go():
            return {"kind": "go", "stream": event.stream}
        case Lost():
            return {"kind": "lost", "stream": event.stream, "last": event.last}
        case _:
            return None


if __name__ == "__main__":
    asyncio.run(live(Settings(**json.loads(sys.argv[1]))))
