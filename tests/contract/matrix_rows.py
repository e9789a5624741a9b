"""The rows of the matrix: how each misbehaviour is struck, and what is expected of it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from candled.core.bar import Bar
from candled.ports import Act, Hazard
from candled_adapters.simulator import misbehaviour as candles
from candled_adapters.simulator import trouble
from candled_adapters.simulator.fault import Hooks, Span
from contract.cases import Case
from contract.matrix import SETTINGS, Row, Scene, flags
from contract.matrix_world import BY_NAME, VENUE_NAMES, neighbour, stranger

Expected = set[tuple[Hazard, Act]]
Strike = Callable[[Scene], None]

CHANGED: Final = {"high": 1.01, "low": 0.99, "volume": 1.5}
DROPPED: Final = (Hazard.DUPLICATE_CLOSE, Act.DROP)
HELD: Final = (Hazard.MISSING_BAR, Act.HOLD)
REVISED: Final = (Hazard.REVISED_BAR, Act.REVISE)
LOST: Final = (Hazard.CONNECTION_LOST, Act.RECONNECT)
LEFT_ALONE: Final = (Hazard.RATE_LIMIT, Act.HOLD)
BROKEN: Final = (Hazard.MALFORMED, Act.QUARANTINE)
NOTICED: Final = (Hazard.SHUTDOWN_NOTICE, Act.HAND_OVER)
RESUBSCRIBED: Final = (Hazard.MUTE_STREAM, Act.RESUBSCRIBE)
JUMPED: Final = (Hazard.CLOCK_JUMP, Act.DEGRADE)
GAP: Final = (Hazard.GAP, Act.FLAG)
INVALID: Final = (Hazard.INVALID_BAR, Act.QUARANTINE)
UNITS: Final = (Hazard.UNIT_CHANGE, Act.HOLD)


def always(*incidents: tuple[Hazard, Act]) -> Callable[[Case], Expected]:
    return lambda _: set(incidents)


def flagged(*incidents: tuple[Hazard, Act]) -> Callable[[Case], Expected]:
    """Where the venue says when a bar is closed."""
    return lambda case: set(incidents) if flags(case) else set()


def unflagged(case: Case) -> bool:
    return not flags(case)


def anywhere(_: Case) -> bool:
    return True


def has_quote(case: Case) -> bool:
    return "quote_volume" not in case.missing


def on_hit(*makes: Callable[[], Hooks]) -> Strike:
    """Strike the hit stream for the span."""

    def strike(scene: Scene) -> None:
        for make in makes:
            scene.strike(make(), scene.case.symbol)

    return strike


def on_all(*makes: Callable[[], Hooks]) -> Strike:
    """Strike the whole venue for the span."""

    def strike(scene: Scene) -> None:
        for make in makes:
            scene.strike(make())

    return strike


def together(*strikes: Strike) -> Strike:
    """Strike in several ways."""

    def strike(scene: Scene) -> None:
        for one in strikes:
            one(scene)

    return strike


def forever(make: Callable[[], Hooks]) -> Strike:
    """Strike the hit stream from the span's first bar on."""
    return lambda scene: scene.strike(make(), scene.case.symbol, bars=Span(scene.span.start))


def shown_for(make: Callable[[Case], Hooks], seconds: float) -> dict[str, Any]:
    """Strike the hit stream's bars until so many seconds after the last of them."""

    def strike(scene: Scene) -> None:
        left_s = (scene.span.stop - scene.venue.now_ms()) / 1000
        scene.strike(make(scene.case), scene.case.symbol, seconds=left_s + seconds)

    return {"strike": strike, "after_s": seconds}


def lacking(scene: Scene) -> None:
    """Hide two rows until a bar after them has closed, and then for less than confirms a gap."""
    hidden = Span(scene.span.start, scene.span.stop - scene.slot_ms)
    left_s = (scene.span.stop - scene.venue.now_ms()) / 1000
    hooks = candles.hide(ws=False, rest=True)
    scene.strike(hooks, scene.case.symbol, bars=hidden, seconds=left_s + 0.4)


def late(bars: float) -> Strike:
    """Let closes be late by so many bars."""
    return lambda scene: on_hit(lambda: candles.late(bars * scene.slot_ms / 1000))(scene)


def without(bars: list[Bar], span: Span) -> list[Bar]:
    return [bar for bar in bars if bar.open_time not in span]


def flat(bars: list[Bar], span: Span) -> list[Bar]:
    """As the simulator fills an outage: each bar at the close that the one before would have."""
    out = bars[:1]
    for before, bar in itertools.pairwise(bars):
        still = Bar(bar.open_time, *[before.close] * 4, 0.0, bar.close_time, 0.0, 0.0, 0.0, 0.0)
        out.append(still if bar.open_time in span else bar)
    return out


