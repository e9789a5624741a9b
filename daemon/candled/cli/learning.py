"""Commands of the offline side: tables, training, answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from candled.cli.options import (
    BundleOption,
    CandlesOption,
    EachSideOption,
    ExitsOption,
    FeaturesOption,
    FoldsOption,
    FromOption,
    IntervalOption,
    JsonOption,
    LabelsOption,
    LookaheadOption,
    LookaheadOrNoneOption,
    Preset,
    PresetOption,
    ProfitOption,
    ProfitOrNoneOption,
    StopOption,
    StopOrNoneOption,
    SymbolOption,
    ThresholdOption,
    ToOption,
    TrainedUntilOption,
)


def features(
    *,
    candles: CandlesOption,
    out: Annotated[Path, typer.Option(help="CSV, CSV.gz or parquet to write.", metavar="FILE")],
    interval: IntervalOption = None,
    features: FeaturesOption = "mar",
    regime: PresetOption = "notebook",
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
    symbol: SymbolOption,
    interval: IntervalOption,
    out: Annotated[Path, typer.Option(help="Folder of the bundle.", metavar="DIR")],
    notebook: Annotated[
        bool, typer.Option("--notebook", help="As the notebook trains, flaws included.")
    ] = False,
    recipe: Annotated[
        Path | None,
        typer.Option(help="A recipe as JSON; other options override it.", metavar="FILE"),
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="Feature set; mar-scalefree when absent.", metavar="NAME")
    ] = None,
    labels: LabelsOption = None,
    lookahead: LookaheadOrNoneOption = None,
    profit: ProfitOrNoneOption = None,
    stop: StopOrNoneOption = None,
    regime: Annotated[Preset | None, typer.Option(help="Regime preset of the labels.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="A fixed threshold.", min=0.0, max=1.0)
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(help="Signal this percentage of the bars; 5 when absent.", min=0, max=100),
    ] = None,
    costs: Annotated[
        float | None,
        typer.Option(help="Threshold that paid best after these costs (percent).", min=0),
    ] = None,
    folds: FoldsOption = None,
    balance: Annotated[bool, typer.Option("--balance", help="Weigh classes evenly.")] = False,
    calibrate: Annotated[
        bool, typer.Option(help="Fold a temperature, fitted out of sample, into the trees.")
    ] = True,
) -> None:
    """Train a model and judge it by what it had not seen; write a bundle with its evidence.

    Example: candled train --candles BTCUSDT_1h.csv.gz --symbol BTCUSDT --interval 1h
    --out models/BTCUSDT_1h
    """
    from candled.offline.training import TrainOptions, train_bundle

    options = TrainOptions(
        candles=candles,
        out=out,
        symbol=symbol,
        interval=interval,
        as_notebook=notebook,
        recipe=recipe,
        features=features,
        rule=labels,
        label=(lookahead, profit, stop),
        regime=regime,
        threshold=threshold,
        coverage_pct=coverage,
        costs_pct=costs,
        folds=folds,
        balance=balance,
        calibrate=calibrate,
    )
    typer.echo(train_bundle(options))


def report(
    *,
    bundle: BundleOption,
    candles: CandlesOption,
    out: Annotated[
        Path | None, typer.Option(help="HTML page to write; a summary alone when absent.")
    ] = None,
    trained_until: TrainedUntilOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the trials of the method and its rival.")
    ] = False,
    tuning: Annotated[
        Path | None,
        typer.Option(help="Journal of the search that its recipe comes from.", metavar="FILE"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a bundle: what the notebook shows, and what it hides."""
    from candled.offline.report import ReportOptions, run_report

    options = ReportOptions(
        bundle=bundle,
        candles=candles,
        out=out,
        trained_until=trained_until,
        quick=quick,
        tuning=tuning,
        as_json=as_json,
    )
    run_report(options)


def predict(
    *,
    bundle: BundleOption,
    candles: CandlesOption,
    out: Annotated[Path, typer.Option(help="CSV or CSV.gz to write.", metavar="FILE")],
    threshold: ThresholdOption = None,
) -> None:
    """Write probabilities and signals for every complete row of a candle file."""
    from candled.offline.tables import write_predictions_of

    typer.echo(write_predictions_of(bundle, candles, out, threshold))


def backtest(
    *,
    bundle: BundleOption,
    candles: Annotated[
        list[Path],
        typer.Option(help="SYMBOL_INTERVAL.csv[.gz]; again for each further symbol."),
    ],
    exchange: Annotated[
        str, typer.Option(help="As the daemon's configuration names it; part of the ids.")
    ] = "binance",
    threshold: ThresholdOption = None,
    regime: PresetOption = "notebook",
    regime_gate: Annotated[
        bool, typer.Option("--regime-gate", help="Trade only with the trend.")
    ] = False,
    fee: EachSideOption = 0.1,
    slippage: EachSideOption = 0.0,
    funding: Annotated[
        float, typer.Option(help="Percent that longs pay to shorts every 8 hours.")
    ] = 0.0,
    exits: ExitsOption = "target,stop,time",
    sides: Annotated[Literal["both", "long", "short"], typer.Option()] = "both",
    limit: Annotated[
        float | None, typer.Option(help="Enter by limit orders, so many percent below the close.")
    ] = None,
    fraction: Annotated[float, typer.Option(help="Of the purse in one position.")] = 1.0,
    max_positions: Annotated[
        int | None, typer.Option(help="Streams in a position at once.", min=1)
    ] = None,
    first: FromOption = None,
    last: ToOption = None,
    trained_until: TrainedUntilOption = None,
    out_of_sample: Annotated[
        bool, typer.Option("--out-of-sample", help="Leave out what the model was trained on.")
    ] = False,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Also try other thresholds and costs.")
    ] = False,
    trades: Annotated[
        Path | None, typer.Option(help="CSV or CSV.gz to write the trades to.", metavar="FILE")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Trade a bundle's signals over candle files, costs included, beside what needs no model."""
    from candled.offline.backtest import BacktestOptions, run_backtest

    typer.echo(
        run_backtest(
            BacktestOptions(
                bundle=bundle,
                candles=tuple(candles),
                exchange=exchange,
                threshold=threshold,
                regime=regime,
                regime_gate=regime_gate,
                fee_pct=fee,
                slippage_pct=slippage,
                funding_pct=funding,
                exits=exits,
                sides=sides,
                limit_pct=limit,
                fraction=fraction,
                max_positions=max_positions,
                first=first,
                last=last,
                trained_until=trained_until,
                out_of_sample=out_of_sample,
                sweep=sweep,
                trades=trades,
                as_json=as_json,
            )
        )
    )
