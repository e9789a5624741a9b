"""Which dialects there are, by the names that the configuration uses. The one list of them.

Those that begin with ``ccxt:`` are ccxt's venues; the library is imported when one is asked for.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Final, Protocol

from candled.core.bar import INTERVALS
from candled_adapters.exchanges import binance, bybit, coinbase, hyperliquid, kraken, okx
from candled_adapters.exchanges.ccxt_venue import CcxtVenue, ccxt_venue, is_ccxt
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


class Venue(Protocol):
    """What is known of a venue before it is asked, whoever speaks its language."""

    @property
    def name(self) -> str:
        """Name of the venue and market, for messages."""
        ...

    @property
    def intervals(self) -> Collection[str]:
        """Names of the intervals that the venue has."""
        ...

    def symbol_problem(self, symbol: str) -> str:
        """Return what is wrong with a symbol's spelling; '' when nothing is."""
        ...


def live_venue(name: str) -> Dialect | CcxtVenue:
    """Return the venue whose bars a dialect's name asks for. Raises `ValueError` with the mend."""
    if is_ccxt(name):
        return ccxt_venue(name)
    if problem := dialect_problem(name):
        raise ValueError(f"{problem}; or ccxt:ID for one of ccxt's venues")
    return DIALECTS[name]


def interval_problem(venue: Venue, interval: str) -> str:
    """Return what the venue has instead of `interval`, shortest first; '' when it has it."""
    if interval in venue.intervals:
        return ""
    known = [one.name for one in INTERVALS if one.name in venue.intervals]
    return f"{venue.name} has no {interval} bars; it has {', '.join(known)}"
