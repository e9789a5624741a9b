"""A backtest's results as data frames, for notebooks and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from candled.core.regime import NAMES
from candled.lab.backtest.book import Backtest
from candled.lab.backtest.statistics import statistics
from candled.lab.backtest.ways import ENDINGS

_SIDES = np.array(["", "long", "short"])
_REGIMES = np.array([*NAMES, "unknown"])  # unknown is -1, the last


def trades_frame(test: Backtest) -> pd.DataFrame:
    """Return a row for each trade, in the order of the entries; times are UTC timestamps."""
    trades = test.trades
    return pd.DataFrame(
        {
            "stream": [stream.path for stream in trades.stream],
            "signal_open": _utc(trades.signal_open),
            "entry_time": _utc(trades.entry_time),
            "exit_time": _utc(trades.exit_time),
            "side": _SIDES[trades.side],
            "entry": trades.entry,
            "exit": trades.exit,
            "ending": np.array(ENDINGS)[trades.ending],
            "bars": trades.bars,
            "gross_pct": trades.gross_pct,
            "cost_pct": trades.cost_pct,
            "funding_pct": trades.funding_pct,
            "net_pct": trades.net_pct,
            "value": trades.value,
            "profit": trades.profit,
            "regime": _REGIMES[trades.regime],
            "probability": trades.probability,
            "id": trades.id,
        }
    )


def curve_frame(test: Backtest) -> pd.DataFrame:
    """Return equity, drawdown (share) and value invested at each slot's end (the index, UTC)."""
    curve = test.curve
    columns = {"equity": curve.equity, "drawdown": curve.drawdown, "invested": curve.invested}
    return pd.DataFrame(columns, index=pd.Index(_utc(curve.time), name="time"))


def statistics_frame(tests: Mapping[str, Backtest]) -> pd.DataFrame:
    """Return a column for each backtest and a row for each figure; nested ones are left out."""
    columns = {
        name: {key: value for key, value in asdict(statistics(test)).items() if _single(value)}
        for name, test in tests.items()
    }
    return pd.DataFrame(columns)


def _single(value: object) -> bool:
    return not isinstance(value, dict | tuple | list)


def _utc(times: np.ndarray) -> pd.DatetimeIndex:
    return pd.to_datetime(times, unit="ms", utc=True)
