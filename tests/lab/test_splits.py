"""Splits: nothing that a model learned from may look at what it is judged by."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from candled.lab.splits import combinatorial, notebook_split, shuffled_split, walk_forward


@st.composite
def _labelled(draw, fewest=30):
    """Rows with gaps between them, some sharing a bar, and labels of unequal length."""
    steps = draw(st.lists(st.sampled_from([0, 1, 1, 1, 2, 9]), min_size=fewest, max_size=120))
    begin = np.cumsum(steps)
    spans = draw(st.lists(st.integers(0, 12), min_size=len(steps), max_size=len(steps)))
    return begin, begin + np.array(spans)


def _made(split, *args, **kwargs):
    """Return the split; examples that leave a fold without train rows are not of interest."""
    try:
        return split(*args, **kwargs)
    except ValueError as error:
        assume("no train row" not in str(error))
        raise


def _steady(m, lookahead=5):
    return np.arange(m), np.arange(m) + lookahead


@settings(max_examples=150, deadline=None)
@given(_labelled(), st.integers(1, 6), st.integers(0, 6), st.sampled_from([None, 20, 60]))
def test_walk_forward_keeps_every_train_label_clear_of_its_test(rows, folds, embargo, window):
    """Train labels end more than `embargo` bars before the test begins; no usable row is wasted."""
    begin, end = rows
    for fold in _made(walk_forward, begin, end, folds=folds, embargo=embargo, window=window):
        start = begin[fold.test].min()
        expected = [
            row
            for row in range(fold.test[0])
            if end[row] + embargo < start and (window is None or start - begin[row] <= window)
        ]
        assert fold.train.tolist() == expected


@settings(max_examples=100, deadline=None)
@given(_labelled(), st.integers(1, 6), st.floats(0.3, 0.8))
def test_walk_forward_tests_each_later_row_once(rows, folds, first):
    """The test blocks are consecutive, nearly equal, and all rows after the first share."""
    begin, end = rows
    made = _made(walk_forward, begin, end, folds=folds, first=first)
    tested = np.concatenate([fold.test for fold in made])
    assert tested.tolist() == list(range(int(first * len(begin)), len(begin)))
    sizes = [len(fold.test) for fold in made]
    assert len(sizes) == folds
    assert max(sizes) - min(sizes) <= 1


def test_the_last_usable_train_row_is_used_and_the_next_is_not():
    """With a lookahead of 5 and an embargo of 3, the test from bar 60 leaves bars up to 51."""
    begin, end = _steady(100)
    (fold,) = walk_forward(begin, end, folds=1, first=0.6, embargo=3)
    assert fold.test[0] == 60
    assert fold.train.tolist() == list(range(52))  # 51 + 5 + 3 = 59
    (sliding,) = walk_forward(begin, end, folds=1, first=0.6, embargo=3, window=20)
    assert sliding.train.tolist() == list(range(40, 52))


@settings(max_examples=150, deadline=None)
@given(_labelled(), st.integers(3, 6), st.integers(1, 2), st.integers(0, 6))
def test_combinatorial_train_labels_touch_no_test_label(rows, groups, tests, embargo):
    """No train row shares a bar with a test row, nor begins within the embargo after one."""
    begin, end = rows
    made = _made(combinatorial, begin, end, groups=groups, tests=tests, embargo=embargo)
    assert len(made.folds) == math.comb(groups, tests)
    for fold in made.folds:
        assert not set(fold.train) & set(fold.test)
        b, e = begin[fold.train][:, None], end[fold.train][:, None]
        touches = (b <= end[fold.test] + embargo) & (e >= begin[fold.test])
        assert not touches.any()


def test_combinatorial_purges_no_more_than_it_must():
    """Around the middle one of three groups: 5 rows before, and embargo and label after it."""
    begin, end = _steady(90)
    made = combinatorial(begin, end, groups=3, tests=1, embargo=4)
    middle = made.folds[made.chosen.index((1,))]
    assert middle.test.tolist() == list(range(30, 60))
    assert middle.train.tolist() == [*range(25), *range(69, 90)]  # 24+5 < 30; 59+5+4 < 69


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.data())
def test_paths_use_every_answer_once(groups, data):
    """Each path holds an answer for every row in order; all of them differ in who answered."""
    tests = data.draw(st.integers(1, groups - 1))
    made = combinatorial(*_steady(groups * 20 + 3, 1), groups=groups, tests=tests)
    answers = [
        np.column_stack([fold.test, np.full(len(fold.test), number)])
        for number, fold in enumerate(made.folds)
    ]
    paths = made.paths(answers)
    assert len(paths) == math.comb(groups - 1, tests - 1)
    assert all(path[:, 0].tolist() == list(range(groups * 20 + 3)) for path in paths)
    used = {tuple(cell) for path in paths for cell in path.tolist()}
    assert used == {tuple(cell) for one in answers for cell in one.tolist()}
    with pytest.raises(ValueError, match="one answer for each test row"):
        made.paths(answers[:-1])


def test_the_notebooks_split_is_by_row_and_purges_nothing():
    """int(0.8 n) rows train and the rest test, as the notebook has it."""
    fold = notebook_split(99)
    assert (fold.train.tolist(), fold.test.tolist()) == (list(range(79)), list(range(79, 99)))


def test_a_shuffled_split_is_seeded_and_leaks():
    """The same seed gives the same rows; most test rows have a neighbour among the train rows."""
    fold, again = shuffled_split(1_000, 3), shuffled_split(1_000, 3)
    assert fold.test.tolist() == again.test.tolist() != shuffled_split(1_000, 4).test.tolist()
    assert sorted([*fold.train, *fold.test]) == list(range(1_000))
    assert len(fold.test) == 200
    assert np.isin(fold.test + 1, fold.train).mean() > 0.7


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"begin": np.array([0, 2, 1]), "end": np.array([3, 3, 3])}, "row 2 begins before"),
        ({"begin": np.arange(3), "end": np.array([0, 0, 2])}, "row 1 has a label that ends"),
        ({"end": np.arange(99)}, "one of each"),
        ({"embargo": -1}, "embargo must be 0"),
        ({"folds": 0}, "cannot be cut into 0"),
        ({"folds": 61}, "60 rows cannot be cut into 61"),
        ({"first": 0.0}, "first must be a share"),
        ({"window": 0}, "window must be 1"),
        ({"embargo": 40}, "no train row is left for the test rows 40 to"),
    ],
)
def test_what_cannot_be_split_is_refused(change, says):
    """Bad numbers, too few rows and folds without train rows are errors that say what to change."""
    begin, end = _steady(100)
    with pytest.raises(ValueError, match=says):
        walk_forward(**{"begin": begin, "end": end, **change})


def test_all_groups_cannot_be_tested_at_once():
    """Somebody has to train."""
    with pytest.raises(ValueError, match="tests must be between"):
        combinatorial(*_steady(100), groups=3, tests=3)
