"""The tally: what the service has done since it started, and how long it took."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from candled.core.bar import Stream
from candled.core.decision import Side, Source
from candled.figures import Met, Stages, StreamCounts
from candled.incidents import where
from candled.loopwatch import NOT_MEASURED, Lateness
from candled.ports import Entry, Hazard, Incident
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
    """Counts durable batches, accepted signals and incidents; for the service and the MQTT sink.

    Implements `candled.figures.Counted`.
    """

    def __init__(self) -> None:
        self.stages = Stages()
        self.delivered = 0
        self._streams: dict[Stream, StreamCounts] = defaultdict(StreamCounts)
        self._met: Counter[Met] = Counter()
        self._incidents: dict[str, Counter[str]] = defaultdict(Counter)
        self._latencies: deque[float] = deque(maxlen=_KEPT)
        self._stored_ms: deque[float] = deque(maxlen=_KEPT)
        self._longest_ms: float | None = None

    def of(self, stream: Stream) -> StreamCounts:
        """Return the counts of a stream; zeros for one of which nothing was decided."""
        return self._streams[stream]

    def met_so_far(self) -> Mapping[Met, int]:
        """Return how often what was met, told or not."""
        return dict(self._met)

    def durable(self, entries: Sequence[Entry], times: BatchTimes) -> None:
        """Count a batch that is on disk, and how long that took."""
        took_ms = (times.durable_ns - times.received_ns) / 1e6
        self._stored_ms.append(took_ms)
        self._longest_ms = max(took_ms, self._longest_ms or 0.0)
        for entry in entries:
            self._count(entry)
        self._time([entry for entry in entries if _came_live(entry)], times)

    def _count(self, entry: Entry) -> None:
        decision = entry.decision
        counts = self._streams[decision.stream]
        if entry.seq is not None:
            counts.signals[decision.side] += 1
        if decision.supersedes is not None:
            counts.corrections += 1
            return
        counts.decisions[decision.side] += 1
        if decision.reason is not None:
            counts.reasons[decision.reason] = counts.reasons.get(decision.reason, 0) + 1

    def _time(self, entries: Sequence[Entry], times: BatchTimes) -> None:
        decided, durable, stages = times.decided_ns, times.durable_ns, self.stages
        stages.received.extend([_received_after_ns(entry) for entry in entries])
        stages.decided.extend([decided - entry.received_ns for entry in entries])
        stages.durable.extend([durable - entry.received_ns for entry in entries])

    def acked(self, entries: Sequence[Entry], at_ns: int) -> None:
        """Count signals that the broker has accepted."""
        self.delivered += len(entries)
        self._latencies.extend((at_ns - entry.received_ns) / 1e6 for entry in entries)
        live = [entry for entry in entries if _came_live(entry)]
        took_ns = [at_ns - entry.received_ns for entry in live]
        self.stages.acked.extend(took_ns)
        before_ns = map(_received_after_ns, live)
        self.stages.whole.extend([sum(both) for both in zip(before_ns, took_ns, strict=True)])

    def met(self, incident: Incident) -> None:
        """Count an incident, told or not."""
        self._met[incident.exchange, incident.hazard, incident.act] += 1
        self._incidents[where(incident)][incident.hazard.value] += 1
        if incident.hazard is Hazard.GAP and incident.stream is not None:
            self._streams[incident.stream].gaps += 1

    def summary(self, lateness: Lateness = NOT_MEASURED) -> Summary:
        """Return the counts so far; `lateness` is the loop's."""
        streams = self._streams.values()
        return Summary(
            decisions=sum(sum(counts.decisions.values()) for counts in streams),
            signals=sum(sum(counts.signals.values()) for counts in streams),
            no_decisions=sum(counts.decisions[Side.NO_DECISION] for counts in streams),
            corrections=sum(counts.corrections for counts in streams),
            delivered=self.delivered,
            latency_p50_ms=_percentile(self._latencies, 50),
            latency_p99_ms=_percentile(self._latencies, 99),
            durable_p99_ms=_percentile(self._stored_ms, 99),
            durable_max_ms=None if self._longest_ms is None else round(self._longest_ms, 3),
            loop_late_p999_ms=lateness.p999_ms,
            loop_late_max_ms=lateness.max_ms,
            incidents={name: dict(counts) for name, counts in sorted(self._incidents.items())},
        )


def _came_live(entry: Entry) -> bool:
    """Whether how long its way took says something of the way: not so when it was made up for."""
    return entry.decision.supersedes is None and entry.source is not Source.BACKFILL


def _received_after_ns(entry: Entry) -> int:
    return (entry.received_ms - entry.decision.bar_close) * 1_000_000


def _percentile(values: Sequence[float], which: int) -> float | None:
    return round(float(np.percentile(values, which)), 3) if values else None
