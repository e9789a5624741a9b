"""Which configuration to try next, by what the others brought: the only user of optuna.

A tree-structured Parzen estimator (J. Bergstra and others, "Algorithms for Hyper-Parameter
Optimization", 2011) with a fixed seed, asked by one thread: told the same, it asks for the same.
It is not stored anywhere: a search that goes on asks for all its trials anew and tells what came of
them.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from candled.lab.tune.space import SEARCHABLE, Axis, Choice, Space, TuningError, Values

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution


class Asker:
    """Asks for values, and is told the skill they had."""

    def __init__(self, study: optuna.Study, axes: dict[str, BaseDistribution]) -> None:
        self._study = study
        self._axes = axes

    def know(self, values: Values, skill: float) -> None:
        """Hear of values that were not asked for."""
        import optuna  # noqa: PLC0415 - an optional extra

        made = optuna.trial.create_trial(params=dict(values), distributions=self._axes, value=skill)
        self._study.add_trial(made)

    def ask(self) -> tuple[int, Values]:
        """Return the number to tell about and values to try."""
        trial = self._study.ask(self._axes)
        return trial.number, dict(trial.params)

    def tell(self, number: int, skill: float | None) -> None:
        """Say what the values brought; None: nothing, they failed."""
        import optuna  # noqa: PLC0415 - an optional extra

        state = optuna.trial.TrialState
        self._study.tell(number, skill, state.FAIL if skill is None else state.COMPLETE)


@contextmanager
def asking(space: Space, seed: int) -> Iterator[Asker]:
    """Give something that asks about a space; optuna logs nothing meanwhile.

    Raises TuningError: optuna is not installed, or there is nothing to search.
    """
    if not space.axes:
        raise TuningError("there is nothing to search: name feature sets, or more of the recipe")
    optuna = _optuna()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        sampler = optuna.samplers.TPESampler(seed=seed)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        yield Asker(study, {name: _distribution(optuna, name, axis) for name, axis in space})
    finally:
        optuna.logging.set_verbosity(verbosity)


def optuna_version() -> str:
    """Return the version of optuna."""
    return importlib.metadata.version("optuna")


def _optuna() -> Any:  # noqa: ANN401 - a module
    try:
        import optuna  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise TuningError(
            "tuning needs optuna: install it with  pip install 'candled[tune]'"
        ) from error
    return optuna


def _distribution(optuna: Any, name: str, axis: Axis) -> BaseDistribution:  # noqa: ANN401
    made = optuna.distributions
    if isinstance(axis, Choice):
        return made.CategoricalDistribution(axis.values)  # type: ignore[no-any-return]
    if SEARCHABLE[name] is int:
        return made.IntDistribution(int(axis.low), int(axis.high), log=axis.log)  # type: ignore[no-any-return]
    return made.FloatDistribution(axis.low, axis.high, log=axis.log)  # type: ignore[no-any-return]
