"""The health board: what is wrong, part by part, and the one state that follows from it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import takewhile

from candled.core.bar import Stream
from candled.errors import describe
from candled.ports import Health, Incident, Notice, ServiceState, StreamHealth, StreamState

_SHOWN = 20  # reasons that a status carries; the rest are counted
_NOTICES = 256  # that are kept for a sink that is away; they are told, not delivered


class Board:
    """Collects problems from every part of the service; implements `candled.ports.HealthBoard`."""

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._problems: dict[str, str] = {}
        self._remarks: dict[str, str] = {}
        self._well: set[str] = set()  # parts that have been well at least once
        self._health = Health(ServiceState.ONLINE, (), wall_ms())
        self._changed = asyncio.Event()
        self._failure: str | None = None
        self._streams: dict[Stream, StreamHealth] = {}
        self._changes: dict[Stream, int] = {}  # number of each stream's last one, oldest first
        self._last_change = 0
        self._stream_changed = asyncio.Event()
        self._notices: deque[Notice] = deque(maxlen=_NOTICES)
        self._told = 0
        self._noticed = asyncio.Event()

    @property
    def health(self) -> Health:
        """The present health."""
        return self._health

    def problem(self, part: str) -> str | None:
        """Return what is wrong with `part`; None when it is well, or was never heard of."""
        return self._problems.get(part)

    def report(self, part: str, problem: str | None) -> None:
        """Say what is wrong with `part`, or None when it is well."""
        if problem is None:
            self._well.add(part)
        self._put(self._problems, part, problem)

    def has_been_well(self, part: str) -> bool:
        """Whether `part` has said at least once that it is well."""
        return part in self._well

    def remark(self, part: str, remark: str | None) -> None:
        """Say what people should know of `part`, or None; it does not degrade the service."""
        self._put(self._remarks, part, remark)

    def _put(self, texts: dict[str, str], part: str, text: str | None) -> None:
        if texts.get(part) == text:
            return
        if text is None:
            del texts[part]
        else:
            texts[part] = text
        self._refresh()

    def note(self, stream: StreamHealth) -> None:
        """Say how a stream is doing; any that is not live degrades the service."""
        if self._streams.get(stream.stream) == stream:
            return
        self._streams[stream.stream] = stream
        self._count_change(stream.stream)
        live = stream.state is StreamState.LIVE
        text = f"{stream.state.value}: {stream.reason}" if stream.reason else stream.state.value
        self.report(stream.stream.path, None if live else text)

    def stream(self, stream: Stream) -> StreamHealth | None:
        """Return how a stream is doing; None for one that is not served now."""
        return self._streams.get(stream)

    def _count_change(self, stream: Stream) -> None:
        self._last_change += 1
        self._changes.pop(stream, None)
        self._changes[stream] = self._last_change
        changed, self._stream_changed = self._stream_changed, asyncio.Event()
        changed.set()

    async def streams_changed(self, after: int) -> tuple[int, list[Stream]]:
        """Return which streams do otherwise since change `after`, once there are some."""
        while self._last_change <= after:
            await self._stream_changed.wait()
        newer = takewhile(lambda item: item[1] > after, reversed(self._changes.items()))
        return self._last_change, [stream for stream, _ in newer][::-1]

    def fail(self, part: str, error: BaseException) -> None:
        """Say that the service ends because `part` failed; the first cause is kept."""
        if self._failure is None:
            self._failure = f"{part} failed: {describe(error)}"

    @property
    def failure(self) -> str | None:
        """Why the service ends, when it was not asked to."""
        return self._failure

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
        told = sorted(self._problems.items()) + sorted(self._remarks.items())
        reasons = [f"{part}: {text}" for part, text in told]
        if len(reasons) > _SHOWN:
            reasons[_SHOWN:] = [f"and {len(reasons) - _SHOWN} more"]
        state = ServiceState.DEGRADED if self._problems else ServiceState.ONLINE
        since = self._health.since_ms if state is self._health.state else self._wall_ms()
        self._health = Health(state, tuple(reasons), since)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def changed(self, seen: Health) -> Health:
        """Return the health once it differs from `seen`."""
        while self._health == seen:
            await self._changed.wait()
        return self._health
