"""Protocol v1 as an AsyncAPI 3.0 document: which message is where, and how it is delivered.

The daemon's view: it sends what a bot receives. Pure; the schemas of the payloads are arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from candled_adapters.protocol.topics import Topics

_BINDING: Final = "0.2.0"
_T: Final = Topics("{base}")
_STREAM: Final = "{exchange}/{symbol}/{interval}"

_DESCRIPTION: Final = """\
What candled says over MQTT 5 and what it may be asked; field by field in docs/topics.md.

A signal is to be acted on once: while `live`, before `valid_until`, and while the status is
`online`. Heads, digests, shadows and replays are never a reason to trade. Fields may be added
within a version; ignore those that you do not know. In MQTT 3.1.1 there is no expiry and there
are no properties: `info` says so in `losses`.
"""

_SECURITY_NOTE: Final = """\
Let only the daemon publish below the base topic, except on `{base}/replay/request`: whoever can
publish a signal can make bots trade. Messages may be signed (ed25519): user properties `sig` and
`key`.
"""

_PARAMETERS: Final[dict[str, Any]] = {
    "base": {"description": "[mqtt] base_topic", "default": "candled"},
    "exchange": {"description": "The venue's name in the daemon's configuration"},
    "symbol": {"description": "As the venue spells it", "examples": ["BTCUSDT"]},
    "interval": {"description": "Of the bars", "examples": ["1m", "1h"]},
}

#: What is where: the address, what it is, and the payloads that are sent there.
_CHANNELS: Final[dict[str, tuple[str | None, str, tuple[str, ...]]]] = {
    "status": (_T.status, "Whether the service can be relied on; also its will.", ("Status",)),
    "info": (_T.info, "What is running.", ("Info",)),
    "signal": (_T.signal(_STREAM), "Each long and short. Never retained.", ("Signal",)),
    "head": (_T.head(_STREAM), "The newest decision: a sign of life.", ("Head",)),
    "streamEvent": (
        _T.event(_STREAM), "Corrections of decisions, and incidents.", ("Correction", "Event"),
    ),
    "exchangeEvent": (_T.event("{exchange}"), "Incidents of no one stream.", ("Event",)),
    "digest": (
        _T.digest("{exchange}", "{interval}"), "All decisions of one close.", ("Digest",),
    ),
    "shadow": (
        _T.shadow(_STREAM), "What a challenger would signal. Never a reason to trade.", ("Shadow",),
    ),
    "replayRequest": (_T.replay_request, "Who missed signals asks for them.", ("ReplayRequest",)),
    "replayResponse": (
        None,
        f"And gets them where the request says, but only on {_T.replay_response('{client}')}.",
        ("Replay",),
    ),
}  # fmt: skip

#: What the daemon sends: the channel, the payload, and how: QoS, retained, what of its expiry.
_SENT: Final[dict[str, tuple[str, str, int, bool, str]]] = {
    "tellStatus": ("status", "Status", 1, True, ""),
    "tellInfo": ("info", "Info", 1, True, ""),
    "signal": (
        "signal", "Signal", 1, False, "Ends with valid_until; a late one (live: false) has none.",
    ),
    "tellHead": (
        "head", "Head", 0, True, "Two bars and two refreshes, at least 60 s. Some are QoS 1.",
    ),
    "correct": ("streamEvent", "Correction", 1, False, ""),
    "tellStreamIncident": ("streamEvent", "Event", 0, False, ""),
    "tellExchangeIncident": ("exchangeEvent", "Event", 0, False, ""),
    "digest": ("digest", "Digest", 0, False, "One bar."),
    "tellShadow": ("shadow", "Shadow", 1, False, ""),
}  # fmt: skip


def document(schemas: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the document.

    `schemas` has what the payloads and their parts are, by their types' names; `names` what the
    field `schema` of each payload says.
    """
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "candled signals",
            "version": "1.0.0",
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {"broker": _server()},
        "channels": {key: _channel(*parts) for key, parts in _CHANNELS.items()},
        "operations": {
            **{key: _sent(*parts) for key, parts in _SENT.items()},
            "answerReplay": _answered(),
        },
        "components": {
            "schemas": dict(schemas),
            "messages": {key: _message(key, name) for key, name in names.items()},
            "parameters": _PARAMETERS,
            "securitySchemes": {
                "password": {"type": "userPassword"},
                "certificate": {"type": "X509"},
            },
        },
    }


def _ref(*path: str) -> dict[str, str]:
    return {"$ref": "/".join(("#", *path))}


def _server() -> dict[str, Any]:
    return {
        "host": "localhost:1883",
        "protocol": "mqtt",
        "protocolVersion": "5.0",
        "description": f"Your broker; `secure-mqtt` with TLS. {_SECURITY_NOTE}",
        "security": [
            _ref("components", "securitySchemes", key) for key in ("password", "certificate")
        ],
        "bindings": {
            "mqtt": {
                "lastWill": {"topic": "candled/status", "qos": 1, "retain": True},
                "bindingVersion": _BINDING,
            }
        },
    }


def _channel(address: str | None, about: str, payloads: Iterable[str]) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": address,
        "description": about,
        "messages": {key: _ref("components", "messages", key) for key in payloads},
    }
    used = [key for key in _PARAMETERS if address and f"{{{key}}}" in address]
    if used:
        channel["parameters"] = {key: _ref("components", "parameters", key) for key in used}
    return channel


def _message(key: str, name: str) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": name,
        "contentType": "application/json",
        "payload": _ref("components", "schemas", key),
    }
    if key in ("ReplayRequest", "Replay"):
        message["correlationId"] = {
            "description": "With MQTT 5 the correlation data do the same",
            "location": "$message.payload#/correlation",
        }
    return message


def _sent(channel: str, payload: str, qos: int, retain: bool, expiry: str) -> dict[str, Any]:  # noqa: FBT001
    binding: dict[str, Any] = {"qos": qos, "retain": retain, "bindingVersion": _BINDING}
    if expiry:
        about = f"Seconds. {expiry}"
        binding["messageExpiryInterval"] = {"type": "integer", "minimum": 1, "description": about}
    return {
        "action": "send",
        "channel": _ref("channels", channel),
        "messages": [_ref("channels", channel, "messages", payload)],
        "bindings": {"mqtt": binding},
    }


def _answered() -> dict[str, Any]:
    """Return the operation that takes a request and answers where it says."""
    return {
        "action": "receive",
        "channel": _ref("channels", "replayRequest"),
        "messages": [_ref("channels", "replayRequest", "messages", "ReplayRequest")],
        "bindings": {"mqtt": {"qos": 1, "retain": False, "bindingVersion": _BINDING}},
        "reply": {
            "address": {
                "description": "With MQTT 5 the request's response topic, without it this",
                "location": "$message.payload#/reply_to",
            },
            "channel": _ref("channels", "replayResponse"),
            "messages": [_ref("channels", "replayResponse", "messages", "Replay")],
        },
    }
