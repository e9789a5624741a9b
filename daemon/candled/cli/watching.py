"""Commands that look at how the models of a daemon are doing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candled.cli.options import JsonOption


def drift(
    *,
    config: Annotated[Path, typer.Option(help="The daemon's configuration.")] = Path("config.toml"),
    state: Annotated[
        Path | None, typer.Option(help="Its state folder, when that is not the configured one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how the newest rows of each stream differ from what its model was trained on.

    Reads the journal; the daemon may run or not.
    """
    from candled.offline.drift import drift_of

    typer.echo(drift_of(config, state, as_json=as_json))
