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
WRONG_VERSION: Final = 132
TAKEN_OVER: Final = 142
_MENDS: Final = {
    132: "it speaks another MQTT; set mqtt.protocol to auto",
    133: "choose another mqtt.client_id",
    134: "check the user name and the password (mqtt.username, mqtt.password_file)",
    135: "check the user name and the password (mqtt.username, mqtt.password_file)",
    136: "the broker is not available now; it is tried again",
    137: "the broker is busy or shutting down; it is tried again, less often each time",
    138: "the broker's administrator has banned this client",
    139: "the broker is shutting down; it is tried again",
    140: "the broker wants another kind of login than a password",
    141: "it heard nothing from us in time; raise mqtt.keepalive if this machine is too busy",
    142: "another client uses this client id; stop it, or choose another mqtt.client_id",
    144: "the broker allows no such topic; choose another base topic",
    147: "lower mqtt.max_outstanding",
    149: "raise the broker's maximum packet size",
    151: "raise the broker's quota for this client",
    152: "the broker's administrator has ended it",
    154: "the broker must allow retained messages",
    155: "the broker must allow QoS 1",
    156: "the broker wants us elsewhere for now; set mqtt.url to the server that it names",
    157: "the broker has moved; set mqtt.url to the server that it names",
    159: "the broker limits new connections; it is tried again, less often each time",
    160: "the broker allows no connection to last longer; it is made anew",
}


def explain(code: ReasonCode, server: str | None = None) -> str:
    """Return number and name of a code, in brackets, and the mend where one is known.

    `server` is what the broker says of where to go instead.
    """
    mend = _MENDS.get(code.value)
    named = f" ({server})" if server else ""
    return f"(code {code.value} {code})" + (f": {mend}{named}" if mend else named)


def pubacks(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield message id and reason code of each PUBACK among whole, short packets."""
    while len(data) > 1 and data[1] < _LONG and len(data) >= 2 + data[1]:
        kind, body, data = data[0], data[2 : 2 + data[1]], data[2 + data[1] :]
        if kind == _PUBACK:
            yield int.from_bytes(body[:2]), (body[2:3] or b"\0")[0]
