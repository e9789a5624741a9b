"""Questions to a venue through ccxt. The client is ccxt's; whatever it raises ends here.

Knows nothing of streams' states. ccxt keeps the venue's rate limit itself.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from candled.core.bar import SECOND, Bars, Interval, Stream
from candled_adapters.exchanges.ccxt_venue import (
    CcxtError,
    CcxtVenue,
    bars_of,
    is_of_ccxt,
    newest_open,
    refusal_of,
    unified,
)
from candled_adapters.exchanges.dialect import MalformedFrame, Page, RefusalKind, Rows
from candled_adapters.exchanges.wire import bounds
from candled_adapters.feeds.backlog import Read
from candled_adapters.feeds.history import joined
from candled_adapters.feeds.questions import Door, NotAnsweredError, ServerTime
from candled_adapters.feeds.rest import clipped
from candled_adapters.feeds.stats import SourceStats
from candled_adapters.feeds.venuetime import VenueTime

_DOUBT_MS: Final = 2 * SECOND  # of this machine's clock, where the venue's cannot be had


class CcxtRest:
    """One venue as ccxt asks it; see `candled_adapters.feeds.questions.Questions`."""

    def __init__(
        self,
        venue: CcxtVenue,
        exchange: Any,  # noqa: ANN401 - ccxt's
        clock: VenueTime,
        stats: SourceStats,
    ) -> None:
        self._venue = venue
        self._exchange = exchange
        self._stats = stats
        self._symbols: dict[str, str] = {}
        self._door = Door()
        step_ms = 1 if venue.tells_time else _DOUBT_MS
        self._time = ServerTime(
            clock, step_ms=step_ms, allowed=self._door.opened, ask=self._ask_time
        )

    async def server_time(self, after: float) -> int:
        """Return a server time asked for at or after `after` (local monotonic s).

        Where the venue tells none it is this machine's, doubted by two seconds. Nothing is closed
        by it that a later bar does not prove to be.
        """
        return await self._time.at(after)

    async def _ask_time(self) -> int:
        if not self._venue.tells_time:
            return time.time_ns() // 1_000_000
        self._stats.rest_requests += 1
        told = await self._ask(self._exchange.fetch_time)
        if not isinstance(told, int):
            raise self._malformed(f"{self._venue.name}: told no time but {told!r}")
        return told

    async def rows(self, stream: Stream, read: Read, *, urgent: bool = True) -> Rows:
        """Return the answer to `read`, and nothing that it did not ask for.

        ccxt spaces all questions evenly, the urgent ones among them.
        """
        del urgent
        page = Page(read.start_ms, read.end_ms, read.limit, read.server_ms)
        interval = Interval(stream.interval)
        start, end = bounds(page, interval)
        found = await self._from(stream, start, page.limit)
        while len(found) and interval.end(int(found.open_time[-1])) <= end:
            # The venue's pages may be shorter than is known. The last bar is asked for again: what
            # shows it with a later one must be one answer.
            last = int(found.open_time[-1])
            more = await self._from(stream, last, page.limit)
            if not len(more) or int(more.open_time[-1]) == last:
                break
            found = joined([found[:-1], more])
        return clipped(Rows(found), page)

    async def next_begun(self, stream: Stream) -> int:
        """Wait for the next push; return the open time (UTC ms) of the newest bar in it."""
        watch = self._exchange.watch_ohlcv
        candles = await self._ask(watch, await self._symbol(stream), stream.interval)
        with self._reading():
            return newest_open(candles)

    async def _from(self, stream: Stream, since: int, limit: int) -> Bars:
        """Return at most a page of bars from `since` on."""
        symbol = await self._symbol(stream)
        await self._door.opened()
        self._stats.rest_requests += 1
        fetch = self._exchange.fetch_ohlcv
        candles = await self._ask(fetch, symbol, stream.interval, since, limit)
        with self._reading():
            bars = bars_of(candles, stream)
            return bars[int(bars.open_time.searchsorted(since)) :]

    async def _symbol(self, stream: Stream) -> str:
        """Return ccxt's symbol of a stream, as the venue's markets have it."""
        if stream.symbol not in self._symbols:
            markets = await self._ask(self._exchange.load_markets)
            try:
                self._symbols[stream.symbol] = unified(stream.symbol, markets)
            except CcxtError as error:
                what = f"{self._venue.name}: {error}"
                raise self._failure(what, RefusalKind.UNKNOWN_STREAM) from error
        return self._symbols[stream.symbol]

    async def _ask(self, question: Callable[..., Awaitable[Any]], *arguments: object) -> Any:  # noqa: ANN401 - ccxt's
        """Call ccxt; raises `NotAnsweredError` for whatever it raises."""
        try:
            return await question(*arguments)
        except Exception as error:
            if not is_of_ccxt(error):  # it could not read what the venue said
                raise self._malformed(f"{self._venue.name}: {error!r}") from error
            refusal = refusal_of(self._venue.name, error, self._headers())
            if refusal.retry_after_s > 0:
                self._door.close(refusal.retry_after_s)
            raise self._failure(refusal.text, refusal.kind, refusal.retry_after_s) from error

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except MalformedFrame as error:
            raise self._malformed(str(error)) from error

    def _headers(self) -> dict[str, str]:
        said = self._exchange.last_response_headers or {}
        return {str(name).lower(): str(value) for name, value in said.items()}

    def _malformed(self, text: str) -> NotAnsweredError:
        self._stats.malformed += 1
        self._stats.malformed_sample = text
        return self._failure(text)

    def _failure(
        self, reason: str, kind: RefusalKind = RefusalKind.FAILED, wait_s: float = 0.0
    ) -> NotAnsweredError:
        self._stats.rest_failures += 1
        return NotAnsweredError(reason, kind, wait_s)
