"""The venue behind the simulator as pure facts: which bars exist, and what is known of them when.

Time is an argument: venue milliseconds for the bars, elapsed seconds for the clock. Knows no
socket, no wire format and no real clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bar, Bars, Interval

_DIGITS: Final = 8  # Binance's decimals
_SPARE: Final = 16  # rows that are looked at beyond those that are wanted
_LEGS: Final = 3  # open to one extreme, to the other, to the close


@dataclass(frozen=True, slots=True)
class MarketClock:
    """The venue's time, affine in ours; it stands still before its start and after its end."""

    start_ms: int
    end_ms: int
    speed: float
    """Venue seconds in one second of ours."""

    def at(self, elapsed_s: float) -> int:
        """Venue time (UTC ms) so many real seconds after the start."""
        return min(self.end_ms, self.start_ms + int(max(elapsed_s, 0.0) * 1000.0 * self.speed))

    def due(self, venue_ms: int) -> float:
        """Real seconds from the start until the venue's clock shows `venue_ms`."""
        return (venue_ms - self.start_ms) / 1000.0 / self.speed


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment at which the venue pushes the bars of one slot."""

    venue_ms: int
    """UTC ms."""
    open_time: int
    """The slot (UTC ms)."""
    closing: bool
    """Whether this is the slot's end."""


@dataclass(frozen=True, slots=True)
class Kline:
    """A bar as the venue shows it at some moment."""

    bar: Bar
    """For an open bar: what has been traded in it so far."""
    first_trade: int
    """Id of the bar's first trade; meaningless when it has none."""
    closed: bool


@dataclass(frozen=True, slots=True)
class Query:
    """What a client asks of the klines endpoint."""

    limit: int
    """At most so many rows."""
    start_ms: int | None = None
    """Rows that open at or after this (UTC ms), oldest first; None for the newest rows."""
    end_ms: int | None = None
    """Rows that open at or before this (UTC ms)."""


#: Changes ascending candles: some dropped, some altered.
Change = Callable[[list[Kline]], list[Kline]]
_Rows = TypeVar("_Rows", bound=Sequence[object])


@dataclass(frozen=True, slots=True)
class Tape:
    """All bars of one symbol, past and to come."""

    symbol: str
    bars: Bars
    ends: NDArray[np.int64]
    """Exclusive end of each bar's slot (UTC ms)."""
    first_trades: NDArray[np.int64]
    """Trade id with which each bar begins; the first trade of the tape is 1."""
    price_digits: int
    """Decimals of its prices."""

    @classmethod
    def of(cls, symbol: str, bars: Bars, interval: Interval) -> Tape:
        """Index the bars. Raises `ValueError` for a bad symbol, order or grid."""
        _check_symbol(symbol)
        _check_times(symbol, bars, interval)
        trades = np.nan_to_num(bars.trades).astype(np.int64)
        return cls(
            symbol=symbol,
            bars=bars,
            ends=np.array([interval.end(x) for x in bars.open_time.tolist()], dtype=np.int64),
            first_trades=np.cumsum(trades) - trades + 1,
            price_digits=_price_digits(bars),
        )

    def find(self, open_time: int) -> int | None:
        """Return the index of the bar that opens at `open_time`, or None when it is absent."""
        index = int(np.searchsorted(self.bars.open_time, open_time))
        if index == len(self.bars) or self.bars.open_time[index] != open_time:
            return None
        return index

    def kline(self, index: int, now_ms: int) -> Kline:
        """Show one bar as it is at `now_ms`, at or after its open."""
        bar, end = self.bars.row(index), int(self.ends[index])
        first = int(self.first_trades[index])
        if now_ms >= end:
            return Kline(bar, first, closed=True)
        progress = (now_ms - bar.open_time) / (end - bar.open_time)
        return Kline(partial_bar(bar, end, progress, self.price_digits), first, closed=False)

    def klines(self, query: Query, now_ms: int, change: Change | None = None) -> Iterator[Kline]:
        """Answer a query as of `now_ms`: ascending, the open bar last.

        `change` may drop and alter rows; those that it drops make room for others.
        """
        opens = self.bars.open_time
        newest = now_ms if query.end_ms is None else min(now_ms, query.end_ms)
        stop = int(np.searchsorted(opens, newest, side="right"))
        start = 0 if query.start_ms is None else int(np.searchsorted(opens, query.start_ms))
        rows = range(start, max(start, stop))
        if change is None:
            return self._run(_limited(rows, query, query.limit), now_ms)
        return iter(self._changed(rows, query, now_ms, change))

    def _changed(self, rows: range, query: Query, now_ms: int, change: Change) -> list[Kline]:
        """Change so many rows that enough are left."""
        reach = query.limit
        while True:
            reach = 2 * reach + _SPARE
            some = _limited(rows, query, reach)
            shown = change(list(self._run(some, now_ms)))
            if len(shown) >= query.limit or len(some) == len(rows):
                return list(_limited(shown, query, query.limit))

    def _run(self, rows: range, now_ms: int) -> Iterator[Kline]:
        """Show neighbouring bars that have opened by `now_ms`: the fast way."""
        closed = int(np.searchsorted(self.ends, now_ms, side="right"))
        done = slice(rows.start, min(rows.stop, closed))
        for bar, first in zip(self.bars[done], self.first_trades[done].tolist(), strict=True):
            yield Kline(bar, first, closed=True)
        for index in range(max(rows.start, closed), rows.stop):
            yield self.kline(index, now_ms)


