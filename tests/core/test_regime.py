"""The regime machine: the presets' rules, and memory that ends."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from candled.core.features.mar import COLUMNS, MAR
from candled.core.regime import (
    INPUTS,
    MEMORY,
    NAMES,
    PRESETS,
    Confirmation,
    RegimeMachine,
    regime_rule,
    regimes,
)
from candles import HOURLY, candles, real_candles

BARS = candles(3_000, seed=8)
AT = [COLUMNS.index(name) for name in INPUTS]
INPUT_ROWS = MAR.table(BARS, HOURLY)[:, AT]
WARM_UP = np.array([[0.0, 0.0, np.nan]] * 40)
every_preset = pytest.mark.parametrize("preset", PRESETS)
few = settings(max_examples=15, deadline=None)
raws = st.lists(st.sampled_from((0, 1, 2)), max_size=60)


def _agrees_with_an_unbounded_fold(inputs, preset):
    found = regimes(regime_rule(preset), inputs)
    expected = reference.raw_regimes(pd.DataFrame(inputs, columns=list(INPUTS)), preset)
    assert found[:, 0].tolist() == expected
    assert found[:, 1].tolist() == reference.confirmed_regimes(expected, preset)
    return np.bincount(found[:, 1], minlength=3)


@every_preset
def test_regimes_are_those_of_plain_pandas(preset):
    """On seeded candles raw and confirmed regimes equal pandas and a fold over the whole past."""
    counts = _agrees_with_an_unbounded_fold(INPUT_ROWS, preset)
    assert (counts > 50).all()  # all three occur: the comparison can see a difference


def test_real_regimes_are_those_of_plain_pandas():
    """On 37,923 real bars they are equal too: the bound on memory has never mattered there."""
    inputs = MAR.table(real_candles(), HOURLY)[:, AT]
    for preset in PRESETS:
        _agrees_with_an_unbounded_fold(inputs, preset)


@every_preset
@few
@given(start=st.integers(0, len(BARS) - MAR.history - 5))
def test_regimes_after_a_restart_are_the_batch_regimes(preset, start):
    """Computed from `history` bars before them, regimes are those of the whole history."""
    end = start + MAR.history + 5
    inputs = MAR.table(BARS[start:end], HOURLY)[:, AT]
    rule = regime_rule(preset)
    again = regimes(rule, inputs)[MAR.history :]
    assert again.tolist() == _batch(preset)[start + MAR.history : end].tolist()


@every_preset
@few
@given(length=st.integers(0, len(BARS)))
def test_regimes_never_change_afterwards(preset, length):
    """Bars that come later change no regime: nothing is repainted."""
    found = regimes(regime_rule(preset), INPUT_ROWS[:length])
    assert found.tolist() == _batch(preset)[:length].tolist()


_BATCH: dict[str, np.ndarray] = {}


def _batch(preset):
    if preset not in _BATCH:
        _BATCH[preset] = regimes(regime_rule(preset), INPUT_ROWS)
    return _BATCH[preset]


@every_preset
@given(one=raws, other=raws, value=st.sampled_from((0, 1, 2)), after=raws)
def test_a_long_run_makes_any_two_states_one(preset, one, other, value, after):
    """After a run as long as the longest confirmation, whatever was before cannot be told."""
    rule = regime_rule(preset)
    run = [value] * rule.longest_confirmation
    first, second = Confirmation(rule), Confirmation(rule)
    for machine, before in ((first, one), (second, other)):
        for raw in before + run:
            machine.step(raw)
    assert first.current == second.current == value
    assert [first.step(raw) for raw in after] == [second.step(raw) for raw in after]


@every_preset
def test_one_less_would_not_do(preset):
    """A run one shorter than the longest confirmation can leave two states apart."""
    rule = regime_rule(preset)
    up, ranging = Confirmation(rule), Confirmation(rule)
    for _ in range(rule.confirm):
        up.step(1)
    run = [0] * (rule.confirm_exit - 1)
    assert [machine.step(raw) for machine in (up, ranging) for raw in run][len(run) - 1] == 1
    assert up.current != ranging.current


def _never_settling(rows):
    """Make inputs whose raw regime alternates, after a trend of 60 rows."""
    spread = np.where(np.arange(rows) % 2, 0.6, 0.0)
    spread[:60] = 0.6
    return np.stack([np.ones(rows), np.ones(rows), spread], axis=1)


@every_preset
def test_a_sequence_that_never_settles_has_a_regime_of_bounded_past(preset):
    """Where raw values alternate for ever, the trend before them is forgotten after `MEMORY`."""
    found = regimes(regime_rule(preset), _never_settling(2_000))
    assert set(found[200:, 0].tolist()) == {0, 1}
    assert (found[60 + 5 : 60 + MEMORY - 40, 1] == 1).all()
    assert (found[60 + MEMORY + 40 :, 1] == 0).all()


def test_a_trend_too_short_to_settle_is_remembered_for_the_memory():
    """Three raw values make a notebook trend; where nothing settles it lasts `MEMORY` rows."""
    inputs = _never_settling(2_000)
    inputs[1_300:1_303, 2] = (0.6, 0.6, -0.6)
    raw, confirmed = regimes(regime_rule("notebook"), inputs).T
    runs = np.diff(np.flatnonzero(np.diff(raw[1_200:1_400])))
    assert runs.max() == 3
    begun = 1_300 + int(np.argmax(confirmed[1_300:]))
    assert begun < 1_310
    lasted = int(np.argmin(confirmed[begun:]))
    assert lasted == MEMORY - 2  # the first of the three values leaves the memory


@every_preset
def test_a_restart_after_the_last_trend_forgets_it_too(preset):
    """Where the batch has seen a trend that a restart has not, both say the same."""
    rule, inputs = regime_rule(preset), _never_settling(1_000)
    batch = regimes(rule, inputs)
    for start in range(0, 90, 5):
        live = regimes(rule, np.concatenate([WARM_UP, inputs[start + 40 : start + 721]]))
        assert live[-1].tolist() == batch[start + 720].tolist()


@every_preset
@few
@given(data=st.data())
def test_a_restart_inside_a_sequence_that_never_settles_changes_nothing(preset, data):
    """Short runs in any order, none that synchronises: a restart gives the batch's regimes."""
    rule = regime_rule(preset)
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    lengths = random.integers(1, rule.longest_confirmation, 1_500)
    on = np.repeat(np.arange(len(lengths)) % 2, lengths)[:1_700].astype(float)
    side = np.repeat(random.integers(0, 2, len(lengths)), lengths)[:1_700].astype(float)
    inputs = np.stack([side, side, on], axis=1)
    batch = regimes(rule, inputs)
    start = data.draw(st.integers(0, len(inputs) - MAR.history - 3))
    end = start + MAR.history + 3
    live = regimes(rule, np.concatenate([WARM_UP, inputs[start + 40 : end]]))
    assert live[MAR.history :].tolist() == batch[start + MAR.history : end].tolist()


