"""One that looks on: what it has yet to be told, and how much of that its connection takes.

A client that reads slowly is told less often, and always what holds then; one that takes nothing
for a while is dropped. What waits for it is names of streams and a few messages that it shares with
all others, so that it costs no memory to speak of. Time is an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from websockets.frames import Frame, Opcode

from candled.core.bar import Stream

#: A message goes out in frames of so many bytes, each when the one before has left.
FRAME: Final = 128 * 1024
_FULL: Final = 64 * 1024  # bytes that a connection holds before it is given no more
_MOST_FRAMES: Final = 256  # that wait for a client
PATIENCE_S: Final = 15.0


class Wire(Protocol):
    """A connection, as far as it is needed."""

    def is_open(self) -> bool:
        """Whether messages may be written."""
        ...

    def write(self, data: bytes) -> None:
        """Take bytes, and keep what the other side does not take yet."""
        ...

    def kept(self) -> int:
        """Return how many bytes are kept."""
        ...

    def abort(self) -> None:
        """Hang up without another word."""
        ...


def frames_of(message: bytes) -> tuple[bytes, ...]:
    """Return a text message as the bytes of its frames on the wire."""
    starts = range(0, max(len(message), 1), FRAME)
    return tuple(
        Frame(
            Opcode.CONT if start else Opcode.TEXT,
            message[start : start + FRAME],
            fin=start + FRAME >= len(message),
        ).serialize(mask=False)
        for start in starts
    )


class Client:
    """Somebody who is connected since `now_s`."""

    def __init__(self, wire: Wire, now_s: float) -> None:
        self.watched: Stream | None = None
        self.pending: set[Stream] = set()
        """Streams that look otherwise than it was told, beyond what is told to all next."""
        self._wire = wire
        self._frames: deque[bytes] = deque()
        self._given = 0
        self._taken = 0
        self._moved_s = now_s

    @property
    def is_free(self) -> bool:
        """Whether it has taken all that it was told, but for a little."""
        return not self._frames and self._wire.kept() < _FULL

    def tell(self, frames: Sequence[bytes]) -> None:
        """Put a message behind those that wait, and send what can be sent."""
        self._frames.extend(frames)
        self.pump()

    def pump(self) -> None:
        """Send what the connection takes."""
        while self._frames and self._wire.is_open() and self._wire.kept() < _FULL:
            frame = self._frames.popleft()
            self._given += len(frame)
            self._wire.write(frame)

    def is_lost(self, now_s: float) -> bool:
        """Whether it has taken nothing for too long although something waits, or far too little."""
        kept = self._wire.kept()
        if self._given - kept > self._taken or not (kept or self._frames):
            self._taken, self._moved_s = self._given - kept, now_s
        return now_s - self._moved_s > PATIENCE_S or len(self._frames) > _MOST_FRAMES

    def drop(self) -> None:
        """Hang up."""
        self._frames.clear()
        self._wire.abort()
