"""The verification says what it compared, passes what is sound, and repeats itself to the bit."""

from __future__ import annotations

import datetime as dt
import random
import time
from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import COLUMNS
from candled.core.features.mar import MAR
from candled.lab.verify import CHECKS, VerificationError, gate, verify
from candled.lab.verify.circumstances import other_circumstances
from candled.lab.verify.facts import differs
from candled.lab.verify.series import (
    FUTURES,
    OPTIONAL,
    PRICES,
    around_closes,
    gappy,
    patchy,
    seeded_candles,
    untraded,
)
from candles import HOURLY, candles, real_candles
from models import model
from toys import HISTORY, WINDOW, Toy, mean, shifted

BARS = candles(700, seed=9)
FLOATS = st.floats(width=64) | st.sampled_from([0.0, -0.0, float("nan"), -float("nan")])


def test_an_honest_set_passes_every_check():
    """Not one bit of an honest set differs, and every check that applies has compared something."""
    done = verify(Toy(), BARS, HOURLY)
    assert done.ok
    assert done.findings == ()
    assert [check.name for check in done.checks] == list(CHECKS)
    idle = {check.name for check in done.checks if not check.cells}
    assert idle == {"model"}  # none was given
    assert done.cells == sum(check.cells for check in done.checks) > 50_000


@pytest.mark.parametrize("check", ["live alone", "live in groups", "blocks", "repeat"])
def test_these_checks_look_at_every_row(check):
    """What is rare cannot hide between samples: all rows are compared, whatever the seed."""
    (done,) = verify(Toy(), BARS, HOURLY, checks=[check], samples=1).checks
    assert done.rows == len(BARS)
    assert done.cells >= len(BARS) * len(Toy().columns)


def test_the_product_passes_with_gaps_and_quiet_bars():
    """`mar`, its regimes and a model pass on candles with gaps and bars without trades."""
    bars = untraded(gappy(candles(1_700, seed=4), 1), 2)
    done = verify(MAR, bars, HOURLY, model=model(), samples=4)
    assert done.findings == ()
    assert all(check.cells for check in done.checks)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_the_product_passes_on_real_candles(symbol):
    """On the newest 2,000 real bars no bit differs."""
    assert verify(MAR, real_candles(symbol)[-2_000:], HOURLY, samples=8).findings == ()


def test_the_same_seed_gives_the_same_verification():
    """Findings and counts repeat; another seed looks at other rows."""
    bad = Toy(lambda bars: shifted(bars.close, -1))
    first, again, other = (verify(bad, BARS, HOURLY, seed=seed) for seed in (3, 3, 4))
    assert repr(first) == repr(again)
    assert first.checks[0].cells != other.checks[0].cells


def test_too_few_bars_are_said_to_be_too_few():
    """What could not be compared is noted, not passed over."""
    notes = {check.name: check.note for check in verify(Toy(), BARS[:15], HOURLY).checks}
    assert notes["cold start"] == f"not compared: needs more than {HISTORY} bars"
    assert notes["warm-up"] == f"not compared: needs more than {2 * WINDOW} bars"
    assert notes["leaks"] == "not compared: needs 100 complete rows with a future"
    with pytest.raises(ValueError, match="there are no bars to verify on"):
        verify(Toy(), BARS[:0], HOURLY)


def test_an_unknown_check_is_refused():
    """A misspelt check is an error that names those there are."""
    with pytest.raises(ValueError, match=r"'cold'.*cold start"):
        verify(Toy(), BARS, HOURLY, checks=["cold"])


# --- bits


@settings(deadline=None)
@given(st.lists(FLOATS, max_size=8), st.lists(FLOATS, max_size=8))
def test_bits_differ_exactly_when_python_says_so(one, other):
    """NaN equals NaN, 0.0 is not -0.0, and everything else compares by its hex form."""
    size = min(len(one), len(other))
    said = differs(np.array(one[:size]), np.array(other[:size])).tolist()
    pairs = zip(one[:size], other[:size], strict=True)
    assert said == [
        float(a).hex() != float(b).hex() and not (isnan(a) and isnan(b)) for a, b in pairs
    ]


def test_another_shape_or_type_is_refused():
    """A table of another shape or precision cannot be compared, and the error says which."""
    with pytest.raises(VerificationError, match=r"gave float64\[2\] where float64\[3\] was due"):
        differs(np.zeros(3), np.zeros(2))
    with pytest.raises(VerificationError, match="float32"):
        differs(np.zeros(3), np.zeros(3, dtype=np.float32))


# --- series


