"""What a simulated venue is: pure functions from what the market knows to its frames and answers.

The server and the pusher are written against `Venue` and know nothing else of a venue. A venue
here is written from the documents, on its own: it shares nothing with the dialect that reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from candled.core.bar import Interval
from candled_adapters.simulator.fault import Push
from candled_adapters.simulator.market import Change, Kline, Market, Query, Tape


def _truthful(tape: Tape) -> None:
    """Change nothing of any tape."""
    del tape


class Session(Protocol):
    """One websocket connection as the venue sees it."""

    @property
    def combined(self) -> bool:
        """Whether frames are wrapped, where a venue has two kinds of connections."""
        ...

    @property
    def streams(self) -> dict[str, int]:
        """Channels that are subscribed to -> which subscription of the session it was."""
        ...


class OneKind:
    """What venues share that have one kind of connections and close them without a notice."""

    __slots__ = ()

    def wrap(self, channel: str, frame: bytes) -> bytes:
        """Leave it as it is."""
        del channel
        return frame

    def farewell(self, now_ms: int, *, combined: bool) -> bytes | None:
        """Say nothing."""
        del now_ms, combined
        return None


@dataclass(slots=True)
class Topics:
    """A session's subscriptions, in the order in which they were made."""

    streams: dict[str, int] = field(default_factory=dict)
    """Channel -> which subscription of the session it was, from 1."""
    combined: bool = False
    """Whether frames are wrapped with their channel's name."""
    made: int = 0
    """How many subscriptions were made."""

    def subscribe(self, channels: Iterable[str]) -> None:
        """Add channels; one that is there already gets a new number."""
        for channel in channels:
            self.made += 1
            self.streams[channel] = self.made

    def unsubscribe(self, channels: Iterable[str]) -> list[str]:
        """Take channels away and return those that were there."""
        return [channel for channel in channels if self.streams.pop(channel, None)]


@dataclass(frozen=True, slots=True)
class Asked:
    """A REST question and what is needed to answer it."""

    market: Market
    target: str
    """Path and query."""
    body: bytes
    now_ms: int
    """Venue time (UTC ms): the rows are as of then."""
    told_ms: int
    """What the venue says that its time is."""
    changes: Callable[[Tape], Change | None] = _truthful
    """What is wrong with a tape's rows; None when nothing is."""

    @property
    def path(self) -> str:
        """The target's path."""
        return urlsplit(self.target).path

    @property
    def parameters(self) -> dict[str, str]:
        """The target's query."""
        return dict(parse_qsl(urlsplit(self.target).query))

    def klines(self, tape: Tape, query: Query) -> list[Kline]:
        """Return what a tape shows now, or is made to show."""
        return list(tape.klines(query, self.now_ms, self.changes(tape)))


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

    def push(self, tape: Tape, interval: Interval, push: Push) -> bytes:
        """Encode one push."""
        ...

    def wrap(self, channel: str, frame: bytes) -> bytes:
        """Wrap a push for a `combined` session."""
        ...

    def answer(self, asked: Asked) -> Answer:
        """Answer a REST question."""
        ...

    def denial(self, frame: str | bytes) -> bytes:
        """Encode the error that a client gets whose subscribing `frame` is refused."""
        ...

    def farewell(self, now_ms: int, *, combined: bool) -> bytes | None:
        """Encode the notice that the connection will be closed; None where there is no such."""
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
