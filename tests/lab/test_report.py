"""The page: whole, alone, harmless, the same again, and honest in every table."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import functools
import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs
from rich.console import Console

from candled.core.decision import Evidence, Side
from candled.lab.findings import findings
from candled.lab.report import ReportError, render, summary
from studies import SYMBOL, chapter, found, study

NOON = dt.datetime(2026, 1, 2, 12, 0, tzinfo=dt.UTC)
EVIDENCE = Evidence(Side.LONG, 0.0, None, 900, 1.0, 0.3, 0.2, 0.4, 0.25, 0.01)
IMPORTANCES = (("ma5_sma</script>", 0.6), ("<i>spread</i>", 0.4))
HEADINGS = (
    "Rows and classes",
    "Classification report",
    "High-confidence signals",
    "Feature importances",
    "The last 500 tested bars",
    "Against what needs no model",
    "Fold by fold",
    "Do probabilities mean what they say?",
    "The surest signals",
    "After costs",
    "Is the market still the one trained on?",
    "The method on trial",
    "What each signal carries",
    "How many were tried",
    "Backtest",
)


@functools.cache
def page() -> str:
    """Return a page of two chapters, the second with all that there can be."""
    return _rendered()


def _rendered() -> str:
    of = dataclasses.replace(study(), importances=IMPORTANCES)
    full = dataclasses.replace(chapter(), study=of, findings=findings(of, evidence=(EVIDENCE,)))
    return render([chapter(), full], title="A <report>", created_at=NOON).decode()


def _without_plotly() -> str:
    return page().replace(get_plotlyjs(), "")


class Outline(HTMLParser):
    """Reads a page and refuses what is not balanced."""

    VOID = frozenset({"meta", "br", "link", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))


@functools.cache
def outline() -> Outline:
    """Return what is in the page."""
    made = Outline()
    made.feed(page())
    made.close()
    return made


def test_elements_are_balanced_and_ids_unique_and_links_lead_somewhere():
    """The page is well formed, and each link within it has its target."""
    assert outline().open == []
    ids = [given["id"] for _, given in outline().elements if "id" in given]
    assert len(ids) == len(set(ids))
    links = [given["href"] for tag, given in outline().elements if tag == "a"]
    assert links
    assert {link[1:] for link in links} <= set(ids)
    assert all(link.startswith("#") for link in links)


def test_the_same_studies_give_the_same_bytes():
    """No random ids, no clock: two renderings differ in nothing."""
    assert _rendered() == page()


def test_nothing_is_fetched_from_anywhere():
    """But for plotly.js, which stands in the page once, no address occurs."""
    assert page().count(get_plotlyjs()) == 1
    assert "http" not in _without_plotly().replace("http-equiv", "")
    assert not [given for _, given in outline().elements if "src" in given]
    assert not [tag for tag, _ in outline().elements if tag in ("link", "img", "iframe")]


def test_only_the_scripts_of_the_page_may_run():
    """The policy names the digests of exactly the scripts that run, and forbids the network."""
    policy = next(given["content"] for _, given in outline().elements if given.get("http-equiv"))
    scripts = re.findall(r"<script>(.*?)</script>", page(), re.DOTALL)
    assert len(scripts) == 2
    digests = {
        "sha256-" + base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()
        for one in scripts
    }
    assert set(re.findall(r"'(sha256-[^']+)'", policy)) == digests
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_what_people_type_is_shown_and_not_obeyed():
    """A symbol, a feature or a title full of markup appears as it is written."""
    text = _without_plotly()
    assert html.escape(SYMBOL) in text
    assert "A &lt;report&gt;" in text
    assert SYMBOL not in text
    for name, _ in IMPORTANCES:
        assert name not in text


def test_every_section_is_there_verdict_first():
    """The verdict comes before the first section, and no section of the issue is lacking."""
    text = _without_plotly()
    second = text[text.index('id="s2"') :]
    places = [second.index(f">{html.escape(heading)}</h3>") for heading in HEADINGS]
    headline = html.escape(found().verdict.headline.text)
    assert second.index(headline) < min(places)
    for one in found().verdict.statements:
        assert html.escape(one.text) in second


def test_precision_stands_beside_its_base_rate_and_count_in_every_table():
    """No table names a precision without what chance reaches and how many rows it is of."""
    tables = re.findall(r"<thead>(.*?)</thead>", page(), re.DOTALL)
    headers = [set(re.findall(r"<th[^>]*>(.*?)</th>", one)) for one in tables]
    with_precision = [one for one in headers if "Precision" in one]
    assert len(with_precision) >= 6
    for one in with_precision:
        assert "Base rate" in one
        assert one & {"n", "Rows"}


def test_tables_and_charts_are_told_to_who_cannot_see_them():
    """Each table has a caption and scopes, each chart a name, a caption and its data."""
    text = _without_plotly()
    assert text.count("<table>") == text.count("<caption>") > 20
    heads = [given for tag, given in outline().elements if tag == "th"]
    assert all(given.get("scope") in ("col", "row") for given in heads)
    charts = [g for _, g in outline().elements if "chart" in (g.get("class") or "").split()]
    assert len(charts) > 20
    for one in charts:
        assert one["role"] == "img"
        assert one["aria-label"]
        assert f'id="{one["aria-describedby"]}"' in text
        assert f'id="{one["id"]}-data"' in text


def test_every_figure_is_one_that_plotly_accepts_in_colours_that_the_page_has():
    """Plotly's own validation takes all figures, and each named colour has a value."""
    css = re.search(r"<style>(.*?)</style>", page(), re.DOTALL)[1]
    light, dark = css.split("@media (prefers-color-scheme: dark)")[:2]
    figures = re.findall(r'<script type="application/json" id="[^"]+">(.*?)</script>', page())
    assert len(figures) > 20
    for text in figures:
        for name in re.findall(r'"@([a-z-]+)"', text):
            assert f"--{name}:" in light
            assert f"--{name}:" in dark
        go.Figure(json.loads(re.sub(r'"@[a-z-]+"', '"#123456"', text)))


def test_plotly_that_is_absent_is_asked_for_by_its_command(monkeypatch):
    """Without the extra the error says what to install."""
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ReportError, match=r"pip install 'candled\[report\]'"):
        render([chapter()], title="x", created_at=NOON)


def test_the_summary_says_the_verdict_and_every_published_figure():
    """A terminal gets the verdict, the losses, and counts and base rates beside precision."""
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(summary(found()))
    console.file.close()
    text = console.export_text()
    assert found().verdict.headline.text in text
    assert SYMBOL in text
    for word in ("class shares", "logistic regression", "Base rate", "long, published"):
        assert word in text


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_draws_every_chart_without_a_complaint(tmp_path: Path):
    """Headless Chromium runs the page's scripts, draws each figure and logs no error."""
    file = tmp_path / "report.html"
    file.write_text(page(), encoding="utf-8")
    ran = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr", "--virtual-time-budget=60000", "--dump-dom", file.as_uri(),
        ],
        capture_output=True, check=True, timeout=120, text=True,
    )  # fmt: skip
    assert 'data-drawn="light"' in ran.stdout
    charts = re.findall(r'<div[^>]* class="(chart[^"]*)"', ran.stdout)
    assert len(charts) > 20
    assert all("js-plotly-plot" in names.split() for names in charts)
    assert "CONSOLE" not in ran.stderr
