"""What is said about a study, as plain facts: no arrays, no text made for people, nothing to draw.

One source for the terminal, the JSON and the page, so that they cannot disagree. Every share comes
with its count, and every precision with the base rate that guessing would reach.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from candled.core.decision import Evidence
from candled.lab.bootstrap import Interval
from candled.lab.drift import FeatureDrift
from candled.lab.evaluate import ClassScore
from candled.lab.recipe import Tried
from candled.lab.thresholds import Threshold


@dataclass(frozen=True, slots=True)
class Rows:
    """What was looked at."""

    bars: int
    first_open_time: int
    """UTC ms, of the bars."""
    last_open_time: int
    usable: int
    """Rows that could be used at all."""
    dropped: dict[str, int]
    """Bars that gave no row, by reason."""
    tested: int
    """Rows that were answered by a model that had not seen them."""
    tested_first: int
    """UTC ms."""
    tested_last: int
    independent: float
    """How many labels that overlap nothing the tested rows' labels are worth."""
    lookahead_bars: int
    profit_target_pct: float
    stop_loss_pct: float


@dataclass(frozen=True, slots=True)
class Balance:
    """How the classes are spread over some rows."""

    name: str
    rows: int
    counts: dict[str, int]
    """By class name."""


@dataclass(frozen=True, slots=True)
class Classification:
    """The likeliest class against the true one."""

    scores: dict[str, ClassScore]
    """By class name."""
    confusion: tuple[tuple[int, ...], ...]
    """[3][3] true class by answered class."""
    accuracy: float
    majority_accuracy: float
    """What always answering the commonest tested class reaches."""
    over_majority: Interval
    """Accuracy less that."""
    rows: int


@dataclass(frozen=True, slots=True)
class Loss:
    """How good the probabilities of the model, or of what needs none, are."""

    name: str
    log_loss: float
    """Nats a row."""
    brier: float
    """Sum over the classes of squared errors, mean a row (0 to 2)."""
    rows: int
    is_rival: bool
    """Whether it could be used instead of the model, and is not what its skill is measured by."""
    advantage: Interval | None
    """Log-loss of this less that of the model, nats: above 0 where the model is better."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows with similar answers: what was said and what happened."""

    said: float
    """Mean probability."""
    low: float
    """Smallest probability."""
    high: float
    """Largest probability."""
    happened: Interval


@dataclass(frozen=True, slots=True)
class Reliability:
    """Whether a probability of a side means what it says."""

    side: str
    ece: float | None
    """Expected calibration error: mean distance of said and happened, weighed by rows."""
    bins: tuple[Bin, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows that a rule picks for one side, or both, and what trades of them brought."""

    side: str
    """``long``, ``short`` or ``both``."""
    threshold: float | None
    """Probability strictly above which a row is picked; None where it differs between rows."""
    asked: float | None
    """The share of rows asked for, where the rule is a share."""
    coverage: float
    """Share of the tested rows that is picked."""
    precision: Interval
    base_rate: float
    """Precision of picking at random."""
    lift: float | None
    """Precision / base rate."""
    best_excursion_pct: float | None
    """The notebook's "potential return": mean of the best price within the lookahead, no stop and
    no fee. Nobody earns that."""
    gross: Interval
    """Mean result in percent, entered at the next open, the stop first, before costs."""
    net: tuple[Interval, ...]
    """The same after each of the costs."""


@dataclass(frozen=True, slots=True)
class FoldFact:
    """One block of the walk-forward."""

    number: int
    train_rows: int
    rows: int
    first_open_time: int
    """UTC ms of the first tested row."""
    last_open_time: int
    log_loss: float
    share_log_loss: float
    skill: Interval
    temperature: float | None


@dataclass(frozen=True, slots=True)
class DriftFact:
    """What was tested against what the model had been trained on by then."""

    worst: tuple[FeatureDrift, ...]
    """Largest index first; means over the folds, weighed by their tested rows."""
    features: int
    shifted: int
    """Features with an index above `verdict.PSI_SHIFTED`."""
    outside_share: float
    """Share of all tested feature values outside the training range."""
    rows: int
    """Tested rows."""


@dataclass(frozen=True, slots=True)
class TrialFact:
    """What was found on other labels, or on another split."""

    name: str
    rows: int
    log_loss: float
    share_log_loss: float
    skill: Interval
    sure: int
    """Answers for a side above 0.6."""
    sure_precision: float | None
    sure_base_rate: float
    """Precision of naming, at random, as many longs and shorts."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence of the verdict."""

    tone: str
    """``good``, ``bad``, ``warning`` or ``plain``."""
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The study in words, by the rules of `candled.lab.verdict`."""

    skill: str
    """``shown``, ``not shown``, ``worse``, ``unknown`` or ``broken``."""
    survives_cost_pct: float | None
    """Largest of the costs after which the published signals' interval is above 0; None: none."""
    headline: Statement
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything but the verdict."""

    title: str
    symbol: str
    interval: str
    rows: Rows
    balances: tuple[Balance, ...]
    """All usable rows, the tested rows, then the usable ones of each regime."""
    classification: Classification
    losses: tuple[Loss, ...]
    """The model first."""
    skill: Interval
    """Nats a row by which the model beats the training rows' class shares."""
    reliability: tuple[Reliability, ...]
    costs_pct: tuple[float, ...]
    """Of a round trip, ascending; what `Selection.net` is after."""
    threshold: Threshold
    """What the model is published with."""
    published: tuple[Selection, ...]
    """Long, short and both at the threshold that was in effect for each row's fold, chosen by what
    came before it."""
    coverages: tuple[Selection, ...]
    """Each side's surest rows, by share; the threshold is found with hindsight."""
    confidence: tuple[Selection, ...]
    """Each side above rising thresholds."""
    folds: tuple[FoldFact, ...]
    drift: DriftFact
    controls: tuple[TrialFact, ...]
    """``shuffled labels``, ``planted signal``, ``split by time``, ``split at random``; or none."""
    tried: Tried
    evidence: tuple[Evidence, ...]
    """What the bundle's signals carry as their record; empty where it has none."""
    importances: tuple[tuple[str, float], ...]
    """The largest, by share of the gain."""
    block: int
    """Rows in a block of the bootstrap."""
    level: float
    """Of all intervals."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Facts and what they add up to."""

    facts: Facts
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values, the verdict first."""
        return {"verdict": asdict(self.verdict), **asdict(self.facts)}
