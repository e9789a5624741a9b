"""Golden vectors find a difference of one bit, at the stage where it arises."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from candled.core.bar import Bars, Interval
from candled.core.features.mar import MAR
from candled.core.features.windows import WindowFeatures, WindowState
from candled.core.golden import differing_stage, golden_vectors
from models import model


def test_a_model_meets_its_own_vectors():
    """The same model on the same machine computes the same bits, every time."""
    golden = golden_vectors(model())
    assert golden_vectors(model()) == golden
    assert differing_stage(model(), golden) is None


def test_the_vectors_are_worth_something():
    """They hold complete rows at the price level of the training, and they differ."""
    golden = golden_vectors(model())
    features = np.array([[float.fromhex(x) for x in row] for row in golden.features])
    probabilities = np.array([[float.fromhex(x) for x in row] for row in golden.probabilities])
    assert features.shape == (8, 220)
    assert np.isfinite(features).all()
    assert np.allclose(features[:, 0], model().mean[0], rtol=0.2)
    assert np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)
    assert len({tuple(row) for row in features.tolist()}) == 8


def test_another_model_is_told_from_its_probabilities():
    """The vectors of one model are not those of another with the same scaler."""
    other = dataclasses.replace(model(2), mean=model().mean, scale=model().scale)
    assert differing_stage(other, golden_vectors(model())) == "probabilities"


def test_a_swapped_scaler_is_told_from_the_scaled_rows():
    """Two columns of the scaler exchanged do not pass."""
    mean = model().mean.copy()
    mean[[0, 40]] = mean[[40, 0]]
    other = dataclasses.replace(model(), mean=mean)
    assert differing_stage(other, golden_vectors(model())) == "scaled features"


class _Bent(WindowFeatures):
    """A kernel whose table, or whose live rows, are off by one bit in one column."""

    def __init__(self, *, table: bool) -> None:
        super().__init__(MAR.name, MAR.columns, MAR.window, MAR.kernel, ema=MAR.ema)
        self._bend_table = table

    def table(self, bars: Bars, interval: Interval) -> np.ndarray:
        rows = super().table(bars, interval)
        return _bend(rows) if self._bend_table else rows

    def state(self, capacity: int, interval: Interval) -> WindowState:
        state = super().state(capacity, interval)
        if not self._bend_table:
            state.push = lambda rows, bars: _bend(WindowState.push(state, rows, bars))  # type: ignore[method-assign]
        return state


def _bend(rows: np.ndarray) -> np.ndarray:
    rows[:, 100] = np.nextafter(rows[:, 100], np.inf)
    return rows


@pytest.mark.parametrize(("table", "stage"), [(True, "features"), (False, "live features")])
def test_table_and_live_rows_are_both_held_to_the_bit(*, table: bool, stage: str):
    """One bit in one feature is found, whether the table or the live path computes it."""
    bent = dataclasses.replace(model(), features=_Bent(table=table))
    assert differing_stage(bent, golden_vectors(model())) == stage


def test_vectors_without_sense_are_an_error():
    """More rows than bars, or none, is an error and not a difference."""
    golden = golden_vectors(model())
    for features in ([], golden.features * 7):
        with pytest.raises(ValueError, match="rows for 48 bars"):
            differing_stage(model(), dataclasses.replace(golden, features=features))
    bars = {name: column for name, column in golden.bars.items() if name != "close"}
    with pytest.raises(KeyError, match="close"):
        differing_stage(model(), dataclasses.replace(golden, bars=bars))
