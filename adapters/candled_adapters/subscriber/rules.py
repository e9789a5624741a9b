"""The rules: when a signal may be acted on, and how nothing is lost. Normative for consumers.

Pure: no connection and no clock; messages and moments come in, facts go out. In short:

1. A signal is told once by its id, in the order of its numbers, however often and by whichever way
   it comes.
2. It may be acted on only if it came by itself (not retained, not replayed), says `live`, its
   `valid_until` lies ahead on the venue's clock, it was not called off, no later one was told
   before it, the service is `online` and of the same epoch, and the stream's head is fresh and
   `live`.
3. After a jump in the numbers the daemon is asked for what is missing. What came behind the hole
   waits for the answer, but at most `hold_s` seconds or half of the life it has left, whichever is
   less; where it may not be acted on anyway, `record_s` seconds. Then it is told, and what was
   missing is told when it comes, for the record.
4. A head that names a higher number than was seen means the same, unless the signal comes within
   `grace_s`: a head may overtake signals that the broker still holds.
5. What the daemon no longer has is told as lost. A new epoch begins at number 1; ids stay known.
6. At the first contact numbering stands where the head, or the first signal, says.
7. Whatever says that the service or a stream cannot be relied on halts; so does silence: of a
   service that says how it is every `beat_s`, after three of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from candled_adapters.protocol import shapes
from candled_adapters.protocol.topics import Topics
from candled_adapters.subscriber.facts import Ask, Fact, Go, Halt, Heard, Message, Now, Refused
from candled_adapters.subscriber.hearing import (
    NotUnderstoodError,
    Said,
    moment_ms,
    said,
    stream_of,
)
from candled_adapters.subscriber.numbers import Numbers
from candled_adapters.subscriber.stream import NEVER, Limits, Service, StreamRules

__all__ = ["Limits", "Rules", "Verify"]

#: Says what is wrong with a message's signature, given topic, payload and user properties.
Verify = Callable[[str, bytes, dict[str, str]], str | None]

_MOST_STREAMS: Final = 10_000
_MOST_QUESTIONS: Final = 4  # on their way at once; the daemon answers two a second for long
_LOOK_S: Final = 0.5
#: So many beats of the service may be missed; more of them are silence.
_BEATS_MISSED: Final = 3
_SHORTEST_BEAT_S: Final = 0.5


class Rules:
    """What one consumer knows, and what follows for it from each message and from time.

    `client` names this consumer in the topic of its answers. `since` are the numbers (or one for
    all streams) above which signals are wanted that were published before the first contact.
    `verify` may find fault with a message, from which then nothing follows but a halt.
    """

    def __init__(
        self,
        base: str = "candled",
        client: str = "bot",
        *,
        limits: Limits | None = None,
        since: Mapping[str, int] | int | None = None,
        verify: Verify | None = None,
    ) -> None:
        self._base = base
        self._answers = Topics(base).replay_response(client)
        self._limits = limits or Limits()
        self._since = since
        self._verify = verify
        self._service = Service()
        self._connected = False
        self._streams: dict[str, StreamRules] = {}
        self._open: dict[str, None] = {}
        """Streams in which something waits or is missing; the longest not asked about first."""
        self._asked: dict[str, float] = {}
        """Streams that the daemon was asked about, until when (local time)."""
        self._quiet_until = NEVER
        self._look_at = NEVER

    # --- what comes in

    def take(self, message: Message, now: Now) -> list[Fact]:
        """Return what follows from a message. Never raises."""
        try:
            heard = said(message, self._base, self._answers)
            facts = [] if heard is None else list(self._follows(heard, message, now))
        except NotUnderstoodError as error:
            facts = [Refused(message.topic[:200], str(error))]
        return facts + self._time(now)

    def wake(self, now: Now) -> list[Fact]:
        """Return what follows from time alone; to be asked again after `next_wake` seconds."""
        return self._time(now)

    @property
    def next_wake(self) -> float:
        """Seconds until time alone may change something."""
        return 0.05 if self._open else _LOOK_S

    def connected(self) -> list[Fact]:
        """Note that the broker is there; what it has kept will tell how the service is."""
        self._connected = True
        self._quiet_until = NEVER
        return list(self._serve("nothing has been heard of the service yet"))

    def disconnected(self, why: str) -> list[Fact]:
        """Note that the broker is out of reach: what it said of the service holds no longer."""
        self._connected = False
        for name in self._asked:  # the answers are lost
            self._streams[name].ask_at = NEVER
        self._asked.clear()
        return list(self._serve(why))

    # --- what may be relied on

    def halted(self, stream: str, now: Now) -> str | None:
        """Return why nothing of a stream may be acted on; None when all is well."""
        if stream in self._streams:
            return self._streams[stream].trouble(now)
        return self._service.trouble or "nothing has been heard of this stream yet"

    def why_not(self, heard: Heard, now: Now) -> str | None:
        """Return why a signal that was told must not be acted on now; None when it may be.

        To be asked at the moment of acting: what could be acted on may have become late.
        """
        return self._streams[heard.stream].why_not(heard, now)

    @property
    def repeats(self) -> int:
        """How many signals came again, by whichever way, and were not told again."""
        return sum(stream.repeats for stream in self._streams.values())

    # --- each kind of message

    def _follows(self, heard: Said, message: Message, now: Now) -> Iterator[Fact]:
        problem = self._verify and self._verify(
            message.topic, message.payload, dict(message.properties)
        )
        if problem:
            yield Refused(message.topic[:200], problem[:500])
            if isinstance(heard, shapes.Status) and heard.state == "offline":
                yield from self._serve(f"offline, says somebody: {problem[:500]}")
            return
        match heard:
            case shapes.Status():
                yield from self._status(heard, now)
            case shapes.Replay():
                yield from self._replay(heard, now)
            case shapes.Signal():
                why_not = "retained: of unknown age" if message.retained else None
                stream = self._stream(stream_of(heard))
                yield from stream.signal(Heard(stream.name, heard, why_not), now)
                self._keep_open(stream)
            case shapes.Head():
                # Kept by the broker or played again by a stranger: it is as old as it says.
                age_s = (now.venue_ms - moment_ms(heard.updated_at)) / 1000 / now.speed
                stream = self._stream(stream_of(heard))
                yield from stream.head(heard, max(0.0, age_s), now)
                self._keep_open(stream)
            case shapes.Correction():
                yield from self._stream(stream_of(heard)).correction(heard)

    def _status(self, status: shapes.Status, now: Now) -> Iterator[Fact]:
        self._service.epoch = status.epoch
        self._service.heard_at, self._service.beat_s = now.local, status.beat_s
        reasons = f": {'; '.join(status.reasons)}"[:500] if status.reasons else ""
        online = status.state == "online"
        yield from self._serve(None if online else f"the service is {status.state}{reasons}")

    def _serve(self, trouble: str | None) -> Iterator[Fact]:
        """Note how the service is; tell it when that changes."""
        if trouble == self._service.trouble:
            return
        self._service.trouble = trouble
        yield Go(None) if trouble is None else Halt(None, trouble)

    def _replay(self, replay: shapes.Replay, now: Now) -> Iterator[Fact]:
        if self._asked.pop(replay.stream, None) is None:
            raise NotUnderstoodError("an answer to no question of ours")
        stream = self._streams[replay.stream]
        yield from stream.replay(replay, now)
        if replay.error is not None and replay.retry_after_s is not None:
            self._quiet_until = stream.ask_at
        self._keep_open(stream)

    # --- what time brings

    def _time(self, now: Now) -> list[Fact]:
        facts: list[Fact] = []
        for name in list(self._open):
            stream = self._streams[name]
            facts += stream.release(now)
            if stream.is_whole:
                del self._open[name]
        if now.local >= self._look_at:
            self._look_at = now.local + _LOOK_S
            facts += self._silence(now)
            for stream in self._streams.values():
                facts += stream.stand(now)
        return facts + list(self._ask(now))

    def _silence(self, now: Now) -> Iterator[Fact]:
        """Halt when the service has missed its beats: its broker may take long to say so."""
        service = self._service
        if service.trouble is None and service.beat_s is not None:
            silent_s = now.local - service.heard_at
            if silent_s > _BEATS_MISSED * max(service.beat_s, _SHORTEST_BEAT_S):
                yield from self._serve("the service is silent: it may be frozen or cut off")

    def _ask(self, now: Now) -> Iterator[Fact]:
        """Ask for what is missing, of a few streams at a time."""
        if not self._connected or now.local < self._quiet_until:
            return
        for name in [name for name, until in self._asked.items() if until <= now.local]:
            del self._asked[name]
        for name in list(self._open):
            if len(self._asked) >= _MOST_QUESTIONS:
                return
            stream = self._streams[name]
            since = None if name in self._asked else stream.missing_since(now)
            if since is None:
                continue
            stream.ask_at = self._asked[name] = now.local + self._limits.patience_s
            self._open[name] = self._open.pop(name)
            yield Ask(name, since, stream.numbers.epoch)

    def _keep_open(self, stream: StreamRules) -> None:
        if not stream.is_whole:
            self._open[stream.name] = None

    def _stream(self, name: str) -> StreamRules:
        if name not in self._streams:
            if len(self._streams) >= _MOST_STREAMS:
                raise NotUnderstoodError(f"there are {_MOST_STREAMS} streams already")
            since = self._since.get(name) if isinstance(self._since, Mapping) else self._since
            self._add(name, Numbers(last=since, forgotten=since or 0))
        return self._streams[name]

    def _add(self, name: str, numbers: Numbers) -> None:
        self._streams[name] = StreamRules(name, self._limits, self._service, numbers)

    # --- memory over restarts

    def remember(self, names: Iterable[str] | None = None) -> dict[str, Numbers]:
        """Return, of some streams or all, what must be kept for signals to be told once."""
        names = self._streams if names is None else names
        return {name: self._streams[name].numbers.kept() for name in names}

    def recall(self, kept: Mapping[str, Numbers]) -> None:
        """Go on from what an earlier life has kept. To be called before anything else."""
        for name, numbers in kept.items():
            self._add(name, numbers)
            self._keep_open(self._streams[name])
