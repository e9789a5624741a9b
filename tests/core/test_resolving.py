"""One signal's outcome is what training's label and the backtest's trade say of its row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.decision import Side, Target
from candled.core.labels import LONG, LabelParams
from candled.core.resolving import RULES, can_resolve, resolve
from candled.core.touch import KINDS, outcomes
from candled.lab.rules import LABEL_RULES, label_rule
from tapes import jumpy

percents = st.floats(0.05, 4.0)


def test_every_rule_of_training_can_be_resolved():
    """Whatever a model may have been trained with, the live side knows."""
    assert set(RULES) == set(LABEL_RULES)


@settings(max_examples=60, deadline=None)
@given(
    rule=st.sampled_from(sorted(RULES)),
    lookahead=st.integers(1, 40),
    profit=percents,
    stop=percents,
    count=st.integers(1, 120),
    seed=st.integers(0, 1_000_000),
)
def test_a_row_alone_is_resolved_as_among_all(*, rule, lookahead, profit, stop, count, seed):
    """Right, ending, gain and when they were known have the bits that whole columns have."""
    bars, params = jumpy(count, seed), LabelParams(lookahead, profit, stop)
    regime = np.random.default_rng(seed).integers(0, 3, count).astype(np.int8)
    labels, trades = label_rule(rule)(bars, params, regime), outcomes(bars, params)
    target = Target(lookahead, profit, stop, rule)
    for row in range(count):
        for number, side in ((1, Side.LONG), (2, Side.SHORT)):
            trade = trades.long if number == LONG else trades.short
            made = resolve(bars[row:], target, side, int(regime[row]))
            if row + lookahead >= count:
                assert made is None
                continue
            assert made is not None
            assert made.right == (labels.classes[row] == number)
            assert made.ended == KINDS[trade.kind[row]]
            assert np.float64(made.gross_pct).tobytes() == trade.gross_pct[row].tobytes()
            assert row + made.known_at == max(labels.ends[row], trade.bar[row])


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_regime_settles_what_qualifies_both_ways(rule):
    """With a stop wider than the target, other regimes make other rows right, as in training."""
    bars, params, target = jumpy(100, 1), LabelParams(10, 0.5, 3.0), Target(10, 0.5, 3.0, rule)
    found = set()
    for regime in range(3):
        classes = label_rule(rule)(bars, params, np.full(100, regime)).classes[:90]
        rows = [resolve(bars[row:], target, Side.LONG, regime) for row in range(90)]
        rights = [made is not None and made.right for made in rows]
        assert rights == (classes == LONG).tolist()
        found.add(tuple(rights))
    assert len(found) == 2  # trending up makes longs of them, the others shorts


@settings(max_examples=40, deadline=None)
@given(
    rule=st.sampled_from(sorted(RULES)),
    lookahead=st.integers(1, 30),
    side=st.sampled_from([Side.LONG, Side.SHORT]),
    seed=st.integers(0, 1_000_000),
)
def test_nothing_after_it_was_known_matters(rule, lookahead, side, seed):
    """Other bars behind the one at which all was known change nothing."""
    target = Target(lookahead, 0.8, 1.1, rule)
    bars, others = jumpy(60, seed), jumpy(60, seed + 1)
    made = resolve(bars, target, side, 1)
    assert made is not None
    mixed = type(bars).of([*bars[: made.known_at + 1], *others[made.known_at + 1 :]])
    assert resolve(mixed, target, side, 1) == made


@pytest.mark.parametrize(
    "target",
    [None, Target(24, 1.5, 1.0, "of tomorrow"), Target(0, 1.5, 1.0), Target(24, -1.0, 1.0)],
)
def test_what_no_rule_fits_cannot_be_resolved(target):
    """No target, a rule of a later version, or parameters of no label: nothing is guessed."""
    assert not can_resolve(target)
    assert can_resolve(Target(24, 1.5, 1.0))


def test_the_rule_is_no_part_of_what_is_compared():
    """A decision that was stored before decisions named the rule is still the same decision."""
    assert Target(24, 1.5, 1.0, "first_touch") == Target(24, 1.5, 1.0)
