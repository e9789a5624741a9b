"""A model of a daemon and of a broker that lose, double, delay and forget, for the rules to bear.

Time is a number; a message is what the daemon says, on its topic. The broker keeps the order within
one topic, as MQTT does, and none between topics.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import deque
from dataclasses import dataclass, field

import msgspec

from candled_adapters.protocol import shapes
from candled_adapters.protocol.topics import Topics
from candled_adapters.subscriber.facts import Ask, Fact, Go, Halt, Heard, Lost, Message, Now
from candled_adapters.subscriber.numbers import Numbers
from candled_adapters.subscriber.rules import Rules

BEGAN_MS = 1_735_689_600_000
BAR_MS = 60_000
TOPICS = Topics("candled")
ANSWERS = TOPICS.replay_response("bot")
encode = msgspec.json.encode


def iso(ms: int) -> str:
    at = dt.datetime.fromtimestamp(min(ms, BEGAN_MS << 1) / 1000, dt.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def subject(stream: str, epoch: str, name: str, bar: int) -> dict[str, object]:
    exchange, symbol, interval = stream.split("/")
    opened = BEGAN_MS + bar * BAR_MS
    return {
        "id": name, "epoch": epoch, "exchange": exchange, "symbol": symbol, "interval": interval,
        "bar_open": iso(opened), "bar_close": iso(opened + BAR_MS), "bar_open_ms": opened,
        "bar_close_ms": opened + BAR_MS, "threshold": 0.6, "price": 1.5, "regime": 1,
        "regime_name": "Trending Up", "raw_regime": 1, "quality": (), "model": "m", "digest": "d",
        "policy": "p", "decided_at": iso(opened + BAR_MS), "novelty": None,
    }  # fmt: skip


def effect(valid_until_ms: int) -> dict[str, object]:
    return {
        "target": None, "valid_until": iso(valid_until_ms), "valid_until_ms": valid_until_ms,
        "lateness_ms": 5, "source": "ws", "evidence": None,
    }  # fmt: skip


ODDS = shapes.Odds(0.2, 0.6123, 0.1877)


def signal(
    seq: int,
    *,
    stream: str = "x/BTC/1m",
    epoch: str = "e1",
    name: str | None = None,
    valid_until_ms: int = BEGAN_MS + 10 * BAR_MS,
    now_ms: int = BEGAN_MS,
    live: bool = True,
    supersedes: str | None = None,
) -> shapes.Signal:
    """Return a long of a stream, valid for ten minutes of the model's time."""
    name = name or hashlib.sha256(f"{stream} {epoch} {seq}".encode()).hexdigest()[:32]
    return shapes.Signal(
        **subject(stream, epoch, name, seq),
        **effect(valid_until_ms),
        seq=seq, side="long", probabilities=ODDS, published_at=iso(now_ms), live=live,
        supersedes=supersedes,
    )  # fmt: skip


def head(
    last: int,
    *,
    stream: str = "x/BTC/1m",
    epoch: str = "e1",
    state: str | None = "live",
    now_ms: int = BEGAN_MS,
) -> shapes.Head:
    """Return a head that names the last signal."""
    return shapes.Head(
        **subject(stream, epoch, f"head-{last}", last),
        last_signal_seq=last, side="flat", reason=None, probabilities=ODDS, updated_at=iso(now_ms),
        stream_state=state, stream_reason="",
    )  # fmt: skip


def correction(of: shapes.Signal, side: str = "flat", name: str = "again") -> shapes.Correction:
    """Return the correction of a signal."""
    stream = f"{of.exchange}/{of.symbol}/{of.interval}"
    return shapes.Correction(
        **subject(stream, of.epoch, name, of.seq),
        **effect(of.valid_until_ms),
        seq=None, side=side, reason=None, probabilities=ODDS, revision=1,
        supersedes=shapes.Replaced(of.id, of.side, of.id, of.seq),
    )  # fmt: skip


def status(state: str = "online", epoch: str = "e1", beat_s: float | None = None) -> shapes.Status:
    return shapes.Status(
        state=state, reasons=(), since=None, instance="i", epoch=epoch, beat_s=beat_s
    )


def about(said: shapes.Subject) -> str:
    return f"{said.exchange}/{said.symbol}/{said.interval}"


