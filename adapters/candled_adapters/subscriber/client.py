"""`Signals`: the rules at work over MQTT. What a bot iterates over.

The shell around `rules`: it keeps a connection, gives the rules messages and moments, sends their
questions, and hands facts over one at a time. A fact is judged again at that moment.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from candled_adapters.protocol.shapes import ReplayRequest, Signal
from candled_adapters.protocol.topics import Topics
from candled_adapters.subscriber.clock import VenueClock, wall_ms
from candled_adapters.subscriber.facts import Ask, Event, Fact, Heard, Message, Now, Refused
from candled_adapters.subscriber.hearing import moment_ms, stream_of
from candled_adapters.subscriber.memory import Memory
from candled_adapters.subscriber.rules import Limits, Rules, Verify
from candled_adapters.subscriber.transport import Broker, BrokerError, Connection, Wish

_MOST_FACTS: Final = 50_000
_BACKOFF_S: Final = (0.1, 10.0)
_STABLE_S: Final = 10.0
_MOST_QUESTIONS: Final = 64
_LONGEST_ID: Final = 128  # the daemon answers on no longer topic


class _Times(msgspec.Struct):
    """What a message says of when it was published."""

    published_at: str | None = None
    updated_at: str | None = None


class _Answer(msgspec.Struct):
    correlation: str | None = None


class Signals:
    """An asynchronous iterator over what a bot must know, for ever: see `facts` for what there is.

    `client_id` must be this consumer's alone and always the same: under it the broker keeps what
    comes while the consumer is away. `streams` are exchange/symbol/interval, or filters with + and
    #. `state` is a file in which the consumer keeps how far it was told; without one, numbering
    begins at the first contact of each process. `clock` returns the venue's time (UTC ms): this
    machine's own, unless a VenueClock shall learn it from the messages. `patient=False` raises
    BrokerError when the first connection fails, instead of trying again.

    One iteration at a time. Raises MemoryFileError when `state` cannot be used.
    """

    def __init__(
        self,
        broker: Broker | str,
        *,
        client_id: str,
        base_topic: str = "candled",
        streams: Sequence[str] = ("#",),
        state: Path | None = None,
        since: Mapping[str, int] | int | None = None,
        limits: Limits | None = None,
        verify: Verify | None = None,
        clock: Callable[[], int] | VenueClock = wall_ms,
        durable: bool = True,
        patient: bool = True,
    ) -> None:
        self._broker = Broker.at(broker) if isinstance(broker, str) else broker
        self._client_id = client_id
        self._topics = Topics(base_topic)
        self._answers = self._topics.replay_response(client_id)
        self._streams = _filters(streams)
        self._memory = Memory(state) if state else None
        self._clock = clock
        self._durable = durable
        self._patient = patient
        self._rules = Rules(
            base_topic, _one_level(client_id), limits=limits, since=since, verify=verify
        )
        self._facts: deque[Event] = deque()
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._correlations: dict[str, None] = {}
        self._connection: Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.subscribed = asyncio.Event()
        """Set while the broker has granted the subscriptions."""

    @property
    def repeats(self) -> int:
        """How many signals came again, from the broker or the daemon, and were not told again."""
        return self._rules.repeats

    def halted(self, stream: str) -> str | None:
        """Return why nothing of a stream may be acted on now; None when all is well."""
        return self._rules.halted(stream, self._now())

    def why_not(self, heard: Heard) -> str | None:
        """Return why a signal must not be acted on now, after work of your own; None if it may."""
        return heard.why_not or self._rules.why_not(heard, self._now())

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Iterate until cancelled, over any number of connections."""
        self._recall()
        work = asyncio.create_task(self._stay_connected(), name="signals")
        try:
            while True:
                yield await self._next(work)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            if self._timer:
                self._timer.cancel()
            if self._memory:
                self._memory.close()

    # --- handing over

    async def _next(self, work: asyncio.Task[None]) -> Event:
        while not self._facts:
            self._more.clear()
            more = asyncio.ensure_future(self._more.wait())
            try:
                await asyncio.wait((more, work), return_when=asyncio.FIRST_COMPLETED)
            finally:
                more.cancel()
            if work.done():
                work.result()  # raises
        fact = self._facts.popleft()
        if len(self._facts) <= _MOST_FACTS // 2:
            self._room.set()
        return self._handed_over(fact) if isinstance(fact, Heard) else fact

    def _handed_over(self, heard: Heard) -> Heard:
        """Judge a signal as of now, and write down that it is handed over."""
        judged = replace(heard, why_not=self.why_not(heard))
        if self._memory:
            if self._memory.is_long:
                self._memory.begin(self._rules.remember(), [heard.signal, *self._waiting()])
            self._memory.hand_over(heard.signal.id, durable=judged.act)
        return judged

    def _waiting(self) -> Iterator[Signal]:
        return (fact.signal for fact in self._facts if isinstance(fact, Heard))

    def _recall(self) -> None:
        """Go on from what an earlier process has kept, if it has."""
        if self._memory is None:
            return
        kept = self._memory.load()
        self._rules.recall(kept.streams)
        why = "told before a restart"
        self._facts.extend(Heard(stream_of(one), one, why, replayed=True) for one in kept.pending)
        self._memory.begin(kept.streams, kept.pending)

    # --- hearing

    async def _stay_connected(self) -> None:
        attempt, loop = 0, asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._listen()
            except BrokerError as error:
                self._hear(self._rules.disconnected(str(error)))
                if not (self._patient or self.subscribed.is_set() or attempt):
                    raise
            finally:
                self._connection = None
                self.subscribed.clear()
            attempt = 0 if loop.time() - began >= _STABLE_S else attempt + 1
            await asyncio.sleep(random.uniform(0, min(_BACKOFF_S[1], _BACKOFF_S[0] * 2**attempt)))
            await self._room.wait()

    async def _listen(self) -> None:
        """Hear over one connection until it ends; raises BrokerError."""
        connection = Connection(
            self._broker, self._client_id, durable=self._durable, refused=self._note_refusal
        )
        async with connection:
            await connection.listen(list(self._wishes()))
            self._connection = connection
            self._hear(self._rules.connected())
            self.subscribed.set()
            async with aclosing(connection.heard()) as messages:
                async for message in messages:
                    self._take(message)
                    if not self._room.is_set():
                        raise BrokerError(f"the application is behind by {_MOST_FACTS} facts")

    def _wishes(self) -> Iterable[Wish]:
        """Yield what to listen to; how things are before what to act on."""
        yield Wish(self._topics.status, 1)
        for stream in self._streams:
            yield Wish(self._topics.head(stream), 0)
        yield Wish(self._answers, 1, needed=False)
        for stream in self._streams:
            yield Wish(self._topics.event(stream), 1, needed=False)
            yield Wish(self._topics.signal(stream), 1)

    def _take(self, message: Message) -> None:
        if message.topic == self._answers and not self._is_expected(message):
            return
        if isinstance(self._clock, VenueClock) and not message.retained:
            self._learn(self._clock, message)
        self._hear(self._rules.take(message, self._now()))

    def _is_expected(self, message: Message) -> bool:
        """Whether an answer repeats what only the daemon knows from our question."""
        try:
            correlation = msgspec.json.decode(message.payload, type=_Answer).correlation
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
        found = correlation in self._correlations
        self._correlations.pop(correlation or "", None)
        return found

    def _learn(self, clock: VenueClock, message: Message) -> None:
        if not message.topic.startswith((self._topics.signal(""), self._topics.head(""))):
            return
        try:
            times = msgspec.json.decode(message.payload, type=_Times)
            said = times.published_at or times.updated_at
            if said:
                clock.hear(moment_ms(said), asyncio.get_running_loop().time())
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return  # the rules tell what is wrong with it

    def _now(self) -> Now:
        local = asyncio.get_running_loop().time()
        if isinstance(self._clock, VenueClock):
            return Now(local, self._clock.at(local), self._clock.speed)
        return Now(local, self._clock())

    def _hear(self, facts: Sequence[Fact]) -> None:
        told = [fact for fact in facts if isinstance(fact, Heard)]
        if told and self._memory:
            names = {heard.stream for heard in told}
            self._memory.tell(self._rules.remember(names), (heard.signal for heard in told))
        for fact in facts:
            if isinstance(fact, Ask):
                self._ask(fact)
            else:
                self._facts.append(fact)
        if self._facts:
            self._more.set()
        if len(self._facts) >= _MOST_FACTS:
            self._room.clear()
        self._arm()

    def _arm(self) -> None:
        """See to it that the rules are woken in time."""
        loop = asyncio.get_running_loop()
        at = loop.time() + self._rules.next_wake
        if self._timer is not None and loop.time() < self._timer.when() <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(at, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._hear(self._rules.wake(self._now()))

    def _ask(self, ask: Ask) -> None:
        if self._connection is None:
            return  # the rules ask again
        correlation = secrets.token_hex(8)
        self._correlations[correlation] = None
        while len(self._correlations) > _MOST_QUESTIONS:
            del self._correlations[next(iter(self._correlations))]
        old = not self._broker.mqtt5
        request = ReplayRequest(
            stream=ask.stream,
            since_seq=ask.since_seq,
            epoch=ask.epoch,
            reply_to=self._answers if old else None,
            correlation=correlation,
        )
        payload = msgspec.json.encode(request)
        self._connection.ask(self._topics.replay_request, payload, self._answers, correlation)

    def _note_refusal(self, topic: str, why: str) -> None:
        self._hear([Refused(topic, why)])


def _one_level(client_id: str) -> str:
    """Refuse a client id that is no single level of a topic; answers come on one."""
    is_plain = client_id.isprintable() and not set(client_id) & set("/+#")
    if not (is_plain and 0 < len(client_id) <= _LONGEST_ID):
        raise ValueError(
            f"client_id {client_id[:_LONGEST_ID]!r}: must have 1 to {_LONGEST_ID} characters, and "
            "none of /, + and #"
        )
    return client_id


def _filters(streams: Sequence[str]) -> tuple[str, ...]:
    if isinstance(streams, str) or not streams or not all(streams):
        raise ValueError(
            f"streams {streams!r}: give a list such as ['binance/BTCUSDT/1h'], or ['#'] for all"
        )
    return tuple(streams)
