"""What a search came to: figures about the choice itself, and a verdict in words.

The rules of the verdict. An interval that is not known counts as one that includes 0.

1. *Found* something: another recipe than the default was chosen, and on the holdout, which no trial
   saw, the interval of its skill less the default's is above 0, and so is that of its own skill.
2. Otherwise it found *nothing*: a recipe that only loses less than the default is no find.
3. A holdout that was looked at more than once is no holdout any more: the reader is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from candled.lab.facts import Statement
from candled.lab.overfit import PARTS, backtest_overfitting, deflated_sharpe, sharpe
from candled.lab.recipe import Recipe, Tried
from candled.lab.tune.journal import Look, Search, Trial, read_journal
from candled.lab.tune.space import TuningError
from candled.lab.verdict import LIKELY, OVERFITTED, is_above
from candled.lab.words import count, day, number, share, signed_interval

_FEWEST_PARTS: Final = 4
"""Below this there are too few choices of halves to call their share a probability."""
_FEWEST_PERIODS: Final = 2
"""In a part."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """A search and what it came to."""

    search: Search
    trials: tuple[Trial, ...]
    chosen: Trial
    """With the largest skill; the earliest of equals."""
    tried: Tried
    look: Look
    """At the holdout, by this choice."""
    looks: int
    """How often the holdout has been looked at."""
    found: bool
    """Whether the search found something, by the rules of this module."""
    headline: Statement
    statements: tuple[Statement, ...]

    @property
    def recipe(self) -> Recipe:
        """The chosen recipe, which knows how many it was chosen from."""
        return replace(self.chosen.recipe, tried=self.tried)

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values, the verdict first; the journal has the trials' periods."""
        told = [trial.as_json() for trial in self.trials]
        for one in told:
            del one["periods"]
        return {
            "found": self.found,
            "headline": asdict(self.headline),
            "statements": [asdict(one) for one in self.statements],
            "tried": asdict(self.tried),
            "chosen": self.chosen.number,
            "recipe": self.recipe.as_json(),
            "holdout": {**asdict(self.look), "looks": self.looks},
            "search": self.search.as_json(),
            "trials": told,
        }


