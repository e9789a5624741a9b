"""What the simulated venue does wrong on command: switches that the server consults.

Time comes from a monotonic clock that is handed in; what is done about a fault is the server's
business. Durations are real seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

#: One bar of one symbol: symbol and open time (UTC ms).
Slot = tuple[str, int]
_FOREVER: Final = float("inf")


@dataclass(slots=True)
class Faults:
    """The faults in force; none at first."""

    clock: Callable[[], float]
    """Monotonic seconds."""
    rest_delay_s: float = 0.0
    """Every REST answer is held back so long, after it was made."""
    retry_after_s: int | None = None
    """Sent as Retry-After with a refusal when not None."""
    _muted_until: float = 0.0
    _rest_status: int = 0
    _refused_until: float = 0.0
    _hidden_ws: dict[Slot, float] = field(default_factory=dict)
    _hidden_rest: dict[Slot, float] = field(default_factory=dict)
    _doubled: set[Slot] = field(default_factory=set)

    def mute(self, seconds: float = _FOREVER) -> None:
        """Push nothing for a while, or until `unmute`; pings and acks go on. Nothing is made up."""
        self._muted_until = self.clock() + seconds

    def unmute(self) -> None:
        """Push again."""
        self._muted_until = 0.0

    def hide(
        self,
        symbol: str,
        open_time: int,
        *,
        ws: bool = True,
        rest: bool = False,
        seconds: float = _FOREVER,
    ) -> None:
        """Withhold a bar's closing frame and/or its klines row for a while, or until `show`."""
        until = self.clock() + seconds
        if ws:
            self._hidden_ws[symbol, open_time] = until
        if rest:
            self._hidden_rest[symbol, open_time] = until

    def show(self, symbol: str, open_time: int) -> None:
        """Undo `hide`; a closing frame whose moment has passed is not sent any more."""
        self._hidden_ws.pop((symbol, open_time), None)
        self._hidden_rest.pop((symbol, open_time), None)

    def double(self, symbol: str, open_time: int) -> None:
        """Push a bar's closing frame twice."""
        self._doubled.add((symbol, open_time))

    def delay_rest(self, seconds: float) -> None:
        """Hold every REST answer back so long; 0 ends it."""
        self.rest_delay_s = seconds

    def refuse_rest(
        self, status: int, *, seconds: float = _FOREVER, retry_after_s: int | None = None
    ) -> None:
        """Answer every REST request with an HTTP error, e.g. 429 or 500, until `accept_rest`."""
        self._rest_status = status
        self._refused_until = self.clock() + seconds
        self.retry_after_s = retry_after_s

    def accept_rest(self) -> None:
        """Undo `refuse_rest`."""
        self._refused_until = 0.0

    @property
    def muted(self) -> bool:
        """Whether nothing is pushed."""
        return self.clock() < self._muted_until

    @property
    def refusal(self) -> int | None:
        """HTTP status with which REST refuses now, or None."""
        return self._rest_status if self.clock() < self._refused_until else None

    def closing_frames(self, symbol: str, open_time: int) -> int:
        """How many closing frames of a bar are pushed."""
        slot = (symbol, open_time)
        if slot in self._hidden_ws and self.clock() < self._hidden_ws[slot]:
            return 0
        return 2 if slot in self._doubled else 1

    def hidden_rows(self, symbol: str) -> Collection[int]:
        """Open times that klines leaves out."""
        now = self.clock()
        return {
            open_time
            for (name, open_time), until in self._hidden_rest.items()
            if name == symbol and now < until
        }
