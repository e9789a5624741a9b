"""The proof that features and a model are causal and the same everywhere, on a frame of candles."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields

import pandas as pd

from candled.lab.report.html import Markup, element, joined
from candled.lab.verify import CHECKS
from candled.lab.verify import verify as verify_bars
from candled.lab.verify.facts import Finding, Verification
from candled.workbench.candles import understood
from candled.workbench.models import AnyPath, SignalModel, candles_for, model_of
from candled_adapters.feature_sets import find_feature_set


@dataclass(frozen=True, repr=False)
class Proof:
    """What was compared, and what differed."""

    verification: Verification
    """As data."""

    @property
    def ok(self) -> bool:
        """Whether no bit differs."""
        return self.verification.ok

    @property
    def checks(self) -> pd.DataFrame:
        """A row for each check: what it compares, how many cells and rows, how many findings."""
        return pd.DataFrame(
            {
                "compares": one.about,
                "cells": one.cells,
                "rows": one.rows,
                "findings": len(one.findings),
            }
            for one in self.verification.checks
        ).set_index(pd.Index([one.name for one in self.verification.checks], name="check"))

    @property
    def findings(self) -> pd.DataFrame:
        """A row for each column that differs: the check, the first bar, what happens there."""
        rows = [asdict(one) for one in self.verification.findings]
        return pd.DataFrame(rows, columns=[field.name for field in fields(Finding)])

    def __repr__(self) -> str:
        lines = [self._headline, *(f"- {one.text}" for one in self.verification.findings)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        said = element("p", element("strong", self._headline))
        shown = self.checks if self.ok else self.findings
        return joined((said, Markup(shown.to_html())))

    @property
    def _headline(self) -> str:
        said = self.verification
        compared = f"{said.subject}: {said.cells:,} cells compared on {said.bars:,} bars"
        return f"{compared}, {'no bit differs' if self.ok else 'NOT the same'}"


def verify(
    candles: pd.DataFrame,
    model: SignalModel | AnyPath | None = None,
    *,
    interval: str | None = None,
    features: str = "mar",
    checks: Collection[str] | None = None,
    seed: int = 0,
) -> Proof:
    """Prove that rows know the past alone and are the same live and in batch: docs/verify.md.

    Args:
        candles: [n] closed bars, see `bars`; more than the set's history for a full proof.
        model: a model or its bundle's folder: it and its own feature set are verified.
        interval: name such as ``1h``; None is the model's, or the most common step.
        features: the set to verify where no model is given.
        checks: names of some (docs/verify.md); None is all of them.
        seed: of the rows that are sampled; the same seed compares the same cells.

    Raises:
        FrameError: see `bars`.
        FeatureSetError: an unknown set.
        ValueError: an unknown check.

    >>> candled.verify(candled.synthetic_candles(800), checks=["future dropped", "repeat"]).ok
    True
    """
    if model is None:
        of, subject, asked = (
            understood(candles, interval),
            find_feature_set(features).features,
            None,
        )
    else:
        asked = model_of(model).model
        of, subject = candles_for(candles, model_of(model)), asked.features
    return Proof(
        verify_bars(subject, of.bars, of.interval, model=asked, checks=checks or CHECKS, seed=seed)
    )
