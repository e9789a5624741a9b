"""The sections that the notebook has, each beside what it leaves out."""

from __future__ import annotations

from candled.core.model import CLASSES
from candled.lab.facts import Facts, Selection
from candled.lab.report import charts
from candled.lab.report.html import (
    Column,
    Markup,
    details,
    element,
    figure,
    joined,
    paragraph,
    section,
    table,
)
from candled.lab.report.recent import BARS, recent
from candled.lab.study import Study
from candled.lab.verdict import is_above
from candled.lab.words import (
    NOTHING,
    PERCENT,
    count,
    day,
    number,
    percent,
    share,
    share_interval,
    signed_interval,
)

_REASONS = {
    "warm_up": "averages not filled yet",
    "unlabelled": "future not known yet",
    "gap_behind": "a gap among the bars looked back at",
    "gap_ahead": "a gap among the bars looked ahead at",
    "not_finite": "a feature that is no number",
}


def rows(facts: Facts, key: str) -> Markup:
    """Say what was looked at, and how the classes are spread."""
    told = facts.rows
    dropped = ", ".join(f"{count(n)} {_REASONS[name]}" for name, n in told.dropped.items() if n)
    return section(
        f"{key}-rows",
        "Rows and classes",
        paragraph(
            f"{count(told.bars)} bars from {day(told.first_open_time)} to "
            f"{day(told.last_open_time)} (UTC) give {count(told.usable)} usable rows"
            + (f"; left out: {dropped}. " if dropped else ". ")
            + f"{count(told.tested)} rows from {day(told.tested_first)} to "
            f"{day(told.tested_last)} were tested, each by a model that had not seen it. A label "
            f"looks {told.lookahead_bars} bars ahead for {told.profit_target_pct:g}{PERCENT} "
            f"profit and {told.stop_loss_pct:g}{PERCENT} loss, so neighbouring labels share bars: "
            f"the tested rows are worth about {count(told.independent)} independent ones."
        ),
        figure(
            f"{key}-balance",
            charts.balance(facts.balances),
            title="Class balance",
            caption="How often each class occurs, over all rows and in each regime. Always naming "
            "the longest bar's class is right that often, without knowing anything.",
        ),
        table(
            "Class balance",
            [
                Column("Rows", is_text=True),
                Column("n"),
                *(Column(_spoken(one)) for one in CLASSES),
            ],
            [
                [one.name, count(one.rows), *(_of(one.counts[name], one.rows) for name in CLASSES)]
                for one in facts.balances
            ],
        ),
    )


def classification(facts: Facts, key: str) -> Markup:
    """Show the classification report and the confusion matrix."""
    found = facts.classification
    verb = "more" if is_above(found.over_majority) else "not clearly more"
    names = [_spoken(name) for name in CLASSES]
    return section(
        f"{key}-classes",
        "Classification report",
        paragraph(
            f"The likeliest class is right in {share(found.accuracy)} of {count(found.rows)} rows, "
            f"{verb} than the {share(found.majority_accuracy)} of always naming the commonest "
            f"class (difference {share_interval(found.over_majority)}). "
            "Accuracy says little about a model whose use is to be sure now and then."
        ),
        table(
            "Each class",
            [
                Column("Class", is_text=True),
                Column("Precision", "share of the rows called so that are so"),
                Column("Recall", "share of the rows that are so that were called so"),
                Column("F1"),
                Column("Base rate", "share of all rows that are so"),
                Column("Rows"),
            ],
            [
                [
                    _spoken(name),
                    share(score.precision),
                    share(score.recall),
                    number(score.f1, 2),
                    share(score.rows / found.rows),
                    count(score.rows),
                ]
                for name, score in found.scores.items()
            ],
        ),
        figure(
            f"{key}-confusion",
            charts.confusion(found),
            title="Confusion matrix",
            caption="Each row is a true class, each column what it was called; right answers are "
            "on the diagonal. A column that is full from top to bottom is a class that is "
            "named whatever happens.",
        ),
        details(
            "Confusion matrix: true class down, called class across",
            [Column("True class", is_text=True), *(Column(f"called {one}") for one in names)],
            [
                [name, *(_of(cell, sum(cells)) for cell in cells)]
                for name, cells in zip(names, found.confusion, strict=True)
            ],
        ),
    )


