"""The loop watch: how late the event loop is, because something held it up.

Everything of the live process shares one loop. A call that blocks, a busy machine or a process that
was stopped shows here as lateness, and nowhere else so plainly. Knows nothing of what runs on it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from candled.figures import Durations

_EVERY_S: Final = 0.02
_KEPT: Final = 50_000  # newest beats: a thousand seconds


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late the loop was (ms); None before the first beat."""

    p999_ms: float | None
    """Of the newest beats, one in a thousand was later."""
    max_ms: float | None
    """Since the start."""


NOT_MEASURED: Final = Lateness(None, None)


class LoopWatch:
    """Wakes fifty times a second and notes how much too late that was.

    A call that blocks the loop for longer than a beat is seen as its length less at most one beat.
    """

    def __init__(self) -> None:
        self._late_s: deque[float] = deque(maxlen=_KEPT)
        self._longest_s = 0.0
        self.beats = Durations()
        """How late each beat was since the start."""

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            due = time.monotonic() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            self.beat(time.monotonic() - due)

    def beat(self, late_s: float) -> None:
        """Take note of one beat that came `late_s` seconds too late."""
        self._late_s.append(max(late_s, 0.0))
        self._longest_s = max(self._longest_s, late_s)
        self.beats.add(int(late_s * 1e9))

    @property
    def longest_s(self) -> float:
        """How late the latest beat since the start was (s)."""
        return self._longest_s

    def lateness(self) -> Lateness:
        """Return the figures so far; None before the first beat."""
        if not self._late_s:
            return NOT_MEASURED
        p999 = float(np.percentile(self._late_s, 99.9))
        return Lateness(round(p999 * 1e3, 3), round(self._longest_s * 1e3, 3))
