"""First touch: every row as a walk over single bars has it, labels and outcomes alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from candled.core.bar import COLUMNS
from candled.core.labels import LONG, SHORT, LabelParams, window_labels
from candled.core.touch import (
    KINDS,
    STOP,
    TARGET,
    TIME,
    UNRESOLVED,
    Barriers,
    barriers,
    first_touch_labels,
    first_touches,
    outcomes,
)
from candled.lab.rules import LABEL_RULES, label_rule
from candles import bars_from_closes, bars_of, candles, real_candles

BARS = candles(900, seed=33)


def _with(bars, **columns):
    return bars_of({name: columns.get(name, getattr(bars, name)) for name in COLUMNS})


def _jumpy(length, seed):
    """Bars that open away from the last close, some without a high, a low or an open."""
    random = np.random.default_rng(seed)
    bars = BARS[:length]
    shift = np.exp(random.normal(0.0, 0.02, length) * (random.random(length) < 0.3))
    moved = {name: getattr(bars, name) * np.cumprod(shift) for name in ("open", "high", "low")}
    moved["close"] = bars.close * np.cumprod(shift)
    for name in ("open", "high", "low"):
        moved[name][random.random(length) < 0.05] = np.nan
    return _with(bars, **moved)


def _assert_walked(touches, walked, bars, entry, side):
    assert [KINDS[kind] for kind in touches.kind] == [kind for kind, _, _ in walked]
    assert touches.bar.tolist() == [at for _, at, _ in walked]
    prices = np.array([price for _, _, price in walked])
    np.testing.assert_array_equal(touches.price, prices)
    sign = 1 if side == LONG else -1
    np.testing.assert_array_equal(touches.gross_pct, sign * (prices - entry) / entry * 100)
    ended = np.isfinite(touches.price)
    inside = bars_of({name: getattr(bars, name)[touches.bar[ended]] for name in COLUMNS})
    assert not (touches.price[ended] > inside.high).any()
    assert not (touches.price[ended] < inside.low).any()


percents = st.floats(0.05, 4.0)
param_sets = st.builds(LabelParams, st.integers(1, 60), percents, percents)


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, 150), params=param_sets, seed=st.integers(0, 1_000_000))
def test_every_row_ends_as_a_walk_over_its_bars_does(length, params, seed):
    """Kind, bar, price and gain equal a naive loop's on every row, gaps and absences included."""
    bars = _jumpy(length, seed)
    given_params = params.lookahead_bars, params.profit_target_pct, params.stop_loss_pct
    found = outcomes(bars, params)
    entries = [*bars.open[1:].tolist(), np.nan][:length]
    np.testing.assert_array_equal(found.entry, np.array(entries))
    for side, touches in ((LONG, found.long), (SHORT, found.short)):
        walked = reference.touch_loop(bars, entries, given_params, side)
        _assert_walked(touches, walked, bars, found.entry, side)
        walked = reference.touch_loop(bars, bars.close.tolist(), given_params, side)
        _assert_walked(
            first_touches(bars, bars.close, barriers(params), side), walked, bars, bars.close, side
        )


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(0, 150),
    params=param_sets,
    seed=st.integers(0, 1_000_000),
    with_regime=st.booleans(),
)
def test_labels_and_their_ends_are_those_of_the_walk(length, params, seed, with_regime):
    """Class and the bar in which it was known equal a loop over both sides, on every row."""
    bars = _jumpy(length, seed)
    regime = np.random.default_rng(seed).integers(0, 3, length) if with_regime else None
    labelled = label_rule("first_touch")(bars, params, regime)
    expected = reference.first_touch_loop(
        bars,
        (params.lookahead_bars, params.profit_target_pct, params.stop_loss_pct),
        None if regime is None else regime.tolist(),
    )
    found = zip(labelled.classes.tolist(), labelled.ends.tolist(), strict=True)
    assert list(found) == expected
    assert labelled.known.tolist() == [end < length for _, end in expected]


@pytest.mark.parametrize("rule", LABEL_RULES)
def test_a_label_is_read_from_its_bars_alone(rule):
    """What happens after a row's end changes neither its class nor its end."""
    params = LabelParams(12)
    whole = label_rule(rule)(BARS, params)
    for cut in (40, 300, 611):
        part = label_rule(rule)(BARS[:cut], params)
        known = np.flatnonzero(part.known)
        assert known.tolist() == np.flatnonzero(whole.ends[:cut] < cut).tolist()
        assert (part.classes[known] == whole.classes[known]).all()
        assert (part.ends[known] == whole.ends[known]).all()
        assert not part.classes[~part.known].any()
    assert (whole.ends > np.arange(len(BARS))).all()


def test_the_window_rule_is_asked_like_any_other():
    """Its classes are those of `window_labels`; a row is known `lookahead_bars` bars later."""
    regime = np.random.default_rng(1).integers(0, 3, len(BARS))
    params = LabelParams(24, 1.0, 2.0)
    labelled = label_rule("window")(BARS, params, regime)
    assert (labelled.classes == window_labels(BARS, params, regime).signal).all()
    assert (labelled.ends == np.arange(len(BARS)) + 24).all()
    assert np.count_nonzero(~labelled.known) == 24


def test_an_unknown_rule_is_refused():
    """The message lists the rules there are."""
    with pytest.raises(ValueError, match="unknown label rule 'touch'; known are window, first_to"):
        label_rule("touch")


def test_regimes_must_be_one_a_bar():
    """A regime column of another length is refused with both lengths."""
    with pytest.raises(ValueError, match="regime has 3 values for 900 bars"):
        first_touch_labels(BARS, LabelParams(), np.zeros(3, dtype=np.int8))


