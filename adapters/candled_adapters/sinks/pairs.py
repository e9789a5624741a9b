"""What others call a symbol: BTCUSDT is BTC/USDT, or BTC/USDT:USDT where it is a future. Pure.

The names are those of ccxt's unified symbols, https://docs.ccxt.com/#/?id=market-symbols-and-market-ids
"""

from __future__ import annotations

import re
from typing import Final, Literal

Market = Literal["spot", "futures"]

#: Longer ones first: TUSD is no USD.
_QUOTES: Final = (
    "FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USDE", "DAI", "USD", "EUR", "GBP", "TRY", "BRL",
    "JPY", "AUD", "BTC", "ETH", "BNB",
)  # fmt: skip
_KIND: Final = frozenset({"SWAP", "PERP", "PERPETUAL"})


def pair_of(symbol: str, market: Market) -> str | None:
    """Return a symbol's unified name; None when its two currencies cannot be told apart."""
    if re.fullmatch(r"[^/:]+/[^/:]+:[^/:]+", symbol):
        return symbol
    parts = [part for part in re.split(r"[-_/]", symbol.upper()) if part not in _KIND]
    if len(parts) == 1:
        parts = _divided(parts[0])
    if len(parts) != 2 or not all(parts):  # noqa: PLR2004 - a pair
        return None
    base, quote = parts
    return f"{base}/{quote}:{quote}" if market == "futures" else f"{base}/{quote}"


def _divided(symbol: str) -> list[str]:
    quote = next((name for name in _QUOTES if symbol.endswith(name) and symbol != name), None)
    return [symbol.removesuffix(quote), quote] if quote else [symbol]
