"""Gates: what may keep back a signal that the threshold has let through.

Each is a rule on one row: what the model said of it, how far that can be trusted, the policy. They
are asked in the order of `Reason`, and the first that closes is the reason. What a model says of
many rows is computed at once. Only the cooldown remembers, and no more than a few rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from candled.core.decision import SIDES, Policy, Probabilities, Reason, Side, signals
from candled.core.model import Model
from candled.core.regime import TRENDING_DOWN, TRENDING_UP

_ALLOWED_IN = {Side.LONG: TRENDING_UP, Side.SHORT: TRENDING_DOWN}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of one row."""

    probabilities: Probabilities
    side: Side
    """By the threshold alone: long, short or flat."""
    novelty: float | None
    """Share of the features outside the training ranges; None when the ranges are not known."""
    ambiguous: bool | None
    """Whether the side is not the only class left; None when the limits are not known."""

    @property
    def probability(self) -> float:
        """The probability of the side; of no trade when it is flat."""
        odds = self.probabilities
        return {Side.LONG: odds.long, Side.SHORT: odds.short}.get(self.side, odds.no_trade)


def answers(
    model: Model, features: NDArray[np.float64], thresholds: Sequence[float]
) -> list[Answer]:
    """Ask a model once about finite rows [n, k], each with its own threshold."""
    probabilities = model.probabilities(features)
    sides = signals(probabilities, thresholds)
    novelty, ambiguous = model.novelty(features), model.ambiguous(probabilities, sides)
    rows = zip(
        probabilities.tolist(),
        sides.tolist(),
        repeat(None, len(sides)) if novelty is None else novelty.tolist(),
        repeat(None, len(sides)) if ambiguous is None else ambiguous.tolist(),
        strict=True,
    )
    return [Answer(Probabilities(*odds), SIDES[side], *trust) for odds, side, *trust in rows]


def missing_means(model: Model, policy: Policy) -> tuple[str, ...]:
    """Name the settings of a policy that need what the model does not know."""
    return tuple(
        name
        for name, wanted, known in (
            ("abstain", policy.abstain, model.abstain_limits),
            ("novelty_max", policy.novelty_max is not None, model.ranges),
            ("max_age_days", policy.max_age_days is not None, model.trained_until),
        )
        if wanted and known is None
    )


def closed_gate(
    policy: Policy, answer: Answer, regime: int, since_gap: int | None, *, expired: bool
) -> Reason | None:
    """Return why a long or short must not pass, the cooldown aside; None if it may, or is none.

    `since_gap` counts the bars since the first one after a gap; None when no gap is known.
    `expired` says whether the bar closed when the model was too old.
    """
    if not answer.side.is_signal:
        return None
    gates = (
        (Reason.EXPIRED, expired),
        (Reason.GAP_MUTE, since_gap is not None and since_gap < policy.gap_mute_bars),
        (Reason.AMBIGUOUS, policy.abstain and answer.ambiguous),
        (Reason.NOVELTY, _exceeds(answer.novelty, policy.novelty_max)),
        (Reason.REGIME, policy.regime_gate and _ALLOWED_IN[answer.side] != regime),
    )
    return next((reason for reason, closed in gates if closed), None)


def _exceeds(novelty: float | None, limit: float | None) -> bool:
    return novelty is not None and limit is not None and novelty > limit


class Cooldown:
    """Keeps back a stream's signal when one of the `bars` rows before it passed all other gates.

    What counts is what would pass, not what was published: whether that was may depend on all the
    signals there have ever been, this on `bars` rows alone. So no two published signals are closer
    than that, and of a signal that goes on and on the first bar is published, until it pauses.
    """

    __slots__ = ("_bars", "_quiet")

    def __init__(self, bars: int) -> None:
        self._bars = bars
        self._quiet = bars

    def step(self, *, passes: bool) -> bool:
        """Take the next row, which passes all other gates or not; say whether it must wait."""
        waits = passes and self._quiet < self._bars
        self._quiet = 0 if passes else self._quiet + 1
        return waits
