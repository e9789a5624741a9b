"""The Hummingbot sink: each pair's newest word, and neutral as soon as it no longer holds.

The consumer latches what it hears, so this tells states, not events: of a backlog only the newest
decision, and of that nothing when its time is over. A pair has a connection of its own, since a
connection has one will: when the process dies, the broker itself says neutral for every pair. The
consumer subscribes without a session, at QoS 0: what is said while it reconnects is lost on it.
Hence each word is said again every few seconds; saying it twice changes nothing.

What a word is, is decided in `hummingbot_words`; nothing is known here of MQTT's packets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from candled.core.bar import Stream
from candled.ports import Clock, Entry, HealthBoard, Outbox
from candled_adapters.sinks.hummingbot_words import (
    Circumstances,
    Pair,
    Word,
    message,
    neutral,
    word,
)
from candled_adapters.sinks.mqtt_link import Dial, LinkError, Wire
from candled_adapters.sinks.mqtt_messages import Message, MqttSettings
from candled_adapters.sinks.mqtt_retry import Retry
from candled_adapters.sinks.together import together

#: Entries taken from the outbox at once.
ROUND: Final = 1_000
_GOODBYE_S: Final = 1.0

Connect = Callable[[MqttSettings, Message], Wire]


@dataclass(frozen=True, slots=True)
class HummingbotSettings:
    """Which pairs are told where."""

    mqtt: MqttSettings
    """The broker; each pair adds its name to the client id."""
    pairs: tuple[Pair, ...]
    base_topic: str = "hbot/predictions"
    repeat_s: float = 5.0
    """Seconds between repetitions of every word."""
    flat_is_neutral: bool = False


class HummingbotSink:
    """Tells Hummingbot's controllers, for ever. `clocks` gives the clock of every exchange."""

    name = "hummingbot"

    def __init__(
        self,
        settings: HummingbotSettings,
        clocks: Callable[[str], Clock],
        *,
        connect: Connect | None = None,
    ) -> None:
        self._settings = settings
        self._clocks = clocks
        self._connect = connect

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        """Tell until cancelled, over any number of connections."""
        latches = [
            _Latch(pair, self._settings, self._clocks(pair.stream.exchange), board, self._connect)
            for pair in self._settings.pairs
        ]
        follower = _Follower(self.name, outbox, latches)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follower.read())
            tasks.create_task(follower.mark())
            tasks.create_task(_watch(board, latches))
            for latch in latches:
                tasks.create_task(latch.run(follower.caught_up))


async def _watch(board: HealthBoard, latches: Iterable[_Latch]) -> None:
    """Have every word thought over when the service's health changes.

    A stream that is not live makes the service degraded, so this tells of streams as well.
    """
    health = board.health
    while True:
        health = await board.changed(health)
        for latch in latches:
            latch.think_over()


class _Follower:
    """Reads the journal for the latches, and marks what has been said."""

    def __init__(self, name: str, outbox: Outbox, latches: Iterable[_Latch]) -> None:
        self._name = name
        self._outbox = outbox
        self._latches = {latch.stream: latch for latch in latches}
        self._read = outbox.position(name)
        self._moved = asyncio.Event()
        self.caught_up = asyncio.Event()
        """Set once the newest entries are known: nothing older may be told."""

    async def read(self) -> None:
        """Give the latches what is new; of a backlog they tell nothing until its end is there."""
        self._give(e for e in self._outbox.latest() if e.position <= self._read)
        while True:
            entries = self._outbox.after(self._read, ROUND)
            if entries:
                self._give(entries)
                self._read = entries[-1].position
                self._moved.set()
            if len(entries) == ROUND:
                if not self.caught_up.is_set():
                    await asyncio.sleep(0)
                continue
            self.caught_up.set()
            await self._outbox.wait(self._read)

    def _give(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if latch := self._latches.get(entry.decision.stream):
                latch.take(entry)

    async def mark(self) -> None:
        """Mark what was read once every latch has said what it made of it."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            position = self._read
            for latch in self._latches.values():
                await latch.said()
            self._outbox.mark(self._name, position)


class _Latch:
    """One pair: its newest entry, and the connection that says what follows from it."""

    def __init__(
        self,
        pair: Pair,
        settings: HummingbotSettings,
        clock: Clock,
        board: HealthBoard,
        connect: Connect | None,
    ) -> None:
        self.stream: Stream = pair.stream
        self._pair = pair
        self._settings = settings
        self._mqtt = replace(
            settings.mqtt,
            client_id=f"{settings.mqtt.client_id}-hbot-{pair.level}",
            base_topic=settings.base_topic,
            sign=None,  # the consumer could not check it
        )
        self._clock = clock
        self._board = board
        self._connect = connect or Dial(self._mqtt, prove=False)
        self._well_since: float | None = None
        self._part = f"hummingbot {pair.name}"
        self._newest: Entry | None = None
        self._news = asyncio.Event()
        self._said = asyncio.Event()
        self._said.set()

    def take(self, entry: Entry) -> None:
        """Take a newer entry; the correction of an older bar changes nothing here."""
        if self._newest and entry.decision.bar_open < self._newest.decision.bar_open:
            return
        self._newest = entry
        self._said.clear()
        self.think_over()

    def think_over(self) -> None:
        """Say at once what may be held on to, whatever it is now."""
        self._news.set()

    async def said(self) -> None:
        """Return once the broker has accepted the word about all that was taken."""
        await self._said.wait()

    async def run(self, caught_up: asyncio.Event) -> None:
        """Tell until cancelled."""
        self._board.report(self._part, f"not yet connected to {self._mqtt.url}")
        await caught_up.wait()
        retry = Retry(self._mqtt.backoff_min, self._mqtt.backoff_max)
        while True:
            self._well_since = None
            try:
                await self._session()
            except LinkError as problem:
                pause, said = retry.after(problem, self._well_for())
                self._board.report(self._part, said)
                await asyncio.sleep(pause)

    def _well_for(self) -> float | None:
        return None if self._well_since is None else time.monotonic() - self._well_since

    async def _session(self) -> None:
        async with self._connect(self._mqtt, self._message(neutral(0))) as link:
            try:
                await together(LinkError, link.lost(), self._tell(link))
            except asyncio.CancelledError:
                await self._goodbye(link)
                raise

    async def _tell(self, link: Wire) -> None:
        last: Word | None = None
        while True:
            self._news.clear()
            said, entry = self._word(), self._newest
            await (await link.send(self._message(said, repeats=said == last)))
            if entry is self._newest:
                self._said.set()
            if last is None:
                self._well_since = time.monotonic()
                self._board.report(self._part, None)
            last = said
            await self._due(said)

    def _word(self) -> Word:
        return word(
            self._newest,
            Circumstances(
                self._board.health.state,
                self._board.stream(self.stream),
                self._clock.now_ms(),
                self._settings.flat_is_neutral,
            ),
        )

    async def _due(self, said: Word) -> None:
        """Wait for news, for the end of the word's time, or until it is to be said again."""
        pause = self._settings.repeat_s
        if said.until is not None:
            left = self._clock.local_seconds(said.until - self._clock.now_ms())
            pause = max(0.0, min(pause, left))
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._news.wait()

    def _message(self, said: Word, *, repeats: bool = False) -> Message:
        repeat = self._settings.repeat_s if repeats else None
        return message(self._pair, self._settings.base_topic, said, self._clock, repeat)

    async def _goodbye(self, link: Wire) -> None:
        """Say neutral; only when the broker has it does it forget the will."""
        with suppress(LinkError, TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await (await link.send(self._message(neutral(0))))
                await link.leave()
