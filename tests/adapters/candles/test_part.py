"""Part files: whatever a kill leaves of one, its whole rows are kept and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import COLUMNS, Bars
from candled_adapters.candles.candlefile import read_candles
from candled_adapters.candles.part import PartFile, PartFileError
from candled_adapters.candles.writing import csv_rows
from candles import candles as synthetic

BARS = synthetic(12, seed=2)
WHOLE: dict[str, str | int] = {"symbol": "BTCUSDT", "since": 7}


def same(left: Bars, right: Bars) -> bool:
    return len(left) == len(right) and all(
        np.array_equal(getattr(left, name), getattr(right, name), equal_nan=True)
        for name in COLUMNS
    )


def part(path: Path, bars: Bars = BARS, after: int | None = None) -> bytes:
    with PartFile.open(path, WHOLE, after) as file:
        file.append(bars[:2])
        file.append(bars[2:])
    return path.read_bytes()


def opened(path: Path) -> Bars:
    with PartFile.open(path, WHOLE, None) as file:
        return file.bars


def test_every_cut_keeps_the_whole_rows(tmp_path):
    """At each byte: the rows before the cut are there, and going on gives the uncut file."""
    path = tmp_path / "x.part"
    few = BARS[:3]
    data = part(path, few)
    rows = csv_rows(few)
    lengths = np.cumsum([len(line) + 1 for line in rows.split(b"\n")[:-1]])
    head = len(data) - len(rows)
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        with PartFile.open(path, WHOLE, None) as file:
            kept = len(file.bars)
            assert kept == int((lengths <= cut - head).sum())
            assert same(file.bars, few[:kept])
            file.append(few[kept:])
        assert path.read_bytes() == data


@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=300))
@settings(deadline=None, max_examples=60)
def test_rubbish_at_the_end_is_cut_off(tmp_path_factory, at, rubbish):
    """Zeros after a power cut, or anything else: rows before it stay, none is made up."""
    path = tmp_path_factory.mktemp("part") / "x.part"
    data = part(path)
    head = len(data) - len(csv_rows(BARS))
    cut = head + at % (len(data) - head)
    path.write_bytes(data[:cut] + b"\x00" + rubbish)
    bars = opened(path)
    assert same(bars, BARS[: len(bars)])
    assert len(bars) == data[head:cut].count(b"\n")


def test_rows_that_do_not_ascend_are_cut_off(tmp_path):
    """The same row twice, or an earlier one, is not kept."""
    path = tmp_path / "x.part"
    data = part(path)
    for again in (BARS[11:], BARS[3:4]):
        path.write_bytes(data + csv_rows(again))
        assert same(opened(path), BARS)
        assert path.read_bytes() == data


def test_a_part_is_a_candle_file(tmp_path):
    """What is there already can be looked at with the other commands."""
    part(tmp_path / "x.part")
    assert same(read_candles(tmp_path / "x.part").bars, BARS)


def test_a_part_that_follows_on_another_bar_is_begun_anew(tmp_path):
    """It is of an earlier state of the file."""
    part(tmp_path / "x.part", after=5)
    assert len(opened(tmp_path / "x.part")) == 0


@pytest.mark.parametrize("content", [b"[]\n", b'# part of a candle file: {"symbol": "X"}\n', b"x"])
def test_other_files_are_not_touched(tmp_path, content):
    """Whatever it is, it is refused and stays."""
    path = tmp_path / "x.part"
    path.write_bytes(content)
    with pytest.raises(PartFileError, match="delete this file"):
        opened(path)
    assert path.read_bytes() == content
