"""The command that proves what the others rest on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candled.cli.options import CONFIG, ConfigOption, IntervalOption, JsonOption


def verify(
    *,
    candles: Annotated[
        list[str] | None,
        typer.Option(
            help="Candle file to verify on; with --live EXCHANGE/SYMBOL/INTERVAL=FILE, the final "
            "history of a stream, any number of times.",
            metavar="FILE",
        ),
    ] = None,
    features: Annotated[str, typer.Option(help="Feature set.", metavar="NAME")] = "mar",
    bundle: Annotated[
        list[Path] | None,
        typer.Option(
            help="Verify this bundle's set and model; with --live, a further model at hand, any "
            "number of times."
        ),
    ] = None,
    interval: IntervalOption = None,
    rows: Annotated[int | None, typer.Option(help="Newest bars only.", min=1, metavar="N")] = None,
    seed: Annotated[int, typer.Option(help="Of the rows that are sampled.", min=0)] = 0,
    live: Annotated[
        Path | None,
        typer.Option(help="Decide again what the daemon with this state folder has decided."),
    ] = None,
    config: ConfigOption = CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Prove that features and model are causal and the same everywhere; or check a daemon's work.

    Ends with 65 when a single bit differs.
    """
    from candled.errors import Exit
    from candled.offline.verification import verify_candles, verify_live

    files, bundles = candles or [], bundle or []
    if live is not None:
        told, ok = verify_live(live, config, bundles=bundles, candles=files, as_json=as_json)
    elif len(files) != 1 or len(bundles) > 1:
        raise typer.BadParameter("give one --candles FILE and at most one --bundle, or --live")
    else:
        told, ok = verify_candles(
            Path(files[0]), features=features, bundle=bundles[0] if bundles else None,
            interval=interval, rows=rows, seed=seed, as_json=as_json,
        )  # fmt: skip
    typer.echo(told)
    if not ok:
        raise typer.Exit(Exit.DATA)
