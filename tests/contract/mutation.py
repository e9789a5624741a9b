"""Frames as no venue should send them: cut, blown up, mistyped, misplaced. Seeded, no I/O."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

#: What a field may hold instead of what it should.
STRANGERS: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 1e308, 10**9, 10**16, 10**19, 10**40, -(10**19)),
    *("", "x", "NaN", "inf", "-inf", "1e999", "1_000", "٣", "0x10", "9" * 5000, "\x00", "é"),
    *("1700000000", "1700000000000000", "2023-11-14T00:00:00", "9999-12-31T23:59:59Z"),
    *([], {}, [[]], [None], {"a": 1}, [1, 2, 3]),
]
_BYTES = [b"\x00", b"\xff", b"<html>", b"{", b"}", b"[", b"]", b'"', b",", b"null", b"\xc3"]


def wrong_values(value: Any) -> Iterator[Any]:
    """Yield `value` with each of its parts in turn replaced, left out, or joined by a stranger."""
    if isinstance(value, dict):
        yield {**value, "a key that nobody knows": [1]}
        for key, inner in value.items():
            yield {other: kept for other, kept in value.items() if other != key}
            yield from ({**value, key: stranger} for stranger in STRANGERS)
            yield from ({**value, key: wrong} for wrong in wrong_values(inner))
    if isinstance(value, list):
        yield [*value, None]
        for at, inner in enumerate(value):
            yield value[:at] + value[at + 1 :]
            yield from ([*value[:at], wrong, *value[at + 1 :]] for wrong in STRANGERS)
            yield from ([*value[:at], wrong, *value[at + 1 :]] for wrong in wrong_values(inner))


def mutated(frame: bytes, draw: random.Random) -> bytes:
    """Return `frame` with one to four accidents."""
    for _ in range(draw.randint(1, 4)):
        frame = _ACCIDENTS[draw.randrange(len(_ACCIDENTS))](frame, draw)
    return frame


def _cut(frame: bytes, draw: random.Random) -> bytes:
    return frame[: draw.randint(0, len(frame))]


def _flip(frame: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(frame)) if frame else 0
    return frame[:at] + bytes([draw.randrange(256)]) + frame[at + 1 :]


def _insert(frame: bytes, draw: random.Random) -> bytes:
    at = draw.randint(0, len(frame))
    return frame[:at] + draw.choice(_BYTES) * draw.choice((1, 1, 2, 50)) + frame[at:]


def _repeat(frame: bytes, draw: random.Random) -> bytes:
    first, last = sorted((draw.randint(0, len(frame)), draw.randint(0, len(frame))))
    return frame[:last] + frame[first:last] + frame[last:]


def _mistype(frame: bytes, draw: random.Random) -> bytes:
    """Put a stranger in the place of some value, where the frame is still JSON."""
    try:
        value = json.loads(frame)
    except (ValueError, RecursionError):
        return _flip(frame, draw)
    holder, keys = value, _keys(value)
    while keys:
        key = draw.choice(keys)
        deeper = _keys(holder[key])
        if not deeper or draw.random() < 0.2:
            holder[key] = draw.choice(STRANGERS)
            break
        holder, keys = holder[key], deeper
    return json.dumps(value).encode()


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    return list(range(len(value))) if isinstance(value, list) else []


_ACCIDENTS = [_cut, _flip, _insert, _repeat, _mistype, _mistype]
