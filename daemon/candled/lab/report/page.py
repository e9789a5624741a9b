"""One HTML page that needs nothing but a browser: no network, no file beside it, no clock.

The page's content security policy lets run the very scripts that were written into it and nothing
else, so what a symbol or a feature is called can do no harm.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

from candled.core.bar import iso
from candled.lab.backtest.book import Backtest
from candled.lab.backtest.sweep import Sweep
from candled.lab.facts import Findings, Statement
from candled.lab.report import honest, notebook, trust
from candled.lab.report.html import Column, Markup, element, joined, paragraph, table
from candled.lab.report.trading import trading
from candled.lab.study import Study
from candled.lab.words import count

_SIGNS: Final = {"good": "✓", "bad": "✗", "warning": "!", "plain": "·"}
_TONES: Final = {"good": "good", "bad": "bad", "warning": "warning", "plain": "note"}


class ReportError(Exception):
    """A report that cannot be made, and what to change."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """What one page, or a part of it, is about."""

    study: Study
    findings: Findings
    backtests: Mapping[str, Backtest] | None = None
    """By name, as `candled.lab.backtest.strategies.comparison` gives them."""
    swept: Sweep | None = None


def render(chapters: Sequence[Chapter], *, title: str, created_at: dt.datetime) -> bytes:
    """Return the page as UTF-8. Equal arguments and an equal plotly give equal bytes.

    Raises:
        ReportError: plotly is not installed.
    """
    script = _plotly()
    own = _asset("page.js")
    body = element(
        "body",
        element("a", "To the verdict", href="#verdict", class_="skip"),
        element(
            "header",
            element("h1", title),
            paragraph(
                "Made by candled at ",
                element("time", _iso(created_at), datetime=_iso(created_at)),
                ". Past results promise nothing.",
            ),
        ),
        element(
            "main",
            element(
                "div",
                _overview(chapters) if len(chapters) > 1 else Markup(""),
                *(_chapter(one, f"s{at}") for at, one in enumerate(chapters, start=1)),
                id="verdict",
            ),
        ),
        element("script", script),
        element("script", own),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(script, own)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", _asset("page.css")),
    )
    page = joined((Markup("<!doctype html>\n"), element("html", head, body, lang="en")))
    return page.encode()


def _chapter(chapter: Chapter, key: str) -> Markup:
    study, findings = chapter.study, chapter.findings
    facts = findings.facts
    sections = [
        notebook.rows(facts, key),
        notebook.classification(facts, key),
        notebook.confidence(facts, key),
        notebook.importances(facts, key),
        notebook.newest(study, key),
        honest.losses(facts, key),
        honest.folds(facts, key),
        honest.reliability(facts, key),
        honest.coverage(facts, key),
        honest.expectancy(facts, key),
        trust.drift(facts, key),
        trust.controls(facts, key),
        trust.evidence(facts, key),
        trust.search(facts, key),
        trading(chapter.backtests, chapter.swept, key) if chapter.backtests else Markup(""),
    ]
    return element(
        "article",
        element("h2", f"{facts.symbol} {facts.interval}", id=key),
        paragraph(facts.title, class_="subtitle"),
        _verdict(findings),
        _contents(sections, facts.symbol),
        *sections,
        aria_labelledby=key,
    )


def _verdict(findings: Findings) -> Markup:
    said = findings.verdict
    return element(
        "div",
        paragraph(said.headline.text, class_="headline"),
        element("ul", *(_statement(one) for one in said.statements)),
        class_=f"verdict {said.headline.tone}",
    )


def _statement(one: Statement) -> Markup:
    return element(
        "li",
        element("span", _SIGNS[one.tone], class_="sign", role="img", aria_label=_TONES[one.tone]),
        element("span", one.text),
        class_=one.tone,
    )


def _overview(chapters: Sequence[Chapter]) -> Markup:
    return table(
        "All studies",
        [Column("Study", is_text=True), Column("Verdict", is_text=True), Column("n")],
        [
            [
                element("a", f"{one.findings.facts.symbol} {one.findings.facts.interval}: "
                        f"{one.findings.facts.title}", href=f"#s{at}"),
                one.findings.verdict.headline.text,
                count(one.findings.facts.rows.tested),
            ]
            for at, one in enumerate(chapters, start=1)
        ],
    )  # fmt: skip


def _contents(sections: Sequence[Markup], symbol: str) -> Markup:
    """Link to the sections' headings, which already are markup."""
    headings = [re.search(r'<h3 id="([^"]+)">(.*?)</h3>', one) for one in sections]
    return element(
        "nav",
        element(
            "ul",
            *(
                element("li", element("a", Markup(found[2]), href=f"#{found[1]}"))
                for found in headings
                if found
            ),
        ),
        aria_label=f"Contents: {symbol}",
    )


def _plotly() -> Markup:
    try:
        from plotly.offline import get_plotlyjs  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ReportError(
            "the page's charts need plotly: install it with  pip install 'candled[report]'"
        ) from error
    return Markup(get_plotlyjs())


def _asset(name: str) -> Markup:
    return Markup(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _policy(*scripts: str) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'"
        for one in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _iso(moment: dt.datetime) -> str:
    return iso(int(moment.timestamp()) * 1000)
