"""The window: what of a service is shown on loopback. Part of the composition root."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from candled.board import Board
from candled.config import Config, split_address
from candled.core.bar import Stream
from candled.core.engine import Lane
from candled.journal import JournalReader, open_reader
from candled.ports import Sink
from candled_adapters.artifacts.manifest import BundleError, Manifest, read_manifest
from candled_adapters.artifacts.signature import SIGNATURE_FILE
from candled_adapters.protocol.shapes import Info
from candled_adapters.web.files import PAGE, Asset, chart_script, page_files
from candled_adapters.web.rendering import claim
from candled_adapters.web.seat import Beginning, Identity, Past, Sources
from candled_adapters.web.shapes import Card
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
    cards = champions(config, behind.lanes)
    return Sources(
        archive=JournalArchive(config.state.path),
        wall_ms=_wall_ms,
        model=lambda stream: digests.get(stream, ""),
        waiting=lambda: _unconnected(behind.board),
        backlogs=tuple(sink.name for sink in behind.sinks),
        cards=lambda: cards,
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


def champions(config: Config, lanes: Iterable[Lane]) -> tuple[Card, ...]:
    """Return the cards of the models that decide, in the order in which they are configured."""
    used: dict[str, Lane] = {lane.model.digest: lane for lane in reversed(list(lanes))}
    cards = []
    for path in dict.fromkeys(part.bundle for part in config.streams):
        try:
            manifest = read_manifest(path)
        except BundleError:
            continue  # removed since it was loaded: what runs is in memory
        if lane := used.get(manifest.digest):
            signed = (path / SIGNATURE_FILE).exists()
            cards.append(card(manifest, lane, signed=signed))
    return tuple(cards)


def card(manifest: Manifest, lane: Lane, *, signed: bool, expires_at: int | None = None) -> Card:
    """Return what is shown of a champion, whose lane this is."""
    model, told = lane.model, manifest.provenance
    labels, target = told.get("labels"), model.target
    return Card(
        digest=model.digest,
        name=model.name,
        role="champion",
        feature_set=model.features.name,
        features=len(manifest.features),
        created_at=_text(told.get("created_at")),
        trained_until=_trained_until(told),
        expires_at=expires_at,
        lookahead_bars=target.lookahead_bars if target else None,
        profit_pct=target.profit_pct if target else None,
        stop_pct=target.stop_pct if target else None,
        label_rule=_text(labels.get("rule")) if isinstance(labels, dict) else None,
        threshold=lane.policy.threshold,
        regime=lane.policy.regime,
        claims=tuple(map(claim, model.evidence)),
        signed=signed,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _trained_until(told: dict[str, Any]) -> int | None:
    train = told.get("train")
    last = train.get("last_open_time") if isinstance(train, dict) else None
    return last if isinstance(last, int) else None
