"""One fit: scaler and boosted trees, with the notebook's own libraries.

Thread settings are the caller's: set ``OMP_WAIT_POLICY=PASSIVE`` before XGBoost is imported, or
threads that wait for each other spin (five times slower on a busy machine).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from candled.core.labels import LabelParams
from candled.core.model import CLASSES
from candled.lab.dataset import TrainingError
from candled.lab.evaluate import class_counts
from candled.lab.recipe import Boosting

Floats = NDArray[np.float64]
Classes = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A scaler and a classifier that belong together."""

    scaler: Any
    """The fitted `sklearn.preprocessing.StandardScaler`."""
    classifier: Any
    """The fitted `xgboost.XGBClassifier`."""

    def probabilities(self, features: Floats) -> NDArray[np.float32]:
        """Return [n, 3] (no trade, long, short) for feature rows [n, k]."""
        answers: NDArray[np.float32] = self.classifier.predict_proba(
            self.scaler.transform(features)
        )
        return answers

    def booster(self) -> bytes:
        """Return the trees in XGBoost's UBJSON."""
        return bytes(self.classifier.get_booster().save_raw("ubj"))


def fit(
    features: Floats,
    classes: Classes,
    boosting: Boosting,
    weights: Floats | None = None,
) -> Fitted:
    """Fit a scaler on rows [n, k] and trees on the scaled rows; `weights` [n] have a mean of 1."""
    columnwise = np.asfortranarray(features)  # sums run as in the notebook's data frame
    scaler = StandardScaler().fit(columnwise)
    classifier = xgboost.XGBClassifier(eval_metric="mlogloss", **asdict(boosting))
    classifier.fit(scaler.transform(features), classes, sample_weight=weights)
    return Fitted(scaler, classifier)


def refuse_missing_class(classes: Classes, params: LabelParams, where: str) -> None:
    """Raise TrainingError when the rows `where` (for the text) lack a class."""
    counts = class_counts(classes)
    if all(counts.values()):
        return
    found = ", ".join(f"{name} {count}" for name, count in counts.items())
    lacking = ", ".join(name for name in CLASSES if not counts[name])
    raise TrainingError(
        f"the {len(classes)} {where} hold no {lacking} ({found}) with a lookahead of "
        f"{params.lookahead_bars} bars, target {params.profit_target_pct} % and stop "
        f"{params.stop_loss_pct} %: fetch a longer history, or change the target, the stop or the "
        "lookahead until each class occurs"
    )
