"""`report`: a bundle and a candle file in, a verdict and a page out.

An honestly trained bundle is judged by its recipe, walked forward over the candles. Any other is
judged by the bars after its training, and beside it the honest recipe on the same candles.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from candled.core.bar import Interval, Stream
from candled.core.features import FeatureSet
from candled.offline.files import about, candles_of, check_out
from candled.offline.known import last_trained
from candled.offline.models import summary
from candled.offline.progress import Step, steps
from candled.offline.threads import quiet_threads
from candled_adapters.artifacts.bundle import Bundle, load_bundle
from candled_adapters.candles.candlefile import CandleFile
from candled_adapters.feature_sets import find_feature_set

if TYPE_CHECKING:
    from candled.lab.backtest import Backtest
    from candled.lab.recipe import Recipe, Tried
    from candled.lab.report import Chapter
    from candled.lab.study import Study

_FEE_PCT: Final = 0.05  # of each side: 0.10 % for the round trip, the middle of the reported costs


class UnjudgedError(Exception):
    """A bundle about which nothing can be said on these candles, and what to change."""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What is judged, and what is written."""

    bundle: Path
    candles: Path
    out: Path | None
    """The page; None writes none."""
    trained_until: int | None
    """Open of the last bar trained on (UTC ms), for a bundle that does not say."""
    quick: bool
    """Leave out the trials of the method, and the honest recipe beside another model."""
    tuning: Path | None
    """Journal of the search that the bundle's recipe comes from."""
    as_json: bool


def run_report(options: ReportOptions) -> None:
    """Judge, write the page if asked, and print the findings."""
    quiet_threads()
    from candled.lab.report import render
    from candled.lab.textfile import write_chunks

    if options.out is not None:
        check_out(options.out, options.candles)
    bundle = load_bundle(options.bundle)
    file = candles_of(options.candles, Interval(bundle.model.interval))
    with steps() as progress:
        chapters = chapters_of(
            bundle,
            file,
            trained_until=options.trained_until,
            quick=options.quick,
            progress=progress,
            tuning=options.tuning,
        )
    if options.out is not None:
        title = f"{bundle.manifest.symbol} {bundle.manifest.interval}"
        page = render(chapters, title=title, created_at=dt.datetime.now(dt.UTC))
        write_chunks(options.out, [page])
    _print(chapters, [about(file), summary(bundle), *_newer(bundle, file)], options)


def chapters_of(
    bundle: Bundle,
    file: CandleFile,
    *,
    trained_until: int | None,
    quick: bool,
    progress: Step,
    tuning: Path | None = None,
) -> list[Chapter]:
    """Judge a bundle on candles; arguments as in `ReportOptions`. Raises UnjudgedError."""
    recipe = _recipe(bundle)
    if recipe is not None:
        recipe = replace(recipe, tried=_tried(recipe, tuning))
        return [_honest_chapter(file, recipe, bundle, quick=quick, progress=progress)]
    if tuning is not None:
        raise UnjudgedError(
            f"{bundle.path} has no recipe, so no search chose it; leave out --tuning"
        )
    own = _model_chapter(bundle, file, trained_until)
    if quick:
        return [own]
    return [own, _honest_chapter(file, _rival(bundle), None, quick=quick, progress=progress)]


def _recipe(bundle: Bundle) -> Recipe | None:
    """Return the recipe that an honest training recorded."""
    from candled.lab.recipe import Recipe

    told: Any = bundle.manifest.provenance.get("recipe")
    return Recipe.from_json(told) if isinstance(told, dict) else None


def _tried(recipe: Recipe, journal: Path | None) -> Tried | None:
    """Return what is known of the search that chose a recipe: by its journal, or its own word."""
    from candled.lab.tune import tried_in

    return recipe.tried if journal is None else tried_in(journal, recipe)


def _rival(bundle: Bundle) -> Recipe:
    """Return the honest recipe for what the bundle was trained to foresee."""
    from candled.lab.recipe import Recipe

    return Recipe(labels=_labels(bundle), regime=bundle.manifest.regime)


