"""The commands that measure: the live side, and the learning half."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candled.cli.options import CountsOption, JsonOption, OutJsonOption


def bench(
    context: typer.Context,
    *,
    streams: CountsOption = "1,100,1000",
    rounds: Annotated[int, typer.Option(help="Rounds for each number.", min=1)] = 7,
    as_json: JsonOption = False,
    out: OutJsonOption = None,
) -> None:
    """Measure candled against the notebook's way, interleaved, up to a real broker.

    Takes some minutes. The other benches end with 65 when the two do not make the same.

    Example: candled bench --streams 1,100 --rounds 3 --json
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    from candled.bench import run_bench

    run_bench(streams, rounds, as_json=as_json, out=out)


def _refuse_options(context: typer.Context) -> None:
    """Refuse options of the live bench before another one's name; they would mean nothing."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    if given := [name for name, source in sources.items() if source and source.name != "DEFAULT"]:
        name = given[0].removeprefix("as_")
        raise typer.BadParameter(
            f"--{name} before {context.invoked_subcommand} is of the live bench; give it after"
        )


def learning(
    *,
    candles: Annotated[
        Path | None,
        typer.Option(help="Measure on this candle file; else synthetic ones.", metavar="FILE"),
    ] = None,
    rows: Annotated[
        int, typer.Option(help="Of the table streamed into parquet; 0 leaves it out.", min=0)
    ] = 200_000,
    as_json: JsonOption = False,
    out: OutJsonOption = None,
) -> None:
    """Measure the learning half against the notebook's way, and compare what both make.

    Takes some minutes. Ends with 65 when they do not make the same.
    """
    from candled.bench.learning import bench_learning
    from candled.errors import Exit

    if not bench_learning(candles, rows, as_json=as_json, out=out):
        raise typer.Exit(Exit.DATA)


def cadence(
    *,
    streams: Annotated[int, typer.Option(help="How many.", min=1)] = 1000,
    minutes: Annotated[int, typer.Option(help="Closes to measure.", min=1)] = 4,
    per_connection: Annotated[
        int, typer.Option(help="Streams on one connection at most.", min=1, max=1024)
    ] = 1024,
    as_json: JsonOption = False,
    out: OutJsonOption = None,
) -> None:
    """Measure many streams whose open bars are pushed once a second, within a venue's limits.

    Takes the minutes that are measured and some to load all histories. Ends with 65 when a bar was
    not decided or a limit was exceeded.
    """
    from candled.bench.cadence import bench_cadence
    from candled.errors import Exit

    if not bench_cadence(streams, minutes, per_connection, as_json=as_json, out=out):
        raise typer.Exit(Exit.DATA)
