"""The venue's clock as measured: samples in, `candled.ports.Clock` out.

The shell reads the monotonic clock and hands it in; the arithmetic is candled.core.clock's.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final

from candled.core.bar import TIME_RANGE_MS
from candled.core.clock import ClockSample, VenueClock, fit

_SLACK_STEPS: Final = 2.0
_RATE_CHANGE: Final = 0.01
_SAME_TIME_MS: Final = 1000.0
_SETTLED_S: Final = 60.0  # a clock that jumped is believed when it has agreed with itself so long


class VenueTime:
    """A venue's time: wall time until it was asked, then an offset and a rate.

    The fit rests on the oldest sample since the clock was last found inconsistent (a venue that
    restarted, another simulator) and on the newest. Time pushed in frames is a floor. A clock that
    jumped is in doubt until it has agreed with itself for a minute, and one that differs from this
    machine's by more than `max_skew_s` is for as long as it does.
    """

    def __init__(self, changed: Callable[[], None], max_skew_s: float = float("inf")) -> None:
        self._changed = changed
        self._max_skew_ms = max_skew_s * 1000.0
        self._skew_ms = 0.0
        self._jump_ms = 0
        self._jumped_s = float("-inf")
        self._samples: list[ClockSample] = []
        self._clock: VenueClock | None = None
        self._measured = asyncio.Event()
        self._floor_ms = 0

    def now_ms(self) -> int:
        """Venue time now (UTC ms)."""
        if self._clock is None:
            return max(time.time_ns() // 1_000_000, self._floor_ms)
        return max(self._clock.at(time.monotonic()), self._floor_ms)

    def local_seconds(self, venue_ms: float) -> float:
        """How many seconds of ours `venue_ms` milliseconds of the venue's last."""
        return venue_ms / 1000.0 if self._clock is None else self._clock.local_seconds(venue_ms)

    async def measured(self) -> None:
        """Return once there was a sample."""
        await self._measured.wait()

    def add(self, sample: ClockSample) -> None:
        """Take a measurement; tell whoever has timers when it changes more than a little."""
        before = self._clock
        if self._is_another_clock(sample):
            self._note_jump(sample)
            self._samples = []
            self._floor_ms = 0
        self._samples = [*self._samples[:1], sample]
        self._clock = fit(self._samples)
        self._measured.set()
        if before is None or _differs(before, self._clock):
            self._changed()

    def _note_jump(self, sample: ClockSample) -> None:
        """Remember a step that is more than what people call the same time."""
        expected = self._clock.at(sample.answered) if self._clock else sample.server_ms
        step_ms = sample.server_ms - expected
        if self._clock and abs(step_ms) > _SAME_TIME_MS * max(1.0, self._clock.rate):
            self._jump_ms, self._jumped_s = step_ms, sample.answered

    def compare(self, wall_ms: int) -> None:
        """Take note of this machine's wall clock (UTC ms), read just after a sample."""
        self._skew_ms = float(self.now_ms() - wall_ms)

    @property
    def skew_ms(self) -> float:
        """How far it was ahead of this machine's when compared; 0 where that may be anything."""
        return 0.0 if math.isinf(self._max_skew_ms) else self._skew_ms

    def has_jumped(self, local_s: float) -> bool:
        """Whether it contradicted itself within the last minute before a local time (s)."""
        return local_s - self._jumped_s < _SETTLED_S

    def doubt(self, local_s: float) -> str:
        """Say why it should not be relied on at a local time (s); '' if it may."""
        if self.has_jumped(local_s):
            return f"the venue's clock jumped by {self._jump_ms / 1000:+.1f} s"
        if abs(self.skew_ms) > self._max_skew_ms:
            return (
                f"the venue's clock is {self.skew_ms / 1000:+.1f} s from this machine's; set the "
                "clock right, or raise max_skew_s of the exchange"
            )
        return ""

    def observe(self, event_ms: int) -> None:
        """Take note that the venue's clock has read `event_ms`."""
        if TIME_RANGE_MS[0] <= event_ms < TIME_RANGE_MS[1]:
            self._floor_ms = max(self._floor_ms, event_ms)

    def _is_another_clock(self, sample: ClockSample) -> bool:
        """Whether no one rate explains the first, the last and this sample."""
        if not self._samples:
            return False
        first, last = self._samples[0], self._samples[-1]
        if sample.server_ms < last.server_ms - _slack_ms(sample):
            return True
        if first is last:
            return False
        low, high = _rates(first, last)
        low_now, high_now = _rates(last, sample)
        return high_now < low or high < low_now


def _rates(one: ClockSample, two: ClockSample) -> tuple[float, float]:
    """Return the bounds of the rate (venue ms per local ms) that two samples allow."""
    elapsed = float(two.server_ms - one.server_ms)
    longest = (two.answered - one.asked) * 1000.0
    shortest = (two.asked - one.answered) * 1000.0
    slack = _slack_ms(two)
    high = (elapsed + slack) / shortest if shortest > 0 else float("inf")
    low = (elapsed - slack) / longest if longest > 0 else float("-inf")  # a clock may stand still
    return low, high


def _slack_ms(sample: ClockSample) -> float:
    return _SLACK_STEPS * sample.step_ms


def _differs(one: VenueClock, two: VenueClock) -> bool:
    return abs(one.rate - two.rate) > _RATE_CHANGE * one.rate or (
        abs(one.at(two.anchor_s) - two.anchor_ms) > _SAME_TIME_MS * max(1.0, two.rate)
    )
