"""The notebook's training, made into one function that gives the same model for the same bars.

Nothing here reads a clock or decides where files go: the time is an argument and so is the
directory. Thread settings are the caller's too: set ``OMP_WAIT_POLICY=PASSIVE`` before XGBoost is
imported, or threads that wait for each other spin (five times slower on a busy machine).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.metadata
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
import sklearn
import xgboost
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from candled.core.bar import COLUMNS, Bars, Interval, iso
from candled.core.decision import Target
from candled.core.features import feature_set
from candled.core.model import ModelSpec
from candled.core.regime import regime_rule
from candled.lab.evaluate import class_counts, evaluation
from candled.lab.labels import LabelParams, window_labels
from candled.lab.tables import table_regimes

Floats = NDArray[np.float64]
Classes = NDArray[np.int8]

TRAIN_SHARE: Final = 0.8
FEWEST_ROWS: Final = 100

_FEATURES: Final = feature_set("mar")
_SETTINGS: Final[dict[str, Any]] = {
    "max_depth": 6,
    "learning_rate": 0.1,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "random_state": 42,
    "eval_metric": "mlogloss",
    "n_jobs": -1,
}


class TrainingError(Exception):
    """Bars that no model can be trained on, and what to change."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training gives."""

    spec: ModelSpec
    """For a bundle; its `provenance` says what it was made of and how it did."""
    classifier: Any
    """The fitted `xgboost.XGBClassifier`."""
    scaler: Any
    """The fitted `sklearn.preprocessing.StandardScaler`."""
    metadata: dict[str, object]
    """As in the notebook's JSON file."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Complete rows of a table, and their classes."""

    open_time: NDArray[np.int64]
    features: Floats
    classes: Classes

    def __len__(self) -> int:
        return len(self.open_time)

    def __getitem__(self, rows: slice) -> _Rows:
        return _Rows(self.open_time[rows], self.features[rows], self.classes[rows])


def train_notebook(
    bars: Bars,
    symbol: str,
    interval: str,
    params: LabelParams | None = None,
    *,
    created_at: dt.datetime,
    threshold: float = 0.6,
    regime: str = "notebook",
    estimators: int = 200,
) -> Trained:
    """Label all bars, drop the incomplete rows, fit on the first 80 % and judge by the rest.

    As the notebook does it, flaws included: the last `lookahead_bars` rows have no future and stay
    among the test rows as class 0, and nothing is purged between train and test. So the evaluation
    in the provenance comes twice, `as_notebook` and `labelled_only`, without that tail.

    Args:
        bars: closed bars, ascending.
        symbol: as the venue spells it.
        interval: name of an `Interval`.
        params: of the labels; None is the notebook's.
        created_at: recorded with the model.
        threshold: to publish the model with.
        regime: preset that settles labels where both sides qualify.
        estimators: boosting rounds; the notebook's 200, fewer for a trial.

    Raises:
        TrainingError: bars out of order or without a close, too few of them, or a class that the
            training rows lack.
        ValueError: an unknown interval or regime preset.
    """
    params = params or LabelParams()
    gaps = _gaps(bars, Interval(interval))
    regime_rule(regime)
    _refuse_bad_bars(bars)
    rows = _labelled_rows(bars, Interval(interval), params, regime)
    split = int(TRAIN_SHARE * len(rows))
    train, test = rows[:split], rows[split:]
    _refuse_missing_class(train.classes, params)
    scaler, classifier = _fitted(train, estimators)
    answers = classifier.predict_proba(scaler.transform(test.features))
    provenance = {
        "made_by": "train_notebook",
        "created_at": created_at.isoformat(),
        "bars": len(bars),
        "gaps": gaps,
        "data_sha256": data_digest(bars),
        "labels": {"rule": "window", **_target_params(params)},
        "split": {"rule": "the first share of the rows trains", "share": TRAIN_SHARE},
        "train": _span(train),
        "test": _span(test),
        "estimators": estimators,
        "evaluation": _evaluations(answers, test.classes, train.classes, params, threshold),
        "versions": _versions(),
    }
    return Trained(
        spec=_spec(
            symbol,
            interval,
            params,
            threshold=threshold,
            regime=regime,
            scaler=scaler,
            classifier=classifier,
            provenance=provenance,
        ),
        classifier=classifier,
        scaler=scaler,
        metadata={
            "symbol": symbol,
            "interval": interval,
            "created_at": created_at.isoformat(),
            "feature_cols": list(_FEATURES.columns),
            "target_params": _target_params(params),
            "train_samples": len(train),
            "test_samples": len(test),
        },
    )


def write_notebook_files(trained: Trained, directory: Path) -> tuple[Path, Path, Path]:
    """Write model, scaler and metadata under the notebook's names; return the three paths.

    A slash in a symbol becomes a dash in the names. Each file is written in place: give a
    directory of its own and move it when all three are there. Raises OSError.
    """
    symbol = trained.spec.symbol.replace("/", "-")
    stem = f"{symbol}_{trained.spec.interval}_signal"
    model, scaler = directory / f"{stem}_model.joblib", directory / f"{stem}_scaler.joblib"
    metadata = directory / f"{stem}_metadata.json"
    joblib.dump(trained.classifier, model)
    joblib.dump(trained.scaler, scaler)
    metadata.write_text(json.dumps(trained.metadata, indent=2), encoding="utf-8")
    return model, scaler, metadata