def changed(bars: list[Bar], span: Span) -> list[Bar]:
    return [
        replace(bar, **{name: getattr(bar, name) * by for name, by in CHANGED.items()})
        if bar.open_time in span
        else bar
        for bar in bars
    ]


# --- bars and pushes -----------------------------------------------------------------------------

CANDLES: Final = [
    Row(
        name="duplicate close, same",
        strike=on_hit(candles.double),
        expected=flagged(DROPPED),
    ),
    Row(
        name="duplicate close, changed",
        strike=on_hit(lambda: candles.double(CHANGED)),
        expected=flagged((Hazard.CHANGED_CLOSE, Act.DROP)),
    ),
    Row(name="close never sent", strike=on_hit(candles.hide), expected=flagged(HELD)),
    Row(name="close a little late", strike=late(0.02)),
    Row(
        name="close later than the next",
        strike=late(1.5),
        bars=1,
        expected=flagged(HELD),
    ),
    Row(
        name="closes two bars late",
        strike=late(2.5),
        bars=2,
        expected=flagged(HELD, DROPPED),
    ),
    Row(
        name="old bar again",
        strike=on_hit(lambda: candles.again(back=2)),
        expected=flagged(DROPPED),
    ),
    Row(name="neighbours swapped", strike=on_hit(candles.swap)),
    Row(
        name="partial flagged as closed",
        strike=on_hit(candles.partial),
        expected=always((Hazard.PARTIAL_BAR, Act.DROP)),
        absent=lambda case: "" if flags(case) else "no push has a flag",
    ),
    Row(
        name="stall mid-bar",
        strike=on_hit(candles.stall),
        bars=5,
        expected=always(RESUBSCRIBED),
    ),
    Row(
        name="half-open: all mute",
        strike=on_all(candles.mute),
        bars=6,
        wide=True,
        expected=always((Hazard.MUTE_CONNECTION, Act.RECONNECT)),
    ),
    Row(
        name="one stream mute, heals",
        strike=forever(lambda: candles.mute(heals=True)),
        bars=0,
        within_s=120.0,
        expected=always(RESUBSCRIBED),
    ),
    Row(
        name="one stream mute, never heals",
        strike=on_hit(candles.mute),
        bars=14,
        expected=always(RESUBSCRIBED, (Hazard.MUTE_STREAM, Act.DEGRADE)),
    ),
    Row(
        name="acks, but no data",
        strike=on_all(trouble.drop, candles.mute),
        bars=6,
        wide=True,
        expected=always(LOST),
    ),
    Row(
        name="subscription refused, then accepted",
        strike=together(on_all(trouble.drop), on_hit(trouble.refuse_subscribe)),
        bars=4,
        within_s=330.0,
        wide=True,
        expected=always(LOST, (Hazard.REFUSED_SUBSCRIPTION, Act.RESUBSCRIBE)),
    ),
    Row(
        name="WS altered, REST right",
        strike=on_hit(lambda: candles.alter(CHANGED, rest=False)),
        lied=flags,
        expected=flagged(REVISED),
    ),
    Row(
        name="REST altered, then right",
        **shown_for(lambda _: candles.alter(CHANGED, ws=False), 60.0),
        lied=anywhere,
        expected=always(REVISED),
    ),
    Row(
        name="WS and REST altered, then right",
        **shown_for(lambda _: candles.alter(CHANGED), 60.0),
        lied=anywhere,
        expected=always(REVISED),
    ),
    Row(
        name="revised for good",
        strike=on_hit(lambda: candles.revise(CHANGED, wait_bars=3.0)),
        bars=3,
        more=3,
        truth=changed,
        lied=anywhere,
        expected=always(REVISED),
    ),
    Row(
        name="REST lacks rows for a moment",
        strike=lacking,
        bars=3,
        after_s=0.4,
    ),
    Row(
        name="REST lacks rows for good",
        strike=on_hit(lambda: candles.hide(ws=False, rest=True)),
        absent=lambda case: "" if flags(case) else "a bar that REST lacks never was",
        expected=always((Hazard.VANISHED_BAR, Act.FLAG)),
    ),
    Row(name="newest rows lag in REST", strike=on_hit(lambda: candles.lag(2)), bars=6, more=1),
    Row(
        name="outage, bars absent",
        strike=on_hit(candles.outage),
        truth=without,
        expected=always(GAP),
    ),
    Row(name="outage, filled flat", strike=on_hit(lambda: candles.outage(fill=True)), truth=flat),
    Row(
        name="halted for a while",
        strike=on_hit(candles.halt),
        bars=10,
        truth=without,
        expected=always(GAP, (Hazard.HALTED, Act.STOP)),
    ),
    Row(
        name="delisted for a while",
        strike=on_hit(candles.delist),
        bars=4,
        expected=always((Hazard.UNKNOWN_STREAM, Act.STOP)),
    ),
    Row(
        name="another symbol's bars",
        **shown_for(lambda case: candles.other_symbol(stranger(case)), 5.0),
        expected=always(UNITS),
    ),
    Row(
        name="another symbol's bars, like prices",
        **shown_for(lambda case: candles.other_symbol(neighbour(case)), 60.0),
        lied=anywhere,
        expected=always(REVISED),
    ),
    Row(
        name="volume x1000",
        **shown_for(lambda _: candles.alter({"volume": 1000.0}), 60.0),
        lied=lambda case: not has_quote(case),
        expected=lambda case: {UNITS} if has_quote(case) else {REVISED},
    ),
    Row(
        name="price x1000",
        **shown_for(lambda _: candles.alter({"price": 1000.0}), 5.0),
        expected=always(UNITS),
    ),
]


