"""The venues of ccxt, one library for a hundred of them: what it says of each, in our words.

Pure, but for the import of ccxt itself, which happens when a configuration names one of its venues
and never before: it takes most of a second and a hundred megabytes. No socket, no clock.

A venue is named ``ccxt:`` and ccxt's own id, ``ccxt:kucoin``. Its unified symbols have a slash,
which parts the words of a stream's name; here the first one is a dash: ``BTC-USDT`` for
``BTC/USDT``, ``BTC-USDT:USDT`` for the swap ``BTC/USDT:USDT``. Which symbol is meant is looked up
among the venue's markets, so that nothing is guessed.

Unified bars are [open ms, open, high, low, close, volume]; volume is in base, but of contracts it
may be their number. Nothing says that a bar is closed, pushed or not (`Closing.SUCCESSOR`).
    https://docs.ccxt.com/#/README?id=ohlcv-structure
    https://github.com/ccxt/ccxt/issues/21885
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from candled.core.bar import INTERVALS, Bars, Interval, Stream
from candled_adapters.exchanges.dialect import Closing, Refusal, RefusalKind
from candled_adapters.exchanges.wire import (
    ABSENT,
    UNREADABLE,
    Spelling,
    malformed,
    milliseconds,
    retry_after_s,
    table,
)

PREFIX: Final = "ccxt:"
_MOST_ROWS: Final = 1000
_SURE_ROWS: Final = 100  # where ccxt does not say how many rows a venue gives at once
_COLUMNS: Final = ("open", "high", "low", "close", "volume")
_TIMEOUT_MS: Final = 10_000
_SAMPLE: Final = 200
#: BTC-USDT, and of contracts BTC-USDT:USDT, BTC-USD:BTC-260327.
_SPELLING: Final = Spelling(
    re.compile(r"(?=.*[A-Z0-9])[^\s/+#:-]+-[^\s/+#]+"), "BTC-USDT", "{base}-{quote}", {}
)
#: What ccxt raises, by the names of the classes; the first that fits counts.
_KINDS: Final[Mapping[str, RefusalKind]] = {
    "BadSymbol": RefusalKind.UNKNOWN_STREAM,
    "RateLimitExceeded": RefusalKind.RATE_LIMIT,
    "DDoSProtection": RefusalKind.RATE_LIMIT,
    "AuthenticationError": RefusalKind.REJECTED,
    "RestrictedLocation": RefusalKind.REJECTED,
    "NotSupported": RefusalKind.REJECTED,
}


class CcxtError(ValueError):
    """A venue that ccxt cannot serve here; the text says why and the mend."""


@dataclass(frozen=True, slots=True)
class CcxtVenue:
    """What ccxt says of one venue."""

    id: str
    """ccxt's own name."""
    intervals: frozenset[str]
    """Names of the intervals that both it and candled have."""
    page: int
    """Most rows in one answer."""
    watches: bool
    """Whether bars are pushed."""
    tells_time: bool
    """Whether it can be asked for its time."""
    closing: Closing = Closing.SUCCESSOR

    @property
    def name(self) -> str:
        """As a configuration says it."""
        return PREFIX + self.id

    def symbol_problem(self, symbol: str) -> str:
        """Return what is wrong with a symbol's spelling; its markets know more."""
        return _SPELLING.problem(self.name, symbol)


def is_ccxt(name: str) -> bool:
    """Whether a dialect's name asks for one of ccxt's venues."""
    return name.startswith(PREFIX)


def ccxt_venue(name: str) -> CcxtVenue:
    """Return what ccxt says of a venue. Raises `CcxtError`."""
    exchange = _class_of(name.removeprefix(PREFIX))()
    return described(exchange.id, exchange.timeframes, exchange.has, exchange.features)


def open_exchange(venue: CcxtVenue, rest_url: str | None, ws_url: str | None) -> Any:  # noqa: ANN401 - ccxt's
    """Make ccxt's client of a venue, without an account; it wants to be closed."""
    exchange = _class_of(venue.id)({"enableRateLimit": True, "timeout": _TIMEOUT_MS})
    exchange.urls["api"] = relocated(exchange.urls["api"], rest_url, ws_url)
    return exchange


