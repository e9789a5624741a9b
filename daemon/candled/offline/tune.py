"""`tune`: a candle file in; a journal, a recipe, and what the search for it was worth, out."""

from __future__ import annotations

import io
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

from candled.core.features import FeatureSet
from candled.offline.files import about, candles_of
from candled.offline.progress import steps
from candled.offline.threads import quiet_threads
from candled.offline.training import TrainOptions, proof_of, recipe_of
from candled_adapters.candles.candlefile import CandleFile
from candled_adapters.feature_sets import find_feature_set

if TYPE_CHECKING:
    from candled.lab.recipe import Recipe
    from candled.lab.tune import Space, Trial, Tuning

JOURNAL: Final = "trials.jsonl"
RECIPE: Final = "recipe.json"
RESULT: Final = "tuning.json"

_WIDTH: Final = 120
_BEST: Final = 5


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """What is searched, and how long."""

    default: TrainOptions
    """What `train` would be told to make the default; its `out` is the search's folder."""
    sets: tuple[str, ...]
    """Feature sets to choose from, the default's first; none is the default's alone."""
    trials: int
    timeout: float | None
    seed: int
    space: Path | None
    """TOML; None is the default space."""
    only: tuple[str, ...]
    """Names of the space to search; none are all."""
    holdout: float
    as_json: bool


def run_tune(options: TuneOptions) -> str:
    """Search, or go on searching, write recipe and result, and say what it came to."""
    quiet_threads()
    from candled.lab.dataset import material
    from candled.lab.tune import tune

    train = options.default
    base = recipe_of(train)
    features = [_features(name, train) for name in options.sets or (base.feature_set,)]
    space = _space(options, [one.name for one in features], base)
    file = candles_of(train.candles, train.interval)
    of = material(
        file.bars,
        file.interval,
        rule=base.label_rule,
        params=base.labels,
        regime=base.regime,
    )
    train.out.mkdir(parents=True, exist_ok=True)
    with steps() as progress:
        tuning = tune(
            of,
            train.symbol,
            features,
            base,
            space,
            trials=options.trials,
            seed=options.seed,
            journal=train.out / JOURNAL,
            holdout=options.holdout,
            timeout=options.timeout,
            progress=progress,
        )
    _write(train.out / RECIPE, tuning.recipe.as_json())
    _write(train.out / RESULT, tuning.as_json())
    return _json(tuning.as_json()) if options.as_json else _text(file, tuning, train.out)


def _features(name: str, train: TrainOptions) -> FeatureSet:
    found = find_feature_set(name)
    proof_of(found, train.interval)
    return found.features


def _space(options: TuneOptions, sets: list[str], base: Recipe) -> Space:
    from candled.lab.tune import TuningError, default_space, space_of

    if options.space is None:
        space = default_space(sets, base)
    else:
        try:
            space = space_of(tomllib.loads(options.space.read_text(encoding="utf-8")))
        except (TuningError, ValueError) as error:
            raise TuningError(f"{options.space}: {error}") from error
    return space.only(options.only) if options.only else space


def _write(path: Path, told: dict[str, Any]) -> None:
    from candled.lab.textfile import write_chunks

    write_chunks(path, [_json(told).encode(), b"\n"])


def _json(told: dict[str, Any]) -> str:
    return json.dumps(told, indent=2, allow_nan=False)


def _text(file: CandleFile, tuning: Tuning, out: Path) -> str:
    buffer = io.StringIO()
    console = Console(file=buffer, width=_WIDTH, highlight=False)
    console.print(about(file, "rows that it reaches are left out"), markup=False, soft_wrap=True)
    console.print(_trials(tuning))
    console.print(tuning.headline.text, markup=False)
    for one in tuning.statements:
        console.print(f"- {one.text}", markup=False)
    console.print(_next(tuning, out), markup=False, soft_wrap=True)
    return buffer.getvalue().rstrip("\n")


def _trials(tuning: Tuning) -> Table:
    """List the best trials and the default, which stands where it belongs."""
    from candled.lab.words import signed_interval

    done = [one for one in tuning.trials if one.state == "complete"]
    done.sort(key=lambda one: -(one.estimate or 0.0))
    shown = [one for at, one in enumerate(done) if at < _BEST or one.number == 0]
    made = Table(
        title=f"{len(shown)} of {len(tuning.trials)} trials; skill in nats a row, before the "
        "holdout",
        title_justify="left",
    )
    made.add_column("trial", justify="right")
    for name in ("skill", "what was searched"):
        made.add_column(name)
    for one in shown:
        name = "default" if one.number == 0 else str(one.number)
        skill = signed_interval(one.skill, 4) if one.skill else ""
        made.add_row(name, skill, _values(one))
    return made


def _values(trial: Trial) -> str:
    """Write the values as people read them; the journal has all their digits."""
    return ", ".join(
        f"{name.removeprefix('boosting.')} "
        + (f"{value:.3g}" if isinstance(value, float) else str(value))
        for name, value in trial.values.items()
    )


def _next(tuning: Tuning, out: Path) -> str:
    spent = sum(one.seconds for one in tuning.trials)
    return (
        f"{out}: {JOURNAL} ({len(tuning.trials)} trials, {spent:.0f} s), {RESULT}, and {RECIPE} "
        "for  candled train --recipe"
    )
