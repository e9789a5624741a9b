"""What a search may change about a recipe, and within which limits: frozen data.

Only what leaves the question as it is. Labels, regimes and folds are the question: skill in nats
about other labels is skill in something else, and the larger number would not be the better model.
Knows recipes; asks nothing and fits nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from candled.lab.recipe import Recipe

Value = str | bool | int | float
Values = dict[str, Value]
"""Of a recipe, by the name of what may be searched."""

FEATURE_SET: Final = "feature_set"
_UNIQUENESS: Final = "weigh_uniqueness"

#: What may be searched and of which kind it is, in the order in which it is asked for.
SEARCHABLE: Final[dict[str, type]] = {
    FEATURE_SET: str,
    "boosting.n_estimators": int,
    "boosting.max_depth": int,
    "boosting.learning_rate": float,
    "boosting.subsample": float,
    "boosting.colsample_bytree": float,
    "boosting.min_child_weight": float,
    "boosting.reg_lambda": float,
    "balance_classes": bool,
    _UNIQUENESS: bool,
}

_QUESTION: Final = ("labels", "label_rule", "regime", "folds", "first_share", "embargo")
_LUCK: Final = ("boosting.random_state",)


class TuningError(Exception):
    """A search that cannot be made or gone on with, and what to change."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values."""

    values: tuple[Value, ...]

    def as_json(self) -> list[Value]:
        """Return plain JSON values."""
        return list(self.values)


@dataclass(frozen=True, slots=True)
class Range:
    """Any number from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    """Whether factors are equally likely, not differences."""

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)


Axis = Choice | Range


@dataclass(frozen=True, slots=True)
class Space:
    """What is searched. Raises TuningError for what cannot be searched, or not like that."""

    axes: tuple[tuple[str, Axis], ...]
    """By name, in the order of `SEARCHABLE`."""

    def __post_init__(self) -> None:
        """Refuse names that are no choice, and limits that hold nothing."""
        names = [name for name, _ in self.axes]
        for name, axis in self.axes:
            _refuse_name(name)
            _refuse_axis(name, axis)
        if names != [name for name in SEARCHABLE if name in names]:
            raise TuningError("a space names each choice once, in the order of SEARCHABLE")

    def __iter__(self) -> Iterator[tuple[str, Axis]]:
        """Give name and axis, one after the other."""
        return iter(self.axes)

    def only(self, names: Collection[str]) -> Space:
        """Return the space of these choices alone; raises TuningError for one that it lacks."""
        have = [name for name, _ in self.axes]
        if absent := [name for name in names if name not in have]:
            raise TuningError(
                f"the space has no {absent[0]!r} to search; it has {', '.join(have) or 'nothing'}"
            )
        return Space(tuple((name, axis) for name, axis in self.axes if name in names))

    def values(self, recipe: Recipe) -> Values:
        """Return what a recipe has on each axis."""
        return {name: _of(recipe, name) for name, _ in self.axes}

    def holds(self, values: Values) -> bool:
        """Whether values lie within the limits of every axis."""
        return all(_within(axis, values[name]) for name, axis in self.axes)

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values, the form that `space_of` takes."""
        return {name: axis.as_json() for name, axis in self.axes}


def space_of(told: Mapping[str, Any]) -> Space:
    """Build a space from plain values, as a TOML or JSON file has them.

    A list is a choice, a table of ``low``, ``high`` and maybe ``log`` a range. What is inside
    ``boosting`` may be written with a dot or as a table. Raises TuningError.
    """
    flat = dict(_flat(told))
    for name in flat:
        _refuse_name(name)
    return Space(tuple((name, _axis(name, flat[name])) for name in SEARCHABLE if name in flat))


