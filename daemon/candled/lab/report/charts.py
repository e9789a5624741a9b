"""Findings as figures for plotly.js: plain data, colours by the names that the page gives them.

A figure says nothing that the findings do not; what it means is written beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from candled.core.model import CLASSES
from candled.lab.bootstrap import Interval
from candled.lab.facts import (
    Balance,
    Classification,
    DriftFact,
    Facts,
    FoldFact,
    Reliability,
    Selection,
    TrialFact,
)
from candled.lab.report.html import Figure
from candled.lab.words import day

COLOURS: Final = {
    "no_trade": "@none",
    "long": "@long",
    "short": "@short",
    "both": "@model",
}
_BANDS: Final = {"long": "@long-band", "short": "@short-band"}
_MARKS: Final = {"long": "circle", "short": "square"}


def chart(data: list[dict[str, Any]], **layout: Any) -> Figure:  # noqa: ANN401 - plotly's own
    """Return a figure with what all of them have in common."""
    common = {
        "margin": {"l": 52, "r": 12, "t": 8, "b": 44},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        "hovermode": "closest",
        "dragmode": False,
    }
    return {"data": data, "layout": {**common, **layout}}


def axis(title: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - plotly's own
    """Return an axis that makes room for its labels."""
    return {"title": {"text": title, "standoff": 8}, "automargin": True, **more}


def balance(balances: Sequence[Balance]) -> Figure:
    """Draw each class's share of some rows as stacked bars."""
    names = [f"{one.name} ({one.rows:,})" for one in balances]
    bars = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name.replace("_", " "),
            "y": names,
            "x": [one.counts[name] / one.rows if one.rows else 0 for one in balances],
            "marker": {"color": COLOURS[name]},
            "hovertemplate": "%{y}<br>%{x:.1%}<extra>%{fullData.name}</extra>",
        }
        for name in CLASSES
    ]
    return chart(
        bars,
        barmode="stack",
        xaxis=axis("share of rows", tickformat=".0%", range=[0, 1]),
        yaxis=axis("", autorange="reversed"),
    )


def confusion(found: Classification) -> Figure:
    """Draw the confusion matrix, shaded by the share of each true class."""
    names = [name.replace("_", " ") for name in CLASSES]
    shares = [[cell / max(1, sum(row)) for cell in row] for row in found.confusion]
    cells = {
        "type": "heatmap",
        "x": [f"called {name}" for name in names],
        "y": [f"is {name}" for name in names],
        "z": shares,
        "text": [
            [f"{cell:,}<br>{share:.1%}" for cell, share in zip(row, of, strict=True)]
            for row, of in zip(found.confusion, shares, strict=True)
        ],
        "texttemplate": "%{text}",
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, "@sheet"], [1, "@long"]],
        "showscale": False,
        "hovertemplate": "%{y}, %{x}: %{z:.1%}<extra></extra>",
    }
    return chart([cells], xaxis=axis("", side="top"), yaxis=axis("", autorange="reversed"))


def importances(shares: Sequence[tuple[str, float]]) -> Figure:
    """Draw the features' shares of the gain as bars."""
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": [name for name, _ in shares],
        "x": [round(share, 5) for _, share in shares],
        "marker": {"color": "@model"},
        "hovertemplate": "%{y}: %{x:.2%}<extra></extra>",
    }
    return chart(
        [bars],
        xaxis=axis("share of the gain", tickformat=".1%"),
        yaxis=axis("", autorange="reversed", dtick=1, tickfont={"size": 10}),
    )


def folds(found: Sequence[FoldFact]) -> Figure:
    """Draw each fold's skill with its interval."""
    points = _points([day(one.first_open_time) for one in found], [one.skill for one in found])
    return chart(
        [{**points, "name": "skill", "marker": {"color": "@model", "size": 9}}],
        xaxis=axis("first tested day", type="category"),
        yaxis=axis("skill, nats a row", rangemode="tozero", zerolinecolor="@ink", zerolinewidth=2),
        showlegend=False,
    )


def reliability(found: Sequence[Reliability]) -> Figure:
    """Draw what happened against what was said, and the diagonal where both are the same."""
    said = [one.said for side in found for one in side.bins]
    diagonal = {
        "type": "scatter",
        "mode": "lines",
        "name": "as said",
        "x": [min(said), max(said)],
        "y": [min(said), max(said)],
        "line": {"color": "@muted", "dash": "dot"},
        "hoverinfo": "skip",
    }
    curves = [
        {
            **_points([one.said for one in side.bins], [one.happened for one in side.bins]),
            "name": side.side,
            "mode": "lines+markers",
            "marker": {"color": COLOURS[side.side], "size": 8, "symbol": _MARKS[side.side]},
            "line": {"color": COLOURS[side.side]},
            "hovertemplate": "said %{x:.1%}, happened %{y:.1%}<extra>%{fullData.name}</extra>",
        }
        for side in found
    ]
    return chart(
        [diagonal, *curves],
        xaxis=axis("probability said", tickformat=".0%"),
        yaxis=axis("share that happened", tickformat=".0%"),
    )


