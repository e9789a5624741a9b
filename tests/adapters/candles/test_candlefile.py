"""Candle files: what is read, what is refused and how that is said, what is written."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import COLUMNS, HOUR, INTERVALS, MINUTE, Bar, Bars, Interval
from candled_adapters.candles.candlefile import (
    CandleFileError,
    infer_interval,
    read_candles,
    write_candles,
)
from real import REAL, needs_real_data

H1 = Interval("1h")
START = 1_640_995_200_000

HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,trades,"
    "taker_buy_base,taker_buy_quote,ignore"
)


def line(index: int, **changes: str) -> str:
    """One sane CSV row of slot `index`, with some cells changed."""
    opened = START + index * HOUR
    cells = {
        "open_time": str(opened),
        "open": "100.5",
        "high": "102.0",
        "low": "99.0",
        "close": "101.0",
        "volume": "10.00000000",
        "close_time": str(opened + HOUR - 1),
        "quote_volume": "1010.0",
        "trades": "7",
        "taker_buy_base": "4.0",
        "taker_buy_quote": "404.0",
        "ignore": "0",
    }
    return ",".join((cells | changes).values())


@pytest.fixture
def candles(tmp_path):
    """Write lines to a file and give its path."""

    def write(*lines: str, name: str = "candles.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def same(left: Bars, right: Bars) -> bool:
    return all(
        np.array_equal(getattr(left, name), getattr(right, name), equal_nan=name != "open_time")
        for name in COLUMNS
    )


def refusal(path: Path, interval: Interval | None = H1, **options: int) -> CandleFileError:
    with pytest.raises(CandleFileError) as caught:
        read_candles(path, interval, **options)
    error = caught.value
    assert str(path) in str(error), "the text names the file"
    assert error.what in str(error)
    assert error.mend in str(error)
    if error.row is not None:
        assert f"row {error.row}" in str(error)
    if error.column is not None:
        assert f"column {error.column}" in str(error)
    return error


def test_reads_the_bars_of_a_file_with_a_header(candles):
    """A Binance file gives its bars, no gap, and nothing dropped."""
    file = read_candles(candles(HEADER, line(0), line(1)), H1)
    assert file.bars.row(0) == Bar(
        START, 100.5, 102.0, 99.0, 101.0, 10.0, START + HOUR - 1, 1010.0, 7.0, 4.0, 404.0
    )
    assert len(file.bars) == 2
    assert file.gaps == ()
    assert not file.dropped_open_bar


def test_header_is_optional_and_its_spellings_are_many(candles):
    """Bulk dumps without a header, and Binance's long names, mean the same columns."""
    plain = read_candles(candles(HEADER, line(0), line(1)), H1).bars
    long = (
        "Open time,Open,High,Low,Close,Volume,Close time,Quote asset volume,Number of trades,"
        "Taker buy base asset volume,Taker buy quote asset volume,Ignore"
    )
    futures = HEADER.replace("trades", "count").replace("taker_buy_base", "taker_buy_volume")
    futures = futures.replace("taker_buy_quote", "taker_buy_quote_volume")
    eleven = [line(i).rsplit(",", 1)[0] for i in (0, 1)]
    for lines in (
        [line(0), line(1)],
        eleven,
        [long, line(0), line(1)],
        [futures, line(0), line(1)],
    ):
        assert same(read_candles(candles(*lines), H1).bars, plain), lines[0]


def test_only_open_time_and_ohlcv_are_required(candles):
    """Absent columns are NaN, an absent close_time is the end of the slot, others are ignored."""
    path = candles("volume,close,low,high,open,open_time,note", f"10,101,99,102,100,{START},hello")
    bar = read_candles(path, H1).bars.row(0)
    assert (bar.open, bar.close, bar.volume, bar.close_time) == (100, 101, 10, START + HOUR - 1)
    assert all(
        math.isnan(value)
        for value in (bar.quote_volume, bar.trades, bar.taker_buy_base, bar.taker_buy_quote)
    )


def test_gzip_is_told_by_content(candles, tmp_path):
    """A gzipped file is read under any name."""
    plain = candles(HEADER, line(0))
    packed = tmp_path / "packed.csv"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert same(read_candles(packed, H1).bars, read_candles(plain, H1).bars)


def test_holes_are_reported_not_refused(candles):
    """Absent slots are given as the first one's open time and their number."""
    file = read_candles(candles(HEADER, *map(line, (0, 1, 3, 7, 8))), H1)
    assert file.gaps == ((START + 2 * HOUR, 1), (START + 4 * HOUR, 3))
    assert len(file.bars) == 5


