"""Commands about model bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candled.cli.options import BundleArgument, JsonOption, KeyFileOption, SeveralOption


def import_notebook(
    *,
    directory: Annotated[Path, typer.Argument(help="Folder of the notebook's three files.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle to make.", metavar="BUNDLE")],
    symbol: SeveralOption = None,
    interval: SeveralOption = None,
    threshold: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.6,
) -> None:
    """Turn the notebook's three files into a bundle, executing nothing from them."""
    from candled.offline.models import import_model

    typer.echo(import_model(directory, out, symbol, interval, threshold))


def check(
    *,
    bundle: BundleArgument,
    trusted_key: Annotated[
        list[str] | None,
        typer.Option(help="Public key that it must be signed with; one of several.", metavar="KEY"),
    ] = None,
) -> None:
    """Check digests, names, order and golden vectors of a bundle, and who signed it."""
    from candled.offline.models import check_model

    typer.echo(check_model(bundle, trusted_key or ()))


def sign(
    *,
    bundle: BundleArgument,
    key_file: KeyFileOption,
) -> None:
    """Sign a bundle, so that daemons that trust the key know it is yours."""
    from candled.offline.models import sign_model

    typer.echo(sign_model(bundle, key_file))


def show(
    *,
    bundle: BundleArgument,
    as_json: JsonOption = False,
) -> None:
    """Show what a bundle is and how it was made."""
    from candled.offline.models import show_model

    typer.echo(show_model(bundle, as_json=as_json))
