"""The sections that the notebook lacks: against what, how sure, and after which costs."""

from __future__ import annotations

from typing import Final

from candled.lab.facts import Facts
from candled.lab.report import charts
from candled.lab.report.html import (
    Column,
    Markup,
    details,
    figure,
    paragraph,
    section,
    table,
)
from candled.lab.report.notebook import selections
from candled.lab.words import (
    NOTHING,
    count,
    day,
    number,
    share,
    share_interval,
    signed_interval,
)

_IN_CHART: Final = (0.01, 0.05, 0.10)


def losses(facts: Facts, key: str) -> Markup:
    """Show the model beside what needs no model."""
    return section(
        f"{key}-losses",
        "Against what needs no model",
        paragraph(
            "The log-loss punishes sure answers that are wrong. Constant class shares know nothing "
            "but how frequent the classes are: a model that does not beat them knows nothing of "
            "the next bars. An interval that holds 0 may be luck."
        ),
        table(
            "Log-loss and Brier score, smaller is better",
            [
                Column("Answers of", is_text=True),
                Column("Log-loss", "nats a row"),
                Column("Brier", "squared error summed over the classes, 0 to 2"),
                Column("Model is better by", "nats a row, with its 95 % interval"),
                Column("n"),
            ],
            [
                [
                    one.name,
                    number(one.log_loss, 4),
                    number(one.brier, 4),
                    NOTHING if one.advantage is None else signed_interval(one.advantage, 4),
                    count(one.rows),
                ]
                for one in facts.losses
            ],
        ),
    )


def folds(facts: Facts, key: str) -> Markup:
    """Show each block of the walk-forward."""
    better = sum(1 for one in facts.folds if (one.skill.estimate or 0.0) > 0)
    return section(
        f"{key}-folds",
        "Fold by fold",
        figure(
            f"{key}-skill",
            charts.folds(facts.folds),
            title="Skill of each tested block",
            caption=f"Above the line the model beats constant class shares: in {better} of "
            f"{len(facts.folds)} blocks. Each block was answered by a model fitted on what came "
            "before it only. Skill that comes from one block is skill in one market.",
        ),
        table(
            "Folds",
            [
                Column("Tested from", is_text=True),
                Column("to", is_text=True),
                Column("Trained on"),
                Column("Tested"),
                Column("Log-loss"),
                Column("Class shares"),
                Column("Skill", "nats a row, with its 95 % interval"),
                Column("Temperature", "above 1 the answers were cooled"),
            ],
            [
                [
                    day(one.first_open_time),
                    day(one.last_open_time),
                    count(one.train_rows),
                    count(one.rows),
                    number(one.log_loss, 4),
                    number(one.share_log_loss, 4),
                    signed_interval(one.skill, 4),
                    number(one.temperature, 2),
                ]
                for one in facts.folds
            ],
        ),
    )


def reliability(facts: Facts, key: str) -> Markup:
    """Show whether probabilities mean what they say."""
    errors = " and ".join(f"{number(one.ece, 3)} for {one.side}" for one in facts.reliability)
    return section(
        f"{key}-reliability",
        "Do probabilities mean what they say?",
        figure(
            f"{key}-calibration",
            charts.reliability(facts.reliability),
            title="Reliability",
            caption="Each point holds a tenth of the rows. On the dotted line, what is said "
            "happens as often as it is said; below it the model is too sure. The expected "
            f"calibration error is {errors}. A flat cloud at the base rate is well calibrated and "
            "useless.",
        ),
        details(
            "What was said and what happened",
            [
                Column("Side", is_text=True),
                Column("Said"),
                Column("Happened", "with its 95 % interval"),
                Column("n"),
            ],
            [
                [side.side, share(one.said), share_interval(one.happened), count(one.happened.n)]
                for side in facts.reliability
                for one in side.bins
            ],
        ),
    )


def coverage(facts: Facts, key: str) -> Markup:
    """Show how precision falls as more rows are picked."""
    named = [(f"{one.side}, surest {share(one.asked, 0)}", one) for one in facts.coverages]
    return section(
        f"{key}-coverage",
        "The surest signals",
        figure(
            f"{key}-precision",
            charts.coverage(facts.coverages),
            title="Precision against coverage",
            caption="From left to right more rows are picked, the surest first. A model with skill "
            "is above its dotted line on the left, and its band clear of it. Here the thresholds "
            "are found with hindsight; the next section has those of the time.",
        ),
        selections(facts, named, "The surest rows of each side"),
    )


def expectancy(facts: Facts, key: str) -> Markup:
    """Show what signals brought after costs."""
    at_the_time = [(f"{one.side}, as published", one) for one in facts.published]
    hindsight = [
        (f"{one.side}, surest {share(one.asked, 0)}", one)
        for one in facts.coverages
        if one.asked in _IN_CHART
    ]
    drawn = [(name, one) for name, one in (*at_the_time, *hindsight) if one.gross.n]
    fired = facts.published[-1].gross.n
    return section(
        f"{key}-costs",
        "After costs",
        paragraph(
            "Entered at the next open, left at the target, the stop or the time limit, the stop "
            "first; no compounding and one position a signal. Published signals are those above "
            "the threshold that earlier folds had chosen."
            + ("" if fired else " With it there was no signal.")
            + _finished(facts)
        ),
        figure(
            f"{key}-net",
            charts.expectancy(facts, [name for name, _ in drawn], [one for _, one in drawn]),
            title="Mean result of a signal at each cost",
            caption="A point above 0 whose bar reaches below it is not distinguishable from no "
            "gain. The best of several points is better than it will be: trust those as "
            "published.",
            tall="tall",
        ),
        selections(facts, at_the_time, "Published signals"),
    )


def _finished(facts: Facts) -> str:
    found = facts.threshold
    if found.value is None:
        return ""
    how = found.rule.replace("_", " ")
    return f" The finished model has the threshold {number(found.value, 4)} ({how})."
