"""The commands. Each reads its arguments, calls one function and prints; no logic lives here.

Everything heavy is imported inside the command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="candle daemon: live candles in, the trained model's signals out.",
)
model_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Model bundles.")
app.add_typer(model_app, name="model")


def _interval(name: str) -> Any:  # noqa: ANN401 - an Interval, whose module is imported late
    """Parse an interval option; a wrong one is a usage error."""
    from candled.core.bar import Interval

    try:
        return Interval(name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _percent(value: float) -> float:
    """Check a label's percentage; a wrong one is a usage error."""
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"{value} is not a percentage above 0")
    return value


def _counts(text: str) -> Any:  # noqa: ANN401 - a list; typer knows no lists in one argument
    """Parse N[,N...]; anything else is a usage error."""
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise typer.BadParameter(f"{text!r} is not a list of numbers above 0, such as 1,100")
    return counts


CandlesOption = Annotated[
    Path, typer.Option("--candles", help="CSV or CSV.gz with Binance's 12 columns.", metavar="FILE")
]
IntervalOption = Annotated[Any, typer.Option(parser=_interval, help="1s to 1M.", metavar="I")]
LookaheadOption = Annotated[int, typer.Option(help="Label horizon in bars.", min=1)]
ProfitOption = Annotated[float, typer.Option(help="Profit target in percent.", callback=_percent)]
StopOption = Annotated[float, typer.Option(help="Stop loss in percent.", callback=_percent)]
CountsOption = Annotated[
    Any, typer.Option(parser=_counts, help="Numbers of streams.", metavar="N[,N...]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Preset = Literal["notebook", "default", "aggressive", "conservative"]


@app.command()
def run(
    *,
    config: Annotated[Path, typer.Option("--config", help="Configuration file.")] = Path(
        "config.toml"
    ),
) -> None:
    """Run the daemon until SIGTERM or Ctrl+C."""
    from candled.compose import run_daemon

    run_daemon(config)


@app.command()
def check(
    *,
    config: Annotated[Path, typer.Option("--config", help="Configuration file.")] = Path(
        "config.toml"
    ),
) -> None:
    """Check configuration, bundles, state, broker and exchanges; name every problem."""
    from candled.check import check_all

    raise typer.Exit(check_all(config))


@app.command()
def demo(
    *,
    bars: Annotated[int, typer.Option(help="Bars to play for each symbol.", min=1)] = 240,
    symbols: Annotated[int, typer.Option(help="Number of symbols.", min=1, max=500)] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic candles.", min=0)] = 1,
    candles: Annotated[
        Path | None, typer.Option(help="Play this candle file instead.", metavar="FILE")
    ] = None,
    speed: Annotated[float, typer.Option(help="Bars a second.", min=0.1, max=1000)] = 20.0,
    as_json: JsonOption = False,
) -> None:
    """Show the whole main job on this machine: exchange, training, daemon, broker, signals."""
    from candled.demo import DemoOptions, run_demo

    options = DemoOptions(
        bars=bars, symbols=symbols, seed=seed, candles=candles, bars_per_second=speed
    )
    raise typer.Exit(run_demo(options, as_json=as_json))


@app.command()
def simulate(
    *,
    port: Annotated[
        int, typer.Option(help="Port on 127.0.0.1; 0 for any free one.", min=0, max=65535)
    ],
    symbols: Annotated[str, typer.Option(help="A[,B...]")] = "BTCUSDT",
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
) -> None:
    """Play candles as Binance would, websocket and REST on one loopback port."""
    from candled.simulate import SimulationOptions, run_simulator

    run_simulator(
        SimulationOptions(
            symbols=tuple(symbols.split(",")),
            interval=interval,
            candles=tuple(Path(name) for name in candles.split(",")) if candles else (),
            port=port,
            speed=speed,
            start_at=start_at,
            bars=bars,
            seed=seed,
        )
    )


@app.command()
def features(
    *,
    candles: CandlesOption,
    out: Annotated[Path, typer.Option(help="CSV or CSV.gz to write.")],
    interval: IntervalOption = None,
    regime: Annotated[Preset, typer.Option(help="Regime preset.")] = "notebook",
    labels: Annotated[bool, typer.Option("--labels", help="Add the label columns.")] = False,
    lookahead: LookaheadOption = 24,
    profit: ProfitOption = 1.5,
    stop: StopOption = 1.0,
) -> None:
    """Write the feature table: 220 columns, regimes and, if asked, labels."""
    from candled.offline import write_features

    typer.echo(
        write_features(
            candles, out, interval=interval, regime=regime,
            label=(lookahead, profit, stop) if labels else None,
        )
    )  # fmt: skip


@app.command()
def train(
    *,
    candles: CandlesOption,
    symbol: Annotated[str, typer.Option(metavar="S")],
    interval: IntervalOption,
    out: Annotated[Path, typer.Option(help="Folder of the bundle.", metavar="DIR")],
    threshold: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.6,
    regime: Annotated[Preset, typer.Option(help="Regime preset of the labels.")] = "notebook",
    lookahead: LookaheadOption = 24,
    profit: ProfitOption = 1.5,
    stop: StopOption = 1.0,
) -> None:
    """Train as the notebook does; write a bundle and the notebook's three files."""
    from candled.offline import train_bundle

    typer.echo(
        train_bundle(
            candles, out, symbol=symbol, interval=interval, threshold=threshold, regime=regime,
            label=(lookahead, profit, stop),
        )
    )  # fmt: skip


@app.command()
def predict(
    *,
    bundle: Annotated[Path, typer.Option(help="Folder of the bundle.", metavar="BUNDLE")],
    candles: CandlesOption,
    out: Annotated[Path, typer.Option(help="CSV or CSV.gz to write.", metavar="FILE")],
    threshold: Annotated[
        float | None, typer.Option(help="Instead of the bundle's own.", min=0.0, max=1.0)
    ] = None,
) -> None:
    """Write probabilities and signals for every complete row of a candle file."""
    from candled.offline import write_predictions_of

    typer.echo(write_predictions_of(bundle, candles, out, threshold))


@app.command()
def bench(
    *,
    streams: CountsOption = "1,100,1000",
    rounds: Annotated[int, typer.Option(help="Rounds for each number.", min=1)] = 7,
    as_json: JsonOption = False,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON here.")] = None,
) -> None:
    """Measure candled against the notebook's way, interleaved, up to a real broker."""
    from candled.bench import run_bench

    run_bench(streams, rounds, as_json=as_json, out=out)


@model_app.command("import")
def model_import(
    *,
    directory: Annotated[Path, typer.Argument(help="Folder of the notebook's three files.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle to make.", metavar="BUNDLE")],
    symbol: Annotated[str | None, typer.Option(help="Which, when there are several.")] = None,
    interval: Annotated[str | None, typer.Option(help="Which, when there are several.")] = None,
    threshold: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.6,
) -> None:
    """Turn the notebook's three files into a bundle, executing nothing from them."""
    from candled.offline import import_model

    typer.echo(import_model(directory, out, symbol, interval, threshold))


@model_app.command("check")
def model_check(bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")]) -> None:
    """Check digests, names, order and golden vectors of a bundle."""
    from candled.offline import check_model

    typer.echo(check_model(bundle))


@model_app.command("show")
def model_show(
    *,
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a bundle is and how it was made."""
    from candled.offline import show_model

    typer.echo(show_model(bundle, as_json=as_json))