def importances(facts: Facts, key: str) -> Markup:
    """Show the features with the largest gain."""
    if not facts.importances:
        return Markup("")
    best = facts.importances[0]
    return section(
        f"{key}-importances",
        "Feature importances",
        figure(
            f"{key}-gain",
            charts.importances(facts.importances),
            title=f"The {len(facts.importances)} features with the largest share of the gain",
            caption=f"{best[0]} leads with {share(best[1])}. Gain says what the trees used on the "
            "rows that they were fitted on, not what helps on others: trees fitted on noise have "
            "importances too.",
            tall="tallest",
        ),
    )


def confidence(facts: Facts, key: str) -> Markup:
    """Show what confident answers brought, honestly and as the notebook counts it."""
    columns = [
        Column("Signals", is_text=True),
        Column("n"),
        Column("Precision", "share that was right, with its 95 % interval"),
        Column("Base rate", "precision of picking at random"),
        Column(
            "Best excursion",
            "the notebook's “average potential return”: the best price within the lookahead, "
            "without stop and fees",
        ),
        *(
            Column(f"Net at {cost:.2f} %", "" if at else "entered at the next open, stop first")
            for at, cost in enumerate(facts.costs_pct)
        ),
    ]
    none = all(one.precision.n == 0 for one in facts.confidence)
    return section(
        f"{key}-confidence",
        "High-confidence signals",
        paragraph(
            "The best excursion is what one would have made by leaving at the very best price: it "
            "is positive for signals drawn by lot as well. The net columns are what entering at "
            "the next open brought, when a bar that touches both stop and target counts as "
            "stopped."
        ),
        paragraph(
            f"The model is never as sure as that: no answer for a side is above "
            f"{share(_lowest(facts.confidence))}.",
            class_="finding",
        )
        if none
        else table(
            "Signals above rising thresholds",
            columns,
            [_selection(one, f"{one.side} above {one.threshold:.2f}") for one in facts.confidence],
        ),
    )


def newest(study: Study, key: str) -> Markup:
    """Show the newest tested bars."""
    return section(
        f"{key}-newest",
        f"The last {BARS} tested bars",
        figure(
            f"{key}-bars",
            recent(study),
            title="Price, regime, signals and probabilities",
            caption="Above: candles with long (triangle up) and short (triangle down) signals at "
            "the threshold in effect. The strip is the regime: grey ranging, blue trending up, "
            "orange trending down. Below: what the model said of each side, and the threshold, "
            "where there was one. The eye finds the signals that worked; the tables count all.",
            tall="tallest",
        ),
    )


def selections(facts: Facts, chosen: list[tuple[str, Selection]], caption: str) -> Markup:
    """Show picked rows: how many, how often right against chance, and what they brought."""
    columns = [
        Column("Signals", is_text=True),
        Column("n"),
        Column("Precision", "share that was right, with its 95 % interval"),
        Column("Base rate", "precision of picking at random"),
        Column("Lift", "precision / base rate"),
        *(Column(f"Net at {cost:.2f} %") for cost in facts.costs_pct),
    ]
    made = []
    for name, one in chosen:
        cells = _selection(one, name)
        cells[4] = number(one.lift, 2)
        made.append(cells)
    return table(caption, columns, made, note="Net results are the mean of a signal in percent.")


def _selection(one: Selection, name: str) -> list[str]:
    return [
        name,
        count(one.precision.n),
        share_interval(one.precision),
        share(one.base_rate),
        percent(one.best_excursion_pct),
        *(signed_interval(net, 2) for net in one.net),
    ]


def _lowest(chosen: tuple[Selection, ...]) -> float:
    return min(one.threshold for one in chosen if one.threshold is not None)


def _of(part: int, whole: int) -> Markup:
    """Write a count with its share below it."""
    of = share(part / whole) if whole else NOTHING
    return joined((count(part), " ", element("small", of)))


def _spoken(name: str) -> str:
    return name.replace("_", " ")
