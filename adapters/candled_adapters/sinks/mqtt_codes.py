"""MQTT 5's reason codes as people need them: what they mean and what to do. Pure functions.

https://docs.oasis-open.org/mqtt/mqtt/v5.0/os/mqtt-v5.0-os.html#_Toc3901031
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from paho.mqtt.reasoncodes import ReasonCode

FIRST_REFUSAL: Final = 128  # below are the successes, e.g. 16 "no matching subscribers"
NOT_AUTHORIZED: Final = 135
UNSPECIFIED: Final = 128  # what paho says, too, when the socket closed without a word
_PUBACK: Final = 0x40
_LONG: Final = 128  # a length of more than one byte, which no PUBACK of interest has
_MENDS: Final = {
    132: "it must speak MQTT 5",
    133: "choose another client id",
    134: "check the user name and the password",
    135: "check the user name and the password",  # for a message it is a matter of rights
    137: "the broker is busy or shutting down",
    142: "another client uses this client id; stop it, or choose another id",
    144: "the broker allows no such topic; choose another base topic",
    149: "raise the broker's maximum packet size",
    151: "raise the broker's quota for this client",
    154: "the broker must allow retained messages",
    155: "the broker must allow QoS 1",
}


def explain(code: ReasonCode) -> str:
    """Return number and name of a code, in brackets, and the mend where one is known."""
    mend = _MENDS.get(code.value)
    return f"(code {code.value} {code})" + (f": {mend}" if mend else "")


def pubacks(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield message id and reason code of each PUBACK among whole, short packets."""
    while len(data) > 1 and data[1] < _LONG and len(data) >= 2 + data[1]:
        kind, body, data = data[0], data[2 : 2 + data[1]], data[2 + data[1] :]
        if kind == _PUBACK:
            yield int.from_bytes(body[:2]), (body[2:3] or b"\0")[0]