def on_topic(said: object, *, retained: bool = False) -> Message:
    """Return a payload as the message that it is on its own topic."""
    match said:
        case shapes.Signal():
            topic = TOPICS.signal(about(said))
        case shapes.Head():
            topic = TOPICS.head(about(said))
        case shapes.Correction():
            topic = TOPICS.event(about(said))
        case shapes.Status():
            topic = TOPICS.status
        case _:
            topic = ANSWERS
    return Message(topic, encode(said), retained)


@dataclass(slots=True)
class Journal:
    """One stream at the daemon."""

    signals: list[shapes.Signal] = field(default_factory=list)
    kept_from: int = 1

    @property
    def last(self) -> int:
        return len(self.signals)

    def kept(self, above: int) -> list[shapes.Signal]:
        return [s for s in self.signals if s.seq > above and s.seq >= self.kept_from]


class World:
    """Daemon, broker and one consumer; each step is one thing that can happen."""

    PAGE = 3

    def __init__(self, streams: int = 2) -> None:
        self.now = 1_000.0
        self.epoch_number = 1
        self.streams = [f"x/S{number}/1m" for number in range(streams)]
        self.journals = {name: Journal() for name in self.streams}
        self.lost_journals: list[dict[str, Journal]] = []
        self.state = "online"
        self.stream_states = dict.fromkeys(self.streams, "live")
        self.queues: dict[str, deque[Message]] = {}
        self.retained: dict[str, Message] = {}
        self.asks: deque[Ask] = deque()
        self.connected = False
        self.rules = Rules("candled", "bot", since=0)
        self.told: list[tuple[Heard, Now]] = []
        self.lost: list[Lost] = []
        self.delivered_live: set[str] = set()
        self.known_status: shapes.Status | None = None
        self.halted: set[str | None] = {None, *self.streams}
        self.say_status()

    @property
    def epoch(self) -> str:
        return f"e{self.epoch_number}"

    @property
    def moment(self) -> Now:
        return Now(self.now, BEGAN_MS + round((self.now - 1000) * 1000))

    # --- the daemon speaks

    def publish(self, said: object, *, retain: bool = False) -> None:
        message = on_topic(said)
        if retain:
            self.retained[message.topic] = on_topic(said, retained=True)
        if isinstance(said, shapes.Head) and not self.connected:
            return  # QoS 0: nothing is kept for who is away
        self.queues.setdefault(message.topic, deque()).append(message)

    def say_status(self) -> None:
        self.publish(status(self.state, self.epoch), retain=True)

    def say_head(self, stream: str) -> None:
        last = self.journals[stream].last
        said = head(last, stream=stream, epoch=self.epoch, state=self.stream_states[stream],
                    now_ms=self.moment.venue_ms)  # fmt: skip
        self.publish(said, retain=True)

    def decide(self, stream: str, life_s: float) -> None:
        journal, now_ms = self.journals[stream], self.moment.venue_ms
        made = signal(journal.last + 1, stream=stream, epoch=self.epoch, now_ms=now_ms,
                      valid_until_ms=now_ms + round(life_s * 1000), live=life_s > 0)  # fmt: skip
        journal.signals.append(made)
        self.publish(made)
        self.say_head(stream)

    def correct(self, stream: str) -> None:
        if signals := self.journals[stream].signals:
            last = signals[-1]
            self.publish(correction(last, name=f"{last.id}-corrected-{self.now}"))

    def lose_journal(self) -> None:
        self.lost_journals.append(self.journals)
        self.journals = {name: Journal() for name in self.streams}
        self.epoch_number += 1
        self.say_status()

    def prune(self, stream: str) -> None:
        journal = self.journals[stream]
        journal.kept_from = min(journal.last + 1, journal.kept_from + 2)

    # --- the broker delivers, or does not

    def deliver(self, choice: int) -> None:
        waiting = [topic for topic, queue in self.queues.items() if queue]
        if waiting and self.connected:
            self.hand_over(self.queues[waiting[choice % len(waiting)]].popleft())

    def drop(self, choice: int) -> None:
        waiting = [topic for topic, queue in self.queues.items() if queue]
        if waiting:
            self.queues[waiting[choice % len(waiting)]].popleft()

    def double(self, choice: int) -> None:
        waiting = [topic for topic, queue in self.queues.items() if queue]
        if waiting:
            queue = self.queues[waiting[choice % len(waiting)]]
            queue.insert(choice % (len(queue) + 1), queue[choice % len(queue)])

    def forget(self) -> None:
        """Restart the broker without what it had."""
        self.queues.clear()
        self.retained.clear()
        self.disconnect()
        self.say_status()  # the daemon connects again
        for stream in self.streams:
            self.say_head(stream)

    def disconnect(self) -> None:
        if self.connected:
            self.connected = False
            for topic in [t for t in self.queues if "/head/" in t or t == ANSWERS]:
                del self.queues[topic]
            self.hear(self.rules.disconnected("the broker is away"))

    def connect(self) -> None:
        if not self.connected:
            self.connected = True
            self.hear(self.rules.connected())
            for message in self.retained.values():
                self.queues.setdefault(message.topic, deque()).append(message)

    def answer(self) -> None:
        """Let the daemon answer the oldest question."""
        if not self.asks:
            return
        ask = self.asks.popleft()
        journal = self.journals[ask.stream]
        since = ask.since_seq if ask.epoch == self.epoch else 0
        kept = journal.kept(since)
        page = tuple(msgspec.structs.replace(s, live=False) for s in kept[: self.PAGE])
        self.publish(
            shapes.Replay(
                stream=ask.stream, epoch=self.epoch, since_seq=since, last_seq=journal.last,
                first_kept=journal.kept_from if journal.kept(0) else None, signals=page,
                complete=len(kept) <= self.PAGE, correlation=None,
            )
        )  # fmt: skip

    def refuse(self) -> None:
        """Let the daemon refuse the oldest question: asked too often."""
        if self.asks:
            ask = self.asks.popleft()
            self.publish(
                shapes.Replay(
                    stream=ask.stream, epoch=self.epoch, since_seq=0, last_seq=0, first_kept=None,
                    signals=(), complete=False, correlation=None, error="slowly", retry_after_s=0.5,
                )
            )  # fmt: skip

    # --- the consumer

    def restart(self) -> None:
        """End the consumer's process and start another with what it has kept."""
        self.disconnect()
        self.asks.clear()
        kept = msgspec.json.decode(encode(self.rules.remember()), type=dict[str, Numbers])
        self.rules = Rules("candled", "bot", since=0)
        self.rules.recall(kept)
        self.halted = {None, *self.streams}

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + self.rules.next_wake)
            self.hear(self.rules.wake(self.moment))

    def hand_over(self, message: Message) -> None:
        if "/signal/" in message.topic:
            self.delivered_live.add(msgspec.json.decode(message.payload)["id"])
        if message.topic == TOPICS.status:
            self.known_status = msgspec.json.decode(message.payload, type=shapes.Status)
        self.hear(self.rules.take(message, self.moment))

    def hear(self, facts: list[Fact]) -> None:
        for fact in facts:
            match fact:
                case Heard():
                    self.told.append((fact, self.moment))
                    if fact.act:
                        self.check_may_act(fact)
                case Ask():
                    assert self.connected
                    self.asks.append(fact)
                case Lost():
                    self.lost.append(fact)
                case Halt():
                    self.halted.add(fact.stream)
                case Go():
                    self.halted.discard(fact.stream)

    def check_may_act(self, heard: Heard) -> None:
        """Judge by what the world knows, not by what the rules say."""
        assert not heard.replayed
        assert heard.signal.live
        assert heard.signal.id in self.delivered_live
        assert self.moment.venue_ms < heard.signal.valid_until_ms
        assert self.connected
        assert not self.halted & {None, heard.stream}
        assert self.known_status is not None
        assert (self.known_status.state, self.known_status.epoch) == ("online", heard.signal.epoch)
        before = [
            other.signal.seq
            for other, _ in self.told[:-1]
            if (other.stream, other.signal.epoch) == (heard.stream, heard.signal.epoch)
        ]
        assert all(seq < heard.signal.seq for seq in before), "acts out of order"

    # --- the end of all faults

    def heal(self) -> None:
        """End the faults, and let everything take its course."""
        self.connect()
        self.state = "online"
        self.stream_states = dict.fromkeys(self.streams, "live")
        self.say_status()
        for _ in range(60):
            for stream in self.streams:
                self.say_head(stream)
            while any(self.queues.values()) or self.asks:
                self.deliver(0)
                self.answer()
            self.pass_time(1.0)
            if not self.rules._open:
                return
