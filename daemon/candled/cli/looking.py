"""Commands that look at what runs and at what was decided."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from candled.cli.options import CONFIG, ConfigOption, JsonOption


def tail(
    *,
    config: ConfigOption = CONFIG,
    url: Annotated[
        str | None, typer.Option(help="Listen here instead: mqtt://host:1883.", metavar="URL")
    ] = None,
    base_topic: Annotated[
        str | None, typer.Option(help="Topic above all.", show_default="candled")
    ] = None,
    username: Annotated[str | None, typer.Option(help="At the broker.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File with the password.", metavar="FILE")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="Authorities to trust for mqtts.", metavar="FILE")
    ] = None,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            help="Believe only what this key signed; again for more.", metavar="PUBLIC_KEY"
        ),
    ] = None,
    stream: Annotated[
        list[str] | None,
        typer.Option(help="Only this one; again for more.", metavar="EXCHANGE/SYMBOL/INTERVAL"),
    ] = None,
    since: Annotated[
        int | None, typer.Option(help="Ask for signals numbered above it first.", min=0)
    ] = None,
    venue_clock: Annotated[
        bool, typer.Option("--venue-clock", help="Learn the time from the messages (simulators).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show signals, corrections and halts as bots are told them, until Ctrl+C."""
    from candled.tail import TailOptions, run_tail

    options = TailOptions(
        config=config, url=url, base_topic=base_topic, username=username,
        password_file=password_file, ca_file=ca_file, trust=tuple(trust or ()),
        streams=tuple(stream or ()), since=since,
        venue_clock=venue_clock, as_json=as_json,
    )  # fmt: skip
    raise typer.Exit(run_tail(options))
