"""The exported table: the kernel's numbers, pandas' warm-up, and text that reads back."""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from candled.core.bar import COLUMNS as BAR_COLUMNS
from candled.core.features import built_in_sets
from candled.core.features.mar import COLUMNS, MAR
from candled.core.features.windows import WindowFeatures
from candled.core.labels import LabelParams, window_labels
from candled.core.regime import INPUTS, NAMES, regime_rule, regimes
from candled.lab.regimes import bar_regimes
from candled.lab.tablefile import TableError, read_table, write_blocks, write_table
from candled.lab.tables import feature_table, table_blocks
from candles import HOURLY, bars_from_closes, candles, differing

BARS = candles(900, seed=31)
FRAME = feature_table(BARS, HOURLY, labels=LabelParams())
LABELS = [
    "future_high", "future_low", "future_return_up", "future_return_down",
    "signal_long", "signal_short", "signal",
]  # fmt: skip
WHOLE = [
    "compression", "expansion", "cross_above", "cross_below", "raw_regime", "regime",
    "signal_long", "signal_short", "signal",
    *(f"{side}_count_{t}" for side in ("bullish", "bearish") for t in reference.TYPES),
]  # fmt: skip


def test_columns_are_in_the_documented_order():
    """Time and close, the 220 features, the regimes, and labels only when asked for."""
    head, tail = ["open_time", "close"], ["raw_regime", "regime"]
    assert list(FRAME.columns) == [*head, *COLUMNS, *tail, *LABELS]
    assert list(feature_table(BARS[:50], HOURLY).columns) == [*head, *COLUMNS, *tail]
    assert len(FRAME) == len(BARS)


def test_complete_rows_are_the_kernels_bits():
    """From row 40 on every feature is exactly what the model is asked with."""
    assert (
        differing(FRAME[list(COLUMNS)].to_numpy(np.float64)[40:], MAR.table(BARS, HOURLY)[40:]) == 0
    )


def test_warm_up_rows_are_those_of_plain_pandas():
    """Rows 0 to 39 have NaN where pandas has NaN, its values elsewhere, and 0 for counts."""
    expected = reference.features(pd.Series(BARS.close))
    found = FRAME[list(COLUMNS)]
    for name in COLUMNS:
        one, other = (table[name].to_numpy(np.float64)[:40] for table in (found, expected))
        assert (np.isnan(one) == np.isnan(other)).all(), name
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * BARS.close[0], err_msg=name)
    assert (found[[f"bullish_count_{t}" for t in ("sma", "wma")]].iloc[:9] == 0).all(axis=None)


def test_whole_numbers_are_integers():
    """Counts, flags, regimes and signals are integer columns; no feature besides them is."""
    kinds = {name: FRAME[name].dtype for name in FRAME.columns}
    integers = [name for name, kind in kinds.items() if kind == np.int64]
    assert sorted(integers) == sorted(["open_time", *WHOLE])
    assert all(kind == np.float64 for name, kind in kinds.items() if name not in integers)


@pytest.mark.parametrize("preset", reference.PRESETS)
def test_regimes_are_those_of_the_preset(preset):
    """Raw and confirmed regimes agree with plain pandas on the table's own columns."""
    frame = feature_table(BARS, HOURLY, regime=preset)
    raws = reference.raw_regimes(frame, preset)
    assert frame["raw_regime"].tolist() == raws
    assert frame["regime"].tolist() == reference.confirmed_regimes(raws, preset)


def test_labels_are_settled_by_the_confirmed_regime():
    """The label columns are those of the window rule with the table's regime."""
    wide = LabelParams(lookahead_bars=12, profit_target_pct=0.5, stop_loss_pct=2.0)
    frame = feature_table(BARS, HOURLY, labels=wide)
    made = window_labels(BARS, wide, frame["regime"].to_numpy())
    for name in LABELS:
        np.testing.assert_array_equal(frame[name].to_numpy(), getattr(made, name))
    bare = window_labels(BARS, wide).signal
    assert (frame["signal"] != bare).any()  # the regime does settle some


def test_an_unknown_preset_is_refused():
    """The message names the presets that exist."""
    with pytest.raises(ValueError, match=r"unknown regime preset 'calm'.*notebook"):
        feature_table(BARS[:50], HOURLY, regime="calm")


@pytest.mark.parametrize("length", [0, 1, 41])
def test_short_histories_have_tables_too(length):
    """A table of few bars, or none, has their rows and all columns."""
    frame = feature_table(BARS[:length], HOURLY, labels=LabelParams())
    assert frame.shape == (length, len(FRAME.columns))


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_a_written_table_reads_back_to_the_bit(tmp_path, name):
    """Every float, NaN and integer of the file is the frame's own."""
    write_table(FRAME, tmp_path / name)
    again = pd.read_csv(tmp_path / name)
    assert list(again.columns) == list(FRAME.columns)
    for column in FRAME.columns:
        assert again[column].dtype == FRAME[column].dtype, column
        assert differing(again[column].to_numpy(), FRAME[column].to_numpy()) == 0, column


