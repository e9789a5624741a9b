"""An MQTT broker in memory, and one durable subscriber's session on it.

It keeps what brokers keep (retained messages, a session's queue, wills) and loses it as they do:
when killed, when full, when told to.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from candled_adapters.sinks.mqtt_messages import Heard, Message
from simulation.loop import Timeline
from simulation.venue import Hit

_QUEUE: Final = 1_000
_SMALL_QUEUE: Final = 2
_UNACKED: Final = 20
Take = Callable[[str, bytes, bool], None]


class Client(Protocol):
    """The daemon's connection, as the broker sees it."""

    will: Message | None
    cut: bool
    left: bool
    subscribed: set[str]

    def end(self, why: str) -> None:
        """Lose the connection at the broker's end."""

    def answered(self, number: int, code: int) -> None:
        """Take a PUBACK."""

    def hear(self, heard: Heard) -> None:
        """Take a message of somebody else's."""


@dataclass(eq=False)
class Session:
    """The subscriber's, as the broker remembers it."""

    queue: deque[tuple[str, bytes, bool, float]] = field(default_factory=deque)
    sent: deque[tuple[str, bytes, bool, float]] = field(default_factory=deque)
    subscribed: bool = False


class Broker:
    """See the module."""

    def __init__(self, timeline: Timeline, hit: Hit, chance: random.Random) -> None:
        self.timeline, self.hit, self.chance = timeline, hit, chance
        self.up = True
        self.wire: Client | None = None
        self.retained: dict[str, tuple[bytes, float]] = {}
        self.session = Session()
        self.reader: Take | None = None
        """The subscriber, while it is connected."""
        self.on_gone: Callable[[], None] = lambda: None
        """Told when the subscriber's connection is lost."""
        self.on_accepted: Callable[[Message], None] = lambda _: None
        self.said: list[tuple[float, str, bytes]] = []
        """All that was published: when, where, what."""
        self._frozen: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._pumping = False
        self._last_arrival = 0.0

    # --- its life

    def die(self, down_s: float, *, amnesia: bool) -> None:
        """Kill it; with amnesia nothing is left of what it held."""
        self.up = False
        self._frozen.clear()
        if self.wire is not None:
            self.wire.end("the connection was lost")
        self.wire = None
        if amnesia:
            self.session, self.retained = Session(), {}
        else:  # what was not acknowledged comes again
            self.session.queue.extendleft(reversed(self.session.sent))
            self.session.sent.clear()
        self._lose_reader()
        self.timeline.after(down_s, self._rise)

    def _rise(self) -> None:
        self.up = True

    def forget_retained(self) -> None:
        """Lose what is retained, and nothing else."""
        self.retained.clear()

    @property
    def is_frozen(self) -> bool:
        """Whether it does nothing now."""
        return bool(self._frozen) or self.hit("broker_freeze") is not None

    def when_thawed(self, do: Callable[..., None], *args: object) -> None:
        """Do something now, or when the process goes on."""
        if fault := self.hit("broker_freeze"):
            if not self._frozen:
                self.timeline.after(fault.length, self._thaw)
            self._frozen.append((do, args))
        elif self.up:
            do(*args)

    def _thaw(self) -> None:
        if self.hit("broker_freeze"):
            self.timeline.after(0.5, self._thaw)
            return
        waiting, self._frozen = self._frozen, []
        for do, args in waiting:
            if self.up:
                do(*args)

    def way(self) -> float:
        """Return how long a message is under way (s)."""
        return self.chance.uniform(0.001, 0.03) + (0.3 if self.hit("slow_broker") else 0.0)

    # --- the publisher's side

    def attach(self, wire: Client) -> None:
        """Let a client in; another of its name is thrown out."""
        if self.wire is not None and self.wire is not wire:
            self._will_of(self.wire)
            self.wire.end("another client uses this client id")
        self.wire = wire

    def publish(self, wire: Client, message: Message, number: int | None) -> None:
        """Take a message; `number` None is QoS 0."""
        if wire.cut:
            return  # it was read from the socket of a client that is gone: Mosquitto drops it
        refused = self.hit("refuse")
        if refused is not None and refused.pick % 3 == len(message.topic) % 3:
            if number is not None:
                self.timeline.after(self.way(), wire.answered, number, 135)
            return
        self._accept(message)
        if number is not None and not self.hit("puback_lost"):
            self.on_accepted(message)
            self.timeline.after(self.way(), wire.answered, number, 0)

    def gone(self, wire: Client) -> None:
        """Take note that a client's connection ended without a goodbye."""
        if self.wire is wire:
            self.wire = None
            self._will_of(wire)

    def _will_of(self, wire: Client) -> None:
        if wire.will is not None and not wire.left:
            will, wire.will = wire.will, None
            self._accept(will)

    def _accept(self, message: Message) -> None:
        now = self.timeline.now
        self.said.append((now, message.topic, message.payload))
        expires = float("inf") if message.expiry is None else now + message.expiry
        if message.retain:
            self.retained[message.topic] = (message.payload, expires)
        if self.session.subscribed:
            self._queue(message.topic, message.payload, False, expires)

    # --- the subscriber's side

    def subscribe(self, reader: Take, *, clean: bool) -> bool:
        """Connect the subscriber; return whether its session was still there."""
        if clean:
            self.session = Session()
        present = self.session.subscribed
        self.reader = reader
        self.session.queue.extendleft(reversed(self.session.sent))
        self.session.sent.clear()
        self.session.subscribed = True
        for topic, (payload, expires) in self.retained.items():
            self._queue(topic, payload, True, expires)
        self._pump()
        return present

    def unsubscribe(self) -> None:
        """Lose the subscriber's connection; its session stays."""
        self.reader = None

    def request(self, topic: str, payload: bytes, response: str) -> None:
        """Take what the subscriber publishes, for the daemon if it listens."""
        if not self.up or self.wire is None or topic not in self.wire.subscribed:
            return
        heard = Heard(topic, payload, False, response, b"sim")
        self.timeline.after(self.way(), self.when_thawed, self.wire.hear, heard)

    def _queue(self, topic: str, payload: bytes, retained: bool, expires: float) -> None:  # noqa: FBT001
        limit = _SMALL_QUEUE if self.hit("queue_small") else _QUEUE
        if len(self.session.queue) < limit:
            self.session.queue.append((topic, payload, retained, expires))
        self._pump()

    def _pump(self) -> None:
        if not self._pumping and self.session.queue:
            self._pumping = True
            self.timeline.after(self.way(), self.when_thawed, self._hand_over)

    def _hand_over(self) -> None:
        self._pumping = False
        session, reader = self.session, self.reader
        if reader is None or not session.queue:
            return
        item = session.queue.popleft()
        if item[3] > self.timeline.now:
            session.sent.append(item)  # acknowledged a moment later
            self.timeline.after(self.way(), self._acknowledged, session, item)
            reader(*item[:3])
        self._pump()

    def _acknowledged(self, session: Session, item: tuple[str, bytes, bool, float]) -> None:
        if self.up and self.reader is not None and item in session.sent:
            session.sent.remove(item)

    def _lose_reader(self) -> None:
        self._pumping = False
        self.reader = None
        self.on_gone()
