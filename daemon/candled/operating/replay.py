"""The `replay` command: decides stored bars again as the daemon would, for looking and rehearsing.

Bars come from the daemon's journal or from a candle file; bundle and policy are the configured
ones, or another bundle under the same policy. The journal is read without its lock.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from candled.config import Config, load_config
from candled.core.bar import Bars, Interval, Stream, iso
from candled.core.decision import Decision
from candled.core.engine import Lane
from candled.errors import Exit
from candled.journal import open_reader
from candled.lineup import load_lanes
from candled.offline.files import candles_of
from candled.offline.replay import decided_from
from candled.operating.rehearsal import ReplayError, Stage, play, staged
from candled.operating.replay_report import Replayed, as_json, as_text
from candled.ports import History

DIFFERS: Final = 1
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What to decide again, and what to do with it."""

    config: Path
    stream: str
    candles: Path | None
    """Instead of the journal's bars."""
    bundle: Path | None
    """Instead of the configured one."""
    first: int | None
    """Open time of the first bar to decide (UTC ms); None: as early as its history allows."""
    last: int | None
    signals: bool
    limit: int | None
    """How many decisions are shown, the newest; None: all."""
    against_journal: bool
    stage: Stage | None
    """Publish them there."""
    as_json: bool


@dataclass(frozen=True, slots=True)
class _Source:
    """The bars of a stream, and what was decided about them before."""

    name: str
    bars: Bars
    from_listing: bool
    stored: list[Decision]


def run_replay(options: ReplayOptions) -> int:
    """Decide, print, compare and publish as asked; return 0, or 1 when the journal says otherwise.

    Raises ReplayError, ConfigError, JournalError, CandleFileError, BrokerError.
    """
    config = load_config(options.config)
    staging = staged(config, options.stage) if options.stage else None
    stream = _stream(config, options)
    alone, lane = _lane(config, options, stream)
    source = _source(config, options, stream)
    first, stop = _stretch(options, lane, source)
    bars = source.bars[:stop]
    made = list(decided_from(lane, bars, first, from_listing=source.from_listing))
    found = _against(lane, source, made) if options.against_journal else None
    played = None
    if staging and options.stage:
        past = bars[max(0, first - lane.history) : first]
        told = History(stream, past, source.from_listing)
        both = alone.model_copy(update={"mqtt": staging.mqtt})
        played = play(both, lane, told, bars[first:], options.stage)
    _say(
        options,
        Replayed(lane, source.name, made, _shown(options, made), found, played, _where(options)),
    )
    if played and played.undelivered:
        return Exit.TEMPORARY
    return DIFFERS if found and found["differ"] else 0


def _stream(config: Config, options: ReplayOptions) -> Stream:
    known = [
        Stream(part.exchange, symbol, part.interval)
        for part in config.streams
        for symbol in part.symbols
    ]
    found = [stream for stream in known if stream.path == options.stream]
    if not found:
        names = ", ".join(stream.path for stream in known[:_SHOWN])
        raise ReplayError(
            f"--stream {options.stream}: {options.config} has no such stream; it has {names}"
        )
    return found[0]


def _lane(config: Config, options: ReplayOptions, stream: Stream) -> tuple[Config, Lane]:
    """Return the configuration of this stream alone, and its lane, after the gate of a start."""
    part = next(
        part
        for part in config.streams
        if (part.exchange, part.interval) == (stream.exchange, stream.interval)
        and stream.symbol in part.symbols
    )
    other: dict[str, Any] = {"bundle": options.bundle} if options.bundle else {}
    mine = part.model_copy(update={"symbols": [stream.symbol], **other})
    alone = config.model_copy(
        update={
            "streams": [mine],
            "exchanges": {part.exchange: config.exchanges[part.exchange]},
        }
    )
    (lane,) = load_lanes(alone, options.config)
    return alone, lane


def _source(config: Config, options: ReplayOptions, stream: Stream) -> _Source:
    stored: list[Decision] = []
    if options.candles is None or options.against_journal:
        with open_reader(config.state.path) as journal:
            stored = journal.decisions(stream)
            bars, from_listing = journal.bars(stream), journal.from_listing(stream)
    if options.candles is None:
        return _Source(str(config.state.path), bars, from_listing, stored)
    bars = candles_of(options.candles, Interval(stream.interval)).bars
    return _Source(str(options.candles), bars, from_listing=False, stored=stored)


def _stretch(options: ReplayOptions, lane: Lane, source: _Source) -> tuple[int, int]:
    """Return the index of the first bar to decide and that after the last."""
    times = source.bars.open_time
    stop = (
        len(times) if options.last is None else int(np.searchsorted(times, options.last, "right"))
    )
    if options.first is not None:
        first = int(np.searchsorted(times, options.first))
    elif options.candles is None and source.stored:
        first = int(np.searchsorted(times, source.stored[0].bar_open))
    else:
        first = 0 if source.from_listing else min(lane.history, stop)
    if first >= stop:
        raise ReplayError(
            f"{source.name}: no bar of {lane.stream.path} to decide: it has {len(times)} bars, and "
            f"{lane.history} are history; name --from, other bars, or a longer file"
        )
    return first, stop


def _against(lane: Lane, source: _Source, made: Sequence[Decision]) -> dict[str, Any]:
    """Compare with what the journal holds about the same bars.

    Every field of decisions by the same model and policy; of others what they say to do.
    """
    again = {decision.bar_open: decision for decision in made}
    stored = [decision for decision in source.stored if decision.bar_open in again]
    alike = [one for one in stored if (one.model_digest, one.policy_digest) == _hand(lane)]
    differences: list[dict[str, Any]] = []
    not_compared: dict[str, int] = {}
    if alike:
        from candled.lab.verify.redecide import redecide  # noqa: PLC0415 - asked for now and then

        done = redecide([lane], source.bars, alike, from_listing=source.from_listing)
        differences += [_plain(one.stored, one.again, one.fields) for one in done.differences]
        not_compared = dict(done.not_compared)
    for one in stored:
        now = again[one.bar_open]
        if (one.model_digest, one.policy_digest) != _hand(lane) and one.side is not now.side:
            differences.append(_plain(one, now, ("side",)))
    differences.sort(key=lambda one: str(one["bar_open"]))
    compared = len(stored) - sum(not_compared.values())
    return {
        "stored": len(source.stored),
        "compared": compared,
        "by_another_model": len(stored) - len(alike),
        "not_compared": not_compared,
        "differ": len(differences),
        "differences": differences,
    }


def _hand(lane: Lane) -> tuple[str, str]:
    return lane.model.digest, lane.policy.digest


def _plain(stored: Decision, again: Decision, names: Sequence[str]) -> dict[str, Any]:
    was, now = (msgspec.to_builtins(one) for one in (stored, again))
    return {
        "bar_open": iso(stored.bar_open),
        "fields": {name: [was[name], now[name]] for name in names},
    }


def _shown(options: ReplayOptions, made: Sequence[Decision]) -> list[Decision]:
    shown = [one for one in made if one.side.is_signal or not options.signals]
    return shown if options.limit is None else shown[len(shown) - min(options.limit, len(shown)) :]


def _where(options: ReplayOptions) -> str:
    stage = options.stage
    return f"below {stage.base_topic}/ at {stage.url}" if stage else ""


def _say(options: ReplayOptions, done: Replayed) -> None:
    sys.stdout.write((as_json(done) if options.as_json else as_text(done)) + "\n")
