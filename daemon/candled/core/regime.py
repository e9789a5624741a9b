"""The regime machine: ranging, trending up or trending down.

A regime is a gate and a label, never a feature. The machine is causal: it sees one row of three
numbers at a time and never goes back.

Restart independence. The smoothing forgets: after some 200 rows its state is the same to the bit
wherever it began. The confirmation remembers, but not for ever: as many equal raw values in a row
as the longest confirmation takes lead every state into the same one, so anything older cannot
matter. Should no such run lie within the last `MEMORY` raw values, the regime is defined as the
fold over just these, from ranging. Either way it is a function of a bounded past.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

RANGING: Final = 0
TRENDING_UP: Final = 1
TRENDING_DOWN: Final = 2
NAMES: Final = ("Ranging", "Trending Up", "Trending Down")

#: The feature columns that a machine reads, in the order that `RegimeMachine.step` takes them.
INPUTS: Final = ("bullish_pct_sma", "price_position", "spread_pct")
_ABSENT: Final = (0.5, 0.5, 0.0)

#: How many raw values can matter.
MEMORY: Final = 440
#: So many bars make a regime independent of where they begin: 41 fill the ribbon, and the rest lets
#: the smoothing forget.
HISTORY: Final = MEMORY + 280


@dataclass(frozen=True, slots=True)
class RegimeRule:
    """One preset: smoothing, thresholds and confirmation."""

    span: int
    """Span of the exponential smoothing (rows)."""
    adjust: bool
    """Smooth with weights that sum to one from the first row on (pandas' adjust=True)."""
    smooth_spread: bool
    """Whether the spread is smoothed too, or taken as it is."""
    bull_up: float
    bull_down: float
    position_up: float
    position_down: float
    spread_min: float
    confirm: int
    """Equal raw values in a row that make them the regime."""
    confirm_exit: int
    """The same, when leaving a trend for ranging."""

    @property
    def longest_confirmation(self) -> int:
        """A run of this many equal raw values leads every state into the same one."""
        return max(self.confirm, self.confirm_exit)

    def raw(self, bullish: float, position: float, spread: float) -> int:
        """Classify one smoothed row."""
        if spread >= self.spread_min:
            if bullish >= self.bull_up and position >= self.position_up:
                return TRENDING_UP
            if bullish <= self.bull_down and position <= self.position_down:
                return TRENDING_DOWN
        return RANGING


PRESETS: Final = {
    "notebook": RegimeRule(5, True, True, 0.65, 0.35, 0.65, 0.35, 0.3, confirm=3, confirm_exit=5),
    "default": RegimeRule(5, False, False, 0.75, 0.35, 0.65, 0.35, 0.3, 15, 15),
    "aggressive": RegimeRule(3, False, False, 0.60, 0.40, 0.55, 0.45, 0.2, 5, 5),
    "conservative": RegimeRule(10, False, False, 0.80, 0.20, 0.75, 0.25, 0.5, 20, 20),
}


def regime_rule(preset: str) -> RegimeRule:
    """Return the rule of a preset; raises ValueError for an unknown one."""
    if preset not in PRESETS:
        raise ValueError(f"unknown regime preset {preset!r}; known are {', '.join(PRESETS)}")
    return PRESETS[preset]


class Smoother:
    """An exponentially weighted mean of one series, as pandas' ewm(span).mean() computes it."""

    __slots__ = ("_adjust", "_alpha", "_mean", "_weight")

    def __init__(self, span: int, *, adjust: bool) -> None:
        self._alpha = 1.0 / (1.0 + (span - 1) / 2.0)
        self._adjust = adjust
        self._mean: float | None = None
        self._weight = 1.0

    def step(self, value: float) -> float:
        """Take the next value; return the mean so far."""
        if self._mean is None:
            self._mean = value
            return value
        past = self._weight * (1.0 - self._alpha)
        new = 1.0 if self._adjust else self._alpha
        if self._mean != value:
            self._mean = (past * self._mean + new * value) / (past + new)
        self._weight = past + new if self._adjust else 1.0
        return self._mean


class Confirmation:
    """Takes a raw value as the regime once it has repeated often enough."""

    __slots__ = ("_count", "_pending", "_rule", "current")

    def __init__(self, rule: RegimeRule) -> None:
        self._rule = rule
        self.current = RANGING
        self._pending = RANGING
        self._count = 0

    def step(self, raw: int) -> int:
        """Take the next raw value; return the regime."""
        if raw == self.current:
            self._count = 0
            return self.current
        self._count = self._count + 1 if self._count and raw == self._pending else 1
        self._pending = raw
        rule = self._rule
        if self._count >= (rule.confirm_exit if raw == RANGING else rule.confirm):
            self.current = raw
            self._count = 0
        return self.current


class RegimeMachine:
    """The regime of one stream, row by row."""

    __slots__ = ("_confirmation", "_raws", "_rule", "_run", "_since_sync", "_smoothers")

    def __init__(self, rule: RegimeRule) -> None:
        self._rule = rule
        self._smoothers = tuple(Smoother(rule.span, adjust=rule.adjust) for _ in range(3))
        self._confirmation = Confirmation(rule)
        self._raws = bytearray()
        self._run = 0
        self._since_sync = 0

    def step(self, bullish: float, position: float, spread: float) -> tuple[int, int]:
        """Take one row of `INPUTS`; return (raw regime, confirmed regime)."""
        b, p, s = (
            value if value == value else absent  # noqa: PLR0124 - NaN counts as neutral
            for value, absent in zip((bullish, position, spread), _ABSENT, strict=True)
        )
        smooth_b, smooth_p, smooth_s = self._smoothers
        spread_now = smooth_s.step(s) if self._rule.smooth_spread else s
        raw = self._rule.raw(smooth_b.step(b), smooth_p.step(p), spread_now)
        self._remember(raw)
        regime = self._confirmation.step(raw)
        if self._since_sync >= MEMORY:
            regime = self._fold_memory()
        return raw, regime

    def steps(self, inputs: NDArray[np.float64]) -> NDArray[np.int8]:
        """Take rows of `INPUTS` [n, 3], oldest first; return raw and confirmed regimes [n, 2]."""
        made = [self.step(*row) for row in inputs.tolist()]
        return np.array(made, dtype=np.int8).reshape(-1, 2)

    def _remember(self, raw: int) -> None:
        raws = self._raws
        self._run = self._run + 1 if raws and raws[-1] == raw else 1
        synchronised = self._run >= self._rule.longest_confirmation
        self._since_sync = 0 if synchronised else self._since_sync + 1
        raws.append(raw)
        if len(raws) >= 2 * MEMORY:
            del raws[:-MEMORY]

    def _fold_memory(self) -> int:
        confirmation = Confirmation(self._rule)
        for raw in self._raws[-MEMORY:]:
            confirmation.step(raw)
        return confirmation.current


def regimes(rule: RegimeRule, inputs: NDArray[np.float64]) -> NDArray[np.int8]:
    """Return raw and confirmed regimes [n, 2] of the rows of `INPUTS` [n, 3], oldest first."""
    return RegimeMachine(rule).steps(inputs)
