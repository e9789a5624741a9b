"""The backtest: what signals would have brought, filled at the next open and paid for.

`tape` is what goes in, `rules` how it is traded, `book` trades it; `statistics`, `strategies`,
`sweep`, `frames` and `figures` say what came out. It knows decisions and bars; it asks no model.
Every fill rule is written down in docs/backtest.md.
"""

from candled.lab.backtest.book import Backtest, Curve, Trades, run
from candled.lab.backtest.figures import drawdown_lines, equity_lines, heat, regime_columns
from candled.lab.backtest.frames import curve_frame, statistics_frame, trades_frame
from candled.lab.backtest.rules import Costs, Exits, Sizing, exits_of
from candled.lab.backtest.statistics import Statistics, statistics
from candled.lab.backtest.strategies import comparison
from candled.lab.backtest.sweep import Sweep, sweep
from candled.lab.backtest.tape import Tape, gated, tape_of_answers, tape_of_decisions, told

__all__ = [
    "Backtest",
    "Costs",
    "Curve",
    "Exits",
    "Sizing",
    "Statistics",
    "Sweep",
    "Tape",
    "Trades",
    "comparison",
    "curve_frame",
    "drawdown_lines",
    "equity_lines",
    "exits_of",
    "gated",
    "heat",
    "regime_columns",
    "run",
    "statistics",
    "statistics_frame",
    "sweep",
    "tape_of_answers",
    "tape_of_decisions",
    "told",
    "trades_frame",
]
