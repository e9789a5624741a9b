"""How good a model's answers were, as plain JSON values, beside what needs no model.

Numbers about rows that were not trained on; knows no bars, no features and no files. An accuracy
says nothing alone, so each figure comes with what always answering the commonest class, or the
class shares of the training rows, would have reached.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from candled.core.decision import signals
from candled.core.model import CLASSES

Classes = NDArray[np.int8]


def evaluation(
    answers: NDArray[np.float32], truth: Classes, train_truth: Classes, threshold: float
) -> dict[str, Any]:
    """Compare probabilities [m, 3] with the true classes [m] of rows not trained on.

    Args:
        answers: of the model, in the order of `CLASSES`.
        truth: 0 no trade, 1 long, 2 short.
        train_truth: the classes that the model was trained on.
        threshold: a side counts as signalled strictly above it; short wins where both are.

    Returns:
        Row and class counts, and unless there are no rows: accuracies, log-losses (nats), and for
        each side how often it was signalled and how often that was right.
    """
    counts = class_counts(truth)
    if not len(truth):
        return {"rows": 0, "class_counts": counts}
    shares = np.array(list(class_counts(train_truth).values())) / len(train_truth)
    return {
        "rows": len(truth),
        "class_counts": counts,
        "accuracy": float(np.mean(answers.argmax(axis=1) == truth)),
        "majority_class_accuracy": max(counts.values()) / len(truth),
        "log_loss": _log_loss(answers.astype(np.float64), truth),
        "class_share_log_loss": _log_loss(np.broadcast_to(shares, answers.shape), truth),
        "above_threshold": _above_threshold(signals(answers, threshold), truth),
    }


def class_counts(classes: Classes) -> dict[str, int]:
    """Count each class by name, absent ones as 0."""
    counted = np.bincount(classes, minlength=len(CLASSES)).tolist()
    return dict(zip(CLASSES, counted, strict=True))


def _log_loss(answers: NDArray[np.float64], truth: Classes) -> float:
    of_truth = answers[np.arange(len(truth)), truth]
    return float(-np.mean(np.log(np.maximum(of_truth, np.finfo(np.float64).tiny))))


def _above_threshold(signalled: Classes, truth: Classes) -> dict[str, dict[str, Any]]:
    result = {}
    for side, name in enumerate(CLASSES[1:], start=1):
        chosen = signalled == side
        count = int(np.count_nonzero(chosen))
        result[name] = {
            "signals": count,
            "coverage": count / len(truth),
            "precision": float(np.mean(truth[chosen] == side)) if count else None,
            "base_rate": float(np.mean(truth == side)),
        }
    return result
