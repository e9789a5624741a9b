"""Commands of the offline side: tables, training, answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candled.cli.options import (
    CandlesOption,
    FeaturesOption,
    IntervalOption,
    LookaheadOption,
    Preset,
    ProfitOption,
    StopOption,
)


def features(
    *,
    candles: CandlesOption,
    out: Annotated[Path, typer.Option(help="CSV, CSV.gz or parquet to write.", metavar="FILE")],
    interval: IntervalOption = None,
    features: FeaturesOption = "mar",
    regime: Annotated[Preset, typer.Option(help="Regime preset.")] = "notebook",
    labels: Annotated[bool, typer.Option("--labels", help="Add the label columns.")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Add all columns of the bars and the regime's name.")
    ] = False,
    lookahead: LookaheadOption = 24,
    profit: ProfitOption = 1.5,
    stop: StopOption = 1.0,
) -> None:
    """Write the table of a feature set: its columns, regimes and, if asked, labels."""
    from candled.offline.tables import write_features

    typer.echo(
        write_features(
            candles, out, interval=interval, features=features, regime=regime,
            label=(lookahead, profit, stop) if labels else None, raw=raw,
        )
    )  # fmt: skip


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
    from candled.offline.training import train_bundle

    typer.echo(
        train_bundle(
            candles, out, symbol=symbol, interval=interval, threshold=threshold, regime=regime,
            label=(lookahead, profit, stop),
        )
    )  # fmt: skip


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
    from candled.offline.tables import write_predictions_of

    typer.echo(write_predictions_of(bundle, candles, out, threshold))
