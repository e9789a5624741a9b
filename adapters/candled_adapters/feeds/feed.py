"""The exchange side's shell: sockets, REST, clock and one machine per stream, joined into a Feed.

Decides nothing about bars: `continuity` does. This file moves frames to the machines, machines'
wishes to REST, and what they let out to `emit`, in order and from one task alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import httpx

from candled.core.bar import Bar
from candled.ports import Clock, Emit, FeedEvent, Resume
from candled_adapters.exchanges.dialect import (
    Control,
    ControlKind,
    Dialect,
    Kline,
    MalformedFrame,
    Subscription,
)
from candled_adapters.feeds.backlog import Nature, Patience
from candled_adapters.feeds.budget import Budget
from candled_adapters.feeds.continuity import Continuity
from candled_adapters.feeds.pushed import Moment
from candled_adapters.feeds.rest import NotAnsweredError, Rest
from candled_adapters.feeds.session import Session
from candled_adapters.feeds.socket import Socket, SocketSettings
from candled_adapters.feeds.stats import SourceStats
from candled_adapters.feeds.venuetime import VenueTime

_ACK_S: Final = 5.0  # a subscription that is not acknowledged by then is taken as made


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """Bounds of a feed; the defaults are for the real venues."""

    socket: SocketSettings = field(default_factory=SocketSettings)
    patience: Patience = field(default_factory=Patience)
    rest_concurrency: int = 8
    """Questions under way at once, until what was answered has been taken."""
    rest_timeout_s: float = 10.0


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
        self._time = VenueTime(self._rearm)
        self.clock: Clock = self._time
        self._dialect = dialect
        self._websocket_base = websocket_base
        self._rest_base = rest_base
        self._settings = settings or FeedSettings()
        self._session: Session | None = None

    async def run(self, resume: Sequence[Resume], emit: Emit) -> None:
        """Report the streams until cancelled; see `candled.ports.Feed`."""
        settings, limits = self._settings, self._dialect.limits
        async with httpx.AsyncClient(
            base_url=self._rest_base, timeout=settings.rest_timeout_s
        ) as client:
            rest = Rest(self._dialect, client, self._time, self.stats)
            nature = Nature.of(self._dialect)
            grace_ms = max(settings.patience.grace_ms, limits.lateness_ms)
            patience = replace(settings.patience, grace_ms=grace_ms)
            machines = [Continuity(one, nature, self.stats, patience) for one in resume]
            self._session = Session(self._time, rest, machines, emit, settings.rest_concurrency)
            try:
                async with asyncio.TaskGroup() as tasks:
                    self._session.start(tasks)
                    await self._first_contact(rest, machines, self._session)
                    for shard in self._shards(machines, self._session):
                        tasks.create_task(shard.socket.run())
            finally:
                self._session = None

    async def _first_contact(
        self, rest: Rest, machines: list[Continuity], session: Session
    ) -> None:
        """Ask the venue's time before anything else: what closes from then on is to be decided."""
        pause = self._settings.patience.first_retry_s
        while True:
            try:
                server_ms = await rest.server_time(time.monotonic())
            except NotAnsweredError as error:
                await session.out(
                    [e for m in machines for e in m.concern("connection", str(error))]
                )
                await asyncio.sleep(pause)
                pause = min(2.0 * pause, self._settings.patience.last_retry_s)
                continue
            for machine in machines:
                machine.contacted(server_ms, session.moment())
            return

    def _shards(self, machines: list[Continuity], session: Session) -> Iterable[_Shard]:
        limits = self._dialect.limits
        budget = Budget(limits.connects, limits.connect_window_s)
        wishes = self._settings.socket
        socket = replace(
            wishes,
            max_age_s=min(wishes.max_age_s, limits.max_age_s),
            frames_per_second=limits.frames_per_second,
        )
        size = limits.streams_per_connection
        for part in (machines[at : at + size] for at in range(0, len(machines), size)):
            streams = [machine.stream for machine in part]
            url = self._dialect.websocket_url(self._websocket_base, streams)
            shard = _Shard(self._dialect, part, session, self.stats)
            shard.socket = Socket(url, shard, socket, budget, self._dialect.keepalive)
            yield shard

    def _rearm(self) -> None:
        if self._session is not None:
            self._session.rearm()


