"""A feed of one of ccxt's venues: REST proves each bar, what is pushed only says when to ask.

Decides nothing about bars: `continuity` does. ccxt owns the connections; a stream whose pushes are
lost, or that has none, is asked about when its bar is due.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from candled.ports import Clock, Emit, Resume
from candled_adapters.exchanges.ccxt_venue import CcxtVenue, open_exchange
from candled_adapters.exchanges.dialect import Closing
from candled_adapters.feeds.backlog import Nature, Patience
from candled_adapters.feeds.ccxt_rest import CcxtRest
from candled_adapters.feeds.continuity import Continuity
from candled_adapters.feeds.questions import NotAnsweredError
from candled_adapters.feeds.session import Session
from candled_adapters.feeds.stats import SourceStats
from candled_adapters.feeds.venuetime import VenueTime


@dataclass(frozen=True, slots=True)
class CcxtSettings:
    """Bounds of such a feed."""

    patience: Patience = field(default_factory=Patience)
    questions: int = 8
    """Under way at once, until what was answered has been taken."""
    first_retry_s: float = 0.5
    last_retry_s: float = 60.0
    """Lost pushes are asked for again after pauses that grow from the first to this."""
    max_skew_s: float = float("inf")
    """How far the venue's clock may differ from this machine's; infinite for a simulated venue."""


class CcxtFeed:
    """Closed bars of one venue, as `candled.ports.Feed` promises them."""

    def __init__(
        self,
        exchange: str,
        venue: CcxtVenue,
        *,
        websocket_base: str | None = None,
        rest_base: str | None = None,
        settings: CcxtSettings | None = None,
    ) -> None:
        """Report the streams of `exchange`; None leaves the venue's own addresses."""
        self.exchange = exchange
        self.stats = SourceStats()
        self._settings = settings or CcxtSettings()
        self._time = VenueTime(self._rearm, self._settings.max_skew_s)
        self.clock: Clock = self._time
        self._venue = venue
        self._websocket_base = websocket_base
        self._rest_base = rest_base
        self._session: Session | None = None

    @property
    def closing(self) -> Closing:
        """What proves that its bars are closed; see `Closing.mark`."""
        return self._venue.closing

    async def run(self, resume: Sequence[Resume], emit: Emit) -> None:
        """Report the streams until cancelled; see `candled.ports.Feed`."""
        client = open_exchange(self._venue, self._rest_base, self._websocket_base)
        rest = CcxtRest(self._venue, client, self._time, self.stats)
        # How far back the venue goes is not known: the end of its history is no listing.
        nature = Nature(self._venue.page, self._venue.closing, reach=0, by_span=True)
        patience = self._settings.patience
        machines = [Continuity(one, nature, self.stats, patience) for one in resume]
        session = Session(
            self.exchange,
            self._time,
            rest,
            machines,
            emit,
            questions=self._settings.questions,
            answer_s=patience.answer_s,
        )
        self._session = session
        try:
            async with asyncio.TaskGroup() as tasks:
                session.start(tasks)
                await session.make_contact(patience)
                session.came_up()
                for machine in machines:
                    await _connected(machine, session)
                    if self._venue.watches:
                        tasks.create_task(self._watch(rest, machine, session))
        finally:
            self._session = None
            await client.close()

    async def _watch(self, rest: CcxtRest, machine: Continuity, session: Session) -> None:
        """Listen for bars that begin, for ever; without them REST is asked for what is due."""
        failures, heard = 0, False
        while True:
            try:
                opened = await rest.next_begun(machine.stream)
            except NotAnsweredError as error:
                if not failures:
                    self.stats.lost_connections += heard
                    events = machine.disconnected(str(error), session.moment())
                    session.arm(machine)
                    await session.out(events)
                failures, heard = failures + 1, False
                await asyncio.sleep(self._backoff(failures))
                continue
            if failures:
                await _connected(machine, session)
            self.stats.frames += 1
            self.stats.open_frames += 1
            self.stats.connects += not heard
            failures, heard = 0, True
            machine.seen(opened, session.moment())
            if machine.wants_rest:
                session.arm(machine)

    def _backoff(self, failures: int) -> float:
        settings = self._settings
        bound = settings.first_retry_s * 2.0 ** min(failures - 1, 30)
        return random.uniform(0.0, min(bound, settings.last_retry_s))

    def _rearm(self) -> None:
        if self._session is not None:
            self._session.rearm()


async def _connected(machine: Continuity, session: Session) -> None:
    """Let a machine ask for what it has missed, and then wait for signs."""
    events = machine.connected(session.moment())
    session.arm(machine)
    await session.out(events)
