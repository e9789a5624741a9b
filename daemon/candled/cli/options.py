"""Options that more than one command has, and how their text is read."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer


def parse_interval(name: str) -> Any:  # noqa: ANN401 - an Interval, whose module is imported late
    """Parse an interval option; a wrong one is a usage error."""
    from candled.core.bar import Interval

    try:
        return Interval(name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def check_percent(value: float | None) -> float | None:
    """Check a label's percentage, if one is given; a wrong one is a usage error."""
    if value is not None and not 0 < value < math.inf:
        raise typer.BadParameter(f"{value} is not a percentage above 0")
    return value


def parse_counts(text: str) -> Any:  # noqa: ANN401 - a list; typer knows no lists in one argument
    """Parse N[,N...]; anything else is a usage error."""
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise typer.BadParameter(f"{text!r} is not a list of numbers above 0, such as 1,100")
    return counts


def parse_names(text: str) -> Any:  # noqa: ANN401 - a tuple; typer knows no lists in one argument
    """Parse names with commas between; an empty or a doubled one is a usage error."""
    names = tuple(part.strip() for part in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise typer.BadParameter(f"{text!r} is not a list of different names, such as A,B")
    return names


def parse_exits(text: str) -> Any:  # noqa: ANN401 - a tuple; typer knows no lists in one argument
    """Parse names of EXITS with commas between; anything else is a usage error."""
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in EXITS]:
        raise typer.BadParameter(f"{unknown[0]!r} is not one of {', '.join(EXITS)}")
    return names


EXITS = ("target", "stop", "time", "opposite")


def parse_sides(text: str) -> Any:  # noqa: ANN401 - a tuple; typer knows no lists in one argument
    """Parse names of SIDES with commas between; anything else is a usage error."""
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in SIDES]:
        raise typer.BadParameter(f"{unknown[0]!r} is not one of {', '.join(SIDES)}")
    return names


SIDES = ("long", "short", "flat", "no_decision")


def parse_moment(text: str) -> int:
    """Parse a date or time into UTC milliseconds; anything else is a usage error."""
    from candled_adapters.candles.times import TimeCellError, moment

    try:
        return moment(text, whole=True)
    except TimeCellError as error:
        raise typer.BadParameter(f"{error}; give YYYY-MM-DD or YYYY-MM-DDTHH:MM, UTC") from error


def parse_when(text: str) -> int:
    """Parse a time, or how long ago as ``90s``, ``15m``, ``2h`` or ``3d``, into UTC milliseconds.

    Ago is counted from this machine's clock. Anything else is a usage error.
    """
    found = _AGO.fullmatch(text)
    if found is None:
        return parse_moment(text)
    return time.time_ns() // 1_000_000 - int(found[1]) * _UNITS_MS[found[2]]


_AGO: Final = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def tell_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    """Print the version and end, when that is asked."""
    if asked:
        from importlib.metadata import version

        typer.echo(f"candled {version('candled')}")
        raise typer.Exit


def parse_columns(text: str) -> Any:  # noqa: ANN401 - a CandleForm, whose module is imported late
    """Parse a column map; a wrong one is a usage error."""
    from candled_adapters.candles.names import CandleForm, ColumnMapError

    try:
        return CandleForm.parse(text)
    except ColumnMapError as error:
        raise typer.BadParameter(str(error)) from error


