"""A search, from the default to a verdict.

Trial 0 is the default. The others are asked for one after the other; the folds of each are fitted
side by side. What a trial is given ends before the holdout, which the chosen recipe and the default
are asked about once, at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from candled.core.features import FeatureSet
from candled.lab.dataset import Material, TrainingError
from candled.lab.recipe import Recipe
from candled.lab.trained import data_digest, versions
from candled.lab.tune.asking import Asker, asking, optuna_version
from candled.lab.tune.ground import Ground, Grounds, grounds
from candled.lab.tune.journal import Journal, Look, Search, State, Trial, open_journal
from candled.lab.tune.outcome import Tuning, best, tuning_of
from candled.lab.tune.space import FEATURE_SET, Choice, Space, TuningError, Values, with_values
from candled.lab.walkforward import Progress, silent

Clock = Callable[[], float]
"""Gives seconds from anywhere."""

HOLDOUT: Final = 0.2


def tune(
    of: Material,
    symbol: str,
    features: Sequence[FeatureSet],
    base: Recipe,
    space: Space,
    *,
    trials: int,
    seed: int,
    journal: Path,
    holdout: float = HOLDOUT,
    timeout: float | None = None,
    progress: Progress = silent,
    clock: Clock = time.monotonic,
) -> Tuning:
    """Search a space for the recipe with the most out-of-sample skill, and judge the search.

    The objective of a trial is its mean skill (nats a row, against class shares) over a purged
    walk-forward of the rows before the holdout, each fold calibrated by the folds before it. Equal
    bars, recipe, space, seed and optuna give equal trials, also when a search was interrupted: the
    same call goes on where the journal ends.

    Args:
        of: all bars, labelled as `base` says.
        symbol: as the venue spells it.
        features: sets that may be used; that of `base` must be one of them.
        base: the default, trial 0; what is not searched is as in it.
        space: what is searched.
        trials: how many, the default and those that are in the journal included.
        seed: of the search.
        journal: file to write to, or to go on with.
        holdout: share of the rows, the newest, that no trial sees.
        timeout: seconds after which no further trial begins.
        progress: is told how far it is.
        clock: measures the trials and the timeout.

    Raises:
        TuningError: optuna is absent, the journal is of another search, or the space and the sets
            do not fit together.
        TrainingError: too few rows, or a default that cannot be trained.
        OSError: the journal cannot be written.
    """
    _refuse_bad_options(features, base, space, trials, holdout)
    with asking(space, seed) as asker:
        halves = grounds(of, features, base, holdout)
        search = Search(
            symbol=symbol,
            interval=of.interval.name,
            data_sha256=data_digest(of.bars),
            rows_sha256=halves.seen.digest(),
            base=base,
            sets=tuple(one.name for one in features),
            space=space,
            seed=seed,
            holdout=holdout,
            period_bars=halves.seen.block,
        )
        with open_journal(journal, search) as log:
            runner = _Runner(log, halves.seen, asker, clock, progress)
            runner.run(trials, None if timeout is None else clock() + timeout)
            look = _looked(log, halves, progress)
            return tuning_of(search, log.trials, look, len(log.looks))


@dataclass(frozen=True, slots=True)
class _Runner:
    """Runs what the journal does not have yet, and hears what it has."""

    log: Journal
    ground: Ground
    asker: Asker
    clock: Clock
    progress: Progress

    def run(self, trials: int, until: float | None) -> None:
        """Run until there are so many trials, or the clock says `until`; one there always is."""
        logged = len(self.log.trials)
        self._default()
        for number in range(1, trials):
            if number >= logged and until is not None and self.clock() >= until:
                return
            self.progress("trials", number, trials)
            asked, values = self.asker.ask()
            if number < logged:
                self._refuse_other_values(number, values)
            else:
                self.log.add(self._tried(number, values))
            self.asker.tell(asked, self.log.trials[number].estimate)
        self.progress("trials", trials, trials)

    def _default(self) -> None:
        search = self.log.search
        values = search.space.values(search.base)
        if not self.log.trials:
            self.log.add(self._tried(0, values))
        default = self.log.trials[0]
        if default.estimate is None:
            raise TrainingError(f"the default cannot be trained: {default.reason}")
        if search.space.holds(values):
            self.asker.know(values, default.estimate)

    def _tried(self, number: int, values: Values) -> Trial:
        started = self.clock()
        recipe = replace(with_values(self.log.search.base, values), tried=None)
        same = next((one for one in self.log.trials if one.recipe == recipe), None)
        made = self._scored(number, recipe, values) if same is None else _repeated(number, same)
        return replace(made, seconds=self.clock() - started)

    def _scored(self, number: int, recipe: Recipe, values: Values) -> Trial:
        try:
            gained = self.ground.gained(recipe, self.progress)
            skill = self.ground.mean(gained)
        except (TrainingError, ValueError) as error:
            return self._trial(number, "failed", recipe, values, reason=str(error))
        return replace(
            self._trial(number, "complete", recipe, values),
            skill=skill,
            folds=self.ground.by_fold(gained),
            periods=self.ground.by_period(gained),
        )

    def _trial(
        self, number: int, state: State, recipe: Recipe, values: Values, reason: str | None = None
    ) -> Trial:
        return Trial(
            number=number,
            state=state,
            recipe=recipe,
            values=values,
            folds=(),
            skill=None,
            periods=(),
            repeats=None,
            reason=reason,
            seconds=0.0,
            data_sha256=self.log.search.data_sha256,
            versions={**versions(), "optuna": optuna_version()},
        )

    def _refuse_other_values(self, number: int, values: Values) -> None:
        logged = self.log.trials[number]
        if logged.values != values:
            raise TuningError(
                f"{self.log.path}: trial {number} is not the one that optuna {optuna_version()} "
                f"asks for here (it was made with optuna {logged.versions.get('optuna')}); go on "
                "with that version, or name another folder"
            )


def _repeated(number: int, same: Trial) -> Trial:
    """Return a trial that is another one again: nothing is fitted twice, or counted twice."""
    first = same.number if same.repeats is None else same.repeats
    return replace(same, number=number, state="repeated", repeats=first, folds=(), periods=())


def _looked(log: Journal, halves: Grounds, progress: Progress) -> Look:
    """Ask the chosen recipe and the default about the holdout, unless that has been done."""
    chosen = best(log.trials)
    known = next((look for look in log.looks if look.chosen == chosen.number), None)
    if known is not None:
        return known
    whole, held = halves.whole, halves.is_holdout
    default = whole.gained(log.trials[0].recipe, progress)[held]
    tuned = whole.gained(chosen.recipe, progress)[held] if chosen.number else default
    first, last = halves.span
    log.add(
        Look(
            trials=len(log.trials),
            chosen=chosen.number,
            first_open_time=first,
            last_open_time=last,
            tuned=whole.mean(tuned),
            default=whole.mean(default),
            difference=whole.mean(tuned - default),
        )
    )
    return log.looks[-1]


def _refuse_bad_options(
    features: Sequence[FeatureSet], base: Recipe, space: Space, trials: int, holdout: float
) -> None:
    names = [one.name for one in features]
    if trials < 1:
        raise TuningError(f"trials must be 1 or more; it is {trials}")
    if not 0 < holdout < 1:
        raise TuningError(f"the holdout is a share between 0 and 1; it is {holdout:g}")
    if len(set(names)) < len(names):
        raise TuningError(f"a feature set is named twice ({', '.join(names)}); name each once")
    axis = dict(space).get(FEATURE_SET)
    wanted = {base.feature_set, *(axis.values if isinstance(axis, Choice) else ())}
    if absent := sorted(map(str, wanted - set(names))):
        raise TuningError(
            f"the search needs the feature set {absent[0]!r}, and has {', '.join(names)}: name it "
            "too, or choose a default and a space without it"
        )
