"""What was found out about a model, as frames and in words; the lab's report draws the page."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from candled.core.model import CLASSES
from candled.lab.bootstrap import Interval
from candled.lab.facts import Facts, Findings, Selection
from candled.lab.report import Chapter, render
from candled.lab.report.html import Column, Markup, element, joined, table
from candled.lab.textfile import write_chunks
from candled.lab.words import count, number, share, share_interval, signed_interval
from candled.offline.report import chapters_of
from candled.workbench.models import AnyPath, SignalModel, candles_for, model_of
from candled.workbench.progress import shown

_MARKS: Final = {"good": "✓", "bad": "✗", "warning": "!", "plain": "·"}

_RULES: Final = ("asked", "threshold")  # by which rows are picked: one or the other


@dataclass(frozen=True, repr=False)
class Report:
    """The findings of one study or two; the frames are of the first.

    Shares are from 0 to 1, intervals (``low``, ``high``) are 95 % by block bootstrap, columns that
    end in ``_pct`` are percent. Every row that is counted is one that the model had not seen.
    """

    chapters: tuple[Chapter, ...]

    @property
    def findings(self) -> Findings:
        """All facts and the verdict, as data."""
        return self.chapters[0].findings

    @property
    def verdict(self) -> str:
        """Skill or not, and what costs it survives: a headline, then a sentence a line."""
        said = self.findings.verdict
        return "\n".join([said.headline.text, *(f"- {one.text}" for one in said.statements)])

    @property
    def classification(self) -> pd.DataFrame:
        """Precision, recall, F1 and rows of each class, called by the likeliest."""
        scores = self._facts.classification.scores
        rows = {
            name: {"precision": one.precision, "recall": one.recall, "f1": one.f1, "rows": one.rows}
            for name, one in scores.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    @property
    def confusion(self) -> pd.DataFrame:
        """[3, 3] rows by true class (down) and the class they were called (across)."""
        return pd.DataFrame(
            self._facts.classification.confusion,
            index=pd.Index(CLASSES, name="true"),
            columns=pd.Index(CLASSES, name="called"),
        )

    @property
    def balance(self) -> pd.DataFrame:
        """How many rows are of each class: all usable rows, the tested ones, those of a regime."""
        rows = {one.name: {**one.counts, "rows": one.rows} for one in self._facts.balances}
        return pd.DataFrame.from_dict(rows, orient="index")

    @property
    def losses(self) -> pd.DataFrame:
        """Log-loss (nats) and Brier score of the model and of what needs none.

        ``advantage``: nats a row by which the model is better, with its interval.
        """
        rows = {
            one.name: {
                "log_loss": one.log_loss,
                "brier": one.brier,
                **_interval("advantage", one.advantage),
            }
            for one in self._facts.losses
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    @property
    def coverage(self) -> pd.DataFrame:
        """What each side's surest rows were worth, by the share of rows asked for."""
        return _selections(self._facts.coverages, self._facts.costs_pct)

    @property
    def confidence(self) -> pd.DataFrame:
        """What each side's answers above rising thresholds were worth.

        ``best_excursion_pct`` is the notebook's "potential return", which nobody earns.
        """
        return _selections(self._facts.confidence, self._facts.costs_pct)

    @property
    def published(self) -> pd.DataFrame:
        """What the signals were worth at the threshold that was in effect at the time."""
        return _selections(self._facts.published, self._facts.costs_pct)

    @property
    def folds(self) -> pd.DataFrame:
        """The walk-forward, a row a block: rows, first and last bar (UTC), skill (nats a row)."""
        return pd.DataFrame(
            {
                "train_rows": one.train_rows,
                "rows": one.rows,
                "first": pd.Timestamp(one.first_open_time, unit="ms", tz="UTC"),
                "last": pd.Timestamp(one.last_open_time, unit="ms", tz="UTC"),
                **_interval("skill", one.skill),
            }
            for one in self._facts.folds
        )

    def save(self, path: AnyPath, created_at: dt.datetime | None = None) -> Path:
        """Write the page: one HTML file that needs no network; return its path.

        Raises ReportError without plotly, OSError where it cannot be written.
        """
        moment = created_at or dt.datetime.now(dt.UTC)
        title = f"{self._facts.symbol} {self._facts.interval}"
        write_chunks(Path(path), [render(self.chapters, title=title, created_at=moment)])
        return Path(path)

    def __repr__(self) -> str:
        return self.verdict

    def _repr_html_(self) -> str:
        return joined(_shown(one.findings) for one in self.chapters)

    @property
    def _facts(self) -> Facts:
        return self.findings.facts


