"""What Home Assistant is told so that it shows each stream by itself. Pure functions.

MQTT discovery, https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery, in its form for
devices (since 2024.11): one retained message for each stream brings all its sensors, and an empty
one in its place removes them. Their values come out of the head, which is said anyway; templates
pick them. The sensors of one exchange are one device, behind the device of the service itself.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from candled.core import regime
from candled.core.bar import Stream
from candled.ports import ServiceState, StreamState
from candled_adapters.protocol.topics import Topics
from candled_adapters.sinks.mqtt_messages import Message

_SIDES: Final = ("long", "short", "flat", "no_decision", "not_live")
_ONLINE: Final = "{{ 'offline' if value_json.state == 'offline' else 'online' }}"
_SIDE: Final = "{{ value_json.side if value_json.stream_state == 'live' else 'not_live' }}"
_CONFIDENCE: Final = (
    "{% set p = value_json.probabilities %}"
    "{% if p %}{{ (100 * p['no_trade' if value_json.side == 'flat' else value_json.side]) "
    "| round(2) }}{% else %}None{% endif %}"
)
_MISSED: Final = 3  # repetitions of a head that may be lost before its values are unavailable


@dataclass(frozen=True, slots=True)
class Household:
    """Where Home Assistant listens, and as whom we speak there."""

    base_topic: str
    """Ours, below which heads and status are."""
    version: str
    dialects: Mapping[str, str]
    """By the exchanges' configured names."""
    head_refresh: float
    """Seconds between repetitions of a head."""
    prefix: str = "homeassistant"

    @property
    def birth(self) -> str:
        """Where Home Assistant says that it has started."""
        return f"{self.prefix}/status"


def announcement(home: Household, stream: Stream) -> Message:
    """Announce the sensors of a stream."""
    head = Topics(home.base_topic).head(stream.path)
    body = {
        "device": _exchange(home, stream.exchange),
        "origin": _origin(home),
        "state_topic": head,
        "availability_topic": Topics(home.base_topic).status,
        "availability_template": _ONLINE,
        "components": _sensors(home, stream, head),
    }
    return _retained(_topic(home, _word(stream.path)), msgspec.json.encode(body))


def withdrawal(home: Household, stream: Stream) -> Message:
    """Take the announcement of a stream back."""
    return _retained(_topic(home, _word(stream.path)), b"")


def service_announcement(home: Household) -> Message:
    """Announce the service itself: whether it is online, and its state."""
    status = Topics(home.base_topic).status
    online = {
        "platform": "binary_sensor",
        "unique_id": f"{_node(home)}_online",
        "name": "online",
        "device_class": "connectivity",
        "value_template": "{{ 'ON' if value_json.state == 'online' else 'OFF' }}",
        "json_attributes_topic": status,
    }
    state = _choice("state", "{{ value_json.state }}", [s.value for s in ServiceState])
    body = {
        "device": {
            "identifiers": [_node(home)],
            "name": f"candled ({home.base_topic})" if home.base_topic != "candled" else "candled",
            "manufacturer": "candled",
            "sw_version": home.version,
        },
        "origin": _origin(home),
        "state_topic": status,
        "components": {"online": online, "state": state | {"unique_id": f"{_node(home)}_state"}},
    }
    return _retained(_topic(home, "service"), msgspec.json.encode(body))


def _sensors(home: Household, stream: Stream, head: str) -> dict[str, dict[str, object]]:
    parts: dict[str, dict[str, object]] = {
        "side": _choice("side", _SIDE, _SIDES) | {"json_attributes_topic": head},
        "confidence": {
            "value_template": _CONFIDENCE,
            "unit_of_measurement": "%",
            "state_class": "measurement",
        },
        "price": {"value_template": "{{ value_json.price }}", "state_class": "measurement"},
        "regime": _choice("regime", "{{ value_json.regime_name }}", regime.NAMES),
        "newest_bar": {"value_template": "{{ value_json.bar_close }}", "device_class": "timestamp"},
        "freshness": _choice(
            "freshness",
            "{{ value_json.stream_state or 'stopped' }}",
            [state.value for state in StreamState],
        ),
    }
    expiry = math.ceil(_MISSED * home.head_refresh + 10)
    label = f"{stream.symbol} {stream.interval}"
    return {
        name: part
        | {
            "platform": "sensor",
            "unique_id": f"{_node(home)}_{_word(stream.path)}_{name}",
            "name": f"{label} {name.replace('_', ' ')}",
            "expire_after": expiry,
        }
        for name, part in parts.items()
    }


def _choice(name: str, template: str, options: Iterable[str]) -> dict[str, object]:
    return {
        "platform": "sensor",
        "name": name,
        "device_class": "enum",
        "options": list(options),
        "value_template": template,
    }


def _exchange(home: Household, name: str) -> dict[str, object]:
    return {
        "identifiers": [f"{_node(home)}_{_word(name)}"],
        "name": f"candled {name}",
        "manufacturer": "candled",
        "model": home.dialects.get(name, name),
        "sw_version": home.version,
        "via_device": _node(home),
    }


def _origin(home: Household) -> dict[str, str]:
    return {"name": "candled", "sw_version": home.version}


def _topic(home: Household, what: str) -> str:
    return f"{home.prefix}/device/{_node(home)}/{what}/config"


def _node(home: Household) -> str:
    return _word(home.base_topic)


def _word(text: str) -> str:
    """Spell a name as a level of a discovery topic: no two names are one word.

    Allowed are letters of ASCII, digits, _ and -; a name that has others gets a digest.
    """
    plain = re.sub(r"[^a-zA-Z0-9-]", "_", text)
    return plain if plain == text else f"{plain}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _retained(topic: str, payload: bytes) -> Message:
    return Message(topic, payload, retain=True)
