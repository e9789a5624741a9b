"""The learning bench measures what it says and compares it; how fast it is is not tested."""

from __future__ import annotations

import io
import json
import statistics
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from candled.bench.children import BenchError
from candled.bench.learning import deciding, streaming, trading
from candled.bench.learning.facts import Candles, Part, close_to, same, same_bits
from candled.bench.learning.features import agreements, undecided
from candled.bench.learning.labels import frame_of, touch_loop, window_loop
from candled.bench.learning.report import tables
from candled.bench.learning.run import LearningPlan, measure_learning, summary
from candled.bench.learning.timing import turns
from candled.bench.pandas_features import calculate_features
from candled.core.bar import Interval
from candled.core.features.mar import COLUMNS, MAR
from candled.core.labels import LabelParams
from candled.lab.backtest import Costs, Exits, sweep
from candled.lab.predict import Predictions, predict
from candled.lab.recipe import Boosting, Recipe, ThresholdRule
from candled.lab.tablefile import write_blocks
from candled.lab.tables import table_blocks
from candled_adapters.candles.candlefile import write_candles
from candled_adapters.simulator.generator import generate
from candles import HOURLY, candles
from models import model
from reference import first_touch_loop, label_loop
from tapes import tape

TINY = LearningPlan(
    streamed_rows=2_500,
    bars=1_800,
    label_rows=300,
    live_bars=3,
    replayed_bars=MAR.history + 40,
    swept=(5, 3),
    rounds=1,
    recipe=Recipe(
        folds=2, boosting=Boosting(n_estimators=5), threshold=ThresholdRule("fixed", 0.4)
    ),
    estimators=8,
    verified_rows=4,
)
PAIRS = {
    "labels, window": ("notebook's loop", "candled"),
    "labels, first touch": ("notebook's loop", "candled"),
    "table, 220 columns": ("vectorised pandas", "candled"),
    "one live bar": ("pandas, 720 bars", "candled"),
    "replay and predict": ("replay", "predict"),
    "replay": ("bar by bar", "candled"),
    "sweep, 5 thresholds x 3 costs": ("a backtest for each", "candled"),
}
ALONE = {
    "table of 1m bars into parquet, 231 columns",
    "walk-forward",
    "honest training, walk-forward included",
    "findings",
    "notebook training",
    "verify, 14 checks",
}


@pytest.fixture(scope="module")
def result() -> dict:
    return json.loads(json.dumps(measure_learning(TINY)))


def test_a_run_measures_every_part_and_finds_that_all_ways_agree(result):
    """Each part has its ways, its times above nothing, their ratio, and outputs that agree."""
    parts = {part["name"]: part for part in result["parts"]}
    assert result["schema"] == "candled.bench.learning/1"
    assert parts.keys() == PAIRS.keys() | ALONE
    for name, ways in PAIRS.items():
        assert tuple(parts[name]["seconds"]) == ways
        one, other = (statistics.median(taken) for taken in parts[name]["seconds"].values())
        assert parts[name]["ratio"] == pytest.approx(one / other)
    assert all(t > 0 for part in parts.values() for s in part["seconds"].values() for t in s)
    assert result["agree"] is True
    compared = [(part["name"], a) for part in parts.values() for a in part["agreements"]]
    assert {name for name, _ in compared} == parts.keys() - {
        "honest training, walk-forward included", "findings", "notebook training",
    }  # fmt: skip
    for _, one in compared:
        assert one["ok"]
        assert one["compared"] > 0
        assert one["distance"] <= one["bound"]


def test_what_was_compared_is_all_there_is(result):
    """Counts of what was compared are those of the rows and columns that were made."""
    parts = {part["name"]: part for part in result["parts"]}

    def compared(name):
        return [one["compared"] for one in parts[name]["agreements"]]

    assert compared("labels, window") == [300 * 7]
    assert compared("labels, first touch") == [300 * 2]
    assert sum(compared("table, 220 columns")) == (1_800 - 40) * 220
    assert sum(compared("one live bar")) == 3 * 220
    assert compared("table of 1m bars into parquet, 231 columns") == [2_500, 1_000 * 220]
    assert compared("replay") == [MAR.history + 40] * 2
    assert compared("sweep, 5 thresholds x 3 costs") == [8, 24]
    assert parts["replay and predict"]["figures"]["signals"] > 0
    assert parts["table of 1m bars into parquet, 231 columns"]["figures"]["peak MiB"] > 50
    assert compared("walk-forward")[0] == 3 * parts["walk-forward"]["figures"]["tested rows"]


def test_the_tables_show_every_part(result):
    """A person sees each part with its candles, and each comparison."""
    shown = Console(record=True, file=io.StringIO(), width=300)
    for table in tables(result):
        shown.print(table)
    text = shown.export_text()
    for part in result["parts"]:
        assert part["name"] in text
        assert part["data"] in text
        assert all(one["what"] in text for one in part["agreements"])
    assert "extrapolated from 8 of 15 cells" in text
    assert "NO" not in text


