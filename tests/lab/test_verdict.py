"""The verdict cannot flatter: whatever the facts, it says no more than they show."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled.lab.bootstrap import Interval
from candled.lab.facts import Facts, TrialFact, Verdict
from candled.lab.findings import findings
from candled.lab.recipe import Tried
from candled.lab.verdict import FEWEST_INDEPENDENT, FEWEST_SIGNALS, verdict
from studies import answering, found, normalised, study


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    """Return intervals above, around, at and below 0, unknown ones, and of nothing."""
    kind = draw(st.sampled_from(("above", "around", "below", "unknown", "nothing")))
    if kind == "nothing":
        return Interval(None, None, None, 0)
    ends = {"above": (0.0, 0.5), "below": (-0.5, 0.0)}.get(kind, (-0.5, 0.5))
    near = st.floats(*ends)
    low, middle, high = sorted(draw(st.tuples(near, near, near)))
    return (
        Interval(middle, low, high, 900) if kind != "unknown" else Interval(middle, None, None, 9)
    )


GOOD = Interval(0.4, 0.3, 0.5, 900)
NOTHING_FOUND = Interval(0.0, -0.1, 0.1, 900)
DOUBTS = ("skill", "folds", "few", "earnings", "scarce", "shuffled", "planted", "untried", "search")


@st.composite
def possible_facts(draw: st.DrawFn) -> Facts:
    """Return facts that are all good, but for a few doubts: of these anything is possible.

    Were everything drawn at random, next to none would be good enough to be flattered.
    """
    facts = found().facts
    doubts = draw(st.sets(st.sampled_from(DOUBTS), max_size=3))

    def of(doubt: str, good: Interval) -> Interval:
        return draw(intervals()) if doubt in doubts else good

    gross = of("earnings", GOOD)
    if "scarce" in doubts and gross.n:
        n = draw(st.integers(FEWEST_SIGNALS - 1, FEWEST_SIGNALS))
        gross = dataclasses.replace(gross, n=n)
    both = dataclasses.replace(
        facts.published[-1],
        gross=gross,
        net=tuple(gross.shifted(-cost) for cost in facts.costs_pct),
        precision=Interval(0.5, 0.4, 0.6, gross.n) if gross.n else gross,
    )
    shuffled, planted, *leak = facts.controls
    controls = (
        dataclasses.replace(shuffled, skill=of("shuffled", NOTHING_FOUND)),
        dataclasses.replace(planted, skill=of("planted", GOOD)),
        *leak,
    )
    few = st.floats(FEWEST_INDEPENDENT - 1, FEWEST_INDEPENDENT + 1)
    folds = [dataclasses.replace(facts.folds[0], skill=of("folds", GOOD)) for _ in range(4)]
    return dataclasses.replace(
        facts,
        skill=of("skill", GOOD),
        published=(*facts.published[:-1], both),
        controls=() if "untried" in doubts else controls,
        folds=tuple(folds),
        rows=dataclasses.replace(
            facts.rows, independent=draw(few) if "few" in doubts else 2 * FEWEST_INDEPENDENT
        ),
        tried=Tried(
            draw(st.integers(1, 3)),
            draw(st.none() | st.floats(0.9, 1)),
            draw(st.none() | st.floats(0.4, 0.6)),
        )
        if "search" in doubts
        else Tried(1),
    )


def _trial(facts: Facts, name: str) -> TrialFact | None:
    return next((one for one in facts.controls if one.name == name), None)


def _text(said: Verdict) -> str:
    return "\n".join((said.headline.text, *(one.text for one in said.statements)))


@given(possible_facts())
def test_skill_is_shown_only_by_an_interval_above_zero_that_nothing_puts_in_doubt(facts):
    """Whoever reads "has skill" can rely on interval, folds, rows, search and controls."""
    said = verdict(facts)
    if said.skill != "shown":
        assert "Has skill" not in _text(said)
        assert said.headline.tone == "bad"
        return
    assert facts.skill.low is not None
    assert facts.skill.low > 0
    assert facts.rows.independent >= FEWEST_INDEPENDENT
    better = [
        one for one in facts.folds if one.skill.estimate is not None and one.skill.estimate > 0
    ]
    assert len(better) > len(facts.folds) / 2
    shuffled = _trial(facts, "shuffled labels")
    assert shuffled is None or shuffled.skill.low is None or shuffled.skill.low <= 0
    if facts.tried.configurations > 1:
        sharpe, overfitting = facts.tried.deflated_sharpe, facts.tried.overfitting_probability
        assert sharpe is not None or overfitting is not None
        assert sharpe is None or sharpe >= 0.95
        assert overfitting is None or overfitting < 0.5


@given(possible_facts())
def test_an_interval_above_zero_without_any_doubt_is_called_skill(facts):
    """The rules do not refuse what they promise either."""
    sure = dataclasses.replace(
        facts,
        skill=Interval(0.02, 0.01, 0.03, 5_000),
        folds=tuple(
            dataclasses.replace(one, skill=Interval(0.02, 0.01, 0.03, 900)) for one in facts.folds
        ),
        rows=dataclasses.replace(facts.rows, independent=float(FEWEST_INDEPENDENT)),
        controls=(),
        tried=Tried(1),
    )
    assert verdict(sure).skill == "shown"


@given(possible_facts())
def test_a_cost_is_survived_only_with_all_costs_below_it_and_signals_enough(facts):
    """The survived cost is one after which the published signals' interval is above 0."""
    said = verdict(facts)
    both = facts.published[-1]
    for cost, net in zip(facts.costs_pct, both.net, strict=True):
        if said.survives_cost_pct is not None and cost <= said.survives_cost_pct:
            assert net.low is not None
            assert net.low > 0
            assert both.gross.n >= FEWEST_SIGNALS
            assert said.skill == "shown"
    if said.headline.tone == "good":
        assert said.skill == "shown"
        assert said.survives_cost_pct