def report(
    candles: pd.DataFrame,
    model: SignalModel | AnyPath,
    *,
    quick: bool = False,
    trained_until: int | None = None,
) -> Report:
    """Judge a model, as `candled report` does; shows its progress.

    An honestly trained one is judged by its recipe, walked forward over the candles. Any other is
    judged by the bars after its training and, beside it, the honest recipe on the same candles.

    Args:
        candles: those that it was trained on, or a longer history; see `bars`.
        model: or the folder of its bundle.
        quick: leave out the trials of the method (shuffled labels, a planted signal, a leaking
            split), and the honest recipe beside another model.
        trained_until: open of the last bar trained on (UTC ms), for a bundle that does not say.

    Raises:
        FrameError: see `bars`.
        TrainingError: too few rows.
        UnjudgedError: nothing here is known to be new to the model.

    >>> candles = candled.synthetic_candles(2000)
    >>> made = candled.train(candles, "BTCUSDT", mode="notebook", trees=3)
    >>> candled.report(candles, made, quick=True).confusion.shape
    (3, 3)
    """
    asked = model_of(model)
    of = candles_for(candles, asked)
    with shown() as progress:
        found = chapters_of(
            asked.bundle, of.file, trained_until=trained_until, quick=quick, progress=progress
        )
    return Report(tuple(found))


def _selections(chosen: Sequence[Selection], costs_pct: Sequence[float]) -> pd.DataFrame:
    made = pd.DataFrame(
        {
            "side": one.side,
            "asked": one.asked,
            "threshold": one.threshold,
            "n": one.precision.n,
            "coverage": one.coverage,
            **_interval("precision", one.precision),
            "base_rate": one.base_rate,
            "best_excursion_pct": one.best_excursion_pct,
            **{
                key: value
                for cost, net in zip(costs_pct, one.net, strict=True)
                for key, value in _interval(f"net_pct_at_{cost:.2f}", net).items()
            },
        }
        for one in chosen
    )
    return made.drop(columns=[name for name in _RULES if made[name].isna().all()])


def _interval(name: str, found: Interval | None) -> dict[str, float | None]:
    if found is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}


def _shown(findings: Findings) -> Markup:
    """Return the verdict and what it rests on, for the output of a cell."""
    facts, said = findings.facts, findings.verdict
    return joined(
        (
            element("h4", f"{facts.symbol} {facts.interval}: {facts.title}"),
            element("p", element("strong", said.headline.text)),
            element("ul", *(element("li", f"{_MARKS[s.tone]} {s.text}") for s in said.statements)),
            _losses(facts),
            _worth(facts),
        )
    )


def _losses(facts: Facts) -> Markup:
    names = ("Log-loss", "Brier", "Model is better by (nats)", "n")
    return table(
        "Against what needs no model",
        [Column("Answers of", is_text=True), *map(Column, names)],
        [
            [
                one.name,
                number(one.log_loss, 4),
                number(one.brier, 4),
                signed_interval(one.advantage, 4) if one.advantage else "",
                count(one.rows),
            ]
            for one in facts.losses
        ],
    )


def _worth(facts: Facts) -> Markup:
    costs: list[Any] = [Column(f"Net % at {cost:.2f} %") for cost in facts.costs_pct]
    return table(
        "Signals at the threshold of the time",
        [Column("Side", is_text=True), *map(Column, ("n", "Precision", "Base rate")), *costs],
        [
            [
                one.side,
                count(one.precision.n),
                share_interval(one.precision),
                share(one.base_rate),
                *(signed_interval(net, 2) for net in one.net),
            ]
            for one in facts.published
        ],
    )
