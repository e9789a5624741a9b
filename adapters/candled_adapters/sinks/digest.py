"""Digests: which decisions belong to one close, and when a part of them is to be told. Pure.

A close is what all streams of one exchange and interval decide about bars that opened together.
Time is an argument; no topic, payload or broker is known here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from candled.core.bar import Interval, Stream
from candled.ports import Entry

#: Decisions of one part: some brokers take no message above 128 KiB.
MOST_LINES: Final = 500
PATIENCE_S: Final = 1.0
_BARS: Final = 2  # how old a close may be
_CLOSES: Final = 4  # of one exchange and interval that are remembered


@dataclass(frozen=True, slots=True)
class Part:
    """Some decisions of one close."""

    number: int
    """1, 2, 3 ... of this close."""
    decided: int
    """How many decisions this and earlier parts hold."""
    expected: int
    """How many streams there are."""
    entries: tuple[Entry, ...]
    """At least one, in the order in which they were decided."""


@dataclass(slots=True)
class _Close:
    expected: int
    waiting: list[Entry] = field(default_factory=list)
    since_s: float = 0.0  # when the first of those that wait came
    told: int = 0
    parts: int = 0

    def add(self, entry: Entry, now_s: float) -> None:
        if not self.waiting:
            self.since_s = now_s
        self.waiting.append(entry)

    def wait_s(self, now_s: float) -> float | None:
        if not self.waiting:
            return None
        whole = self.told + len(self.waiting) >= self.expected
        return 0.0 if whole else max(0.0, self.since_s + PATIENCE_S - now_s)

    def take(self) -> Iterator[Part]:
        waiting, self.waiting = self.waiting, []
        for first in range(0, len(waiting), MOST_LINES):
            entries = tuple(waiting[first : first + MOST_LINES])
            self.parts += 1
            self.told += len(entries)
            yield Part(self.parts, self.told, self.expected, entries)


class Digests:
    """Gathers decisions by their closes.

    `streams` are those that are served now; `venue_ms` says what time it is at an exchange.
    """

    def __init__(self, streams: Iterable[Stream], venue_ms: Callable[[str], int]) -> None:
        self._streams = frozenset(streams)
        self._expected = Counter((s.exchange, s.interval) for s in self._streams)
        self._venue_ms = venue_ms
        self._closes: dict[tuple[str, str], dict[int, _Close]] = {}

    def __len__(self) -> int:
        """Return how many closes are remembered."""
        return sum(map(len, self._closes.values()))

    def add(self, entries: Iterable[Entry], now_s: float) -> None:
        """Take decisions, in order. Corrections and old bars are nobody's news here."""
        times: dict[str, int] = {}
        for entry in entries:
            decision = entry.decision
            stream = decision.stream
            if decision.revision or stream not in self._streams:
                continue
            if stream.exchange not in times:
                times[stream.exchange] = self._venue_ms(stream.exchange)
            reach = _BARS * Interval(stream.interval).typical_ms
            if decision.bar_close > times[stream.exchange] - reach:
                self._close(stream, decision.bar_open).add(entry, now_s)

    def _close(self, stream: Stream, bar_open: int) -> _Close:
        key = (stream.exchange, stream.interval)
        closes = self._closes.setdefault(key, {})
        close = closes.setdefault(bar_open, _Close(self._expected[key]))
        if len(closes) > _CLOSES:
            del closes[min(closes)]
        return close

    def wait_s(self, now_s: float) -> float | None:
        """Return after how many seconds a part is due; None when nothing waits."""
        waits = (close.wait_s(now_s) for close in self._all())
        return min((wait for wait in waits if wait is not None), default=None)

    def take(self, now_s: float) -> list[Part]:
        """Remove and return the parts that are due."""
        due = [close for close in self._all() if close.wait_s(now_s) == 0]
        return [part for close in due for part in close.take()]

    def _all(self) -> Iterator[_Close]:
        for closes in self._closes.values():
            yield from closes.values()
