"""What is played in the demo, and what came of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from candled.core.bar import Bars, Interval
from candled.demo.audience import Audience
from candled.demo.child import DemoError, Guide, run_daemon
from candled.journal import open_journal
from candled.offline.threads import quiet_threads
from candled.ports import Entry
from candled.simulate import synthetic_start
from candled_adapters.artifacts.bundle import write_bundle
from candled_adapters.broker import EmbeddedBroker
from candled_adapters.candles.candlefile import read_candles
from candled_adapters.simulator.generator import generate_many, label
from candled_adapters.simulator.server import Simulator
from candled_adapters.web.files import chart_script

_TRAIN_BARS: Final = 2_000  # also the history that the daemon asks the venue for
_LEAST_BARS: Final = 1_000
_ESTIMATORS: Final = 60


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
        audience = Audience(console, broker.url)
        async with audience.listening():
            guide = Guide(console)
            said = await run_daemon(config, simulator, guide, options.linger_s)
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
