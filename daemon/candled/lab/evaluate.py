"""How good a model's answers were, as plain JSON values, beside what needs no model.

Numbers about rows that were not trained on; knows no bars, no features and no files. An accuracy
says nothing alone, so each figure comes with what always answering the commonest class, or the
class shares of the training rows, would have reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candled.core.decision import signals
from candled.core.model import CLASSES
from candled.lab.bootstrap import BLOCK, Interval, mean_interval

Classes = NDArray[np.int8]
Floats = NDArray[np.float64]
Answers = NDArray[np.float32] | Floats
"""[m, 3] probabilities, in the order of `CLASSES`."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How one class was found."""

    precision: float | None
    """Share of the rows called this class that are of it; None where none was called so."""
    recall: float | None
    """Share of the rows of this class that were called so; None where there are none."""
    f1: float | None
    """2 * right / (called + rows); None where both are 0."""
    rows: int
    """Rows that are of this class."""


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
    shares = share_answers(train_truth, len(truth))
    return {
        "rows": len(truth),
        "class_counts": counts,
        "accuracy": float(np.mean(answers.argmax(axis=1) == truth)),
        "majority_class_accuracy": max(counts.values()) / len(truth),
        "log_loss": float(np.mean(losses(answers, truth))),
        "class_share_log_loss": float(np.mean(losses(shares, truth))),
        "above_threshold": _above_threshold(signals(answers, threshold), truth),
    }


def class_counts(classes: Classes) -> dict[str, int]:
    """Count each class by name, absent ones as 0."""
    counted = np.bincount(classes, minlength=len(CLASSES)).tolist()
    return dict(zip(CLASSES, counted, strict=True))


def share_answers(train_truth: Classes, m: int) -> Floats:
    """Return [m, 3] what knows nothing but the class shares of the training rows answers.

    Raises ValueError without training rows.
    """
    if not len(train_truth):
        raise ValueError("there are no training rows to take class shares of")
    shares = np.bincount(train_truth, minlength=len(CLASSES)) / len(train_truth)
    return np.tile(shares, (m, 1))


def losses(answers: Answers, truth: Classes) -> Floats:
    """Return [m] the log-loss of each row in nats; finite even where the truth got 0."""
    of_truth = answers[np.arange(len(truth)), truth].astype(np.float64)
    return np.asarray(-np.log(np.maximum(of_truth, np.finfo(np.float64).tiny)))


def brier(answers: Answers, truth: Classes) -> Floats:
    """Return [m] the Brier score of each row, summed over the classes: 0 best, 2 worst.

    G. W. Brier, "Verification of forecasts expressed in terms of probability" (1950).
    """
    missed = answers.astype(np.float64) - np.eye(len(CLASSES))[truth]
    return np.asarray(np.cumsum(missed**2, axis=1)[:, -1])


def skill(
    answers: Answers, truth: Classes, train_truth: Classes, *, block: int = BLOCK, seed: int = 0
) -> Interval:
    """Return how many nats a row the answers are better than the class shares of the train rows.

    Above 0 the model knows something; the interval is of the mean difference of losses on the
    same rows, redrawn in blocks of `block`.
    """
    gained = losses(share_answers(train_truth, len(truth)), truth) - losses(answers, truth)
    return mean_interval(gained, block=block, seed=seed)


def confusion(called: Classes, truth: Classes) -> NDArray[np.int64]:
    """Return [3, 3] row counts: by true class down, by the class they were called across."""
    size = len(CLASSES)
    cells = np.bincount(truth.astype(np.int64) * size + called, minlength=size * size)
    return cells.reshape(size, size)


def class_scores(called: Classes, truth: Classes) -> dict[str, ClassScore]:
    """Return precision, recall and F1 of each class by name."""
    cells = confusion(called, truth)
    return {
        name: _class_score(int(cells[i, i]), int(cells[:, i].sum()), int(cells[i].sum()))
        for i, name in enumerate(CLASSES)
    }


def _class_score(right: int, called: int, rows: int) -> ClassScore:
    return ClassScore(
        precision=right / called if called else None,
        recall=right / rows if rows else None,
        f1=2 * right / (called + rows) if called + rows else None,
        rows=rows,
    )


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
