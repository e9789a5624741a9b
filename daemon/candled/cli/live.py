"""Commands of the live side: the daemon and its trials."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candled.cli.options import IntervalOption, JsonOption


def run(
    *,
    config: Annotated[Path, typer.Option("--config", help="Configuration file.")] = Path(
        "config.toml"
    ),
) -> None:
    """Run the daemon until SIGTERM or Ctrl+C."""
    from candled.compose import run_daemon

    run_daemon(config)


def check(
    *,
    config: Annotated[Path, typer.Option("--config", help="Configuration file.")] = Path(
        "config.toml"
    ),
) -> None:
    """Check configuration, bundles, state, broker and exchanges; name every problem."""
    from candled.check import check_all

    raise typer.Exit(check_all(config))


def reload(
    *,
    config: Annotated[
        Path, typer.Option("--config", help="Configuration file of the running daemon.")
    ] = Path("config.toml"),
) -> None:
    """Have the running daemon take over models and policies from the files, or say why not."""
    from candled.reload import ask_reload

    raise typer.Exit(ask_reload(config))


def tail(
    *,
    config: Annotated[
        Path, typer.Option("--config", help="Configuration file, for its broker.")
    ] = Path("config.toml"),
    url: Annotated[
        str | None, typer.Option(help="Listen here instead: mqtt://host:1883.", metavar="URL")
    ] = None,
    base_topic: Annotated[
        str | None, typer.Option(help="Topic above all.", show_default="candled")
    ] = None,
    username: Annotated[str | None, typer.Option(help="At the broker.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File with the password.", metavar="FILE")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="Authorities to trust for mqtts.", metavar="FILE")
    ] = None,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            help="Believe only what this key signed; again for more.", metavar="PUBLIC_KEY"
        ),
    ] = None,
    stream: Annotated[
        list[str] | None,
        typer.Option(help="Only this one; again for more.", metavar="EXCHANGE/SYMBOL/INTERVAL"),
    ] = None,
    since: Annotated[
        int | None, typer.Option(help="Ask for signals numbered above it first.", min=0)
    ] = None,
    venue_clock: Annotated[
        bool, typer.Option("--venue-clock", help="Learn the time from the messages (simulators).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show signals, corrections and halts as bots are told them, until Ctrl+C."""
    from candled.tail import TailOptions, run_tail

    options = TailOptions(
        config=config, url=url, base_topic=base_topic, username=username,
        password_file=password_file, ca_file=ca_file, trust=tuple(trust or ()),
        streams=tuple(stream or ()), since=since,
        venue_clock=venue_clock, as_json=as_json,
    )  # fmt: skip
    raise typer.Exit(run_tail(options))


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
    """Show the whole main job on this machine: exchange, training, daemon, broker, signals."""
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
    """Play candles as a venue would, websocket and REST on one loopback port."""
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
