"""What a bundle says of training: the lab's figures, and limits that stationary rows keep."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from candled.core.drift import Levels, above, bins_of, counted, entering
from candled.lab.drift import drift
from candled.lab.reference import FEWEST, LENGTHS, reference
from candled.lab.splits import Fold

RANDOM = np.random.default_rng(8)


def chained(rows: int, columns: int, memory: float, random: np.random.Generator) -> np.ndarray:
    """Return columns [rows, columns], variance 1, whose neighbours resemble each other."""
    steps = random.normal(size=(rows, columns)) * np.sqrt(1 - memory**2)
    steps[0] = random.normal(size=columns)
    for row in range(1, rows):
        steps[row] += memory * steps[row - 1]
    return steps


def answers_of(table: np.ndarray) -> np.ndarray:
    """Return probabilities [n, 3] that follow the first two columns."""
    odds = np.exp(np.stack([np.zeros(len(table)), table[:, 0], table[:, 1]], axis=1))
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def folds_of(rows: int, parts: int = 5) -> list[Fold]:
    edges = np.linspace(rows // 2, rows, parts + 1).astype(int)
    return [Fold(np.arange(start), np.arange(start, stop)) for start, stop in pairwise(edges)]


def test_stretches_are_compared_as_the_lab_compares_tables():
    """The largest and the median of each figure are those of `lab.drift`, stretch by stretch."""
    table = chained(1_200, 4, 0.9, RANDOM)
    folds, answers = folds_of(1_200, 3), answers_of(table)[600:]
    found = reference(table, np.arange(1_200), folds, answers)
    assert [one.rows for one in found.usual] == [100]  # of 250 rows there are but 3
    expected = []
    for fold in folds:
        for start in range(0, len(fold.test) - 99, 50):
            rows = fold.test[start : start + 100]
            inside = drift(table[fold.train], table[rows])
            at = rows - 600
            others = np.delete(answers, at, axis=0)[:, 1:].astype(np.float64)
            bins = bins_of(answers[:, 1:].astype(np.float64))
            left = counted(bins.pieces(others), bins.width)
            mine = counted(bins.pieces(answers[at, 1:].astype(np.float64)), bins.width)
            p, q = np.maximum(left / len(others), 1e-4), np.maximum(mine / 100, 1e-4)
            sides = np.sum((q - p) * np.log(q / p), axis=1)
            expected.append((np.median(inside.psi), inside.novelty.mean(), sides.max()))
    one = found.usual[0]
    assert one.stretches == len(expected) == 9
    most, middle = np.max(expected, axis=0), np.median(expected, axis=0)
    assert (one.most.psi_median, one.most.outside_share) == tuple(most[:2])
    assert (one.middle.psi_median, one.middle.outside_share) == tuple(middle[:2])
    assert one.most.psi_answers == pytest.approx(most[2])
    assert one.middle.psi_answers == pytest.approx(middle[2])


def test_training_is_counted_over_the_rows_that_were_fitted():
    """The bins are those of the train rows, and of what was answered out of sample."""
    table = chained(900, 3, 0.5, RANDOM)
    folds, answers = folds_of(900), answers_of(table)[450:]
    found = reference(table, np.arange(700), folds, answers)
    for bins, rows in (
        (found.features, table[:700]),
        (found.answers, answers[:, 1:].astype(np.float64)),
    ):
        assert bins.counts.tolist() == bins_of(rows).counts.tolist()
        assert bins.cuts.tolist() == bins_of(rows).cuts.tolist()


def test_of_a_short_history_nothing_is_called_usual():
    """Fewer than eight stretches of a length say nothing about it."""
    table = chained(800, 3, 0.5, RANDOM)
    for rows, known in ((400, 0), (800, 0), (799, 0)):
        found = reference(
            table[:rows], np.arange(rows), folds_of(rows), answers_of(table)[rows // 2 : rows]
        )
        assert len(found.usual) == known
    whole = reference(table, np.arange(400), folds_of(800, 1), answers_of(table)[400:])
    assert (len(whole.usual), FEWEST, LENGTHS[0]) == (0, 8, 100)  # 7 stretches of 100 in 400 rows


@pytest.mark.parametrize("memory", [0.0, 0.97])
def test_rows_like_those_of_training_seldom_exceed_what_was_usual(memory):
    """As many rows of the same process, however long it remembers, stay below the levels.

    By custom's 0.25 those of the long memory would have "moved" every third time.
    """
    random = np.random.default_rng(21)
    table = chained(8_000, 12, memory, random)
    found = reference(table, np.arange(8_000), folds_of(8_000), answers_of(table)[4_000:])
    usual = found.usual_of(500)
    assert usual is not None
    low, high = table.min(axis=0), table.max(axis=0)
    flagged = custom = 0
    for _ in range(60):
        rows = chained(500, 12, memory, random)
        psi = found.features.psi(counted(found.features.pieces(rows), found.features.width), 500)
        sides = answers_of(rows)[:, 1:].astype(np.float64)
        asked = counted(found.answers.pieces(sides), found.answers.width)
        levels = Levels(
            float(np.median(psi)),
            float(((rows < low) | (rows > high)).mean()),
            float(found.answers.psi(asked, 500).max()),
        )
        flagged += bool(above(levels, entering(usual)))
        custom += levels.psi_median is not None and levels.psi_median > 0.25
    assert flagged <= 1
    assert custom > 15 if memory else custom == 0
