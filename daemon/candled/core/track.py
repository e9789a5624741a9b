"""How a model is doing, as data: what became of its signals, whether its inputs look as they did.

Facts only; how they are had is the ledger's and the drift watch's business. Percent are gross: what
trading costs is the trader's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from candled.core.bar import Stream
from candled.core.decision import Evidence, Side
from candled.core.drift import Levels, Usual


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one signal, by the label rule that its model was trained with."""

    id: str
    """Of the decision."""
    stream: Stream
    model_digest: str
    bar_open: int
    """Of the signal (UTC ms)."""
    bar_close: int
    """Exclusive end of its slot (UTC ms)."""
    side: Side
    """Long or short."""
    probability: float
    """The model's, for the side; a float32, widened exactly."""
    right: bool
    """Whether the label of its bar, known now, is its side."""
    ended: str
    """How a trade entered at the next open ended: target, stop or time."""
    gross_pct: float
    """What that trade brought before costs (percent of the entry)."""
    resolved_bar: int
    """Open time of the bar at whose close all of this was known (UTC ms)."""
    evidence: Evidence | None
    """What the signal claimed."""
    taken_back: bool = False
    """Whether a correction took the signal back: it is then no part of any record."""
    policy_digest: str = ""
    """Of the policy that made it a signal; one model may be in use with two."""


class Standing(StrEnum):
    """Whether a model does what its evidence claims."""

    UNKNOWN = "unknown"
    """Its bundle claims nothing."""
    TOO_FEW = "too_few"
    """Too few outcomes yet to say anything."""
    AS_CLAIMED = "as_claimed"
    BROKEN = "broken"
    """Worse than claimed, beyond chance."""


@dataclass(frozen=True, slots=True)
class Track:
    """The rolling record of one stream's signals by one model."""

    stream: Stream
    model_digest: str
    n: int
    """Resolved signals within the window."""
    pending: int
    """Signals whose horizon has not passed."""
    hits: int
    """Of the n, how many were right."""
    low: float | None
    """Lower end of the hit rate's 95 % interval (a share); None without outcomes."""
    high: float | None
    """Its upper end."""
    claimed: float | None
    """Mean precision that the n signals' evidence claimed (a share), where known."""
    expectancy_pct: float | None
    """Mean gross result of the n (percent); None without outcomes."""
    claimed_pct: float | None
    """Mean gross result that their evidence claimed (percent), where known."""
    calibration: float | None
    """Mean probability of the n, less the share that was right; None without outcomes."""
    standing: Standing

    @property
    def hit_rate(self) -> float | None:
        """Share of the n that was right; None without outcomes."""
        return self.hits / self.n if self.n else None


@dataclass(frozen=True, slots=True)
class Moved:
    """One feature whose distribution has moved."""

    name: str
    psi: float
    """Population stability index: below 0.1 stable, above 0.25 moved."""


@dataclass(frozen=True, slots=True)
class StreamDrift:
    """How the newest rows of one stream differ from what its model was trained on."""

    stream: Stream
    model_digest: str
    rows: int
    """How many rows are compared; 0: nothing can be said yet."""
    psi_median: float | None
    """Over the features; None without rows, or where the bundle does not say how training was."""
    moved_share: float | None
    """Share of the features with a PSI above 0.25."""
    outside_share: float | None
    """Mean share of a row's features outside their training ranges."""
    psi_answers: float | None
    """PSI of the model's own answers (the larger of long's and short's) against out of sample."""
    worst: tuple[Moved, ...]
    """The features that moved most, most first."""
    bar_open: int | None = None
    """Of the newest row (UTC ms); None without rows."""
    usual: Usual | None = None
    """What stretches of as many rows did before; None where that is not known."""
    flagged: bool = False
    """Whether it is further from training than is usual, and people are told."""

    @property
    def levels(self) -> Levels:
        """The figures that are compared with what is usual."""
        return Levels(self.psi_median, self.outside_share, self.psi_answers)
