"""The command that says what became of signals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candled.cli.options import CONFIG, ConfigOption, JsonOption, NamedStreamsOption


def outcomes(
    *,
    config: ConfigOption = CONFIG,
    state: Annotated[
        Path | None, typer.Option(help="The daemon's state folder instead.", metavar="FOLDER")
    ] = None,
    stream: NamedStreamsOption = None,
    each: Annotated[bool, typer.Option("--each", help="Show each signal's outcome, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show whether signals turned out right, and whether models do what they claim."""
    from candled.offline.outcomes import OutcomesOptions, tell_outcomes

    options = OutcomesOptions(
        config=config, state=state, streams=tuple(stream or ()), each=each, as_json=as_json
    )
    typer.echo(tell_outcomes(options))
