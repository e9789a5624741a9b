"""What `backtest` says, for people and as JSON. Knows finished backtests; trades nothing."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

from candled.core.bar import iso
from candled.core.decision import Policy

if TYPE_CHECKING:
    from candled.lab.backtest import Backtest, Costs, Exits, Sizing, Statistics, Sweep

SCHEMA: Final = "candled.backtest/1"
SEEN: Final = "IN SAMPLE"
UNSEEN: Final = "out of sample"
UNKNOWN: Final = "NOT KNOWN TO BE OUT OF SAMPLE"

_WARNINGS: Final = {
    SEEN: "the model was trained on these bars: this is what it remembers, not what it can do",
    UNKNOWN: "the bundle does not say what it was trained on: unless you know better, these are "
    "bars that it remembers; --trained-until says when its training ended",
}
_WIDTH: Final = 120
_BEST: Final = 5


@dataclass(frozen=True, slots=True)
class Report:
    """One stretch of time, traded in every way."""

    name: str
    """Whether the model knew it: `SEEN`, `UNSEEN` or `UNKNOWN`."""
    first: int
    """Open of the first bar (UTC ms)."""
    last: int
    """Open of the last bar (UTC ms)."""
    tests: Mapping[str, Backtest]
    """By the way it was traded."""
    figures: Mapping[str, Statistics]
    sweep: Sweep | None


def as_text(head: Sequence[str], reports: Mapping[str, Report]) -> str:
    """Return the reports as tables, each under its name and, where it flatters, a warning."""
    buffer = io.StringIO()
    console = Console(file=buffer, width=_WIDTH, highlight=False)
    for line in head:
        console.print(line, markup=False, soft_wrap=True)
    for report in reports.values():
        console.print(f"\n{report.name}: {iso(report.first)} to {iso(report.last)}", markup=False)
        if report.name in _WARNINGS:
            console.print(f"WARNING: {_WARNINGS[report.name]}", markup=False)
        console.print(_ways(report))
        console.print(_regimes(report))
        if report.sweep is not None:
            console.print(_swept(report.sweep))
    return buffer.getvalue().rstrip("\n")


def _ways(report: Report) -> Table:
    table = Table("", *report.figures)
    for column in table.columns[1:]:
        column.justify = "right"
    for label, said in _ROWS.items():
        table.add_row(label, *(said(figures) for figures in report.figures.values()))
    return table


def _regimes(report: Report) -> Table:
    """Tell the mean net result of a trade and the number of trades, by the regime at the signal."""
    names = next(iter(report.figures.values())).regimes
    table = Table("net % a trade (trades) by regime", *names)
    for column in table.columns[1:]:
        column.justify = "right"
    for way, figures in report.figures.items():
        cells = [f"{_number(one.net_pct)} ({one.trades})" for one in figures.regimes.values()]
        table.add_row(way, *cells)
    return table


def _swept(sweep: Sweep) -> Table:
    """List the best thresholds at each cost; their number of trades is part of the judgement."""
    table = Table(
        "side %", "threshold", "trades", "net %", "hit rate", "purse",
        title=f"the {_BEST} best of {len(sweep.thresholds)} thresholds at each cost, chosen after "
        f"the fact from {sweep.tried} configurations: no forecast",
    )  # fmt: skip
    for column, side_pct in enumerate(sweep.side_pct.tolist()):
        traded = [row for row in range(len(sweep.thresholds)) if sweep.trades[row, column]]
        traded.sort(key=lambda row: -sweep.final_equity[row, column])
        for row in traded[:_BEST]:
            cell = row, column
            table.add_row(
                f"{side_pct:g}",
                f"{sweep.thresholds[row]:.3f}",
                str(sweep.trades[cell]),
                _number(sweep.net_pct[cell]),
                _percent(sweep.hit_rate[cell]),
                f"{sweep.final_equity[cell]:.4g}",
            )
    return table


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _interval(figures: Statistics) -> str:
    if figures.net_interval is None:
        return "-"
    low, high = figures.net_interval
    return f"{low:.3f} to {high:.3f}"


_ROWS: Final[dict[str, Callable[[Statistics], str]]] = {
    "trades": lambda f: str(f.trades),
    "total return": lambda f: _percent(f.total_return),
    "a year": lambda f: _percent(f.cagr),
    "volatility": lambda f: _percent(f.volatility),
    "Sharpe": lambda f: _number(f.sharpe, 2),
    "Sortino": lambda f: _number(f.sortino, 2),
    "deepest drawdown": lambda f: _percent(f.max_drawdown),
    "longest drawdown (days)": lambda f: _number(f.drawdown_days, 0),
    "Calmar": lambda f: _number(f.calmar, 2),
    "in the market": lambda f: _percent(f.exposure),
    "hit rate": lambda f: _percent(f.hit_rate),
    "profit factor": lambda f: _number(f.profit_factor, 2),
    "gross % a trade": lambda f: _number(f.gross_pct),
    "net % a trade": lambda f: _number(f.net_pct),
    "  95 % interval": _interval,
    "bars a trade": lambda f: _number(f.mean_bars, 1),
    "turnover a year": lambda f: _number(f.turnover, 1),
    "costs (purses)": lambda f: _number(f.costs),
    "costs in what moved": lambda f: _percent(f.cost_share),
}


def as_json(
    bundle: str,
    policy: Policy,
    rules: tuple[Exits, Costs, Sizing],
    reports: Mapping[str, Report],
) -> str:
    """Return the settings and all figures as JSON."""
    exits, costs, sizing = rules
    content = {
        "schema": SCHEMA,
        "bundle": bundle,
        "policy": {**asdict(policy), "digest": policy.digest},
        "exits": asdict(exits),
        "costs": asdict(costs),
        "sizing": asdict(sizing),
        "parts": [_part(report) for report in reports.values()],
    }
    return json.dumps(content, indent=2, allow_nan=False)


def _part(report: Report) -> dict[str, Any]:
    return {
        "part": report.name,
        "out_of_sample": report.name == UNSEEN,
        "warning": _WARNINGS.get(report.name),
        "first_open_time": report.first,
        "last_open_time": report.last,
        "ways": {name: asdict(figures) for name, figures in report.figures.items()},
        "sweep": None if report.sweep is None else _grid(report.sweep),
    }


def _grid(sweep: Sweep) -> dict[str, Any]:
    return {
        "tried": sweep.tried,
        "thresholds": sweep.thresholds.tolist(),
        "side_pct": sweep.side_pct.tolist(),
        "trades": sweep.trades.tolist(),
        "net_pct": _without_nan(sweep.net_pct.tolist()),
        "hit_rate": _without_nan(sweep.hit_rate.tolist()),
        "final_equity": sweep.final_equity.tolist(),
    }


def _without_nan(rows: list[list[float]]) -> list[list[float | None]]:
    return [[None if math.isnan(value) else value for value in row] for row in rows]
