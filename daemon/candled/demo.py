"""The demo: the whole main job on one machine, with nothing set up before.

A broker, a simulated exchange on loopback, a model trained on the spot, the daemon as a process of
its own with its live page, and a subscriber that counts what it gets. All candles are synthetic
unless a file is given. Nothing here is part of the live process.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from candled.core.bar import Bars, Interval
from candled.journal import open_journal
from candled.offline.threads import quiet_threads
from candled.ports import Entry
from candled.simulate import synthetic_start
from candled_adapters.artifacts.bundle import write_bundle
from candled_adapters.broker import EmbeddedBroker
from candled_adapters.candles.candlefile import read_candles
from candled_adapters.protocol.shapes import Signal
from candled_adapters.simulator.generator import generate_many, label
from candled_adapters.simulator.server import Simulator
from candled_adapters.subscriber import Heard, Signals
from candled_adapters.web.files import chart_script

_TRAIN_BARS: Final = 2_000  # also the history that the daemon asks the venue for
_LEAST_BARS: Final = 1_000
_ESTIMATORS: Final = 60
_SETTLE_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 15.0


class DemoError(Exception):
    """Options or candles that no demo can be made of."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to show."""

    bars: int
    symbols: int
    seed: int
    candles: Path | None
    bars_per_second: float
    linger_s: float = 0.0
    """How long everything stays up after the last bar, to look at the page."""


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """What happened."""

    source: str
    broker: str
    symbols: int
    bars: int
    """Bars that closed while the daemon watched, all symbols together."""
    decisions: int
    signals: int
    delivered: int
    """Different signals that the subscriber received."""
    duplicates: int
    lost: int
    """Signals in the journal that the subscriber did not receive."""
    p50_latency_ms: float | None
    """From the receipt of a bar's frame to the broker's acknowledgement of its signal."""
    p99_latency_ms: float | None
    page: str | None
    """Address of the live page, while it ran; without the extra `page`, of what it would show."""
    first_signal_s: float | None
    """From the start of the command to the first signal that the subscriber received."""

    @property
    def whole(self) -> bool:
        """Whether each bar was decided once and each signal received."""
        return self.decisions == self.bars and self.lost == 0


@dataclass(frozen=True, slots=True)
class _Stage:
    """What is played."""

    source: str
    interval: Interval
    markets: dict[str, Bars]
    start_at: int
    bars: int


def run_demo(options: DemoOptions, *, as_json: bool) -> int:
    """Run the demo and print its summary; return the exit code."""
    quiet_threads()
    console = Console(stderr=as_json, quiet=as_json)
    stage = _stage(options)
    with tempfile.TemporaryDirectory(prefix="candled-demo-") as folder:
        summary = asyncio.run(_play(options, stage, Path(folder), console))
    if as_json:
        sys.stdout.write(json.dumps(asdict(summary)) + "\n")
    else:
        console.print(_table(summary))
    return 0 if summary.whole else 1


def _stage(options: DemoOptions) -> _Stage:
    """Read or generate what is played; the part before it is for training and history."""
    if options.candles is None:
        interval, start_at, bars = Interval("1h"), _TRAIN_BARS, options.bars
        names = [f"DEMO{number}USDT" for number in range(1, options.symbols + 1)]
        start = synthetic_start(interval)
        markets = generate_many(options.seed, names, interval, start, start_at + bars + 1)
        return _Stage(label(options.seed), interval, markets, start_at, bars)
    file = read_candles(options.candles)
    bars = min(options.bars, len(file.bars) - _LEAST_BARS)
    if bars < 1:
        raise DemoError(
            f"{options.candles}: {len(file.bars)} bars; a demo trains on {_LEAST_BARS} and "
            "plays what is left, so name a longer file"
        )
    markets = {f"FILE{number}USDT": file.bars for number in range(1, options.symbols + 1)}
    return _Stage(str(options.candles), file.interval, markets, len(file.bars) - bars - 1, bars)


async def _play(options: DemoOptions, stage: _Stage, folder: Path, console: Console) -> DemoSummary:
    console.print(f"[bold]candled demo[/] - {stage.source}")
    symbol, bundle = next(iter(stage.markets)), folder / "bundle"
    await asyncio.to_thread(_train, stage, symbol, bundle)
    console.print(f"trained a model on {symbol} ({_ESTIMATORS} rounds)")
    simulator = Simulator(
        stage.markets,
        stage.interval,
        speed=options.bars_per_second * stage.interval.typical_ms / 1000,
        start_at=stage.start_at,
        bars=stage.bars,
    )
    async with EmbeddedBroker() as broker, simulator:
        console.print(f"broker {broker.url} ({broker.kind}), exchange {simulator.ws_url}")
        config = folder / "config.toml"
        config.write_text(_config(stage, simulator, broker.url, bundle), encoding="utf-8")
        audience = _Audience(console, broker.url)
        async with audience.listening():
            guide = _Guide(console)
            said = await _run_daemon(config, simulator, guide, options.linger_s)
            entries = _read_journal(folder / "state")
            signals = {entry.decision.id for entry in entries if entry.seq is not None}
            await audience.until_heard(signals)
    return DemoSummary(
        source=stage.source,
        broker=broker.kind,
        symbols=len(stage.markets),
        bars=stage.bars * len(stage.markets),
        decisions=sum(entry.decision.supersedes is None for entry in entries),
        signals=len(signals),
        delivered=len(signals & audience.heard),
        duplicates=audience.signals.repeats,
        lost=len(signals - audience.heard),
        p50_latency_ms=said.get("latency_p50_ms"),
        p99_latency_ms=said.get("latency_p99_ms"),
        page=guide.address,
        first_signal_s=audience.first_s,
    )


def _train(stage: _Stage, symbol: str, bundle: Path) -> None:
    """Train on the bars before the part that is played."""
    from candled.lab.notebook import train_notebook  # noqa: PLC0415 - after quiet_threads

    known = stage.markets[symbol][max(0, stage.start_at - _TRAIN_BARS) : stage.start_at]
    trained = train_notebook(
        known,
        symbol,
        stage.interval.name,
        created_at=dt.datetime.now(dt.UTC),
        estimators=_ESTIMATORS,
    )
    write_bundle(trained.spec, bundle)


def _config(stage: _Stage, simulator: Simulator, broker_url: str, bundle: Path) -> str:
    symbols = json.dumps(list(stage.markets))
    return f"""
[mqtt]
url = "{broker_url}"

[log]
decisions = ""
format = "json"

[web]
listen = "127.0.0.1:0"
page = {json.dumps(chart_script() is not None)}

[exchanges.demo]
dialect = "binance-spot"
ws_url = "{simulator.ws_url}"
rest_url = "{simulator.rest_url}"
max_skew_s = inf

[[streams]]
exchange = "demo"
symbols = {symbols}
interval = "{stage.interval}"
bundle = "{bundle}"
any_symbol = true
"""


class _Audience:
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


class _Guide:
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


async def _run_daemon(
    config: Path, simulator: Simulator, guide: _Guide, linger_s: float
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


def _read_journal(folder: Path) -> list[Entry]:
    journal = open_journal(folder)
    try:
        return journal.after(0, sys.maxsize)
    finally:
        journal.close()


def _table(summary: DemoSummary) -> Table:
    table = Table(title="candled demo", show_header=False)
    for name, value in asdict(summary).items():
        table.add_row(name.replace("_", " "), str(value))
    table.add_row("result", "[green]whole[/]" if summary.whole else "[red]not whole[/]")
    return table
