"""The forms in which candles come: what each export means, and what is ambiguous."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections import deque
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import COLUMNS, HOUR, INTERVALS, Bars, Interval, iso
from candled_adapters.candles import slots, source, times
from candled_adapters.candles.candlefile import (
    CandleFileError,
    import_candles,
    read_candles,
    write_candles,
)
from candled_adapters.candles.names import CandleForm, ColumnMapError
from candles import bars_at
from candles import candles as synthetic
from real import REAL, needs_real_data

H1 = Interval("1h")
START = 1_735_689_600_000  # 2025-01-01
PRICES = [
    (100.5, 102.0, 99.0, 101.0, 10.0),
    (101.0, 103.25, 100.0, 102.5, 0.125),
    (102.5, 102.5, 98.75, 99.0, 7.0),
]
BARS = synthetic(60, seed=3)


def write(path: Path, *lines: str, end: str = "\n") -> Path:
    path.write_text(end.join(lines) + end, newline="")
    return path


def moments(step: int = HOUR) -> list[int]:
    return [START + i * step for i in range(3)]


def same(left: Bars, right: Bars) -> bool:
    return len(left) == len(right) and all(
        np.array_equal(getattr(left, name), getattr(right, name), equal_nan=True)
        for name in COLUMNS
    )


def prices(bars: Bars) -> list[tuple[float, ...]]:
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def clock(ms: int, form: str) -> str:
    return np.datetime64(ms, "ms").astype(object).strftime(form)


def cells(values) -> str:
    return ",".join(map(repr, values))


# --- times


EPOCHS = {"s": 1000, "ms": 1, "us": Decimal("0.001"), "ns": Decimal("0.000001")}


@given(st.integers(10**9 + 10**7, 9 * 10**9), st.sampled_from(["s", "ms", "us", "ns"]))
def test_every_unit_gives_the_same_millisecond(seconds, unit):
    """An epoch of any unit is told by its digits and converted exactly."""
    ms = seconds * 1000
    number = int(ms / EPOCHS[unit])
    assert times.milliseconds([str(number)] * 2, whole=True).tolist() == [ms, ms]
    assert times.moment(str(number), whole=True) == ms
    assert times.moment(f"{number}.0", whole=True) == ms


@given(st.integers(1_000_000_000_000, 9_223_372_036_853))
def test_the_last_moment_of_a_bar_is_cut_to_milliseconds(ms):
    """...999999 us and ...999999999 ns are ...999 ms: no float comes between."""
    for rest, digits in ((999, 3), (999_999, 6)):
        text = str(ms * 10**digits + rest)
        assert times.milliseconds([text], whole=False).tolist() == [ms]
        assert times.moment(text, whole=False) == ms
        with pytest.raises(ValueError, match="whole milliseconds"):
            times.milliseconds([text], whole=True)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2025-01-01", START),
        ("2025/01/01", START),
        ("2025-01-01 00:00", START),
        ("2025-01-01 00:00:00", START),
        ("2025-01-01T00:00:00Z", START),
        ("2025-01-01 00:00:00 UTC", START),
        ("2025-01-01 00:00:00+00:00", START),
        ("2025-01-01 01:00:00+01:00", START),
        ("2024-12-31T19:00:00-0500", START),
        ("2025-01-01 00:00:00.250", START + 250),
        ("2025-01-01 01-PM", START + 13 * HOUR),
        ("2025-01-01 12-AM", START),
        ("1.7356896e+12", START),
        ("1735689600.5", START + 500),
    ],
)
def test_times_in_text(text, ms):
    """ISO-8601 with blank or T, with an offset or in UTC, and CryptoDataDownload's AM and PM."""
    assert times.moment(text, whole=True) == ms
    assert times.milliseconds([text, text], whole=True).tolist() == [ms, ms]


