"""Whatever a connection takes and when, a client gets whole messages in order, or is let go."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Opcode

from candled_adapters.web.client import FRAME, PATIENCE_S, Client, frames_of

KEPT = 64 * 1024
HEAD = 10  # bytes that a frame's own head has at most


class Wire:
    """Takes what it is given; the other side takes what a test lets it."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.arrived = bytearray()
        self.most = 0
        self.open = True
        self.aborted = False

    def is_open(self) -> bool:
        return self.open

    def write(self, data: bytes) -> None:
        assert self.open
        self.buffer += data
        self.most = max(self.most, len(self.buffer))

    def kept(self) -> int:
        return len(self.buffer)

    def abort(self) -> None:
        self.aborted = True

    def take(self, count: int) -> None:
        self.arrived += self.buffer[:count]
        del self.buffer[:count]


def messages(wire: bytes) -> list[bytes]:
    """Read the frames of a server as any client would."""
    found: list[bytes] = []
    at = 0
    while at < len(wire):
        first, length = wire[at], wire[at + 1]
        size = {126: 2, 127: 8}.get(length, 0)
        if size:
            length = int.from_bytes(wire[at + 2 : at + 2 + size], "big")
        start = at + 2 + size
        opcode = first & 0x0F
        assert opcode == (Opcode.TEXT if not found or found[-1].endswith(b"\0") else Opcode.CONT)
        part = wire[start : start + length]
        if opcode == Opcode.TEXT:
            found.append(b"")
        found[-1] += part + (b"\0" if first & 0x80 else b"")
        at = start + length
    assert all(message.endswith(b"\0") for message in found)
    return [message[:-1] for message in found]


def test_a_message_of_any_length_comes_back_from_its_frames():
    """Also one of no bytes, and one that ends where a frame does."""
    for length in (0, 1, 125, 126, 65_535, 65_536, FRAME, FRAME + 1, 2 * FRAME, 3 * FRAME - 1):
        message = b"x" * length
        frames = frames_of(message)
        assert messages(b"".join(frames)) == [message]
        assert all(len(frame) <= FRAME + HEAD for frame in frames)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 300_000), st.integers(-400_000, -1)), max_size=25))
def test_messages_arrive_whole_and_in_order_and_little_is_kept(steps: list[int]):
    """A positive step tells so many bytes, a negative one is what the other side takes."""
    wire, told = Wire(), []
    client = Client(wire, 0.0)
    for count, step in enumerate(steps):
        if step >= 0:
            told.append(bytes([97 + count]) * step)
            client.tell(frames_of(told[-1]))
        else:
            wire.take(-step)
            client.pump()
        assert wire.most <= KEPT + FRAME + HEAD
    while wire.buffer or not client.is_free:
        wire.take(50_000)
        client.pump()
    assert messages(bytes(wire.arrived)) == told


def test_who_takes_nothing_for_a_while_is_lost():
    """And who takes a little now and then is not, however slow."""
    wire = Wire()
    client = Client(wire, 0.0)
    client.tell(frames_of(os.urandom(4 * FRAME)))
    assert not client.is_lost(0.1)
    assert not client.is_lost(PATIENCE_S)
    wire.take(1)
    assert not client.is_lost(PATIENCE_S + 1)
    assert not client.is_lost(2 * PATIENCE_S + 1)
    assert client.is_lost(2 * PATIENCE_S + 2)
    client.drop()
    assert wire.aborted


def test_who_has_nothing_to_take_is_never_lost():
    """Silence is no fault of the client."""
    wire = Wire()
    client = Client(wire, 0.0)
    assert not client.is_lost(1000.0)
    client.tell(frames_of(b"x"))
    assert not client.is_lost(1000.0 + PATIENCE_S)
    assert client.is_lost(1001.0 + PATIENCE_S)


def test_messages_do_not_pile_up_without_end():
    """Who is far behind is lost, even if it takes a little all the time."""
    wire = Wire()
    client = Client(wire, 0.0)
    client.tell(frames_of(b"x" * FRAME * 2))
    for _ in range(256):
        assert not client.is_lost(0.0)
        client.tell(frames_of(b"beat"))
    assert client.is_lost(0.0)


def test_nothing_is_written_to_a_connection_that_closes():
    """Its close frame was the last word."""
    wire = Wire()
    client = Client(wire, 0.0)
    wire.open = False
    client.tell(frames_of(b"x"))
    assert not wire.buffer
