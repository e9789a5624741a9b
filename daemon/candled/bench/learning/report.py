"""The tables: what a person wants to see of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Return the tables of a result."""
    return [_times(result), _agreements(result), _more(result)]


def _times(result: Mapping[str, Any]) -> Table:
    machine = result["machine"]
    load = " to ".join(f"{machine[at][0]:.1f}" for at in ("load_before", "load_after"))
    table = Table(
        title="The learning half (p50 in seconds)",
        caption=f"{machine['cores']} cores, load {load}, Python {machine['python']}",
    )
    for name in ("what", "rows", "way", "n", "p50", "ratio"):
        table.add_column(name, justify="right" if name in ("rows", "n", "p50", "ratio") else "left")
    for part in result["parts"]:
        ratio = "" if part["ratio"] is None else f"{part['ratio']:,.3g}"
        head = [part["name"], f"{part['rows']:,}"]
        for way, seconds in part["p50_s"].items():
            table.add_row(*head, way, str(part["n"][way]), _seconds(seconds), ratio)
            head, ratio = ["", ""], ""
        table.add_section()
    return table


def _figure(value: float) -> str:
    return f"{value:.4g}" if value < 1000 else f"{value:,.0f}"  # noqa: PLR2004 - whole ones


def _seconds(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"  # noqa: PLR2004 - three digits


def _agreements(result: Mapping[str, Any]) -> Table:
    table = Table(title="Is it the same?")
    for name in ("what", "of", "compared", "differing", "distance", "allowed", ""):
        table.add_column(name, justify="left" if name in ("what", "of", "") else "right")
    for part in result["parts"]:
        for one in part["agreements"]:
            table.add_row(
                one["what"],
                part["name"],
                f"{one['compared']:,}",
                f"{one['differing']:,}",
                f"{one['distance']:.2g}",
                f"{one['bound']:g}",
                "yes" if one["ok"] else "NO",
            )
    return table


def _more(result: Mapping[str, Any]) -> Table:
    table = Table(title="On which candles, and what else there is to say")
    for name in ("of", "candles", "figures"):
        table.add_column(name)
    for part in result["parts"]:
        said = [f"{name} {_figure(value)}" for name, value in part["figures"].items()]
        table.add_row(part["name"], part["data"], "; ".join(filter(None, [*said, part["note"]])))
    return table
