"""Numbers as venues write them. Pure."""

from __future__ import annotations

from decimal import Decimal


def decimal(number: float) -> str:
    """Write a number with 8 decimals, or with as many as it needs; NaN as zero.

    The text gives the same double back through float().
    """
    text = repr(number)
    if "e" in text or text == "nan":
        text = format(Decimal(text), "f") if number == number else "0"  # noqa: PLR0124 - not NaN
        text += "" if "." in text else "."
    return text.ljust(text.index(".") + 9, "0")


def count(trades: float) -> int:
    """Write a number of trades; NaN as zero."""
    return int(trades) if trades == trades else 0  # noqa: PLR0124 - NaN
