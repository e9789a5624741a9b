"""The MQTT sink: the journal's decisions to the broker, in order, none lost, none late unsaid.

The outbox is the only queue. An entry is done when the broker has accepted it; whatever happens
before that, a new connection begins again at the first entry that is not done. Consumers drop what
they have seen by its id. Nothing is known here of MQTT's packets (see `mqtt_link`), of topics
(see `mqtt_messages`), or of where decisions come from.

Heads are a sign of life, said again at every close and every `head_refresh` seconds, so that an
acknowledgement would change nothing. The last of every `HEAD_SLICE` is sent at QoS 1 all the same:
it is the back-pressure, and it shows a refused right. Incidents are told without acknowledgement
too: people read them, and nobody is paid by them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import chain, islice, takewhile
from typing import Final

from candled.core.bar import Stream
from candled.ports import Clock, Entry, Health, HealthBoard, Outbox, ServiceState
from candled_adapters.sinks.mqtt_link import Link, LinkError, Wire
from candled_adapters.sinks.mqtt_messages import InfoPayload, Message, MqttSettings, Voice
from candled_adapters.sinks.together import together

__all__ = ["MqttSettings", "MqttSink"]

#: Entries taken from the outbox at once, and marked as done with one durable write.
ROUND: Final = 1_000
#: Heads that may go out between two rounds.
HEAD_SLICE: Final = 100
_GOODBYE_S: Final = 1.0

Connect = Callable[[MqttSettings, Message], Wire]
OnAcked = Callable[[list[Entry], int], None]


class MqttSink:
    """Publishes signals, heads, the status and the info to one broker, for ever.

    `clocks` gives the clock of every exchange that the journal has entries of. `info` is asked at
    each connection. `instance` names this process in the status; the client id by default.
    `on_acked` is told the signals that the broker has accepted and when (`time.time_ns`). `connect`
    makes each connection.
    """

    name = "mqtt"

    def __init__(
        self,
        settings: MqttSettings,
        clocks: Callable[[str], Clock],
        info: Callable[[], InfoPayload],
        *,
        instance: str | None = None,
        on_acked: OnAcked | None = None,
        connect: Connect = Link,
    ) -> None:
        self._settings = settings
        self._connect = connect
        self._clocks = clocks
        self._info = info
        self._instance = instance or settings.client_id
        self._on_acked = on_acked

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        """Deliver until cancelled, over any number of connections."""
        board.report(self.name, f"not yet connected to {self._settings.url}")
        say = Voice(self._settings, self._clocks, self._info, self._instance, outbox.epoch)
        attempt = told = 0
        while True:
            session = _Session(
                self.name, self._settings, say,
                outbox=outbox, board=board, on_acked=self._on_acked, told=told,
                connect=self._connect,
            )  # fmt: skip
            try:
                await session.run()
            except LinkError as problem:
                board.report(self.name, str(problem))
            told = session.told
            attempt = 0 if session.was_stable() else attempt + 1
            await asyncio.sleep(self._pause(attempt))

    def _pause(self, attempt: int) -> float:
        """Draw the pause (s) before the next connection: full jitter under a doubling limit."""
        settings = self._settings
        limit = min(settings.backoff_max, settings.backoff_min * 2 ** min(attempt, 30))
        return random.uniform(0, limit)


class _Heads:
    """The newest bar's newest delivered entry of each stream, and which of them to say next."""

    def __init__(self) -> None:
        self._newest: dict[Stream, Entry] = {}
        self._due: dict[Stream, None] = {}
        self._some_due = asyncio.Event()

    def add(self, entries: Iterable[Entry]) -> None:
        """Take delivered entries, oldest first."""
        added: dict[Stream, None] = {}
        for entry in entries:
            stream, head = entry.decision.stream, self._newest.get(entry.decision.stream)
            of_older_bar = head and entry.decision.bar_open < head.decision.bar_open
            self._newest[stream] = (
                replace(head, last_seq=entry.last_seq) if head and of_older_bar else entry
            )
            added[stream] = None
        self._make_due(added)

    def repeat(self) -> None:
        """Make all of them due."""
        self._make_due(self._newest)

    def _make_due(self, streams: Iterable[Stream]) -> None:
        self._due.update(dict.fromkeys(streams))
        if self._due:
            self._some_due.set()

    async def wait(self) -> None:
        """Return once there are some to say."""
        await self._some_due.wait()

    def take(self, limit: int) -> list[Entry]:
        """Remove at most `limit` of those that are due, longest waiting first."""
        streams = list(islice(self._due, limit))
        for stream in streams:
            del self._due[stream]
        if not self._due:
            self._some_due.clear()
        return [self._newest[stream] for stream in streams]


