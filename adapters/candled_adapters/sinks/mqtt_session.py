"""One connection's worth of delivery, from the first entry that is not done.

An entry is done when the broker has accepted it. Heads are a sign of life, said again at every
close and every `head_refresh` seconds, so that an acknowledgement would change nothing. The last of
every `HEAD_SLICE` is sent at QoS 1 all the same: it is the back-pressure, and it shows a refused
right. Incidents and digests are told without acknowledgement too: people read them, and nobody is
paid by them. What is not a decision waits until all decisions are delivered (`_spare_turn`):
digests, and answers to who missed signals.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from itertools import chain, takewhile
from typing import Any, Final

from candled.ports import Entry, Health, HealthBoard, Outbox, ServiceState
from candled_adapters.sinks.mqtt_digest import Teller
from candled_adapters.sinks.mqtt_heads import Heads
from candled_adapters.sinks.mqtt_link import LinkError, Wire
from candled_adapters.sinks.mqtt_messages import Message, MqttSettings, Voice
from candled_adapters.sinks.mqtt_replay import Ear
from candled_adapters.sinks.mqtt_turns import spare_turn
from candled_adapters.sinks.together import together

#: Entries taken from the outbox at once, and marked as done with one durable write.
ROUND: Final = 1_000
#: Heads that may go out between two rounds.
HEAD_SLICE: Final = 100
_GOODBYE_S: Final = 1.0
_LAST_HEADS_S: Final = 0.7

Connect = Callable[[MqttSettings, Message], Wire]
OnAcked = Callable[[list[Entry], int], None]


class Session:
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
        teller: Teller,
        ear: Ear | None,
        doubt: bool,
    ) -> None:
        self._connect = connect
        self._teller = teller
        self._ear = ear
        self._doubt = doubt
        self.told = told
        """Number of the last incident that was told."""
        self._name = name
        self._settings = settings
        self._say = say
        self._outbox = outbox
        self._board = board
        self._on_acked = on_acked
        self._done = outbox.position(name)
        self._heads = Heads()
        self._turn = asyncio.Lock()
        self._unproven = {"status", "signals", "heads"}
        self._well_since: float | None = None
        self._well = asyncio.Event()

    async def run(self) -> None:
        """Deliver until the connection ends; raises LinkError. Else it ends with a goodbye."""
        async with self._connect(self._settings, self._say.will()) as link:
            try:
                await self._work(link)
            except LinkError:
                raise
            except (asyncio.CancelledError, Exception) as error:
                if isinstance(error, Exception):
                    self._board.fail(f"sink {self._name}", error)
                await _in_peace(partial(self._goodbye, link))
                raise

    def well_for(self) -> float | None:
        """Return for how long (s) all has been well; None if it never was."""
        return None if self._well_since is None else time.monotonic() - self._well_since

    async def _work(self, link: Wire) -> None:
        jobs = [
            link.lost(),
            self._tell_status(link),
            self._tell_signals(link),
            self._tell_heads(link),
            self._repeat_heads(),
            self._follow_streams(),
            self._tell_events(link),
            self._teller.tell(link, self._spare_turn),
            self._report_well(),
        ]
        if self._ear:
            jobs.append(self._ear.serve(link, self._spare_turn))
        await together(LinkError, *jobs)

    async def _tell_status(self, link: Wire) -> None:
        health = self._board.health
        birth = await link.send(self._say.status(health))
        info = self._say.info()
        said = await link.send(info)
        await birth
        await said
        self._proven("status")
        while True:
            try:
                async with asyncio.timeout(self._settings.status_beat):
                    health = await self._board.changed(health)
            except TimeoutError:  # brokers forget, and need ten seconds to see that we stand still
                link.send_unacked(self._say.status(health))
            else:
                await (await link.send(self._say.status(health)))
            if (now := self._say.info()) != info:  # after a reload
                info = now
                await (await link.send(info))

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
        self._teller.add(entries)

    def _spare_turn(self) -> AbstractAsyncContextManager[None]:
        return spare_turn(self._turn, lambda: not self._outbox.after(self._done, 1))

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

    async def _follow_streams(self) -> None:
        """Say a head again at once when its stream does otherwise: who latches must stop."""
        seen = 0
        while True:
            seen, streams = await self._board.streams_changed(seen)
            self._heads.repeat(streams)

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
            self._well.set()

    async def _report_well(self) -> None:
        """Say so on the board; after suspicious ends only once it has lasted."""
        await self._well.wait()
        if self._doubt:
            await asyncio.sleep(self._settings.backoff_max)
        self._board.report(self._name, None)

    async def _goodbye(self, link: Wire) -> None:
        """Say why it ends: first for all, then with each head, as far as there is time for it."""
        why = self._board.failure or "stopped"
        health = Health(ServiceState.OFFLINE, (why,), time.time_ns() // 1_000_000)
        with suppress(LinkError, TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                said = await link.send(self._say.status(health))
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_HEADS_S):
                        await self._retire_heads(link, why)
                await said
                await link.leave()

    async def _retire_heads(self, link: Wire, why: str) -> None:
        """Say that no stream is served any more, to consumers that look at nothing but heads."""
        self._heads.add(e for e in self._outbox.latest() if e.position <= self._done)
        self._heads.repeat()
        acks = []
        while entries := self._heads.take(HEAD_SLICE):
            for entry in entries[:-1]:
                link.send_unacked(self._say.head(entry, None, why))
            acks.append(await link.send(self._say.head(entries[-1], None, why)))
            await asyncio.sleep(0)  # let the socket have them
        for ack in acks:
            await ack


async def _in_peace(last_words: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Let bounded last words be said, also when the end that they are said at is ordered again."""
    saying = asyncio.get_running_loop().create_task(last_words())
    try:
        await asyncio.shield(saying)
    except asyncio.CancelledError:
        await saying
        raise


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