@dataclass(frozen=True, slots=True)
class Market:
    """Symbols with one interval, and the stretch of their common timeline that is played."""

    interval: Interval
    tapes: Mapping[str, Tape]
    slots: tuple[int, ...]
    """Open times (UTC ms) of the bars that will close while the clock runs, ascending."""

    @classmethod
    def of(
        cls,
        candles: Mapping[str, Bars],
        interval: Interval,
        *,
        start_at: int = 0,
        bars: int | None = None,
    ) -> Market:
        """Play the bars from index `start_at` of the union of all symbols' slots on.

        The bars before it have closed when the clock starts. `bars` is how many slots are played;
        None means all. Raises `ValueError`.
        """
        tapes = {symbol: Tape.of(symbol, table, interval) for symbol, table in candles.items()}
        opens = [tape.bars.open_time for tape in tapes.values()]
        timeline = np.unique(np.concatenate(opens)).tolist() if opens else []
        if not 0 <= start_at < len(timeline):
            raise ValueError(
                f"start_at is {start_at}, but the candles have {len(timeline)} slots; "
                f"choose 0 to {len(timeline) - 1}"
                if timeline
                else "there are no candles to play; give at least one bar"
            )
        if bars is not None and bars < 1:
            raise ValueError(f"bars is {bars}; play at least 1")
        stop = len(timeline) if bars is None else start_at + bars
        return cls(interval, tapes, tuple(timeline[start_at:stop]))

    def instants(self, updates: int) -> Iterator[Instant]:
        """Yield, in time order, `updates` moments within each played slot and then its end."""
        for opened in self.slots:
            end = self.interval.end(opened)
            for part in range(1, updates + 1):
                at = opened + (end - opened) * part // (updates + 1)
                yield Instant(at, opened, closing=False)
            yield Instant(end, opened, closing=True)

    def clock(self, speed: float) -> MarketClock:
        """Return a clock that starts when the first slot opens and ends when the last one does."""
        if not 0 < speed < float("inf"):
            raise ValueError(f"speed is {speed}; give venue seconds per second, above 0")
        return MarketClock(self.slots[0], self.interval.end(self.slots[-1]), speed)


def _limited(rows: _Rows, query: Query, limit: int) -> _Rows:
    """Keep the rows from the end that a query wants."""
    kept = rows[-limit:] if query.start_ms is None else rows[:limit]
    return cast("_Rows", kept)


def partial_bar(bar: Bar, end: int, progress: float, price_digits: int = _DIGITS) -> Bar:
    """Show a bar after the share `progress` (0 to 1, less than 1) of its slot.

    The price goes from the open to the nearer extreme in time, to the other, to the close, a third
    of the slot each; volumes grow evenly. Until its first trade a bar is flat at its open.
    `end` is the exclusive end of its slot: an outage that ended it early is not known yet.
    """
    volume = round(bar.volume * progress, _DIGITS)
    trades = float(bar.trades * progress // 1)
    if volume == 0 or trades == 0:
        flat = bar.open
        return Bar(bar.open_time, flat, flat, flat, flat, 0.0, end - 1, 0.0, 0.0, 0.0, 0.0)
    price, high, low = _travelled(bar, progress, price_digits)
    return Bar(
        open_time=bar.open_time,
        open=bar.open,
        high=high,
        low=low,
        close=price,
        volume=volume,
        close_time=end - 1,
        quote_volume=round(bar.quote_volume * progress, _DIGITS),
        trades=trades,
        taker_buy_base=round(bar.taker_buy_base * progress, _DIGITS),
        taker_buy_quote=round(bar.taker_buy_quote * progress, _DIGITS),
    )


def _travelled(bar: Bar, progress: float, digits: int) -> tuple[float, float, float]:
    """Return the price now, and the highest and lowest so far."""
    rising = bar.close >= bar.open
    first, second = (bar.low, bar.high) if rising else (bar.high, bar.low)
    points = (bar.open, first, second, bar.close)
    leg = min(int(progress * _LEGS), _LEGS - 1)
    along = progress * _LEGS - leg
    price = round(points[leg] + (points[leg + 1] - points[leg]) * along, digits)
    price = min(max(price, bar.low), bar.high)
    visited = (*points[: leg + 1], price)
    return price, max(visited), min(visited)


def _price_digits(bars: Bars) -> int:
    prices = np.concatenate((bars.open, bars.high, bars.low, bars.close))
    for digits in range(_DIGITS):
        if np.array_equal(np.round(prices, digits), prices):
            return digits
    return _DIGITS


def _check_symbol(symbol: str) -> None:
    if not symbol or any(c.isspace() or c in "/?&\"'" for c in symbol):
        raise ValueError(f"symbol {symbol!r} must be one word without slashes, ? and &")


def _check_times(symbol: str, bars: Bars, interval: Interval) -> None:
    if np.any(np.diff(bars.open_time) <= 0):
        raise ValueError(f"{symbol}: the bars are not strictly ascending by open_time; sort them")
    for opened in bars.open_time.tolist():
        if not interval.on_grid(opened):
            raise ValueError(f"{symbol}: open_time {opened} is not on the {interval} grid (UTC)")
