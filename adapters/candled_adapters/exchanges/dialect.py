"""What a venue's dialect is: pure functions from bytes to facts and from wishes to bytes.

One `Dialect` per venue, without sockets, tasks or clocks. The runner, the REST client and the feed
are written against this protocol and know nothing else of a venue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from candled.core.bar import Bar, Bars, Stream


class MalformedFrame(ValueError):  # noqa: N818 - it names what was found, as facts do
    """Bytes that are not what the venue's documents promise; counted, never fatal."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a venue allows."""

    streams_per_connection: int
    frames_per_second: float
    """Frames that we may send on one connection."""
    connects: int
    """Connection attempts allowed within `connect_window_s`."""
    connect_window_s: float
    history_page: int
    """Most rows in one REST answer."""
    max_age_s: float
    """The venue cuts a connection that is older."""
    history_per_minute: float = 60.0
    """Full pages of history that may be asked for in a minute."""


@dataclass(frozen=True, slots=True)
class Kline:
    """One candle as pushed."""

    symbol: str
    """As the venue spells it in `Stream.symbol`."""
    interval: str
    """Name of an `Interval`."""
    bar: Bar
    closed: bool
    """Whether the venue says that the bar is final."""
    event_ms: int
    """Venue time of the push (UTC ms)."""


class ControlKind(StrEnum):
    """What a frame without a candle is about."""

    ACK = "ack"
    """A subscription was heard; proves nothing about data."""
    ERROR = "error"
    """A request of ours was refused."""
    SHUTDOWN = "shutdown"
    """The venue is about to cut this connection."""
    NOTICE = "notice"
    """Anything else that is well formed."""


@dataclass(frozen=True, slots=True)
class Control:
    """A frame without a candle."""

    kind: ControlKind
    text: str
    """For people."""
    id: int | None = None
    """Which of our requests it answers, where the venue says so."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One frame that asks for some streams."""

    id: int
    streams: tuple[Stream, ...]
    frame: bytes
    """UTF-8 text to send."""


@dataclass(frozen=True, slots=True)
class Request:
    """One REST question, relative to the base URL."""

    target: str
    """Path and query."""
    method: str = "GET"
    body: bytes | None = None


class RefusalKind(StrEnum):
    """Why a REST question was not answered."""

    RATE_LIMIT = "rate limit"
    BANNED = "banned"
    UNKNOWN_STREAM = "unknown stream"
    """The venue does not know the symbol or the interval: asking again soon is pointless."""
    REJECTED = "rejected"
    """The venue will not answer this question, or not this client; asking again is pointless."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A REST answer that is not data."""

    kind: RefusalKind
    text: str
    retry_after_s: float
    """How long the venue wants to be left alone by all of us; 0 when it did not say."""


class Dialect(Protocol):
    """A venue's language. Every function is pure; wrong bytes raise `MalformedFrame`."""

    @property
    def name(self) -> str:
        """Name of the venue and market, for messages."""
        ...

    @property
    def limits(self) -> Limits:
        """What the venue allows."""
        ...

    @property
    def intervals(self) -> frozenset[str]:
        """Names of the intervals that the venue has."""
        ...

    def websocket_url(self, base: str, streams: Sequence[Stream]) -> str:
        """Return the URL of a connection that will carry `streams`."""
        ...

    def subscribe(self, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
        """Return the frames that ask for `streams`, numbered from `first_id`."""
        ...

    def parse(self, frame: bytes) -> Sequence[Kline | Control]:
        """Read one pushed frame; empty when it only says that open bars moved."""
        ...

    def time_request(self) -> Request:
        """Return the question for the server time."""
        ...

    def parse_time(self, body: bytes) -> int:
        """Return the server time (UTC ms)."""
        ...

    def history_request(
        self, stream: Stream, start_ms: int | None, end_ms: int | None, limit: int
    ) -> Request:
        """Ask for bars with open times in [start_ms, end_ms]; without a start, the last ones."""
        ...

    def parse_history(self, body: bytes, stream: Stream) -> Bars:
        """Return the bars of an answer, strictly ascending; the last may be open."""
        ...

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Refusal | None:
        """Return why an answer is not data, or None when it is. `headers` ignore case."""
        ...
