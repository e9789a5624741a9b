"""Replay: what is asked, whether and where it may be answered, and the answer. Pure but for reads.

Whoever may write to the broker may ask anything, so that every field is doubted. The answer goes
below one topic only: a request must not make us speak where signals are. No connection is known
here, and time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from candled.core.bar import Stream
from candled.ports import Clock, Outbox
from candled_adapters.protocol.shapes import Replay, ReplayRequest, Signal
from candled_adapters.protocol.topics import Topics
from candled_adapters.sinks import payload
from candled_adapters.sinks.mqtt_messages import Heard, Message
from candled_adapters.sinks.rate import Limiter, Rate

#: Signals of an answer, and bytes of them. Some brokers take no message above 128 KiB, and a live
#: signal may have to wait until one answer is on its way.
MOST_SIGNALS: Final = 500
MOST_BYTES: Final = 120_000
_READ: Final = 16  # signals that are read at once
_MOST_ASKED: Final = 4_096  # bytes of a request
_MOST_CORRELATION: Final = 256  # bytes
_MOST_CLIENT: Final = 128  # characters
_MOST_SEQ: Final = 2**53  # beyond it not every reader of JSON knows one number from the next
_EACH: Final = Rate(burst=10, per_second=2)
_TOGETHER: Final = Rate(burst=50, per_second=20)
_TOLD: Final = Rate(burst=5, per_second=1)  # how often a client is told that it asks too often

_request: Final = msgspec.json.Decoder(ReplayRequest).decode


class NowhereError(Exception):
    """A request that nobody can be given an answer to; the text says why."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request that can be answered, if only with an error."""

    topic: str
    """Where the answer goes."""
    property: bytes | None
    """Correlation data that the answer carries as a property."""
    text: str | None
    """And in its payload."""
    asked: ReplayRequest | None
    error: str | None = None
    """Why there are no signals to be had."""
    retry_after_s: float | None = None


def question(heard: Heard, topics: Topics) -> Question:
    """Read a request; raises NowhereError when its answer may not or cannot go anywhere."""
    asked, error = _read(heard.payload)
    topic = heard.response_topic or (asked.reply_to if asked else None)
    if topic is None:
        raise NowhereError(error or "names no topic for the answer")
    if not _is_response(topic, topics):
        raise NowhereError(f"wants the answer on {topic[:_MOST_CLIENT]!r}")
    text = asked.correlation if asked else None
    if len(heard.correlation or b"") > _MOST_CORRELATION or len(text or "") > _MOST_CORRELATION:
        error = f"correlation data is longer than {_MOST_CORRELATION} bytes"
        return Question(topic, None, None, asked, error)
    return Question(topic, heard.correlation, text or _text(heard.correlation), asked, error)


def _read(said: bytes) -> tuple[ReplayRequest | None, str | None]:
    """Return the request, or why it is none."""
    if len(said) > _MOST_ASKED:
        return None, f"the request is longer than {_MOST_ASKED} bytes"
    try:
        asked = _request(said)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as problem:
        return None, f"not a candled.replay-request/1: {problem}"
    if asked.since_seq > _MOST_SEQ:
        return None, "not a candled.replay-request/1: since_seq is beyond 2^53"
    return asked, None


def _is_response(topic: str, topics: Topics) -> bool:
    """Whether a topic is one level below those of answers, and such that a broker takes it."""
    below = topics.replay_response("")
    client = topic.removeprefix(below)
    return (
        topic.startswith(below)
        and 0 < len(client) <= _MOST_CLIENT
        and client.isprintable()
        and not set(client) & set("/+#")
    )


def _text(correlation: bytes | None) -> str | None:
    try:
        return correlation.decode() if correlation is not None else None
    except UnicodeDecodeError:
        return None