# --- bytes ---------------------------------------------------------------------------------------


def _damaged(how: str, expected: Callable[[Case], Expected], **more: Any) -> list[Row]:
    """Pushes spoilt, alone and with the right one beside."""
    return [
        Row(
            name=f"{how} pushes{', right ones beside' if beside else ''}",
            strike=on_hit(lambda beside=beside: trouble.damage(how, beside=beside)),
            expected=expected,
            **more,
        )
        for beside in (False, True)
    ]


def _misunderstood(case: Case) -> Expected:
    """Say what is reported of times in other units: by the bar's rules, or by the dialect's."""
    if not flags(case):
        return set()
    return {INVALID} if case.name in ("binance-spot", "binance-usdm") else {BROKEN}


def _has_numeric_times(case: Case) -> str:
    return "times are text" if case.name == "kraken" else ""


BYTES: Final = [
    *_damaged("malformed", always(BROKEN)),
    *_damaged("truncated", always(BROKEN)),
    *_damaged("html", always(BROKEN)),
    *_damaged("null", always(BROKEN)),
    *_damaged("extra_keys", always()),
    *_damaged("retyped", always()),
    *_damaged("binary", always()),
    *_damaged("microseconds", _misunderstood, absent=_has_numeric_times),
    *_damaged("seconds", _misunderstood, absent=_has_numeric_times),
    Row(
        name="times of pushes and REST in microseconds",
        **shown_for(lambda _: trouble.damage("microseconds", rest=True), 5.0),
    ),
    Row(name="unknown control frames", strike=on_hit(trouble.control_frame)),
]


# --- REST ----------------------------------------------------------------------------------------


def _needed(make: Callable[[], Hooks], **more: Any) -> Strike:
    """Spoil REST while the hit stream needs it: its first close is never sent."""

    def strike(scene: Scene) -> None:
        first = Span(scene.span.start, scene.span.start + scene.slot_ms)
        scene.strike(candles.hide(), scene.case.symbol, bars=first)
        scene.strike(make(), **more)

    return strike


REST: Final = [
    Row(
        name="REST delayed",
        strike=_needed(lambda: trouble.delay_rest(4.0)),
        bars=4,
        wide=True,
        expected=flagged(HELD),
    ),
    Row(
        name="REST 429, Retry-After",
        strike=_needed(lambda: trouble.refuse_rest(429, 20)),
        bars=3,
        wide=True,
        expected=always(LEFT_ALONE),
    ),
    Row(
        name="REST 418, Retry-After",
        strike=_needed(lambda: trouble.refuse_rest(418, 20)),
        bars=3,
        wide=True,
        expected=always(LEFT_ALONE),
    ),
    Row(
        name="REST 429, in words alone",
        strike=_needed(lambda: trouble.refuse_rest(200)),
        bars=3,
        wide=True,
    ),
    Row(name="REST 503", strike=_needed(lambda: trouble.refuse_rest(503)), bars=3, wide=True),
    *[
        Row(
            name=f"REST {how}",
            strike=_needed(lambda how=how: trouble.damage(how, ws=False, rest=True)),
            bars=3,
            wide=True,
            expected=always(BROKEN),
        )
        for how in ("html", "truncated", "null")
    ],
]


# --- connections ---------------------------------------------------------------------------------


def _dropped(code: int | str) -> Row:
    return Row(
        name=f"connection dropped, {code}",
        strike=on_all(lambda: trouble.drop(code)),
        bars=0,
        wide=True,
        expected=always(LOST),
    )