def data_digest(bars: Bars) -> str:
    """Return the SHA-256 (hex) of all columns, each as little-endian 8-byte numbers, in order."""
    digest = hashlib.sha256()
    for name in COLUMNS:
        column = getattr(bars, name)
        digest.update(np.ascontiguousarray(column, column.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def _refuse_bad_bars(bars: Bars) -> None:
    late = np.flatnonzero(np.diff(bars.open_time) <= 0)
    if len(late):
        row = int(late[0]) + 1
        raise TrainingError(
            f"bar {row} ({iso(int(bars.open_time[row]))}) does not come after the bar before it; "
            "sort the bars by open time and drop doubles"
        )
    bad = np.flatnonzero(~(np.isfinite(bars.close) & (bars.close > 0)))
    if len(bad):
        row = int(bad[0])
        raise TrainingError(
            f"bar {row} ({iso(int(bars.open_time[row]))}) has close {bars.close[row]}; "
            "a close must be a finite number above zero: fetch the bar again or drop it"
        )


def _labelled_rows(bars: Bars, interval: Interval, params: LabelParams, regime: str) -> _Rows:
    table = _FEATURES.table(bars, interval)
    classes = window_labels(bars, params, table_regimes(table, regime)[:, 1]).signal
    first = _FEATURES.window - 1
    rows = _Rows(bars.open_time[first:], table[first:], classes[first:])
    if len(rows) < FEWEST_ROWS:
        raise TrainingError(
            f"{len(bars)} bars give {len(rows)} rows, for the first {first} only fill the "
            f"averages; training needs {FEWEST_ROWS} rows or more: fetch a longer history"
        )
    return rows


def _refuse_missing_class(classes: Classes, params: LabelParams) -> None:
    counts = class_counts(classes)
    if all(counts.values()):
        return
    found = ", ".join(f"{name} {count}" for name, count in counts.items())
    lacking = ", ".join(name for name, count in counts.items() if not count)
    raise TrainingError(
        f"the {len(classes)} training rows hold no {lacking} ({found}) with a lookahead of "
        f"{params.lookahead_bars} bars, target {params.profit_target_pct} % and stop "
        f"{params.stop_loss_pct} %: fetch a longer history, or change the target, the stop or the "
        "lookahead until each class occurs"
    )


def _fitted(train: _Rows, estimators: int) -> tuple[Any, Any]:
    columnwise = np.asfortranarray(train.features)  # sums run as in the notebook's data frame
    scaler = StandardScaler().fit(columnwise)
    classifier = xgboost.XGBClassifier(n_estimators=estimators, **_SETTINGS)
    classifier.fit(scaler.transform(train.features), train.classes)
    return scaler, classifier


def _spec(
    symbol: str,
    interval: str,
    params: LabelParams,
    *,
    threshold: float,
    regime: str,
    scaler: Any,  # noqa: ANN401 - scikit-learn has no types
    classifier: Any,  # noqa: ANN401 - nor has xgboost
    provenance: dict[str, object],
) -> ModelSpec:
    return ModelSpec(
        symbol=symbol,
        interval=interval,
        feature_set=_FEATURES.name,
        feature_names=_FEATURES.columns,
        mean=scaler.mean_,
        scale=scaler.scale_,
        booster=bytes(classifier.get_booster().save_raw("ubj")),
        threshold=threshold,
        target=Target(params.lookahead_bars, params.profit_target_pct, params.stop_loss_pct),
        regime=regime,
        provenance=provenance,
    )


def _target_params(params: LabelParams) -> dict[str, float]:
    return {
        "lookahead_bars": params.lookahead_bars,
        "profit_target_pct": params.profit_target_pct,
        "stop_loss_pct": params.stop_loss_pct,
    }


def _evaluations(
    answers: NDArray[np.float32],
    truth: Classes,
    train_truth: Classes,
    params: LabelParams,
    threshold: float,
) -> dict[str, Any]:
    labelled = slice(0, max(0, len(truth) - params.lookahead_bars))
    return {
        "as_notebook": evaluation(answers, truth, train_truth, threshold),
        "labelled_only": evaluation(answers[labelled], truth[labelled], train_truth, threshold),
    }


def _span(rows: _Rows) -> dict[str, object]:
    return {
        "rows": len(rows),
        "first_open_time": int(rows.open_time[0]),
        "last_open_time": int(rows.open_time[-1]),
    }


def _gaps(bars: Bars, interval: Interval) -> int:
    """Count the places where one or more slots are missing."""
    times = bars.open_time.tolist()
    return sum(interval.end(earlier) != later for earlier, later in itertools.pairwise(times))


def _versions() -> dict[str, str]:
    versions = {
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "xgboost": xgboost.__version__,
    }
    try:
        versions["candled"] = importlib.metadata.version("candled")
    except importlib.metadata.PackageNotFoundError:  # a source tree that was never installed
        versions["candled"] = "unknown"
    return versions