def _class_of(venue_id: str) -> Any:  # noqa: ANN401 - ccxt's
    every = _library("ccxt.async_support")
    if venue_id not in every.exchanges:
        near = difflib.get_close_matches(venue_id, every.exchanges, n=1, cutoff=0.5)
        mend = f"; did you mean '{PREFIX}{near[0]}'?" if near else ""
        raise CcxtError(f"ccxt {every.__version__} has no exchange {venue_id!r}{mend}")
    pushing = _library("ccxt.pro")
    return getattr(pushing if venue_id in pushing.exchanges else every, venue_id)


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "ccxt":
            raise
        raise CcxtError(
            f"the dialects that begin with '{PREFIX}' need ccxt: pip install 'candled[ccxt]'"
        ) from None


def described(
    venue_id: str,
    timeframes: Mapping[str, object] | None,
    has: Mapping[str, object],
    features: object,
) -> CcxtVenue:
    """Read ccxt's description of a venue. Raises `CcxtError` when it has no bars."""
    intervals = {one.name for one in INTERVALS}.intersection(timeframes or ())
    if not has.get("fetchOHLCV") or not intervals:
        raise CcxtError(f"ccxt has no bars of {venue_id}; take another venue")
    return CcxtVenue(
        id=venue_id,
        intervals=frozenset(intervals),
        page=min([_MOST_ROWS, *_limits(features)] if any(_limits(features)) else [_SURE_ROWS]),
        watches=bool(has.get("watchOHLCV")),
        tells_time=bool(has.get("fetchTime")),
    )


def _limits(features: object) -> Iterator[int]:
    """Find how many bars one answer holds, in each of a venue's markets that says so."""
    for key, part in features.items() if isinstance(features, Mapping) else ():
        if key != "fetchOHLCV":
            yield from _limits(part)
        elif isinstance(part, Mapping) and part.get("limit"):
            yield int(part["limit"])


def relocated(urls: object, rest_url: str | None, ws_url: str | None) -> object:
    """Return ccxt's addresses with other hosts; paths stay. None leaves the venue's own."""
    if isinstance(urls, Mapping):
        return {name: relocated(part, rest_url, ws_url) for name, part in urls.items()}
    if not isinstance(urls, str):
        return urls
    scheme, _, place = urls.partition("://")
    base = ws_url if scheme in ("ws", "wss") else rest_url
    _, slash, path = place.partition("/")
    return urls if base is None else base.rstrip("/") + slash + path


def spelled(symbol: str) -> str:
    """Spell one of ccxt's unified symbols without its slash."""
    return symbol.replace("/", "-", 1)


def unified(symbol: str, markets: Iterable[str]) -> str:
    """Return ccxt's symbol for one that is spelled without a slash. Raises `CcxtError`."""
    found = {spelled(one): one for one in markets}
    if symbol in found:
        return found[symbol]
    near = difflib.get_close_matches(symbol, found, n=1, cutoff=0.5)
    mend = f"; did you mean {near[0]!r}?" if near else ""
    raise CcxtError(f"the venue has no market {symbol!r}{mend}")


def bars_of(candles: Sequence[Sequence[Any]], stream: Stream) -> Bars:
    """Return unified bars, oldest first, as columns. Raises `MalformedFrame`."""
    try:
        columns = {
            name: [ABSENT if row[at] is None else row[at] for row in candles]
            for at, name in enumerate(_COLUMNS, start=1)
        }
        return table((row[0] for row in candles), Interval(stream.interval), columns)
    except (TypeError, LookupError, *UNREADABLE) as error:
        found = repr(candles).encode()
        raise malformed(f"history of {stream.path}", error, found) from error


def newest_open(candles: Sequence[Sequence[Any]]) -> int:
    """Return the latest open time (UTC ms) of pushed bars. Raises `MalformedFrame`."""
    try:
        return milliseconds(max(candle[0] for candle in candles))
    except (TypeError, LookupError, *UNREADABLE) as error:
        raise malformed("push", error, repr(candles).encode()) from error


def is_of_ccxt(error: Exception) -> bool:
    """Whether ccxt raised it knowingly, not over what it could not read."""
    return any(one.__module__.startswith("ccxt.") for one in type(error).__mro__)


def refusal_of(name: str, error: Exception, headers: Mapping[str, str]) -> Refusal:
    """Say what an error of ccxt means; `headers` are those of the last answer, in lower case."""
    ancestors = {one.__name__ for one in type(error).__mro__}
    kind = next((kind for one, kind in _KINDS.items() if one in ancestors), RefusalKind.FAILED)
    wait_s = retry_after_s(headers) if kind is RefusalKind.RATE_LIMIT else 0.0
    said = " ".join(str(error).split())[:_SAMPLE]
    return Refusal(kind, f"{name}: {type(error).__name__} {said}".rstrip(), wait_s)
