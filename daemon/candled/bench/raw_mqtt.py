"""QoS 1 by hand on a blocking socket: the least that any publisher has to do. A baseline only.

https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html ::

    CONNECT  10 len 0004 "MQTT" 05 02(clean start) ffff(keep alive) 00(no properties) 0003 "raw"
    PUBLISH  32 len topic id 05 02 00000e10(expires in 3600 s) payload
    PUBACK   40 len id [reason [properties]]
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Final

_PUBACK: Final = 0x40
_CONNACK: Final = 0x20
_DISCONNECT: Final = b"\xe0\x00"
_RECEIVE_MAXIMUM: Final = 0x21
#: Lengths of CONNACK's properties of a fixed length; the others are one string or two.
_FIXED: Final = {0x11: 4, 0x27: 4, 0x13: 2, 0x21: 2, 0x22: 2, 0x24: 1, 0x25: 1} | dict.fromkeys(
    (0x28, 0x29, 0x2A), 1
)
_STRINGS: Final = {0x26: 2}
_CHUNK: Final = 65_536
_TIMEOUT_S: Final = 10.0
_FIRST_REFUSAL: Final = 128
_WIDEST: Final = 100

#: Topic, payload, seconds until it expires.
RawMessage = tuple[str, str, int]


class RawMqttError(Exception):
    """The broker did not do what the baseline needs."""


class RawPublisher:
    """One connection to a broker; close it when done."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), _TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = b""
        hello = b"\x00\x04MQTT\x05\x02\xff\xff\x00" + _text("bench-raw")
        self._socket.sendall(b"\x10" + _length(len(hello)) + hello)
        (kind, body), *_ = self._packets()
        if kind != _CONNACK or body[1] != 0:
            raise RawMqttError(f"the broker refused the baseline's connection: {body.hex()}")
        self._window = min(_WIDEST, _receive_maximum(body[3:]))

    def publish(self, packets: Sequence[bytes]) -> None:
        """Publish packets, as many at once as the broker takes; return with the last PUBACK."""
        sent = acknowledged = 0
        while acknowledged < len(packets):
            room = self._window - (sent - acknowledged)
            if room and sent < len(packets):
                part = packets[sent : sent + room]
                self._socket.sendall(b"".join(part))
                sent += len(part)
            acknowledged += sum(_is_accepted(kind, body) for kind, body in self._packets())

    def close(self) -> None:
        """Say goodbye."""
        self._socket.sendall(_DISCONNECT)
        self._socket.close()

    def _packets(self) -> list[tuple[int, bytes]]:
        """Wait for packets; return all that are whole, as first byte and body."""
        found: list[tuple[int, bytes]] = []
        while not found:
            part = self._socket.recv(_CHUNK)
            if hasattr(socket, "TCP_QUICKACK"):  # else a broker without TCP_NODELAY stalls 40 ms
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            if not part:
                raise RawMqttError("the broker closed the baseline's connection")
            self._unread += part
            at = 0
            while (end := _end_of_packet(self._unread, at)) is not None:
                found.append((self._unread[at], self._unread[at + 2 : end]))
                at = end
            self._unread = self._unread[at:]
        return found


def packet(message: RawMessage, identifier: int) -> bytes:
    """Return a PUBLISH at QoS 1; `identifier` is 1 to 65535."""
    topic, payload, expiry = message
    body = _text(topic) + struct.pack(">HBBI", identifier, 5, 2, expiry) + payload.encode()
    return b"\x32" + _length(len(body)) + body


def _end_of_packet(data: bytes, at: int) -> int | None:
    """Where the packet at `at` ends, if it is all there. None of ours is longer than 127."""
    if len(data) < at + 2 or len(data) < at + 2 + data[at + 1]:
        return None
    return at + 2 + data[at + 1]


def _is_accepted(kind: int, body: bytes) -> bool:
    accepted = kind == _PUBACK and (len(body) == 2 or body[2] < _FIRST_REFUSAL)  # noqa: PLR2004 - an id alone
    if not accepted:
        raise RawMqttError(f"the broker did not accept a message: {kind:#x} {body.hex()}")
    return True


def _receive_maximum(properties: bytes) -> int:
    """Find how many messages the broker takes at once; MQTT's own limit when it does not say."""
    at = 0
    while at < len(properties):
        kind, at = properties[at], at + 1
        if kind == _RECEIVE_MAXIMUM:
            return int.from_bytes(properties[at : at + 2])
        if kind in _FIXED:
            at += _FIXED[kind]
            continue
        for _ in range(_STRINGS.get(kind, 1)):
            at += 2 + int.from_bytes(properties[at : at + 2])
    return 65_535


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack(">H", len(encoded)) + encoded


def _length(count: int) -> bytes:
    """Encode a variable byte integer."""
    encoded = b""
    while True:
        count, digit = divmod(count, 128)
        encoded += bytes([digit | 128 if count else digit])
        if not count:
            return encoded