def _told(case: Case) -> Expected:
    return {NOTICED} if case.name in ("binance-spot", "binance-usdm", "okx") else {LOST}


_AGING: Final = replace(SETTINGS, socket=replace(SETTINGS.socket, max_age_s=150.0))
CONNECTIONS: Final = [
    *map(_dropped, (1006, 1008, 1001, 1011, "rst")),
    Row(
        name="data lost between two connections",
        strike=together(on_hit(candles.hide), on_all(trouble.drop)),
        bars=3,
        wide=True,
        expected=always(LOST),
    ),
    Row(
        name="handshake refused, 503",
        strike=on_all(trouble.drop, lambda: trouble.refuse_handshake(503)),
        bars=3,
        wide=True,
        expected=always(LOST),
    ),
    Row(
        name="handshake refused, 429",
        strike=on_all(trouble.drop, lambda: trouble.refuse_handshake(429, 20)),
        bars=3,
        wide=True,
        expected=always(LOST, LEFT_ALONE),
    ),
    Row(
        name="shutdown notice",
        strike=on_all(lambda: trouble.shutdown(20.0)),
        bars=1,
        wide=True,
        expected=_told,
    ),
    Row(
        name="handovers before the greatest age",
        strike=on_all(lambda: trouble.max_age(240.0)),
        bars=8,
        wide=True,
        expected=always(NOTICED),
        settings=_AGING,
    ),
    Row(
        name="cut at the greatest age",
        strike=on_all(lambda: trouble.max_age(100.0)),
        bars=5,
        wide=True,
        expected=always(LOST),
    ),
]


# --- clocks --------------------------------------------------------------------------------------


def _tells_no_time(case: Case) -> str:
    return "pushes tell no time" if case.name in ("okx", "hyperliquid") else ""


def _clock(offset_s: float, **more: Any) -> Callable[[], Hooks]:
    return lambda: trouble.clock(offset_s=offset_s, **more)


CLOCKS: Final = [
    Row(
        name="server time off by 0.9 s",
        strike=_needed(_clock(0.9, push=False)),
        wide=True,
    ),
    Row(
        name="server time off by 2 s",
        strike=_needed(_clock(2.0, push=False)),
        wide=True,
        expected=always((Hazard.CLOCK_SKEW, Act.FLAG)),
    ),
    Row(
        name="server time off by 20 s",
        strike=_needed(_clock(20.0, push=False)),
        wide=True,
        expected=always(JUMPED, (Hazard.CLOCK_SKEW, Act.DEGRADE)),
    ),
    Row(
        name="server time 5 minutes ahead",
        strike=_needed(_clock(300, push=False)),
        wide=True,
        expected=always(JUMPED),
    ),
    Row(
        name="server time 5 minutes ahead just as it is needed",
        strike=lambda scene: _needed(
            _clock(300, push=False),
            bars=Span(scene.span.start + scene.slot_ms, scene.span.stop),
        )(scene),
        wide=True,
        expected=always(JUMPED),
    ),
    Row(
        name="server time 5 minutes behind",
        strike=_needed(_clock(-300, push=False)),
        wide=True,
        expected=always(JUMPED),
    ),
    Row(
        name="clocks right and wrong in turns",
        strike=_needed(_clock(100, every_s=40.0)),
        wide=True,
        expected=always(JUMPED),
    ),
    Row(
        name="server time drifts, 0.1 s a minute",
        strike=_needed(lambda: trouble.clock(drift=0.1 / 60, push=False)),
        bars=5,
        wide=True,
    ),
    Row(
        name="event times 20 s ahead",
        strike=on_all(_clock(20, rest=False)),
        wide=True,
        absent=_tells_no_time,
    ),
    Row(
        name="event times 20 s behind",
        strike=on_all(_clock(-20, rest=False)),
        wide=True,
        absent=_tells_no_time,
    ),
]

ROWS: Final = [*CANDLES, *BYTES, *REST, *CONNECTIONS, *CLOCKS]
#: Set in the environment for all cells.
_ALL: Final = "CANDLED_MATRIX"


def chosen(*venues: str) -> list[Any]:
    """Return the cells of some venues that are tested: all, or one of each row, in turn.

    Coinbase has no turn: its bars are five times as long.
    """
    whole = bool(os.environ.get(_ALL))
    cells = []
    for number, row in enumerate(ROWS):
        able = [venue for venue in VENUE_NAMES if not row.absent(BY_NAME[venue])]
        quick = [venue for venue in able if venue != "coinbase"]
        cells += [
            pytest.param(venue, row, id=f"{venue}: {row.name}")
            for venue in (able if whole else [quick[number % len(quick)]])
            if venue in venues
        ]
    return cells