def default_space(sets: Sequence[str], recipe: Recipe) -> Space:
    """Return what is searched unless somebody says otherwise.

    Small trees, because there is little to learn. Feature sets where there are several; weighing by
    uniqueness where the recipe's labels allow for it. Balanced classes are left out: they make
    probabilities of something else than what happens, and so lose nats by definition.
    """
    axes: dict[str, Any] = {
        FEATURE_SET: list(sets),
        "boosting.n_estimators": {"low": 40, "high": 240, "log": True},
        "boosting.max_depth": {"low": 2, "high": 5},
        "boosting.learning_rate": {"low": 0.01, "high": 0.15, "log": True},
        "boosting.subsample": {"low": 0.3, "high": 0.9},
        "boosting.colsample_bytree": {"low": 0.1, "high": 0.8},
        "boosting.min_child_weight": {"low": 10, "high": 500, "log": True},
        "boosting.reg_lambda": {"low": 0.5, "high": 50, "log": True},
        _UNIQUENESS: [True, False],
    }
    if len(sets) == 1:
        del axes[FEATURE_SET]
    if recipe.label_rule != "first_touch":
        del axes[_UNIQUENESS]
    return space_of(axes)


def with_values(recipe: Recipe, values: Values) -> Recipe:
    """Return a recipe with other values; raises TuningError where they make no recipe."""
    own = {name: value for name, value in values.items() if "." not in name}
    inner = {name.split(".")[1]: value for name, value in values.items() if "." in name}
    boosting = dataclasses.replace(recipe.boosting, **inner)  # type: ignore[arg-type]  # as SEARCHABLE says
    return dataclasses.replace(recipe, boosting=boosting, **own)  # type: ignore[arg-type]


def _of(recipe: Recipe, name: str) -> Value:
    value: Any = recipe
    for part in name.split("."):
        value = getattr(value, part)
    return SEARCHABLE[name](value)  # type: ignore[no-any-return]


def _within(axis: Axis, value: Value) -> bool:
    if isinstance(axis, Choice):
        return value in axis.values
    return axis.low <= float(value) <= axis.high


def _flat(told: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in told.items():
        if name in ("boosting", "labels") and isinstance(value, Mapping) and not prefix:
            yield from _flat(value, f"{name}.")
        else:
            yield prefix + name, value


def _axis(name: str, told: object) -> Axis:
    kind = SEARCHABLE[name]
    if isinstance(told, list | tuple):
        return Choice(tuple(_value(name, one, kind) for one in told))
    if not isinstance(told, Mapping) or not {"low", "high"} <= set(told) <= {"low", "high", "log"}:
        raise TuningError(
            f"{name} is {told!r}; give a list of values, or {{ low = ..., high = ..., log = true }}"
        )
    if kind not in (int, float):
        raise TuningError(f"{name} has no order to search between; give a list of values")
    low, high = (_value(name, told[end], kind) for end in ("low", "high"))
    return Range(low, high, told.get("log", False) is True)  # type: ignore[arg-type]  # numbers


def _value(name: str, told: object, kind: type) -> Value:
    if kind is float and isinstance(told, int) and not isinstance(told, bool):
        return float(told)
    if type(told) is not kind:
        raise TuningError(f"{name} takes {kind.__name__} values; {told!r} is none")
    return told  # type: ignore[return-value]  # of the kind that was asked for


def _refuse_name(name: str) -> None:
    if name in SEARCHABLE:
        return
    if name.split(".", maxsplit=1)[0] in _QUESTION:
        raise TuningError(
            f"{name} is part of the question, not of the answer: skill about other labels cannot "
            "be compared with skill about these; tune once for each, and compare the reports"
        )
    if name in _LUCK:
        raise TuningError(f"{name}: to pick a seed for its result is to pick luck; leave it out")
    raise TuningError(f"{name!r} cannot be searched; known are {', '.join(SEARCHABLE)}")


def _refuse_axis(name: str, axis: Axis) -> None:
    if isinstance(axis, Choice):
        if not axis.values or len(set(axis.values)) < len(axis.values):
            raise TuningError(f"{name} needs a list of different values; it is {axis.as_json()}")
        return
    if not -math.inf < axis.low < axis.high < math.inf:
        raise TuningError(f"{name} needs low < high; it has {axis.low:g} and {axis.high:g}")
    if axis.log and axis.low <= 0:
        raise TuningError(f"{name} has log = true and needs low above 0; it is {axis.low:g}")
