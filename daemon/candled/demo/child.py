"""The demo's daemon: a process of its own, whose log says where its window is and how it went."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from candled_adapters.simulator.server import Simulator
from candled_adapters.web.files import chart_script

_STOP_SECONDS: Final = 15.0


class DemoError(Exception):
    """Options or candles that no demo can be made of."""


class Guide:
    """Says where to look, as soon as the daemon says where its window is."""

    def __init__(self, console: Console) -> None:
        self.address: str | None = None
        self._console = console

    def __call__(self, entry: dict[str, Any]) -> None:
        """Look at a line of the daemon's log."""
        if entry.get("event") != "web" or "address" not in entry:
            return
        self.address = str(entry["address"])
        if chart_script():
            self._console.print(f"[bold]live page {self.address}[/]", highlight=False)
        else:
            self.address += "api/overview"
            self._console.print(f"state {self.address} (for the page install candled[page])")

    async def linger(self, seconds: float, ended: asyncio.Task[Any]) -> None:
        """Leave everything up for a while, or until Ctrl+C or the daemon's end."""
        if seconds <= 0 or ended.done():
            return
        self._console.print(f"all bars played; everything stays for {seconds:g} s (Ctrl+C ends it)")
        with _interrupts() as interrupted:
            waiting = asyncio.create_task(interrupted.wait())
            await asyncio.wait({waiting, ended}, timeout=seconds, return_when="FIRST_COMPLETED")
            waiting.cancel()


@contextmanager
def _interrupts() -> Iterator[asyncio.Event]:
    """Have Ctrl+C set an event for the length of the block."""
    loop, interrupted = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, interrupted.set)
    try:
        yield interrupted
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def run_daemon(
    config: Path, simulator: Simulator, guide: Guide, linger_s: float
) -> dict[str, Any]:
    """Run the daemon until the last bar has been played; return the summary that it logs."""
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "candled", "run", "--config", str(config),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert daemon.stderr is not None  # noqa: S101 - it was asked for
    reader = asyncio.create_task(_summary_in(daemon.stderr, guide))
    over = asyncio.create_task(simulator.finished.wait())
    try:
        await asyncio.wait({over, reader}, return_when=asyncio.FIRST_COMPLETED)
        await guide.linger(linger_s, reader)
        if daemon.returncode is None:
            daemon.terminate()
        async with asyncio.timeout(_STOP_SECONDS):
            said = await reader
            await daemon.wait()
    finally:
        over.cancel()
        if daemon.returncode is None:
            daemon.kill()
            await daemon.wait()
    if daemon.returncode:
        raise DemoError(f"the daemon ended with code {daemon.returncode}")
    return said


async def _summary_in(
    stream: asyncio.StreamReader, also: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Read the daemon's log to its end; return the summary line, repeat what is not JSON."""
    found: dict[str, Any] = {}
    async for line in stream:
        try:
            entry = json.loads(line)
        except ValueError:
            sys.stderr.write(line.decode(errors="replace"))
            continue
        also(entry)
        if entry.get("event") == "summary":
            found = entry
        elif entry.get("level") in ("error", "critical"):
            sys.stderr.write(line.decode(errors="replace"))
    return found
