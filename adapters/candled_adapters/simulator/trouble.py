"""How venues misbehave beneath the candles: bytes, answers, connections, clocks. Pure.

Each way is a function that gives the hooks of a fault; names, arguments and annotations are what a
scenario's entries are checked against, as in `misbehaviour`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from candled_adapters.simulator.damage import DAMAGES
from candled_adapters.simulator.fault import Hooks, Offset, Reply, Sent, Span

_BINARY: Final = "binary"
_GOING_AWAY: Final = 1001
_CLOSE_CODES: Final = (1000, 4999)
_SECOND_MS: Final = 1000


def damage(how: str, *, ws: bool = True, rest: bool = False, beside: bool = False) -> Hooks:
    """Spoil the bytes of pushes, of REST answers, or both.

    `how` is a name of `damage.DAMAGES`, or ``binary`` for pushes as binary frames. With `beside`
    the right push follows the wrong one.
    """
    if how != _BINARY and how not in DAMAGES:
        raise ValueError(f"how is {how!r}; known are {', '.join((*DAMAGES, _BINARY))}")
    if how == _BINARY and rest:
        raise ValueError("rest is true; HTTP has no binary frames: set rest = false")

    def messages(sent: Sent) -> list[Sent]:
        spoilt = _spoilt_message(sent, how)
        return [spoilt, sent] if beside else [spoilt]

    def answers(reply: Reply, _: Callable[[int], bytes]) -> Reply:
        return replace(reply, body=DAMAGES[how](reply.body), html=how == "html")

    return Hooks(
        kind="damage", messages=messages if ws else None, answers=answers if rest else None
    )


def control_frame(text: str = '{"type":"maintenance","level":3}') -> Hooks:
    """Say something that no document knows before every push."""
    return Hooks(kind="control_frame", messages=lambda sent: [Sent(text.encode()), sent])


def delay_rest(by_s: float) -> Hooks:
    """Hold REST answers back, in real seconds."""
    if by_s < 0:
        raise ValueError(f"by_s is {by_s}; give 0 or more")
    return Hooks(
        kind="delay_rest", answers=lambda reply, _: replace(reply, delay_s=reply.delay_s + by_s)
    )


def refuse_rest(status: int = 429, retry_after_s: int | None = None) -> Hooks:
    """Answer REST with an HTTP error; 200 gives the venue's words for it without the status."""
    return Hooks(kind="refuse_rest", answers=_refusal(status, retry_after_s))


def refuse_handshake(status: int = 429, retry_after_s: int | None = None) -> Hooks:
    """Answer websocket handshakes with an HTTP error."""
    if status < HTTPStatus.BAD_REQUEST:
        raise ValueError(f"status is {status}; a refusal is 400 or more")
    return Hooks(kind="refuse_handshake", handshakes=_refusal(status, retry_after_s))


def refuse_subscribe() -> Hooks:
    """Refuse subscriptions with the venue's error."""
    return Hooks(kind="refuse_subscribe", denies=True)


def drop(code: int | str = 1006) -> Hooks:
    """End all connections: with a close code, 1006 (no goodbye), or ``"rst"`` (a TCP reset)."""
    if code == "rst":
        return Hooks(kind="drop", acts=lambda stage: stage.drop_connections(None))
    if isinstance(code, str) or not _CLOSE_CODES[0] <= code <= _CLOSE_CODES[1]:
        raise ValueError(f'code is {code!r}; give a close code, 1006 (no goodbye) or "rst"')
    if code == 1006:  # noqa: PLR2004 - the number that clients give to it
        return Hooks(kind="drop", acts=lambda stage: stage.abort_connections())
    return Hooks(kind="drop", acts=lambda stage: stage.drop_connections(code))


def shutdown(grace_s: float = 0.2, code: int = _GOING_AWAY) -> Hooks:
    """Announce the end as the venue does, if it does, and close after so many real seconds."""
    return Hooks(kind="shutdown", acts=lambda stage: stage.shut_down(grace_s, code))


def max_age(age_s: float) -> Hooks:
    """Cut connections that are older than so many real seconds."""
    if age_s <= 0:
        raise ValueError(f"age_s is {age_s}; give more than 0")
    return Hooks(kind="max_age", ages_s=age_s)


def clock(
    offset_s: float = 0.0,
    drift: float = 0.0,
    every_s: float = 0.0,
    *,
    rest: bool = True,
    push: bool = True,
) -> Hooks:
    """Put REST's server time and/or the event times of pushes off, in seconds of venue time.

    By `offset_s`, and `drift` more each second. With `every_s` it jumps: right for so long, wrong
    for so long, and so on.
    """

    def offset(now_ms: int, bars: Span) -> int:
        began = bars.start if bars.start > 0 else first.setdefault("at", now_ms)
        passed = now_ms - began
        if every_s > 0 and passed // (every_s * _SECOND_MS) % 2 == 0:
            return 0
        return round(offset_s * _SECOND_MS + drift * passed)

    first: dict[str, int] = {}
    wrong: Offset = offset
    return Hooks(
        kind="clock", rest_clock=wrong if rest else None, push_clock=wrong if push else None
    )


def _refusal(
    status: int, retry_after_s: int | None
) -> Callable[[Reply, Callable[[int], bytes]], Reply]:
    if status not in list(HTTPStatus):
        raise ValueError(f"status is {status}; give one of HTTP's, e.g. 429 or 503")

    def refused(reply: Reply, words: Callable[[int], bytes]) -> Reply:
        return replace(reply, status=status, body=words(status), retry_after_s=retry_after_s)

    return refused


def _spoilt_message(sent: Sent, how: str) -> Sent:
    if how == _BINARY:
        return replace(sent, text=False)
    return replace(sent, data=DAMAGES[how](sent.data))
