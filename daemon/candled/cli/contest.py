"""Commands about challengers: what they are worth, and making them champions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candled.cli.options import JsonOption

ConfigOption = Annotated[Path, typer.Option("--config", help="Configuration file.")]


def challenge(
    *,
    config: ConfigOption = Path("config.toml"),
    costs: Annotated[
        float, typer.Option(help="Percent that a trade costs, both sides together.", min=0.0)
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Compare each challenger with its champion on the bars that both decided."""
    from candled.contest import show_challenge

    typer.echo(show_challenge(config, costs_pct=costs, as_json=as_json))


def promote(
    *,
    config: ConfigOption = Path("config.toml"),
    stream: Annotated[
        list[str] | None,
        typer.Option(help="This one; again for more.", metavar="EXCHANGE/SYMBOL/INTERVAL"),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that have a challenger.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the evidence and what would change.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Also where the evidence does not speak for it.")
    ] = False,
) -> None:
    """Make challengers champions in the configuration file; a backup stays beside it."""
    from candled.contest import PromoteOptions, run_promote

    if bool(stream) == every:
        raise typer.BadParameter("give either --stream, any number of times, or --all")
    options = PromoteOptions(config, tuple(stream or ()), dry_run=dry_run, insist=yes)
    typer.echo(run_promote(options))
