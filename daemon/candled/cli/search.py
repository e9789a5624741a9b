"""The command that searches for a better recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from candled.cli.options import (
    CandlesOption,
    FoldsOption,
    IntervalOption,
    JsonOption,
    LabelsOption,
    LookaheadOrNoneOption,
    ProfitOrNoneOption,
    StopOrNoneOption,
    SymbolOption,
    parse_names,
)

SetsOption = Annotated[
    Any,
    typer.Option(
        "--features",
        parser=parse_names,
        help="Feature sets to choose from, the default's first; mar-scalefree when absent.",
        metavar="A[,B...]",
    ),
]
OnlyOption = Annotated[
    Any,
    typer.Option(parser=parse_names, help="Search these choices alone.", metavar="NAME[,NAME...]"),
]


def tune(
    *,
    candles: CandlesOption,
    symbol: SymbolOption,
    interval: IntervalOption,
    out: Annotated[
        Path, typer.Option(help="Folder of the search; the same one goes on.", metavar="DIR")
    ],
    features: SetsOption = None,
    trials: Annotated[
        int, typer.Option(help="How many, the default and those made before included.", min=1)
    ] = 30,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds after which no further trial begins.", min=0)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the search.", min=0)] = 0,
    space: Annotated[
        Path | None, typer.Option(help="What to search, as TOML.", metavar="FILE")
    ] = None,
    only: OnlyOption = None,
    holdout: Annotated[
        float, typer.Option(help="Share of the rows, the newest, that no trial sees.")
    ] = 0.2,
    recipe: Annotated[
        Path | None, typer.Option(help="The default to begin with, as JSON.", metavar="FILE")
    ] = None,
    labels: LabelsOption = None,
    lookahead: LookaheadOrNoneOption = None,
    profit: ProfitOrNoneOption = None,
    stop: StopOrNoneOption = None,
    folds: FoldsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search for a better recipe, and say how much of what was found is luck."""
    from candled.offline.training import TrainOptions
    from candled.offline.tune import TuneOptions, run_tune

    default = TrainOptions(
        candles=candles,
        out=out,
        symbol=symbol,
        interval=interval,
        as_notebook=False,
        recipe=recipe,
        features=features[0] if features else None,
        rule=labels,
        label=(lookahead, profit, stop),
        regime=None,
        threshold=None,
        coverage_pct=None,
        costs_pct=None,
        folds=folds,
        balance=False,
        calibrate=True,
    )
    options = TuneOptions(
        default=default,
        sets=features or (),
        trials=trials,
        timeout=timeout,
        seed=seed,
        space=space,
        only=only or (),
        holdout=holdout,
        as_json=as_json,
    )
    typer.echo(run_tune(options))
