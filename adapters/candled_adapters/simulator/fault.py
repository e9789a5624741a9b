"""What a fault is: where it takes hold of what the venue says, for which symbol, and when.

A fault's hooks are transforms, each at one place: what is pushed, REST's rows, HTTP answers,
handshakes, subscriptions, the clocks. A place that a fault leaves alone has no hook. Knows no
socket, no venue and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from candled.core.bar import Interval
from candled_adapters.simulator.market import Instant, Kline, Market, Tape


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open stretch of numbers: of venue time (UTC ms), or of real time (s)."""

    start: float = float("-inf")
    stop: float = float("inf")

    def __contains__(self, number: float) -> bool:
        """Whether `number` lies in [start, stop)."""
        return self.start <= number < self.stop


EVER: Final = Span()


@dataclass(slots=True)  # not frozen, which costs a burst of thousands a tenth of its time
class Push:
    """A candle that is about to be pushed; never changed in place."""

    kline: Kline
    at_ms: int
    """The moment whose state it shows (UTC ms)."""
    told_ms: int
    """What the push says when it was sent (UTC ms)."""
    delay_ms: int = 0
    """Held back so long, in venue time."""


@dataclass(slots=True)  # as `Push`
class Sent:
    """A websocket message; never changed in place."""

    data: bytes
    text: bool = True
    """Whether it is a text frame, else a binary one."""
    delay_ms: int = 0
    """Held back so long, in venue time."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a change of pushes may look at."""

    market: Market
    tape: Tape
    instant: Instant


@dataclass(frozen=True, slots=True)
class View:
    """What a change of rows may look at."""

    market: Market
    tape: Tape
    now_ms: int
    """Venue time (UTC ms)."""

    @property
    def interval(self) -> Interval:
        """Of the tape's bars."""
        return self.market.interval


@dataclass(frozen=True, slots=True)
class Listener:
    """A subscription of one connection."""

    connection: int
    """Number of the connection, from 1."""
    symbol: str
    serial: int
    """Which of the connection's subscriptions it is: a fresh one has a higher number."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer: to a question, or to a handshake that is refused."""

    status: int
    body: bytes
    symbols: Collection[str] = ()
    """Whose rows are in it; none for the time and other questions."""
    retry_after_s: int | None = None
    """Sent as Retry-After when not None."""
    html: bool = False
    """Whether it is called HTML, else JSON."""
    delay_s: float = 0.0
    """Held back so long, in real time, after it was made."""


class Stage(Protocol):
    """What a fault that acts may do to the venue's connections."""

    def drop_connections(self, code: int | None = ...) -> None:
        """Close all with a code; None resets their TCP connections."""
        ...

    def abort_connections(self) -> None:
        """End all without any goodbye."""
        ...

    def shut_down(self, grace_s: float, code: int) -> None:
        """Announce the end in the venue's words, where it has some, and close after a while."""
        ...


#: Changes the pushes of one symbol at one instant; the span is that of `Fault.bars`.
Pushes = Callable[[list[Push], Moment, Span], list[Push]]
#: Changes one encoded message.
Messages = Callable[[Sent], list[Sent]]
#: Whether a subscription hears nothing at an instant.
Silences = Callable[[Listener, Moment, Span], bool]
#: Changes ascending candles of one symbol, each by itself: what the venue has to show of them.
Klines = Callable[[list[Kline], View, Span], list[Kline]]
#: Changes an answer; the second argument gives the venue's body for an HTTP error.
Answers = Callable[[Reply, Callable[[int], bytes]], Reply]
#: How far (ms) a clock is off at a venue time (UTC ms).
Offset = Callable[[int, Span], int]
#: Does something once.
Act = Callable[[Stage], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Where a fault takes hold."""

    kind: str
    """What people call it; a name of `kinds.KINDS`."""
    pushes: Pushes | None = None
    """Which candles are pushed at an instant of `Fault.bars`, and how."""
    shown: Klines | None = None
    """What the pushed candles look like."""
    messages: Messages | None = None
    """What becomes of the bytes, at an instant of `Fault.bars`."""
    silences: Silences | None = None
    """Who hears nothing, at an instant of `Fault.bars`."""
    rows: Klines | None = None
    """What REST's rows look like."""
    answers: Answers | None = None
    handshakes: Answers | None = None
    """Refuses a handshake when the status that it returns is not 101."""
    rest_clock: Offset | None = None
    push_clock: Offset | None = None
    unlists: bool = False
    """Whether REST does not know the symbol."""
    denies: bool = False
    """Whether subscriptions are refused."""
    ages_s: float | None = None
    """Connections are cut when so old, in real time."""
    acts: Act | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fault:
    """Hooks in force, and for what. Each fault is itself alone: two equal ones count separately."""

    hooks: Hooks
    symbol: str | None = None
    """None: all."""
    bars: Span = EVER
    """Venue time (UTC ms): which slots' instants or bars are meant; where there are none, when."""
    seconds: Span = EVER
    """Real time of a monotonic clock (s)."""
    times: int | None = None
    """How many answers, handshakes or subscriptions it spoils at most; None: any number."""

    def concerns(self, symbol: str) -> bool:
        """Whether a symbol is meant."""
        return self.symbol is None or self.symbol == symbol
