"""Who hears the demo's signals: a subscriber as bots have one, that shows each as it comes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from rich.console import Console

from candled_adapters.protocol.shapes import Signal
from candled_adapters.subscriber import Heard, Signals

_SETTLE_SECONDS: Final = 10.0


class Audience:
    """A consumer that shows each signal as it comes."""

    def __init__(self, console: Console, url: str) -> None:
        self.heard: set[str] = set()
        self.first_s: float | None = None
        self.signals = Signals(url, client_id="demo", since=0, durable=False)
        self._console = console
        self._more = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen while the block runs; it starts when the broker has confirmed."""
        task = asyncio.create_task(self._listen())
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                await self.signals.subscribed.wait()
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _listen(self) -> None:
        async for event in self.signals:
            if isinstance(event, Heard):
                if self.first_s is None:
                    self.first_s = round(_age_s(), 1)
                self.heard.add(event.signal.id)
                self._more.set()
                self._console.print(_line(event.signal), highlight=False)

    async def until_heard(self, ids: set[str]) -> None:
        """Wait for signals that are still on their way, for a bounded time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                while ids - self.heard:
                    self._more.clear()
                    await self._more.wait()


def _line(signal: Signal) -> str:
    colour = "green" if signal.side == "long" else "red"
    confidence = getattr(signal.probabilities, signal.side)
    late = "" if signal.live else "  [yellow]late[/]"
    return (
        f"{signal.bar_close}  {signal.symbol:12} [{colour}]{signal.side:5}[/]"
        f"  p={confidence:.3f}  at {signal.price:<10}  {signal.regime_name}{late}"
    )


def _age_s() -> float:
    """Return how long ago this command was started, its interpreter's own start included."""
    fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s
