"""The findings on a screenful of terminal: the verdict, and the tables that it rests on."""

from __future__ import annotations

from typing import Final

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from candled.lab.facts import Facts, Findings, Selection
from candled.lab.words import NOTHING, count, number, share, share_interval, signed_interval

_STYLES: Final = {"good": "green", "bad": "red", "warning": "yellow", "plain": ""}
_SIGNS: Final = {"good": "+", "bad": "x", "warning": "!", "plain": "-"}


def summary(findings: Findings) -> Group:
    """Return what to print: verdict, losses, published and surest signals."""
    facts = findings.facts
    return Group(_verdict(findings), _losses(facts), _selections(facts))


def _verdict(findings: Findings) -> Panel:
    said, facts = findings.verdict, findings.facts
    lines = Text(said.headline.text, style=f"bold {_STYLES[said.headline.tone]}")
    for one in said.statements:
        lines.append(f"\n{_SIGNS[one.tone]} ", style=_STYLES[one.tone])
        lines.append(one.text, style="default")
    return Panel(lines, title=Text(f"{facts.symbol} {facts.interval}: {facts.title}"))


def _losses(facts: Facts) -> Table:
    made = _table("Against what needs no model", "Answers of")
    for name in ("Log-loss", "Brier", "Model is better by (nats)", "n"):
        made.add_column(name, justify="right")
    for one in facts.losses:
        made.add_row(
            Text(one.name),
            number(one.log_loss, 4),
            number(one.brier, 4),
            NOTHING if one.advantage is None else signed_interval(one.advantage, 4),
            count(one.rows),
        )
    return made


def _selections(facts: Facts) -> Table:
    made = _table("Signals", "Side")
    for name in ("n", "Precision", "Base rate"):
        made.add_column(name, justify="right")
    for cost in facts.costs_pct:
        made.add_column(f"Net % at {cost:.2f} %", justify="right")
    for one in (*facts.published, *facts.coverages):
        made.add_row(
            _name(one),
            count(one.precision.n),
            share_interval(one.precision),
            share(one.base_rate),
            *(signed_interval(net, 2) for net in one.net),
        )
    return made


def _name(one: Selection) -> str:
    return f"{one.side}, " + ("published" if one.asked is None else f"surest {share(one.asked, 0)}")


def _table(title: str, first: str) -> Table:
    made = Table(title=title, title_justify="left", pad_edge=False)
    made.add_column(first)
    return made