class _Shard:
    """The streams of one connection; listens to its socket."""

    socket: Socket

    def __init__(
        self,
        dialect: Dialect,
        machines: Sequence[Continuity],
        session: Session,
        stats: SourceStats,
    ) -> None:
        self._dialect = dialect
        self._machines = {machine.stream: machine for machine in machines}
        self._pushed: dict[tuple[str, str], list[Continuity]] = {}
        for machine in machines:
            key = (machine.stream.symbol, dialect.pushed_interval(machine.stream.interval))
            self._pushed.setdefault(key, []).append(machine)
        self._session = session
        self._stats = stats
        self._pending: dict[int | str, Subscription] = {}
        self._next_id = 1
        self._impatience: asyncio.TimerHandle | None = None

    def hello(self) -> list[bytes]:
        """Ask for all streams anew."""
        subscriptions = self._dialect.subscribe(list(self._machines), self._next_id)
        self._next_id += len(subscriptions)
        self._pending = {subscription.id: subscription for subscription in subscriptions}
        return [subscription.frame for subscription in subscriptions]

    async def on_up(self) -> None:
        """Count; data follows when the subscriptions are acknowledged."""
        self._stats.connects += 1
        self._session.came_up()

    async def on_hello(self) -> None:
        """Wait a while for acknowledgements, then do without."""
        loop = asyncio.get_running_loop()
        self._impatience = loop.call_later(_ACK_S, self._subscribed_all)

    async def on_down(self, reason: str) -> None:
        """Tell the machines that nothing comes any more."""
        self._stats.lost_connections += 1
        self._pending = {}
        if self._impatience is not None:
            self._impatience.cancel()
        events: list[FeedEvent] = []
        moment = self._session.moment()
        for machine in self._machines.values():
            events += machine.disconnected(reason, moment)
            self._session.arm(machine)
        await self._session.out(events)

    async def on_frames(self, frames: list[bytes]) -> None:
        """Read a batch of frames and report what it closes, together."""
        moment = self._session.moment()
        events: list[FeedEvent] = []
        opened = 0
        parse = self._dialect.parse
        for frame in frames:
            try:
                facts = parse(frame)
            except MalformedFrame as error:
                self._stats.malformed += 1
                self._stats.malformed_sample = str(error)
                continue
            if not facts:
                opened += 1
            for fact in facts:
                if isinstance(fact, Control):
                    events += self._heed(fact)
                elif fact.closed:
                    events += self._closed(fact, moment)
                else:
                    opened += 1
                    self._begun(fact, moment)
        self._stats.frames += len(frames)
        self._stats.open_frames += opened
        await self._session.out(events)

    def _closed(self, kline: Kline, moment: Moment) -> list[FeedEvent]:
        machines = self._pushed.get((kline.symbol, kline.interval), [])
        if not machines:
            self._stats.unasked += 1
        if machines and _plausible(kline.bar, kline.event_ms):
            self._session.clock.observe(kline.event_ms)
            if kline.event_ms > moment.venue_ms:
                moment = replace(moment, venue_ms=kline.event_ms)
        events: list[FeedEvent] = []
        for machine in machines:
            events += machine.push(kline.bar, moment)
            if machine.wants_rest:
                self._session.arm(machine)
        return events

    def _begun(self, kline: Kline, moment: Moment) -> None:
        """Tell the machines that wait for a later bar."""
        for machine in self._pushed.get((kline.symbol, kline.interval), ()):
            machine.seen(kline.bar.open_time, moment)
            if machine.wants_rest:
                self._session.arm(machine)

    def _heed(self, control: Control) -> list[FeedEvent]:
        if control.kind is ControlKind.SHUTDOWN:
            self.socket.reconnect(control.text)
        if control.kind is ControlKind.ERROR:
            self._stats.control_errors += 1
            self._stats.control_sample = control.text
        answered = control.kind in (ControlKind.ACK, ControlKind.ERROR)
        if answered and control.id is not None and control.id in self._pending:
            return self._subscribed(self._pending.pop(control.id))
        return []

    def _subscribed(self, subscription: Subscription) -> list[FeedEvent]:
        moment = self._session.moment()
        events: list[FeedEvent] = []
        for stream in subscription.streams:
            machine = self._machines[stream]
            events += machine.connected(moment)
            self._session.arm(machine)
        return events

    def _subscribed_all(self) -> None:
        """Start the machines whose subscription nobody acknowledged."""
        while self._pending:
            _, subscription = self._pending.popitem()
            self._session.post(self._subscribed(subscription))


def _plausible(bar: Bar, event_ms: int) -> bool:
    """Whether a push's time can be believed: soon after the bar's end."""
    length = bar.close_time - bar.open_time
    return bar.close_time <= event_ms <= bar.close_time + max(length, 60_000)
