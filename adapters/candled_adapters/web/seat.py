"""What the window shows is had from here: ports, and callables that others of the process give.

Whoever builds the window fills them in; what is not there is shown as not known. The callables are
asked on the event loop and answer at once; `Archive` is asked in a thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from candled.core.bar import Bars, Stream
from candled.core.track import Outcome, StreamDrift, Track
from candled.ports import Entry
from candled_adapters.web.shapes import Card


@dataclass(frozen=True, slots=True)
class Past:
    """Some bars of a stream, and what was decided about them."""

    bars: Bars
    """Oldest first."""
    entries: tuple[Entry, ...]
    """By bar and revision: the newest decision about a bar is the last one."""
    outcomes: tuple[Outcome, ...] | None = None
    """What became of the signals about these bars; None: `Sources.outcomes` knows."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What the list of all streams shows of one besides its newest decision."""

    closes: tuple[tuple[int, float], ...]
    """Open time and close of the newest bars, oldest first."""
    signal: Entry | None
    """Its newest signal."""
    verdict: Entry | None
    """The newest decision about that signal's bar."""


class Archive(Protocol):
    """What is stored, for looking at. Each call may take a while: it is for another thread.

    Raises OSError or a failure of the store where it cannot be read.
    """

    def past(self, stream: Stream, count: int, since: int | None = None) -> Past:
        """Return at most `count` newest bars, of those that open at `since` (UTC ms) or later."""
        ...

    def beginnings(self, streams: Sequence[Stream], count: int) -> dict[Stream, Beginning]:
        """Return how streams look, with at most `count` closes each."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is shown."""

    version: str
    epoch: str
    """Of the journal."""
    config_digest: str
    started: int
    """Wall clock (UTC ms)."""


#: Takes the request's Accept header; returns a body and its content type.
Exposition = Callable[[str], Awaitable[tuple[bytes, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the rest of what is shown is had from."""

    archive: Archive
    wall_ms: Callable[[], int]
    """UTC milliseconds now."""
    model: Callable[[Stream], str]
    """Digest of the model that decides a stream now."""
    waiting: Callable[[], Sequence[str]] = lambda: ()
    """What has to come before the start is over, besides the streams; for people."""
    backlogs: Sequence[str] = ()
    """Names of the sinks whose backlog is shown."""
    cards: Callable[[], tuple[Card, ...]] = lambda: ()
    tracks: Callable[[Stream], Track | None] = lambda _: None
    challenger_tracks: Callable[[Stream], Track | None] = lambda _: None
    drift: Callable[[Stream], StreamDrift | None] = lambda _: None
    outcomes: Callable[[Stream, int], Sequence[Outcome]] = lambda _stream, _since_open_ms: ()
    """Of a stream's signals about bars that open at or after some moment (UTC ms)."""
    metrics: Exposition | None = None
    """What /metrics answers; None: there is none."""
