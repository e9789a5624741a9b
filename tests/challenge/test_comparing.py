"""What is said of champion and challenger follows from common bars alone, and not from chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled.challenge.comparing import (
    FEWEST_DIFFERENT,
    PER_BARS,
    Comparison,
    Pairs,
    compare,
    paired,
    together,
)
from candled.core.bar import MINUTE, Stream
from candled.core.decision import Decision, Side, decision_id
from candled.core.track import Outcome
from fakes import BTC, EVENING_MS, Decisions

SIDES = {"L": Side.LONG, "S": Side.SHORT, "f": Side.FLAT, "-": Side.NO_DECISION}
ETH = Stream("binance", "ETHUSDT", "1m")


def decisions(who: str, sides: str, stream: Stream = BTC) -> list[Decision]:
    """Make what somebody said about the bars of some minutes, a letter each."""
    made = []
    for at, letter in enumerate(sides):
        opened = EVENING_MS + at * MINUTE
        one = Decisions().make(SIDES[letter], stream).decision
        named = decision_id(stream, who, "p", opened, 0)
        made.append(
            replace(one, id=named, bar_open=opened, bar_close=opened + MINUTE, model_digest=who)
        )
    return made


def ended(said: Sequence[Decision], worth: Sequence[float]) -> dict[str, Outcome]:
    """Make the outcome of each signal; NaN: not known yet."""
    return {
        one.id: Outcome(
            one.id, one.stream, one.model_digest, one.bar_open, one.bar_close, one.side,
            one.probabilities.long, pct > 0, "time", pct, one.bar_open, None,
        )
        for one, pct in zip(said, worth, strict=True)
        if one.is_signal and one.probabilities and not math.isnan(pct)
    }  # fmt: skip


def compared(
    champion: str, challenger: str, worth: Sequence[float], theirs: Sequence[float] | None = None,
    costs_pct: float = 0.0,
) -> Comparison:  # fmt: skip
    ours, others = decisions("champion", champion), decisions("challenger", challenger)
    outcomes = ended(ours, worth) | ended(others, worth if theirs is None else theirs)
    return compare(paired(BTC, ours, others), outcomes, costs_pct=costs_pct)


def test_the_figures_of_a_small_case():
    """Counted by hand: two signals each, one of them not resolved, one bar not decided by both."""
    nan = float("nan")
    found = compared("LfLSf", "L-SSS", [1.0, 0, -0.5, nan, 0], [1.0, 0, 0.5, 2.0, -1.0])
    assert (found.bars, found.agreement) == (4, 0.5)
    assert found.champion is not None
    assert found.challenger is not None
    ours, theirs = found.champion, found.challenger
    assert (ours.signals, ours.resolved, ours.hits, ours.expectancy_pct) == (3, 2, 1, 0.25)
    assert (theirs.signals, theirs.resolved, theirs.hits) == (4, 4, 3)
    assert theirs.expectancy_pct == pytest.approx(2.5 / 4)
    assert theirs.calibration == pytest.approx(0.6123 - 0.75, abs=1e-4)
    assert found.resolved_bars == 3  # the champion's third signal has no outcome
    assert found.different == 2
    assert found.difference_pct.estimate == pytest.approx(PER_BARS * (0 + 1.0 - 1.0) / 3)
    assert "no difference can be said yet: they differ on 2 resolved bars" in found.words


def test_costs_are_paid_for_each_signal():
    """Who signals more pays more; who does not pays nothing."""
    free, paid = (compared("ffff", "LLff", [0.3, 0.1, 0, 0], costs_pct=pct) for pct in (0.0, 0.2))
    assert free.difference_pct.estimate == pytest.approx(PER_BARS * 0.1)
    assert paid.difference_pct.estimate == pytest.approx(PER_BARS * 0.0, abs=1e-9)
    assert paid.challenger is not None
    assert paid.challenger.expectancy_pct == pytest.approx(0.0, abs=1e-9)


def test_a_revised_bar_is_not_compared():
    """The champion decided it anew, the challenger was not asked again."""
    ours, theirs = decisions("champion", "LLL"), decisions("challenger", "LLL")
    ours[1] = replace(ours[1], revision=1)
    pairs = paired(BTC, ours, theirs)
    assert [one.bar_open for one in pairs.champion] == [ours[0].bar_open, ours[2].bar_open]
    assert [one.bar_open for one in pairs.challenger] == [ours[0].bar_open, ours[2].bar_open]


def letters(random: np.random.Generator, count: int) -> str:
    return "".join(random.choice(list("LSfff"), count).tolist())


def test_what_is_much_better_is_said_to_be_better_whoever_it_is():
    """And what is worse to be worse; the words name who."""
    random = np.random.default_rng(1)
    ours, theirs = letters(random, 800), letters(random, 800)
    bad, good = random.normal(-1, 1, 800), random.normal(1, 1, 800)
    found = compared(ours, theirs, bad.tolist(), good.tolist())
    assert found.words.startswith("the challenger did better: +")
    assert not found.champion_is_better
    found = compared(ours, theirs, good.tolist(), bad.tolist())
    assert found.words.startswith("the champion did better: \N{MINUS SIGN}")
    assert found.champion_is_better


def test_chance_is_rarely_taken_for_a_difference():
    """Of two that guess, in overlapping trades, one is said to be better in few of a hundred."""
    claims = 0
    for seed in range(30):
        random = np.random.default_rng(seed)
        moves = np.convolve(random.normal(0, 1, 810), np.ones(10), "valid")[:800]
        found = compared(letters(random, 800), letters(random, 800), moves.tolist())
        assert found.different > FEWEST_DIFFERENT
        claims += "did better" in found.words
    assert claims <= 5


def test_few_bars_are_no_evidence_however_good():
    """With fewer than five blocks of bars no interval is known, and nothing is said."""
    found = compared("f" * 190, "L" * 190, [1.0 + at % 3 for at in range(190)])
    assert found.different == 190
    assert found.difference_pct.low is None
    assert "too few bars" in found.words


@given(
    st.lists(
        st.tuples(st.sampled_from("LSf-"), st.sampled_from("LSf-"), st.floats(-3, 3)), max_size=40
    )
)
def test_the_two_are_treated_alike(rows: list[tuple[str, str, float]]):
    """Changing places turns the difference round, and changes nothing else."""
    ours, theirs = ("".join(row[at] for row in rows) for at in (0, 1))  # type: ignore[misc]
    worth = [row[2] for row in rows]
    there, back = compared(ours, theirs, worth), compared(theirs, ours, worth)
    assert (there.bars, there.agreement, there.different) == (
        back.bars,
        back.agreement,
        back.different,
    )
    if there.resolved_bars:
        assert there.difference_pct.estimate == pytest.approx(
            -(back.difference_pct.estimate or 0.0)
        )
    assert there.champion is not None
    assert back.challenger is not None
    assert there.champion.hits == back.challenger.hits
    assert there.bars == sum("-" not in pair for pair in zip(ours, theirs, strict=True))


def test_streams_that_close_together_are_one_piece_of_evidence():
    """A hundred copies of one stream make no difference sure that one does not."""
    random = np.random.default_rng(7)
    ours, theirs = letters(random, 300), letters(random, 300)
    worth = random.normal(0.1, 1, 300).tolist()
    several, outcomes = [], dict[str, Outcome]()
    for number in range(20):
        stream = replace(ETH, symbol=f"S{number}")
        one, other = decisions("a", ours, stream), decisions("b", theirs, stream)
        outcomes |= ended(one, worth) | ended(other, worth)
        several.append(paired(stream, one, other))
    single = compare(several[0], outcomes).difference_pct
    all_of_them = together("20 streams", several, outcomes)
    assert all_of_them.bars == 20 * 300
    assert all_of_them.resolved_bars == 300
    assert single.low is not None
    assert all_of_them.difference_pct.low == pytest.approx(20 * single.low)


def test_nothing_is_compared_where_nothing_is():
    """No bars, no figures, and words that say so."""
    found = compare(Pairs(BTC, [], []), {})
    assert (found.bars, found.agreement, found.resolved_bars) == (0, None, 0)
    assert "they differ on 0 resolved bars" in found.words
