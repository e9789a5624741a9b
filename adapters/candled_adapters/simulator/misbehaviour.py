"""How venues misbehave with candles: each way a function that gives the hooks of a fault. Pure.

The name of a function is the kind of a scenario's entry, its arguments are the entry's keys, and
their annotations are checked there. Ways that take a function of a bar are for programs alone.
What goes wrong beneath the candles, with bytes and connections, is in `trouble`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from candled.core.bar import COLUMNS, TIME_COLUMNS, Bar
from candled_adapters.simulator.fault import Hooks, Klines, Listener, Moment, Push, Span, View
from candled_adapters.simulator.market import Kline, Tape

_PRICES: Final = ("open", "high", "low", "close")
_SCALABLE: Final = ("price", *(name for name in COLUMNS if name not in TIME_COLUMNS))
_SECOND_MS: Final = 1000


def double(factors: Mapping[str, float] | None = None) -> Hooks:
    """Push the closing frame twice; the second time with columns multiplied by `factors`."""
    return doubled(_scaling(factors) if factors else None)


def doubled(change: Callable[[Bar], Bar] | None) -> Hooks:
    """Push the closing frame twice; the second time changed."""

    def pushes(closing: list[Push]) -> list[Push]:
        again = closing if change is None else [_changed_push(push, change) for push in closing]
        return [*closing, *again]

    return _at_close("double", pushes)


def hide(*, ws: bool = True, rest: bool = False) -> Hooks:
    """Never send the closing frame (`ws`), leave the row out of REST (`rest`)."""
    hooks = _at_close("hide", lambda _: [])
    return replace(hooks, pushes=hooks.pushes if ws else None, rows=_without if rest else None)


def late(by_s: float) -> Hooks:
    """Send the closing frame late, by seconds of venue time."""
    by_ms = round(_at_least("by_s", by_s, 0) * _SECOND_MS)

    def pushes(closing: list[Push]) -> list[Push]:
        return [
            replace(push, delay_ms=push.delay_ms + by_ms, told_ms=push.told_ms + by_ms)
            for push in closing
        ]

    return _at_close("late", pushes)


def again(back: int = 1) -> Hooks:
    """After the closing frame, push the bar again that is so many bars older."""
    _at_least("back", back, 1)

    def pushes(now: list[Push], moment: Moment, bars: Span) -> list[Push]:
        del bars
        return [*now, *_old(moment, back)] if moment.instant.closing else now

    return Hooks(kind="again", pushes=pushes)


def swap() -> Hooks:
    """Push the closing frames of two neighbours in the wrong order; the bars go in pairs."""

    def pushes(now: list[Push], moment: Moment, bars: Span) -> list[Push]:
        if not moment.instant.closing:
            return now
        slots = moment.market.slots
        number = bisect_left(slots, moment.instant.open_time) - bisect_left(slots, bars.start)
        return [*now, *_old(moment, 1)] if number % 2 else []

    return Hooks(kind="swap", pushes=pushes)


def partial() -> Hooks:
    """Flag open bars as closed; where no push says whether a bar is closed, nothing changes."""

    def pushes(now: list[Push], moment: Moment, bars: Span) -> list[Push]:
        del bars
        if moment.instant.closing:
            return now
        return [replace(push, kline=replace(push.kline, closed=True)) for push in now]

    return Hooks(kind="partial", pushes=pushes)


def mute(*, share: float = 1.0, connection: int | None = None, heals: bool = False) -> Hooks:
    """Acknowledge and answer pings, but push nothing.

    Meant is a `share` of the connections (0.5: every second one, by number), or the one with the
    number `connection`. If it `heals`, a stream comes back when it is subscribed to again on the
    same connection: a new connection is mute anew.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; give a share of the connections, above 0 and up to 1")
    first: dict[tuple[int, str], int] = {}

    def silences(listener: Listener, moment: Moment, bars: Span) -> bool:
        del moment, bars
        number = listener.connection
        if connection not in (None, number):
            return False
        if math.floor(number * share) == math.floor((number - 1) * share):
            return False
        serial = first.setdefault((number, listener.symbol), listener.serial)
        return not heals or serial == listener.serial

    return Hooks(kind="mute", silences=silences)


def stall(after: float = 0.5) -> Hooks:
    """Push nothing from within the first bar on: when the share `after` of its slot has passed."""

    def silences(listener: Listener, moment: Moment, bars: Span) -> bool:
        del listener
        return moment.instant.venue_ms >= bars.start + after * moment.market.interval.typical_ms

    return Hooks(kind="stall", silences=silences)


def alter(factors: Mapping[str, float], *, ws: bool = True, rest: bool = True) -> Hooks:
    """Multiply columns of bars, on the websocket, in REST, or both."""
    return altered(_scaling(factors), ws=ws, rest=rest)


def altered(change: Callable[[Bar], Bar], *, ws: bool = True, rest: bool = True) -> Hooks:
    """Change bars, on the websocket, in REST, or both."""
    klines = _each(lambda kline, _: replace(kline, bar=change(kline.bar)))
    return Hooks(kind="alter", shown=klines if ws else None, rows=klines if rest else None)


