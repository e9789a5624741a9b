"""From bytes to what was said: topics and payloads, believed only where they agree.

Pure. Whatever comes is either one of the shapes of protocol v1, on its own topic, or a problem
with a text; nothing that a stranger publishes raises.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

import msgspec

from candled_adapters.protocol import shapes
from candled_adapters.subscriber.facts import Message

LARGEST: Final = 1_048_576
Said = (
    shapes.Signal | shapes.Correction | shapes.Event | shapes.Head | shapes.Status | shapes.Replay
)
_decoder: Final[msgspec.json.Decoder[Said]] = msgspec.json.Decoder(Said)


class NotUnderstoodError(ValueError):
    """A message that is not what its topic is for."""


def said(message: Message, base: str, answers: str) -> Said | None:
    """Return what a message says; None for topics that are not ours to judge.

    `answers` is the topic of answers to this consumer. Raises NotUnderstoodError.
    """
    kind, _, about = message.topic.removeprefix(f"{base}/").partition("/")
    is_answer = message.topic == answers
    if not message.topic.startswith(f"{base}/") or not (is_answer or kind in _KINDS):
        return None
    found = _read(message.payload)
    if not isinstance(found, shapes.Replay if is_answer else _KINDS[kind]):
        raise NotUnderstoodError(f"a {type(found).__name__.lower()} does not belong here")
    if isinstance(found, shapes.Signal | shapes.Correction | shapes.Head) and about != stream_of(
        found
    ):
        raise NotUnderstoodError(f"it is about {stream_of(found)[:100]!r}, not about this stream")
    return found


_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "signal": (shapes.Signal,),
    "event": (shapes.Correction, shapes.Event),
    "head": (shapes.Head,),
    "status": (shapes.Status,),
}


def _read(payload: bytes) -> Said:
    if len(payload) > LARGEST:
        raise NotUnderstoodError(f"it has {len(payload)} bytes, more than {LARGEST}")
    try:
        return _decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise NotUnderstoodError(f"not of protocol v1: {str(error)[:200]}") from error


def stream_of(said: shapes.Subject) -> str:
    """Return the stream that a payload is about."""
    return f"{said.exchange}/{said.symbol}/{said.interval}"


def moment_ms(text: str) -> int:
    """Return UTC milliseconds of an ISO time; raises NotUnderstoodError."""
    try:
        at = dt.datetime.fromisoformat(text)
        return round(at.replace(tzinfo=at.tzinfo or dt.UTC).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise NotUnderstoodError(f"{text[:40]!r} is no time") from error
