"""A column that is a function of the future is found by what it holds, and refused by its name."""

from __future__ import annotations

import numpy as np
import pytest

from candled.core.features.mar import COLUMNS, MAR
from candled.core.labels import LabelParams, window_labels
from candled.lab.verify import VerificationError, find_leaks, refuse_denied_columns
from candles import HOURLY, candles, real_candles

BARS = candles(1_500, seed=21)
TABLE = MAR.table(BARS, HOURLY)
MADE = window_labels(BARS, LabelParams())
AHEAD = np.append(BARS.close[1:], np.nan)

LEAKS = {
    "future_high itself": MADE.future_high,
    "a return": MADE.future_return_up,
    "a falling function of a return": -np.arctan(MADE.future_return_down),
    "a rounded return": np.round(MADE.future_return_up, 2),
    "the next close": AHEAD,
    "the logarithm of the next move": np.log(AHEAD / BARS.close),
    "the class": MADE.signal.astype(float),
    "a class with little noise": MADE.signal_long + 0.1 * np.sin(np.arange(1_500.0)),
}


def _with(column):
    return np.column_stack([TABLE, column]), (*COLUMNS, "momentum")


@pytest.mark.parametrize("name", LEAKS)
def test_a_column_that_holds_the_future_is_named(name):
    """Whatever it is called, a rising or falling function of the future is named, and no other."""
    labels = {"signal": MADE.signal, "signal_long": MADE.signal_long}
    table, columns = _with(LEAKS[name])
    found = find_leaks(table, columns, BARS, labels=labels).findings
    assert [finding.column for finding in found] == ["momentum"]
    assert "orders the rows as what came after them does" in found[0].says


def test_honest_columns_are_not_named():
    """The 220 columns of `mar` hold no future on seeded candles, nor do noise and a constant."""
    noise = np.random.default_rng(1).normal(size=len(BARS))
    for column in (noise, np.ones(len(BARS)), BARS.close):
        table, columns = _with(column)
        done = find_leaks(table, columns, BARS, labels={"signal": MADE.signal})
        assert done.findings == ()
        assert done.cells > 100_000


def test_honest_columns_of_real_candles_are_not_named():
    """Nor on real candles, beside real labels."""
    bars = real_candles()
    labels = {"signal": window_labels(bars, LabelParams()).signal}
    assert find_leaks(MAR.table(bars, HOURLY), COLUMNS, bars, labels=labels).findings == ()


def test_too_few_rows_are_said_to_be_too_few():
    """Order means little in a handful of rows: nothing is compared, and that is noted."""
    done = find_leaks(TABLE[:100], COLUMNS, BARS[:100])
    assert (done.cells, done.note) == (
        0, "not compared: needs 100 complete rows with a future",
    )  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "future_high", "future_return_up", "signal", "signal_long", "Signal_Short", "label",
        "labels", "label_24", "target", "target_1", "fwd_ret", "next_close", "lookahead_max", "y",
        "y_true", "prob_long", "prediction", "regime", "raw_regime", "regime_name",
        "open_time", "symbol",
    ],
)  # fmt: skip
def test_names_that_say_it_themselves_are_refused(name):
    """Each such name is refused with the reason and the mend; the others are not mentioned."""
    with pytest.raises(VerificationError, match="1 column") as told:
        refuse_denied_columns(["ma5_sma", name])
    assert repr(name) in str(told.value)
    assert "ma5_sma" not in str(told.value)
    assert "remove them" in str(told.value)


def test_all_denied_names_are_told_at_once():
    """Every one of several is named."""
    with pytest.raises(VerificationError, match=r"2 column\(s\).*'signal'.*'future_low'"):
        refuse_denied_columns(["signal", "rsi", "future_low"])


def test_names_of_features_are_not_refused():
    """The 220 columns and usual names of one's own pass."""
    own = ("rsi_14", "macd_signal_line", "yield", "timing", "volume_z", "ahead", "leader")
    refuse_denied_columns((*COLUMNS, *own[:5], own[6]))
