"""What the daemon asks of the world, and the facts that cross its walls.

Adapters implement these protocols; the service is written against them and knows nothing else of
an exchange, a broker or a file. Data flows one way: feed -> engine -> journal -> sinks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from candled.core.bar import Bars, Stream
from candled.core.decision import BarClosed, Decision, Source


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a feed takes up a stream again."""

    stream: Stream
    history: int
    """How many closed bars to report first as `History`; 0 when the journal already has them."""
    after: int | None
    """Open time (UTC ms) of the last bar that the journal has, or None for a new stream.

    With `after`, the history is the bars up to and including it, and every later closed bar is
    reported as `BarClosed`, however it has to be had. Without it, the history is the bars that had
    closed when the venue was first asked for its time, and every bar that closes later is reported.
    """


@dataclass(frozen=True, slots=True)
class History:
    """The bars that fill a stream's windows before its first decision. They are not decided."""

    stream: Stream
    bars: Bars
    """Ascending by open time; may be empty."""
    from_listing: bool
    """True when the venue has no earlier bar, so that nothing older could change a feature."""


class StreamState(StrEnum):
    """How a stream is doing."""

    WARMING = "warming"
    """Waiting for its history."""
    LIVE = "live"
    HOLDING = "holding"
    """A bar is missing and is being asked for; nothing is decided until it is there."""
    DOWN = "down"
    """No connection to the venue."""
    STOPPED = "stopped"
    """The venue does not know it, or its data cannot be trusted; a person must look."""


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """A change of a stream's state."""

    stream: Stream
    state: StreamState
    reason: str
    """A short text for people; empty when live."""


FeedEvent = History | BarClosed | StreamHealth
#: Takes events in order; awaiting it applies back-pressure to the feed.
Emit = Callable[[Sequence[FeedEvent]], Awaitable[None]]


class Clock(Protocol):
    """A venue's time, as measured."""

    def now_ms(self) -> int:
        """Venue time now (UTC ms)."""
        ...

    def local_seconds(self, venue_ms: float) -> float:
        """How many seconds of ours `venue_ms` milliseconds of the venue's last."""
        ...


class Feed(Protocol):
    """Closed bars of one exchange: each once, strictly increasing, none left out."""

    exchange: str
    """Its name in the configuration, the first part of its streams' paths."""
    clock: Clock

    async def run(self, resume: Sequence[Resume], emit: Emit) -> None:
        """Report the streams until cancelled, over any number of lost connections.

        Raises nothing for a lost connection or a malformed frame.
        """
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision as the journal holds it: durable, numbered, ready to be delivered."""

    position: int
    """Place in the journal's one order of all decisions; strictly increasing, may skip."""
    decision: Decision
    seq: int | None
    """Contiguous number of a signal within its stream, from 1; None for anything else."""
    last_seq: int
    """Number of the stream's newest signal up to and including this entry; 0 before the first."""
    source: Source
    received_ns: int
    """Wall clock when the bar's frame was received (ns)."""
    received_ms: int
    """The same moment on the venue's clock (UTC ms)."""
    decided_ms: int
    """When it was decided, on the venue's clock (UTC ms)."""


class Outbox(Protocol):
    """The journal as a sink sees it: all decisions in order, and how far each sink has come."""

    epoch: str
    """Changes only when the journal was lost and sequence numbers begin again."""

    def position(self, sink: str) -> int:
        """Return the position up to which `sink` has delivered everything; 0 at first."""
        ...

    def after(self, position: int, limit: int) -> list[Entry]:
        """Return at most `limit` entries after `position`, oldest first."""
        ...

    def mark(self, sink: str, position: int) -> None:
        """Record durably that `sink` has delivered everything up to `position`."""
        ...

    def latest(self) -> list[Entry]:
        """Return the newest entry of each stream."""
        ...

    async def wait(self, position: int) -> None:
        """Return once there is an entry after `position`."""
        ...


class ServiceState(StrEnum):
    """What the retained status says."""

    ONLINE = "online"
    DEGRADED = "degraded"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Health:
    """The service's state and why."""

    state: ServiceState
    reasons: tuple[str, ...]
    since_ms: int
    """Wall clock (UTC ms)."""


class HealthBoard(Protocol):
    """Where sinks read the service's health and report their own."""

    @property
    def health(self) -> Health:
        """The present health."""
        ...

    def report(self, part: str, problem: str | None) -> None:
        """Say what is wrong with `part` (a sink, a stream's path), or None when it is well."""
        ...

    async def changed(self, seen: Health) -> Health:
        """Return the health once it differs from `seen`."""
        ...


class Sink(Protocol):
    """Delivers the journal's decisions somewhere. It renders; it decides nothing."""

    name: str

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        """Deliver for ever, oldest first, marking what is done; reconnect by itself.

        Cancelling it is the end of the service: it says goodbye within a second or two.
        """
        ...