def _single(opened, high, low, close):
    """One bar after a flat one at 100."""
    bars = bars_from_closes(np.full(2, 100.0))
    columns = {"open": opened, "high": high, "low": low, "close": close}
    return _with(bars, **{name: np.array([100.0, value]) for name, value in columns.items()})


@pytest.mark.parametrize(
    ("bar", "long", "short"),
    [
        ((100, 102, 99.5, 101), (TARGET, 101.5), (STOP, 101.0)),
        ((100, 100.5, 98, 99), (STOP, 99.0), (TARGET, 98.5)),
        ((100, 102, 98, 100), (STOP, 99.0), (STOP, 101.0)),  # both: a stop
        ((100, 100.5, 99.5, 100.25), (TIME, 100.25), (TIME, 100.25)),
        ((98, 98.75, 97, 98.5), (STOP, 98.0), (TARGET, 98.5)),  # opens beyond the stop
        ((103, 104, 102, 103), (TARGET, 102.0), (STOP, 103.0)),  # all of it beyond the target
        ((101.75, 104, 101.25, 103), (TARGET, 101.5), (STOP, 101.75)),
        ((103, 104, 98, 103), (STOP, 99.0), (STOP, 103.0)),
        ((100, 101.5, 99.5, 100), (TARGET, 101.5), (STOP, 101.0)),  # equal is touched
        ((100, 101.25, 99, 100), (STOP, 99.0), (STOP, 101.0)),
        ((np.nan, 104, 99.5, 103), (TARGET, 101.5), (STOP, 101.0)),
        ((100, np.nan, np.nan, 103), (TIME, 103.0), (TIME, 103.0)),
    ],
)
def test_a_bar_fills_by_the_rules(bar, long, short):
    """Target 1.5 %, stop 1 % of 100: what each kind of bar does to a long and to a short."""
    bars = _single(*bar)
    for side, expected in ((LONG, long), (SHORT, short)):
        found = first_touches(bars, bars.close, Barriers(1, 1.5, 1.0), side)
        kind, price = expected
        assert found.kind[0] == kind
        assert found.price[0] == pytest.approx(price, rel=1e-15)
        assert found.bar[0] == 1
        assert found.kind[1] == UNRESOLVED
        assert np.isnan(found.price[1])


@pytest.mark.parametrize(("regime", "signal"), [(None, 2), (0, 2), (1, 1), (2, 2)])
def test_where_both_sides_win_in_one_bar_the_regime_decides(regime, signal):
    """With a stop wider than the target a wide bar ends both sides at once, both winning."""
    bars = _single(100.0, 102.0, 98.0, 100.0)
    regimes = None if regime is None else np.array([regime, 0])
    labels = first_touch_labels(bars, LabelParams(1, 1.5, 3.0), regimes)
    assert (labels.long.kind[0], labels.short.kind[0]) == (TARGET, TARGET)
    assert (labels.signal[0], labels.end[0]) == (signal, 1)


def test_where_both_sides_win_the_earlier_one_is_right():
    """Whatever the regime, the side whose target came first in time is the class."""
    bars = bars_from_closes(np.full(3, 100.0))
    up_then_down = _with(bars, high=np.array([100.0, 102, 100]), low=np.array([100.0, 99.5, 98]))
    labels = first_touch_labels(up_then_down, LabelParams(2, 1.5, 3.0), np.full(3, 2))
    assert (labels.long.kind[0], labels.short.kind[0]) == (TARGET, TARGET)
    assert (labels.signal[0], labels.end[0]) == (LONG, 1)


def test_a_trade_is_resolved_as_soon_as_it_is_touched():
    """Near the end of the bars only what has not been touched is unresolved."""
    bars = _with(BARS, high=np.append(BARS.high[:-1], BARS.high[-1] * 1.2))
    found = first_touches(bars, bars.close, Barriers(24, 4.0, 9.0), LONG)
    assert (found.kind[-24:-1] == TARGET).all()
    assert found.kind[-1] == UNRESOLVED


def test_an_entry_within_a_bar_may_have_missed_its_best_price():
    """Where targets count from the second bar on, the first bar can only stop."""
    closes = np.full(3, 100.0)
    bars = _with(bars_from_closes(closes), high=np.array([100, 104, 102.0]), low=np.full(3, 99.5))
    for first, bar in ((1, 1), (2, 2)):
        found = first_touches(bars, bars.close, Barriers(2, 1.5, 1.0), LONG, targets_from=first)
        assert (found.kind[0], found.bar[0]) == (TARGET, bar)
    low = _with(bars, low=closes - 3.0)
    assert first_touches(low, bars.close, Barriers(2, 1.5, 1.0), LONG, 2).bar[0] == 1


def test_without_a_price_there_is_no_result():
    """An absent entry touches nothing, and an absent last close gives no gain."""
    close = BARS.close.copy()
    close[10] = close[60] = np.nan
    bars = _with(BARS, close=close)
    found = first_touches(bars, bars.close, Barriers(20), LONG)
    assert (found.kind[10], found.kind[40]) == (TIME, TIME)
    assert np.isnan(found.gross_pct[[10, 40]]).all()
    assert np.isfinite(found.gross_pct[[9, 11, 39, 41]]).all()


def test_the_window_rule_loses_winners_that_fell_back():
    """On real candles some 22 % of the longs that reach their target first are no trade to it."""
    bars = real_candles()
    params = LabelParams()
    labels = first_touch_labels(bars, params)
    winners = labels.signal == LONG
    lost = np.mean(window_labels(bars, params).signal[winners] == 0)
    assert 0.20 < lost < 0.25
    walked = reference.first_touch_loop(bars[:4000], (24, 1.5, 1.0))[: 4000 - 24]
    assert labels.signal[: 4000 - 24].tolist() == [label for label, _ in walked]
    assert labels.end[: 4000 - 24].tolist() == [end for _, end in walked]