# --- the baselines are what they say


PARAMS = st.builds(
    LabelParams,
    lookahead_bars=st.integers(1, 30),
    profit_target_pct=st.sampled_from([0.3, 0.8, 1.5]),
    stop_loss_pct=st.sampled_from([0.4, 1.0, 2.5]),
)


@settings(max_examples=15, deadline=None)
@given(params=PARAMS, seed=st.integers(0, 99), count=st.integers(1, 80))
def test_the_loops_label_as_they_are_defined(params, seed, count):
    """The notebook's loops, as the bench has them, label as the slow definitions do."""
    bars = candles(count, seed)
    frame = frame_of(bars)
    wanted = (params.lookahead_bars, params.profit_target_pct, params.stop_loss_pct)

    found = pd.DataFrame(window_loop(frame, params))
    signal, end = touch_loop(frame, params)

    pd.testing.assert_frame_equal(
        found, label_loop(frame, *wanted)[list(found)], check_dtype=False, check_exact=True
    )
    assert list(zip(signal.tolist(), end.tolist(), strict=True)) == first_touch_loop(bars, wanted)


def test_the_loops_know_what_exactly_on_the_limit_is():
    """A move of exactly the target is enough, one of exactly the stop is too much."""
    draw = np.random.default_rng(1)
    whole = candles(200, seed=1)
    bars = replace(
        whole,
        close=np.full(200, 100.0),
        high=100.0 + draw.integers(0, 3, 200),
        low=100.0 - draw.integers(0, 3, 200),
    )
    frame, found = frame_of(bars), set()
    for wanted in ((1, 1.0, 1.0), (2, 1.0, 2.0), (3, 2.0, 1.0), (2, 2.0, 2.0)):
        labels = window_loop(frame, LabelParams(*wanted))["signal"]
        assert labels.tolist() == label_loop(frame, *wanted)["signal"].tolist()
        signal, end = touch_loop(frame, LabelParams(*wanted))
        told = list(zip(signal.tolist(), end.tolist(), strict=True))
        assert told == first_touch_loop(bars, wanted)
        found |= {*labels.tolist()}
    assert found == {0, 1, 2}