Preset = Literal["notebook", "default", "aggressive", "conservative"]
Rule = Literal["window", "first_touch"]

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="Configuration file.", metavar="FILE")
]
VersionOption = Annotated[
    bool,
    typer.Option("--version", is_eager=True, callback=tell_version, help="Say it and end."),
]
CONFIG: Final = Path("config.toml")
BundleOption = Annotated[
    Path, typer.Option("--bundle", help="Folder of the bundle.", metavar="BUNDLE")
]
BundleArgument = Annotated[Path, typer.Argument(help="Folder of the bundle.")]
SymbolOption = Annotated[str, typer.Option("--symbol", help="As the venue spells it.", metavar="S")]
ThresholdOption = Annotated[
    float | None, typer.Option(help="Instead of the bundle's own.", min=0.0, max=1.0)
]
SeveralOption = Annotated[str | None, typer.Option(help="Which, when there are several.")]
EachSideOption = Annotated[float, typer.Option(help="Percent of each side.", min=0.0)]
KeyFileOption = Annotated[Path, typer.Option(help="The private key.", metavar="FILE")]
OutJsonOption = Annotated[Path | None, typer.Option("--out", help="Also write the JSON here.")]
LabelsOption = Annotated[
    Rule | None, typer.Option("--labels", help="Label rule; window when absent.")
]
LookaheadOrNoneOption = Annotated[
    int | None,
    typer.Option("--lookahead", help="Label horizon in bars; 24 when absent.", min=1),
]
ProfitOrNoneOption = Annotated[
    float | None,
    typer.Option(
        "--profit", help="Profit target in percent; 1.5 when absent.", callback=check_percent
    ),
]
StopOrNoneOption = Annotated[
    float | None,
    typer.Option("--stop", help="Stop loss in percent; 1.0 when absent.", callback=check_percent),
]
FoldsOption = Annotated[
    int | None, typer.Option("--folds", help="Walk-forward folds; 11 when absent.", min=2)
]
PresetOption = Annotated[Preset, typer.Option("--regime", help="Regime preset.")]
CandlesOption = Annotated[
    Path,
    typer.Option("--candles", help="A candle file: CSV, gzip, zip or parquet.", metavar="FILE"),
]
ColumnsOption = Annotated[
    Any,
    typer.Option(
        parser=parse_columns,
        help="What the names do not tell: time=Date,volume=Vol ...",
        metavar="NAME=COLUMN[,...]",
    ),
]
IntervalOption = Annotated[Any, typer.Option(parser=parse_interval, help="1s to 1M.", metavar="I")]
FeaturesOption = Annotated[
    str, typer.Option("--features", help="Feature set, built in or a package's.", metavar="NAME")
]
AnyIntervalOption = Annotated[
    Any,
    typer.Option(
        parser=parse_interval, help="1s to 1M; told by the rows when absent.", metavar="I"
    ),
]
SinceOption = Annotated[
    Any, typer.Option(parser=parse_moment, help="First bar: 2022-01-01, UTC.", metavar="DATE")
]
UntilOption = Annotated[
    Any, typer.Option(parser=parse_moment, help="Bars that open before it.", metavar="DATE")
]
LookaheadOption = Annotated[int, typer.Option(help="Label horizon in bars.", min=1)]
ProfitOption = Annotated[
    float, typer.Option(help="Profit target in percent.", callback=check_percent)
]
StopOption = Annotated[float, typer.Option(help="Stop loss in percent.", callback=check_percent)]
CountsOption = Annotated[
    Any, typer.Option(parser=parse_counts, help="Numbers of streams.", metavar="N[,N...]")
]
StreamsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stream", help="Only these, * and ? allowed; again for more.", metavar="PATTERN"
    ),
]
NamedStreamsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stream", help="Only this one; again for more.", metavar="EXCHANGE/SYMBOL/INTERVAL"
    ),
]
SinceCloseOption = Annotated[
    Any,
    typer.Option(
        "--since", parser=parse_when, help="Bars that close then or later.", metavar="TIME|AGO"
    ),
]
UntilCloseOption = Annotated[
    Any,
    typer.Option("--until", parser=parse_when, help="Bars that close before.", metavar="TIME|AGO"),
]
SidesOption = Annotated[
    Any, typer.Option("--side", parser=parse_sides, help="Only these.", metavar="SIDE[,SIDE...]")
]
SignalsOption = Annotated[bool, typer.Option("--signals", help="Only numbered signals.")]
CorrectionsOption = Annotated[bool, typer.Option("--corrections", help="Only corrections.")]
LimitOption = Annotated[int, typer.Option(help="The newest so many; 0: all.", min=0, metavar="N")]
OneStreamOption = Annotated[
    str, typer.Option("--stream", help="As configured.", metavar="EXCHANGE/SYMBOL/INTERVAL")
]
UsernameOption = Annotated[str | None, typer.Option("--username", help="At the broker.")]
PasswordFileOption = Annotated[
    Path | None, typer.Option("--password-file", help="File with the password.", metavar="FILE")
]
CaFileOption = Annotated[
    Path | None, typer.Option("--ca-file", help="Authorities to trust for mqtts.", metavar="FILE")
]
FromOption = Annotated[
    Any, typer.Option("--from", parser=parse_moment, help="First bar, UTC.", metavar="TIME")
]
ToOption = Annotated[
    Any, typer.Option("--to", parser=parse_moment, help="Last bar, UTC.", metavar="TIME")
]
TrainedUntilOption = Annotated[
    Any,
    typer.Option(
        parser=parse_moment,
        help="Last bar trained on, for a bundle that does not say.",
        metavar="TIME",
    ),
]
ExitsOption = Annotated[
    Any,
    typer.Option(
        parser=parse_exits,
        help="What ends a trade: target, stop, time, opposite.",
        metavar="E[,E...]",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
