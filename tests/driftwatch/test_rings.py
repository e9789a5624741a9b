"""The rings' figures are the lab's on the same rows, however these came, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import Stream
from candled.core.track import StreamDrift
from candled.driftwatch.rings import Rings, Table
from candled.lab.drift import drift, worst
from drifting import BTC, ETH, TOY, model, rows, train_answers, train_table

MODEL = model()


def joined(parts: list[Table]) -> Table:
    return Table(
        np.concatenate([part.opened for part in parts]),
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.sides for part in parts]),
    )


def check(found: StreamDrift, table: Table) -> None:
    """Compare figures with the lab's over the rows, to the bit but for sums in another order."""
    n = len(table)
    assert found.rows == n
    if not n:
        assert found.levels.psi_median is found.outside_share is found.psi_answers is None
        assert (found.moved_share, found.worst) == (None, ())
        return
    expected = drift(train_table(), table.features)
    names = worst(expected, TOY.columns)
    by_psi = sorted(names, key=lambda one: (-one.psi, TOY.columns.index(one.name)))
    assert found.psi_median == np.median(expected.psi)
    assert found.moved_share == np.mean(expected.psi > 0.25)
    assert [(one.name, one.psi) for one in found.worst] == [(o.name, o.psi) for o in by_psi]
    assert found.psi_answers == drift(train_answers(), table.sides).psi.max()
    assert found.outside_share == pytest.approx(expected.novelty.mean(), rel=1e-12, abs=1e-15)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1, 12),
    pushes=st.lists(st.sets(st.integers(0, 3), min_size=1), max_size=40),
    shift=st.sampled_from([0.0, 2.0]),
    seed=st.integers(0, 99),
)
def test_any_batches_in_any_order_give_the_labs_figures(size, pushes, shift, seed):
    """Streams come together or alone, more and fewer rows than the ring holds."""
    streams = [Stream("x", name, "1h") for name in "abcd"]
    rings, pools = (
        Rings(MODEL, streams, size),
        [rows(40, seed + at, shift=shift) for at in range(4)],
    )
    taken = [0] * 4
    for members in pushes:
        order = sorted(members, reverse=len(members) % 2 == 0)
        table = joined([pools[at][taken[at] : taken[at] + 1] for at in order])
        assert rings.push(np.array(order), table).tolist() == order
        for at in order:
            taken[at] += 1
    found = rings.figures(np.arange(4))
    for at, one in enumerate(found):
        check(one, pools[at][max(0, taken[at] - size) : taken[at]])
        assert one.stream == streams[at]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(0, 25), st.integers(0, 12), st.integers(0, 12))
def test_filled_and_pushed_is_the_same(size, filled, before, after):
    """Filled over whatever was there, then pushed: as if every row had been pushed."""
    table = rows(filled + after, 5, shift=2.0)
    rings = Rings(MODEL, [ETH, BTC], size)
    at = np.array([1])
    for old in range(before):
        rings.push(at, rows(1, 70 + old, start=old - 100, shift=3.0))
    rings.fill(1, table[:filled])
    for row in range(filled, filled + after):
        rings.push(at, table[row : row + 1])
    check(rings.figures(at)[0], table[-size:])
    check(rings.figures(np.array([0]))[0], table[:0])
    assert rings.figures(at)[0].bar_open == (table.opened[-1] if len(table) else None)


def test_what_is_not_newer_is_not_taken():
    """A bar's row counts once: who reads the journal and listens, too, meets rows twice."""
    rings, table = Rings(MODEL, [BTC, ETH], 50), rows(20, 6)
    rings.fill(0, table)
    assert rings.push(np.array([0]), table[19:]).tolist() == []
    assert rings.push(np.array([0]), table[3:4]).tolist() == []
    both = joined([table[19:], table[19:]])
    assert rings.push(np.array([0, 1]), both).tolist() == [1]
    check(rings.figures(np.array([0]))[0], table)
    check(rings.figures(np.array([1]))[0], table[19:])


def test_many_streams_at_once_are_each_their_own():
    """More than are worked on together; each stream has rows of its own."""
    streams = [Stream("x", f"S{at}", "1h") for at in range(150)]
    rings = Rings(MODEL, streams, 3)
    pools = [rows(5, 200 + at) for at in range(150)]
    for row in range(5):
        rings.push(np.arange(150), joined([pool[row : row + 1] for pool in pools]))
    for one, pool in zip(rings.figures(np.arange(150)), pools, strict=True):
        check(one, pool[2:])


def test_memory_is_bounded_by_streams_rows_and_features():
    """A byte a value, however long it runs: 1,000 streams of 220 features are some 120 MB."""
    streams = [Stream("x", f"S{at}", "1h") for at in range(40)]
    rings = Rings(MODEL, streams, 100)
    before, columns = rings.nbytes, len(TOY.columns) + 2
    assert before <= 40 * (100 * (columns + 2) + columns * 19 * 2 + 64)
    for row in range(250):
        rings.push(np.arange(40), joined([rows(1, 7, start=row)] * 40))
    assert rings.nbytes == before
    assert (MODEL.reference and MODEL.reference.columns.width) == 19


@pytest.mark.parametrize("known", [True, False])
def test_an_older_bundle_has_its_rows_counted_and_nothing_more_said_than_it_knows(known):
    """Without a reference there is no index; rows out of range are known where the ranges are."""
    old = model(reference=None, **({} if known else {"ranges": None}))
    rings, table = Rings(old, [BTC], 30), rows(40, 9, shift=1.5)
    rings.fill(0, table[:20])
    for row in range(20, 40):
        rings.push(np.array([0]), table[row : row + 1])
    found = rings.figures(np.array([0]))[0]
    assert found.rows == 30
    assert (found.psi_median, found.moved_share, found.psi_answers) == (None, None, None)
    assert (found.worst, found.usual) == ((), None)
    outside = drift(train_table(), table[10:].features).novelty.mean()
    assert found.outside_share == (pytest.approx(outside) if known else None)
    assert outside > 0