def pandas_table(close: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    frame = calculate_features(close)
    rows = slice(MAR.window - 1, None)
    return frame[list(COLUMNS)].to_numpy(dtype=np.float64)[rows], undecided(frame, close)[rows]


def test_only_rounding_excuses_another_count():
    """A count or flag that is one off disagrees, and so does an average that is off."""
    bars = candles(120, seed=4)
    close = bars.close[MAR.window - 1 :]
    theirs, excused = pandas_table(pd.Series(bars.close))
    assert [one.ok for one in agreements(theirs, theirs, excused, close)] == [True, True]
    for name, off, ok in (
        ("bullish_count_ema", 1.0, [True, False]),
        ("cross_below", -1.0, [True, False]),
        ("ma36_wma", 1e-10 * close[7], [False, True]),
        ("ma36_wma", 1e-12 * close[7], [True, True]),
        ("spread_pct", 1e-8, [False, True]),
        ("slope_ma5_sma", np.nan, [False, True]),
        ("expansion", np.nan, [True, False]),
    ):
        ours = theirs.copy()
        ours[7, COLUMNS.index(name)] += off
        found = agreements(ours, theirs, excused, close)
        assert [one.ok for one in found] == ok, name
        assert sum(one.differing for one in found) == 1


def test_where_nothing_moves_rounding_decides():
    """On a flat price every comparison is a toss-up, and none is counted as a difference."""
    close = pd.Series(np.full(60, 123.45))
    theirs, excused = pandas_table(close)
    ours = theirs.copy()
    ours[3, COLUMNS.index("price_position")] = 1.0 - ours[3, COLUMNS.index("price_position")]
    ours[4, COLUMNS.index("expansion")] = 1.0 - ours[4, COLUMNS.index("expansion")]
    ours[5, COLUMNS.index("bearish_count_wma")] = 32.0 - ours[5, COLUMNS.index("bearish_count_wma")]
    ours[6, COLUMNS.index("compression")] = 1.0 - ours[6, COLUMNS.index("compression")]
    _, judged = agreements(ours, theirs, excused, close.to_numpy()[MAR.window - 1 :])
    assert judged.distance == 1.0  # the compression alone: 0 is far below its limit


# --- comparing and timing


def test_what_is_no_number_agrees_with_nothing():
    """NaN meets NaN and nothing else, whether bits or distances are compared."""
    one, other = np.array([1.0, np.nan, 3.0]), np.array([1.0, np.nan, np.nan])
    assert close_to("x", one, one, 0.0).ok
    assert not close_to("x", one, other, 1e9).ok
    assert same_bits("x", [(one, one)]).ok
    found = same_bits("x", [(one, one), (one, other), (-one, one)])
    assert (found.compared, found.differing, found.ok) == (9, 3, False)
    assert close_to("x", one, one + 0.5, 0.5).ok
    assert not close_to("x", one, one + 0.5, 0.49).ok


def test_the_ways_take_turns():
    """The first one alternates, the quick one has more turns, and its first run is not counted."""
    said = []
    taken = turns(lambda: said.append("slow"), lambda: said.append("quick"), 3, 2)
    assert said == [
        "quick",
        "slow", "quick", "quick",
        "quick", "quick", "slow",
        "slow", "quick", "quick",
    ]  # fmt: skip
    assert (len(taken.baseline_s), len(taken.candled_s)) == (3, 6)


def test_the_median_is_taken_of_each_way():
    """The ratio is that of the medians, the baseline first; one way alone has none."""
    part = Part("x", 1, "y", {"slow": [9.0, 1.0, 8.0], "quick": [2.0, 4.0, 90.0]})
    assert part.as_json()["ratio"] == 2.0
    assert part.as_json()["n"] == {"slow": 3, "quick": 3}
    assert Part("x", 1, "y", {"alone": [1.0]}).as_json()["ratio"] is None


def test_another_answer_is_found():
    """Of replay and predict, another side, another probability and a missing row each count."""
    of = Candles(candles(MAR.history + 60, seed=3), HOURLY, "x")
    decisions, part = deciding.history_part(of, model())
    asked = [one for one in decisions if one.probabilities]
    said = predict(of.bars, model(), deciding.THRESHOLD)
    last = len(said) - 1
    other_side = said.signal.copy()
    other_side[last] = (other_side[last] + 1) % 3
    other_odds = said.probabilities.copy()
    other_odds[last - 1, 2] = np.nextafter(other_odds[last - 1, 2], np.float32(1))
    shorter = Predictions(said.open_time[:-1], said.probabilities[:-1], said.signal[:-1])

    assert part.agreements[0].compared == len(asked) > 50
    assert deciding._unlike(asked, said) == 0
    assert deciding._unlike(asked, replace(said, signal=other_side)) == 1
    assert deciding._unlike(asked, replace(said, probabilities=other_odds)) == 1
    assert deciding._unlike(asked, shorter) == 1


def test_another_cell_of_a_sweep_is_found():
    """A purse that is off by a billionth of itself, or a trade more, does not agree."""
    spoken, exits = tape(300, 5), Exits(12, 1.5, 1.0)
    grid = sweep(spoken, exits, [0.4], [Costs(0.1)])
    cell = trading._cell(spoken, exits, 0.4, Costs(0.1))
    count, mean, hits, purse = cell
    assert count > 20
    for other, ok in (
        (cell, [True, True]),
        ((count + 1, mean, hits, purse), [False, True]),
        ((count, mean + 1e-8, hits, purse), [True, False]),
        ((count, mean, hits, purse * (1 + 3e-9) + 3e-9), [True, False]),
    ):
        found = trading._agreements(grid, [other], [(0, 0)])
        assert [one.ok for one in found] == ok


def test_another_end_of_a_streamed_table_is_found(tmp_path):
    """A file whose newest rows are of other bars is seen to differ, and its rows are its own."""
    minute = Interval("1m")
    bars, other = (generate(seed, minute, 1_735_689_600_000, 400) for seed in (1, 2))
    path = tmp_path / "table.parquet"
    write_blocks(table_blocks(bars, minute), path)
    assert streaming._compared(path, bars) == {"rows": 400, "cells": 360 * 220, "differing": 0}
    assert streaming._compared(path, other)["differing"] > 100 * 220


def test_one_disagreement_is_a_disagreement_of_the_run():
    """The run agrees only when every comparison of every part does."""
    of = Candles(candles(3, seed=1), HOURLY, "three bars")
    good, bad = same("rows", 3, 0), same("rows", 3, 1)
    fine = Part("fine", 3, "y", {"candled": [1.0]}, (good, good))
    wrong = Part("wrong", 3, "y", {"candled": [1.0]}, (good, bad))
    for parts, agree in (([fine, fine], True), ([fine, wrong, fine], False)):
        found = summary(of, parts, (0.5, 0.4, 0.3), (1.5, 1.4, 1.3))
        assert found["agree"] is agree
        assert [part["name"] for part in found["parts"]] == [part.name for part in parts]
        assert found["candles"] == {"name": "three bars", "bars": 3}
        assert found["machine"]["load_before"] == [0.5, 0.4, 0.3]
    shown = Console(record=True, file=io.StringIO(), width=200)
    shown.print(tables(found)[1])
    assert shown.export_text().count("NO") == 1


def test_too_short_a_file_is_refused_at_once(tmp_path):
    """The file, its rows and what is needed are named, and nothing is measured."""
    path = tmp_path / "BTCUSDT_1h.csv"
    write_candles(path, candles(MAR.history + 3, seed=1))
    with pytest.raises(BenchError, match=rf"{path}: holds 1448 bars; .* more than 1448"):
        measure_learning(replace(TINY, candles=path))
