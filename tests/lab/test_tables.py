"""The exported table: the kernel's numbers, pandas' warm-up, and text that reads back."""

from __future__ import annotations

import gzip
import hashlib

import numpy as np
import pandas as pd
import pytest

import reference
from candled.core.features.mar import COLUMNS, MAR
from candled.lab.labels import LabelParams, window_labels
from candled.lab.tablefile import write_table
from candled.lab.tables import feature_table
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
