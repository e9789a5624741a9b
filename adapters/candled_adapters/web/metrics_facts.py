"""Where the figures of `/metrics` come from, and what all of one scrape look at. Facts only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from candled.core.bar import Interval, Stream
from candled.core.track import StreamDrift, Track
from candled.figures import Counted, Durations
from candled.ports import Clock, Entry, Health, StreamHealth
from candled_adapters.web.shapes import Card

#: A stream's labels: exchange, symbol, interval.
Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Disk:
    """Where the state lives (bytes)."""

    free: int
    """What the daemon may still write."""
    size: int
    journal: int
    """The journal with what belongs to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What is asked at each scrape, on the event loop; each answers in about 1 ms at most."""

    version: str
    streams: Callable[[], Sequence[Stream]]
    """Those that are served now."""
    counted: Counted
    latest: Callable[[], Iterable[Entry]]
    """As `Outbox.latest`."""
    health: Callable[[], Health]
    state: Callable[[Stream], StreamHealth | None]
    problem: Callable[[str], str | None]
    """What is wrong with a part of the service; None when it is well."""
    backlog: Callable[[], Mapping[str, int]]
    """By sink, how many journal positions it has not delivered."""
    refused: Callable[[], Mapping[str, int]]
    """By sink, how many entries it gave up since the start."""
    clock: Callable[[str], Clock]
    """Of an exchange."""
    wall_ms: Callable[[], int]
    beats: Durations
    """How late the event loop was, fifty times a second."""
    latest_beat_s: Callable[[], float]
    """The longest of these."""
    disk: Callable[[], Disk | None]
    ready: Callable[[], bool | None] = lambda: None
    """Whether the service is ready, as /readyz says; None where nobody asks."""
    watchdog_beats: Callable[[], int | None] = lambda: None
    """How often systemd's watchdog was told that all is well; None without one."""
    cards: Callable[[], Sequence[Card]] = tuple
    """The models in use."""
    tracks: Callable[[Stream], Track | None] = lambda _: None
    challenger_tracks: Callable[[Stream], Track | None] = lambda _: None
    drift: Callable[[Stream], StreamDrift | None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Moment:
    """What is found once for all figures of a scrape."""

    sources: Sources
    streams: Sequence[tuple[Stream, Labels]]
    newest: Mapping[Stream, Entry]
    """Of each stream's newest bar; its correction where that was the last word."""
    venue_ms: Mapping[str, int]
    """Each venue's time (UTC ms)."""
    wall_ms: int
    health: Health
    broker_problem: str | None
    """What is wrong with the MQTT broker; told beside the health that it makes."""
    disk: Disk | None

    def late_s(self, stream: Stream) -> float | None:
        """For how long the stream's next bar has been over without its decision (s)."""
        entry = self.newest.get(stream)
        if entry is None:
            return None
        due = Interval(stream.interval).end(entry.decision.bar_close)
        return max(0, self.venue_ms[stream.exchange] - due) / 1000

    def lag_s(self, stream: Stream) -> float | None:
        """From the end of the newest bar to its decision (s); None when it was corrected."""
        entry = self.newest.get(stream)
        if entry is None or entry.decision.revision:
            return None
        return (entry.decided_ms - entry.decision.bar_close) / 1000

    def close_s(self, stream: Stream) -> float | None:
        """When the newest decided bar ended (Unix time, s)."""
        entry = self.newest.get(stream)
        return None if entry is None else entry.decision.bar_close / 1000


def moment_of(sources: Sources) -> Moment:
    """Look at what changes from scrape to scrape."""
    streams = sources.streams()
    newest: dict[Stream, Entry] = {}
    for entry in sources.latest():  # oldest first: of two about one bar the later one stays
        held = newest.get(entry.decision.stream)
        if held is None or entry.decision.bar_open >= held.decision.bar_open:
            newest[entry.decision.stream] = entry
    return Moment(
        sources=sources,
        streams=[(one, (one.exchange, one.symbol, one.interval)) for one in streams],
        newest=newest,
        venue_ms={
            name: sources.clock(name).now_ms()
            for name in dict.fromkeys(one.exchange for one in streams)
        },
        wall_ms=sources.wall_ms(),
        health=sources.health(),
        broker_problem=sources.problem("mqtt"),
        disk=sources.disk(),
    )