def test_text_reads_back_at_any_scale(tmp_path):
    """Python's own float reads the digits back, from denormals to the largest, signs included."""
    random = np.random.default_rng(1)
    numbers = random.integers(0, 2**64, 5_000, dtype=np.uint64).view(np.float64)
    numbers = np.concatenate([numbers[np.isfinite(numbers)], [0.1, -0.0, 5e-324, 1e22, 1e16, 3.0]])
    write_table(pd.DataFrame({"x": numbers}), tmp_path / "x.csv")
    lines = (tmp_path / "x.csv").read_text().splitlines()
    assert differing(np.array([float(line) for line in lines[1:]]), numbers) == 0
    assert lines[-6] == "0.1"


def test_the_same_table_is_the_same_file(tmp_path):
    """Two writings under two names have one digest, and plain and packed text are one."""
    for name in ("a.csv.gz", "b.csv.gz", "c.csv"):
        write_table(FRAME, tmp_path / name)
    digests = {
        hashlib.sha256((tmp_path / name).read_bytes()).digest() for name in ("a.csv.gz", "b.csv.gz")
    }
    assert len(digests) == 1
    assert (
        gzip.decompress((tmp_path / "a.csv.gz").read_bytes()) == (tmp_path / "c.csv").read_bytes()
    )


@pytest.mark.parametrize(
    ("column", "complaint"),
    [
        (["x", "y"], "column 'bad' is of type .*; only numbers can be written"),
        ([1.0, np.inf], "column 'bad' is infinite in row 1"),
    ],
)
def test_a_failed_writing_leaves_the_old_file(tmp_path, column, complaint):
    """What cannot be written is refused, and the file that was there stays, alone."""
    path = tmp_path / "table.csv"
    path.write_text("as it was")
    with pytest.raises(ValueError, match=complaint):
        write_table(pd.DataFrame({"bad": column}), path)
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]
    assert path.read_text() == "as it was"


def test_a_directory_that_is_missing_is_an_error_that_names_the_file(tmp_path):
    """Nothing is created on the way."""
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_table(FRAME[:2], tmp_path / "nowhere" / "table.csv")


def test_a_constant_price_has_a_table():
    """Where nothing moves, nothing is infinite and counts are zero."""
    frame = feature_table(bars_from_closes(np.full(100, 7.25)), HOURLY)
    assert np.isfinite(frame.to_numpy(np.float64)[40:]).all()
    assert (frame["bullish_count_sma"] == 0).all()


# --- any set, block by block

