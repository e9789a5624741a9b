"""Questions to a venue's REST interface, patient when the venue says so.

Knows HTTP and the dialect; knows nothing of streams' states. Nothing is retried here: who asked
decides when to ask again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import httpx

from candled.core.bar import Stream
from candled.ports import Act, Hazard
from candled_adapters.exchanges.dialect import (
    Dialect,
    MalformedFrame,
    Page,
    RefusalKind,
    Request,
    Rows,
)
from candled_adapters.feeds.backlog import Read
from candled_adapters.feeds.budget import Budget
from candled_adapters.feeds.questions import Door, NotAnsweredError, ServerTime
from candled_adapters.feeds.stats import SourceStats
from candled_adapters.feeds.venuetime import VenueTime

__all__ = ["NotAnsweredError", "Rest", "clipped"]

T = TypeVar("T")
_JSON: Final = {"Content-Type": "application/json"}


class Rest:
    """One venue's REST interface."""

    def __init__(
        self,
        dialect: Dialect,
        client: httpx.AsyncClient,
        clock: VenueTime,
        stats: SourceStats,
        told: Callable[[Hazard, Act, str], None] = lambda *_: None,
    ) -> None:
        """Ask through `client`; `told` hears of limits and of what cannot be read."""
        self._told = told
        self._dialect = dialect
        self._client = client
        self._stats = stats
        self._budget = Budget(dialect.limits.questions, dialect.limits.question_window_s)
        self._door = Door()
        self._time = ServerTime(
            clock, step_ms=dialect.limits.time_step_ms, allowed=self._allowed, ask=self._ask_time
        )

    async def server_time(self, after: float) -> int:
        """Return a server time asked for at or after `after` (local monotonic s)."""
        return await self._time.at(after)

    async def _ask_time(self) -> int:
        return await self._ask(self._dialect.time_request(), self._dialect.parse_time)

    async def rows(self, stream: Stream, read: Read, *, urgent: bool = True) -> Rows:
        """Return the answer to `read`, and nothing that it did not ask for."""
        page = Page(read.start_ms, read.end_ms, read.limit, read.server_ms)
        request = self._dialect.history_request(stream, page)
        await self._allowed(urgent=urgent)
        rows = await self._ask(request, lambda body: self._dialect.parse_history(body, stream))
        return clipped(rows, page)

    async def _allowed(self, *, urgent: bool = True) -> None:
        """Wait for the venue's limits and its Retry-After, or say that this takes long."""
        await (self._budget.spend() if urgent else self._budget.spare())
        await self._door.opened()

    async def _ask(self, request: Request, parse: Callable[[bytes], T]) -> T:
        self._stats.rest_requests += 1
        try:
            answer = await self._client.request(
                request.method,
                request.target,
                content=request.body,
                headers=None if request.body is None else _JSON,
            )
            self._check(answer)
            return parse(answer.content)
        except httpx.HTTPError as error:
            raise self._failure(f"REST: {error or type(error).__name__}") from error
        except MalformedFrame as error:
            self._stats.malformed += 1
            self._stats.malformed_sample = str(error)
            self._told(Hazard.MALFORMED, Act.QUARANTINE, f"REST: {error}")
            raise self._failure(str(error)) from error

    def _check(self, answer: httpx.Response) -> None:
        refusal = self._dialect.parse_error(answer.status_code, answer.headers, answer.content)
        if refusal is None:
            return
        if refusal.retry_after_s > 0:
            self._door.close(refusal.retry_after_s)
            wait = f"REST is left alone for {refusal.retry_after_s:g} s"
            self._told(Hazard.RATE_LIMIT, Act.HOLD, f"{refusal.text}; {wait}")
        raise self._failure(refusal.text, refusal.kind, refusal.retry_after_s)

    def _failure(
        self, reason: str, kind: RefusalKind = RefusalKind.FAILED, wait_s: float = 0.0
    ) -> NotAnsweredError:
        self._stats.rest_failures += 1
        return NotAnsweredError(reason, kind, wait_s)


def clipped(rows: Rows, page: Page) -> Rows:
    """Cut an answer to what `page` asks for: some venues cannot be asked that precisely."""
    opens = rows.bars.open_time
    first = 0 if page.start_ms is None else int(opens.searchsorted(page.start_ms))
    stop = len(opens)
    if page.end_ms is not None:
        stop = max(first, int(opens.searchsorted(page.end_ms, side="right")))
    if page.start_ms is None:
        first = max(first, stop - page.limit)
    else:
        stop = min(stop, first + page.limit)
    closed = None if rows.closed is None else min(max(rows.closed - first, 0), stop - first)
    return Rows(rows.bars[first:stop], closed)
