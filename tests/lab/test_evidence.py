"""Evidence: every answer has one band, and the band says what its like was worth."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from candled.core.decision import Side
from candled.lab.evidence import evidence_bands, facts
from candled_adapters.artifacts.bundle import load_bundle, write_bundle

RANDOM = np.random.default_rng(70)
ANSWERS = RANDOM.dirichlet([4, 2, 2], 6_000).astype(np.float32)
TRUTH = (RANDOM.random(6_000)[:, None] > np.cumsum(ANSWERS, axis=1)).sum(axis=1)
TRUTH = np.minimum(TRUTH, 2).astype(np.int8)
GROSS = {
    side: np.where(number == TRUTH, 1.5, -1.0) for number, side in ((1, Side.LONG), (2, Side.SHORT))
}
BANDS = evidence_bands(ANSWERS, TRUTH, GROSS, fewest=50)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=80),
    st.integers(1, 30),
)
def test_every_answer_lies_in_exactly_one_band_of_enough_rows(numbers, fewest):
    """Bands ascend from 0 without hole to an open one; each has enough rows unless it is alone."""
    long = (np.array(numbers) / 20).astype(np.float32)
    answers = np.column_stack([1 - long, long, np.zeros_like(long)])
    bands = evidence_bands(answers, np.zeros(len(long), dtype=np.int8), fewest=fewest)
    longs = [band for band in bands if band.side is Side.LONG]
    assert longs[0].above == 0.0
    assert [band.below for band in longs] == [*(band.above for band in longs[1:]), None]
    assert len(longs) == 1 or min(band.precision.n for band in longs) >= fewest
    for value in long.tolist():
        assert sum(fact.covers(value) for fact in facts(longs)) == 1
    for fact in facts(longs):
        assert fact.n == sum(fact.covers(value) for value in long.tolist())
    assert [band.precision.n for band in bands if band.side is Side.SHORT] == [len(long)]


@pytest.mark.parametrize(("number", "side"), [(1, Side.LONG), (2, Side.SHORT)])
def test_a_band_tells_its_own_rows(number, side):
    """Count, share, precision and mean outcome are those of the rows between the edges."""
    bands = [band for band in BANDS if band.side is side]
    assert len(bands) == 7
    for band in bands:
        upper = np.inf if band.below is None else band.below
        inside = (ANSWERS[:, number] >= band.above) & (ANSWERS[:, number] < upper)
        assert band.coverage == inside.mean()
        assert band.precision.n == band.gross_pct.n == inside.sum()
        assert band.precision.estimate == (TRUTH[inside] == number).mean()
        assert band.gross_pct.estimate == pytest.approx(GROSS[side][inside].mean())
        assert band.base_rate == np.mean(number == TRUTH)
        assert band.precision.low < band.precision.estimate < band.precision.high
        assert band.gross_pct.low < band.gross_pct.estimate < band.gross_pct.high
    precisions = [band.precision.estimate for band in bands]
    assert precisions[-1] > bands[0].base_rate > precisions[0]
    assert [round(1 - band.coverage, 3) for band in bands[-1:]] == [0.99]


def test_bands_with_too_few_rows_join_the_next_lower_one():
    """With 100 rows asked for, the top 1 % (60 rows) is not told apart from the top 2 %."""
    bands = [band for band in evidence_bands(ANSWERS, TRUTH, fewest=100) if band.side is Side.LONG]
    assert len(bands) == 6
    assert bands[-1].precision.n == 120


@pytest.mark.parametrize(
    ("fewest", "edges"),
    [(10, [0.0, 0.2, 0.3, 0.4]), (11, [0.0, 0.2, 0.3]), (50, [0.0, 0.2]), (51, [0.0])],
)
def test_no_more_bands_are_joined_than_must_be(fewest, edges):
    """Of 50, 30, 10 and 10 equal answers those with exactly enough rows keep their band."""
    long = np.repeat(np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32), [50, 30, 10, 10])
    answers = np.column_stack([1 - long, long, long])
    bands = evidence_bands(answers, np.zeros(100, dtype=np.int8), fewest=fewest)
    assert [band.above for band in bands] == [float(np.float32(edge)) for edge in edges] * 2


def test_the_table_is_repeatable_and_json():
    """The same rows give the same bits, and all of it is plain JSON."""
    again = evidence_bands(ANSWERS, TRUTH, GROSS, fewest=50)
    assert again == BANDS
    told = json.loads(json.dumps([asdict(band) for band in BANDS], allow_nan=False))
    assert told[0]["side"] == "long"
    assert told[0]["precision"]["n"] == BANDS[0].precision.n


def test_a_bundle_carries_the_facts(tmp_path):
    """Written and read back, a model finds the band of a probability."""
    told = facts(BANDS)
    write_bundle(models.changed(evidence=told), tmp_path / "bundle")
    model = load_bundle(tmp_path / "bundle").model
    assert model.evidence == told
    highest = float(ANSWERS[:, 2].max())
    assert model.evidence_of(Side.SHORT, highest) == told[-1]


def test_what_is_not_known_is_not_claimed():
    """Few rows: the interval is all of 0 to 1. Outcomes not given for a side: none told of it."""
    bands = evidence_bands(ANSWERS[:20], TRUTH[:20], {Side.SHORT: GROSS[Side.SHORT][:20]})
    assert [band.precision.low for band in bands] == [None, None]
    long, short = facts(bands)
    assert (long.low, long.high, long.gross_pct) == (0.0, 1.0, None)
    assert short.gross_pct == pytest.approx(GROSS[Side.SHORT][:20].mean())


def test_rows_that_cannot_be_counted_are_refused():
    """No rows, unequal lengths, a value that is no probability, bands of nothing."""
    with pytest.raises(ValueError, match="fewest must be 1"):
        evidence_bands(ANSWERS, TRUTH, fewest=0)
    with pytest.raises(ValueError, match="at least one row"):
        evidence_bands(ANSWERS[:0], TRUTH[:0])
    with pytest.raises(ValueError, match="one of each a row"):
        evidence_bands(ANSWERS, TRUTH, {Side.LONG: np.ones(3)})
    with pytest.raises(ValueError, match="row 0 holds"):
        evidence_bands(np.full((3, 3), np.nan, dtype=np.float32), TRUTH[:3])
