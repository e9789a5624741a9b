"""The tally: what the service has done since it started, and how long it took."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from candled.core.decision import Side
from candled.incidents import where
from candled.loopwatch import NOT_MEASURED, Lateness
from candled.ports import Entry, Incident
from candled.service import BatchTimes

_KEPT: Final = 100_000  # newest latencies


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts since the start, and the newest latencies of accepted signals."""

    decisions: int
    signals: int
    no_decisions: int
    corrections: int
    """Decisions that took the place of earlier ones; not among `decisions`."""
    delivered: int
    """Signals that the broker has accepted."""
    latency_p50_ms: float | None
    """From the receipt of a bar's frame to the broker's acknowledgement of its signal."""
    latency_p99_ms: float | None
    durable_p99_ms: float | None
    """From the receipt of the newest bar of a batch to the batch being on disk."""
    durable_max_ms: float | None
    """The longest of these since the start."""
    loop_late_p999_ms: float | None
    """How late the event loop was, because something held it up; None before it was measured."""
    loop_late_max_ms: float | None
    incidents: Mapping[str, Mapping[str, int]]
    """By stream path, or exchange where it was about no one stream, and by hazard."""


class Tally:
    """Counts durable batches, accepted signals and incidents; for the service and the MQTT sink."""

    def __init__(self) -> None:
        self._decisions = 0
        self._signals = 0
        self._no_decisions = 0
        self._corrections = 0
        self._delivered = 0
        self._incidents: dict[str, Counter[str]] = defaultdict(Counter)
        self._latencies: deque[float] = deque(maxlen=_KEPT)
        self._stored_ms: deque[float] = deque(maxlen=_KEPT)
        self._longest_ms: float | None = None

    def durable(self, entries: Sequence[Entry], times: BatchTimes) -> None:
        """Count a batch that is on disk, and how long that took."""
        took_ms = (times.durable_ns - times.received_ns) / 1e6
        self._stored_ms.append(took_ms)
        self._longest_ms = max(took_ms, self._longest_ms or 0.0)
        for entry in entries:
            self._signals += entry.seq is not None
            if entry.decision.supersedes:
                self._corrections += 1
            else:
                self._decisions += 1
                self._no_decisions += entry.decision.side is Side.NO_DECISION

    def acked(self, entries: Sequence[Entry], at_ns: int) -> None:
        """Count signals that the broker has accepted."""
        self._delivered += len(entries)
        self._latencies.extend((at_ns - entry.received_ns) / 1e6 for entry in entries)

    def met(self, incident: Incident) -> None:
        """Count an incident, told or not."""
        self._incidents[where(incident)][incident.hazard.value] += 1

    def summary(self, lateness: Lateness = NOT_MEASURED) -> Summary:
        """Return the counts so far; `lateness` is the loop's."""
        return Summary(
            decisions=self._decisions,
            signals=self._signals,
            no_decisions=self._no_decisions,
            corrections=self._corrections,
            delivered=self._delivered,
            latency_p50_ms=_percentile(self._latencies, 50),
            latency_p99_ms=_percentile(self._latencies, 99),
            durable_p99_ms=_percentile(self._stored_ms, 99),
            durable_max_ms=None if self._longest_ms is None else round(self._longest_ms, 3),
            loop_late_p999_ms=lateness.p999_ms,
            loop_late_max_ms=lateness.max_ms,
            incidents={name: dict(counts) for name, counts in sorted(self._incidents.items())},
        )


def _percentile(values: Sequence[float], which: int) -> float | None:
    return round(float(np.percentile(values, which)), 3) if values else None
