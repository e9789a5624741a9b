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
from candled.core.decision import BarClosed, BarRevised, Decision, Source


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
    recent: Bars | None = None
    """The newest bars that the journal has, up to and including `after`: the audit's memory."""
    anew: int = 0
    """How many closed bars to report as `History` when what follows `after` cannot be had."""


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
    DEGRADED = "degraded"
    """Its bars come, but not as they should: by REST alone, say, or under a clock in doubt."""
    STOPPED = "stopped"
    """The venue does not know it, or its data cannot be trusted; a person must look."""


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """A change of a stream's state."""

    stream: Stream
    state: StreamState
    reason: str
    """A short text for people; empty when live."""


class Hazard(StrEnum):
    """What the outside world did wrong, what was noticed of it, and what became of a model."""

    DUPLICATE_CLOSE = "duplicate_close"
    """A closed bar was pushed again, unchanged."""
    CHANGED_CLOSE = "changed_close"
    """A closed bar was pushed again with other numbers; the audit will tell which hold."""
    OUT_OF_ORDER = "out_of_order"
    """A closed bar came after a later one had gone out."""
    INVALID_BAR = "invalid_bar"
    """A bar breaks one of the rules of a sane bar."""
    PARTIAL_BAR = "partial_bar"
    """A bar was pushed as closed before its end."""
    MISSING_BAR = "missing_bar"
    """A bar is due and was not pushed."""
    GAP = "gap"
    """The venue's own history confirms that bars never were."""
    UNIT_CHANGE = "unit_change"
    """Prices or volumes jumped as they do when a venue changes units, or a symbol its meaning."""
    REVISED_BAR = "revised_bar"
    """The venue's history shows other numbers than the bar that went out."""
    VANISHED_BAR = "vanished_bar"
    """The venue's history lacks a bar that went out."""
    APPEARED_BAR = "appeared_bar"
    """The venue's history shows a bar that it lacked when that was passed over as a gap."""
    BEYOND_REACH = "beyond_reach"
    """Bars lie further back than the venue's history goes: they are lost."""
    HALTED = "halted"
    """No bar for so long that the symbol may be halted, renamed or delisted."""
    UNKNOWN_STREAM = "unknown_stream"
    """The venue does not know the symbol or the interval."""
    CONNECTION_LOST = "connection_lost"
    MUTE_CONNECTION = "mute_connection"
    """A connection lives, but pushes nothing."""
    MUTE_STREAM = "mute_stream"
    """A stream is silent while others on its connection are not."""
    REFUSED_SUBSCRIPTION = "refused_subscription"
    SHUTDOWN_NOTICE = "shutdown_notice"
    """The venue is about to cut a connection, or its age says that it soon will."""
    RATE_LIMIT = "rate_limit"
    """The venue wants to be left alone for a while."""
    MALFORMED = "malformed"
    """Bytes that no document of the venue explains."""
    CLOCK_SKEW = "clock_skew"
    """The venue's clock and this machine's differ."""
    CLOCK_JUMP = "clock_jump"
    """The venue's clock contradicts what it said before."""
    OVERFLOW = "overflow"
    """More bars were pushed than could be kept while history was read."""
    MODEL_SWAPPED = "model_swapped"
    """A stream is decided by another model or policy from here on."""
    MODEL_EXPIRED = "model_expired"
    """A model is older than the configuration lets it decide."""
    CLAIM_BROKEN = "claim_broken"
    """A model's signals turn out worse than its evidence claims, beyond chance."""
    DRIFT = "drift"
    """What a model is asked about no longer looks like what it was trained on."""


class Act(StrEnum):
    """What was done about a hazard."""

    DROP = "drop"
    QUARANTINE = "quarantine"
    """Kept as a sample, not used; REST is asked instead."""
    HOLD = "hold"
    FLAG = "flag"
    """Gone on; said here and, where a decision rests on it, in its quality."""
    REVISE = "revise"
    """Stored, decided anew, corrected."""
    RESUBSCRIBE = "resubscribe"
    RECONNECT = "reconnect"
    HAND_OVER = "hand_over"
    """A new connection takes over before the old one ends."""
    DEGRADE = "degrade"
    BEGIN_ANEW = "begin_anew"
    """The windows are filled anew; what lies between is not decided."""
    STOP = "stop"
    SWAP = "swap"
    """Another model or policy took over."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One hazard as it was met, and what was done about it. For people and monitors."""

    exchange: str
    stream: Stream | None
    """None when it is not about one stream."""
    hazard: Hazard
    act: Act
    text: str
    """What was seen, with numbers."""
    venue_ms: int
    """When, on the venue's clock (UTC ms)."""
    bar_open: int | None = None
    """Which bar it is about (UTC ms), if it is about one."""


