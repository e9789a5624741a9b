"""What the sink asks of a connection to a broker, and what may become of it.

No library and no broker is known here; `mqtt_link.Link` is the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Protocol, Self

from candled_adapters.sinks.mqtt_messages import Heard, Message


class LinkError(Exception):
    """The connection is of no more use. The text says what happened and how to mend it."""


class TakenOverError(LinkError):
    """Another client has connected under our client id."""


class Wire(Protocol):
    """A connection, from `async with` to its end."""

    async def __aenter__(self) -> Self:
        """Connect; raises LinkError."""
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Cut the connection, if it still stands."""
        ...

    async def leave(self) -> None:
        """Say goodbye, so that the will is forgotten."""
        ...

    async def lost(self) -> None:
        """Wait for the end of the connection; raises its LinkError."""
        ...

    async def send(self, message: Message) -> asyncio.Future[None]:
        """Publish at QoS 1; the future is done when the broker has accepted it."""
        ...

    def send_unacked(self, message: Message) -> None:
        """Publish at QoS 0."""
        ...

    async def listen(self, topic: str) -> None:
        """Subscribe at QoS 1; returns once the broker has granted it."""
        ...

    def heard(self) -> AsyncIterator[Heard]:
        """Iterate over what is heard, until the connection ends with its LinkError."""
        ...
