"""Bins, the index and what is usual: as loops would have it, and the same bits in any company."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.drift import (
    SMALLEST_SHARE,
    Bins,
    Levels,
    Reference,
    Usual,
    above,
    bins_of,
    counted,
    entering,
    leaving,
    side_by_side,
)
from candles import differing

SIZES = st.tuples(st.integers(1, 60), st.integers(1, 60), st.integers(1, 5))


def tables(m: int, n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two tables of normal columns, flags, counts and constants."""
    random = np.random.default_rng(seed)
    kinds = [
        lambda rows: random.normal(size=rows),
        lambda rows: random.integers(0, 2, rows) / 1.0,
        lambda rows: random.integers(0, 7, rows) / 1.0,
        lambda rows: np.full(rows, 3.0),
    ]
    chosen = [kinds[i] for i in random.integers(0, len(kinds), k)]
    return tuple(np.stack([kind(rows) for kind in chosen], axis=1) for rows in (m, n))


def psi(bins: Bins, rows: np.ndarray) -> np.ndarray:
    return bins.psi(counted(bins.pieces(rows), bins.width), len(rows))


def by_hand(train: list[float], rows: list[float], bins: int) -> float:
    """Return one feature's index, value by value."""
    cuts = sorted({float(np.quantile(train, at / bins)) for at in range(1, bins)})

    def shares(values: list[float]) -> list[float]:
        found = [0] * (2 * len(cuts) + 1)
        for value in values:
            found[sum(cut < value for cut in cuts) + sum(cut <= value for cut in cuts)] += 1
        return [max(count / len(values), SMALLEST_SHARE) for count in found]

    p, q = shares(train), shares(rows)
    return math.fsum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))


@settings(max_examples=60, deadline=None)
@given(SIZES, st.sampled_from([2, 5, 10, 150]), st.integers(0, 999))
def test_the_index_is_that_of_loops(sizes, bins, seed):
    """Value by value and bin by bin, ties on cuts included, also with more bins than a byte has."""
    train, rows = tables(*sizes, seed)
    found = psi(bins_of(train, bins), rows)
    expected = [by_hand(a.tolist(), b.tolist(), bins) for a, b in zip(train.T, rows.T, strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(0, 999))
def test_a_feature_has_the_same_bits_in_any_company(sizes, seed):
    """Alone, among features with more cuts, beside another table, and asked for many streams."""
    train, rows = tables(*sizes, seed)
    bins, (m, n, k) = bins_of(train), sizes
    found = psi(bins, rows)
    alone = [psi(bins_of(train[:, [at]]), rows[:, [at]])[0] for at in range(k)]
    assert differing(found, np.array(alone)) == 0
    joined = side_by_side(bins_of(train[:, :1]), bins)
    assert differing(psi(joined, np.hstack([rows[:, :1], rows])), found[[0, *range(k)]]) == 0
    counts = np.stack(
        [counted(bins.pieces(rows[: max(1, n // part)]), bins.width) for part in (1, 2)]
    )
    many = bins.psi(counts.astype(np.uint16), np.array([n, max(1, n // 2)]))
    assert differing(many[0], found) == 0
    assert differing(many[1], psi(bins, rows[: max(1, n // 2)])) == 0
    assert m == bins.rows[0]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(1, 4), st.integers(0, 999), st.data())
def test_what_is_left_without_some_rows_is_the_rest(m, k, seed, data):
    """Taking rows out of the counts leaves the counts of the others, under the same cuts."""
    train, _ = tables(m, 1, k, seed)
    some = data.draw(st.integers(1, m - 1))
    bins = bins_of(train)
    left = bins.without(counted(bins.pieces(train[:some]), bins.width), some)
    assert left.counts.tolist() == counted(bins.pieces(train[some:]), bins.width).tolist()
    assert left.rows.tolist() == [m - some] * k
    assert left.cuts is bins.cuts


def usual(rows: int, *most: float) -> Usual:
    return Usual(rows, 16, Levels(0.0, 0.0, 0.0), Levels(*most))


def test_what_is_usual_is_that_of_the_longest_stretch_that_fits():
    """Shorter stretches move more: theirs is a bound for longer ones, and never the other way."""
    some = tuple(usual(rows, 1.0, 1.0, 1.0) for rows in (100, 250, 500))
    empty = bins_of(np.zeros((1, 1)))
    reference = Reference(empty, empty, some)
    asked = (99, 100, 249, 250, 499, 500, 9_999)
    found = [reference.usual_of(rows) for rows in asked]
    assert [one.rows if one else None for one in found] == [None, 100, 100, 250, 250, 500, 500]
    assert Reference(empty, empty).usual_of(500) is None


def test_it_takes_more_to_enter_than_to_stay():
    """Twice what 16 stretches did to be called so, half as far beyond to stay; never a trifle."""
    wild, quiet = usual(500, 0.8, 0.04, 0.4), usual(500, 0.0, 0.0, 0.0)
    assert entering(wild) == Levels(1.6, 0.08, 0.8)
    assert astuple(leaving(wild)) == pytest.approx((1.2, 0.06, 0.6))
    assert entering(quiet) == Levels(0.1, 0.01, 0.1)
    assert astuple(leaving(quiet)) == pytest.approx((0.08, 0.008, 0.08))


def test_the_fewer_stretches_were_seen_the_further_beyond_them_is_unusual():
    """The largest of a few is soon exceeded; of a hundred, seldom."""
    many = Usual(500, 100, Levels(0.0, 0.0, 0.0), Levels(0.8, 0.04, 0.4))
    few = Usual(500, 4, many.middle, many.most)
    assert entering(many).psi_median == pytest.approx(1.4 * 0.8)
    assert entering(few).psi_median == pytest.approx(3.0 * 0.8)


def test_only_what_is_known_on_both_sides_is_compared():
    """A figure that is missing is above nothing, one that equals its limit neither."""
    limits = Levels(0.5, 0.05, 0.5)
    assert above(Levels(0.5, 0.05, 0.5), limits) == ()
    assert above(Levels(0.6, 0.06, 0.6), limits) == ("psi_median", "outside_share", "psi_answers")
    assert above(Levels(None, 0.06, None), limits) == ("outside_share",)
    assert above(Levels(0.6, 0.06, 0.6), Levels(None, None, 0.5)) == ("psi_answers",)
