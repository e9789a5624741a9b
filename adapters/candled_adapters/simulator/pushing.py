"""From a moment of the market to frames in the buffers of all subscribed connections.

Frames are encoded before their moment and written without giving way to anything else, because a
real close instant is a burst. Reads no clock: the server says when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from websockets.asyncio.server import ServerConnection, broadcast

from candled.core.bar import Interval
from candled_adapters.simulator.faults import Faults
from candled_adapters.simulator.market import Instant, Market, Tape
from candled_adapters.simulator.venue import Session, Venue

#: Frames of one instant by stream and whether they are combined; None where there is no bar.
Frames = dict[tuple[str, bool], bytes | None]
_NOT_YET: Final = b""


@dataclass(eq=False, slots=True)
class Client:
    """One websocket connection."""

    number: int
    """From 1, in the order in which they came."""
    connection: ServerConnection
    session: Session


@dataclass(frozen=True, slots=True)
class Pusher:
    """Encodes and writes push frames."""

    venue: Venue
    interval: Interval
    tapes: Mapping[str, Tape]
    """By channel."""
    faults: Faults

    @classmethod
    def of(cls, venue: Venue, market: Market, faults: Faults) -> Pusher:
        """Push all symbols of a market."""
        interval = market.interval
        tapes = {venue.channel(symbol, interval): tape for symbol, tape in market.tapes.items()}
        return cls(venue, interval, tapes, faults)

    def encode(self, clients: Iterable[Client], instant: Instant) -> Frames:
        """Encode what the clients are subscribed to now."""
        keys = {(name, c.session.combined) for c in clients for name in c.session.streams}
        return {key: self._frame(instant, *key) for key in keys}

    def push(self, client: Client, instant: Instant, frames: Frames) -> int:
        """Write one instant's frames to a client; return how many they were."""
        to, count = (client.connection,), 0
        for name in client.session.streams:
            frame = self._encoded(instant, (name, client.session.combined), frames)
            if frame is not None:
                for _ in range(self._copies(instant, name)):
                    broadcast(to, frame, text=True)
                    count += 1
        return count

    def _encoded(self, instant: Instant, key: tuple[str, bool], frames: Frames) -> bytes | None:
        frame = frames.get(key, _NOT_YET)
        if frame == _NOT_YET:  # subscribed since the frames were encoded
            frame = frames[key] = self._frame(instant, *key)
        return frame

    def _frame(self, instant: Instant, name: str, combined: bool) -> bytes | None:  # noqa: FBT001 - half of a key
        tape = self.tapes.get(name)
        # A venue that pushes no bar's end tells it by the first push of the bar that follows.
        next_one = instant.closing and not self.venue.flags
        index = tape.find(instant.venue_ms if next_one else instant.open_time) if tape else None
        if tape is None or index is None:
            return None
        kline = tape.kline(index, instant.venue_ms)
        frame = self.venue.push(tape, self.interval, kline, instant.venue_ms)
        return self.venue.wrap(name, frame) if combined else frame

    def _copies(self, instant: Instant, name: str) -> int:
        if not instant.closing:
            return 1
        return self.faults.closing_frames(self.tapes[name].symbol, instant.open_time)
