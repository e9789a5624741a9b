"""`train`: a candle file in, a bundle and the notebook's three files out."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from candled.core.bar import Interval
from candled.offline.files import about, candles_of
from candled.offline.models import summary
from candled.offline.threads import quiet_threads
from candled_adapters.artifacts.bundle import write_bundle

Label = tuple[int, float, float]
"""Lookahead in bars, profit in percent, stop in percent."""


def train_bundle(
    candles: Path,
    out: Path,
    *,
    symbol: str,
    interval: Interval,
    threshold: float,
    regime: str,
    label: Label,
) -> str:
    """Train as the notebook does and write a bundle together with the notebook's three files."""
    quiet_threads()
    from candled.lab.labels import LabelParams
    from candled.lab.notebook import train_notebook
    from candled.lab.trained import write_notebook_files

    file = candles_of(candles, interval)
    trained = train_notebook(
        file.bars,
        symbol,
        interval.name,
        params=LabelParams(*label),
        threshold=threshold,
        regime=regime,
        created_at=_now(),
    )

    def add_notebook_files(folder: Path) -> None:
        write_notebook_files(trained, folder)

    bundle = write_bundle(trained.spec, out, add_notebook_files)
    evaluation: Any = trained.spec.provenance["evaluation"]
    return "\n".join([about(file), summary(bundle), *_verdict(evaluation["labelled_only"])])


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
