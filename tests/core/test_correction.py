"""A correction is made of what has changed, says what it replaces, and is seldom a signal."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candled.core.correction import correction, differing
from candled.core.decision import Decision, Probabilities, Side, Superseded, decision_id
from fakes import Decisions

SIGNALS = (Side.LONG, Side.SHORT)


def said(side: Side, odds: float = 0.25) -> Decision:
    """Make a decision of the one slot, whatever it says."""
    made = Decisions().make(side).decision
    return dataclasses.replace(made, probabilities=Probabilities(0.25, 0.5, odds))


@given(st.lists(st.tuples(st.sampled_from(list(Side)), st.sampled_from([0.25, 0.125])), min_size=1))
def test_corrections_of_a_slot_are_told_like_this(answers: list[tuple[Side, float]]):
    """Each change is one revision more, names what it replaces and the slot's newest signal.

    It is a signal exactly when its side is long or short and was another one just before, so that
    two signals of a side never follow each other without a word between them.
    """
    first = said(*answers[0])
    history, told = [first], [(first.id, 1)] if first.is_signal else []
    for answer in answers[1:]:
        again, last = said(*answer), history[-1]
        seq = len(told) if told and told[-1][0] == last.id else None
        made = correction(again, last, seq)
        if (again.side, again.probabilities) == (last.side, last.probabilities):
            assert made is None
            continue
        assert made is not None
        signal = told[-1] if told else (None, None)
        assert made.supersedes == Superseded(last.id, last.side, *signal)
        assert made.revision == len(history)
        assert made.id == decision_id(
            made.stream, made.model_digest, made.policy_digest, made.bar_open, len(history)
        )
        assert dataclasses.replace(made, id=again.id, revision=0, supersedes=None) == again
        assert made.is_signal == (made.side in SIGNALS and made.side is not last.side)
        history.append(made)
        if made.is_signal:
            told.append((made.id, len(told) + 1))
    assert len({one.id for one in history}) == len(history)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Decision)])
def test_every_field_that_says_something_is_compared(field: str):
    """What makes a correction is any field but those that a revision itself changes."""
    one = said(Side.LONG)
    other = dataclasses.replace(one, **{field: object()})
    expected = () if field in ("id", "revision", "supersedes") else (field,)
    assert differing(one, other) == expected


@pytest.mark.parametrize("means", ["model_digest", "policy_digest"])
def test_what_others_decided_is_not_corrected(means: str):
    """A decision of another model or policy stays: that it comes out otherwise is no correction."""
    last = dataclasses.replace(said(Side.LONG), **{means: "another"})
    assert correction(said(Side.SHORT), last, 1) is None
    assert correction(said(Side.SHORT), said(Side.LONG), 1) is not None


def test_a_decision_without_a_past_is_a_signal_by_its_side():
    """The first decision of a slot is published when it is long or short."""
    assert [said(side).is_signal for side in Side] == [side in SIGNALS for side in Side]
