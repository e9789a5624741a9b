"""Commands that look at what runs and at what was decided."""

from __future__ import annotations

from typing import Annotated

import typer

from candled.cli.options import (
    CONFIG,
    CaFileOption,
    ConfigOption,
    CorrectionsOption,
    JsonOption,
    LimitOption,
    NamedStreamsOption,
    PasswordFileOption,
    SidesOption,
    SignalsOption,
    SinceCloseOption,
    StreamsOption,
    UntilCloseOption,
    UsernameOption,
)


def status(
    *,
    config: ConfigOption = CONFIG,
    stream: StreamsOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Every two seconds, until Ctrl+C.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how the daemon is: service, streams, sinks, models, events.

    Asks it on [web] listen; when it does not answer, tells what its state folder shows. Ends with 0
    when it is online, 1 degraded, 3 not running, 4 when that cannot be told.

    Example: candled status --watch
    """
    from candled.operating.status import StatusOptions, run_status

    options = StatusOptions(
        config=config, patterns=tuple(stream or ()), watch=watch, as_json=as_json
    )
    raise typer.Exit(run_status(options))


def log(
    *,
    config: ConfigOption = CONFIG,
    stream: StreamsOption = None,
    since: SinceCloseOption = None,
    until: UntilCloseOption = None,
    side: SidesOption = None,
    signals: SignalsOption = False,
    corrections: CorrectionsOption = False,
    refused: Annotated[
        bool, typer.Option("--refused", help="What sinks gave up for good, instead.")
    ] = False,
    limit: LimitOption = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is decided from now on.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what was decided, out of the journal, newest last; the daemon may be running or not.

    TIME is UTC, 2026-01-31 or 2026-01-31T18:00; AGO is 90s, 15m, 2h or 3d by this machine's clock.

    Example: candled log --signals --since 1d --stream "binance/*" --follow
    """
    from candled.core.decision import Side
    from candled.journal import Sought
    from candled.operating.log import LogOptions, run_log

    if refused and follow:
        raise typer.BadParameter("--refused is no stream of decisions; leave out --follow")
    sought = Sought(
        since=since, until=until, sides=tuple(map(Side, side)) if side else tuple(Side),
        signals=signals, corrections=corrections, limit=limit or None,
    )  # fmt: skip
    options = LogOptions(
        config=config, patterns=tuple(stream or ()), sought=sought,
        refused=refused, follow=follow, as_json=as_json,
    )  # fmt: skip
    raise typer.Exit(run_log(options))


def tail(
    *,
    config: ConfigOption = CONFIG,
    url: Annotated[
        str | None, typer.Option(help="Listen here instead: mqtt://host:1883.", metavar="URL")
    ] = None,
    base_topic: Annotated[
        str | None, typer.Option(help="Topic above all.", show_default="candled")
    ] = None,
    username: UsernameOption = None,
    password_file: PasswordFileOption = None,
    ca_file: CaFileOption = None,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            help="Believe only what this key signed; again for more.", metavar="PUBLIC_KEY"
        ),
    ] = None,
    stream: NamedStreamsOption = None,
    since: Annotated[
        int | None, typer.Option(help="Ask for signals numbered above it first.", min=0)
    ] = None,
    venue_clock: Annotated[
        bool, typer.Option("--venue-clock", help="Learn the time from the messages (simulators).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show signals, corrections and halts as bots are told them, until Ctrl+C.

    Ends with 0, or with 75 when there is no broker.

    Example: candled tail --since 0 --stream binance/BTCUSDT/1h
    """
    from candled.tail import TailOptions, run_tail

    options = TailOptions(
        config=config, url=url, base_topic=base_topic, username=username,
        password_file=password_file, ca_file=ca_file, trust=tuple(trust or ()),
        streams=tuple(stream or ()), since=since,
        venue_clock=venue_clock, as_json=as_json,
    )  # fmt: skip
    raise typer.Exit(run_tail(options))