def coverage(found: Sequence[Selection]) -> Figure:
    """Draw precision over the share of rows picked, with bands, and each side's base rate."""
    parts: list[dict[str, Any]] = []
    for side in ("long", "short"):
        points = [one for one in found if one.side == side and one.precision.estimate is not None]
        parts += _band(side, points)
        parts.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": side,
                "x": [one.coverage for one in points],
                "y": [one.precision.estimate for one in points],
                "marker": {"color": COLOURS[side], "size": 8, "symbol": _MARKS[side]},
                "line": {"color": COLOURS[side]},
                "hovertemplate": "surest %{x:.1%}: right %{y:.1%}<extra>%{fullData.name}</extra>",
            }
        )
        parts.append(_base_line(side, points))
    return chart(
        parts,
        xaxis=axis(
            "share of rows picked, the surest first",
            type="log",
            tickformat="~%",
            tickvals=[0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5],
        ),
        yaxis=axis("share that was right", tickformat=".0%"),
    )


def _band(side: str, points: Sequence[Selection]) -> list[dict[str, Any]]:
    known = [one for one in points if one.precision.low is not None]
    edge = {
        "type": "scatter",
        "mode": "lines",
        "x": [one.coverage for one in known],
        "line": {"width": 0, "color": COLOURS[side]},
        "showlegend": False,
        "hoverinfo": "skip",
    }
    return [
        {**edge, "y": [one.precision.low for one in known]},
        {
            **edge,
            "y": [one.precision.high for one in known],
            "fill": "tonexty",
            "fillcolor": _BANDS[side],
        },
    ]


def _base_line(side: str, points: Sequence[Selection]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{side}, at random",
        "x": [one.coverage for one in points],
        "y": [one.base_rate for one in points],
        "line": {"color": COLOURS[side], "dash": "dot"},
        "hovertemplate": "at random %{y:.1%}<extra>%{fullData.name}</extra>",
    }


def expectancy(facts: Facts, names: Sequence[str], selections: Sequence[Selection]) -> Figure:
    """Draw each selection's mean result after each of the costs, with intervals."""
    marks = ("circle", "diamond", "x")
    shades = ("@muted", "@model", "@ink")
    series = [
        {
            **_points(list(names), [one.net[at] for one in selections]),
            "name": f"at {cost:.2f} %",
            "marker": {
                "color": shades[min(at, len(shades) - 1)],
                "size": 9,
                "symbol": marks[min(at, len(marks) - 1)],
            },
            "hovertemplate": "%{x}: %{y:+.3f} %<extra>%{fullData.name}</extra>",
        }
        for at, cost in enumerate(facts.costs_pct)
    ]
    return chart(
        series,
        scattermode="group",
        xaxis=axis("", type="category"),
        yaxis=axis(
            "mean result a signal, %", rangemode="tozero", zerolinecolor="@ink", zerolinewidth=2
        ),
    )


def drift(found: DriftFact, limit: float) -> Figure:
    """Draw the indices of the features that moved most, and the limit of the custom."""
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": [one.name for one in found.worst],
        "x": [round(one.psi, 4) for one in found.worst],
        "marker": {"color": "@model"},
        "hovertemplate": "%{y}: %{x:.2f}<extra></extra>",
    }
    line = {
        "type": "line",
        "x0": limit,
        "x1": limit,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": "@bad", "dash": "dash"},
    }
    return chart(
        [bars],
        shapes=[line],
        xaxis=axis("population stability index", rangemode="tozero"),
        yaxis=axis("", autorange="reversed", dtick=1, tickfont={"size": 10}),
        showlegend=False,
    )


def trials(real: Interval, found: Sequence[TrialFact]) -> Figure:
    """Draw the skill on the real labels beside that on the trials' labels."""
    names = ["real labels", *(one.name for one in found)]
    points = _points(names, [real, *(one.skill for one in found)])
    return chart(
        [{**points, "marker": {"color": "@model", "size": 11}}],
        xaxis=axis("", type="category"),
        yaxis=axis("skill, nats a row", rangemode="tozero", zerolinecolor="@ink", zerolinewidth=2),
        showlegend=False,
    )


def leak(found: Sequence[TrialFact]) -> Figure:
    """Draw how often sure answers were right, beside chance, for both ways to split."""
    names = [f"{one.name} ({one.sure:,} signals)" for one in found]
    series = {
        "right when above 0.6": ([one.sure_precision for one in found], "@model"),
        "by chance": ([one.sure_base_rate for one in found], "@none"),
    }
    bars = [
        {
            "type": "bar",
            "name": name,
            "x": names,
            "y": values,
            "marker": {"color": colour},
            "hovertemplate": "%{x}: %{y:.1%}<extra>%{fullData.name}</extra>",
        }
        for name, (values, colour) in series.items()
    ]
    return chart(bars, barmode="group", yaxis=axis("share", tickformat=".0%", range=[0, 1]))


def _points(x: list[Any], intervals: Sequence[Interval]) -> dict[str, Any]:
    """Return markers with error bars; where an interval is not known there is none."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": x,
        "y": [one.estimate for one in intervals],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [_reach(one.high, one.estimate) for one in intervals],
            "arrayminus": [_reach(one.estimate, one.low) for one in intervals],
            "thickness": 1.5,
            "width": 4,
        },
    }


def _reach(upper: float | None, lower: float | None) -> float:
    return 0.0 if upper is None or lower is None else upper - lower
