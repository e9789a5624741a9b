"""The commands `challenge` and `promote`: what challengers are worth, and making them champions.

Both look at the configuration, its bundles and the journal, whether or not a daemon uses it. What a
running daemon decides by does not change until it reads its configuration again.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from candled.challenge.comparing import Comparison, Pairs, Record, compare, paired, together
from candled.challenge.promoting import PromotionError, promote, put_in_place, read
from candled.challenge.shadowing import kind_of
from candled.config import Config, load_config
from candled.core.bar import Stream
from candled.core.engine import Lane
from candled.core.track import Outcome
from candled.journal import JournalReader, open_reader
from candled.lab.words import NOTHING, number, percent, share, share_interval
from candled.lineup import load_lineup
from candled.ports import Kind

#: Outcomes of a challenger's signals, below which it is promoted only when that is insisted on.
FEWEST_OUTCOMES: Final = 30
_HEADS: Final = ("", "signals", "resolved", "right", "a trade", "too sure by")


@dataclass(frozen=True, slots=True)
class Contest:
    """Everything that is compared."""

    streams: list[Comparison]
    together: list[Comparison]
    """The streams of each interval that has several."""


def show_challenge(path: Path, *, costs_pct: float, as_json: bool) -> str:
    """Compare each challenger with its champion; raises ConfigError, JournalError and OSError."""
    config = load_config(path)
    contest = _contest(config, path, costs_pct)
    if as_json:
        return json.dumps(_plain(contest), indent=2)
    if not contest.streams:
        return f"{path}: no stream has a challenger; name its bundle under challenger"
    return "\n\n".join(map(_told, [*contest.streams, *contest.together]))


@dataclass(frozen=True, slots=True)
class PromoteOptions:
    """What to promote."""

    config: Path
    streams: tuple[str, ...]
    """As exchange/symbol/interval; empty: all that have a challenger."""
    dry_run: bool
    insist: bool
    """Promote also where the evidence does not speak for it."""


def run_promote(options: PromoteOptions) -> str:
    """Make challengers champions in the configuration; return what to tell.

    Raises PromotionError with everything that stands against it, ConfigError, JournalError and
    OSError; then nothing is changed.
    """
    path = options.config
    before = read(path)
    config = load_config(path)
    parts = _parts(config, path, options.streams)
    contest = _contest(config, path, 0.0)
    about = [_comparisons_of(contest, config, part) for part in parts]
    evidence = "\n\n".join(_told(one) for some in about for one in some)
    against = [text for some in about if (text := _against(some))]
    text = promote(before.decode("utf-8"), parts)
    if options.dry_run:
        said = [evidence, _changes(path, before.decode("utf-8"), text)]
        return "\n\n".join([*said, *(f"stands against it: {text}" for text in against)])
    if against and not options.insist:
        raise PromotionError("\n".join([evidence, "", *against, "with --yes it is done anyway"]))
    kept = put_in_place(path, before, text, _must_load)
    return (
        f"{evidence}\n\n{path}: {len(parts)} challenger(s) made champion(s); "
        f"what it said before is in {kept}\n"
        "a running daemon goes on as before until it reads it: `candled reload`, or SIGHUP"
    )


def _must_load(path: Path) -> None:
    """Let the new configuration through the gate of the start."""
    load_lineup(load_config(path), path)


def _parts(config: Config, path: Path, streams: Sequence[str]) -> list[int]:
    """Return the indices of the parts that these streams are, each part as a whole."""
    with_one = [at for at, part in enumerate(config.streams) if part.challenger is not None]
    if not streams:
        if not with_one:
            raise PromotionError(f"{path}: no stream has a challenger")
        return with_one
    known = {name: at for at in with_one for name in _names(config, at)}
    if strange := [name for name in streams if name not in known]:
        raise PromotionError(
            f"{path}: {strange[0]} has no challenger; there are {', '.join(known) or 'none'}"
        )
    parts = sorted({known[name] for name in streams})
    for at in parts:
        if others := [name for name in _names(config, at) if name not in streams]:
            raise PromotionError(
                f"{path}: streams.{at} decides {', '.join(others)} by the same bundle; name these "
                "too, each with --stream, or give the streams parts of their own"
            )
    return parts


def _names(config: Config, at: int) -> list[str]:
    part = config.streams[at]
    return [Stream(part.exchange, symbol, part.interval).path for symbol in part.symbols]


def _comparisons_of(contest: Contest, config: Config, at: int) -> list[Comparison]:
    names = set(_names(config, at))
    return [one for one in contest.streams if one.name in names]


def _against(part: Sequence[Comparison]) -> str | None:
    """Say what speaks against promoting a part."""
    names = ", ".join(one.name for one in part)
    known = sum(one.challenger.resolved for one in part if one.challenger)
    if known < FEWEST_OUTCOMES:
        return (
            f"{names}: the outcomes of {known} of the challenger's signals are known, "
            f"{FEWEST_OUTCOMES} are the least to judge by"
        )
    worse = [one.name for one in part if one.champion_is_better]
    return f"{', '.join(worse)}: the champion did better" if worse else None


def _changes(path: Path, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), str(path), f"{path} (promoted)", lineterm=""
    )
    return "\n".join(lines)


def _contest(config: Config, path: Path, costs_pct: float) -> Contest:
    lineup = load_lineup(config, path)
    champions = {lane.stream: lane for lane in lineup.champions}
    streams: list[Comparison] = []
    by_interval: dict[str, list[Pairs]] = {}
    outcomes: dict[str, Outcome] = {}
    try:
        reader = open_reader(config.state.path)
    except FileNotFoundError:
        return Contest([_nothing(lane) for lane in lineup.challengers], [])
    with reader:
        for lane in lineup.challengers:
            pairs = _pairs(reader, champions[lane.stream], lane)
            found = {outcome.id: outcome for outcome in reader.outcomes(lane.stream)}
            streams.append(compare(pairs, found, costs_pct=costs_pct))
            by_interval.setdefault(lane.stream.interval, []).append(pairs)
            outcomes |= found
    return Contest(
        streams,
        [
            together(f"{len(some)} streams of {interval}", some, outcomes, costs_pct=costs_pct)
            for interval, some in by_interval.items()
            if len(some) > 1
        ],
    )


def _nothing(lane: Lane) -> Comparison:
    return compare(Pairs(lane.stream, [], []), {})


def _pairs(reader: JournalReader, champion: Lane, challenger: Lane) -> Pairs:
    """Return what both decided, as they are configured now."""
    stream, ours, theirs = champion.stream, kind_of(champion), kind_of(challenger)
    shadows = [entry.decision for entry in reader.shadows(stream)]
    return paired(
        stream,
        [one for one in reader.decisions(stream) if Kind.of(one) == ours],
        [one for one in shadows if Kind.of(one) == theirs],
    )


# --- how it is told


def _plain(contest: Contest) -> dict[str, Any]:
    return {
        "streams": [_plain_comparison(one) for one in contest.streams],
        "together": [_plain_comparison(one) for one in contest.together],
    }


def _plain_comparison(one: Comparison) -> dict[str, Any]:
    return {**asdict(one), "words": one.words}


def _told(one: Comparison) -> str:
    lines = [f"{one.name}: {one.words}", f"  {one.bars} bars compared, same side {_same(one)}"]
    rows = [
        _row(role, record)
        for role, record in (("champion", one.champion), ("challenger", one.challenger))
        if record
    ]
    if rows:
        widths = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)]
        for row in (_HEADS, *rows):
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def _same(one: Comparison) -> str:
    return share(one.agreement)


def _row(role: str, record: Record) -> tuple[str, ...]:
    name = f" {record.model} {record.model_digest[:8]}" if record.model else ""
    return (
        role + name,
        str(record.signals),
        str(record.resolved),
        share_interval(record.hit_rate) if record.resolved else NOTHING,
        percent(record.expectancy_pct),
        number(record.calibration),
    )
