"""The exchange side's shell: lines, REST, clock and one machine per stream, joined into a Feed.

Decides nothing about bars: `continuity` does. Builds what runs: shards that move frames to the
machines, a session that brings the machines' wishes to REST and what they let out to `emit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import httpx

from candled.ports import Act, Clock, Emit, Hazard, Resume
from candled_adapters.exchanges.dialect import Dialect
from candled_adapters.feeds.backlog import Nature, Patience
from candled_adapters.feeds.budget import Allowance
from candled_adapters.feeds.continuity import Continuity
from candled_adapters.feeds.line import Common
from candled_adapters.feeds.rest import Rest
from candled_adapters.feeds.session import Session
from candled_adapters.feeds.shard import Shard
from candled_adapters.feeds.socket import SocketSettings
from candled_adapters.feeds.stats import SourceStats
from candled_adapters.feeds.venuetime import VenueTime


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """Bounds of a feed; the defaults are for the real venues."""

    socket: SocketSettings = field(default_factory=SocketSettings)
    patience: Patience = field(default_factory=Patience)
    rest_concurrency: int = 8
    """Questions under way at once, until what was answered has been taken."""
    rest_timeout_s: float = 10.0
    max_skew_s: float = float("inf")
    """How far the venue's clock may differ from this machine's; infinite for a simulated venue."""


class VenueFeed:
    """Closed bars of one venue, as `candled.ports.Feed` promises them."""

    def __init__(
        self,
        exchange: str,
        dialect: Dialect,
        *,
        websocket_base: str,
        rest_base: str,
        settings: FeedSettings | None = None,
    ) -> None:
        self.exchange = exchange
        self.stats = SourceStats()
        self._settings = settings or FeedSettings()
        self._time = VenueTime(self._rearm, self._settings.max_skew_s)
        self.clock: Clock = self._time
        self._dialect = dialect
        self._websocket_base = websocket_base
        self._rest_base = rest_base
        self._session: Session | None = None

    async def run(self, resume: Sequence[Resume], emit: Emit) -> None:
        """Report the streams until cancelled; see `candled.ports.Feed`."""
        settings, limits = self._settings, self._dialect.limits
        async with httpx.AsyncClient(
            base_url=self._rest_base, timeout=settings.rest_timeout_s
        ) as client:
            rest = Rest(self._dialect, client, self._time, self.stats, self._report)
            nature = Nature.of(self._dialect)
            grace_ms = max(settings.patience.grace_ms, limits.lateness_ms)
            patience = replace(settings.patience, grace_ms=grace_ms)
            machines = [Continuity(one, nature, self.stats, patience) for one in resume]
            self._session = Session(
                self.exchange,
                self._time,
                rest,
                machines,
                emit,
                questions=settings.rest_concurrency,
                answer_s=patience.answer_s,
            )
            try:
                async with asyncio.TaskGroup() as tasks:
                    self._session.start(tasks)
                    # Neither waits for the other: without REST what is pushed is kept until REST
                    # can say what lies before it; without a connection REST has what is due.
                    tasks.create_task(self._session.make_contact(patience))
                    for shard in self._shards(machines, self._session):
                        tasks.create_task(shard.run())
            finally:
                self._session = None

    def _shards(self, machines: list[Continuity], session: Session) -> Iterable[Shard]:
        """Part the streams by how many a connection may carry."""
        limits = self._dialect.limits
        wishes = self._settings.socket
        socket = replace(wishes, max_age_s=min(wishes.max_age_s, limits.max_age_s))
        allowance = Allowance(limits, len(machines))
        common = Common(self._dialect, session, self.stats, socket, allowance)
        size = limits.streams_per_connection
        for part in (machines[at : at + size] for at in range(0, len(machines), size)):
            streams = [machine.stream for machine in part]
            url = self._dialect.websocket_url(self._websocket_base, streams)
            yield Shard(common, url, part)

    def _rearm(self) -> None:
        if self._session is not None:
            self._session.rearm()

    def _report(self, hazard: Hazard, act: Act, text: str) -> None:
        if self._session is not None:
            self._session.report_some(hazard, act, text)
