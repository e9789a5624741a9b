"""What is asked of a venue besides its pushes, whatever its way to answer; and what all ways share.

Knows no HTTP and no venue. Nothing is retried here: who asked decides when to ask again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from candled.core.bar import Stream
from candled.core.clock import ClockSample
from candled_adapters.exchanges.dialect import RefusalKind, Rows
from candled_adapters.feeds.backlog import Read
from candled_adapters.feeds.venuetime import VenueTime

_SHORT_WAIT_S: Final = 5.0


class NotAnsweredError(Exception):
    """The venue did not answer with data; the text says why."""

    def __init__(
        self, reason: str, kind: RefusalKind = RefusalKind.FAILED, wait_s: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        self.wait_s = wait_s
        """How long the venue wants to be left alone; 0 when it did not say."""

    @property
    def unknown(self) -> bool:
        """Whether the venue does not know the stream."""
        return self.kind is RefusalKind.UNKNOWN_STREAM

    @property
    def final(self) -> bool:
        """Whether asking again is pointless."""
        return self.kind in (RefusalKind.UNKNOWN_STREAM, RefusalKind.REJECTED)


class Questions(Protocol):
    """A venue's answers. Both raise `NotAnsweredError`."""

    async def server_time(self, after: float) -> int:
        """Return a server time (UTC ms) asked for at or after `after` (local monotonic s)."""
        ...

    async def rows(self, stream: Stream, read: Read, *, urgent: bool = True) -> Rows:
        """Return the answer to `read`, and nothing that it did not ask for.

        What is not urgent waits until the venue's limits have room to spare.
        """
        ...


class Door:
    """Whether a venue may be asked now: it may have said that it wants to be left alone."""

    def __init__(self) -> None:
        self._closed_until = 0.0

    def close(self, seconds: float) -> None:
        """Keep away for so long, or as long as was said before."""
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)

    async def opened(self) -> None:
        """Wait for it, or raise `NotAnsweredError` when that takes long."""
        while (left := self._closed_until - time.monotonic()) > 0:
            if left > _SHORT_WAIT_S:
                reason = f"the venue wants to be left alone for {left:.0f} s"
                raise NotAnsweredError(reason, RefusalKind.RATE_LIMIT, left)
            await asyncio.sleep(left)


class ServerTime:
    """A venue's time: asked for once, the answer, or that there was none, is everybody's."""

    def __init__(
        self,
        clock: VenueTime,
        *,
        step_ms: int,
        allowed: Callable[[], Awaitable[None]],
        ask: Callable[[], Awaitable[int]],
    ) -> None:
        """Measure `clock`. `allowed` waits until `ask` may be called."""
        self._clock = clock
        self._step_ms = step_ms
        self._allowed = allowed
        self._ask = ask
        self._asking = asyncio.Lock()
        self._asked = 0.0
        self._failure: NotAnsweredError | None = None
        self._server_ms = 0

    async def at(self, after: float) -> int:
        """Return a time (UTC ms) that was asked for at or after `after` (local monotonic s)."""
        async with self._asking:
            if self._asked < after:
                await self._sample()
            if self._failure is not None:
                failure = self._failure
                raise NotAnsweredError(str(failure), failure.kind, failure.wait_s)
            return self._server_ms

    async def _sample(self) -> None:
        self._asked = asked = time.monotonic()
        try:
            await self._allowed()
            asked = time.monotonic()
            server_ms = await self._ask()
        except NotAnsweredError as error:
            self._failure = error
            return
        self._failure = None
        self._server_ms = server_ms
        self._clock.add(ClockSample(asked, time.monotonic(), server_ms, self._step_ms))