class Desk:
    """Takes requests and answers them from the journal.

    `streams` are those that are served now; `clocks` gives the clock of each exchange.
    """

    def __init__(
        self,
        topics: Topics,
        outbox: Outbox,
        streams: Collection[Stream],
        clocks: Callable[[str], Clock],
    ) -> None:
        self._topics = topics
        self._outbox = outbox
        self._streams = {stream.path: stream for stream in streams}
        self._clocks = clocks
        self._limiter = Limiter(_EACH, _TOGETHER)
        self._tellers = Limiter(_TOLD, _TOGETHER)

    def take(self, heard: Heard, now_s: float) -> Question | None:
        """Return what to answer; None for nothing, raises NowhereError for nowhere.

        A retained request is nobody's now. Who asks too often is told, unless that is too often.
        """
        if heard.retained:
            return None
        found = question(heard, self._topics)
        wait_s = self._limiter.ask(found.topic, now_s)
        if wait_s == 0:
            return found
        if self._tellers.ask(found.topic, now_s) > 0:
            return None
        error = "asked too often; ask again later"
        return Question(found.topic, found.property, found.text, found.asked, error, wait_s)

    def begin(self, asked: Question) -> Answer:
        """Begin an answer, with one page of signals if there are any; `Answer.more` reads them.

        Everything in the journal must have been delivered: a live signal would otherwise come
        after its own replay, and be taken for seen. What is decided later is not part of it.
        """
        request, epoch = asked.asked, self._outbox.epoch
        if asked.error or request is None:
            error = asked.error or "nothing is asked"
            return Answer(asked, _refusal(asked, epoch, error), iter(()))
        stream = self._streams.get(request.stream) or _stream(request.stream)
        kept = self._outbox.signals_kept(stream) if stream else None
        if stream is None or (kept is None and request.stream not in self._streams):
            error = "there is no such stream here"
            return Answer(asked, _refusal(asked, epoch, error), iter(()))
        first, last = kept or (None, 0)
        said = Replay(
            stream=stream.path,
            epoch=epoch,
            since_seq=request.since_seq if request.epoch in (None, epoch) else 0,
            last_seq=last,
            first_kept=first,
            signals=(),
            complete=True,
            correlation=asked.text,
        )
        return Answer(asked, said, self._page(stream, said.since_seq, last))

    def _page(self, stream: Stream, since: int, last: int) -> Iterator[list[Signal]]:
        """Yield what follows `since` up to `last`, a few signals at a time."""
        clock, epoch = self._clocks(stream.exchange), self._outbox.epoch
        while since < last and (entries := self._outbox.signals(stream, since, _READ)):
            now_ms = clock.now_ms()
            some = [payload.replayed(entry, epoch, now_ms) for entry in entries]
            since = some[-1].seq
            yield [signal for signal in some if signal.seq <= last]


class Answer:
    """An answer in the making, in steps that are short enough for a loop that has more to do."""

    def __init__(self, asked: Question, said: Replay, signals: Iterator[list[Signal]]) -> None:
        self._asked = asked
        self._said = said
        self._coming = signals
        self._signals: list[Signal] = []
        self._size = 0

    def more(self) -> bool:
        """Read some signals more, at least one at first; False when there is enough of them."""
        some = next(self._coming, None)
        if some is None:
            return False
        for signal in some:
            self._size += len(payload.encode(signal))
            full = self._size > MOST_BYTES or len(self._signals) == MOST_SIGNALS
            if self._signals and full:
                return False
            self._signals.append(signal)
        return True

    def message(self) -> Message:
        """Return it as it is now."""
        reached = self._signals[-1].seq if self._signals else self._said.since_seq
        said = msgspec.structs.replace(
            self._said,
            signals=tuple(self._signals),
            complete=self._said.error is None and reached >= self._said.last_seq,
        )
        return Message(self._asked.topic, payload.encode(said), correlation=self._asked.property)


def _refusal(asked: Question, epoch: str, error: str) -> Replay:
    request = asked.asked
    return Replay(
        stream=request.stream if request else "",
        epoch=epoch,
        since_seq=request.since_seq if request else 0,
        last_seq=0,
        first_kept=None,
        signals=(),
        complete=False,
        correlation=asked.text,
        error=error,
        retry_after_s=asked.retry_after_s,
    )


def _stream(path: str) -> Stream | None:
    """Return the stream of a path as the journal may hold it."""
    parts = path.split("/")
    return Stream(*parts) if len(parts) == len(("exchange", "symbol", "interval")) else None
