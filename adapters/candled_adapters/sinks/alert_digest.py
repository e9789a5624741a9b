"""What is told to people: many things as one message, and not too many messages. Pure.

Whatever happens within a window is one message. When an hour has had its messages, things are
counted instead, and the next message says how many of each kind were not told. Time is an argument:
seconds of any clock that goes steadily. Memory is bounded, however much happens.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

HOUR_S: Final = 3600.0
LINES: Final = 20
#: How long after a failure it is tried to say what was not told, unless there is news (s).
RETRY_S: Final = 60.0
_LONGEST_LINE: Final = 200


@dataclass(frozen=True, slots=True)
class Message:
    """One message to people."""

    title: str
    body: str
    counts: Mapping[str, int] = field(default_factory=dict)
    """How many things of each kind it tells of, shown or not."""
    unsaid: Mapping[str, int] = field(default_factory=dict)
    """How many it says were not told before."""


class Digest:
    """Collects lines and says when they are due as a message, and what it says."""

    def __init__(self, window_s: float, per_hour: int) -> None:
        self._window_s = window_s
        self._sent: deque[float] = deque(maxlen=per_hour)
        self._per_hour = per_hour
        self._lines: list[str] = []
        self._counts: Counter[str] = Counter()
        self._unsaid: Counter[str] = Counter()
        self._since: float | None = None
        self._failed_at = float("-inf")

    def add(self, kind: str, line: str, now_s: float) -> None:
        """Take a thing of a `kind` (a word in the plural); of many only the first are shown."""
        self._counts[kind] += 1
        if len(self._lines) < LINES:
            self._lines.append(line[:_LONGEST_LINE])
        if self._since is None:
            self._since = now_s

    def due_s(self) -> float | None:
        """Return when `take` should be called next; None when there is nothing to say."""
        if self._since is not None:
            return self._since + self._window_s
        return max(self._free_s(), self._failed_at + RETRY_S) if self._unsaid else None

    def take(self, now_s: float) -> Message | None:
        """Return what is to be said now, if it may be; what may not is counted as unsaid."""
        if not self._counts and not self._unsaid:
            return None
        if now_s < self._free_s():
            self._unsaid += self._counts
            self._clear()
            return None
        message = self._message()
        self._clear()
        self._unsaid.clear()
        self._sent.append(now_s)
        return message

    def failed(self, message: Message, now_s: float) -> None:
        """Count what a message that reached nobody would have told as unsaid."""
        self._failed_at = now_s
        self._unsaid += Counter(message.counts) + Counter(message.unsaid)

    def _free_s(self) -> float:
        """Return when the hour has room for a message."""
        full = len(self._sent) == self._per_hour
        return self._sent[0] + HOUR_S if full else float("-inf")

    def _message(self) -> Message:
        lines = list(self._lines)
        hidden = self._counts.total() - len(lines)
        if hidden:
            lines.append(f"... and {hidden} more")
        if self._unsaid:
            lines.append(f"Not told before: {_counted(self._unsaid)}")
        said = _counted(self._counts) if self._counts else f"not told: {_counted(self._unsaid)}"
        return Message(f"candled: {said}", "\n".join(lines), dict(self._counts), dict(self._unsaid))

    def _clear(self) -> None:
        self._lines = []
        self._counts = Counter()
        self._since = None


def _counted(counts: Mapping[str, int]) -> str:
    """Say counts in words: 1 signal, 3 corrections."""
    return ", ".join(f"{n} {kind if n > 1 else kind[:-1]}" for kind, n in counts.items())
