"""Everything that decides which model is made of given bars, as data.

A recipe and the same bars give the same bits again, on any number of cores. Its JSON form goes into
a bundle's provenance and comes back out of it, so that a model can be judged by the recipe that
made it. Knows no bars, no library and no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from candled.core.labels import LabelParams
from candled.core.regime import regime_rule
from candled.lab.rules import label_rule


@dataclass(frozen=True, slots=True)
class Boosting:
    """Gradient boosted trees; the defaults are small on purpose: there is little to learn.

    Names and meaning: https://xgboost.readthedocs.io/en/stable/parameter.html
    """

    n_estimators: int = 120
    max_depth: int = 3
    learning_rate: float = 0.05
    subsample: float = 0.5
    colsample_bytree: float = 0.4
    min_child_weight: float = 50.0
    reg_lambda: float = 5.0
    random_state: int = 42
    n_jobs: int = 1
    """Threads of one fit. With one the bits do not depend on the machine's cores."""


#: As the notebook has it; what it does not set is XGBoost's default.
NOTEBOOK_BOOSTING: Final = Boosting(
    n_estimators=200,
    max_depth=6,
    learning_rate=0.1,
    subsample=0.8,
    colsample_bytree=0.8,
    min_child_weight=1.0,
    reg_lambda=1.0,
    n_jobs=-1,
)

_MOST_COSTS: Final = 100.0

ThresholdKind = Literal["fixed", "coverage", "value"]


@dataclass(frozen=True, slots=True)
class ThresholdRule:
    """How the threshold of a model is found. Raises ValueError."""

    kind: ThresholdKind = "coverage"
    """``fixed``: as given; ``coverage``: so that a share of the bars is signalled; ``value``: where
    the mean result after costs was best."""
    value: float = 0.05
    """The threshold itself; the share (0 to 1); or the costs of a round trip in percent."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if self.kind == "value":
            if not 0 <= self.value < _MOST_COSTS:
                raise ValueError(f"costs are 0 to {_MOST_COSTS:g} percent; they are {self.value!r}")
        elif not 0 < self.value < 1:
            raise ValueError(
                f"a {self.kind} threshold takes a number between 0 and 1; it is {self.value!r}"
            )


@dataclass(frozen=True, slots=True)
class Tried:
    """How many configurations were tried before this one was chosen, and what that costs."""

    configurations: int
    deflated_sharpe: float | None = None
    """Probability that the Sharpe ratio is above what the best of as many worthless ones has."""
    overfitting_probability: float | None = None
    """Probability that the best in training is below the median in testing (CSCV)."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an honest model is trained and judged. Raises ValueError."""

    feature_set: str = "mar-scalefree"
    label_rule: str = "window"
    labels: LabelParams = field(default_factory=LabelParams)
    regime: str = "notebook"
    """Preset that settles labels where both sides qualify, and that the reports split by."""
    boosting: Boosting = field(default_factory=Boosting)
    folds: int = 11
    """Consecutive test blocks of the walk-forward."""
    first_share: float = 0.4
    """Share of the rows that are never tested."""
    embargo: int | None = None
    """Bars kept free between train labels and a test block; None is the label's lookahead."""
    balance_classes: bool = False
    """Weigh classes evenly: more signals, but no longer probabilities of what happens."""
    weigh_uniqueness: bool = True
    """Weigh rows by how little their label's bars overlap with others'; only where ends are
    exact, that is with ``first_touch``."""
    calibrate: bool = True
    """Fold a temperature, fitted out of sample, into the trees."""
    abstain_alpha: float = 0.1
    """Share of each class that the conformal sets may miss."""
    threshold: ThresholdRule = field(default_factory=ThresholdRule)
    tried: Tried | None = None
    """The search that it was chosen by; None is no search. It changes nothing about the training,
    but goes with the model, so that nobody takes the best of many for the only one."""

    def __post_init__(self) -> None:
        """Refuse names and numbers that no training can use."""
        label_rule(self.label_rule)
        regime_rule(self.regime)
        if self.folds < 2:  # noqa: PLR2004 - the first fold calibrates nothing
            raise ValueError(f"folds must be 2 or more; it is {self.folds}")
        if self.embargo is not None and self.embargo < 0:
            raise ValueError(f"embargo must be 0 bars or more; it is {self.embargo}")
        for name in ("abstain_alpha", "first_share"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1; it is {getattr(self, name)}")

    @property
    def embargo_bars(self) -> int:
        """The embargo in bars."""
        return self.labels.lookahead_bars if self.embargo is None else self.embargo

    @property
    def weighs_uniqueness(self) -> bool:
        """Whether rows are weighed: asked for, and the label's ends are exact."""
        return self.weigh_uniqueness and self.label_rule == "first_touch"

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Recipe:
        """Build a recipe from what `as_json` returned; raises TypeError, KeyError or ValueError."""
        parts = {
            "labels": LabelParams(**told["labels"]),
            "boosting": Boosting(**told["boosting"]),
            "threshold": ThresholdRule(**told["threshold"]),
            "tried": Tried(**told["tried"]) if told.get("tried") else None,
        }
        return cls(**{**told, **parts})
