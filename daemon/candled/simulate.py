"""The `simulate` command, composed: candle files or a generator, played as a venue on loopback."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from candled.core.bar import HOUR, Bars, Interval
from candled_adapters.candles.candlefile import read_candles
from candled_adapters.exchanges.registry import dialect_problem
from candled_adapters.simulator.generator import generate_many, label
from candled_adapters.simulator.scenario import load_scenario
from candled_adapters.simulator.server import Simulator
from candled_adapters.simulator.venues import VENUES

_SYNTHETIC_START: Final = 1_735_689_600_000  # 2025-01-01
_SYNTHETIC_BARS: Final = 5_000


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """What to play and how."""

    venue: str
    """Name of the dialect that it speaks."""
    symbols: tuple[str, ...]
    """None: the venue's best known one."""
    interval: Interval
    candles: tuple[Path, ...]
    """One file for each symbol; none for synthetic candles."""
    port: int
    speed: float
    """Venue seconds in one of ours."""
    start_at: int
    bars: int | None
    seed: int
    scenario: Path | None = None
    """What goes wrong meanwhile; None: nothing."""


class SimulationError(Exception):
    """Options that do not fit together."""


def run_simulator(options: SimulationOptions) -> None:
    """Serve until the last bar has been played, or SIGINT or SIGTERM."""
    problem = dialect_problem(options.venue)
    if problem:
        raise SimulationError(f"--venue: {problem}")
    if not options.symbols:
        options = replace(options, symbols=(VENUES[options.venue].example,))
    asyncio.run(_serve(options, load_markets(options)))


def load_markets(options: SimulationOptions) -> dict[str, Bars]:
    """Read or generate the bars of each symbol."""
    if not options.candles:
        count = _SYNTHETIC_BARS if options.bars is None else options.start_at + options.bars + 1
        start = synthetic_start(options.interval)
        return generate_many(options.seed, options.symbols, options.interval, start, count)
    if len(options.candles) != len(options.symbols):
        raise SimulationError(
            f"{len(options.symbols)} symbols but {len(options.candles)} candle files; "
            "name one file for each symbol"
        )
    return {
        symbol: read_candles(path, options.interval).bars
        for symbol, path in zip(options.symbols, options.candles, strict=True)
    }


def synthetic_start(interval: Interval) -> int:
    """Return an open time for synthetic candles that is on the interval's grid."""
    start = _SYNTHETIC_START
    while not interval.on_grid(start):
        start += HOUR
    return start


async def _serve(options: SimulationOptions, markets: dict[str, Bars]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with _simulator(options, markets) as simulator:
        source = "candle files" if options.candles else label(options.seed)
        _say(f"playing {', '.join(markets)} {options.interval} as {options.venue} from {source}")
        _say(f"websocket {simulator.ws_url}")
        _say(f"rest {simulator.rest_url}")
        if options.scenario is not None:
            _say(f"misbehaving as {options.scenario} says")
        ends = {asyncio.create_task(e.wait()) for e in (stop, simulator.finished)}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()


def _simulator(options: SimulationOptions, markets: dict[str, Bars]) -> Simulator:
    try:
        return Simulator(
            markets,
            options.interval,
            venue=VENUES[options.venue],
            port=options.port,
            speed=options.speed,
            start_at=options.start_at,
            bars=options.bars,
            scenario=None if options.scenario is None else load_scenario(options.scenario),
        )
    except ValueError as error:
        raise SimulationError(str(error)) from error


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
