"""Ways in which bytes on the wire are wrong, whatever the venue. Pure.

A way takes the right bytes, of a push or of a REST answer, and returns the wrong ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
_NUMERIC: Final = re.compile(r"-?\d+(\.\d+)?")
_MILLISECONDS: Final = (10**12, 10**13)
_SECONDS: Final = (10**9, 10**10)


def _malformed(data: bytes) -> bytes:
    """Put two commas where one is, or none."""
    return data.replace(b",", b",,", 1) if b"," in data else data + b","


def _truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _extra_keys(data: bytes) -> bytes:
    """Add a key that nobody knows to every object."""
    return _walked(data, lambda value: {**value, "zz": [1]} if isinstance(value, dict) else value)


def _null(data: bytes) -> bytes:
    """Replace every decimal number, which prices and volumes are, by null."""
    return _walked(data, lambda value: None if _fractional(value) else value)


def _retyped(data: bytes) -> bytes:
    """Write numbers as strings, and numeric strings as numbers."""
    return _walked(data, _other_type)


def _microseconds(data: bytes) -> bytes:
    """Multiply times by 1000; ISO times stay as they are."""
    return _walked(data, lambda value: _scaled(value, lambda time: time * 1000))


def _seconds(data: bytes) -> bytes:
    """Divide millisecond times by 1000; ISO times stay as they are."""
    shorter: Callable[[int], int] = lambda time: time // 1000 if time >= _MILLISECONDS[0] else time  # noqa: E731 - one line beside its like
    return _walked(data, lambda value: _scaled(value, shorter))


#: By name: what is done to the bytes.
DAMAGES: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "malformed": _malformed,
    "truncated": _truncated,
    "html": lambda _: _HTML,
    "extra_keys": _extra_keys,
    "null": _null,
    "retyped": _retyped,
    "microseconds": _microseconds,
    "seconds": _seconds,
}


def _walked(data: bytes, change: Callable[[Any], Any]) -> bytes:
    """Change every value of a JSON text from the inside out; what is no JSON stays as it is."""
    try:
        value = json.loads(data)
    except ValueError:
        return data
    return json.dumps(_changed(value, change), separators=(",", ":")).encode()


def _changed(value: Any, change: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        value = {key: _changed(inner, change) for key, inner in value.items()}
    elif isinstance(value, list):
        value = [_changed(inner, change) for inner in value]
    return change(value)


def _fractional(value: object) -> bool:
    text = value if isinstance(value, str) else ""
    return isinstance(value, float) or ("." in text and _NUMERIC.fullmatch(text) is not None)


def _other_type(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, str):
        return json.loads(value) if _plain(value) else value
    return value if isinstance(value, bool | dict | list | None) else str(value)


def _plain(text: str) -> bool:
    """Whether a text is a number as JSON writes it."""
    return re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?", text) is not None


def _scaled(value: Any, scale: Callable[[int], int]) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, bool) or not isinstance(value, int | str):
        return value
    if isinstance(value, str) and not value.isdecimal():
        return value
    number = int(value)
    if not any(low <= number < high for low, high in (_MILLISECONDS, _SECONDS)):
        return value
    return str(scale(number)) if isinstance(value, str) else scale(number)
