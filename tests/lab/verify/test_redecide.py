"""What was decided is decided again from its bars; what cannot be is counted, never equal."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import Bars, Stream
from candled.core.correction import correction
from candled.core.decision import BarClosed, Decision, Probabilities, Side, Source
from candled.core.engine import Engine
from candled.core.features.mar import MAR
from candled.lab.verify.redecide import (
    LATER_HISTORY,
    NO_BAR,
    NO_HISTORY,
    NO_MODEL,
    redecide,
    revise,
)
from candled.lab.verify.series import with_columns
from candles import bars_at, candles
from models import lane

BTC = Stream("binance", "BTCUSDT", "1h")
FIRST = MAR.history
BARS = candles(FIRST + 60, seed=33)
LANE = lane(BTC)


def decide(bars: Bars, first: int = FIRST, *, from_listing: bool = False) -> list[Decision]:
    """Decide bars one by one, as a daemon that started with the bars before `first`."""
    engine = Engine([LANE])
    engine.warm(BTC, bars[:first], from_listing=from_listing)
    return [engine.decide([BarClosed(BTC, bar, Source.WS, 1, 1)])[0] for bar in bars[first:]]


DECIDED = decide(BARS)
few = settings(max_examples=15, deadline=None)


def again(stored: Sequence[Decision], bars: Bars = BARS, *, from_listing: bool = False):
    return redecide([LANE], bars, stored, from_listing=from_listing)


def test_what_a_daemon_decided_is_decided_again_to_the_bit():
    """All decisions of one life are compared, field by field, and none differs."""
    done = again(DECIDED)
    assert (done.stored, done.compared) == (60, 60)
    assert (done.differences, done.undecided, dict(done.not_compared)) == ((), (), {})
    assert sum(one.side.is_signal for one in DECIDED) > 5


def test_a_restart_in_between_changes_nothing():
    """Decisions of two lives, the second warmed from the journal, are those of one."""
    engine = Engine([LANE])
    engine.warm(BTC, BARS[20 : FIRST + 20], from_listing=False)
    events = [BarClosed(BTC, bar, Source.WS, 1, 1) for bar in BARS[FIRST + 20 :]]
    assert again(DECIDED[:20] + engine.decide(events)).differences == ()


def test_a_young_listing_is_decided_again_from_its_first_bar():
    """Where the venue has no earlier bar, a short history is whole, live and again."""
    bars = BARS[:100]
    done = again(decide(bars, 45, from_listing=True), bars, from_listing=True)
    assert (done.compared, done.differences) == (55, ())


@few
@given(
    st.integers(0, 59),
    st.sampled_from(["id", "side", "price", "regime", "probabilities", "valid_until", "threshold"]),
)
def test_any_field_that_was_stored_otherwise_is_told(at: int, name: str):
    """One changed field of one decision is one difference, with that field's name."""
    other = {
        "id": "0" * 32,
        "side": Side.LONG if DECIDED[at].side is not Side.LONG else Side.SHORT,
        "price": float(np.nextafter(DECIDED[at].price, 0.0)),
        "regime": 1 - DECIDED[at].regime % 2,
        "probabilities": Probabilities(0.1, 0.2, 0.7),
        "valid_until": 0,
        "threshold": 0.5,
    }
    stored = list(DECIDED)
    stored[at] = dataclasses.replace(DECIDED[at], **{name: other[name]})
    (found,) = again(stored).differences
    assert found.fields == (name,)
    assert (found.stored, found.again) == (stored[at], DECIDED[at])


def test_a_correction_is_decided_again_as_the_revision_that_it_is():
    """Its id belongs to its revision, and what it replaced is not for the bars to tell."""
    stored = list(DECIDED)
    wrong = dataclasses.replace(stored[7], side=Side.NO_DECISION)
    corrected = correction(stored[7], wrong, None)
    assert corrected is not None
    stored[7] = corrected
    assert again(stored).differences == ()
    for name, value in (("id", DECIDED[7].id), ("revision", 2)):
        stored[7] = dataclasses.replace(corrected, **{name: value})
        (told,) = again(stored).differences
        assert told.fields == ("id",)


def test_decisions_of_another_model_or_policy_are_counted_as_such():
    """They are not compared and not equal."""
    stored = [dataclasses.replace(one, model_digest="old") for one in DECIDED[:9]]
    stored += [dataclasses.replace(one, policy_digest="old") for one in DECIDED[9:14]]
    done = again(stored + DECIDED[14:])
    assert (done.compared, dict(done.not_compared)) == (46, {NO_MODEL: 14})
    none = redecide([], BARS, DECIDED, from_listing=False)
    assert (none.compared, dict(none.not_compared)) == (0, {NO_MODEL: 60})


