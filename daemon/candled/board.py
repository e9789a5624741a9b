"""The health board: what is wrong, part by part, and the one state that follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from candled.ports import Health, ServiceState

_SHOWN = 20  # reasons that a status carries; the rest are counted


class Board:
    """Collects problems from every part of the service; implements `candled.ports.HealthBoard`."""

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._problems: dict[str, str] = {}
        self._health = Health(ServiceState.ONLINE, (), wall_ms())
        self._changed = asyncio.Event()

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
