"""What champion and challenger were worth on the same bars, and what can be said of it. Pure.

Only bars are compared that both have decided, and that the venue has not revised since: a shadow is
not corrected. A signal is worth the gross result of its trade less its costs, and no signal 0. Bars
follow each other and their trades overlap, so intervals come from blocks of neighbouring bars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Stream
from candled.core.decision import Decision, Side
from candled.core.track import Outcome
from candled.lab.bootstrap import BLOCK, Interval, mean_interval, ratio_interval
from candled.lab.words import signed_interval

Floats = NDArray[np.float64]

#: Bars on which they were worth different things, below which nothing is said.
FEWEST_DIFFERENT: Final = 30
#: What a difference is told for.
PER_BARS: Final = 100


@dataclass(frozen=True, slots=True)
class Record:
    """What one of the two was worth."""

    model: str
    model_digest: str
    policy_digest: str
    signals: int
    """On bars that are compared."""
    resolved: int
    """Of the signals, those whose outcome is known."""
    hits: int
    """Of these, those that were right."""
    hit_rate: Interval
    """With its 95 % interval, where that is known."""
    expectancy_pct: float | None
    """Mean result of the resolved, less costs (percent); None without any."""
    calibration: float | None
    """Mean probability of the resolved, less the share that was right; None without any."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Champion and challenger on the same bars."""

    name: str
    """The stream, or which streams together."""
    bars: int
    """That both have decided."""
    agreement: float | None
    """Share of the bars on which they say the same; None without any."""
    champion: Record | None
    """None of several streams together."""
    challenger: Record | None
    resolved_bars: int
    """Bars whose signals all have an outcome."""
    different: int
    """Of these, where they were worth different things."""
    difference_pct: Interval
    """What the challenger was worth more, per `PER_BARS` resolved bars (percent), with 95 %."""

    @property
    def words(self) -> str:
        """What can be said, for people."""
        if self.different < FEWEST_DIFFERENT:
            return (
                f"no difference can be said yet: they differ on {self.different} resolved bars, "
                f"{FEWEST_DIFFERENT} are the least"
            )
        told = f"{signed_interval(self.difference_pct, 2)} % in {PER_BARS} bars"
        if self.difference_pct.low is None or self.difference_pct.high is None:
            return f"no difference can be said yet: too few bars ({told})"
        if self.difference_pct.low > 0:
            return f"the challenger did better: {told}"
        if self.difference_pct.high < 0:
            return f"the champion did better: {told}"
        return f"no difference can be said yet: {told}"

    @property
    def champion_is_better(self) -> bool:
        """Whether that can be said."""
        high = self.difference_pct.high
        return self.different >= FEWEST_DIFFERENT and high is not None and high < 0


@dataclass(frozen=True, slots=True)
class Pairs:
    """What both decided about the same bars of one stream, oldest first."""

    stream: Stream
    champion: Sequence[Decision]
    challenger: Sequence[Decision]


def paired(stream: Stream, champion: Sequence[Decision], challenger: Sequence[Decision]) -> Pairs:
    """Return the bars that both could decide, and that were not revised since."""
    theirs = {d.bar_open: d for d in challenger if d.side is not Side.NO_DECISION}
    ours = [
        d
        for d in champion
        if d.revision == 0 and d.side is not Side.NO_DECISION and d.bar_open in theirs
    ]
    return Pairs(stream, ours, [theirs[d.bar_open] for d in ours])


def compare(pairs: Pairs, outcomes: Mapping[str, Outcome], *, costs_pct: float = 0.0) -> Comparison:
    """Compare the two on one stream; `outcomes` by the id of the decision.

    `costs_pct` is what a trade costs, both sides together (percent).
    """
    block = _block(pairs)
    worth = [_worth(side, outcomes, costs_pct) for side in (pairs.champion, pairs.challenger)]
    records = [
        _record(side, outcomes, values, block)
        for side, values in zip((pairs.champion, pairs.challenger), worth, strict=True)
    ]
    same = [a.side is b.side for a, b in zip(pairs.champion, pairs.challenger, strict=True)]
    return _comparison(
        pairs.stream.path,
        worth[1] - worth[0],
        block,
        bars=len(same),
        agreement=sum(same) / len(same) if same else None,
        records=(records[0], records[1]),
    )


