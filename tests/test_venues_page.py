"""docs/venues.md says what the code does: its tables are read and compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from candled.core.bar import INTERVALS
from candled_adapters.exchanges.registry import DIALECTS

PAGE = (Path(__file__).parents[1] / "docs" / "venues.md").read_text()
FAMILIES = {"Bybit": ("bybit-spot", "bybit-linear", "bybit-inverse")}


def table(title: str) -> dict[str, list[str]]:
    """Return the cells of the table under a title, by dialect."""
    part = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")][2:]
    found: dict[str, list[str]] = {}
    for first, *cells in rows:
        name = first.strip(" `")
        for dialect in FAMILIES.get(name, (name,)):
            found[dialect] = [cell.strip() for cell in cells]
    return found


@pytest.mark.parametrize("name", DIALECTS)
def test_hosts_are_those_of_the_code(name: str):
    """Each dialect's own addresses."""
    dialect = DIALECTS[name]
    assert table("Hosts")[name] == [f"`{dialect.websocket_base}`", f"`{dialect.rest_base}`"]


def rate(text: str) -> tuple[int, float]:
    """Read "300 in 5 min" as a count and seconds."""
    count, _, window, unit = text.split()
    return int(count), float(window) * {"s": 1, "min": 60}[unit]


@pytest.mark.parametrize("name", DIALECTS)
def test_limits_are_those_of_the_code(name: str):
    """Streams, frames, connects, rows, reach and what keeps a connection alive."""
    limits, keepalive = DIALECTS[name].limits, DIALECTS[name].keepalive
    streams, frames, connects, asked, rows, history, alive = table("Limits that are kept")[name]
    assert int(streams) == limits.streams_per_connection
    assert float(frames) == limits.frames_per_second
    assert rate(connects) == (limits.connects, limits.connect_window_s)
    assert rate(asked) == (limits.questions, limits.question_window_s)
    assert int(rows) == limits.history_page
    assert history.startswith(f"{limits.reach} bars" if limits.reach else "to the listing")
    assert ("by spans" in history) == limits.by_span
    said = (
        "" if keepalive is None else f"`{keepalive.frame.decode()}` every {keepalive.every_s:.0f} s"
    )
    assert said in alive
    assert ("cut after 24 h" in alive) == (limits.max_age_s == 24 * 3600)


@pytest.mark.parametrize("name", DIALECTS)
def test_symbols_and_intervals_are_those_of_the_code(name: str):
    """Every symbol that is shown is well spelled, every interval is had, none is left out."""
    rows = table("Symbols and intervals")
    symbols, intervals = rows[name]
    shown = [part.split("`")[1] for part in symbols.split(", ")]
    assert all(DIALECTS[name].symbol_problem(symbol) == "" for symbol in shown)
    if intervals.startswith("as Bybit spot"):
        intervals = rows["bybit-spot"][1]
    if intervals.startswith("the same without 1s"):
        intervals = rows["binance-spot"][1].removeprefix("1s ")
    had = [one.name for one in INTERVALS if one.name in DIALECTS[name].intervals]
    assert intervals.split() == had
