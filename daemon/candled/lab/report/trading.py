"""The backtest's section: the signals traded, beside holding and beside following the regime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from candled.core.bar import iso
from candled.core.regime import NAMES
from candled.lab.backtest.book import Backtest
from candled.lab.backtest.figures import Line, drawdown_lines, equity_lines, heat
from candled.lab.backtest.statistics import Statistics, statistics
from candled.lab.backtest.strategies import HOLD, MODEL
from candled.lab.backtest.sweep import Sweep
from candled.lab.bootstrap import Interval
from candled.lab.report.charts import axis, chart
from candled.lab.report.html import (
    Column,
    Figure,
    Markup,
    figure,
    paragraph,
    section,
    table,
)
from candled.lab.words import NOTHING, count, number, percent, share, signed_interval

_COLOURS: Final = ("@model", "@long", "@short", "@muted", "@ink", "@bad", "@good")
_POINTS: Final = 1000
_DASHES: Final = ("solid", "dash", "dot", "dashdot")


def trading(tests: Mapping[str, Backtest], swept: Sweep | None, key: str) -> Markup:
    """Show backtests by name, and a sweep of thresholds and costs where there is one."""
    found = {name: statistics(test) for name, test in tests.items()}
    return section(
        f"{key}-backtest",
        "Backtest",
        paragraph(_in_words(found), class_="finding"),
        figure(
            f"{key}-equity",
            _lines(
                equity_lines(tests, _POINTS), axis("equity, purse of 1", type="log", dtick="D2")
            ),
            title="Equity",
            caption="What a purse of 1 becomes, after costs, on a logarithmic scale. One path "
            "through one history: the order of the same trades could have been another.",
            tall="tall",
        ),
        figure(
            f"{key}-drawdown",
            _lines(
                drawdown_lines(tests, _POINTS), axis("below the highest equity", tickformat=".0%")
            ),
            title="Drawdown",
            caption="How far below its highest equity each way was, and for how long. Who would "
            "have stopped there has the loss and not the rest of the curve.",
        ),
        _statistics(found),
        _regimes(found),
        _swept(swept, key),
    )


def _in_words(found: Mapping[str, Statistics]) -> str:
    parts = [
        f"{name} {percent(found[name].total_return * 100, 1)} with a drawdown of "
        f"{share(found[name].max_drawdown)} (trades: {count(found[name].trades)})"
        for name in (MODEL, HOLD)
        if name in found
    ]
    return f"After costs: {'; '.join(parts)}." if parts else "What each way brought after costs."


def _lines(lines: Sequence[Line], yaxis: dict[str, Any]) -> Figure:
    return chart(
        [
            {
                "type": "scatter",
                "mode": "lines",
                "name": line.name,
                "x": [iso(int(at)) for at in line.time],
                "y": [float(f"{one:.5g}") if np.isfinite(one) else None for one in line.value],
                "line": {
                    "color": _COLOURS[at % len(_COLOURS)],
                    "dash": _DASHES[at % len(_DASHES)],
                    "width": 2,
                },
            }
            for at, line in enumerate(lines)
        ],
        xaxis=axis("", type="date"),
        yaxis=yaxis,
    )


def _statistics(found: Mapping[str, Statistics]) -> Markup:
    columns = [
        Column("Way", is_text=True),
        Column("Return"),
        Column("A year"),
        Column("Sharpe", "a year, by bar returns"),
        Column("Drawdown"),
        Column("Exposure", "share of bars with a position"),
        Column("Trades"),
        Column("Won"),
        Column("Net a trade, %", "with its 95 % interval"),
        Column("Costs", "in purses of the beginning"),
    ]
    rows = [
        [
            name,
            percent(one.total_return * 100, 1),
            NOTHING if one.cagr is None else percent(one.cagr * 100, 1),
            number(one.sharpe, 2),
            share(one.max_drawdown),
            share(one.exposure),
            count(one.trades),
            share(one.hit_rate),
            signed_interval(_net(one), 2),
            number(one.costs, 2),
        ]
        for name, one in found.items()
    ]
    return table("The ways side by side, with equal fills and costs", columns, rows)


def _net(one: Statistics) -> Interval:
    low, high = one.net_interval or (None, None)
    return Interval(one.net_pct, low, high, one.trades)


def _regimes(found: Mapping[str, Statistics]) -> Markup:
    return table(
        "By the regime at the signal: trades and mean net result",
        [Column("Way", is_text=True), *(Column(name) for name in NAMES)],
        [
            [
                name,
                *(
                    f"{count(one.regimes[regime].trades)} at {percent(one.regimes[regime].net_pct)}"
                    if one.regimes[regime].trades
                    else NOTHING
                    for regime in NAMES
                ),
            ]
            for name, one in found.items()
        ],
    )


def _swept(swept: Sweep | None, key: str) -> Markup:
    if swept is None:
        return Markup("")
    grid = heat(swept)
    most = float(np.nanmax(np.abs(grid.z))) if np.isfinite(grid.z).any() else 1.0
    cells = {
        "type": "heatmap",
        "x": [f"{one:.3g}" for one in grid.x],
        "y": [f"{one:.4g}" for one in grid.y],
        "z": [[round(one, 4) if np.isfinite(one) else None for one in row] for row in grid.z],
        "text": [[f"{one:,}" for one in row] for row in swept.trades.tolist()],
        "texttemplate": "%{text}",
        "zmin": -most,
        "zmax": most,
        "colorscale": [[0, "@short"], [0.5, "@paper"], [1, "@long"]],
        "colorbar": {"title": {"text": "%"}, "thickness": 12},
        "hovertemplate": "threshold %{y}, cost %{x} % a side: %{z:+.3f} %<extra></extra>",
    }
    return figure(
        f"{key}-sweep",
        chart(
            [cells],
            xaxis=axis("fee and slippage of one side, %", type="category"),
            yaxis=axis("threshold", type="category"),
        ),
        title="Mean net result of a trade by threshold and cost",
        caption=f"In each cell the number of trades: colours of few trades mean little. Of "
        f"{count(grid.tried)} combinations the best is the luckiest; a rule worth having is one "
        "whose neighbours are good as well.",
    )