def best(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the largest skill, the earliest of equals; one must have some."""
    done = [trial for trial in trials if trial.state == "complete"]
    return max(done, key=lambda trial: (trial.estimate or 0.0, -trial.number))


def tried_of(trials: Sequence[Trial], chosen: Trial, before: int = 0) -> Tried:
    """Return how many configurations were tried, and how much of the chosen one's result is luck.

    From the trials' skill in each period. Repeated trials are not counted twice; failed ones are
    counted, but have no result that could have been chosen. `before` configurations were tried
    in earlier searches, of which nothing else is known.
    """
    configurations = before + sum(trial.state != "repeated" for trial in trials)
    returns = np.array([trial.periods for trial in trials if trial.state == "complete"]).T
    if returns.shape[1] < 2:  # noqa: PLR2004 - one cannot be the best of fewer
        return Tried(configurations)
    ratios = np.array([sharpe(column) or 0.0 for column in returns.T])
    return Tried(
        configurations,
        deflated_sharpe=deflated_sharpe(np.array(chosen.periods), ratios),
        overfitting_probability=_overfitting(returns),
    )


def tried_in(journal: Path, recipe: Recipe) -> Tried:
    """Return what the journal of a search says about a recipe that was chosen in it.

    Raises TuningError: no such trial, or no journal; OSError.
    """
    told = read_journal(journal)
    wanted = told.search.space.values(recipe)
    same = [one for one in told.trials if one.state == "complete" and one.values == wanted]
    if not same or recipe.feature_set != same[0].recipe.feature_set:
        raise TuningError(
            f"{journal} has no trial of this model's recipe ({_named(wanted)}): it was not chosen "
            "in that search; give the journal beside the recipe file that it was trained by"
        )
    return tried_of(told.trials, same[0], _before(told.search))


def tuning_of(search: Search, trials: Sequence[Trial], look: Look, looks: int) -> Tuning:
    """Judge a finished search."""
    chosen = trials[look.chosen]
    tried = tried_of(trials, chosen, _before(search))
    found = chosen.number > 0 and is_above(look.difference) and is_above(look.tuned)
    statements = (
        _about_search(trials, chosen, tried),
        _about_holdout(look),
        *_about_bias(chosen, look),
        *_about_luck(tried),
        *_about_failures(trials),
        *_about_looks(looks),
    )
    headline = _headline(look, tried, found=found)
    return Tuning(search, tuple(trials), chosen, tried, look, looks, found, headline, statements)


def _before(search: Search) -> int:
    """Return how many configurations led to the default; itself is counted in this search."""
    return search.base.tried.configurations - 1 if search.base.tried else 0


def _overfitting(returns: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    parts = min(PARTS, len(returns) // _FEWEST_PERIODS // 2 * 2)
    if parts < _FEWEST_PARTS:
        return None
    return backtest_overfitting(returns, parts=parts).probability


def _headline(look: Look, tried: Tried, *, found: bool) -> Statement:
    searched = f"{count(tried.configurations)} configurations"
    if found:
        return Statement(
            "good",
            f"Tuning found something: of {searched}, the chosen one is better than the default on "
            "rows that no trial saw.",
        )
    if look.chosen == 0:
        return Statement("bad", f"Tuning found nothing: the default is the best of {searched}.")
    if is_above(look.difference):
        return Statement(
            "bad",
            f"Tuning found nothing: the best of {searched} loses less than the default, but shows "
            "no skill on rows that no trial saw.",
        )
    return Statement(
        "bad",
        f"Tuning found nothing: the best of {searched} is not shown to be better than the default "
        "on rows that no trial saw.",
    )


def _about_search(trials: Sequence[Trial], chosen: Trial, tried: Tried) -> Statement:
    own, default = chosen.skill, trials[0].skill
    if own is None or default is None:  # both have a result, or there would be nothing to judge
        raise AssertionError("a search is judged without results")
    text = f"In the search the default's skill is {signed_interval(default, 4)} nats a row"
    if chosen.number:
        text += (
            f", that of the chosen trial {chosen.number} {signed_interval(own, 4)}: the best of "
            f"{count(tried.configurations)}, so in part luck"
        )
    return Statement("plain", f"{text} (n {count(own.n)}).")


def _about_holdout(look: Look) -> Statement:
    text = (
        f"On the holdout from {day(look.first_open_time)} to {day(look.last_open_time)} the "
        f"default's is {signed_interval(look.default, 4)}"
    )
    if look.chosen:
        text += (
            f", the chosen one's {signed_interval(look.tuned, 4)}; the difference is "
            f"{signed_interval(look.difference, 4)}"
        )
    return Statement("good" if is_above(look.tuned) else "bad", f"{text} (n {look.tuned.n:,}).")


def _about_bias(chosen: Trial, look: Look) -> list[Statement]:
    if not chosen.number or chosen.estimate is None or look.tuned.estimate is None:
        return []
    lost = chosen.estimate - look.tuned.estimate
    return [
        Statement(
            "plain",
            f"From search to holdout the chosen one's skill fell by {number(lost, 4)} nats: what "
            "choosing the best had added, and whatever the market changed."
            if lost > 0
            else f"From search to holdout the chosen one's skill rose by {number(-lost, 4)} nats.",
        )
    ]


def _about_luck(tried: Tried) -> list[Statement]:
    overfitting, lucky = tried.overfitting_probability, tried.deflated_sharpe
    if overfitting is None and lucky is None:
        text = "Overfitting by choice could not be measured: too few trials, or too few periods."
        return [Statement("warning", text)]
    said = []
    if overfitting is not None:
        text = (
            f"The best of one half of the time is below the median of the other in "
            f"{share(overfitting)} of the ways to halve it (probability of overfitting; 50 % is "
            "pure luck)."
        )
        said.append(Statement("bad" if overfitting >= OVERFITTED else "plain", text))
    if lucky is not None:
        text = (
            f"That the chosen one's skill is more than the luckiest of as many worthless ones "
            f"would show has probability {number(lucky, 2)} (deflated Sharpe ratio)."
        )
        said.append(Statement("bad" if lucky < LIKELY else "plain", text))
    return said


def _about_failures(trials: Sequence[Trial]) -> list[Statement]:
    failed = [trial for trial in trials if trial.state == "failed"]
    if not failed:
        return []
    text = f"{len(failed)} of {len(trials)} trials failed, the first because: {failed[0].reason}"
    return [Statement("warning", text)]


def _about_looks(looks: int) -> list[Statement]:
    if looks == 1:
        return []
    text = (
        f"The holdout has been looked at {looks} times: what was chosen after the first look may "
        "have been chosen for it. Only newer candles can settle that."
    )
    return [Statement("warning", text)]


def _named(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