def test_open_last_bar_is_dropped(candles):
    """A bar that has not closed by now is not among the bars, and that is said."""
    path = candles(HEADER, line(0), line(1))
    closed = read_candles(path, H1, now_ms=START + 2 * HOUR)
    assert (len(closed.bars), closed.dropped_open_bar) == (2, False)
    for now_ms in (START + 2 * HOUR - 1, START + HOUR):
        file = read_candles(path, H1, now_ms=now_ms)
        assert (len(file.bars), file.dropped_open_bar) == (1, True)
    assert "future" in refusal(path, now_ms=START).what


@pytest.mark.parametrize(
    ("changes", "column", "says"),
    [
        ({"close": "abc"}, "close", "'abc' is not a number"),
        ({"close": ""}, "close", "'' is not a number"),
        ({"open": "nan"}, "open", "open nan must be a finite number above zero"),
        ({"high": "inf"}, "high", "high inf must be"),
        ({"low": "-1"}, "low", "low -1.0 must be"),
        ({"high": "99.5"}, "high", "must not be below open, low or close"),
        ({"low": "100.9"}, "low", "must not be above open or close"),
        ({"volume": "-2"}, "volume", "must be zero or more"),
        ({"volume": "0"}, "volume", "is zero although the price moved"),
        ({"trades": "many"}, "trades", "'many' is not a number"),
        ({"taker_buy_base": "-1"}, "taker_buy_base", "must be zero or more"),
        ({"open_time": "soon"}, "open_time", "'soon' is not a time"),
        ({"open_time": str(START + HOUR + 1)}, "open_time", "is not on the 1h grid"),
        ({"open_time": f"{START + HOUR}001"}, "open_time", "is not a whole millisecond"),
        ({"open_time": "9" * 30}, "open_time", "is not a time since 1970"),
        ({"open_time": str(START)}, "open_time", "is there twice (also in row 2)"),
        ({"open_time": str(START - HOUR)}, "open_time", "comes after the later"),
        ({"close_time": str(START + HOUR)}, "close_time", "must be after open_time"),
        (
            {"close_time": str(START + 2 * HOUR)},
            "close_time",
            "is not before the end of the 1h bar",
        ),
    ],
)
def test_bad_cells_are_named(candles, changes, column, says):
    """A bad cell is refused with its file, row number, column, what was found and the mend."""
    error = refusal(candles(HEADER, line(0), line(1, **changes), line(2)))
    assert (error.row, error.column) == (3, column)
    assert says in error.what


def test_row_numbers_are_those_of_the_file(candles):
    """Blank lines and a missing header do not shift the row that is named."""
    assert refusal(candles(line(0), "", line(1, close="x"))).row == 3
    assert refusal(candles(line(0), line(1).rsplit(",", 1)[0])).row == 2


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (b"", "a.csv", "the file is empty"),
        (b"\n\n", "a.csv", "the file is empty"),
        (HEADER.encode(), "a.csv", "there is a header but no candle"),
        (b"plain text", "a.csv.gz", "the content is not gzip"),
        (gzip.compress(HEADER.encode(), mtime=0)[:-9], "a.csv.gz", "broken gzip"),
        (b"PK\x03\x04", "a.csv", "zip archive"),
        (b"\xff\xfe\x00o", "a.csv", "not text"),
        (b"open_time,open,high,low,close\n1,2,3,4,5", "a.csv", "there is no such column"),
        (b"1,2,3", "a.csv", "without one it must have 6, 11 or 12"),
        (HEADER.replace("ignore", "count").encode(), "a.csv", "both mean trades"),
    ],
)
def test_files_that_hold_no_candles(tmp_path, content, name, says):
    """Whatever is no candle file is refused by name, without a traceback of some library."""
    path = tmp_path / name
    path.write_bytes(content)
    assert says in refusal(path).what


def test_absent_files_and_directories(tmp_path):
    """A path that is no file is refused like any other bad input."""
    assert refusal(tmp_path / "none.csv").what == "no such file"
    assert refusal(tmp_path).what == "this is a directory"


def test_file_of_another_interval_is_refused(candles):
    """Rows that are bars of another length are not taken for gaps; the right one is named."""
    full = candles(HEADER, *(line(i) for i in range(4)))
    bare = candles(
        "open_time,open,high,low,close,volume",
        *(line(i).rsplit(",", 6)[0] for i in range(4)),
        name="bare.csv",
    )
    for path in (full, bare):
        assert "by its steps the file has 1h" in refusal(path, Interval("30m")).what
        assert "by its steps the file has 1h" in refusal(path, Interval("4h")).what
    lone = refusal(candles(HEADER, line(0)), Interval("4h"))
    assert lone.what == "no row ends where a 4h bar ends"


