"""What the dialects have in common: times, numbers, columns, spellings, refusals. Pure.

Knows no venue. Whatever cannot be read raises `MalformedFrame` with a sample of what was found.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import TIME_RANGE_MS, Bars, Interval
from candled_adapters.exchanges.dialect import MalformedFrame, Page, Refusal, RefusalKind

#: A column that the venue does not have.
ABSENT: Final = math.nan
#: What a decoder may raise on bytes of any kind.
UNREADABLE: Final = (ValueError, OverflowError, RecursionError)
_SAMPLE_BYTES: Final = 200
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_OK: Final = range(200, 300)
_FINAL: Final = (400, 401, 404, 405, 451)  # a bad question, path or country
_BANNED, _RATE_LIMIT, _NOT_FOUND = 418, 429, 404
_DEFAULT_PAUSE_S: Final = 30.0  # when a limit was hit and no Retry-After was given
_LONGEST_BAN_S: Final = 3 * 86_400.0


def malformed(what: str, error: Exception, found: bytes) -> MalformedFrame:
    """Say what could not be read, why, and how it begins."""
    return MalformedFrame(f"{what}: {error}; found {found[:_SAMPLE_BYTES]!r}")


@contextmanager
def reading(what: str, found: bytes) -> Iterator[None]:
    """Turn whatever goes wrong with `found` into `MalformedFrame`."""
    try:
        yield
    except UNREADABLE as error:
        raise malformed(what, error, found) from error


def milliseconds(value: int) -> int:
    """Return a time that is plausible as UTC milliseconds; raises ValueError for any other."""
    if not TIME_RANGE_MS[0] <= value < TIME_RANGE_MS[1]:
        raise ValueError(f"{value} is not a time in milliseconds since 1970 (13 digits)")
    return value


def iso_ms(text: str) -> int:
    """Read ISO-8601 with a zone, of any number of decimals, as UTC milliseconds, rounded down."""
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return milliseconds((moment - _EPOCH) // _MILLISECOND)


def close_ms(open_time: int, interval: Interval) -> int:
    """Return the inclusive end of a slot, where the venue tells only its beginning."""
    return interval.end(milliseconds(open_time)) - 1


def floats(column: Sequence[str | float]) -> NDArray[np.float64]:
    """Read decimal strings as Python's float() does."""
    return np.fromiter(map(float, column), np.float64, len(column))


def leading(flags: Iterable[bool]) -> int:
    """Count the flags that are set before the first that is not."""
    return sum(1 for _ in takewhile(bool, flags))


def table(
    opens: Iterable[int],
    interval: Interval,
    prices: Mapping[str, Sequence[str | float]],
) -> Bars:
    """Build a table from columns in ascending or descending order of open time.

    `prices` are the columns that the venue has; the others are NaN. Raises ValueError for times
    that are none, and for rows out of order or twice.
    """
    times = list(opens)
    order = slice(None, None, -1) if len(times) > 1 and times[0] > times[-1] else slice(None)
    open_time = np.array([milliseconds(time) for time in times[order]], dtype=np.int64)
    if (np.diff(open_time) <= 0).any():
        raise ValueError("rows are not in order of open time")
    columns = {name: floats(prices[name])[order] for name in prices}
    absent = np.full(len(times), ABSENT)
    return Bars(
        open_time=open_time,
        open=columns["open"],
        high=columns["high"],
        low=columns["low"],
        close=columns["close"],
        volume=columns["volume"],
        close_time=np.array([interval.end(t) - 1 for t in open_time.tolist()], dtype=np.int64),
        quote_volume=columns.get("quote_volume", absent),
        trades=columns.get("trades", absent),
        taker_buy_base=absent,
        taker_buy_quote=absent,
    )


def bounds(page: Page, interval: Interval) -> tuple[int, int]:
    """Return the first and last open time (UTC ms) that `page` can be about, both inclusive.

    They span at most `limit` slots, so that no venue needs to choose which end to cut.
    """
    span = (page.limit - 1) * interval.typical_ms
    newest = page.now_ms if page.end_ms is None else min(page.end_ms, page.now_ms)
    if page.start_ms is None:
        return max(0, newest - span), newest
    return page.start_ms, min(newest, page.start_ms + span)


def refusal(
    name: str, status: int, headers: Mapping[str, str], body: bytes, *, unknown: bool = False
) -> Refusal | None:
    """Judge an answer by its HTTP status; `unknown` when its body says that the stream is."""
    if status in _OK:
        return None
    if status in (_RATE_LIMIT, _BANNED):
        kind = RefusalKind.BANNED if status == _BANNED else RefusalKind.RATE_LIMIT
        return Refusal(kind, f"{name}: HTTP {status}", retry_after_s(headers))
    kind = RefusalKind.REJECTED if status in _FINAL else RefusalKind.FAILED
    kind = RefusalKind.UNKNOWN_STREAM if unknown else kind
    said = body[:_SAMPLE_BYTES].decode(errors="replace")
    return Refusal(kind, f"{name}: HTTP {status} {said}".rstrip(), 0.0)


def rate_limited(name: str, said: str, headers: Mapping[str, str]) -> Refusal:
    """Return the refusal of a venue that speaks of its limits in a good answer's body."""
    return Refusal(RefusalKind.RATE_LIMIT, f"{name}: {said}", retry_after_s(headers))


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Read Retry-After (seconds); a while when it is absent or no number."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return _DEFAULT_PAUSE_S
    return min(max(0.0, seconds), _LONGEST_BAN_S) if seconds == seconds else _DEFAULT_PAUSE_S  # noqa: PLR0124 - NaN


_QUOTES: Final = (
    *("USDT", "USDC", "FDUSD", "DAI", "USD", "EUR", "GBP", "JPY", "TRY"),
    *("BRL", "AUD", "CAD", "CHF", "BTC", "ETH", "BNB"),
)
_SEPARATORS: Final = re.compile(r"[-/_:]")
_CONTRACT: Final = re.compile(r"[-_]?(SWAP|PERP)$")


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a venue spells symbols, as `Stream.symbol` holds them."""

    pattern: re.Pattern[str]
    """What a whole symbol matches."""
    example: str
    form: str
    """How a pair is made of {base} and {quote}."""
    aliases: Mapping[str, str]
    """Names of assets that others use: theirs -> the venue's."""

    def problem(self, venue: str, symbol: str) -> str:
        """Return what is wrong with `symbol`, with the likely mend; '' when it is well spelled."""
        if self.pattern.fullmatch(symbol):
            return ""
        said = f"{symbol!r} is not how {venue} spells a symbol (e.g. {self.example})"
        near = self._suggestion(symbol)
        return f"{said}; did you mean {near!r}?" if near else said

    def _suggestion(self, symbol: str) -> str:
        pair = _pair(symbol.upper())
        if pair is None:
            return ""
        base, quote = (self.aliases.get(name, name) for name in pair)
        near = self.form.format(base=base, quote=quote)
        return near if self.pattern.fullmatch(near) else ""


def _pair(symbol: str) -> tuple[str, str] | None:
    """Guess base and quote of a symbol that another venue spells so."""
    plain = _CONTRACT.sub("", symbol)
    parts = _SEPARATORS.split(plain)
    if len(parts) >= 2:  # noqa: PLR2004 - base and quote; what follows is a date
        return parts[0], parts[1]
    quote = next((q for q in _QUOTES if plain.endswith(q) and plain != q), None)
    if quote is not None:
        return plain.removesuffix(quote), quote
    return (plain, "USD") if plain else None
