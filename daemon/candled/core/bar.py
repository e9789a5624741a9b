"""What a candle is: intervals, streams, bars, tables of bars, and the rules at the door.

Pure facts and arithmetic on UTC integer milliseconds. Nothing here reads a clock, a file or a
socket, and nothing here knows an exchange. Column names are those of Binance's klines,
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#klinecandlestick-data
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY

_FIXED: Final[dict[str, int]] = {
    "1s": SECOND,
    "1m": MINUTE,
    "3m": 3 * MINUTE,
    "5m": 5 * MINUTE,
    "15m": 15 * MINUTE,
    "30m": 30 * MINUTE,
    "1h": HOUR,
    "2h": 2 * HOUR,
    "4h": 4 * HOUR,
    "6h": 6 * HOUR,
    "8h": 8 * HOUR,
    "12h": 12 * HOUR,
    "1d": DAY,
    "3d": 3 * DAY,
    "1w": WEEK,
}
_MONTH: Final = "1M"
_FIRST_MONDAY: Final = 4 * DAY  # 1970-01-05; the epoch itself was a Thursday

#: Plausible milliseconds, 2001-09-09 to 2286-11-20; seconds and microseconds fall outside.
TIME_RANGE_MS: Final = (10**12, 10**13)
_YEARS_MS: Final = (-62_135_596_800_000, 253_402_300_800_000)  # the years 1 to 9999


@dataclass(frozen=True, slots=True)
class Interval:
    """The length of a bar, by its usual name; case matters (``1m`` is a minute, ``1M`` a month)."""

    name: str

    def __post_init__(self) -> None:
        """Refuse a name that no venue uses."""
        if self.name not in _FIXED and self.name != _MONTH:
            known = ", ".join((*_FIXED, _MONTH))
            raise ValueError(f"unknown interval {self.name!r}; known are {known} (case matters)")

    @property
    def typical_ms(self) -> int:
        """Length in milliseconds; for a month, 30 days (use `end` for exact ends)."""
        return _FIXED.get(self.name, 30 * DAY)

    def end(self, open_time: int) -> int:
        """Exclusive end of the slot that opens at `open_time`: the open time of the next slot."""
        if self.name == _MONTH:
            return _add_months(open_time, 1)
        return open_time + _FIXED[self.name]

    def back(self, open_time: int, count: int) -> int:
        """Open time of the slot `count` slots before the one that opens at `open_time`."""
        if self.name == _MONTH:
            return _add_months(open_time, -count)
        return open_time - count * _FIXED[self.name]

    def on_grid(self, open_time: int) -> bool:
        """Whether a slot may open at `open_time`.

        Weeks open on Mondays and months on the first, 00:00 UTC. Three-day bars open at 00:00 UTC
        of any day, because venues anchor them differently.
        """
        if self.name == _MONTH:
            moment = _utc(open_time)
            return open_time % DAY == 0 and moment.day == 1
        if self.name == "3d":
            return open_time % DAY == 0
        if self.name == "1w":
            return (open_time - _FIRST_MONDAY) % WEEK == 0
        return open_time % _FIXED[self.name] == 0

    def __str__(self) -> str:
        """Return the name."""
        return self.name


#: Every interval that candled knows, shortest first.
INTERVALS: Final = tuple(Interval(name) for name in (*_FIXED, _MONTH))


def _utc(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC)


def _add_months(ms: int, months: int) -> int:
    moment = _utc(ms)
    years, month0 = divmod(moment.month - 1 + months, 12)
    moved = moment.replace(year=moment.year + years, month=month0 + 1)
    return int(moved.timestamp()) * 1000


def iso(ms: int) -> str:
    """Format UTC milliseconds as ISO-8601 with ``Z``; milliseconds only where they are not zero.

    What lies beyond the years that have four digits, as microseconds do, is said as it is: messages
    must be able to name a wrong time.
    """
    if not _YEARS_MS[0] <= ms < _YEARS_MS[1]:
        return f"{ms} ms"
    seconds, rest = divmod(ms, 1000)
    text = _utc(seconds * 1000).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:03d}Z" if rest else f"{text}Z"


@dataclass(frozen=True, slots=True, order=True)
class Stream:
    """One sequence of bars: whose, of what, how long."""

    exchange: str
    """Name of the exchange as the configuration spells it."""
    symbol: str
    """Symbol as the venue spells it, e.g. ``BTCUSDT``."""
    interval: str
    """Name of an `Interval`."""

    @property
    def path(self) -> str:
        """``exchange/symbol/interval``, as in topics, logs and ids."""
        return f"{self.exchange}/{self.symbol}/{self.interval}"


@dataclass(frozen=True, slots=True)
class Bar:
    """One closed candle. Prices and volumes are float64; a column the venue lacks is NaN."""

    open_time: int
    """UTC milliseconds, on the interval's grid."""
    open: float
    high: float
    low: float
    close: float
    volume: float
    """Base asset traded."""
    close_time: int
    """UTC milliseconds, inclusive (usually the end of the slot minus 1)."""
    quote_volume: float
    trades: float
    """Number of trades; a float so that it may be NaN."""
    taker_buy_base: float
    taker_buy_quote: float


