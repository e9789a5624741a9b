"""The sections on what speaks for and against the method itself, whatever it found."""

from __future__ import annotations

from candled.lab.bootstrap import Interval
from candled.lab.facts import Facts, TrialFact
from candled.lab.report import charts
from candled.lab.report.html import (
    Column,
    Markup,
    element,
    figure,
    paragraph,
    section,
    table,
)
from candled.lab.verdict import PSI_SHIFTED
from candled.lab.words import (
    count,
    number,
    percent,
    share,
    share_interval,
    signed_interval,
)


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
