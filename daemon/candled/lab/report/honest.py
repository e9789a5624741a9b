"""The sections that the notebook lacks: against what, how sure, and after which costs."""

from __future__ import annotations

from typing import Final

from candled.lab.bootstrap import Interval
from candled.lab.facts import Facts, TrialFact
from candled.lab.report import charts
from candled.lab.report.html import (
    Column,
    Markup,
    details,
    element,
    figure,
    paragraph,
    section,
    table,
)
from candled.lab.report.notebook import selections
from candled.lab.verdict import PSI_SHIFTED
from candled.lab.words import (
    NOTHING,
    count,
    day,
    number,
    percent,
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


def drift(facts: Facts, key: str) -> Markup:
    """Show how far the tested rows are from the training rows."""
    found = facts.drift
    return section(
        f"{key}-drift",
        "Is the market still the one trained on?",
        paragraph(
            f"{share(found.outside_share)} of the tested feature values lie outside the range of "
            f"the rows trained on, and {found.shifted} of {found.features} features have moved "
            f"(index above {PSI_SHIFTED:g}). Trees answer such rows as if they were at the edge."
        ),
        figure(
            f"{key}-psi",
            charts.drift(found, PSI_SHIFTED),
            title="The features that moved most",
            caption=f"Right of the dashed line ({PSI_SHIFTED:g}) a feature is said to have moved. "
            "Prices and averages of prices always do; ratios should not.",
            tall="tall",
        ),
        table(
            "The features that moved most",
            [
                Column("Feature", is_text=True),
                Column("PSI", "population stability index, mean over the folds"),
                Column("Outside", "share of tested values outside the training range"),
            ],
            [[one.name, number(one.psi, 2), share(one.outside)] for one in found.worst],
        ),
    )


def controls(facts: Facts, key: str) -> Markup:
    """Show the method on labels where the truth is known, and the leak."""
    if not facts.controls:
        return section(
            f"{key}-controls",
            "The method on trial",
            paragraph("No controls were run.", class_="finding"),
        )
    other, splits = facts.controls[:2], facts.controls[2:]
    return section(
        f"{key}-controls",
        "The method on trial",
        figure(
            f"{key}-trials",
            charts.trials(facts.skill, other),
            title="Skill where nothing is, and where something is",
            caption="On shuffled labels nothing may be found: a bar clear above 0 there would mean "
            "that the method leaks. A planted signal must be found, or finding nothing means "
            "nothing.",
        ),
        _trials("Trials on other labels", other),
        element("h4", "What a leak looks like"),
        figure(
            f"{key}-leak",
            charts.leak(splits),
            title="The same model, split by time and split at random",
            caption=_leak_in_words(splits),
        ),
        _trials("The notebook's trees on the newest rows", splits),
    )


def _leak_in_words(splits: tuple[TrialFact, ...]) -> str:
    by_time, at_random = splits
    return (
        "Split at random, the neighbours of nearly every tested row were trained on, and their "
        f"labels overlap: above 0.6 it is right in {share(at_random.sure_precision)}, and in "
        f"{share(by_time.sure_precision)} when split by time. Only the second can be had."
    )


def _trials(caption: str, found: tuple[TrialFact, ...]) -> Markup:
    return table(
        caption,
        [
            Column("Trial", is_text=True),
            Column("Log-loss"),
            Column("Class shares"),
            Column("Skill", "nats a row, with its 95 % interval"),
            Column("Above 0.6", "signals of either side"),
            Column("Right"),
            Column("At random"),
            Column("n"),
        ],
        [
            [
                one.name,
                number(one.log_loss, 4),
                number(one.share_log_loss, 4),
                signed_interval(one.skill, 4),
                count(one.sure),
                share(one.sure_precision),
                share(one.sure_base_rate),
                count(one.rows),
            ]
            for one in found
        ],
    )


def evidence(facts: Facts, key: str) -> Markup:
    """Show what the bundle's signals carry as their record."""
    if not facts.evidence:
        return Markup("")
    return section(
        f"{key}-evidence",
        "What each signal carries",
        table(
            "Evidence in the bundle, by the side's probability",
            [
                Column("Band", is_text=True),
                Column("n"),
                Column("Coverage", "share of all rows"),
                Column("Precision", "share that was right, with its 95 % interval"),
                Column("Base rate", "precision of picking at random"),
                Column("Gross", "mean result before costs"),
            ],
            [
                [
                    f"{one.side.value} from {number(one.above)}"
                    + ("" if one.below is None else f" to {number(one.below)}"),
                    count(one.n),
                    share(one.coverage),
                    share_interval(Interval(one.precision, one.low, one.high, one.n)),
                    share(one.base_rate),
                    percent(one.gross_pct),
                ]
                for one in facts.evidence
            ],
        ),
    )


def search(facts: Facts, key: str) -> Markup:
    """Say how many configurations were tried, and what that does to the figures."""
    tried = facts.tried
    text = (
        "One configuration was tried; nothing was picked for its result."
        if tried.configurations == 1
        else f"This is the best of {count(tried.configurations)} configurations; the best of many "
        "looks good by luck alone."
    )
    return section(
        f"{key}-search",
        "How many were tried",
        paragraph(text),
        table(
            "Overfitting by choice",
            [Column("Figure", is_text=True), Column("Value")],
            [
                ["configurations tried", count(tried.configurations)],
                ["deflated Sharpe ratio (above 0.95 is hard to call luck)",
                 number(tried.deflated_sharpe, 2)],
                ["probability of overfitting (0.5 is pure luck)",
                 share(tried.overfitting_probability)],
            ],
        ),
    )  # fmt: skip
