"""Golden vectors: a short run of bars, and what a model must make of them, to the bit.

They are computed where a model is made and computed again where it is loaded. A machine, a library
or a damaged file that changes one bit of one feature or probability is found before it can decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import COLUMNS, HOUR, TIME_COLUMNS, Bar, Bars, Interval
from candled.core.model import Model

_ROWS: Final = 8
_INTERVAL: Final = Interval("1h")  # of the seeded bars, whatever the model's own
_START: Final = 1_640_995_200_000  # on every fixed grid but the weekly one; nothing depends on it


@dataclass(frozen=True, slots=True)
class Golden:
    """The vectors, all floats as C99 hex, which is exact."""

    bars: dict[str, list[str]]
    """Columns of n bars, by name."""
    features: list[list[str]]
    """The last rows of the feature table, [rows][k]."""
    scaled: list[list[str]]
    """[rows][k]"""
    probabilities: list[list[str]]
    """[rows][3]"""


def golden_vectors(model: Model) -> Golden:
    """Compute the vectors of a model on seeded bars at the price level it was trained at."""
    bars = _seeded_bars(model)
    features = model.features.table(bars, _INTERVAL)[-_ROWS:]
    return Golden(
        bars={name: _hex(getattr(bars, name)) for name in COLUMNS},
        features=_hex_rows(features),
        scaled=_hex_rows(model.scaled(features)),
        probabilities=_hex_rows(model.probabilities(features)),
    )


def differing_stage(model: Model, golden: Golden) -> str | None:
    """Compute the vectors again, as a table and bar by bar; name the first stage that differs.

    Raises ValueError or KeyError when the vectors themselves make no sense.
    """
    bars = _stored_bars(golden)
    rows = len(golden.features)
    if not rows or rows > len(bars):
        raise ValueError(f"{rows} rows for {len(bars)} bars")
    features = model.features.table(bars, _INTERVAL)[-rows:]
    windows, first = model.features.state(1, _INTERVAL), np.zeros(1, dtype=np.intp)
    live = np.concatenate([windows.push(first, bars[i : i + 1]) for i in range(len(bars))])[-rows:]
    stages = (
        ("features", golden.features, features),
        ("live features", golden.features, live),
        ("scaled features", golden.scaled, model.scaled(features)),
        ("probabilities", golden.probabilities, model.probabilities(features)),
    )
    return next((name for name, want, got in stages if _hex_rows(got) != want), None)


def _seeded_bars(model: Model) -> Bars:
    columns = model.features.columns
    level = abs(model.mean[columns.index("ma5_sma")]) if "ma5_sma" in columns else 100.0
    count = model.features.window + _ROWS - 1
    rng = np.random.default_rng(220)
    path = np.cumprod(1.0 + rng.normal(0.0, 0.005, count + 1)) * max(level, 1e-6)
    drawn = {
        "first": path[:-1],
        "last": path[1:],
        "volume": rng.uniform(1.0, 9.0, count),
        "trades": rng.integers(50, 500, count),
        "taken": rng.uniform(0.2, 0.8, count),
    }
    rows = zip(*(values.tolist() for values in drawn.values()), strict=True)
    return Bars.of([_bar(at, **dict(zip(drawn, row, strict=True))) for at, row in enumerate(rows)])


def _bar(
    index: int, *, first: float, last: float, volume: float, trades: float, taken: float
) -> Bar:
    start = _START + index * HOUR
    return Bar(
        open_time=start,
        open=first,
        high=max(first, last) * 1.002,
        low=min(first, last) * 0.998,
        close=last,
        volume=volume,
        close_time=start + HOUR - 1,
        quote_volume=volume * last,
        trades=trades,
        taker_buy_base=volume * taken,
        taker_buy_quote=volume * taken * last,
    )


def _stored_bars(golden: Golden) -> Bars:
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        values = [float.fromhex(value) for value in golden.bars[name]]
        columns[name] = np.array(values, dtype=np.int64 if name in TIME_COLUMNS else np.float64)
    if len({len(column) for column in columns.values()}) != 1:
        raise ValueError("bars have columns of different lengths")
    return Bars(**columns)


def _hex(values: NDArray[Any]) -> list[str]:
    return [float(value).hex() for value in values.tolist()]


def _hex_rows(rows: NDArray[Any]) -> list[list[str]]:
    return [_hex(row) for row in rows]
