"""The venue's clock as arithmetic: an offset and a rate, fitted from questions and answers.

A venue's server time rules lateness, staleness and validity, so that a simulator may run fast or
in another year and nothing else needs to know. The caller brings its own monotonic readings; no
clock is read here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClockSample:
    """One question for the server time, in local monotonic seconds, and its answer."""

    asked: float
    """Local time just before the question was sent (s)."""
    answered: float
    """Local time just after the answer came (s)."""
    server_ms: int
    """What the venue said (UTC ms); true at some moment between the two."""
    step_ms: int = 1
    """Resolution of what the venue said: the truth may be later by less than this."""


@dataclass(frozen=True, slots=True)
class VenueClock:
    """``venue_ms = anchor_ms + rate * (local_s - anchor_s) * 1000``."""

    anchor_s: float
    """Local time of the anchor (s)."""
    anchor_ms: float
    """Venue time at the anchor (UTC ms)."""
    rate: float = 1.0
    """Venue milliseconds in one local millisecond."""
    error_ms: float = float("inf")
    """Half the width of what the anchor may be off by (venue ms); infinite when never measured."""

    def at(self, local_s: float) -> int:
        """Venue time (UTC ms) at local monotonic time `local_s`."""
        return int(self.anchor_ms + self.rate * (local_s - self.anchor_s) * 1000.0)

    def local_seconds(self, venue_ms: float) -> float:
        """How many local seconds `venue_ms` venue milliseconds last."""
        return venue_ms / self.rate / 1000.0


def fit(samples: list[ClockSample]) -> VenueClock:
    """Fit the clock to one or more samples, oldest first.

    Each sample says that the server read `server_ms` somewhere between `asked` and `answered`, so
    two of them bound the rate from both sides. A rate of exactly 1 is kept unless the bounds
    exclude it: network jitter must not look like a venue that runs fast.
    """
    first, last = samples[0], samples[-1]
    rate = fastest = 1.0
    step = float(max(first.step_ms, last.step_ms))
    shortest = last.asked - first.answered
    longest = last.answered - first.asked
    if len(samples) > 1 and shortest > 0:
        elapsed = float(last.server_ms - first.server_ms)
        low = (elapsed - step) / (longest * 1000.0)
        high = (elapsed + step) / (shortest * 1000.0)
        if not low <= 1.0 <= high:
            # Between the middles of both, not in the middle of the bounds: of two questions in
            # quick succession the upper one is almost infinite.
            rate, fastest = max(elapsed / (shortest + longest) / 500.0, 1e-9), high
    return VenueClock(
        anchor_s=(last.asked + last.answered) / 2.0,
        anchor_ms=float(last.server_ms),
        rate=rate,
        error_ms=(last.answered - last.asked) * 500.0 * fastest + step,
    )
