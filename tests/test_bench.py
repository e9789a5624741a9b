"""The benchmark measures what it says, on the real parts; how fast they are is not tested."""

from __future__ import annotations

import asyncio
import json
import statistics
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from brokers import mosquitto, needs_mosquitto
from candled.bench.children import BenchError
from candled.bench.measure import Plan, measure
from candled.bench.pandas_features import calculate_features
from candled.bench.raw_mqtt import RawPublisher, packet
from candled.bench.report import Burst, scale_summary, tables
from candled.core.bar import Interval
from candled.core.features.mar import MAR
from candled_adapters.simulator.generator import generate

HOURLY = Interval("1h")
STAGES = {
    "candled": ["arrive", "take", "decide", "commit", "publish"],
    "notebook": ["window", "features", "predict", "publish", "rest"],
}
TINY = Plan((1, 3), 2, starts=1, idle_s=0.02, train_bars=1_000, estimators=5)


@needs_mosquitto
def test_a_run_measures_both_ways_and_finds_that_they_publish_the_same():
    """A real run holds every figure, derived from its bursts, and both ways said the same."""
    result = json.loads(json.dumps(asyncio.run(measure(TINY))))

    assert result["schema"] == "candled.bench/1"
    assert result["machine"]["broker"] == "mosquitto"
    assert [scale["streams"] for scale in result["scales"]] == [1, 3]
    for scale in result["scales"]:
        _check_agreement(scale)
        for way, stages in STAGES.items():
            _check_way(scale[way], stages)
            assert scale["resident_mib"][way] > 0
        _check_ratios(scale)
    assert result["process"]["ready"]["n"] == 1
    assert result["process"]["help"]["n"] == 5
    assert result["process"]["resident_mib"] > 0
    shown = Console(record=True, quiet=True)
    for table in tables(result):
        shown.print(table)


def _check_agreement(scale):
    found = scale["agreement"]
    assert found["signals"] == 2 * scale["streams"]
    assert found["only_candled"] == found["only_notebook"] == found["differing_sides"] == 0
    assert found["above_tolerance"] == 0
    assert sum(scale["candled"]["batches"]) >= 2


def _check_way(way, stages):
    assert list(way["stages_ms"]) == stages
    assert way["n"] == 2
    assert all(value > 0 for name in stages[:-1] for value in way["stages_ms"][name])
    totals = [sum(values) for values in zip(*way["stages_ms"].values(), strict=True)]
    assert way["total_ms"] == pytest.approx(totals, abs=1e-5)
    assert way["p50_ms"] == pytest.approx(statistics.median(totals), abs=1e-5)


def _check_ratios(scale):
    ours = statistics.median(scale["candled"]["total_ms"])
    theirs = statistics.median(scale["notebook"]["total_ms"])
    least = statistics.median(scale["baseline"]["total_ms"])
    assert scale["ratios"]["notebook_over_candled"] == pytest.approx(theirs / ours, rel=1e-4)
    assert scale["ratios"]["candled_over_baseline"] == pytest.approx(ours / least, rel=1e-4)


def burst(*stages_ms, signals=()):
    names = STAGES["candled"]
    return Burst(dict(zip(names, stages_ms, strict=False)), 1, signals)


BARE = {"model": 2.0, "kernel": 9.0, "commit": 3.0, "round_trip": 5.0, "raw_publish": 7.0}


@pytest.mark.parametrize(("streams", "least"), [(1, 5.0 + 3.0 + 2.0), (500, 7.0 + 2.0)])
def test_a_ratio_is_taken_to_the_parts_that_the_job_needs(streams, least):
    """One stream is held against round trip, commit and model, many against writer and model."""
    summary = scale_summary(streams, [burst(10, 20)], [burst(300, 600)], [BARE], {})

    assert summary["baseline"]["p50_ms"] == least
    assert summary["ratios"]["candled_over_baseline"] == 30 / least
    assert summary["ratios"]["notebook_over_candled"] == 900 / 30


def test_what_differs_between_the_ways_is_counted():
    """A missing signal, another side and another probability each show in the agreement."""
    signals = [("A", 1, "short", (0.1, 0.2, 0.7)), ("B", 1, "long", (0.1, 0.7, 0.2))]
    others = [("A", 1, "long", (0.1, 0.2, 0.7 - 2e-6)), ("C", 1, "long", (0.1, 0.7, 0.2))]
    ours = [burst(1, signals=signals), burst(1, signals=[("A", 2, "short", (0, 0, 1))])]

    found = scale_summary(1, ours, [burst(1, signals=others)], [BARE], {})["agreement"]

    assert (found["signals"], found["only_candled"], found["only_notebook"]) == (1, 1, 1)
    assert (found["differing_sides"], found["above_tolerance"]) == (1, 1)
    assert found["largest_difference"] == pytest.approx(2e-6)


def test_the_pandas_features_are_the_kernels_within_rounding():
    """The notebook's way computes the same 220 columns, so that the comparison is a fair one."""
    bars = generate(3, HOURLY, 1_735_689_600_000, 900)
    table = calculate_features(pd.Series(bars.close, index=bars.open_time))

    assert sorted(table.columns) == sorted(MAR.columns)
    ours = MAR.table(bars, HOURLY)[-50:]
    theirs = table[list(MAR.columns)].to_numpy(dtype=np.float64)[-50:]
    np.testing.assert_allclose(theirs, ours, rtol=1e-9, atol=bars.close.max() * 1e-12)


@needs_mosquitto
def test_the_raw_publisher_sends_everything_within_the_brokers_window(tmp_path):
    """More messages than the broker takes at once are all acknowledged, short and long ones."""
    messages = [(f"bench/{i}", "x" * (i * 7 % 3_000), 60) for i in range(500)]

    with mosquitto(tmp_path, conf="max_inflight_messages 7") as broker:
        publisher = RawPublisher("127.0.0.1", broker.port)
        publisher.publish([packet(message, number) for number, message in enumerate(messages, 1)])
        publisher.close()

    assert publisher._window == 7


@pytest.mark.parametrize("streams", [(), (1, 0), (-3,)])
def test_a_number_of_streams_below_one_is_refused(streams):
    """Nothing is started for a plan that makes no sense."""
    with pytest.raises(BenchError, match="1 or above"):
        asyncio.run(measure(replace(TINY, streams=streams)))