def test_absent_inputs_count_as_neutral():
    """NaN inputs stand for a bullish share and position of one half and no spread."""
    machine, told = RegimeMachine(PRESETS["default"]), RegimeMachine(PRESETS["default"])
    nan = float("nan")
    for absent, present in [((nan, nan, nan), (0.5, 0.5, 0.0)), ((1.0, nan, 2.0), (1.0, 0.5, 2.0))]:
        assert machine.step(*absent) == told.step(*present)
    rows = [(1.0, 1.0, 1.0)] * 30
    assert [machine.step(*row) for row in rows] == [told.step(*row) for row in rows]


def test_the_notebook_preset_confirms_after_three_and_leaves_after_five():
    """A trend is taken at its third raw value in a row, left for ranging at the fifth."""
    fold = Confirmation(regime_rule("notebook"))
    steps = [1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 2, 1, 1, 1, 2, 2, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0]
    seen = [fold.step(raw) for raw in steps]
    assert seen == [0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0]


def test_thresholds_are_inclusive():
    """A row exactly on the thresholds is a trend; a hair inside them is not."""
    rule = regime_rule("default")
    below = np.nextafter
    assert rule.raw(0.75, 0.65, 0.3) == 1
    assert rule.raw(0.35, 0.35, 0.3) == 2
    for row in [
        (below(0.75, 0), 0.65, 0.3),
        (0.75, below(0.65, 0), 0.3),
        (0.75, 0.65, below(0.3, 0)),
    ]:
        assert rule.raw(*row) == 0
    for row in [(below(0.35, 1), 0.35, 0.3), (0.35, below(0.35, 1), 0.3)]:
        assert rule.raw(*row) == 0


def test_no_rows_have_no_regimes():
    """An empty history gives an empty table of two columns."""
    assert regimes(regime_rule("notebook"), np.empty((0, 3))).shape == (0, 2)


def test_names_and_presets_are_known():
    """There are three names; an unknown preset is refused with those that exist."""
    assert NAMES == ("Ranging", "Trending Up", "Trending Down")
    with pytest.raises(ValueError, match=r"'wild'.*notebook, default, aggressive, conservative"):
        regime_rule("wild")
    assert len(PRESETS) == 4
