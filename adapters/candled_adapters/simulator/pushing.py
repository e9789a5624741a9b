"""From a moment of the market to frames in the buffers of all subscribed connections.

Frames are encoded before their moment and written without giving way to anything else, because a
real close instant is a burst. Where a fault takes hold they are made anew, at their moment, for its
symbol alone. Reads no clock: the server says when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode

from candled_adapters.simulator.fault import Fault, Listener, Moment, Push, Sent, View
from candled_adapters.simulator.market import Instant, Market, Tape
from candled_adapters.simulator.venue import Session, Venue

#: A websocket frame as it goes over the wire, and by how much venue time (ms) it is late.
Wired = tuple[bytes, int]
#: What goes out at one instant by stream and whether it is combined; nothing where there is no bar.
Frames = dict[tuple[str, bool], Sequence[Wired]]
#: Writes a frame to a connection when its delay (ms) has passed.
Later = Callable[[ServerConnection, bytes, int], None]
#: The hooks that are this module's business.
CHANGING: Final = ("pushes", "shown", "messages", "push_clock")
SILENCING: Final = "silences"


@dataclass(eq=False, slots=True)
class Client:
    """One websocket connection."""

    number: int
    """From 1, in the order in which they came."""
    connection: ServerConnection
    session: Session
    since_s: float
    """Monotonic time (s)."""


@dataclass(frozen=True, slots=True)
class Volley:
    """What goes out at one instant, and what is wrong with it."""

    instant: Instant
    frames: Frames
    changing: Sequence[Fault]
    """Those with a hook of `CHANGING`."""
    silencing: Sequence[Fault]
    """Those that silence."""


@dataclass(frozen=True, slots=True)
class Pusher:
    """Encodes and writes push frames."""

    venue: Venue
    market: Market
    tapes: Mapping[str, Tape]
    """By channel."""

    @classmethod
    def of(cls, venue: Venue, market: Market) -> Pusher:
        """Push all symbols of a market."""
        interval = market.interval
        tapes = {venue.channel(symbol, interval): tape for symbol, tape in market.tapes.items()}
        return cls(venue, market, tapes)

    def encode(self, clients: Iterable[Client], instant: Instant) -> Frames:
        """Encode what the clients are subscribed to now, as it is without faults."""
        keys = {(name, c.session.combined) for c in clients for name in c.session.streams}
        return {key: self._sent(instant, *key) for key in keys}

    def volley(
        self,
        instant: Instant,
        frames: Frames,
        changing: Sequence[Fault],
        silencing: Sequence[Fault],
    ) -> Volley:
        """Make anew what the faults in force change; those of other slots are left out."""
        changing = [f for f in changing if f.hooks.shown or instant.open_time in f.bars]
        silencing = [fault for fault in silencing if instant.open_time in fault.bars]
        for name, combined in list(frames) if changing else ():
            tape = self.tapes.get(name)
            if tape is not None and any(fault.concerns(tape.symbol) for fault in changing):
                frames[name, combined] = self._sent(instant, name, combined, changing)
        return Volley(instant, frames, changing, silencing)

    def push(self, client: Client, volley: Volley, later: Later) -> int:
        """Write one instant's frames to a client, at once; return how many they were.

        Its connection is open, and has no extensions: no library needs to look at each frame.
        """
        ready: list[bytes] = []
        late = 0
        combined, frames, silencing = client.session.combined, volley.frames, volley.silencing
        for name, serial in client.session.streams.items():
            sent = frames.get((name, combined))
            if sent is None:  # subscribed since the frames were encoded
                sent = self._sent(volley.instant, name, combined, volley.changing)
                frames[name, combined] = sent
            if silencing and self._silenced(client, name, serial, volley):
                continue
            for wire, delay_ms in sent:
                if delay_ms:
                    later(client.connection, wire, delay_ms)
                    late += 1
                else:
                    ready.append(wire)
        if ready:
            client.connection.transport.write(b"".join(ready))
        return len(ready) + late

    def _sent(
        self,
        instant: Instant,
        name: str,
        combined: bool,  # noqa: FBT001 - half of a key
        faults: Sequence[Fault] = (),
    ) -> Sequence[Wired]:
        tape = self.tapes.get(name)
        if tape is None:
            return ()
        pushes = self._pushes(tape, instant)
        mine = [fault for fault in faults if fault.concerns(tape.symbol)]
        if mine:
            pushes = self._changed(pushes, tape, instant, mine)
        sent = [self._encoded(tape, push, name, combined) for push in pushes]
        return [_wired(message) for message in (_spoilt(sent, mine) if mine else sent)]

    def _pushes(self, tape: Tape, instant: Instant) -> list[Push]:
        # A venue that pushes no bar's end tells it by the first push of the bar that follows.
        next_one = instant.closing and not self.venue.flags
        index = tape.find(instant.venue_ms if next_one else instant.open_time)
        if index is None:
            return []
        now_ms = instant.venue_ms
        return [Push(tape.kline(index, now_ms), now_ms, now_ms)]

    def _encoded(self, tape: Tape, push: Push, name: str, combined: bool) -> Sent:  # noqa: FBT001 - as above
        frame = self.venue.push(tape, self.market.interval, push)
        return Sent(self.venue.wrap(name, frame) if combined else frame, delay_ms=push.delay_ms)

    def _changed(
        self, pushes: list[Push], tape: Tape, instant: Instant, faults: Sequence[Fault]
    ) -> list[Push]:
        """Let faults choose what is pushed, then what it looks like, then when it says it was."""
        moment = Moment(self.market, tape, instant)
        for fault in faults:
            if fault.hooks.pushes and instant.open_time in fault.bars:
                pushes = fault.hooks.pushes(pushes, moment, fault.bars)
        view = View(self.market, tape, instant.venue_ms)
        return [shown for push in pushes for shown in _shown(push, view, faults)]

    def _silenced(self, client: Client, name: str, serial: int, volley: Volley) -> bool:
        tape = self.tapes.get(name)
        if tape is None:
            return False
        listener = Listener(client.number, tape.symbol, serial)
        moment = Moment(self.market, tape, volley.instant)
        return any(
            fault.hooks.silences(listener, moment, fault.bars)
            for fault in volley.silencing
            if fault.hooks.silences and fault.concerns(tape.symbol)
        )


def _wired(sent: Sent) -> Wired:
    opcode = Opcode.TEXT if sent.text else Opcode.BINARY
    return Frame(opcode, sent.data).serialize(mask=False), sent.delay_ms


def _shown(push: Push, view: View, faults: Sequence[Fault]) -> list[Push]:
    klines, told_ms = [push.kline], push.told_ms
    for fault in faults:
        if fault.hooks.shown:
            klines = fault.hooks.shown(klines, view, fault.bars)
        if fault.hooks.push_clock:
            told_ms += fault.hooks.push_clock(push.told_ms, fault.bars)
    return [Push(kline, push.at_ms, told_ms, push.delay_ms) for kline in klines]


def _spoilt(sent: list[Sent], faults: Sequence[Fault]) -> list[Sent]:
    for fault in faults:
        change = fault.hooks.messages
        if change:
            sent = [spoilt for message in sent for spoilt in change(message)]
    return sent
