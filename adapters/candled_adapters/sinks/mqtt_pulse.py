"""When to ask whether the broker is still there, and when to give it up. Pure.

Time is counted in ticks of the event loop's own timer. A loop that was busy for seconds has ticked
once: the time in which we did not listen is not held against the broker, which may have answered
long ago.
"""

from __future__ import annotations

import math
from enum import Enum, auto
from typing import Final

_TICKS: Final = 4  # in the shortest of the spans


class Beat(Enum):
    """What is to be done at a tick."""

    REST = auto()
    ASK = auto()
    """Send a ping."""
    GONE = auto()
    """It has not answered the last one."""


class Pulse:
    """Asks twice within `keepalive` seconds; an answer may take `patience` seconds.

    So a broker that freezes is given up within keepalive / 2 + patience seconds and two ticks.
    `tick` must be called every `seconds`, `heard` for whatever comes from the broker.
    """

    def __init__(self, keepalive: float, patience: float) -> None:
        pause = keepalive / 2
        self.seconds = min(pause, patience) / _TICKS
        self.now = 0
        """The present tick."""
        self._pause = max(1, int(pause / self.seconds))
        self._patience = math.ceil(patience / self.seconds)
        self._next = self._pause
        self._asked: int | None = None

    def tick(self) -> Beat:
        """Go on by one tick."""
        self.now += 1
        if self._asked is not None and self.overdue(self._asked):
            return Beat.GONE
        if self.now < self._next:
            return Beat.REST
        self._next = self.now + self._pause
        if self._asked is None:
            self._asked = self.now
        return Beat.ASK

    def heard(self) -> None:
        """Note a sign of life."""
        self._asked = None

    def overdue(self, since: int) -> bool:
        """Whether an answer to what was sent at tick `since` should have come by now."""
        return self.now - since > self._patience