@pytest.mark.parametrize(
    "text",
    ["", "soon", "01/02/2024", "1-2-2024", "12345", "nan", "inf", "-1735689600000", "9" * 25,
     "2025-13-01", "17356896000000", "2025-01-01 00:00:00.0001"],
)  # fmt: skip
def test_what_is_no_time_is_never_guessed(text):
    """A day that could be a month, a number of no unit, less than a millisecond."""
    with pytest.raises(times.TimeCellError):
        times.moment(text, whole=True)


# --- forms


def rows_of(template: str) -> list[str]:
    return [
        template.format(
            s=ms // 1000, ms=ms, us=ms * 1000, ns=ms * 10**6,
            iso=clock(ms, "%Y-%m-%dT%H:%M:%SZ"), text=clock(ms, "%Y-%m-%d %H:%M:%S"),
            ampm=clock(ms, "%Y-%m-%d %I-%p"), last=iso(ms + HOUR - 1), o=o, h=h, l=low, c=c, v=v,
        )
        for ms, (o, h, low, c, v) in zip(moments(), PRICES, strict=True)
    ]  # fmt: skip


FORMS = {
    "tradingview": ["time,open,high,low,close,Volume", *rows_of("{s},{o},{h},{l},{c},{v}")],
    "tradingview_iso": [
        "time,open,high,low,close,VWAP,Volume,Volume MA",
        *rows_of("{iso},{o},{h},{l},{c},1,{v},3"),
    ],
    "yfinance": [
        "Datetime,Open,High,Low,Close,Adj Close,Volume",
        *rows_of("{text}+00:00,{o},{h},{l},{c},{c},{v}"),
    ],
    "yfinance_three_heads": [
        "Price,Close,High,Low,Open,Volume",
        "Ticker,BTC-USD,BTC-USD,BTC-USD,BTC-USD,BTC-USD",
        "Datetime,,,,,",
        *rows_of("{text}+00:00,{c},{h},{l},{o},{v}"),
    ],
    "cryptodatadownload": [
        "https://www.CryptoDataDownload.com",
        "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT,tradecount",
        *reversed(rows_of("{ms},{text},BTC/USDT,{o},{h},{l},{c},{v},900.0,5")),
    ],
    "cryptodatadownload_mixed_units": [
        "https://www.CryptoDataDownload.com",
        "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT",
        rows_of("{ms},{text},BTCUSDT,{o},{h},{l},{c},{v},900.0")[2],
        *reversed(rows_of("{s},{text},BTCUSDT,{o},{h},{l},{c},{v},900.0")[:2]),
    ],
    "cryptodatadownload_old": [
        "Date,Symbol,Open,High,Low,Close,Volume BTC",
        *reversed(rows_of("{ampm},BTCUSD,{o},{h},{l},{c},{v}")),
    ],
    "ccxt_csv": rows_of("{ms},{o},{h},{l},{c},{v}"),
    "ccxt_json": [json.dumps([json.loads(f"[{r}]") for r in rows_of("{ms},{o},{h},{l},{c},{v}")])],
    "pandas": [",open,high,low,close,volume", *rows_of("{text},{o},{h},{l},{c},{v}")],
    "pandas_index": [
        ",timestamp,open,high,low,close,volume",
        *(f"{i},{r}" for i, r in enumerate(rows_of("{ms},{o},{h},{l},{c},{v}"))),
    ],
    "semicolons": ["Open time;Open;High;Low;Close;Volume", *rows_of("{us};{o};{h};{l};{c};{v}")],
    "tabs": ["date\topen\thigh\tlow\tclose\tvol", *rows_of("{ns}\t{o}\t{h}\t{l}\t{c}\t{v}")],
    "camel_case": [
        "openTime,open,high,low,close,volume,numTrades",
        *rows_of('"{ms}","{o}","{h}","{l}","{c}","{v}","5"'),
    ],
    "coinmarketcap": [
        "timeOpen;timeClose;timeHigh;name;open;high;low;close;volume;marketCap;timestamp",
        *reversed(rows_of('"{iso}";"{last}";"x";"1";{o};{h};{l};{c};{v};9;"{last}"')),
    ],
    "comments": ["# made by hand", "", "t,o,h,l,c,v", *rows_of("{s},{o},{h},{l},{c},{v}")],
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_common_exports_are_read_as_they_are(tmp_path, name, end):
    """Each form gives the same bars; what it lacks is NaN and never 0."""
    file = read_candles(write(tmp_path / "x.csv", *FORMS[name], end=end))
    assert file.interval == H1
    assert file.bars.open_time.tolist() == moments()
    assert prices(file.bars) == PRICES
    assert file.bars.close_time.tolist() == [ms + HOUR - 1 for ms in moments()]
    assert np.isnan(file.bars.taker_buy_base).all()
    has_trades = "tradecount" in "".join(FORMS[name]) or "numTrades" in "".join(FORMS[name])
    assert (
        file.bars.trades.tolist() == [5.0] * 3 if has_trades else np.isnan(file.bars.trades).all()
    )
    has_quote = "Volume USDT" in "".join(FORMS[name])
    assert (file.bars.quote_volume.tolist() == [900.0] * 3) is has_quote


@pytest.mark.parametrize(
    ("head", "row", "mend"),
    [
        ("time,open,high,low,close,Volume_(BTC),Volume_(Currency)", "{s},{o},{h},{l},{c},{v},9",
         "give --columns volume=COLUMN"),
        ("symbol,time,open,high,low,close,Volume A,Volume B", "XY,{s},{o},{h},{l},{c},{v},9",
         "give --columns volume=COLUMN"),
        ("date,time,open,high,low,close,volume", "2025-01-01,{s},{o},{h},{l},{c},{v}",
         "give --columns time=COLUMN"),
        ("date,Date,open,high,low,close,volume", "{s},{s},{o},{h},{l},{c},{v}",
         "give --columns time=COLUMN"),
        ("when,open,high,low,close,volume", "{s},{o},{h},{l},{c},{v}",
         "or give --columns time=COLUMN"),
        ("time,open,high,low,last,volume", "{s},{o},{h},{l},{c},{v}",
         "or give --columns close=COLUMN"),
        ("time,open,high,low,close", "{s},{o},{h},{l},{c}",
         "or volume=none when the file has none"),
    ],
)  # fmt: skip
def test_what_is_ambiguous_says_which_columns_to_give(tmp_path, head, row, mend):
    """Two columns that both could be it, or none: the error says the option that settles it."""
    path = write(tmp_path / "x.csv", head, *rows_of(row))
    with pytest.raises(CandleFileError) as caught:
        read_candles(path)
    assert mend in caught.value.mend
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "head", "row"),
    [
        ("time=Date,close=Last", "Date,open,high,low,close,Last,volume",
         "{s},{o},{h},{l},7,{c},{v}"),
        ("volume=Volume_(BTC)", "time,open,high,low,close,Volume_(BTC),Volume_(USD)",
         "{s},{o},{h},{l},{c},{v},9"),
        ("time=stamp", "date,stamp,open,high,low,close,volume", "x,{ns},{o},{h},{l},{c},{v}"),
        ("time=1,low=2,high=3,open=4,close=5,volume=6", "", "{s},{l},{h},{o},{c},{v}"),
        ("time=1,open=2,high=3,low=4,close=5,volume=7,trades=8", "",
         "{s},{o},{h},{l},{c},1,{v},3"),
    ],
)  # fmt: skip
def test_a_column_map_settles_it(tmp_path, columns, head, row):
    """Columns are given by their name or, without a header, by their number."""
    path = write(tmp_path / "x.csv", *([head] if head else []), *rows_of(row))
    assert prices(read_candles(path, form=CandleForm.parse(columns)).bars) == PRICES


