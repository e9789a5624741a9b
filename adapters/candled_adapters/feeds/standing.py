"""How one stream is doing: the one state that follows from all that holds, told when it changes.

Pure. The machine settles where the stream stands with its bars; whoever finds something else wrong
with it (its connection, its subscription, the venue's clock) says so as a concern.
"""

from __future__ import annotations

from candled.core.bar import Stream
from candled.ports import FeedEvent, StreamHealth, StreamState


class Standing:
    """The state machine of one stream.

    ``warming``, ``live``, ``holding`` and ``stopped`` are about its bars; a live stream with any
    concern is ``degraded``: its bars come, but not as they should.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._settled: tuple[StreamState, str] | None = None
        self._concerns: dict[str, str] = {}
        self._told: tuple[StreamState, str] | None = None

    @property
    def state(self) -> StreamState | None:
        """The state that was told last; None before the first."""
        return None if self._told is None else self._told[0]

    @property
    def reason(self) -> str:
        """Why it is so, for people; empty when live."""
        return "" if self._told is None else self._told[1]

    def settle(
        self, state: StreamState, reason: str, *, lifts: str | None = None
    ) -> list[FeedEvent]:
        """Say where it stands with its bars, and that the concern `lifts` is none any more."""
        self._settled = (state, reason)
        if lifts is not None:
            self._concerns.pop(lifts, None)
        return self._tell()

    def concern(self, part: str, problem: str | None) -> list[FeedEvent]:
        """Say what else is wrong with a part of it, or with None that nothing is any more."""
        if problem is None:
            self._concerns.pop(part, None)
        else:
            self._concerns[part] = problem
        return self._tell() if self._settled or self._concerns else []

    def _tell(self) -> list[FeedEvent]:
        now = self._state()
        if now == self._told:
            return []
        self._told = now
        return [StreamHealth(self._stream, *now)]

    def _state(self) -> tuple[StreamState, str]:
        state, reason = self._settled or (StreamState.WARMING, "")
        concerns = "; ".join(self._concerns.values())
        if state is StreamState.LIVE:
            return (StreamState.DEGRADED, concerns) if concerns else (state, "")
        return state, "; ".join(filter(None, (reason, concerns)))