@pytest.mark.parametrize("kind", FUTURES)
@settings(deadline=None, max_examples=20)
@given(cut=st.integers(0, 98))
def test_another_future_leaves_the_past_alone(kind, cut):
    """Bars up to the cut are the same in every bit, later ones are not, and nothing is modified."""
    bars = seeded_candles(100, HOURLY, 1)
    before = repr(bars)
    made = FUTURES[kind][0](bars, cut, HOURLY)
    for name in COLUMNS:
        assert not differs(getattr(made, name)[: cut + 1], getattr(bars, name)[: cut + 1]).any()
    assert repr(made[cut + 1 :]) != repr(bars[cut + 1 :])
    assert repr(bars) == before


def _sane(bars):
    ok = (bars.high >= np.maximum(bars.open, bars.close)) & (bars.low > 0)
    return (ok & (bars.low <= np.minimum(bars.open, bars.close))).all()


def test_seeded_candles_are_sane_and_of_every_kind():
    """The gate's candles are bars that may enter, and each kind has what its name says."""
    bars = seeded_candles(500, HOURLY, 1)
    assert _sane(bars)
    assert _sane(seeded_candles(500, HOURLY, 1, price=3e-8))
    assert repr(seeded_candles(500, HOURLY, 1)) == repr(bars)
    flat = around_closes(np.full(50, 2.0), HOURLY, np.random.default_rng(0))
    assert set(flat.close) == {2.0}
    assert np.diff(gappy(bars, 1).open_time).max() > 20 * 3_600_000
    quiet = untraded(bars, 1)
    still = quiet.volume == 0
    assert 20 < still.sum() < 200
    assert all((getattr(quiet, name)[still] == quiet.close[still]).all() for name in PRICES)
    assert _sane(quiet)
    holes = patchy(bars, 1)
    assert all(10 < np.isnan(getattr(holes, name)).sum() < 100 for name in OPTIONAL)


# --- circumstances


def test_circumstances_change_and_are_put_back():
    """Inside, clocks are later and global generators reseeded; afterwards all is as before."""
    functions = time.time, time.time_ns, time.gmtime, time.localtime, dt.datetime, dt.date
    numpys, pythons = np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    today = dt.date.today()  # noqa: DTZ011
    with other_circumstances(Toy(), 1):
        moved = [
            time.time() - functions[0](),
            (time.time_ns() - functions[1]()) / 1e9,
            time.mktime(time.localtime()) - functions[0](),
            (dt.datetime.now(dt.UTC) - functions[4].now(dt.UTC)).total_seconds(),
            (dt.datetime.today() - functions[4].now()).total_seconds(),  # noqa: DTZ002
        ]
        assert all(8_650_000 < seconds < 8_670_000 for seconds in moved)
        assert dt.date.today() > today  # noqa: DTZ011
        assert isinstance(functions[4](2020, 1, 1), dt.datetime)
        assert time.gmtime(0).tm_year == 1970
        assert np.random.get_state()[1].tolist() != numpys  # noqa: NPY002
    assert functions == (
        time.time, time.time_ns, time.gmtime, time.localtime, dt.datetime, dt.date,
    )  # fmt: skip
    assert np.random.get_state()[1].tolist() == numpys  # noqa: NPY002
    assert random.getstate() == pythons


# --- the gate


def test_the_gate_lets_an_honest_set_through_and_says_on_what():
    """The pass names the set, the candles and how many cells were compared, as plain values."""
    passed = gate(Toy(), HOURLY)
    assert passed["feature_set"] == "toy"
    assert passed["differing_bits"] == 0
    assert set(passed["candles"]) == {
        "plain", "flat", "gappy", "untraded", "patchy", "tiny", "huge",
    }  # fmt: skip
    assert all(part["cells"] > 10_000 for part in passed["candles"].values())
    assert gate(Toy(), HOURLY) == passed


def test_the_gate_refuses_a_peek_and_names_it():
    """The error names set, candles, check, column, time and what happens."""
    bad = Toy(lambda bars: shifted(mean(bars.close, 3), -1))
    with pytest.raises(
        VerificationError, match=r"'toy' must not go live: on plain candles"
    ) as told:
        gate(bad, HOURLY)
    assert "future dropped: bad at 20" in str(told.value)
    assert "1 after it, changes" in str(told.value)


def test_the_gate_finds_what_shows_only_on_strange_candles():
    """A column that is wrong only where nobody trades is refused on such candles."""
    bad = Toy(lambda bars: np.where(bars.volume == 0, shifted(bars.close, -1), bars.close))
    with pytest.raises(VerificationError, match="on untraded candles"):
        gate(bad, HOURLY)


def test_the_gate_refuses_names_that_must_not_be_features():
    """A set with a column called like a label does not pass, whatever it holds."""
    toy = Toy()
    toy.columns = (*toy.columns[:-1], "future_return_up")
    with pytest.raises(VerificationError, match="'future_return_up' tells what came after the bar"):
        gate(toy, HOURLY)
