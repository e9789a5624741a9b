"""What a consumer is told, and what it is told from. Facts only; the rules are in `rules`.

A bot acts on a `Heard` whose `act` is true, stops opening positions from a `Halt` to its `Go`, and
undoes what a `Corrected` calls off. All else is for the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from candled_adapters.protocol.shapes import Correction, Signal


@dataclass(frozen=True, slots=True)
class Message:
    """One message as the broker handed it over."""

    topic: str
    payload: bytes
    retained: bool = False
    """Whether it was kept for whoever subscribes later, so that its age is unknown."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """MQTT 5's user properties; of a name that comes twice the last."""


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on two clocks."""

    local: float
    """Seconds of a clock of ours that never jumps."""
    venue_ms: int
    """The venue's clock (UTC ms), or what is certain not to be behind it."""
    speed: float = 1.0
    """Seconds of the venue in one of ours: other than 1 for simulated venues."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A signal, told once by its id."""

    stream: str
    """exchange/symbol/interval"""
    signal: Signal
    why_not: str | None
    """Why it must not be acted on; None when it may be, now."""
    replayed: bool = False
    """Whether it came as the answer to a question, for the record."""

    @property
    def act(self) -> bool:
        """Whether it may be acted on, at the moment it is handed over."""
        return self.why_not is None


@dataclass(frozen=True, slots=True)
class Corrected:
    """A decision that takes the place of an earlier one, since the venue revised a bar.

    Where it is a signal too, that is told as `Heard`, before or after.
    """

    stream: str
    correction: Correction

    @property
    def calls_off(self) -> str | None:
        """Id of the bar's signal that holds no longer; None when its side still does."""
        was = self.correction.supersedes
        return None if was.side == self.correction.side else was.signal


@dataclass(frozen=True, slots=True)
class Halt:
    """From now on nothing may be acted on: in one stream, or in all."""

    stream: str | None
    """None: in all of them."""
    why: str


@dataclass(frozen=True, slots=True)
class Go:
    """What was halted can be relied on again. Both must go: the stream, and all (None)."""

    stream: str | None


@dataclass(frozen=True, slots=True)
class Lost:
    """Signals that will never be told: the daemon no longer keeps them."""

    stream: str
    first: int
    """Number of the first one that is lost."""
    last: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that could not be understood or believed; nothing follows from it."""

    topic: str
    why: str


@dataclass(frozen=True, slots=True)
class Ask:
    """The daemon is to be asked for a stream's signals above a number. Not for applications."""

    stream: str
    since_seq: int
    epoch: str | None


#: What applications are told.
Event = Heard | Corrected | Halt | Go | Lost | Refused
Fact = Event | Ask