def test_a_file_without_volume_must_be_said_to_have_none(tmp_path):
    """Then its volume is NaN."""
    path = write(tmp_path / "x.csv", "time,open,high,low,close", *rows_of("{s},{o},{h},{l},{c}"))
    bars = read_candles(path, form=CandleForm.parse("volume=none")).bars
    assert np.isnan(bars.volume).all()


@pytest.mark.parametrize("text", ["time", "time=", "when=Date", "open=a,open=b", "=x", "ignore=x"])
def test_column_maps_that_cannot_be_read(text):
    """A map names columns of a bar, each once."""
    with pytest.raises(ColumnMapError):
        CandleForm.parse(text)


def test_a_map_to_a_column_that_is_not_there(tmp_path):
    """The column is named."""
    path = write(tmp_path / "x.csv", *FORMS["tradingview"])
    with pytest.raises(CandleFileError, match="there is no column 'Last'"):
        read_candles(path, form=CandleForm.parse("close=Last"))


# --- dumps, archives, several files


def dump(bars: Bars, *, micro: bool, header: bool) -> str:
    """Write bars as data.binance.vision does: 12 columns, 8 decimals, ms or us."""
    lines = []
    for bar in bars:
        opened, closed = bar.open_time, bar.close_time
        if micro:
            opened, closed = opened * 1000, closed * 1000 + 999
        numbers = [f"{x:.8f}" for x in (bar.open, bar.high, bar.low, bar.close, bar.volume)]
        more = [f"{bar.quote_volume:.8f}", str(int(bar.trades))]
        taker = [f"{x:.8f}" for x in (bar.taker_buy_base, bar.taker_buy_quote)]
        lines.append(",".join([str(opened), *numbers, str(closed), *more, *taker, "0"]))
    head = (
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
        "taker_buy_volume,taker_buy_quote_volume,ignore"
    )
    return "\n".join([*([head] if header else []), *lines]) + "\n"


