"""The commands that prove what the others rest on, and rehearse it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candled.cli.options import (
    CONFIG,
    CaFileOption,
    ConfigOption,
    FromOption,
    IntervalOption,
    JsonOption,
    LimitOption,
    OneStreamOption,
    PasswordFileOption,
    SignalsOption,
    ToOption,
    UsernameOption,
)


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

    Example: candled verify --live state --config config.toml
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


def replay(
    *,
    stream: OneStreamOption,
    config: ConfigOption = CONFIG,
    candles: Annotated[
        Path | None,
        typer.Option("--candles", help="Instead of the journal's bars.", metavar="FILE"),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", help="Instead of the configured one.", metavar="BUNDLE"),
    ] = None,
    first: FromOption = None,
    last: ToOption = None,
    signals: SignalsOption = False,
    limit: LimitOption = 20,
    against_journal: Annotated[
        bool, typer.Option("--against-journal", help="Say where the journal says otherwise.")
    ] = False,
    publish: Annotated[
        str | None,
        typer.Option(help="Publish them at this broker: mqtt://host:1883.", metavar="URL"),
    ] = None,
    base_topic: Annotated[
        str, typer.Option(help="Below it; never where the daemon publishes.")
    ] = "candled-replay",
    speed: Annotated[
        float, typer.Option(help="Bars published in a second.", min=0.01, max=1000)
    ] = 10.0,
    as_live: Annotated[
        bool, typer.Option("--as-live", help="As if each bar closed now, by the venue's clock.")
    ] = False,
    username: UsernameOption = None,
    password_file: PasswordFileOption = None,
    ca_file: CaFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide stored bars again exactly as the daemon would; show, compare or publish it.

    Ends with 1 when the journal says otherwise. What is published is marked as past (live: false),
    so that no bot acts on it, unless --as-live.

    Example: candled replay --stream binance/BTCUSDT/1h --publish mqtt://127.0.0.1:1883 --as-live
    """
    from candled.operating.rehearsal import Stage
    from candled.operating.replay import ReplayOptions, run_replay

    stage = None
    if publish is not None:
        stage = Stage(publish, base_topic, speed, as_live, username, password_file, ca_file)
    options = ReplayOptions(
        config=config, stream=stream, candles=candles, bundle=bundle, first=first, last=last,
        signals=signals, limit=limit or None, against_journal=against_journal, stage=stage,
        as_json=as_json,
    )  # fmt: skip
    raise typer.Exit(run_replay(options))
