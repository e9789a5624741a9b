"""Cells that hold a time, in every form that exports use, to UTC milliseconds. Pure.

An epoch is told by its digits: seconds, milliseconds, microseconds and nanoseconds of 2001 to 2286
do not overlap, so each number is converted exactly and no unit needs to be guessed. Text is
ISO-8601, with ``T`` or a blank; without an offset it is UTC.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import DAY, SECOND, TIME_RANGE_MS

#: Unit -> milliseconds in one of it.
UNITS: Final = {
    "seconds": Fraction(1000),
    "milliseconds": Fraction(1),
    "microseconds": Fraction(1, 1000),
    "nanoseconds": Fraction(1, 10**6),
}
WANTED: Final = "give seconds, milliseconds, microseconds or nanoseconds since 1970, or ISO-8601"
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_YEAR_FIRST: Final = re.compile(r"\d{4}[-/]\d")
_AM_PM: Final = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d)-([AP]M)")  # CryptoDataDownload, before 2020


class TimeCellError(ValueError):
    """A cell that is no time; the text says what was found."""


def milliseconds(cells: Sequence[str], *, whole: bool) -> NDArray[np.int64]:
    """Convert a column [n] to UTC ms [n].

    With `whole`, a time between two milliseconds is refused; otherwise it is cut (a bar that ends
    at ...999999 us ends at ...999 ms). Raises `ValueError` when any cell is no time.
    """
    try:
        values = np.fromiter(map(int, cells), np.int64, len(cells))
    except (ValueError, OverflowError):
        return np.fromiter((moment(cell, whole=whole) for cell in cells), np.int64, len(cells))
    return of_epochs(values, whole=whole)


def of_epochs(values: NDArray[np.int64], *, whole: bool) -> NDArray[np.int64]:
    """Convert epochs of any unit [n] to UTC ms [n]; raises `TimeCellError` for other numbers."""
    out = np.zeros(len(values), dtype=np.int64)
    for unit, factor in UNITS.items():
        low, high = (int(bound / factor) for bound in TIME_RANGE_MS)
        rows = (values >= low) & (values < min(high, np.iinfo(np.int64).max))
        if whole and (values[rows] % factor.denominator).any():
            raise TimeCellError(f"not all {unit} are whole milliseconds")
        out[rows] = values[rows] * factor.numerator // factor.denominator
    if not out.all():
        raise TimeCellError("not all numbers are times")
    return out


def unit_of(cell: str) -> str:
    """Return the unit of an epoch, or ``text`` for anything else."""
    try:
        number = Decimal(cell)
    except InvalidOperation:
        return "text"
    return next((unit for unit in UNITS if _is_in(number, unit)), "text")


def moment(cell: str, *, whole: bool) -> int:
    """Convert one cell to UTC ms, as `milliseconds` does. Raises `TimeCellError`."""
    try:
        number = Decimal(cell)
    except InvalidOperation:
        return _of_text(cell, whole=whole)
    for unit, factor in UNITS.items():
        if _is_in(number, unit):
            return _cut(cell, Fraction(number) * factor, whole=whole)
    raise TimeCellError(f"{cell} is not a time since 1970 in seconds to nanoseconds")


def _is_in(number: Decimal, unit: str) -> bool:
    low, high = (int(bound / UNITS[unit]) for bound in TIME_RANGE_MS)
    return number.is_finite() and low <= number < high


def _cut(cell: str, exact: Fraction, *, whole: bool) -> int:
    if whole and exact.denominator != 1:
        raise TimeCellError(f"{cell} is not a whole millisecond")
    return int(exact // 1)


def _of_text(cell: str, *, whole: bool) -> int:
    try:
        time = _parsed(cell.strip())
    except ValueError:
        raise TimeCellError(f"{cell!r} is not a time") from None
    since = (time if time.tzinfo else time.replace(tzinfo=dt.UTC)) - _EPOCH
    micros = (since.days * DAY + since.seconds * SECOND) * 1000 + since.microseconds
    return _cut(cell, Fraction(micros, 1000), whole=whole)


def _parsed(text: str) -> dt.datetime:
    odd = _AM_PM.fullmatch(text)
    if odd:
        return dt.datetime.strptime(" ".join(odd.groups()), "%Y-%m-%d %I %p")  # noqa: DTZ007 - UTC
    if not _YEAR_FIRST.match(text):
        raise ValueError(text)  # 01/02/2024 is January or February
    return dt.datetime.fromisoformat(text.removesuffix(" UTC").replace("/", "-"))
