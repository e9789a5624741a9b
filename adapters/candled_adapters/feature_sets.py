"""Finds feature sets by name: the built-in ones, then those that installed packages bring.

A package brings a set with an entry point in the group ``candled.features``, whose name is the
set's name and whose value is a `FeatureSet` or a function without arguments that returns one ::

    [project.entry-points."candled.features"]
    wicks = "candled_wicks:WICKS"

Built-in names belong to the built-in sets. Whatever is wrong with a set is told with the
distribution and the entry point it came from.
https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

import numpy as np

from candled.core.bar import HOUR, Bar, Bars, Interval
from candled.core.features import FeatureSet, built_in_sets

GROUP: Final = "candled.features"

_HOURLY: Final = Interval("1h")
_START: Final = 1_640_995_200_000
_MEMBERS: Final = ("name", "columns", "window", "history", "blocks", "table", "state")


class FeatureSetError(ValueError):
    """A feature set that is not known or cannot be used; the text names where it came from."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The package that a set came from."""

    distribution: str
    version: str

    def __str__(self) -> str:
        """Return name and version."""
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True, slots=True)
class Found:
    """A feature set that is fit for use."""

    features: FeatureSet
    origin: Origin | None
    """None for a built-in set."""


def find_feature_set(name: str) -> Found:
    """Return the set called `name`; raises FeatureSetError.

    A built-in set is found without a look at what is installed.
    """
    built_in = built_in_sets()
    if name in built_in:
        return Found(built_in[name], None)
    points = list(entry_points(group=GROUP))
    _refuse_shadows(points, built_in)
    wanted = [point for point in points if point.name == name]
    if not wanted:
        known = ", ".join([*built_in, *sorted({point.name for point in points})])
        raise FeatureSetError(
            f"unknown feature set {name!r}; known are {known}; a package of yours can bring more "
            f"by an entry point in the group {GROUP!r}"
        )
    if len({str(_origin(point)) for point in wanted}) > 1:
        sources = " and ".join(sorted(_where(point) for point in wanted))
        raise FeatureSetError(f"two feature sets are called {name!r}: {sources}; uninstall one")
    return Found(_loaded(wanted[0]), _origin(wanted[0]))


def _refuse_shadows(points: list[EntryPoint], built_in: dict[str, FeatureSet]) -> None:
    for point in points:
        if point.name in built_in:
            raise FeatureSetError(
                f"{_where(point)} takes the name of a built-in feature set; give it another name "
                "or uninstall it"
            )


def _loaded(point: EntryPoint) -> FeatureSet:
    try:
        value = point.load()
        features: FeatureSet = value() if _is_factory(value) else value
        problem = _problem(features, point.name)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise FeatureSetError(f"{_where(point)} cannot be loaded: {what}; mend it") from error
    if problem:
        raise FeatureSetError(f"{_where(point)} {problem}; mend it")
    return features


def _is_factory(value: Any) -> bool:  # noqa: ANN401 - whatever a package offers
    return callable(value) and (isinstance(value, type) or not hasattr(value, "columns"))


def _problem(features: Any, name: str) -> str | None:  # noqa: ANN401 - judged here
    """Say what keeps an object from being the feature set called `name`, if anything."""
    lacking = [member for member in _MEMBERS if not hasattr(features, member)]
    if lacking:
        return f"is no feature set: it has no {', '.join(lacking)}"
    if features.name != name:
        return f"calls itself {features.name!r}"
    return _columns_problem(features.columns) or _sizes_problem(features) or _rows_problem(features)


def _columns_problem(columns: Any) -> str | None:  # noqa: ANN401 - judged here
    if not isinstance(columns, tuple) or not columns:
        return "must have a tuple of one or more column names"
    wrong = [name for name in columns if not isinstance(name, str) or not name]
    if wrong:
        return f"has a column name that is no text: {wrong[0]!r}"
    doubled = [name for at, name in enumerate(columns) if name in columns[:at]]
    return f"has the column {doubled[0]!r} twice" if doubled else None


def _sizes_problem(features: Any) -> str | None:  # noqa: ANN401 - judged here
    window, history = features.window, features.history
    if not isinstance(window, int) or not isinstance(history, int) or not 1 <= window <= history:
        return f"must have whole numbers with 1 <= window <= history, not {window!r}, {history!r}"
    return None


def _rows_problem(features: FeatureSet) -> str | None:
    """Ask for a few rows in each way, and look at their shape and type."""
    bars, k = _some_bars(features.window + 1), len(features.columns)
    state = features.state(2, _HOURLY)
    state.warm(1, bars[:-1])
    made = {
        "table": (features.table(bars, _HOURLY), (len(bars), k)),
        "first block": (next(features.blocks(bars, _HOURLY, 1)), (1, k)),
        "live row": (state.push(np.array([1]), bars[-1:]), (1, k)),
    }
    for what, (rows, shape) in made.items():
        if not isinstance(rows, np.ndarray) or rows.dtype != np.float64:
            found = getattr(rows, "dtype", type(rows).__name__)
            return f"gives a {what} of {found}, it must be float64"
        if rows.shape != shape:
            return f"gives a {what} of shape {rows.shape} where {shape} is due"
    return None


def _some_bars(count: int) -> Bars:
    closes = (100.0 + np.arange(count) % 7).tolist()
    return Bars.of([_bar(at, close) for at, close in enumerate(closes)])


def _bar(at: int, close: float) -> Bar:
    start = _START + at * HOUR
    return Bar(
        start, 100.0, 107.0, 99.0, close, 5.0, start + HOUR - 1, 5.0 * close, 9.0, 2.0, 2.0 * close
    )


def _origin(point: EntryPoint) -> Origin:
    if point.dist is None:
        return Origin("an unnamed distribution", "unknown")
    return Origin(point.dist.name, point.dist.version)


def _where(point: EntryPoint) -> str:
    return f"feature set {point.name!r} ({point.value}, of {_origin(point)})"