@given(possible_facts())
def test_what_is_above_zero_on_paper_only_is_called_so(facts):
    """An estimate above 0 with 0 in its interval is never called a gain, nor a loss.

    And a gain without skill, or of few signals, is never called good.
    """
    said = verdict(facts)
    trusted = said.skill == "shown" and facts.published[-1].gross.n >= FEWEST_SIGNALS
    for one in said.statements:
        assert trusted or not (one.tone == "good" and "round trip" in one.text)
    texts = [one.text for one in said.statements]
    for cost, net in zip(facts.costs_pct, facts.published[-1].net, strict=True):
        told = [text for text in texts if text.startswith(f"At {cost:.2f}\N{NO-BREAK SPACE}%")]
        if net.estimate is None:
            assert not told
        elif net.estimate > 0 and (net.low is None or net.low <= 0):
            assert "not distinguishable from 0" in told[0]
        elif net.low is not None and net.low > 0:
            assert told[0].endswith("above 0." if trusted else "may be luck.")


@given(possible_facts())
def test_skill_in_shuffled_labels_forbids_all_trust(facts):
    """When the method finds what is not there, the first words say so and nothing survives."""
    shuffled = _trial(facts, "shuffled labels")
    said = verdict(facts)
    broken = shuffled is not None and shuffled.skill.low is not None and shuffled.skill.low > 0
    assert (said.skill == "broken") == broken
    assert said.headline.text.startswith("Do not trust") == broken
    if broken:
        assert said.survives_cost_pct is None


@given(possible_facts())
def test_precision_is_never_told_without_its_count_and_its_base_rate(facts):
    """Where signals were published, one sentence has their number, precision and base rate."""
    both = facts.published[-1]
    told = [one.text for one in verdict(facts).statements if "it signals" in one.text]
    assert len(told) == (1 if both.gross.n else 0)
    for text in told:
        assert f"({both.precision.n:,} signals)" in text
        assert f"{both.base_rate * 100:.1f}\N{NO-BREAK SPACE}%" in text


@given(possible_facts())
def test_controls_that_are_absent_or_fail_are_named(facts):
    """Without trials, or without a planted signal found, the verdict warns."""
    planted = _trial(facts, "planted signal")
    text = _text(verdict(facts))
    assert ("not put on trial" in text) == (planted is None)
    if planted is not None and (planted.skill.low is None or planted.skill.low <= 0):
        shuffled = _trial(facts, "shuffled labels")
        leaks = shuffled.skill.low is not None and shuffled.skill.low > 0
        assert leaks or "means little" in text


@pytest.mark.parametrize("seed", range(6))
def test_noise_is_never_said_to_have_skill(seed):
    """Answers that have nothing to do with the rows show no skill, however timid or bold."""
    random = np.random.default_rng(seed)
    shares = study().baselines["class shares"]
    strength = (0.02, 0.1, 0.5)[seed % 3]
    noise = np.exp(random.normal(0.0, strength, shares.shape))
    said = findings(answering(normalised(shares * noise))).verdict
    assert said.skill in ("not shown", "worse")
    assert said.headline.tone == "bad"


def test_what_knows_the_truth_is_said_to_have_skill():
    """Answers that lean to the true class by a little are found out to."""
    shares = study().baselines["class shares"]
    towards = 1 + 0.8 * np.eye(3)[study().truth]
    said = findings(answering(normalised(shares * towards))).verdict
    assert said.skill == "shown"
    assert said.headline.text.startswith("Has skill")


def test_what_says_the_opposite_of_the_truth_is_called_worse():
    """Answers that lean away from the true class are worse than none."""
    shares = study().baselines["class shares"]
    away = 1 - 0.4 * np.eye(3)[study().truth]
    assert findings(answering(normalised(shares * away))).verdict.skill == "worse"
