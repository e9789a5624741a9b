"""Which dialects there are, by the names that the configuration uses. The one list of them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from candled.core.bar import INTERVALS
from candled_adapters.exchanges import binance, bybit, coinbase, hyperliquid, kraken, okx
from candled_adapters.exchanges.dialect import Dialect

DIALECTS: Final[Mapping[str, Dialect]] = {
    "binance-spot": binance.SPOT,
    "binance-usdm": binance.USDM,
    "bybit-spot": bybit.SPOT,
    "bybit-linear": bybit.LINEAR,
    "bybit-inverse": bybit.INVERSE,
    "okx": okx.OKX,
    "kraken": kraken.KRAKEN,
    "coinbase": coinbase.COINBASE,
    "hyperliquid": hyperliquid.HYPERLIQUID,
}


def dialect_problem(name: str) -> str:
    """Return what is wrong with a dialect's name and what may be meant; '' when it is known."""
    if name in DIALECTS:
        return ""
    near = difflib.get_close_matches(name, DIALECTS, n=1, cutoff=0.5)
    mend = f"; did you mean {near[0]!r}?" if near else ""
    return f"{name!r} is no dialect; known are {', '.join(DIALECTS)}{mend}"


def interval_problem(dialect: Dialect, interval: str) -> str:
    """Return what the venue has instead of `interval`, shortest first; '' when it has it."""
    if interval in dialect.intervals:
        return ""
    known = [one.name for one in INTERVALS if one.name in dialect.intervals]
    return f"{dialect.name} has no {interval} bars; it has {', '.join(known)}"
