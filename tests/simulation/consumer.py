"""The far end: the reference subscriber's own rules, between a broker and a list.

What it must remember over a restart is one JSON text, as on a disk. Its clock is the venue's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from candled_adapters.protocol.shapes import ReplayRequest
from candled_adapters.protocol.topics import Topics
from candled_adapters.subscriber.facts import Ask, Fact, Heard, Lost, Message, Now
from candled_adapters.subscriber.numbers import Numbers
from candled_adapters.subscriber.rules import Rules
from simulation.broker import Broker
from simulation.loop import Timeline

_PAUSE_S: Final = 0.2
_TOPICS: Final = Topics()
_ANSWERS: Final = _TOPICS.replay_response("app")


class Consumer:
    """See the module. `speed` is how many of the venue's seconds go by in one of ours."""

    def __init__(
        self, timeline: Timeline, broker: Broker, venue_ms: Callable[[], float], speed: float
    ) -> None:
        self._timeline, self._broker = timeline, broker
        self._venue_ms, self._speed = venue_ms, speed
        self.got: dict[str, list[dict[str, Any]]] = {}
        """The signals of each stream, as the application was told of them."""
        self.acted: list[Heard] = []
        """Those among them that it traded on."""
        self.lost: list[Lost] = []
        self._rules = Rules(client="app", since=0)
        self._life = 0
        self._connected = False
        self._alive = True
        broker.on_gone = self._gone
        self.connect()
        self._wake(self._life)

    # --- its life

    def connect(self, *, clean: bool = False) -> None:
        """Come to the broker, now or as soon as it is there."""
        if self._connected or not self._alive:
            return
        if not self._broker.up:
            self._timeline.after(_PAUSE_S, self.connect)
            return
        self._connected = True
        self._follow(self._rules.connected())
        self._broker.subscribe(self._take, clean=clean)

    def restart(self, down_s: float, *, clean: bool) -> None:
        """End the process; begin it anew with what it remembers."""
        kept = msgspec.json.encode(self._rules.remember())
        self._alive = self._connected = False
        self._life += 1
        self._broker.unsubscribe()
        self._timeline.after(down_s, self._again, self._life, kept, clean)

    def _again(self, life: int, kept: bytes, clean: bool) -> None:  # noqa: FBT001
        if life != self._life:  # it was ended once more before it came back
            return
        self._alive = True
        self._rules = Rules(client="app", since=0)
        self._rules.recall(msgspec.json.decode(kept, type=dict[str, Numbers]))
        self.connect(clean=clean)
        self._wake(self._life)

    def _gone(self) -> None:
        self._connected = False
        self._follow(self._rules.disconnected("the broker is gone"))
        self._timeline.after(_PAUSE_S, self.connect)

    # --- what it hears, and what follows

    def _now(self) -> Now:
        return Now(self._timeline.now, int(self._venue_ms()), self._speed)

    def _take(self, topic: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001
        self._follow(self._rules.take(Message(topic, payload, retained), self._now()))

    def _wake(self, life: int) -> None:
        if life == self._life:
            self._follow(self._rules.wake(self._now()))
            self._timeline.after(max(self._rules.next_wake, 0.1), self._wake, life)

    def _follow(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            match fact:
                case Heard():
                    told = self.got.setdefault(fact.stream, [])
                    told.append(msgspec.to_builtins(fact.signal))
                    if fact.act:
                        self.acted.append(fact)
                case Lost():
                    self.lost.append(fact)
                case Ask():
                    self._ask(fact)

    def _ask(self, ask: Ask) -> None:
        asked = ReplayRequest(stream=ask.stream, since_seq=ask.since_seq, epoch=ask.epoch)
        self._broker.request(_TOPICS.replay_request, msgspec.json.encode(asked), _ANSWERS)

    def seq(self, stream: str) -> int:
        """Return the number up to which the application was told of all signals, in this epoch."""
        kept = self._rules.remember().get(stream)
        if kept is None or kept.last is None:
            return 0
        return kept.holes[0][0] - 1 if kept.holes else kept.last
