"""Commands of the live side: the daemon and its trials."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candled.cli.options import CONFIG, ConfigOption, IntervalOption, JsonOption


def run(
    *,
    config: ConfigOption = CONFIG,
) -> None:
    """Run the daemon until SIGTERM or Ctrl+C.

    Ends with 0 after it has drained, 75 when starting again may help (disk full, journal in use),
    78 when a person must change the configuration, 70 when the journal is damaged.

    Example: candled run --config /etc/candled/config.toml
    """
    from candled.compose import run_daemon

    run_daemon(config)


def check(*, config: ConfigOption = CONFIG, as_json: JsonOption = False) -> None:
    """Check configuration, bundles, state, broker and exchanges; name every problem.

    Ends with 0 when `run` would do well, else with the code that it would end with.

    Example: candled check --json
    """
    from candled.check import check_all

    raise typer.Exit(check_all(config, as_json=as_json))


def reload(*, config: ConfigOption = CONFIG) -> None:
    """Have the running daemon take over models and policies from the files, or say why not.

    Ends with 0 when it did, with 78 when it refused, with 1 when it cannot be said.

    Example: candled reload --config /etc/candled/config.toml
    """
    from candled.reload import ask_reload

    raise typer.Exit(ask_reload(config))


def demo(
    *,
    bars: Annotated[int, typer.Option(help="Bars to play for each symbol.", min=1)] = 240,
    symbols: Annotated[int, typer.Option(help="Number of symbols.", min=1, max=500)] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic candles.", min=0)] = 1,
    candles: Annotated[
        Path | None, typer.Option(help="Play this candle file instead.", metavar="FILE")
    ] = None,
    speed: Annotated[float, typer.Option(help="Bars a second.", min=0.1, max=1000)] = 20.0,
    linger: Annotated[
        float, typer.Option(help="Seconds that the page stays after the last bar.", min=0)
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Show the whole main job on this machine: exchange, training, daemon, broker, signals.

    Ends with 1 when a bar was not decided or a signal was lost.

    Example: candled demo --bars 60 --symbols 2
    """
    from candled.demo import DemoOptions, run_demo

    options = DemoOptions(
        bars=bars, symbols=symbols, seed=seed, candles=candles, bars_per_second=speed,
        linger_s=linger,
    )  # fmt: skip
    raise typer.Exit(run_demo(options, as_json=as_json))


def simulate(
    *,
    port: Annotated[
        int, typer.Option(help="Port on 127.0.0.1; 0 for any free one.", min=0, max=65535)
    ],
    venue: Annotated[str, typer.Option(help="The dialect that it speaks.")] = "binance-spot",
    symbols: Annotated[
        str | None, typer.Option(help="A[,B...], as the venue spells them.", show_default="bitcoin")
    ] = None,
    interval: IntervalOption = "1h",
    candles: Annotated[
        str | None,
        typer.Option(
            help="One candle file for each symbol; synthetic when absent.", metavar="FILE[,FILE]"
        ),
    ] = None,
    speed: Annotated[float, typer.Option(help="Venue seconds in one of ours.", min=1e-3)] = 1.0,
    start_at: Annotated[int, typer.Option(help="Bars before this index are history.", min=0)] = 0,
    bars: Annotated[
        int | None, typer.Option(help="End after this many closed bars.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of synthetic candles.", min=0)] = 1,
    scenario: Annotated[
        Path | None,
        typer.Option(help="What goes wrong meanwhile (docs/simulator.md).", metavar="FILE"),
    ] = None,
) -> None:
    """Play candles as a venue would, websocket and REST on one loopback port.

    Example: candled simulate --port 8090 --symbols BTCUSDT --speed 3600 --start-at 3000
    """
    from candled.simulate import SimulationOptions, run_simulator

    run_simulator(
        SimulationOptions(
            venue=venue,
            symbols=tuple(symbols.split(",")) if symbols else (),
            interval=interval,
            candles=tuple(Path(name) for name in candles.split(",")) if candles else (),
            port=port,
            speed=speed,
            start_at=start_at,
            bars=bars,
            seed=seed,
            scenario=scenario,
        )
    )
