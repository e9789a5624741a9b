"""`/metrics`: all figures as a text for Prometheus, made anew at each scrape.

The only user of prometheus-client, with a registry of its own. A text of a thousand streams takes a
tenth of a second, and the loop has signals to deliver meanwhile: it is made in slices. A thread
would be no better: it takes the interpreter from the loop at every write to the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from candled.figures import Spread
from candled_adapters.web.metrics_facts import Disk, Sources, moment_of
from candled_adapters.web.metrics_kinds import KINDS, Kind, Rows

__all__ = ["Disk", "Metrics", "Sources"]

_SLICE: Final = 100  # values that are read and written at once
_OPENMETRICS: Final = "application/openmetrics-text"
_EOF: Final = b"# EOF\n"


class Metrics:
    """The figures of one daemon."""

    def __init__(self, sources: Sources) -> None:
        self.registry = CollectorRegistry()
        """Holds these figures, and those of the process and its garbage collector."""
        self.registry.register(_Figures(sources))
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    async def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return the text and its content type: OpenMetrics where `Accept` names it.

        The loop turns between its slices, so that it is of one moment but for what the loop did.
        """
        is_open = _OPENMETRICS in accept
        encode, content_type = choose_encoder(f"{_OPENMETRICS}; version=1.0.0" if is_open else "")
        parts: list[bytes] = []
        told = ""
        for family in self.registry.collect():
            text = encode(_Just(family)).removesuffix(_EOF)
            parts.append(_without_head(text) if family.name == told else text)
            told = family.name
            await asyncio.sleep(0)
        if is_open:
            parts.append(_EOF)
        return b"".join(parts), content_type


class _Figures(Collector):
    """All kinds of figures, one after the other, each read when it is asked for."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def describe(self) -> Iterable[Metric]:
        """Return the figures without values."""
        return [_family(kind) for kind in KINDS]

    def collect(self) -> Iterator[Metric]:
        """Read the figures; a family of many values comes in pieces, one after the other."""
        moment = moment_of(self._sources)
        for kind in KINDS:
            rows = iter(kind.read(moment))
            yield _family(kind, islice(rows, _SLICE))
            while more := list(islice(rows, _SLICE)):
                yield _family(kind, more)


class _Just(Collector):
    """What stands for a registry that holds one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        """Return it."""
        return (self._family,)


_Family = GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily
_FAMILIES: Final = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
    "histogram": HistogramMetricFamily,
}


def _family(kind: Kind, rows: Rows = ()) -> Metric:
    made: _Family = _FAMILIES[kind.type](kind.name, kind.help, labels=kind.labels)
    for labels, value in rows:
        if isinstance(made, HistogramMetricFamily) and isinstance(value, Spread):
            upto = [(str(bound), count) for bound, count in value.upto]
            made.add_metric(labels, [*upto, ("+Inf", value.count)], value.total_s)
        elif not isinstance(made, HistogramMetricFamily) and not isinstance(value, Spread):
            made.add_metric(labels, value)
    return made


def _without_head(text: bytes) -> bytes:
    """Leave out what the family's first piece has said: its help and its type."""
    while text.startswith(b"# "):
        text = text[text.index(b"\n") + 1 :]
    return text
