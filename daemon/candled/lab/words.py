"""Numbers and dates as people read them. None is a dash: nothing to count, or not known."""

from __future__ import annotations

from typing import Final

from candled.core.bar import iso
from candled.lab.bootstrap import Interval

NOTHING: Final = "\N{EN DASH}"


PERCENT: Final = "\N{NO-BREAK SPACE}%"


def count(value: float) -> str:
    """Write a whole number with separators."""
    return f"{value:,.0f}"


def share(value: float | None, digits: int = 1) -> str:
    """Write a share as percent."""
    return NOTHING if value is None else f"{value * 100:.{digits}f}{PERCENT}"


def number(value: float | None, digits: int = 3) -> str:
    """Write a number without a sign for plus."""
    return NOTHING if value is None else minus(f"{value:z.{digits}f}")


def signed(value: float | None, digits: int = 3) -> str:
    """Write a number with its sign."""
    return NOTHING if value is None else minus(f"{value:+z.{digits}f}")


def percent(value: float | None, digits: int = 2) -> str:
    """Write what is in percent already, with its sign."""
    return NOTHING if value is None else minus(f"{value:+z.{digits}f}{PERCENT}")


def signed_interval(interval: Interval, digits: int = 3) -> str:
    """Write an estimate with its interval, both with their signs."""
    if interval.estimate is None:
        return NOTHING
    return f"{signed(interval.estimate, digits)} {_within(interval, digits, 1.0, '+')}"


def share_interval(interval: Interval, digits: int = 1) -> str:
    """Write a share with its interval, as percent."""
    if interval.estimate is None:
        return NOTHING
    return f"{share(interval.estimate, digits)} {_within(interval, digits, 100.0, '')}"


def _within(interval: Interval, digits: int, scale: float, sign: str) -> str:
    if interval.low is None or interval.high is None:
        return "[not known]"
    low, high = interval.low * scale, interval.high * scale
    return minus(f"[{low:{sign}z.{digits}f}, {high:{sign}z.{digits}f}]")


def minus(text: str) -> str:
    """Write minus signs as such, not as hyphens."""
    return text.replace("-", "\N{MINUS SIGN}")


def moment(ms: int) -> str:
    """Write UTC milliseconds as ISO 8601."""
    return iso(ms)


def day(ms: int) -> str:
    """Write the UTC date of a moment."""
    return iso(ms)[:10]
