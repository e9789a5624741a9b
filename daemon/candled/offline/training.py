"""`train`: a candle file in, a bundle and the notebook's three files out."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from candled.core.bar import Interval
from candled.offline.files import about, candles_of, check_bundle_place
from candled.offline.models import summary
from candled.offline.progress import steps
from candled.offline.threads import quiet_threads
from candled_adapters.artifacts.bundle import write_bundle
from candled_adapters.candles.candlefile import CandleFile
from candled_adapters.feature_sets import Found, find_feature_set

if TYPE_CHECKING:
    from candled.lab.dataset import Dataset
    from candled.lab.recipe import Recipe, ThresholdRule
    from candled.lab.trained import Trained

Label = tuple[int, float, float]
"""Lookahead in bars, profit in percent, stop in percent."""

_NOTEBOOK_THRESHOLD: Final = 0.6
_PERCENT: Final = 100.0


class RecipeError(Exception):
    """Options or a recipe file that no training can follow, and what to change."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What to train on, and how; None leaves a choice to the recipe."""

    candles: Path
    out: Path
    symbol: str
    interval: Interval
    as_notebook: bool
    """As the notebook trains, flaws included; else honestly."""
    recipe: Path | None
    """A recipe as JSON, as `candled tune` writes it; the other options override it."""
    features: str | None
    rule: str | None
    """Of the labels."""
    label: tuple[int | None, float | None, float | None]
    """Lookahead in bars, profit in percent, stop in percent."""
    regime: str | None
    threshold: float | None
    coverage_pct: float | None
    costs_pct: float | None
    folds: int | None
    balance: bool
    calibrate: bool


def train_bundle(options: TrainOptions) -> str:
    """Train, write a bundle together with the notebook's three files, and say how it did."""
    quiet_threads()
    check_bundle_place(options.out)
    file = candles_of(options.candles, options.interval)
    train = _as_notebook if options.as_notebook else _honestly
    trained, said = train(options, file)

    def add_notebook_files(folder: Path) -> None:
        from candled.lab.trained import write_notebook_files

        write_notebook_files(trained, folder)

    bundle = write_bundle(trained.spec, options.out, add_notebook_files)
    return "\n".join([said[0], summary(bundle), *said[1:]])


def recipe_of(options: TrainOptions) -> Recipe:
    """Read the recipe, if one is given, and let the other options override it."""
    from candled.core.labels import LabelParams
    from candled.lab.recipe import Recipe

    base = Recipe() if options.recipe is None else read_recipe(options.recipe)
    lookahead, profit, stop = options.label
    given = {
        "feature_set": options.features,
        "label_rule": options.rule,
        "regime": options.regime,
        "folds": options.folds,
        "threshold": _threshold_rule(options),
        "balance_classes": options.balance or None,
        "calibrate": None if options.calibrate else False,
    }
    labels = LabelParams(
        base.labels.lookahead_bars if lookahead is None else lookahead,
        base.labels.profit_target_pct if profit is None else profit,
        base.labels.stop_loss_pct if stop is None else stop,
    )
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        return replace(base, labels=labels, **changes)
    except ValueError as error:
        raise RecipeError(str(error)) from error


def read_recipe(path: Path) -> Recipe:
    """Read a recipe's JSON; raises RecipeError."""
    from candled.lab.recipe import Recipe

    try:
        return Recipe.from_json(json.loads(path.read_bytes()))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecipeError(
            f"{path} is no recipe ({type(error).__name__}: {error}); give the file that "
            "`candled tune` wrote, or the `recipe` part of a bundle's provenance"
        ) from error


def _threshold_rule(options: TrainOptions) -> ThresholdRule | None:
    from candled.lab.recipe import ThresholdRule

    given = {
        "fixed": options.threshold,
        "coverage": None if options.coverage_pct is None else options.coverage_pct / _PERCENT,
        "value": options.costs_pct,
    }
    chosen = {kind: value for kind, value in given.items() if value is not None}
    if len(chosen) > 1:
        raise RecipeError("give one of --threshold, --coverage and --costs, not several")
    try:
        return next((ThresholdRule(kind, value) for kind, value in chosen.items()), None)  # type: ignore[arg-type]  # the three kinds there are
    except ValueError as error:
        raise RecipeError(str(error)) from error


