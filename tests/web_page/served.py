"""The real view and server in this process, fed from a scripted world, on a port of their own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from brokers import free_port
from candled.core.bar import Stream
from candled.ports import Act, Hazard, Incident, StreamHealth, StreamState
from candled_adapters.web.files import PAGE, chart_script, page_files
from candled_adapters.web.seat import Identity, Sources
from candled_adapters.web.shapes import Card
from candled_adapters.web.sink import WebSettings, WebSink
from fakes import Board, MemoryOutbox, ended
from models import model
from web_page.world import World, cards

needs_chart = pytest.mark.skipif(
    chart_script() is None, reason="no chart library here: pip install 'candled[page]'"
)


def wall_ms() -> int:
    """Return UTC milliseconds now."""
    return int(time.time() * 1000)


def streams(count: int) -> list[Stream]:
    """Return so many streams with names as venues have them."""
    names = ("BTC", "ETH", "SOL", "XRP", "ADA", "DOGE", "AVAX", "LINK", "DOT", "LTC", "TRX", "UNI")
    symbols = [f"{names[n % 12]}{n // 12 or ''}USDT" for n in range(count)]
    return [
        Stream("bybit" if n % 3 == 2 else "binance", name, "1m") for n, name in enumerate(symbols)
    ]


def world(count: int = 6, shown: int = 120, ahead: int = 50) -> World:
    """Return a world of so many streams that stands at this minute."""
    return World(streams(count), wall_ms(), shown=shown, ahead=ahead)


@dataclass
class House:
    """What is served, and the strings to pull."""

    url: str
    world: World
    outbox: MemoryOutbox
    board: Board
    stop: Callable[[], object]
    """End the server, as a crash does."""

    def close(self, *which: Stream) -> None:
        """Close the next bar of some streams: decided, and told."""
        self.outbox.add(*self.world.step(*which))

    def note(self, stream: Stream, state: StreamState, reason: str = "") -> None:
        """Have a stream do otherwise."""
        self.board.note(StreamHealth(stream, state, reason))

    def tell(
        self,
        text: str,
        stream: Stream | None = None,
        hazard: Hazard = Hazard.MISSING_BAR,
        act: Act = Act.HOLD,
    ) -> None:
        """Tell people of an incident."""
        self.board.tell(
            Incident(self.world.streams[0].exchange, stream, hazard, act, text, wall_ms())
        )


@asynccontextmanager
async def served(
    made: World, port: int | None = None, models: Callable[[], tuple[Card, ...]] | None = None
) -> AsyncIterator[House]:
    """Serve a world until the block ends."""
    port = port or free_port()
    outbox, board = MemoryOutbox(made.newest()), Board()
    for stream in made.streams:
        board.note(StreamHealth(stream, StreamState.LIVE, ""))
    shown = cards(wall_ms())
    sources = Sources(
        archive=made,
        wall_ms=wall_ms,
        model=lambda _: model().digest,
        backlogs=("mqtt",),
        cards=models or (lambda: shown),
        tracks=made.track,
        drift=made.drifts.get,
        outcomes=made.outcomes,
    )
    chart = chart_script()
    assert chart is not None
    settings = WebSettings("127.0.0.1", port, page_files(PAGE, chart))
    sink = WebSink(
        settings, Identity("0.1.0", "epoch-1", "c0ffee", wall_ms()), sources, made.streams
    )
    task = asyncio.create_task(sink.run(outbox, board))
    try:
        await _listening(port)
        yield House(f"http://127.0.0.1:{port}/", made, outbox, board, task.cancel)
    finally:
        await ended(task)


async def _listening(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        assert time.monotonic() < deadline, "the server does not listen"
        await asyncio.sleep(0.01)