def revise(factors: Mapping[str, float], wait_bars: float = 0.0) -> Hooks:
    """Multiply columns in REST for good, so many bars after a bar has closed."""
    return revised(_scaling(factors), wait_bars)


def revised(change: Callable[[Bar], Bar], wait_bars: float = 0.0) -> Hooks:
    """Change bars in REST for good, so many bars after they have closed."""
    _at_least("wait_bars", wait_bars, 0)

    def revision(kline: Kline, view: View) -> Kline:
        due = view.interval.end(kline.bar.open_time) + wait_bars * view.interval.typical_ms
        return replace(kline, bar=change(kline.bar)) if view.now_ms >= due else kline

    return Hooks(kind="revise", rows=_each(revision))


def outage(*, fill: bool = False) -> Hooks:
    """Lose bars on the websocket and in REST, or `fill` their place with flat ones of no volume."""
    klines = _each(_flat) if fill else _without
    return Hooks(kind="outage", shown=klines, rows=klines)


def halt() -> Hooks:
    """Halt trading: no more bars, while all else goes on."""
    return replace(outage(), kind="halt")


def lag(rows: int = 1) -> Hooks:
    """Leave the newest rows out of REST, the open one among them."""
    _at_least("rows", rows, 1)

    def behind(klines: list[Kline], view: View, bars: Span) -> list[Kline]:
        opens = view.tape.bars.open_time
        opened = int(np.searchsorted(opens, view.now_ms, side="right"))
        last = int(opens[opened - rows - 1]) if opened > rows else -1
        return [k for k in klines if k.bar.open_time <= last or k.bar.open_time not in bars]

    return Hooks(kind="lag", rows=behind)


def other_symbol(other: str, *, ws: bool = True, rest: bool = True) -> Hooks:
    """Show the bars of another symbol."""

    def theirs(kline: Kline, view: View) -> Kline:
        tape = view.market.tapes[other]
        index = tape.find(kline.bar.open_time)
        return kline if index is None else tape.kline(index, view.now_ms)

    klines = _each(theirs)
    return Hooks(kind="other_symbol", shown=klines if ws else None, rows=klines if rest else None)


def delist() -> Hooks:
    """Know the symbol no more: REST says so, and nothing is pushed."""
    return Hooks(kind="delist", unlists=True, silences=lambda *_: True)


def _at_close(kind: str, change: Callable[[list[Push]], list[Push]]) -> Hooks:
    """Change what is pushed at the end of a slot."""

    def pushes(now: list[Push], moment: Moment, bars: Span) -> list[Push]:
        del bars
        return change(now) if moment.instant.closing else now

    return Hooks(kind=kind, pushes=pushes)


def _each(change: Callable[[Kline, View], Kline]) -> Klines:
    """Change each candle whose bar is meant."""

    def changed(klines: list[Kline], view: View, bars: Span) -> list[Kline]:
        return [change(k, view) if k.bar.open_time in bars else k for k in klines]

    return changed


def _without(klines: list[Kline], view: View, bars: Span) -> list[Kline]:
    del view
    return [kline for kline in klines if kline.bar.open_time not in bars]


def _flat(kline: Kline, view: View) -> Kline:
    """Return a bar without trades at the close before it."""
    bar, index = kline.bar, view.tape.find(kline.bar.open_time)
    price = float(view.tape.bars.close[index - 1]) if index else bar.open
    nothing = Bar(
        bar.open_time, price, price, price, price, 0.0, bar.close_time, 0.0, 0.0, 0.0, 0.0
    )
    return replace(kline, bar=nothing)


def _old(moment: Moment, back: int) -> list[Push]:
    """Return the push of the bar that is `back` bars older than the slot's, when there is one."""
    tape, instant = moment.tape, moment.instant
    index = _index(tape, instant.open_time) - back
    if index < 0:
        return []
    kline = tape.kline(index, instant.venue_ms)
    return [Push(kline, int(tape.ends[index]) - 1, instant.venue_ms)]


def _index(tape: Tape, open_time: int) -> int:
    return int(np.searchsorted(tape.bars.open_time, open_time))


def _changed_push(push: Push, change: Callable[[Bar], Bar]) -> Push:
    return replace(push, kline=replace(push.kline, bar=change(push.kline.bar)))


def _scaling(factors: Mapping[str, float]) -> Callable[[Bar], Bar]:
    unknown = [name for name in factors if name not in _SCALABLE]
    if unknown or not factors:
        raise ValueError(
            f"factors has {', '.join(unknown) or 'nothing'}; give columns and what they are "
            f"multiplied by: {', '.join(_SCALABLE)}"
        )
    single = {n: factors["price"] for n in _PRICES if "price" in factors} | {
        name: factor for name, factor in factors.items() if name != "price"
    }

    def scaled(bar: Bar) -> Bar:
        return replace(bar, **{name: getattr(bar, name) * by for name, by in single.items()})

    return scaled


def _at_least(name: str, number: float, least: float) -> float:
    if not least <= number < math.inf:
        raise ValueError(f"{name} is {number}; give {least} or more")
    return number
