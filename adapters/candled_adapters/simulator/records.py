"""What the simulated venue remembers of its run, for assertions and measurements."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientFrame:
    """A frame that a client sent."""

    connection: int
    """Number of the connection, from 1."""
    data: str | bytes
    at_s: float
    """Monotonic time (s)."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A REST question or a websocket handshake."""

    target: str
    """Path and query."""
    status: int
    """What it was answered with; 101 for a handshake."""
    venue_ms: int
    """Venue time when it was answered (UTC ms)."""
    at_s: float
    """Monotonic time when it was answered (s); a delay on purpose comes after."""


@dataclass(frozen=True, slots=True)
class Burst:
    """The closing frames of one instant."""

    venue_ms: int
    """End of the bars' slot (UTC ms)."""
    frames: int
    """How many were written, over all connections."""
    seconds: float
    """From before the first was written until after the last."""
