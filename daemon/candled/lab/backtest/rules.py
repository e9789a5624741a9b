"""How a tape is traded: when a position is left, what it costs, how large it is. Plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from candled.core.bar import HOUR
from candled.core.decision import Target

Leave = Literal["never", "opposite", "other"]
Sides = Literal["both", "long", "short"]
FUNDING_MS: Final = 8 * HOUR


@dataclass(frozen=True, slots=True)
class Exits:
    """What is entered, and what ends it. Raises ValueError for what cannot be meant."""

    max_bars: int | None = None
    """A position is left at the close of this many bars after its signal's."""
    target_pct: float | None = None
    """Left at this gain (percent of the entry). Needs `max_bars`."""
    stop_pct: float | None = None
    """Left at this loss (percent of the entry). Needs `max_bars`."""
    leave: Leave = "never"
    """Which later signals end a position, at the next bar's open: none, those of the opposite
    side, or anything other than the position's own side (nothing said included)."""
    sides: Sides = "both"
    """Which signals are entered."""
    limit_pct: float | None = None
    """Enter with a limit order this many percent better than the signal's close, good for the next
    bar only; None enters at the next open."""

    def __post_init__(self) -> None:
        """Refuse a barrier without a time limit, and numbers that are none."""
        if self.max_bars is None and (self.target_pct or self.stop_pct):
            raise ValueError("a target or a stop needs a time limit: give max_bars too")
        if self.max_bars is not None and self.max_bars < 1:
            raise ValueError(f"max_bars must be 1 or more; it is {self.max_bars}")
        for name in ("target_pct", "stop_pct", "limit_pct"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be a number above 0 in percent; it is {value!r}")


def exits_of(target: Target, *, leave: Leave = "never", sides: Sides = "both") -> Exits:
    """Return the exits that a model was trained to foresee."""
    return Exits(target.lookahead_bars, target.profit_pct, target.stop_pct, leave, sides)


@dataclass(frozen=True, slots=True)
class Costs:
    """What is paid. Percent; raises ValueError for a negative fee or slippage."""

    fee_pct: float = 0.1
    """Of the value traded, at each side of a trade."""
    slippage_pct: float = 0.0
    """The same, for fills worse than the bar's price."""
    funding_pct: float = 0.0
    """Of the entry's value, paid by longs to shorts at 00:00, 08:00 and 16:00 UTC."""

    def __post_init__(self) -> None:
        """Refuse what nobody is charged."""
        for name in ("fee_pct", "slippage_pct"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be 0 or more, in percent; it is {value!r}")
        if not math.isfinite(self.funding_pct):
            raise ValueError(f"funding_pct must be a number in percent; it is {self.funding_pct!r}")

    @property
    def side_pct(self) -> float:
        """Fee and slippage of one side (percent)."""
        return self.fee_pct + self.slippage_pct


@dataclass(frozen=True, slots=True)
class Sizing:
    """How much of the equity a position takes. Raises ValueError."""

    fraction: float = 1.0
    """Of the realised equity at the moment of the entry; above 1 is leverage."""
    max_positions: int | None = None
    """How many streams may be in a position at once; None is all of them."""

    def __post_init__(self) -> None:
        """Refuse sizes that are none."""
        if not 0 < self.fraction < math.inf:
            raise ValueError(f"fraction must be above 0; it is {self.fraction!r}")
        if self.max_positions is not None and self.max_positions < 1:
            raise ValueError(f"max_positions must be 1 or more; it is {self.max_positions}")
