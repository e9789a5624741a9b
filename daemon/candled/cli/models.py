"""Commands about model bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candled.cli.options import JsonOption


def import_notebook(
    *,
    directory: Annotated[Path, typer.Argument(help="Folder of the notebook's three files.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle to make.", metavar="BUNDLE")],
    symbol: Annotated[str | None, typer.Option(help="Which, when there are several.")] = None,
    interval: Annotated[str | None, typer.Option(help="Which, when there are several.")] = None,
    threshold: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.6,
) -> None:
    """Turn the notebook's three files into a bundle, executing nothing from them."""
    from candled.offline.models import import_model

    typer.echo(import_model(directory, out, symbol, interval, threshold))


def check(bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")]) -> None:
    """Check digests, names, order and golden vectors of a bundle."""
    from candled.offline.models import check_model

    typer.echo(check_model(bundle))


def show(
    *,
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    as_json: JsonOption = False,
) -> None:
    """Show what a bundle is and how it was made."""
    from candled.offline.models import show_model

    typer.echo(show_model(bundle, as_json=as_json))
