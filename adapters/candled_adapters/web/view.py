"""The read model: how every stream looks now, kept from decisions as they become durable.

A line is rendered when somebody wants to see it and not before, and once for everybody. Knows no
server and no task; what it shows besides decisions it asks for when it renders.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from candled.core.bar import Interval, Stream
from candled.core.track import StreamDrift, Track
from candled.ports import Entry, Notice, StreamHealth
from candled_adapters.web import rendering, shapes
from candled_adapters.web.seat import Beginning, Sources

CLOSES: Final = 60
_EVENTS: Final = 100
_UNKNOWN: Final = "warming"  # before the service has said anything of a stream

encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Seen:
    """What is remembered of a stream."""

    interval: Interval
    head: Entry | None = None
    signal: Entry | None = None
    taken_back: bool = False
    closes: list[tuple[int, float]] = field(default_factory=list)

    def apply(self, entry: Entry) -> None:
        """Take the next decision about the stream."""
        decision = entry.decision
        self.put_close(decision.bar_open, decision.price)
        if self.head is None or _age(entry) >= _age(self.head):
            self.head = entry
        self.put_signal(entry)

    def put_signal(self, entry: Entry) -> None:
        """Take it as the newest signal, or as what has become of that."""
        held = self.signal
        if entry.seq is not None and (held is None or entry.seq > (held.seq or 0)):
            self.signal, self.taken_back = entry, False
        elif held is not None and entry.decision.bar_open == held.decision.bar_open:
            self.taken_back = entry.decision.side is not held.decision.side

    def put_close(self, bar_open: int, close: float) -> None:
        """Take a close, which may be a bar's new one."""
        at = bisect_left(self.closes, bar_open, key=lambda known: known[0])
        if at < len(self.closes) and self.closes[at][0] == bar_open:
            self.closes[at] = (bar_open, close)
        else:
            self.closes.insert(at, (bar_open, close))
            del self.closes[:-CLOSES]

    def fill(self, beginning: Beginning) -> None:
        """Take what was stored, unless something newer has come meanwhile."""
        known = {bar_open for bar_open, _ in self.closes}
        for bar_open, close in beginning.closes:
            if bar_open not in known:
                self.put_close(bar_open, close)
        stored = beginning.signal
        if stored and (self.signal is None or (stored.seq or 0) > (self.signal.seq or 0)):
            self.signal, self.taken_back = stored, False
            if beginning.verdict:
                self.taken_back = beginning.verdict.decision.side is not stored.decision.side


def _age(entry: Entry) -> tuple[int, int]:
    return entry.decision.bar_open, entry.decision.revision


class View:
    """Holds the streams that are served; `health` says how one is doing."""

    def __init__(
        self,
        streams: Iterable[Stream],
        sources: Sources,
        health: Callable[[Stream], StreamHealth | None],
    ) -> None:
        self._seen = {stream: _Seen(Interval(stream.interval)) for stream in sorted(streams)}
        self._sources = sources
        self._health = health
        self._lines: dict[Stream, msgspec.Raw] = {}
        self._asides: dict[Stream, tuple[object, ...]] = {}
        self.events: deque[Notice] = deque(maxlen=_EVENTS)
        self.position = 0
        """Up to which position of the journal this is."""

    @property
    def streams(self) -> Sequence[Stream]:
        """All of them, in the order in which they are shown."""
        return tuple(self._seen)

    def __contains__(self, stream: object) -> bool:
        """Return whether a stream is among them."""
        return stream in self._seen

    def newest_bar(self, stream: Stream) -> int | None:
        """Return when the stream's newest decided bar opened (UTC ms)."""
        head = self._seen[stream].head
        return head.decision.bar_open if head else None

    def is_thin(self, stream: Stream) -> bool:
        """Whether there are fewer closes of a stream than are shown."""
        return len(self._seen[stream].closes) < CLOSES

    def apply(self, entries: Sequence[Entry]) -> set[Stream]:
        """Take the next entries of the journal; return the streams that look otherwise now."""
        changed = set()
        for entry in entries:
            stream = entry.decision.stream
            if seen := self._seen.get(stream):
                seen.apply(entry)
                changed.add(stream)
        if entries:
            self.position = entries[-1].position
        return self.touch(changed)

    def fill(self, beginnings: Mapping[Stream, Beginning]) -> set[Stream]:
        """Take what was stored of streams, as of any moment; return which look otherwise now."""
        known = {stream: told for stream, told in beginnings.items() if stream in self._seen}
        for stream, beginning in known.items():
            self._seen[stream].fill(beginning)
        return self.touch(set(known))

    def touch(self, streams: Iterable[Stream]) -> set[Stream]:
        """Have streams rendered anew; return those that are shown."""
        shown = {stream for stream in streams if stream in self._seen}
        for stream in shown:
            self._lines.pop(stream, None)
        return shown

    def look_aside(self) -> set[Stream]:
        """Return the streams of which something else is known than when they were rendered.

        That is what became of signals, drift, and which model decides: nobody tells of it here.
        """
        stale = [s for s, told in self._asides.items() if told != self._aside(s)]
        return self.touch(stale)

    def is_stale(self, stream: Stream) -> bool:
        """Whether a stream has to be rendered before it can be shown."""
        return stream not in self._lines

    def line(self, stream: Stream) -> msgspec.Raw:
        """Return a stream's `Line` as JSON."""
        if (known := self._lines.get(stream)) is None:
            known = self._lines[stream] = msgspec.Raw(encode(self._render(stream)))
        return known

    def _aside(self, stream: Stream) -> tuple[str, Track | None, Track | None, StreamDrift | None]:
        ask = self._sources
        tracks = ask.tracks(stream), ask.challenger_tracks(stream)
        return (ask.model(stream), *tracks, ask.drift(stream))

    def _render(self, stream: Stream) -> shapes.Line:
        seen, health = self._seen[stream], self._health(stream)
        aside = self._asides[stream] = self._aside(stream)
        model, track, challenger, drift = aside
        head, signal = seen.head, seen.signal
        return shapes.Line(
            stream=stream.path,
            exchange=stream.exchange,
            symbol=stream.symbol,
            interval=stream.interval,
            state=health.state.value if health else _UNKNOWN,
            reason=health.reason if health else "",
            model=model,
            decided=rendering.decided(head) if head else None,
            signal=rendering.decided(signal) if signal else None,
            signal_taken_back=seen.taken_back,
            next_close=seen.interval.end(head.decision.bar_close) if head else None,
            closes=tuple(close for _, close in seen.closes),
            record=rendering.record(track),
            drift=rendering.drifting(drift),
            challenger=challenger.model_digest if challenger else None,
            challenger_record=rendering.record(challenger),
        )