SETS = built_in_sets()
WIDE = LabelParams(lookahead_bars=12, profit_target_pct=0.5, stop_loss_pct=2.0)
WHOLE_TABLE = {
    name: feature_table(BARS, HOURLY, features=one, labels=WIDE, raw=True)
    for name, one in SETS.items()
}


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Assert that two frames have the same columns, types and bits."""
    assert list(one.columns) == list(other.columns)
    for name in one.columns:
        if name == "regime_name":
            assert one[name].tolist() == other[name].tolist()
        else:
            assert one[name].dtype == other[name].dtype, name
            assert differing(one[name].to_numpy(), other[name].to_numpy()) == 0, name


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=8, deadline=None)
@given(size=st.one_of(st.integers(4, 60), st.integers(60, 1_000)), length=st.integers(1, 400))
def test_blocks_of_any_size_are_the_whole_table(name: str, size: int, length: int):
    """Features, regimes and labels of a streamed table do not show where it was cut."""
    blocks = list(
        table_blocks(BARS[:length], HOURLY, features=SETS[name], labels=WIDE, raw=True, size=size)
    )
    assert all(0 < len(block["close"]) <= size for block in blocks)
    streamed = pd.DataFrame(
        {column: np.concatenate([block[column] for block in blocks]) for column in blocks[0]}
    )
    whole = WHOLE_TABLE[name][:length].copy()
    for column in LABELS:  # the last rows have another future
        whole.loc[max(0, length - 12) :, column] = np.nan if "future" in column else 0
    same(streamed, whole)


@pytest.mark.parametrize("name", SETS)
def test_every_set_has_the_same_regimes_and_labels(name: str):
    """What is not a feature does not depend on the features."""
    columns = [*BAR_COLUMNS, "raw_regime", "regime", "regime_name", *LABELS]
    same(WHOLE_TABLE[name][columns], WHOLE_TABLE["mar"][columns])
    assert len(set(WHOLE_TABLE[name]["regime_name"])) == 3


def test_the_notebooks_own_table_has_all_columns_of_the_bars():
    """With `raw`: the bars, the set, the regimes with their name, the labels, in this order."""
    frame = WHOLE_TABLE["mar"]
    regimes = ["raw_regime", "regime", "regime_name"]
    assert list(frame.columns) == [*BAR_COLUMNS, *COLUMNS, *regimes, *LABELS]
    assert frame["regime_name"].tolist() == [NAMES[at] for at in frame["regime"]]
    same(frame[list(COLUMNS)], feature_table(BARS, HOURLY)[list(COLUMNS)])


def test_regimes_of_bars_are_those_of_mars_table():
    """Asked for the regimes alone, they are those that the whole table gives."""
    alone = bar_regimes(BARS, HOURLY, "aggressive")
    columns = [MAR.columns.index(name) for name in INPUTS]
    inputs = MAR.table(BARS, HOURLY)[:, columns]
    assert alone.tolist() == regimes(regime_rule("aggressive"), inputs).tolist()


@pytest.mark.parametrize("column", ["close", "signal", "regime", "regime_name"])
def test_a_set_may_not_have_a_column_of_the_table(column: str):
    """A column that every table has would be overwritten, or leak: it is refused by name."""
    features = WindowFeatures("mine", ("a", column), 1, lambda w: np.repeat(w["close"], 2, axis=1))
    with pytest.raises(ValueError, match=f"'mine' has a column '{column}', and so has every"):
        feature_table(BARS[:10], HOURLY, features=features)


# --- files


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kind", ["parquet", "csv", "csv.gz"])
def test_a_streamed_file_reads_back_to_the_bit(tmp_path: Path, name: str, kind: str):
    """A table written in blocks is, read again, the whole table, names of regimes included."""
    path = tmp_path / f"BTCUSDT_1h_features_labeled.{kind}"
    blocks = table_blocks(BARS, HOURLY, features=SETS[name], labels=WIDE, raw=True, size=123)
    assert write_blocks(blocks, path) == WHOLE_TABLE[name].shape
    again = read_table(path, SETS[name])
    same(again, WHOLE_TABLE[name])
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_frame_may_be_changed_and_written_again(tmp_path: Path):
    """What a notebook user adds stays in the file, and its own tables with dates are read."""
    frame = WHOLE_TABLE["mar"].assign(mine=np.arange(len(BARS)) / 7.0)
    write_table(frame, tmp_path / "t.parquet")
    same(read_table(tmp_path / "t.parquet"), frame)
    dated = frame.assign(open_time=pd.to_datetime(frame["open_time"], unit="ms", utc=True))
    dated.to_parquet(tmp_path / "dated.parquet")
    assert read_table(tmp_path / "dated.parquet")["open_time"].tolist() == BARS.open_time.tolist()


def test_a_short_or_empty_table_is_a_file_too(tmp_path: Path):
    """No rows are a table with columns."""
    for name in ("e.parquet", "e.csv"):
        assert write_blocks(table_blocks(BARS[:0], HOURLY), tmp_path / name) == (0, 224)
        assert len(read_table(tmp_path / name)) == 0


BAD_TABLES = {
    "a column away": (lambda f: f.drop(columns="ma7_ema"), "has no column ma7_ema (1 of the 223"),
    "many away": (
        lambda f: f[["open_time", "close"]], "has no column ma5_sma, ma6_sma, ma7_sma ... (222 of"
    ),
    "text": (lambda f: f.assign(ma7_ema="x"), "column 'ma7_ema' is of type "),
    "seconds": (lambda f: f.assign(open_time=f["open_time"] // 1000), "row 0: open_time 16999992"),
    "text times": (lambda f: f.assign(open_time="2024"), "column open_time is of type "),
    "unsorted": (lambda f: f.iloc[::-1], "row 1: 2023-12-22T08:00:00Z does not come after"),
    "doubles": (lambda f: f.iloc[[0, 1, 1, 2]], "row 2: 2023-11-14T23:00:00Z does not come after"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_table_that_is_not_what_was_asked_for_is_refused(tmp_path: Path, name: str):
    """Missing columns, wrong types and wrong times are told with file, column and row."""
    change, said = BAD_TABLES[name]
    path = tmp_path / "t.parquet"
    change(FRAME).to_parquet(path)
    with pytest.raises(TableError) as caught:
        read_table(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    """Text under a parquet's name, or nothing at all, is told by the file's name."""
    for name in ("t.parquet", "t.csv"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(TableError, match=rf"t\.{name[2:]}: is not "):
            read_table(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "absent.parquet")


def test_without_the_extra_parquet_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where pyarrow is not installed, the message has the command that installs it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(TableError, match=r"pip install 'candled\[parquet\]'"):
        write_table(FRAME[:2], tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_half_way_leaves_the_old_file(tmp_path: Path):
    """A block that cannot be written ends the whole, with the row in the table; nothing changes."""
    bad = {"x": np.array([1.0, np.inf])}
    for name in ("t.parquet", "t.csv"):
        (tmp_path / name).write_text("as it was")
        with pytest.raises(TableError, match="column 'x' is infinite in row 4"):
            write_blocks([{"x": np.array([1.0, 2.0, 3.0])}, bad], tmp_path / name)
        assert (tmp_path / name).read_text() == "as it was"
    assert len(list(tmp_path.iterdir())) == 2
