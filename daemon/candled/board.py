"""The health board: what is wrong, part by part, and the one state that follows from it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from candled.core.bar import Stream
from candled.ports import Health, Incident, Notice, ServiceState, StreamHealth, StreamState

_SHOWN = 20  # reasons that a status carries; the rest are counted
_NOTICES = 256  # that are kept for a sink that is away; they are told, not delivered


class Board:
    """Collects problems from every part of the service; implements `candled.ports.HealthBoard`."""

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._problems: dict[str, str] = {}
        self._health = Health(ServiceState.ONLINE, (), wall_ms())
        self._changed = asyncio.Event()
        self._streams: dict[Stream, StreamHealth] = {}
        self._notices: deque[Notice] = deque(maxlen=_NOTICES)
        self._told = 0
        self._noticed = asyncio.Event()

    @property
    def health(self) -> Health:
        """The present health."""
        return self._health

    def report(self, part: str, problem: str | None) -> None:
        """Say what is wrong with `part`, or None when it is well."""
        if self._problems.get(part) == problem:
            return
        if problem is None:
            del self._problems[part]
        else:
            self._problems[part] = problem
        self._refresh()

    def note(self, stream: StreamHealth) -> None:
        """Say how a stream is doing; any that is not live degrades the service."""
        self._streams[stream.stream] = stream
        live = stream.state is StreamState.LIVE
        text = f"{stream.state.value}: {stream.reason}" if stream.reason else stream.state.value
        self.report(stream.stream.path, None if live else text)

    def stream(self, stream: Stream) -> StreamHealth | None:
        """Return how a stream is doing; None for one that is not served now."""
        return self._streams.get(stream)

    def tell(self, incident: Incident, unsaid: int) -> None:
        """Let sinks tell people of an incident, and how many like it were not told before."""
        self._told += 1
        self._notices.append(Notice(self._told, incident, unsaid))
        noticed, self._noticed = self._noticed, asyncio.Event()
        noticed.set()

    async def notices(self, after: int) -> list[Notice]:
        """Return the notices numbered above `after`, once there are some; old ones are lost."""
        while self._told <= after:
            await self._noticed.wait()
        return [notice for notice in self._notices if notice.number > after]

    def _refresh(self) -> None:
        reasons = [f"{part}: {problem}" for part, problem in sorted(self._problems.items())]
        if len(reasons) > _SHOWN:
            reasons[_SHOWN:] = [f"and {len(reasons) - _SHOWN} more"]
        state = ServiceState.DEGRADED if reasons else ServiceState.ONLINE
        since = self._health.since_ms if state is self._health.state else self._wall_ms()
        self._health = Health(state, tuple(reasons), since)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def changed(self, seen: Health) -> Health:
        """Return the health once it differs from `seen`."""
        while self._health == seen:
            await self._changed.wait()
        return self._health
