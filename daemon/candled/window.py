"""The window: what of a service is shown on loopback. Part of the composition root."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from candled.board import Board
from candled.config import Config, split_address
from candled.core.bar import Stream
from candled.core.lane import Lane, Lineup
from candled.journal import JournalReader, open_reader
from candled.ports import Sink
from candled.reloading import Present
from candled_adapters.artifacts.manifest import BundleError, Manifest, read_manifest
from candled_adapters.artifacts.signature import SIGNATURE_FILE
from candled_adapters.protocol.shapes import Info
from candled_adapters.web.files import PAGE, Asset, chart_script, page_files
from candled_adapters.web.rendering import claim
from candled_adapters.web.seat import Beginning, Identity, Past, Sources
from candled_adapters.web.shapes import Card, Role
from candled_adapters.web.sink import WebSettings, WebSink


class JournalArchive:
    """What the journal in `folder` holds, for the window; implements `web.seat.Archive`.

    A journal is opened for each question: a reader takes no lock, and the thread may be any.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def past(self, stream: Stream, count: int, since: int | None = None) -> Past:
        """Return at most `count` newest bars, of those that open at `since` (UTC ms) or later."""
        with open_reader(self._folder) as reader:
            bars, entries = reader.past(stream, count, since)
            first = int(bars.open_time[0]) if len(bars) else 0
            outcomes = reader.outcomes(stream, first)
        return Past(bars, tuple(entries), tuple(outcomes))

    def beginnings(self, streams: Sequence[Stream], count: int) -> dict[Stream, Beginning]:
        """Return how streams look, with at most `count` closes each."""
        with open_reader(self._folder) as reader:
            return {stream: _beginning(reader, stream, count) for stream in streams}


def _beginning(reader: JournalReader, stream: Stream, count: int) -> Beginning:
    signal, verdict = reader.newest_signal(stream) or (None, None)
    return Beginning(tuple(reader.closes(stream, count)), signal, verdict)


@dataclass(frozen=True, slots=True)
class Behind:
    """What the window has behind it."""

    lanes: Sequence[Lane]
    info: Info
    """What the info topic says of what runs."""
    sinks: Sequence[Sink]
    board: Board


class Shown:
    """Which models decide, for who looks on; `renew` it after a reload."""

    def __init__(self, present: Present) -> None:
        self._present = present
        self.cards: tuple[Card, ...] = ()
        self._digests: dict[Stream, str] = {}
        self._take(self._look())

    def model(self, stream: Stream) -> str:
        """Return the digest of the model that decides a stream."""
        return self._digests.get(stream, "")

    async def renew(self) -> None:
        """Look again at what is in force; files are read in another thread."""
        if self._present.config.web.listen:
            self._take(await asyncio.to_thread(self._look))

    def _look(self) -> tuple[tuple[Card, ...], dict[Stream, str]]:
        config, lanes = self._present.config, self._present.lanes
        if not config.web.listen:
            return (), {}
        digests = {lane.stream: lane.model.digest for lane in lanes}
        return cards_of(config, self._present.lineup), digests

    def _take(self, found: tuple[tuple[Card, ...], dict[Stream, str]]) -> None:
        self.cards, self._digests = found


def window_of(config: Config, behind: Behind, **more: Any) -> list[Sink]:  # noqa: ANN401 - of Sources
    """Return the window as the service's watcher; none where it is off. Connects nowhere.

    `more` are fields of `Sources`.
    """
    if not config.web.listen:
        return []
    host, port = split_address(config.web.listen)
    info = behind.info
    identity = Identity(info.version, info.epoch, info.config_digest, _wall_ms())
    settings = WebSettings(host, port or 0, _files(config))
    streams = [lane.stream for lane in behind.lanes]
    return [WebSink(settings, identity, replace(_sources(config, behind), **more), streams)]


def _sources(config: Config, behind: Behind) -> Sources:
    digests = {lane.stream: lane.model.digest for lane in behind.lanes}
    return Sources(
        archive=JournalArchive(config.state.path),
        wall_ms=_wall_ms,
        model=lambda stream: digests.get(stream, ""),
        waiting=lambda: _unconnected(behind.board),
        backlogs=tuple(sink.name for sink in behind.sinks),
    )


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _unconnected(board: Board) -> list[str]:
    return [] if board.has_been_well("mqtt") else ["mqtt: the broker has not been reached yet"]


def page_problems(config: Config) -> list[str]:
    """Return why the page cannot be served as it is configured."""
    if not (config.web.listen and config.web.page) or chart_script():
        return []
    missing = "the chart's library is not installed"
    return [f"web.page: {missing}; install candled[page], or set page = false"]


def _files(config: Config) -> Mapping[str, Asset]:
    chart = chart_script() if config.web.page else None
    return page_files(PAGE, chart) if chart else {}


def cards_of(config: Config, lineup: Lineup) -> tuple[Card, ...]:
    """Return the cards of the models that decide, then of the challengers, as configured."""
    champions = [part.bundle for part in config.streams]
    challengers = [part.challenger for part in config.streams if part.challenger]
    return (
        *_cards("champion", champions, lineup.champions),
        *_cards("challenger", challengers, lineup.challengers),
    )


def _cards(role: Role, bundles: Iterable[Path], lanes: Iterable[Lane]) -> Iterator[Card]:
    used: dict[str, Lane] = {lane.model.digest: lane for lane in reversed(list(lanes))}
    for path in dict.fromkeys(bundles):
        try:
            manifest = read_manifest(path)
        except BundleError:
            continue  # removed since it was loaded: what runs is in memory
        if lane := used.get(manifest.digest):
            yield _card(role, manifest, lane, signed=(path / SIGNATURE_FILE).exists())


def _card(role: Role, manifest: Manifest, lane: Lane, *, signed: bool) -> Card:
    model, told = lane.model, manifest.provenance
    target = model.target
    return Card(
        digest=model.digest,
        name=model.name,
        role=role,
        feature_set=model.features.name,
        features=len(manifest.features),
        created_at=_text(told.get("created_at")),
        trained_until=model.trained_until,
        expires_at=lane.expires_at,
        lookahead_bars=target.lookahead_bars if target else None,
        profit_pct=target.profit_pct if target else None,
        stop_pct=target.stop_pct if target else None,
        label_rule=target.rule if target else None,
        threshold=lane.policy.threshold,
        regime=lane.policy.regime,
        claims=tuple(map(claim, model.evidence)),
        signed=signed,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
