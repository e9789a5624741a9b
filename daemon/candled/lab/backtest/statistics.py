"""What a backtest comes to, in figures that can be compared: annualised, per trade, per regime.

Ratios are over the returns of the equity curve, bar by bar, without a risk-free rate. What cannot
be said (no trades, nothing ever lost) is None, never a large number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import DAY
from candled.core.labels import LONG, SHORT
from candled.core.regime import NAMES
from candled.lab.backtest.book import START, Backtest, Trades
from candled.lab.backtest.tape import UNKNOWN
from candled.lab.backtest.ways import ENDINGS
from candled.lab.bootstrap import mean_interval

Floats = NDArray[np.float64]

YEAR_MS: Final = 365 * DAY
_FEWEST_RETURNS: Final = 2
_REGIMES: Final = (*enumerate(NAMES), (UNKNOWN, "unknown"))
_SIDES: Final = ((LONG, "long"), (SHORT, "short"))


@dataclass(frozen=True, slots=True)
class Split:
    """Some of the trades."""

    trades: int
    hit_rate: float | None
    """Share with a net gain."""
    net_pct: float | None
    """Mean, percent of the entry."""
    profit: float
    """Sum; the purse began with 1."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """All of it. Shares are between 0 and 1; what ends in ``_pct`` is in percent."""

    years: float
    total_return: float
    """Share of the purse won at the end."""
    cagr: float | None
    """Yearly growth that gives it; None when the purse was lost."""
    volatility: float | None
    """Yearly standard deviation of the returns by bar."""
    sharpe: float | None
    sortino: float | None
    max_drawdown: float
    """Share of the highest equity that was lost at the worst moment."""
    drawdown_days: float
    """Longest time below a highest equity."""
    calmar: float | None
    """Yearly growth for each unit of the deepest drawdown."""
    exposure: float
    """Share of the bars in which a position was held."""
    trades: int
    hit_rate: float | None
    profit_factor: float | None
    """What was won for each unit lost."""
    gross_pct: float | None
    """Mean of the trades before costs, percent of the entry."""
    net_pct: float | None
    """Mean of the trades: what one is expected to bring, percent of the entry."""
    net_interval: tuple[float, float] | None
    """95 % interval of `net_pct` by block bootstrap; None for too few trades."""
    mean_bars: float | None
    turnover: float | None
    """Value entered and left in a year, in mean purses; None when the mean is a loss."""
    costs: float
    """Fees, slippage and funding paid in all; the purse began with 1."""
    cost_share: float | None
    """Costs in what was moved: costs over the sum of the trades' gross gains and losses."""
    regimes: dict[str, Split]
    """By the regime at the signal."""
    sides: dict[str, Split]
    endings: dict[str, int]
    """How many trades ended how."""


def statistics(test: Backtest) -> Statistics:
    """Summarise a backtest."""
    trades, curve = test.trades, test.curve
    years = (int(curve.time[-1]) - test.start) / YEAR_MS
    total = float(curve.equity[-1]) / START - 1.0
    deepest, purse = float(curve.drawdown.max()), float(np.mean(curve.equity))
    growth = _growth(total, years)
    ratios = _ratios(curve.equity, YEAR_MS / test.interval.typical_ms)
    gross = trades.value * trades.gross_pct / 100
    paid = float(np.sum(gross - trades.profit))
    whole = _split(trades, np.ones(len(trades), dtype=np.bool_))
    return Statistics(
        years=years,
        total_return=total,
        cagr=growth,
        **ratios,
        max_drawdown=deepest,
        drawdown_days=_longest_below(test) / DAY,
        calmar=growth / deepest if growth is not None and deepest > 0 else None,
        exposure=float(np.mean(curve.invested > 0)),
        trades=len(trades),
        hit_rate=whole.hit_rate,
        profit_factor=_factor(trades.profit),
        gross_pct=_mean(trades.gross_pct),
        net_pct=whole.net_pct,
        net_interval=_interval(trades.net_pct),
        mean_bars=_mean(trades.bars.astype(np.float64)),
        turnover=_traded(trades) / purse / years if purse > 0 else None,
        costs=paid,
        cost_share=paid / float(np.sum(np.abs(gross))) if gross.any() else None,
        regimes={name: _split(trades, trades.regime == at) for at, name in _REGIMES},
        sides={name: _split(trades, trades.side == at) for at, name in _SIDES},
        endings={name: int(np.sum(trades.ending == at)) for at, name in enumerate(ENDINGS)},
    )


def _interval(net: Floats) -> tuple[float, float] | None:
    """Return the interval of the mean of trades in time order; neighbours are redrawn together."""
    found = mean_interval(net, block=max(1, round(len(net) ** (1 / 3))))
    return None if found.low is None or found.high is None else (found.low, found.high)


def _growth(total: float, years: float) -> float | None:
    """Return the yearly growth that makes `total`; None when all was lost, or it has no number."""
    if total <= -1.0:
        return None
    with np.errstate(over="ignore"):
        growth = float(np.expm1(np.log1p(total) / years))
    return growth if math.isfinite(growth) else None


def _ratios(equity: Floats, a_year: float) -> dict[str, float | None]:
    """Return volatility, Sharpe and Sortino ratio; None each where the purse was ever lost."""
    names = ("volatility", "sharpe", "sortino")
    before = np.concatenate([[START], equity[:-1]])
    if len(equity) < _FEWEST_RETURNS or equity.min() <= 0:
        return dict.fromkeys(names)
    returns = equity / before - 1.0
    mean, spread = float(returns.mean()), float(returns.std(ddof=1))
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    root = math.sqrt(a_year)
    return {
        "volatility": spread * root,
        "sharpe": mean / spread * root if spread > 0 else None,
        "sortino": mean / downside * root if downside > 0 else None,
    }


def _longest_below(test: Backtest) -> int:
    """Return the longest time below a highest equity (ms), the last one to the end."""
    at_top = test.curve.drawdown <= 0
    tops = np.concatenate([[test.start], test.curve.time[at_top], test.curve.time[-1:]])
    return int(np.diff(tops).max()) if not at_top.all() else 0


def _split(trades: Trades, chosen: NDArray[np.bool_]) -> Split:
    net = trades.net_pct[chosen]
    return Split(
        trades=len(net),
        hit_rate=_mean((net > 0).astype(np.float64)),
        net_pct=_mean(net),
        profit=float(np.sum(trades.profit[chosen])),
    )


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _factor(profits: Floats) -> float | None:
    lost = -float(profits[profits < 0].sum())
    return float(profits[profits > 0].sum()) / lost if lost > 0 else None


def _traded(trades: Trades) -> float:
    return float(np.sum(trades.value * (1 + trades.exit / trades.entry)))
