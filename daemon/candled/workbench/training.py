"""Training on a frame of candles: by the lab's own functions, and what a notebook wants of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from candled.core.labels import LabelParams
from candled.lab.honest import train_honest
from candled.lab.notebook import train_notebook
from candled.lab.recipe import NOTEBOOK_BOOSTING, Recipe, ThresholdRule
from candled.lab.study import Study
from candled.lab.trained import Trained, write_notebook_files
from candled.offline.report import chapter_of, chapters_of
from candled.offline.training import proof_of
from candled.workbench.candles import Candles, understood
from candled.workbench.judging import Report
from candled.workbench.models import AnyPath, SignalModel
from candled.workbench.progress import shown
from candled_adapters.artifacts.bundle import Bundle, write_bundle
from candled_adapters.feature_sets import find_feature_set

_NOTEBOOK_THRESHOLD: Final = 0.6


@dataclass(frozen=True, repr=False, eq=False)
class TrainedModel(SignalModel):
    """A model that has just been trained: it can be asked, judged and saved."""

    trained: Trained
    """With the fitted `classifier` and `scaler`, and the notebook's `metadata`."""
    candles: Candles
    """What it was trained on."""
    study: Study | None
    """The walk-forward that its figures come from; None for the notebook's way, which has none."""

    @property
    def classifier(self) -> Any:  # noqa: ANN401 - xgboost has no types
        """The fitted `xgboost.XGBClassifier`."""
        return self.trained.classifier

    @property
    def scaler(self) -> Any:  # noqa: ANN401 - scikit-learn has no types
        """The fitted `sklearn.preprocessing.StandardScaler`."""
        return self.trained.scaler

    @cached_property
    def report(self) -> Report:
        """How its kind did on rows it was not trained on, and the verdict.

        Honestly trained, it is judged by the walk-forward; else by the rows after its training.
        `candled.report` makes the whole one, with the trials of the method.
        """
        if self.study is not None:
            return Report((chapter_of(self.study, self.bundle),))
        with shown() as progress:
            found = chapters_of(
                self.bundle, self.candles.file, trained_until=None, quick=True, progress=progress
            )
        return Report(tuple(found))

    def save(self, path: AnyPath) -> Path:
        """Write the bundle, and beside its parts the notebook's three files; return the folder.

        It appears whole or not at all; a bundle that is there is replaced. Raises FileExistsError
        for a folder that holds anything else, OSError where it cannot be written.
        """
        return _written(self.trained, Path(path)).path

    def _repr_html_(self) -> str:
        return super()._repr_html_() + self.report._repr_html_()


def train(
    candles: pd.DataFrame,
    symbol: str,
    interval: str | None = None,
    *,
    mode: Literal["honest", "notebook"] = "honest",
    recipe: Recipe | None = None,
    lookahead_bars: int | None = None,
    profit_pct: float | None = None,
    stop_pct: float | None = None,
    threshold: float | None = None,
    trees: int | None = None,
    created_at: dt.datetime | None = None,
) -> TrainedModel:
    """Train a model, as `candled train` does; shows its progress on a terminal or in a notebook.

    Args:
        candles: [n] closed bars, see `bars`; some thousand at least.
        symbol: as the venue spells it.
        interval: name such as ``1h``; None is the most common step between rows.
        mode: ``honest``: scale-free features, a small model, rows that a gap reaches or whose
            future is not known left out, judged by a purged walk-forward, then fitted on all
            rows. ``notebook``: the notebook's numbers, flaws included: ``mar``, 200 deep trees on
            the first 80 % of the rows.
        recipe: of the honest way; None is `Recipe()`. The arguments below override it.
        lookahead_bars: how many bars a label looks ahead (24).
        profit_pct: the label's target, percent (1.5).
        stop_pct: the label's stop, percent (1.0).
        threshold: to publish with, 0 to 1; None is 0.6 in notebook mode, else by the recipe.
        trees: boosting rounds.
        created_at: recorded with the model; None is now. The same candles, arguments and moment
            give the same bundle, bit for bit.

    Raises:
        FrameError: see `bars`.
        TrainingError: too few rows, a class that is absent, a threshold that nothing supports.
        ValueError: parameters that no training can use.

    >>> made = candled.train(candled.synthetic_candles(1200), "BTCUSDT", mode="notebook", trees=3)
    >>> made.trained.metadata["train_samples"], made.trained.metadata["test_samples"]
    (928, 232)
    """
    of, now = understood(candles, interval), created_at or dt.datetime.now(dt.UTC)
    given = {
        "lookahead_bars": lookahead_bars,
        "profit_target_pct": profit_pct,
        "stop_loss_pct": stop_pct,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if mode == "notebook":
        if recipe is not None:
            raise ValueError("a recipe belongs to the honest mode; leave it out, or leave out mode")
        params = LabelParams(**changes)  # type: ignore[arg-type]  # judged there
        return _as_notebook(of, symbol, params, threshold=threshold, trees=trees, now=now)
    if mode != "honest":
        raise ValueError(f"mode is 'honest' or 'notebook'; it is {mode!r}")
    base = recipe or Recipe()
    asked = dataclasses.replace(
        base,
        labels=dataclasses.replace(base.labels, **changes),  # type: ignore[arg-type]
        threshold=base.threshold if threshold is None else ThresholdRule("fixed", threshold),
        boosting=dataclasses.replace(
            base.boosting, n_estimators=trees or base.boosting.n_estimators
        ),
    )
    return _honestly(of, symbol, asked, now)


def _as_notebook(
    of: Candles,
    symbol: str,
    params: LabelParams,
    *,
    threshold: float | None,
    trees: int | None,
    now: dt.datetime,
) -> TrainedModel:
    made = train_notebook(
        of.bars,
        symbol,
        of.interval.name,
        params,
        created_at=now,
        threshold=_NOTEBOOK_THRESHOLD if threshold is None else threshold,
        estimators=trees or NOTEBOOK_BOOSTING.n_estimators,
    )
    return _finished(made, of, None)


def _honestly(of: Candles, symbol: str, recipe: Recipe, now: dt.datetime) -> TrainedModel:
    found = find_feature_set(recipe.feature_set)
    proof = proof_of(found, of.interval)
    with shown() as progress:
        made = train_honest(
            of.bars, symbol, of.interval.name, found.features, recipe,
            created_at=now, proof=proof, progress=progress,
        )  # fmt: skip
    return _finished(made.trained, of, made.study)


def _finished(trained: Trained, of: Candles, study: Study | None) -> TrainedModel:
    """Take the model that a bundle of it holds, so that what is asked here is what is saved."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = _written(trained, Path(folder) / "bundle")
    name = bundle.manifest.name
    file = dataclasses.replace(of.file, path=Path(name))
    return TrainedModel(
        dataclasses.replace(bundle, path=Path(name)),
        trained,
        dataclasses.replace(of, file=file),
        study,
    )


def _written(trained: Trained, path: Path) -> Bundle:
    def add_notebook_files(folder: Path) -> None:
        write_notebook_files(trained, folder)

    return write_bundle(trained.spec, path, add_notebook_files)