@pytest.mark.parametrize("interval", INTERVALS, ids=str)
def test_interval_is_inferred(tmp_path, interval):
    """Every interval is recognised from the open times, holes included."""
    opens = [interval.back(1_641_168_000_000 if interval.name == "1w" else START, 0)]
    for _ in range(6):
        opens.append(interval.end(opens[-1]))
    del opens[3]
    assert infer_interval(opens) == interval
    bars = Bars.of([Bar(t, 2, 3, 1, 2, 5, interval.end(t) - 1, 1, 1, 1, 1) for t in opens])
    write_candles(tmp_path / "x.csv", bars)
    file = read_candles(tmp_path / "x.csv")
    assert file.interval == interval
    assert file.gaps == ((interval.end(opens[2]), 1),)


def test_interval_that_cannot_be_inferred(candles):
    """One row, or steps of no known length, do not tell an interval."""
    assert "one row alone" in refusal(candles(HEADER, line(0)), None).what
    with pytest.raises(ValueError, match="420000 ms, which is no known interval"):
        infer_interval([0, 7 * MINUTE, 14 * MINUTE])


numbers = st.floats(min_value=1e-9, max_value=1e12)
absent_or_number = st.one_of(st.just(math.nan), st.floats(min_value=0, max_value=1e15))


@st.composite
def tables(draw) -> Bars:
    slots = sorted(draw(st.sets(st.integers(0, 500), min_size=1, max_size=8)) | {0, 1})
    rows = []
    for slot in slots:
        low, open_, close, high = sorted(draw(st.tuples(numbers, numbers, numbers, numbers)))
        rest = [draw(absent_or_number) for _ in range(4)]
        at = START + slot * HOUR
        rows.append(Bar(at, open_, high, low, close, draw(numbers), at + HOUR - 1, *rest))
    return Bars.of(rows)


@given(bars=tables(), name=st.sampled_from(["a.csv", "a.csv.gz"]))
@settings(deadline=None, max_examples=60)
def test_what_is_written_reads_back_to_the_bit(tmp_path_factory, bars, name):
    """Any table of bars survives a file unchanged, and gives the same bytes each time."""
    folder = tmp_path_factory.mktemp("candles")
    write_candles(folder / name, bars)
    assert same(read_candles(folder / name, H1).bars, bars)
    first = (folder / name).read_bytes()
    write_candles(folder / name, bars)
    assert (folder / name).read_bytes() == first
    assert [path.name for path in folder.iterdir()] == [name], "no temporary file is left"


def test_failed_write_leaves_the_old_file(tmp_path):
    """A write that fails changes nothing and leaves no temporary file behind."""
    target = tmp_path / "x.csv"
    target.mkdir()
    (target / "kept").touch()
    bars = Bars.of([Bar(START, 2, 3, 1, 2, 5, START + HOUR - 1, 1, 1, 1, 1)])
    with pytest.raises(OSError, match=r"x\.csv"):
        write_candles(target, bars)
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


@given(
    texts=st.lists(st.floats(min_value=1e-8, max_value=1e9).map(lambda x: f"{x:.8f}"), min_size=1)
)
@settings(deadline=None, max_examples=40)
def test_prices_are_what_float_says(tmp_path_factory, texts):
    """Each decimal string becomes the double that Python's float() gives."""
    texts = [text for text in texts if float(text) > 0] or ["1.1"]
    path = tmp_path_factory.mktemp("candles") / "x.csv"
    path.write_text("\n".join(line(i, open=t, high=t, low=t, close=t) for i, t in enumerate(texts)))
    assert read_candles(path, H1).bars.close.tolist() == [float(text) for text in texts]


@needs_real_data
def test_real_candles_with_their_gap():
    """The recorded BTCUSDT 1h history has 37,923 bars and one absent slot, 2023-03-24 13:00."""
    file = read_candles(REAL / "candles" / "BTCUSDT_1h.csv.gz")
    assert file.interval == H1
    assert len(file.bars) == 37_923
    assert file.gaps == ((1_679_662_800_000, 1),)
    assert file.bars.volume[np.searchsorted(file.bars.open_time, 1_679_659_200_000)] == 0
