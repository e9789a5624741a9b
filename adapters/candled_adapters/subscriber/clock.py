"""A venue's clock for whoever cannot trust or use this machine's: learned from messages.

Conservative: it may run ahead of the venue's clock, so that a signal is given up too early, but a
signal that is late is not taken for live. Pure: moments are arguments.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

UNKNOWN_MS: Final = 1 << 62  # so late that nothing is valid
_WINDOW_S: Final = 600.0


def wall_ms() -> int:
    """Return this machine's time (UTC ms): the venue's, where both follow UTC."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class VenueClock:
    """Estimates a venue's time from when its messages say that they were published.

    A message was published before it came, so the venue's clock is at least as far as it says and
    as the time since then adds. The message that says most sets the clock; `margin_s` is added for
    the way that even the quickest one took. What was heard longer than 20 minutes ago counts no
    more, so that a clock that was set ahead for a moment comes back. Until a first message it is
    later than everything.
    """

    speed: float = 1.0
    """Seconds of the venue in one of ours: other than 1 for simulated venues."""
    margin_s: float = 0.25
    """Seconds of ours that a message takes at least, or more."""
    _began: float | None = field(default=None, repr=False)
    _now: float | None = field(default=None, repr=False)
    """The highest offset (ms) in the present window."""
    _before: float | None = field(default=None, repr=False)
    """And in the window before."""

    def hear(self, said_ms: int, local_s: float) -> None:
        """Take note that a message of venue time `said_ms` came at `local_s`."""
        offset = said_ms - local_s * 1000 * self.speed
        if self._began is None or local_s - self._began >= _WINDOW_S:
            self._began, self._before, self._now = local_s, self._now, None
        self._now = offset if self._now is None else max(self._now, offset)

    def at(self, local_s: float) -> int:
        """Return the venue's time (UTC ms) at a moment of our clock."""
        known = [offset for offset in (self._now, self._before) if offset is not None]
        if not known:
            return UNKNOWN_MS
        return round(max(known) + (local_s + self.margin_s) * 1000 * self.speed)