def test_a_second_model_at_hand_decides_its_own():
    """Decisions of two models are each made again by the model that made them."""
    strict = lane(BTC, threshold=0.9)
    engine = Engine([strict])
    engine.warm(BTC, BARS[:FIRST], from_listing=False)
    later = engine.decide([BarClosed(BTC, bar, Source.WS, 1, 1) for bar in BARS[FIRST:]])
    stored = DECIDED[:30] + later[30:]
    done = redecide([LANE, strict], BARS, stored, from_listing=False)
    assert (done.compared, done.differences) == (60, ())


def test_decisions_whose_history_is_gone_are_counted_as_such():
    """Without the bars behind them they cannot be made again; those that have theirs are."""
    done = again(DECIDED, BARS[30:])
    assert (done.compared, dict(done.not_compared)) == (31, {NO_HISTORY: 29})
    gone = again(DECIDED, bars_at(BARS, np.r_[0 : FIRST + 5, FIRST + 6 : FIRST + 60]))
    assert gone.not_compared[NO_BAR] == 1


def test_decisions_made_while_warming_are_not_compared_with_later_knowledge():
    """Where history came after them, `no_decision` for warm-up is counted, not called wrong."""
    stored = decide(BARS[10:], FIRST - 20)
    assert stored[0].side is Side.NO_DECISION
    done = again(stored)
    assert done.not_compared[LATER_HISTORY] > 5
    assert done.differences == ()


def test_a_bar_without_its_decision_is_told():
    """Exactly one decision belongs to each bar between the first and the last decided one."""
    done = again(DECIDED[:20] + DECIDED[21:])
    assert done.undecided == (int(BARS.open_time[FIRST + 20]),)


def test_nothing_decided_is_nothing_compared():
    """An empty journal has no differences, and no bars that lack a decision."""
    done = again([])
    assert (done.stored, done.compared, done.differences, done.undecided) == (0, 0, (), ())


# --- the venue's final history


LAST = int(BARS.open_time[-1])


def _changed(row: int, **columns: float) -> Bars:
    made = {name: getattr(BARS, name).copy() for name in columns}
    for name, value in columns.items():
        made[name][row] = value
    return with_columns(BARS, **made)


def test_a_final_history_that_is_the_same_changes_nothing():
    """All bars in common are compared, and the bars to decide on are those that are stored."""
    done = revise(BARS, BARS[500:], LAST)
    assert (done.compared, done.changed, done.only_stored, done.only_final) == (
        len(BARS) - 500, (), (), (),
    )  # fmt: skip
    assert repr(done.bars) == repr(BARS)


def test_a_revised_bar_and_the_decisions_that_it_changes_are_told():
    """The bar is named with its columns; decisions on the final bars differ from there on."""
    row = FIRST + 30
    done = revise(BARS, _changed(row, close=BARS.close[row] * 0.97, volume=1.0), LAST)
    assert done.changed == ((int(BARS.open_time[row]), ("close", "volume")),)
    differences = again(DECIDED, done.bars).differences
    assert differences[0].stored.bar_open == int(BARS.open_time[row])
    assert "price" in differences[0].fields
    assert len(differences) > 20


def test_what_the_final_history_does_not_tell_is_kept():
    """A column that the file lacks (NaN) is no difference, and stays as it is stored."""
    nan = np.full(len(BARS), np.nan)
    done = revise(BARS, with_columns(BARS, trades=nan, quote_volume=nan), LAST)
    assert done.changed == ()
    assert repr(done.bars) == repr(BARS)


@few
@given(st.sets(st.integers(5, len(BARS) - 2), max_size=4), st.sets(st.integers(5, 900), max_size=4))
def test_bars_that_one_side_lacks_are_told(lost: set[int], new: set[int]):
    """Bars only here and only there are listed; the joined bars are the final ones, in order."""
    new -= lost
    everything = np.arange(len(BARS))
    stored = bars_at(BARS, np.array([row for row in everything if row not in new]))
    final = bars_at(BARS, np.array([row for row in everything if row not in lost]))
    done = revise(stored, final, LAST)
    assert done.only_stored == tuple(int(BARS.open_time[row]) for row in sorted(lost))
    assert done.only_final == tuple(int(BARS.open_time[row]) for row in sorted(new))
    assert done.bars.open_time.tolist() == final.open_time.tolist()
    assert done.bars.close.tolist() == final.close.tolist()


@pytest.mark.parametrize("count", [0, 10])
def test_final_bars_after_the_last_decision_do_not_count(count: int):
    """What came later is cut off before anything is compared."""
    end = FIRST + count
    done = revise(BARS[:end], BARS, int(BARS.open_time[end - 1]))
    assert (done.compared, done.only_final) == (end, ())
