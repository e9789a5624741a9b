"""Commands about candled as a service of the system."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candled.cli.options import CONFIG, ConfigOption


def install(
    *,
    config: ConfigOption = CONFIG,
    name: Annotated[
        str, typer.Option(help="Of the unit; several daemons have several.", metavar="NAME")
    ] = "candled",
    write: Annotated[
        Path | None,
        typer.Option(help="Put the unit there instead of printing it.", metavar="FILE"),
    ] = None,
    print_: Annotated[bool, typer.Option("--print", help="Print the unit; the default.")] = False,
) -> None:
    """Print the unit for this installation and configuration; warnings go to standard error."""
    from candled.config import load_config
    from candled.unit import check_name, installed, unit_of, write_unit

    if print_ and write:
        raise typer.BadParameter("--print and --write exclude each other")
    try:
        check_name(name)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--name") from error
    unit = unit_of(installed(config, name), load_config(config))
    for warning in unit.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if write is None:
        typer.echo(unit.text, nl=False)
        return
    write_unit(unit, write)
    typer.echo(f"{write}\nnow: systemctl daemon-reload && systemctl enable --now {write.stem}")