FeedEvent = History | BarClosed | BarRevised | StreamHealth | Incident
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

    async def measured(self) -> None:
        """Return once it has been compared with the venue's; until then it is this machine's."""
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
    """How the bar came; of a correction, how the revision did that it follows from: by REST."""
    received_ns: int
    """Wall clock when the bar's frame, or that revision, was received (ns)."""
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

    def signals(self, stream: Stream, after_seq: int, limit: int) -> list[Entry]:
        """Return at most `limit` signals of `stream` numbered above `after_seq`, ascending."""
        ...

    def signals_kept(self, stream: Stream) -> tuple[int, int] | None:
        """Return the numbers of the oldest and the newest signal kept; None without any."""
        ...

    def mark(self, sink: str, position: int) -> None:
        """Record that `sink` has delivered everything up to `position`.

        Durably as soon as the disk allows: while it is full, what is durable is delivered still,
        and after a restart once more.
        """
        ...

    def refuse(self, sink: str, position: int, reason: str) -> None:
        """Record that `sink` gave up the entry at `position` for good; `mark` comes after it."""
        ...

    def latest(self) -> list[Entry]:
        """Return each stream's newest entry and that of its newest bar, oldest first.

        They are two where the newest entry corrects a decision about an older bar.
        """
        ...

    async def wait(self, position: int) -> None:
        """Return once there is an entry after `position`."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """Who decides a stream: a model under a policy. Champion and challenger differ in it."""

    stream: Stream
    model_digest: str
    policy_digest: str

    @classmethod
    def of(cls, decision: Decision) -> Kind:
        """Return who made a decision."""
        return cls(decision.stream, decision.model_digest, decision.policy_digest)


class ShadowOutbox(Protocol):
    """What challengers decided, in an order of its own, and how far who tells it has come."""

    epoch: str
    """That of the journal."""

    def position(self, sink: str) -> int:
        """Return the position up to which `sink` has delivered every shadow; 0 at first."""
        ...

    def after(self, position: int, limit: int) -> list[Entry]:
        """Return at most `limit` shadows after `position`, oldest first; old ones may be gone."""
        ...

    def mark(self, sink: str, position: int) -> None:
        """Record that `sink` has delivered every shadow up to `position`."""
        ...

    async def wait(self, position: int) -> None:
        """Return once there is a shadow after `position`."""
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
    """What is wrong, and remarks, which alone are no reason to be degraded."""
    since_ms: int
    """Wall clock (UTC ms)."""


@dataclass(frozen=True, slots=True)
class Notice:
    """An incident that is told to people; of many alike only some are."""

    number: int
    """1, 2, 3 ... since the process started."""
    incident: Incident
    unsaid: int
    """How many of its kind were not told since the last one that was."""


class HealthBoard(Protocol):
    """Where sinks read the service's health and report their own."""

    @property
    def health(self) -> Health:
        """The present health."""
        ...

    def report(self, part: str, problem: str | None) -> None:
        """Say what is wrong with `part` (a sink, a stream's path), or None when it is well."""
        ...

    def remark(self, part: str, remark: str | None) -> None:
        """Say what people should know of `part`; None for nothing any more.

        Unlike a problem it does not degrade the service: others can rely on it as before.
        """
        ...

    async def changed(self, seen: Health) -> Health:
        """Return the health once it differs from `seen`."""
        ...

    def stream(self, stream: Stream) -> StreamHealth | None:
        """Return how a stream is doing; None for one that is not served now."""
        ...

    async def streams_changed(self, after: int) -> tuple[int, list[Stream]]:
        """Return which streams do otherwise since change `after`, once there are some.

        The number is that of the newest change, to ask with next; 0 asks for all streams.
        """
        ...

    def fail(self, part: str, error: BaseException) -> None:
        """Say that the service ends because `part` failed, while last words can still be said."""
        ...

    @property
    def failure(self) -> str | None:
        """Why the service ends, when it was not asked to; the first cause, for people."""
        ...

    async def notices(self, after: int) -> list[Notice]:
        """Return the notices numbered above `after`, once there are some; old ones are lost."""
        ...


class Sink(Protocol):
    """Delivers the journal's decisions somewhere. It renders; it decides nothing."""

    name: str

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        """Deliver for ever, oldest first, marking what is done; reconnect by itself.

        Cancelling it is the end of the service: it says goodbye within a second or two.
        """
        ...