def _as_notebook(options: TrainOptions, file: CandleFile) -> tuple[Trained, list[str]]:
    from candled.core.labels import LabelParams
    from candled.lab.notebook import train_notebook

    _refuse_honest_options(options)
    defaults = LabelParams()
    lookahead, profit, stop = options.label
    trained = train_notebook(
        file.bars,
        options.symbol,
        options.interval.name,
        params=LabelParams(
            defaults.lookahead_bars if lookahead is None else lookahead,
            defaults.profit_target_pct if profit is None else profit,
            defaults.stop_loss_pct if stop is None else stop,
        ),
        threshold=_NOTEBOOK_THRESHOLD if options.threshold is None else options.threshold,
        regime=options.regime or "notebook",
        created_at=_now(),
    )
    evaluation: Any = trained.spec.provenance["evaluation"]
    return trained, [about(file), *_verdict(evaluation["labelled_only"])]


def _refuse_honest_options(options: TrainOptions) -> None:
    honest = {
        "--recipe": options.recipe,
        "--features": options.features,
        "--labels": options.rule,
        "--coverage": options.coverage_pct,
        "--costs": options.costs_pct,
        "--folds": options.folds,
        "--balance": options.balance or None,
        "--no-calibrate": None if options.calibrate else True,
    }
    given = [name for name, value in honest.items() if value is not None]
    if given:
        raise RecipeError(
            f"{given[0]} belongs to the honest training; the notebook's way knows no such choice: "
            "leave it out, or leave out --notebook"
        )


def _honestly(options: TrainOptions, file: CandleFile) -> tuple[Trained, list[str]]:
    from candled.lab.findings import findings
    from candled.lab.honest import train_honest

    recipe = recipe_of(options)
    found = find_feature_set(recipe.feature_set)
    proof = proof_of(found, options.interval)
    with steps() as progress:
        made = train_honest(
            file.bars,
            options.symbol,
            options.interval.name,
            found.features,
            recipe,
            created_at=_now(),
            proof=proof,
            progress=progress,
        )
    evidence = made.trained.spec.evidence
    verdict = findings(made.study, tried=recipe.tried, evidence=evidence).verdict
    return made.trained, [
        about(file, "rows that it reaches are left out"),
        _used(made.study.dataset),
        verdict.headline.text,
        *(f"- {one.text}" for one in verdict.statements),
    ]


def _used(rows: Dataset) -> str:
    """Say how many bars became rows, and why the others did not."""
    reasons = {name.replace("_", " "): count for name, count in asdict(rows.dropped).items()}
    left_out = ", ".join(f"{count} {name}" for name, count in reasons.items() if count)
    return f"{len(rows)} rows; left out: {left_out or 'none'}"


def proof_of(found: Found, interval: Interval) -> dict[str, Any] | None:
    """Let a package's feature set prove itself; the built-in ones are proved by the tests."""
    if found.origin is None:
        return None
    from candled.lab.verify import gate

    return gate(found.features, interval)


def _verdict(test: dict[str, Any]) -> list[str]:
    """Say how the model did on the test rows, beside what needs no model."""
    head = (
        f"test rows {test['rows']}: accuracy {test['accuracy']:.3f}, always the commonest class "
        f"{test['majority_class_accuracy']:.3f}; log-loss {test['log_loss']:.3f}, constant class "
        f"shares {test['class_share_log_loss']:.3f}"
    )
    lines = [head]
    for side, found in test["above_threshold"].items():
        precision = "-" if found["precision"] is None else f"{found['precision']:.3f}"
        lines.append(
            f"{side}: {found['signals']} signals on {100 * found['coverage']:.1f} % of the rows, "
            f"precision {precision}, base rate {found['base_rate']:.3f}"
        )
    if test["log_loss"] >= test["class_share_log_loss"]:
        lines.append("this model knows less than the constant class shares do: no skill")
    return lines


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
