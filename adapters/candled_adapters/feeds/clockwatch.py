"""What is said of a venue's clock: a note when it differs, a concern when it is in doubt. Pure."""

from __future__ import annotations

from typing import Final

from candled.ports import Act, Hazard, Incident
from candled_adapters.feeds.pushed import Moment
from candled_adapters.feeds.venuetime import VenueTime

_NOTED_MS: Final = 1_000.0


class ClockWatch:
    """Looks at a venue's clock after each measurement, and tells what is new."""

    def __init__(self, exchange: str, clock: VenueTime) -> None:
        self._exchange = exchange
        self._clock = clock
        self._told: tuple[Hazard, Act] | None = None

    def look(self, moment: Moment) -> Incident | None:
        """Compare it with the wall clock; return what is to be told, if that is new."""
        self._clock.compare(moment.wall_ns // 1_000_000)
        what = self._judge(moment.local_s)
        told, self._told = self._told, what
        if what is None or what == told:
            return None
        doubt = self._clock.doubt(moment.local_s)
        text = doubt or f"the venue's clock is {self._clock.skew_ms / 1000:+.1f} s from this one"
        return Incident(self._exchange, None, *what, text, moment.venue_ms)

    def _judge(self, local_s: float) -> tuple[Hazard, Act] | None:
        if self._clock.has_jumped(local_s):
            return Hazard.CLOCK_JUMP, Act.DEGRADE
        if self._clock.doubt(local_s):
            return Hazard.CLOCK_SKEW, Act.DEGRADE
        return (Hazard.CLOCK_SKEW, Act.FLAG) if abs(self._clock.skew_ms) > _NOTED_MS else None
