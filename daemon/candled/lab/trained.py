"""What a training gives, and what is told of how it was made.

The parts that the notebook's way and the honest one have in common. Nothing here reads a clock or
decides where files go: the time is an argument and so is the directory.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import sklearn
import xgboost

from candled.core.bar import COLUMNS, Bars
from candled.core.decision import WINDOW_RULE, Target
from candled.core.labels import LabelParams
from candled.core.model import ModelSpec
from candled.lab.dataset import Dataset


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


def notebook_metadata(
    spec: ModelSpec,
    params: LabelParams,
    *,
    created_at: dt.datetime,
    train_samples: int,
    test_samples: int,
) -> dict[str, object]:
    """Return the content of the notebook's metadata file."""
    return {
        "symbol": spec.symbol,
        "interval": spec.interval,
        "created_at": created_at.isoformat(),
        "feature_cols": list(spec.feature_names),
        "target_params": target_params(params),
        "train_samples": train_samples,
        "test_samples": test_samples,
    }


def target(params: LabelParams, rule: str = WINDOW_RULE) -> Target:
    """Return the label's rule and parameters as a model carries them."""
    return Target(params.lookahead_bars, params.profit_target_pct, params.stop_loss_pct, rule)


def target_params(params: LabelParams) -> dict[str, float]:
    """Return the label's parameters as the notebook's files have them."""
    return {
        "lookahead_bars": params.lookahead_bars,
        "profit_target_pct": params.profit_target_pct,
        "stop_loss_pct": params.stop_loss_pct,
    }


def span(rows: Dataset) -> dict[str, object]:
    """Say how many rows there are and from when to when."""
    return {
        "rows": len(rows),
        "first_open_time": int(rows.open_time[0]),
        "last_open_time": int(rows.open_time[-1]),
    }


def versions() -> dict[str, str]:
    """Name the versions of what the numbers depend on."""
    found = {
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "xgboost": xgboost.__version__,
    }
    try:
        found["candled"] = importlib.metadata.version("candled")
    except importlib.metadata.PackageNotFoundError:  # a source tree that was never installed
        found["candled"] = "unknown"
    return found
