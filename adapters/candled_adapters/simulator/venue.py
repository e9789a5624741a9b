"""What a simulated venue is: pure functions from what the market knows to its frames and answers.

The server and the pusher are written against `Venue` and know nothing else of a venue. A venue
here is written from the documents, on its own: it shares nothing with the dialect that reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from candled.core.bar import Interval
from candled_adapters.simulator.market import Kline, Market, Query, Tape

#: Gives the open times that REST must leave out for a symbol.
Hidden = Callable[[str], Collection[int]]


class Session(Protocol):
    """One websocket connection as the venue sees it."""

    @property
    def combined(self) -> bool:
        """Whether frames are wrapped, where a venue has two kinds of connections."""
        ...

    @property
    def streams(self) -> Iterable[str]:
        """Channels that are subscribed to, in the order in which they were."""
        ...


class OneKind:
    """What venues share that have one kind of connections."""

    __slots__ = ()

    def wrap(self, channel: str, frame: bytes) -> bytes:
        """Leave it as it is."""
        del channel
        return frame


@dataclass(slots=True)
class Topics:
    """The session of a venue that has one kind of connections."""

    streams: dict[str, None] = field(default_factory=dict)
    combined: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A REST question and what is needed to answer it."""

    market: Market
    target: str
    """Path and query."""
    body: bytes
    now_ms: int
    hidden: Hidden

    @property
    def path(self) -> str:
        """The target's path."""
        return urlsplit(self.target).path

    @property
    def parameters(self) -> dict[str, str]:
        """The target's query."""
        return dict(parse_qsl(urlsplit(self.target).query))

    def klines(self, tape: Tape, query: Query) -> list[Kline]:
        """Return what a tape shows now, without what must be hidden."""
        return list(tape.klines(query, self.now_ms, self.hidden(tape.symbol)))


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: HTTP status and JSON body."""

    status: int
    body: bytes


class Venue(Protocol):
    """A venue's way to speak."""

    @property
    def flags(self) -> bool:
        """Whether a bar's end is pushed as such; else the next bar's first push tells it."""
        ...

    @property
    def example(self) -> str:
        """A symbol, well spelled."""
        ...

    def spells(self, symbol: str) -> bool:
        """Whether `symbol` is spelled as the venue does."""
        ...

    def channel(self, symbol: str, interval: Interval) -> str:
        """Return the channel that carries a symbol's bars."""
        ...

    def session(self, target: str) -> Session | None:
        """Open a session for a request target, or return None when it is no websocket path."""
        ...

    def replies(self, session: Any, frame: str | bytes) -> list[bytes]:  # noqa: ANN401 - its own session
        """Obey one client frame and return what is said to it."""
        ...

    def push(self, tape: Tape, interval: Interval, kline: Kline, at_ms: int) -> bytes:
        """Encode one push, sent at `at_ms` (UTC ms)."""
        ...

    def wrap(self, channel: str, frame: bytes) -> bytes:
        """Wrap a push for a `combined` session."""
        ...

    def answer(self, asked: Asked) -> Answer:
        """Answer a REST question."""
        ...

    def refusal(self, status: int) -> bytes:
        """Encode the body that goes with an HTTP error of the venue's own making."""
        ...


def encoded(value: object) -> bytes:
    """Encode JSON as venues do, without blanks."""
    return json.dumps(value, separators=(",", ":")).encode()


def good(value: object) -> Answer:
    """Answer with data."""
    return Answer(HTTPStatus.OK, encoded(value))


def whole(parameters: Mapping[str, str], name: str) -> int | None:
    """Read a whole number; None when it is absent."""
    text = parameters.get(name, "")
    return int(text) if text.isdecimal() else None


def request_of(frame: str | bytes) -> dict[str, Any]:
    """Read a client's JSON; what is none, or no object, is an empty one."""
    try:
        request = json.loads(frame)
    except ValueError:
        return {}
    return request if isinstance(request, dict) else {}