def _honest_chapter(
    file: CandleFile,
    recipe: Recipe,
    bundle: Bundle | None,
    *,
    quick: bool,
    progress: Step,
) -> Chapter:
    from candled.lab.dataset import material
    from candled.lab.study import walk_forward_study, with_controls

    features = _features(recipe)
    of = material(
        file.bars,
        file.interval,
        rule=recipe.label_rule,
        params=recipe.labels,
        regime=recipe.regime,
    )
    model = bundle.model if bundle else None
    symbol = bundle.manifest.symbol if bundle else file.path.name.split("_")[0]
    study = walk_forward_study(of, symbol, features, recipe, model=model, progress=progress)
    if not quick:
        study = with_controls(study, recipe, progress)
    return chapter_of(study, bundle, recipe.tried)


def _features(recipe: Recipe) -> FeatureSet:
    return find_feature_set(recipe.feature_set).features


def _model_chapter(bundle: Bundle, file: CandleFile, trained_until: int | None) -> Chapter:
    from candled.lab.dataset import material
    from candled.lab.study import model_study

    labels = _labels(bundle)
    last = last_trained(bundle, file.bars, trained_until)
    if last is None:
        raise UnjudgedError(
            f"{bundle.path} does not say which bars it was trained on, so nothing here is known "
            "to be new to it; give --trained-until"
        )
    of = material(
        file.bars, file.interval, rule="window", params=labels, regime=bundle.manifest.regime
    )
    return chapter_of(model_study(of, bundle.model, labels, last), bundle)


def _labels(bundle: Bundle) -> Any:  # noqa: ANN401 - LabelParams, of the lab
    from candled.core.labels import LabelParams

    target = bundle.model.target
    if target is None:
        raise UnjudgedError(
            f"{bundle.path} does not say what it was trained to foresee (lookahead, target, stop); "
            "import it again with its metadata file, or train it again"
        )
    return LabelParams(target.lookahead_bars, target.profit_pct, target.stop_pct)


def chapter_of(study: Study, bundle: Bundle | None, tried: Tried | None = None) -> Chapter:
    """Derive the findings of a study, and trade its answers."""
    from candled.lab.findings import findings
    from candled.lab.report import Chapter

    evidence = bundle.model.evidence if bundle else ()
    return Chapter(study, findings(study, tried=tried, evidence=evidence), _traded(study))


def _traded(study: Study) -> Mapping[str, Backtest]:
    """Trade the study's answers, each at the threshold that was in effect at the time."""
    from candled.lab.backtest import Costs, comparison, exits_of, tape_of_answers
    from candled.lab.trained import target

    first = int(study.tested_bars[0])
    of = study.material
    tape = tape_of_answers(
        Stream("report", study.symbol, of.interval.name),
        of.bars[first:],
        study.dataset.open_time[study.tested.rows],
        study.tested.probabilities,
        study.limits,
        regime=of.regimes[first:],
    )
    return comparison([tape], exits_of(target(study.params)), Costs(_FEE_PCT))


def _newer(bundle: Bundle, file: CandleFile) -> list[str]:
    """Say where the candles are not those that the bundle was trained on."""
    from candled.lab.trained import data_digest

    digest = bundle.manifest.provenance.get("data_sha256")
    if digest is None or digest == data_digest(file.bars):
        return []
    return [f"these are not the very candles it was trained on (those have digest {digest[:16]})"]


def _print(chapters: list[Chapter], head: list[str], options: ReportOptions) -> None:
    from rich.console import Console

    from candled.lab.report import summary as table

    if options.as_json:
        told = {"studies": [one.findings.as_json() for one in chapters]}
        print(json.dumps(told, indent=2, allow_nan=False))  # noqa: T201 - the command's output
        return
    console = Console()
    for line in head:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for one in chapters:
        console.print(table(one.findings))
    if options.out is not None:
        console.print(f"page: {options.out}", markup=False, highlight=False, soft_wrap=True)
