"""Commands about candle files: fetching, importing and checking them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candled.cli.options import (
    AnyIntervalOption,
    ColumnsOption,
    IntervalOption,
    JsonOption,
    SinceOption,
    SymbolOption,
    UntilOption,
)

OutOption = Annotated[
    Path, typer.Option(help="FILE.csv, FILE.csv.gz or FILE.parquet.", metavar="FILE")
]


def fetch(
    *,
    exchange: Annotated[str, typer.Option(help="binance-spot or binance-usdm.", metavar="E")],
    symbol: SymbolOption,
    interval: IntervalOption,
    since: SinceOption,
    out: OutOption,
    until: UntilOption = None,
    rest_url: Annotated[
        str | None, typer.Option(help="Instead of the venue's own.", metavar="URL")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch a venue's history into a candle file, or what is missing at the file's end.

    Example: candled fetch --exchange binance-spot --symbol BTCUSDT --interval 1h
    --since 2022-01-01 --out BTCUSDT_1h.csv.gz
    """
    from candled.offline.fetch import run_fetch
    from candled.offline.fetched import FetchOptions

    options = FetchOptions(exchange, symbol, interval, since, until, out, rest_url)
    typer.echo(run_fetch(options, as_json=as_json))


def import_files(
    *,
    files: Annotated[list[Path], typer.Argument(help="CSV, gzip, zip, parquet or JSON.")],
    out: OutOption,
    interval: AnyIntervalOption = None,
    columns: ColumnsOption = "",
) -> None:
    """Join candle files of any known form, in order of time, into one of Binance's form."""
    from candled.offline.candles import import_files as join_files

    typer.echo(join_files(files, out, interval=interval, form=columns))


def check(
    *,
    file: Annotated[Path, typer.Argument(help="A candle file.")],
    interval: AnyIntervalOption = None,
    columns: ColumnsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say everything that is right and wrong with a candle file; code 65 when it is no use."""
    from candled.offline.candles import check_file

    text, code = check_file(file, interval=interval, form=columns, as_json=as_json)
    typer.echo(text)
    raise typer.Exit(code)
