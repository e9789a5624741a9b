"""When a stream is called drifted: beyond all that was usual, for several rows on end. Pure.

It takes more to be called so than to remain so: a figure that wavers about a level is told once.
"""

from __future__ import annotations

from typing import Final

from candled.core.drift import FIGURES, above, entering, leaving
from candled.core.track import StreamDrift

CONFIRM: Final = 10
"""Rows on end that must say so."""
_NAMED: Final = 3  # of the features that moved most
_CALLED: Final = {
    "psi_median": "median PSI of the features",
    "outside_share": "share of the features out of range",
    "psi_answers": "PSI of the answers",
}


class Alarm:
    """Whether one stream is called drifted."""

    __slots__ = ("_against", "flagged")

    def __init__(self, *, flagged: bool = False) -> None:
        self.flagged = flagged
        self._against = 0  # rows on end that say otherwise

    def step(self, found: StreamDrift) -> None:
        """Take the figures after the next row; those without anything usual change nothing."""
        if found.usual is None:
            return
        limits = leaving(found.usual) if self.flagged else entering(found.usual)
        says = bool(above(found.levels, limits))
        self._against = self._against + 1 if says is not self.flagged else 0
        if self._against == CONFIRM:
            self.flagged, self._against = says, 0


def told(found: StreamDrift) -> str:
    """Say for people how a stream that is called drifted, or no longer is, lies from training."""
    if not found.flagged:
        return f"the newest {found.rows} rows look as usual again: {_figures(found)}"
    worst = ", ".join(f"{one.name} {one.psi:.2f}" for one in found.worst[:_NAMED])
    moved = f"; moved most: {worst}" if worst else ""
    return (
        f"the newest {found.rows} rows lie further from training than any stretch of them did "
        f"before: {_figures(found)}{moved}; train again, or see what changed"
    )


def _figures(found: StreamDrift) -> str:
    parts = []
    for name in FIGURES:
        value = getattr(found.levels, name)
        most = getattr(found.usual.most, name) if found.usual else None
        if value is not None:
            known = "" if most is None else f" (was {most:.3g} at most)"
            parts.append(f"{_CALLED[name]} {value:.3g}{known}")
    return ", ".join(parts)
