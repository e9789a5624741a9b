"""Which frames are candles, in whatever form they come, and what is said of the others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import candled
from candled.core.bar import COLUMNS, HOUR
from candled.workbench.candles import frame_of
from candled_adapters.candles.candlefile import write_candles
from candles import bars_at, candles, differing

BARS = candles(120, seed=2)
FRAME = frame_of(BARS)
MS = FRAME.assign(open_time=BARS.open_time, close_time=BARS.close_time).reset_index(drop=True)

FORMS = {
    "DatetimeIndex in UTC": FRAME,
    "DatetimeIndex without a zone": FRAME.tz_localize(None),
    "DatetimeIndex in another zone": FRAME.tz_convert("Asia/Tokyo"),
    "DatetimeIndex and the same column": FRAME.assign(open_time=BARS.open_time),
    "DatetimeIndex and another time beside it": FRAME.assign(timestamp=1),
    "milliseconds": MS,
    "seconds": MS.assign(open_time=MS["open_time"] // 1000),
    "timestamps": MS.assign(open_time=FRAME.index),
    "timestamps in microseconds": MS.assign(open_time=FRAME.index.as_unit("us")),
    "ISO text": MS.assign(open_time=FRAME.index.strftime("%Y-%m-%dT%H:%M:%SZ")),
    "numbers as text, as REST gives them": MS.astype({"open": str, "close": str, "volume": str}),
    "any index": MS.set_axis([f"r{at}" for at in range(len(MS))]),
    "other spellings": MS.rename(
        columns={"open_time": "Date", "open": "Open", "trades": "Number of trades"}
    ),
    "an ignored column": MS.assign(ignore=0, note="x"),
    "nullable numbers": MS.astype({"close": "Float64", "trades": "Float64"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_usual_form_gives_the_same_bars(form):
    """Times and all columns come out to the bit, and what is made keeps the frame's index."""
    made = candled.bars(FORMS[form])
    for name in COLUMNS:
        column, expected = getattr(made, name), getattr(BARS, name)
        assert column.dtype == expected.dtype
        assert differing(column, expected) == 0
    assert candled.regimes(FORMS[form]).index.equals(FORMS[form].index)


def test_optional_columns_may_be_absent():
    """OHLC and volume are enough: the rest is NaN, the bar ends before the next one."""
    made = candled.bars(FRAME[["open", "high", "low", "close", "volume"]])
    assert np.isnan(made.taker_buy_base).all()
    assert made.close_time.tolist() == (BARS.open_time + HOUR - 1).tolist()


def test_the_frame_is_left_as_it_was():
    """Nothing is written into what the user has."""
    before = MS.copy(deep=True)
    candled.features(MS)
    pd.testing.assert_frame_equal(MS, before)


def changed(column: str, row: int, value: object) -> pd.DataFrame:
    """Return the frame with one cell changed."""
    frame = MS.astype({column: object})
    frame.loc[row, column] = value
    return frame


WRONG = {
    "no frame": ([1, 2], "candles are a list, not a data frame; give a DatetimeIndex"),
    "no rows": (FRAME.iloc[:0], "the frame is empty"),
    "no time": (MS.drop(columns="open_time"), "column open_time: there is no such column"),
    "no close": (FRAME.drop(columns="close"), "column close: there is no such column"),
    "a close twice": (FRAME.assign(Close=1.0), "'close' and 'Close' both mean close"),
    "text for a number": (changed("close", 7, "n/a"), r"row 7 \(index 7\), column close: 'n/a'"),
    "no close price": (changed("close", 7, None), r"row 7 .*, column close: close nan must be"),
    "a price of 0": (changed("low", 9, 0.0), r"row 9 .*, column low: low 0.0 must be a finite"),
    "a high below": (changed("high", 9, 1.0), r"row 9 .*, column high: high 1.0 must not be below"),
    "a time that is none": (changed("open_time", 4, "soon"), r"row 4 .*, column open_time: 'soon'"),
    "no time in a row": (changed("open_time", 4, None), r"row 4 .*, column open_time: no time"),
    "a row twice": (pd.concat([FRAME.iloc[:5], FRAME.iloc[4:]]), r"row 5 \(index 2023-.*twice"),
    "turned round": (FRAME.iloc[::-1], r"row 1 .*comes after the later.*sort the rows"),
    "off the grid": (FRAME.shift(30, freq="min"), r"row 0 .*is not on the 1h grid"),
    "index and column differ": (
        FRAME.assign(open_time=BARS.open_time + HOUR),
        r"row 0: the index says .* drop the one",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_table_of_candles_is_said_with_its_row_and_column(what):
    """The message names where and what, and how to mend it."""
    frame, says = WRONG[what]
    with pytest.raises(candled.FrameError, match=says) as caught:
        candled.bars(frame)
    assert "; " in str(caught.value)
    assert "--columns" not in str(caught.value)


def test_a_bar_that_has_not_closed_is_refused():
    """A forming bar gives features that no daemon will see: the mend is in the message."""
    now = pd.Timestamp.now("UTC").floor("h")
    late = FRAME.set_axis(pd.date_range(end=now, periods=len(FRAME), freq="h", name="open_time"))
    late = late.drop(columns="close_time")
    with pytest.raises(candled.FrameError, match=r"has not closed yet.*iloc\[:-1\]"):
        candled.bars(late)
    assert len(candled.bars(late.iloc[:-1])) == len(FRAME) - 1


def test_an_interval_that_the_rows_do_not_have_is_refused():
    """Asked for by name it must be the rows' own; unknown names say which there are."""
    with pytest.raises(candled.FrameError, match="by its steps the file has 2h"):
        candled.bars(FRAME.iloc[::2], "30m")
    with pytest.raises(ValueError, match="unknown interval 'hourly'; known are"):
        candled.bars(FRAME, "hourly")


def test_a_gap_is_no_error():
    """Holes are facts; training decides what to do about them."""
    kept = [*range(50), *range(53, 120)]
    assert len(candled.bars(frame_of(bars_at(BARS, np.array(kept))))) == 117


def test_a_file_is_read_into_the_same_frame(tmp_path):
    """What is written as a candle file comes back as the frame it was."""
    write_candles(tmp_path / "BTCUSDT_1h.csv.gz", BARS)
    pd.testing.assert_frame_equal(candled.read_candles(tmp_path / "BTCUSDT_1h.csv.gz"), FRAME)
    assert FRAME.index.name == "open_time"
    assert str(FRAME.index.tz) == "UTC"


@pytest.mark.parametrize("interval", ["1m", "1h", "1d", "1w", "1M"])
def test_synthetic_candles_are_candles(interval):
    """Of every length, from a moment with or without a zone, the same for the same seed."""
    start = "2018-01-01"
    made = candled.synthetic_candles(60, seed=4, interval=interval, start=start)
    assert len(candled.bars(made, interval)) == 60
    again = candled.synthetic_candles(60, seed=4, interval=interval, start=f"{start}T00:00Z")
    pd.testing.assert_frame_equal(made, again)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"mode": "sloppy"}, ValueError, "mode is 'honest' or 'notebook'"),
        ({"mode": "notebook", "recipe": candled.Recipe()}, ValueError, "belongs to the honest"),
        ({"threshold": 1.5}, ValueError, "between 0 and 1"),
        ({"profit_pct": -1.0}, ValueError, "profit_target_pct must be a number above 0"),
        ({}, candled.TrainingError, "training needs 100"),
    ],
)
def test_a_training_that_cannot_be_is_refused(changes, error, says):
    """The message says what to change."""
    with pytest.raises(error, match=says):
        candled.train(FRAME, "BTCUSDT", **changes)