_INFINITY: Final = float("inf")
COLUMNS: Final = tuple(f.name for f in fields(Bar))
TIME_COLUMNS: Final = ("open_time", "close_time")


@dataclass(frozen=True, slots=True)
class Bars:
    """A table of bars in time order, one numpy array a column, all of length n."""

    open_time: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    close_time: NDArray[np.int64]
    quote_volume: NDArray[np.float64]
    trades: NDArray[np.float64]
    taker_buy_base: NDArray[np.float64]
    taker_buy_quote: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[Bar]) -> Bars:
        """Build the table from single bars."""
        columns: dict[str, Any] = {
            name: np.array(
                [getattr(row, name) for row in rows],
                dtype=np.int64 if name in TIME_COLUMNS else np.float64,
            )
            for name in COLUMNS
        }
        return cls(**columns)

    def __len__(self) -> int:
        """Return n."""
        return len(self.open_time)

    def __getitem__(self, rows: slice) -> Bars:
        """Return the table of a slice of rows (views, not copies)."""
        return Bars(**{name: getattr(self, name)[rows] for name in COLUMNS})

    def row(self, index: int) -> Bar:
        """Return one row as a `Bar` of Python numbers."""
        return Bar(*(getattr(self, name)[index].item() for name in COLUMNS))

    def __iter__(self) -> Iterator[Bar]:
        """Yield the rows as `Bar`, with Python numbers."""
        columns = [getattr(self, name).tolist() for name in COLUMNS]
        return (Bar(*values) for values in zip(*columns, strict=True))


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a sane bar. `holds` takes a `Bar` or `Bars` and uses operators only."""

    field: str
    demand: str
    holds: Callable[[Any], Any]


def _positive(name: str, bars: Any) -> Any:  # noqa: ANN401 - a Bar or Bars
    x = getattr(bars, name)
    return (x > 0) & (x < _INFINITY)


def _absent_or_not_negative(name: str, bars: Any) -> Any:  # noqa: ANN401 - a Bar or Bars
    x = getattr(bars, name)
    return (x != x) | ((x >= 0) & (x < _INFINITY))  # noqa: PLR0124 - NaN: the venue has none


RULES: Final = (
    Rule(
        "open_time",
        "must be milliseconds since 1970 (13 digits), not seconds or microseconds",
        lambda b: (b.open_time >= TIME_RANGE_MS[0]) & (b.open_time < TIME_RANGE_MS[1]),
    ),
    Rule("close_time", "must be after open_time", lambda b: b.close_time > b.open_time),
    *(
        Rule(
            name,
            "must be a finite number above zero",
            partial(_positive, name),
        )
        for name in ("open", "high", "low", "close")
    ),
    Rule(
        "high",
        "must not be below open, low or close",
        lambda b: (b.high >= b.open) & (b.high >= b.close) & (b.high >= b.low),
    ),
    Rule(
        "low",
        "must not be above open or close",
        lambda b: (b.low <= b.open) & (b.low <= b.close),
    ),
    *(
        Rule(
            name,
            "must be zero or more, or absent",
            partial(_absent_or_not_negative, name),
        )
        for name in ("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote")
    ),
    Rule(
        "volume",
        "is zero although the price moved from open to close",
        lambda b: (b.volume != 0) | (b.open == b.close),
    ),
)


def broken_rule(bar: Bar, interval: Interval) -> Rule | None:
    """Return the first rule that `bar` breaks, or None when it may enter."""
    for rule in RULES:
        if not rule.holds(bar):
            return rule
    if not interval.on_grid(bar.open_time):
        return off_grid(interval)
    return None


def off_grid(interval: Interval) -> Rule:
    """Return the grid rule of an interval, for messages."""
    return Rule(
        "open_time",
        f"is not on the {interval} grid (UTC)",
        lambda b: interval.on_grid(b.open_time),
    )
