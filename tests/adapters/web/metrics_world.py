"""Figures to scrape without a daemon: entries, a tally that has counted them, all that is asked."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from candled.core.bar import Stream
from candled.core.decision import Reason, Side, Source, Superseded
from candled.core.track import Standing, StreamDrift, Track
from candled.figures import Durations
from candled.ports import Entry, Health, ServiceState, StreamHealth, StreamState
from candled.tally import Tally
from candled_adapters.web.metrics import Disk, Metrics, Sources
from candled_adapters.web.shapes import Card
from fakes import FixedClock
from journals import HOUR, START, closed, decided

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
NOW = START + HOUR + 60_000

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def entry(
    stream: Stream,
    side: Side,
    *,
    reason: Reason | None = None,
    correction: bool = False,
    source: Source = Source.WS,
    after_ms: int = 12,
    received_ns: int = 0,
    hour: int = 0,
) -> Entry:
    """Make an entry as the journal would; its bar was received `after_ms` after its end."""
    decision = dataclasses.replace(decided(closed(stream, hour), side), reason=reason)
    if correction:
        was = Superseded("0" * 32, Side.FLAT, None, None)
        decision = dataclasses.replace(decision, supersedes=was, revision=1)
    return Entry(
        position=1,
        decision=decision,
        seq=1 if decision.is_signal else None,
        last_seq=1,
        source=source,
        received_ns=received_ns,
        received_ms=decision.bar_close + after_ms,
        decided_ms=decision.bar_close + after_ms + 3,
    )


def sources(streams: Sequence[Stream], tally: Tally | None = None, **other: Any) -> Sources:
    """Return what is asked at a scrape; whatever is not given is well and empty."""
    clock = FixedClock(NOW)
    usual = {
        "version": "1.2.3",
        "streams": lambda: streams,
        "counted": tally or Tally(),
        "latest": tuple,
        "health": lambda: Health(ServiceState.ONLINE, (), START),
        "state": lambda stream: StreamHealth(stream, StreamState.LIVE, ""),
        "problem": lambda _: None,
        "backlog": lambda: {"mqtt": 0, "log": 7},
        "refused": lambda: {"mqtt": 0, "log": 0},
        "clock": lambda _: clock,
        "wall_ms": lambda: NOW - 1500,
        "beats": Durations(),
        "latest_beat_s": lambda: 0.25,
        "disk": lambda: Disk(free=10, size=30, journal=4),
    }
    return Sources(**(usual | other))


def card(digest: str = "d" * 64, **other: Any) -> Card:
    usual = {
        "digest": digest, "name": "BTCUSDT_1h", "role": "champion", "feature_set": "mar",
        "features": 60, "created_at": None, "trained_until": START, "expires_at": START + HOUR,
        "lookahead_bars": 24, "profit_pct": 1.5, "stop_pct": 1.0, "label_rule": "window",
        "threshold": 0.6, "regime": "notebook", "claims": (), "signed": False,
    }  # fmt: skip
    return Card(**(usual | other))


def track(stream: Stream, standing: Standing = Standing.AS_CLAIMED, **other: Any) -> Track:
    usual = {
        "stream": stream, "model_digest": "d" * 64, "n": 50, "pending": 3, "hits": 30,
        "low": 0.46, "high": 0.73, "claimed": 0.625, "expectancy_pct": 0.5, "claimed_pct": 0.75,
        "calibration": 0.03125, "standing": standing,
    }  # fmt: skip
    return Track(**(usual | other))


def drift(stream: Stream, **other: Any) -> StreamDrift:
    usual = {
        "stream": stream, "model_digest": "d" * 64, "rows": 500, "psi_median": 0.0625,
        "moved_share": 0.125, "outside_share": 0.25, "psi_answers": 0.5, "worst": (),
    }  # fmt: skip
    return StreamDrift(**(usual | other))


def scrape(metrics: Metrics, accept: str = "") -> list[Metric]:
    """Scrape and parse as Prometheus would; both of its formats."""
    text, content_type = asyncio.run(metrics.exposition(accept))
    parsed = (
        openmetrics.text_string_to_metric_families(text.decode())
        if content_type.startswith("application/openmetrics-text")
        else text_string_to_metric_families(text.decode())
    )
    return list(parsed)


def values(families: Iterable[Metric]) -> Values:
    """Return all samples by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def own(found: Values) -> Values:
    """Return the figures that candled makes itself, not those of the process."""
    return {key: value for key, value in found.items() if key[0].startswith("candled_")}
