"""The rolling record of one model's signals of one stream: what follows from its outcomes. Pure.

Outcomes are taken in the order of their bars. Of signals whose horizons overlap only the first
bears on the claim: the others are right or wrong by the same bars, and are no evidence of their
own. So one counts when its bar is not before the bar at whose close the last that counted was
known: what was known when it was given holds all outcomes that count before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from candled.core.bar import Stream
from candled.core.track import Outcome, Standing, Track
from candled.ledger.claims import ClaimTest

_Z: Final = 1.959963984540054
"""Of a 95 % interval."""
_COLUMNS: Final = 5


@dataclass(frozen=True, slots=True)
class TrackSettings:
    """How records are kept."""

    signals: int = 200
    """How many of the newest outcomes a record is about."""
    alarm: float = 0.01
    """Chance that a claim that holds is ever called broken."""


class Record:
    """Takes outcomes, oldest first; says how the model does."""

    __slots__ = ("_claim", "_free_from", "_rows", "_settings", "_taken", "_told", "newest")

    def __init__(self, settings: TrackSettings) -> None:
        self._settings = settings
        self._claim = ClaimTest(settings.alarm)
        self._rows = np.empty((settings.signals, _COLUMNS))
        self._taken = 0
        self._told = 0  # of those taken, how many had evidence
        self._free_from: int | None = None
        self.newest: tuple[int, str] | None = None
        """Bar and id of the newest outcome; the next must be behind it."""

    @property
    def broken(self) -> bool:
        """Whether the signals are worse than claimed, beyond chance."""
        return self._claim.broken

    def add(self, outcome: Outcome) -> None:
        """Take the next outcome; of a signal that was taken back, only that it was there."""
        self.newest = (outcome.bar_open, outcome.id)
        if outcome.taken_back:
            return
        claim = outcome.evidence
        self._rows[self._taken % len(self._rows)] = (
            outcome.right,
            outcome.probability,
            outcome.gross_pct,
            math.nan if claim is None else claim.precision,
            math.nan if claim is None or claim.gross_pct is None else claim.gross_pct,
        )
        self._taken += 1
        if claim is not None:
            self._told += 1
            self._try(outcome, claim.precision)

    def _try(self, outcome: Outcome, claimed: float) -> None:
        if self._free_from is None or outcome.bar_open >= self._free_from:
            self._claim.step(right=outcome.right, claimed=claimed)
            self._free_from = outcome.resolved_bar

    def track(self, stream: Stream, model_digest: str, pending: int) -> Track:
        """Return what the newest outcomes say; `pending` signals wait for theirs."""
        rows = self._rows[: min(self._taken, len(self._rows))]
        right, probability, gross, claimed, claimed_gross = (
            column[~np.isnan(column)].tolist() for column in rows.T
        )
        n, hits = len(rows), int(sum(right))
        low, high = wilson(hits, n) if n else (None, None)
        return Track(
            stream=stream,
            model_digest=model_digest,
            n=n,
            pending=pending,
            hits=hits,
            low=low,
            high=high,
            claimed=_mean(claimed),
            expectancy_pct=_mean(gross),
            claimed_pct=_mean(claimed_gross),
            calibration=math.fsum(probability) / n - hits / n if n else None,
            standing=self._standing(),
        )

    def _standing(self) -> Standing:
        if self._claim.broken:
            return Standing.BROKEN
        if self._taken and not self._told:
            return Standing.UNKNOWN
        return Standing.TOO_FEW if self._claim.few else Standing.AS_CLAIMED


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of which `hits` of `n`, above 0, are known (Wilson)."""
    share, z2 = hits / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return min(share, max(0.0, middle - reach)), max(share, min(1.0, middle + reach))  # rounding


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