def together(
    name: str,
    several: Sequence[Pairs],
    outcomes: Mapping[str, Outcome],
    *,
    costs_pct: float = 0.0,
) -> Comparison:
    """Compare the two on several streams of one interval; bars that closed together are one.

    What happens to many streams at once is not many pieces of evidence.
    """
    sums: dict[int, float] = {}
    bars = same = 0
    for pairs in several:
        champion, challenger = (
            _worth(side, outcomes, costs_pct) for side in (pairs.champion, pairs.challenger)
        )
        gained = challenger - champion
        for decision, more in zip(pairs.champion, gained.tolist(), strict=True):
            sums[decision.bar_open] = sums.get(decision.bar_open, 0.0) + more
        both = zip(pairs.champion, pairs.challenger, strict=True)
        same += sum(a.side is b.side for a, b in both)
        bars += len(pairs.champion)
    return _comparison(
        name,
        np.array([sums[at] for at in sorted(sums)]),
        max(map(_block, several), default=BLOCK),
        bars=bars,
        agreement=same / bars if bars else None,
        records=(None, None),
    )


def _comparison(
    name: str,
    gained: Floats,
    block: int,
    *,
    bars: int,
    agreement: float | None,
    records: tuple[Record | None, Record | None],
) -> Comparison:
    known = gained[np.isfinite(gained)]
    return Comparison(
        name=name,
        bars=bars,
        agreement=agreement,
        champion=records[0],
        challenger=records[1],
        resolved_bars=len(known),
        different=int(np.count_nonzero(known)),
        difference_pct=mean_interval(known * PER_BARS, block=block),
    )


def _worth(side: Sequence[Decision], outcomes: Mapping[str, Outcome], costs_pct: float) -> Floats:
    """Return what each decision was worth (percent): 0 without a signal, NaN while not known."""
    return np.array([_one(decision, outcomes, costs_pct) for decision in side], dtype=np.float64)


def _one(decision: Decision, outcomes: Mapping[str, Outcome], costs_pct: float) -> float:
    if not decision.is_signal:
        return 0.0
    outcome = outcomes.get(decision.id)
    return outcome.gross_pct - costs_pct if outcome else float("nan")


def _record(
    side: Sequence[Decision], outcomes: Mapping[str, Outcome], worth: Floats, block: int
) -> Record:
    found = [outcomes.get(decision.id) if decision.is_signal else None for decision in side]
    known = np.array([outcome is not None for outcome in found], dtype=np.bool_)
    right = np.array([bool(outcome and outcome.right) for outcome in found], dtype=np.bool_)
    said = [outcome.probability for outcome in found if outcome]
    count, hits = len(said), int(np.count_nonzero(right))
    newest = side[-1] if side else None
    return Record(
        model=newest.model if newest else "",
        model_digest=newest.model_digest if newest else "",
        policy_digest=newest.policy_digest if newest else "",
        signals=sum(decision.is_signal for decision in side),
        resolved=count,
        hits=hits,
        hit_rate=ratio_interval(right, known, block=block),
        expectancy_pct=float(np.mean(worth[known])) if count else None,
        calibration=float(np.mean(said)) - hits / count if count else None,
    )


def _block(pairs: Pairs) -> int:
    """Return how many bars a block has: twice as many as the longest trade of both."""
    decisions = (*pairs.champion[-1:], *pairs.challenger[-1:])
    ahead = [2 * d.target.lookahead_bars for d in decisions if d.target]
    return max([BLOCK, *ahead])
