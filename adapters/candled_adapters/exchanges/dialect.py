"""What a venue's dialect is: pure functions from bytes to facts and from wishes to bytes.

One `Dialect` per venue, without sockets, tasks or clocks. The runner, the REST client and the feed
are written against this protocol and know nothing else of a venue.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

from candled.core.bar import Bar, Bars, Stream


class MalformedFrame(ValueError):  # noqa: N818 - it names what was found, as facts do
    """Bytes that are not what the venue's documents promise; counted, never fatal."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a venue allows."""

    streams_per_connection: int
    frames_per_second: float
    """Frames that we may send on one connection, pings and pongs of ours included."""
    connects: int
    """Connection attempts allowed within `connect_window_s`."""
    connect_window_s: float
    questions: int
    """REST questions allowed within `question_window_s`, whatever they are about."""
    question_window_s: float
    history_page: int
    """Most rows in one REST answer."""
    max_age_s: float
    """The venue cuts a connection that is older; infinite when it does not."""
    reach: int | None = None
    """How many bars back from now REST goes; None when it goes to the listing."""
    by_span: bool = False
    """A page is a span of time: it may hold few bars although older ones exist."""
    lateness_ms: int = 0
    """How late a closing push may be, in venue time, while all is well."""
    time_step_ms: int = 1
    """Resolution of the server time that REST tells."""
    requests_per_hour: int | None = None
    """Frames that subscribe or unsubscribe, on one connection; None when nothing bounds them."""
    frames_per_second_in_all: float | None = None
    """Frames that we may send over all connections; None when each has its own limit alone."""
    streams_in_all: int | None = None
    """Subscriptions over all connections; None when nothing bounds them."""


class Closing(StrEnum):
    """What proves that a bar is closed."""

    FLAG = "flag"
    """The venue says so: in the push, and in REST by its server time and by what the rows say."""
    SUCCESSOR = "successor"
    """The venue never says so: REST, read after the bar's end, must show it with a later one."""

    @property
    def mark(self) -> Literal["flagged", "inferred"]:
        """How bars that are closed by it are marked: ``flagged``, or ``inferred``."""
        return "flagged" if self is Closing.FLAG else "inferred"


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """What the client has to say now and then, lest the venue cuts the connection."""

    frame: bytes
    """UTF-8 text to send."""
    every_s: float


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
    """Venue time of the push (UTC ms); 0 where the venue does not say it."""


class Sign(NamedTuple):
    """A stream has shown life: a frame about a bar of its that is open, not read any further."""

    symbol: str
    interval: str
    """As in `Kline`."""


class ControlKind(StrEnum):
    """What a frame without a candle is about."""

    ACK = "ack"
    """A subscription was heard; proves nothing about data."""
    ERROR = "error"
    """A request of ours was refused."""
    SHUTDOWN = "shutdown"
    """The venue is about to cut this connection."""
    PONG = "pong"
    """The answer to our `KeepAlive`."""
    NOTICE = "notice"
    """Anything else that is well formed."""


@dataclass(frozen=True, slots=True)
class Control:
    """A frame without a candle."""

    kind: ControlKind
    text: str
    """For people."""
    id: int | str | None = None
    """Which `Subscription` it answers, where the venue says so."""
    symbol: str = ""
    """Whose of the subscription's streams it is about, where the venue answers for each."""


#: What a pushed frame can tell.
Fact = Kline | Sign | Control


@dataclass(frozen=True, slots=True)
class Subscription:
    """One frame that asks for some streams, or ends their subscriptions."""

    id: int | str
    """What the venue's answer names: our number, or what was asked for."""
    streams: tuple[Stream, ...]
    """Empty for a frame that asks for no bars, such as a heartbeat's, or ends a subscription."""
    frame: bytes
    """UTF-8 text to send."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which bars are wanted of REST: at most `limit`, open times in [start_ms, end_ms]."""

    start_ms: int | None
    """With it, the first ones from there on; None: the last ones."""
    end_ms: int | None
    """None: up to now."""
    limit: int
    now_ms: int
    """The venue's time (UTC ms), for venues that must be told where now is."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What REST answered: more than was asked for is no harm, the shell clips it."""

    bars: Bars
    """Strictly ascending; the last may be open."""
    closed: int | None = None
    """How many of them, from the first, the venue calls closed; None when it does not say."""


@dataclass(frozen=True, slots=True)
class Request:
    """One REST question, relative to the base URL."""

    target: str
    """Path and query."""
    method: str = "GET"
    body: bytes | None = None
    """JSON."""


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
    def intervals(self) -> Collection[str]:
        """Names of the intervals that the venue has."""
        ...

    @property
    def closing(self) -> Closing:
        """What proves that a bar is closed."""
        ...

    @property
    def keepalive(self) -> KeepAlive | None:
        """What the client must say; None where the websocket protocol's pings do."""
        ...

    @property
    def websocket_base(self) -> str:
        """The venue's own address, for who has no other."""
        ...

    @property
    def rest_base(self) -> str:
        """The same of REST."""
        ...

    def symbol_problem(self, symbol: str) -> str:
        """Return what is wrong with a symbol's spelling and the right one; '' when nothing is."""
        ...

    def pushed_interval(self, interval: str) -> str:
        """Return the interval whose bars are pushed for a stream of `interval`; mostly itself."""
        ...

    def websocket_url(self, base: str, streams: Sequence[Stream]) -> str:
        """Return the URL of a connection that will carry `streams`."""
        ...

    def subscribe(self, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
        """Return the frames that ask for `streams`; numbered from `first_id`, where they are."""
        ...

    def unsubscribe(self, streams: Sequence[Stream], first_id: int) -> list[Subscription]:
        """Return the frames that end subscriptions; what is answered to them does not matter."""
        ...

    def parse(self, frame: bytes) -> Sequence[Fact]:
        """Read one pushed frame.

        Where the venue says when a bar is closed, a `Sign` is enough of an open one; where it does
        not, it must be reported, because a bar that has begun is the sign that the one before it
        has ended.
        """
        ...

    def time_request(self) -> Request:
        """Return the question for the server time."""
        ...

    def parse_time(self, body: bytes) -> int:
        """Return the server time (UTC ms)."""
        ...

    def history_request(self, stream: Stream, page: Page) -> Request:
        """Return the question for bars."""
        ...

    def parse_history(self, body: bytes, stream: Stream) -> Rows:
        """Return the bars of an answer."""
        ...

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Refusal | None:
        """Return why an answer is not data, or None when it is. `headers` ignore case."""
        ...