class _Session:
    """One connection's worth of delivery."""

    def __init__(
        self,
        name: str,
        settings: MqttSettings,
        say: Voice,
        *,
        outbox: Outbox,
        board: HealthBoard,
        on_acked: OnAcked | None,
        told: int,
        connect: Connect,
    ) -> None:
        self._connect = connect
        self.told = told
        """Number of the last incident that was told."""
        self._name = name
        self._settings = settings
        self._say = say
        self._outbox = outbox
        self._board = board
        self._on_acked = on_acked
        self._done = outbox.position(name)
        self._heads = _Heads()
        self._turn = asyncio.Lock()
        self._unproven = {"status", "signals", "heads"}
        self._well_since: float | None = None

    async def run(self) -> None:
        """Deliver until the connection ends; raises LinkError. Says goodbye when cancelled."""
        async with self._connect(self._settings, self._say.will()) as link:
            try:
                await self._work(link)
            except asyncio.CancelledError:
                await self._goodbye(link)
                raise

    def was_stable(self) -> bool:
        """Whether all went well for long enough that the next attempt need not wait."""
        since = self._well_since
        return since is not None and time.monotonic() - since >= self._settings.backoff_max

    async def _work(self, link: Wire) -> None:
        await together(
            LinkError,
            link.lost(),
            self._tell_status(link),
            self._tell_signals(link),
            self._tell_heads(link),
            self._repeat_heads(),
            self._tell_events(link),
        )

    async def _tell_status(self, link: Wire) -> None:
        health = self._board.health
        birth = await link.send(self._say.status(health))
        info = await link.send(self._say.info())
        await birth
        await info
        self._proven("status")
        while True:
            health = await self._board.changed(health)
            await (await link.send(self._say.status(health)))

    async def _tell_signals(self, link: Wire) -> None:
        while True:
            entries = self._outbox.after(self._done, ROUND)
            if entries:
                async with self._turn:
                    await self._deliver(link, entries)
            self._proven("signals")
            if len(entries) < ROUND:
                await self._outbox.wait(self._done)

    async def _deliver(self, link: Wire, entries: list[Entry]) -> None:
        """Deliver in order; whatever happens, mark exactly what the broker has accepted."""
        withdrawn = _withdrawn(entries)
        acks: list[list[asyncio.Future[None]]] = []
        try:
            for entry in entries:
                said = self._say.decision(entry, withdrawn)
                acks.append([await link.send(message) for message in said])
            for ack in chain.from_iterable(acks):
                await ack
        finally:
            accepted = sum(1 for _ in takewhile(_accepted, acks))
            self._settle(entries[:accepted])

    def _settle(self, entries: list[Entry]) -> None:
        if not entries:
            return
        if self._on_acked is not None:
            self._on_acked([e for e in entries if e.seq is not None], time.time_ns())
        self._done = entries[-1].position
        self._outbox.mark(self._name, self._done)
        self._heads.add(entries)

    async def _tell_heads(self, link: Wire) -> None:
        """Say the heads after their signals, a slice between two rounds."""
        async with self._turn:
            self._heads.add(e for e in self._outbox.latest() if e.position <= self._done)
        while True:
            async with self._turn:
                ack = await self._send_slice(link, self._heads.take(HEAD_SLICE))
            if ack is not None:
                await ack
            self._proven("heads")
            await self._heads.wait()

    async def _send_slice(self, link: Wire, entries: list[Entry]) -> asyncio.Future[None] | None:
        """Send heads, all but the last unacknowledged; return the acknowledgement of the last."""
        if not entries:
            return None
        for entry in entries[:-1]:
            link.send_unacked(self._head(entry))
        return await link.send(self._head(entries[-1]))

    def _head(self, entry: Entry) -> Message:
        return self._say.head(entry, self._board.stream(entry.decision.stream))

    async def _repeat_heads(self) -> None:
        while True:
            await asyncio.sleep(self._settings.head_refresh)
            self._heads.repeat()

    async def _tell_events(self, link: Wire) -> None:
        """Tell incidents as they come; one that is lost on the way is not told again."""
        while True:
            for notice in await self._board.notices(self.told):
                self.told = notice.number
                link.send_unacked(self._say.event(notice))

    def _proven(self, part: str) -> None:
        """Note that the broker takes this kind of message; with all of them, all is well."""
        if part not in self._unproven:
            return
        self._unproven.discard(part)
        if not self._unproven:
            self._well_since = time.monotonic()
            self._board.report(self._name, None)

    async def _goodbye(self, link: Wire) -> None:
        now_ms = time.time_ns() // 1_000_000
        health = Health(ServiceState.OFFLINE, ("stopped",), now_ms)
        with suppress(LinkError, TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await (await link.send(self._say.status(health)))
                await link.leave()


def _withdrawn(entries: Iterable[Entry]) -> frozenset[str]:
    """Return the ids of signals whose side is corrected by one of these entries.

    Who comes back after an outage must not act on what is known to be wrong; of what waits further
    back than one round nothing is known.
    """
    changes = ((entry.decision.side, entry.decision.supersedes) for entry in entries)
    return frozenset(was.signal for side, was in changes if was and was.signal and was.side != side)


def _accepted(acks: Iterable[asyncio.Future[None]]) -> bool:
    """Whether this entry needs nothing more. A future that failed or was cancelled does."""
    return all(ack.done() and not ack.cancelled() and ack.exception() is None for ack in acks)