def rounded() -> Bars:
    columns = {name: getattr(BARS, name) for name in COLUMNS}
    for name in COLUMNS:
        if columns[name].dtype == np.float64:
            columns[name] = np.array([float(f"{x:.8f}") for x in columns[name]])
    return Bars(**columns)


ROUNDED = rounded()


@given(
    st.lists(st.tuples(st.integers(0, 59), st.integers(1, 60), st.booleans(), st.booleans(),
                       st.sampled_from(["csv", "gz", "zip", "parquet"])), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)  # fmt: skip
@settings(deadline=None, max_examples=40)
def test_files_are_joined_whatever_they_are(tmp_path_factory, pieces, chance):
    """Any cuts of a table, in any form, unit and order, with overlaps, join into the table's rows.

    To the bit, with a row for each slot that any of them has.
    """
    folder = tmp_path_factory.mktemp("forms")
    paths, wanted, total = [], set(), 0
    for number, (start, count, micro, header, kind) in enumerate(pieces):
        part = ROUNDED[start : start + count]
        wanted |= set(range(start, min(start + count, 60)))
        total += len(part)
        text = dump(part, micro=micro, header=header)
        path = folder / f"{number}.{kind}"
        if kind == "csv":
            path.write_text(text)
        elif kind == "gz":
            path.write_bytes(gzip.compress(text.encode()))
        elif kind == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("a.csv", text)
        else:
            write_candles(path, part)
        paths.append(path)
    chance.shuffle(paths)
    file = import_candles(paths, H1)
    assert same(file.bars, bars_at(ROUNDED, np.array(sorted(wanted))))
    assert file.repeated == total - len(wanted)


def test_a_row_that_is_there_twice_must_be_equal(tmp_path):
    """Two files that disagree about a bar are refused with both places and the column."""
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text(dump(ROUNDED[:10], micro=False, header=True))
    lines = [line.split(",") for line in dump(ROUNDED[5:12], micro=True, header=False).split()]
    lines[2][4] = lines[2][3]
    two.write_text("\n".join(map(",".join, lines)))
    with pytest.raises(CandleFileError) as caught:
        import_candles([one, two])
    said = str(caught.value)
    assert f"{two}, row 3, column close: {iso(int(ROUNDED.open_time[7]))} has" in said
    assert f"in {one}, row 9" in said


def test_the_members_of_a_zip_are_joined_in_order_of_time(tmp_path):
    """Names do not matter, other files are left aside, and a member's row is named."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/late.csv", dump(ROUNDED[30:], micro=True, header=False))
        archive.writestr("b/early.CSV", dump(ROUNDED[:30], micro=False, header=True))
        archive.writestr("__MACOSX/._early.csv", b"\x00\x05")
        archive.writestr("readme.md", "hello")
    assert same(read_candles(path).bars, ROUNDED)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("c.csv", dump(ROUNDED[:1], micro=False, header=False) + "1,2\n")
    with pytest.raises(CandleFileError) as caught:
        read_candles(path)
    assert f"{path}/c.csv, row 2: has 2 cells where 12 are due" in str(caught.value)


@pytest.mark.parametrize("kind", ["zip", "gz"])
def test_bombs_are_refused_while_they_unpack(tmp_path, kind, monkeypatch):
    """What unpacks to far more than its size is refused; a long run of flat bars is not."""
    bomb, path = b"1" * 2**23, tmp_path / f"x.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.csv", b"\n".join([bomb[: 2**19]] * 16))
    else:
        path.write_bytes(gzip.compress(b"\n".join([bomb[: 2**19]] * 16)))
    monkeypatch.setattr(source, "_FREE", 2**19)
    texts = source.texts(path, source.packing_of(path))
    _, blocks = next(texts)
    with pytest.raises(CandleFileError, match="times its size"):
        deque(blocks, maxlen=0)


def test_a_text_of_one_endless_line_is_refused(tmp_path):
    """It is not gathered in memory first."""
    path = tmp_path / "x.csv"
    path.write_bytes(b"1" * 2**23)
    with pytest.raises(CandleFileError, match="a line is longer than"):
        read_candles(path)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.write_bytes(b"PK\x03\x04broken"), "broken zip archive"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "no CSV or JSON file in it"),
        (lambda path: path.write_bytes(b"PAR1broken"), "broken parquet"),
        (lambda path: path.write_text('[{"a": 1}]'), "not a JSON list of lists"),
        (lambda path: path.write_text("[[1735689600000,1"), "not a JSON list of lists"),
        (lambda path: path.write_text("[]"), "the file is empty"),
    ],
)
def test_broken_archives_are_told(tmp_path, make, says):
    """By name, without a traceback of some library."""
    path = tmp_path / "x.bin"
    make(path)
    with pytest.raises(CandleFileError) as caught:
        read_candles(path)
    assert says in caught.value.what


# --- parquet


@pytest.mark.parametrize(
    "unit",
    ["int_s", "int_ms", "int_us", "int_ns", "ts_s", "ts_ms", "ts_us", "ts_ns", "utc", "text"],
)
def test_times_of_parquet_files_are_of_any_kind(tmp_path, unit):
    """Whole numbers, timestamps with or without a zone, and text."""
    ms = moments()
    if unit == "text":
        column = pa.array([iso(x) for x in ms])
    elif unit == "utc":
        column = pa.array([x * 1000 for x in ms], pa.timestamp("us", tz="America/New_York"))
    else:
        kind, name = unit.split("_")
        numbers = [int(x / EPOCHS[name]) for x in ms]
        column = pa.array(numbers, pa.timestamp(name) if kind == "ts" else pa.int64())
    table = {"Date": column}
    for index, name in enumerate(("Open", "High", "Low", "Close", "Volume")):
        table[name] = [row[index] for row in PRICES]
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    file = read_candles(tmp_path / "x.parquet")
    assert file.bars.open_time.tolist() == ms
    assert prices(file.bars) == PRICES


def test_parquet_holds_the_eleven_columns(tmp_path):
    """Written with int64 milliseconds and float64, NaN kept; the same bars give the same bytes."""
    bars = Bars(**{n: getattr(BARS, n) for n in COLUMNS} | {"trades": np.full(60, np.nan)})
    for name in ("a.parquet", "b.parquet"):
        write_candles(tmp_path / name, bars)
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names == list(COLUMNS)
    assert {str(table[n].type) for n in ("open_time", "close_time")} == {"int64"}
    assert {str(table[n].type) for n in COLUMNS if "time" not in n} == {"double"}
    assert same(read_candles(tmp_path / "a.parquet").bars, bars)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"close": ["a", "b", "c"]}, "not a column of numbers"),
        ({"open_time": [START, None, START + 2 * HOUR]}, "row 2, column open_time"),
        ({"close": [101.0, None, 99.0]}, "row 2, column close"),
        ({"high": None}, "there is no such column"),
    ],
)
def test_bad_cells_of_parquet_files_are_named(tmp_path, changes, says):
    """As in CSV: row, column, what was found."""
    names = ("open", "high", "low", "close", "volume")
    table = {"open_time": moments()} | {n: [r[i] for r in PRICES] for i, n in enumerate(names)}
    table = {name: column for name, column in (table | changes).items() if column is not None}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    with pytest.raises(CandleFileError) as caught:
        read_candles(tmp_path / "x.parquet")
    assert says in str(caught.value)


# --- reading fast and slowly


@given(st.lists(st.floats(1e-300, 1e300), min_size=5, max_size=40))
@settings(deadline=None, max_examples=60)
def test_both_ways_of_reading_give_the_same_bits(tmp_path_factory, values):
    """The quick parser and Python's float() agree on every number, whatever its digits."""
    path = tmp_path_factory.mktemp("bits") / "x.csv"
    lines = [f"{START + i * HOUR},{x!r},{x!r},{x!r},{x!r},{x!r}" for i, x in enumerate(values)]
    bars = read_candles(write(path, *lines)).bars
    assert bars.open.tolist() == values
    quoted = [",".join(f'"{cell}"' for cell in line.split(",")) for line in lines]
    assert same(read_candles(write(path, *quoted)).bars, bars)


@pytest.mark.parametrize("interval", INTERVALS, ids=str)
@given(st.integers(10**12, 9 * 10**12))
@settings(deadline=None, max_examples=20)
def test_columns_of_slots_are_what_an_interval_says(interval, ms):
    """Grid, ends, steps and gaps of whole columns agree with `Interval`, one by one."""
    day = 86_400_000
    around = np.array([ms, ms // day * day, ms // day * day + 7 * 3_600_000], dtype=np.int64)
    assert slots.on_grid(interval, around).tolist() == [
        interval.on_grid(x) for x in around.tolist()
    ]
    opens = [START if interval.name != "1w" else START + 5 * day]
    for _ in range(30):
        opens.append(interval.end(opens[-1]))
    column = np.array(opens, dtype=np.int64)
    assert slots.ends(interval, column).tolist() == [interval.end(x) for x in opens]
    holed = np.delete(column, [4, 9, 10])
    assert slots.gaps(interval, holed) == ((opens[4], 1), (opens[9], 2))


@needs_real_data
def test_a_real_rest_answer_is_a_candle_file():
    """A month as the venue's REST gives it, in JSON, is the same rows as the recorded file has."""
    month = read_candles(REAL / "candles" / "binance_rest_BTCUSDT_1h_2023-03.json").bars
    whole = read_candles(REAL / "candles" / "BTCUSDT_1h.csv.gz").bars
    start = int(whole.open_time.searchsorted(month.open_time[0]))
    assert same(month, whole[start : start + len(month)])
