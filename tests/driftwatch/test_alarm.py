"""People are told of what is beyond all that was usual, once, and when that is over."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from candled.core.drift import Levels, above, entering, leaving
from candled.core.track import Moved, StreamDrift
from candled.driftwatch.alarm import CONFIRM, Alarm, told
from drifting import BTC, SEEN

ENTER, LEAVE = entering(SEEN), leaving(SEEN)
BASE = StreamDrift(
    stream=BTC,
    model_digest="m",
    rows=120,
    psi_median=0.2,
    moved_share=0.5,
    outside_share=0.01,
    psi_answers=0.1,
    worst=(Moved("wick", 3.2), Moved("mean", 2.0), Moved("move", 1.0), Moved("taken", 0.5)),
    usual=SEEN,
)


def at(psi: float) -> StreamDrift:
    return dataclasses.replace(BASE, psi_median=psi)


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.74, 0.76, 0.99, 1.01, 5.0]), st.integers(1, 12))))
def test_ten_rows_on_end_decide_by_a_level_that_depends_on_what_was_decided(runs):
    """Above twice what was to be called so, at most half as far beyond to be let go."""
    assert (ENTER.psi_median, LEAVE.psi_median) == (1.0, 0.75)
    alarm, flagged, against = Alarm(), False, 0
    for psi in (psi for psi, times in runs for _ in range(times)):
        alarm.step(at(psi))
        against = against + 1 if (psi > (0.75 if flagged else 1.0)) != flagged else 0
        if against == CONFIRM:
            flagged, against = not flagged, 0
        assert alarm.flagged is flagged


def test_any_of_the_three_figures_is_enough():
    """Inputs moved, inputs out of range, answers moved."""
    for name in ("psi_median", "outside_share", "psi_answers"):
        alarm = Alarm()
        for _ in range(CONFIRM):
            alarm.step(dataclasses.replace(BASE, **{name: 0.99 if "share" in name else 9.0}))
        assert alarm.flagged, name


def test_where_nothing_usual_is_known_nothing_is_said():
    """Neither that it drifts nor, of one that did, that it no longer does."""
    unknown = dataclasses.replace(at(99.0), usual=None)
    for flagged in (False, True):
        alarm = Alarm(flagged=flagged)
        for _ in range(3 * CONFIRM):
            alarm.step(unknown)
        assert alarm.flagged is flagged


def test_what_is_told_has_the_numbers_and_the_worst_features():
    """Each figure beside the most that it was before, and the three features that moved most."""
    text = told(dataclasses.replace(at(1.234), flagged=True))
    assert text == (
        "the newest 120 rows lie further from training than any stretch of them did before: "
        "median PSI of the features 1.23 (was 0.5 at most), share of the features out of range "
        "0.01 (was 0.05 at most), PSI of the answers 0.1 (was 0.6 at most); moved most: wick 3.20, "
        "mean 2.00, move 1.00; train again, or see what changed"
    )
    assert told(at(0.2)).startswith("the newest 120 rows look as usual again: median PSI")
    blind = dataclasses.replace(BASE, psi_median=None, psi_answers=None, worst=(), flagged=True)
    assert "median PSI" not in told(blind)
    assert "moved most" not in told(blind)
    assert above(Levels(None, None, None), ENTER) == ()
