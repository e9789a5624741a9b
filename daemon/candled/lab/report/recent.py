"""The newest tested bars as one figure: candles, regimes, signals and probabilities."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars, iso
from candled.core.decision import signals
from candled.core.labels import LONG, SHORT
from candled.core.model import CLASSES
from candled.core.regime import NAMES
from candled.lab.report.charts import COLOURS, axis, chart
from candled.lab.report.html import Figure
from candled.lab.study import Study

BARS: Final = 500
_REGIMES: Final = ("@none-band", "@long-band", "@short-band")
_TOP: Final = [0.36, 1.0]
_BOTTOM: Final = [0.0, 0.28]


def recent(study: Study, bars: int = BARS) -> Figure:
    """Draw the last `bars` bars that were tested."""
    last = int(study.tested_bars[-1])
    first = max(0, last + 1 - bars)
    shown = study.material.bars[first : last + 1]
    times = [iso(at) for at in shown.open_time.tolist()]
    inside = study.tested_bars >= first
    at = study.tested_bars[inside] - first
    answers = study.tested.probabilities[inside]
    limits = study.limits[inside]
    signalled = signals(answers, limits.tolist())
    return chart(
        [
            _candles(shown, times),
            *(_markers(shown, times, at[signalled == side], side) for side in (LONG, SHORT)),
            *(_line(times, at, answers[:, side], side) for side in (LONG, SHORT)),
            _limit(times, at, limits),
        ],
        shapes=_regimes(study.material.regimes[first : last + 1], times),
        xaxis=axis("", rangeslider={"visible": False}, anchor="y2", type="date"),
        yaxis=axis("price", domain=_TOP),
        yaxis2=axis("probability", domain=_BOTTOM, tickformat=".0%", rangemode="tozero"),
        hovermode="x",
    )


def _candles(bars: Bars, times: list[str]) -> dict[str, Any]:
    prices = {name: _plain(getattr(bars, name)) for name in ("open", "high", "low", "close")}
    return {
        "type": "candlestick",
        "name": "price",
        "x": times,
        **prices,
        "increasing": {"line": {"color": "@rise", "width": 1}},
        "decreasing": {"line": {"color": "@fall", "width": 1}},
    }


def _markers(bars: Bars, times: list[str], at: NDArray[np.intp], side: int) -> dict[str, Any]:
    """Put long signals below their bar and short ones above it."""
    is_long = side == LONG
    price = bars.low[at] * 0.997 if is_long else bars.high[at] * 1.003
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"{CLASSES[side]} signal",
        "x": [times[one] for one in at.tolist()],
        "y": _plain(price),
        "marker": {
            "symbol": "triangle-up" if is_long else "triangle-down",
            "size": 9,
            "color": COLOURS[CLASSES[side]],
        },
        "hovertemplate": "%{x}<extra>%{fullData.name}</extra>",
    }


def _line(
    times: list[str], at: NDArray[np.intp], values: NDArray[np.float32], side: int
) -> dict[str, Any]:
    name = CLASSES[side]
    return {
        **_over_bars(times, at, values),
        "name": f"P({name})",
        "line": {"color": COLOURS[name], "width": 1.5},
        "hovertemplate": "%{y:.1%}<extra>%{fullData.name}</extra>",
    }


def _limit(times: list[str], at: NDArray[np.intp], limits: NDArray[np.float32]) -> dict[str, Any]:
    """Draw the threshold where there was one; 1 stands for none."""
    return {
        **_over_bars(times, at, np.where(limits < 1, limits, np.nan)),
        "name": "threshold",
        "line": {"color": "@ink", "width": 1.5, "dash": "dash"},
        "hovertemplate": "%{y:.1%}<extra>%{fullData.name}</extra>",
    }


def _over_bars(
    times: list[str], at: NDArray[np.intp], values: NDArray[np.float32]
) -> dict[str, Any]:
    """Return a line over all bars, with holes where nothing was tested."""
    every: list[float | None] = [None] * len(times)
    for one, value in zip(at.tolist(), _plain(values), strict=True):
        every[one] = value
    return {"type": "scatter", "mode": "lines", "x": times, "y": every, "yaxis": "y2"}


def _plain(values: NDArray[np.floating]) -> list[float | None]:
    """Return numbers of six digits that JSON can hold."""
    return [float(f"{one:.6g}") if np.isfinite(one) else None for one in values.tolist()]


def _regimes(regimes: NDArray[np.int8], times: list[str]) -> list[dict[str, Any]]:
    """Return a strip between the panels, one piece for each stretch of a regime."""
    starts = np.flatnonzero(np.diff(regimes, prepend=-1)).tolist()
    return [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": times[start],
            "x1": times[stop],
            "y0": 0.3,
            "y1": 0.34,
            "fillcolor": _REGIMES[int(regimes[start])],
            "line": {"width": 0},
            "name": NAMES[int(regimes[start])],
        }
        for start, stop in zip(starts, [*starts[1:], len(times) - 1], strict=True)
    ]
