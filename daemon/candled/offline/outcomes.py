"""`outcomes`: what became of the signals in a daemon's journal, and how each model does.

Reads the journal only, beside the daemon or without one. The records follow from the outcomes by
the daemon's own rules, so they are what it says itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from candled.config import load_config
from candled.core.bar import Stream, iso
from candled.core.track import Outcome, Track
from candled.journal import JournalReader, open_reader
from candled.ledger import TrackSettings
from candled.ledger.book import Who
from candled.ledger.record import Record

_DIGITS: Final = 12  # of a digest, for people
_WIDTH: Final = 132
_NAMES: Final = (
    "stream", "model", "policy", "signals", "right", "95 %", "claimed", "gross", "claimed",
    "calibration", "standing",
)  # fmt: skip
_EACH: Final = ("stream", "bar", "side", "p", "right", "ended", "gross", "model", "id")


class OutcomesError(Exception):
    """A question that the journal has no answer to."""


@dataclass(frozen=True, slots=True)
class OutcomesOptions:
    """What is asked."""

    config: Path
    """Names the state folder, and how long records are."""
    state: Path | None
    """That folder instead; records are as long as usual."""
    streams: tuple[str, ...]
    """exchange/symbol/interval; none: all."""
    each: bool
    """Tell each outcome, too."""
    as_json: bool


@dataclass(frozen=True, slots=True)
class _Kept:
    """The record of one model with its policy on one stream."""

    who: Who
    track: Track


def tell_outcomes(options: OutcomesOptions) -> str:
    """Return what became of signals, as text or JSON.

    Raises OutcomesError for a stream that the journal does not know, ConfigError, JournalError, and
    FileNotFoundError without a journal.
    """
    folder, settings = _where(options)
    with open_reader(folder) as reader:
        found = {stream: reader.outcomes(stream) for stream in _streams(reader, options, folder)}
    kept = [one for outcomes in found.values() for one in _records(outcomes, settings)]
    each = [one for outcomes in found.values() for one in outcomes] if options.each else []
    return _json(kept, each, options) if options.as_json else _text(kept, each)


def _where(options: OutcomesOptions) -> tuple[Path, TrackSettings]:
    if options.state is not None:
        return options.state, TrackSettings()
    config = load_config(options.config)
    return config.state.path, TrackSettings(config.track.signals, config.track.alarm)


def _streams(reader: JournalReader, options: OutcomesOptions, folder: Path) -> list[Stream]:
    known = reader.streams()
    names = {stream.path for stream in known}
    if strangers := [name for name in options.streams if name not in names]:
        raise OutcomesError(
            f"{folder}: has no stream {', '.join(strangers)}; it has "
            f"{', '.join(sorted(names)) or 'none yet'}"
        )
    return [stream for stream in known if not options.streams or stream.path in options.streams]


def _records(outcomes: Sequence[Outcome], settings: TrackSettings) -> list[_Kept]:
    """Return the record of each model, in the order of their first signals."""
    records: dict[Who, Record] = {}
    for outcome in outcomes:
        records.setdefault(Who.of(outcome), Record(settings)).add(outcome)
    return [
        _Kept(who, record.track(outcomes[0].stream, who.model_digest, 0))
        for who, record in records.items()
    ]


def _json(kept: Iterable[_Kept], each: Iterable[Outcome], options: OutcomesOptions) -> str:
    told: dict[str, Any] = {"records": [_record(one) for one in kept]}
    if options.each:
        told["outcomes"] = [asdict(one) | {"stream": one.stream.path} for one in each]
    return json.dumps(told)


def _record(kept: _Kept) -> dict[str, Any]:
    track = asdict(kept.track)
    del track["pending"]  # signals that wait are the daemon's to count
    own = {"stream": kept.track.stream.path, "policy_digest": kept.who.policy_digest}
    return track | own | {"hit_rate": kept.track.hit_rate}


def _text(kept: Sequence[_Kept], each: Sequence[Outcome]) -> str:
    if not kept:
        return "no signal has an outcome yet"
    tables = [_table(_NAMES, map(_row, kept))]
    if each:
        tables.append(_table(_EACH, map(_line, each)))
    out = StringIO()
    console = Console(file=out, width=_WIDTH)
    for table in tables:
        console.print(table)
    return out.getvalue().rstrip("\n")


def _table(names: Iterable[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _row(kept: _Kept) -> Sequence[str]:
    track = kept.track
    between = "" if track.low is None else f"{_share(track.low)} to {_share(track.high)}"
    return (
        track.stream.path,
        track.model_digest[:_DIGITS],
        kept.who.policy_digest[:_DIGITS],
        str(track.n),
        _share(track.hit_rate),
        between,
        _share(track.claimed),
        _percent(track.expectancy_pct),
        _percent(track.claimed_pct),
        "" if track.calibration is None else f"{track.calibration:+.3f}",
        track.standing.value.replace("_", " "),
    )


def _line(outcome: Outcome) -> Sequence[str]:
    return (
        outcome.stream.path,
        iso(outcome.bar_open),
        outcome.side.value,
        f"{outcome.probability:.3f}",
        "taken back" if outcome.taken_back else "yes" if outcome.right else "no",
        outcome.ended,
        _percent(outcome.gross_pct),
        outcome.model_digest[:_DIGITS],
        outcome.id,
    )


def _share(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _percent(percent: float | None) -> str:
    return "" if percent is None else f"{percent:+.3f} %"
