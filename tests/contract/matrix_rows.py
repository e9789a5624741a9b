"""The rows of the matrix: how each misbehaviour is struck, and what is expected of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from candled.core.bar import HOUR, Bar
from candled.ports import Act, Hazard
from candled_adapters.simulator import misbehaviour as candles
from candled_adapters.simulator import trouble
from candled_adapters.simulator.fault import EVER, Hooks, Span
from contract.cases import Case
from contract.matrix import SETTINGS, SPEED, Row, Scene, flags, neighbour, stranger

Expected = set[tuple[Hazard, Act]]

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


def on_hit(*makes: Callable[[], Hooks]) -> Callable[[Scene], None]:
    """Strike the hit stream for the span."""

    def strike(scene: Scene) -> None:
        for make in makes:
            scene.strike(make(), scene.case.symbol)

    return strike


def on_all(*makes: Callable[[], Hooks]) -> Callable[[Scene], None]:
    """Strike the whole venue for the span."""

    def strike(scene: Scene) -> None:
        for make in makes:
            scene.strike(make())

    return strike


def shown_for(make: Callable[[], Hooks], seconds: float) -> Callable[[Scene], None]:
    """Strike the hit stream's bars for so many seconds of ours after the last of them."""

    def strike(scene: Scene) -> None:
        left_s = (scene.span.stop - scene.venue.now_ms()) / 1000 / SPEED
        scene.strike(make(), scene.case.symbol, seconds=left_s + seconds)

    return strike


def until(seconds: float, bars: int = 4) -> dict[str, Any]:
    """How long a row lasts whose fault is `shown_for` so many seconds."""
    return {"bars": bars, "seconds": seconds + (bars + 3) * HOUR / 1000 / SPEED}


def without(bars: list[Bar], span: Span) -> list[Bar]:
    return [bar for bar in bars if bar.open_time not in span]


def flat(bars: list[Bar], span: Span) -> list[Bar]:
    out: list[Bar] = []
    for before, bar in zip([bars[0], *bars], bars, strict=False):
        price = before.close if before.open_time not in span else out[-1].close
        still = Bar(bar.open_time, *[price] * 4, 0.0, bar.close_time, 0.0, 0.0, 0.0, 0.0)
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
    Row(name="close a little late", strike=on_hit(lambda: candles.late(1_000.0))),
    Row(
        name="close later than the next",
        strike=on_hit(lambda: candles.late(1.5 * HOUR / 1000)),
        bars=1,
        expected=flagged(HELD),
    ),
    Row(
        name="closes six bars late",
        strike=on_hit(lambda: candles.late(6.5 * HOUR / 1000)),
        bars=6,
        seconds=1.0,
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
        absent=lambda case: "" if flags(case) else "no push has a flag",
    ),
    Row(
        name="stall mid-bar",
        strike=on_hit(candles.stall),
        bars=16,
        expected=always(RESUBSCRIBED),
    ),
    Row(
        name="half-open: all mute",
        strike=on_all(candles.mute),
        bars=24,
        wide=True,
        expected=always((Hazard.MUTE_CONNECTION, Act.RECONNECT)),
    ),
    Row(
        name="one stream mute, heals",
        strike=lambda scene: (
            scene.strike(
                candles.mute(heals=True), scene.case.symbol, bars=Span(scene.span.start)
            )
            and None
        ),
        heals=True,
        expected=always(RESUBSCRIBED),
    ),
    Row(
        name="one stream mute, never heals",
        strike=on_hit(candles.mute),
        bars=50,
        expected=always(RESUBSCRIBED, (Hazard.MUTE_STREAM, Act.DEGRADE)),
    ),
    Row(
        name="acks, but no data",
        strike=on_all(trouble.drop, candles.mute),
        bars=16,
        wide=True,
        expected=always(LOST),
    ),
    Row(
        name="subscription refused, then accepted",
        strike=lambda scene: (
            scene.strike(trouble.drop()),
            scene.strike(trouble.refuse_subscribe(), scene.case.symbol),
        )
        and None,
        bars=16,
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
        strike=shown_for(lambda: candles.alter(CHANGED, ws=False), 1.5),
        **until(1.5),
        lied=unflagged,
        expected=always(REVISED),
    ),
    Row(
        name="WS and REST altered, then right",
        strike=shown_for(lambda: candles.alter(CHANGED), 1.5),
        **until(1.5),
        lied=anywhere,
        expected=always(REVISED),
    ),
    Row(
        name="revised for good",
        strike=on_hit(lambda: candles.revise(CHANGED, wait_bars=3.0)),
        bars=3,
        truth=changed,
        lied=anywhere,
        expected=always(REVISED),
    ),
    Row(
        name="REST lacks rows for a moment",
        strike=shown_for(lambda: candles.hide(ws=False, rest=True), 0.2),
        **until(0.2, 2),
    ),
    Row(
        name="REST lacks rows for good",
        strike=on_hit(lambda: candles.hide(ws=False, rest=True)),
        absent=lambda case: "" if flags(case) else "a bar that REST lacks never was",
        expected=always((Hazard.VANISHED_BAR, Act.FLAG)),
    ),
    Row(name="newest rows lag in REST", strike=on_hit(lambda: candles.lag(2)), bars=8),
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
        bars=30,
        truth=without,
        expected=always(GAP, (Hazard.HALTED, Act.STOP)),
    ),
    Row(
        name="delisted for a while",
        strike=on_hit(candles.delist),
        bars=20,
        expected=always((Hazard.UNKNOWN_STREAM, Act.STOP)),
    ),
    Row(
        name="another symbol's bars",
        strike=lambda scene: shown_for(
            lambda: candles.other_symbol(stranger(scene.case)), 0.3
        )(scene),
        **until(0.3),
        expected=always(UNITS),
    ),
    Row(
        name="another symbol's bars, like prices",
        strike=lambda scene: shown_for(
            lambda: candles.other_symbol(neighbour(scene.case)), 1.5
        )(scene),
        **until(1.5),
        lied=anywhere,
        expected=always(REVISED),
    ),
    Row(
        name="volume x1000",
        strike=shown_for(lambda: candles.alter({"volume": 1000.0}), 1.0),
        **until(1.0),
        lied=lambda case: not has_quote(case),
        expected=lambda case: {UNITS} if has_quote(case) else {REVISED},
    ),
    Row(
        name="price x1000",
        strike=shown_for(lambda: candles.alter({"price": 1000.0}), 0.3),
        **until(0.3),
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
            bars=6,
            expected=expected,
            **more,
        )
        for beside in (False, True)
    ]


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
    *_damaged("microseconds", always(), absent=_has_numeric_times),
    *_damaged("seconds", always(), absent=_has_numeric_times),
    Row(
        name="times of pushes and REST in microseconds",
        strike=shown_for(lambda: trouble.damage("microseconds", rest=True), 0.2),
        **until(0.2),
    ),
    Row(name="unknown control frames", strike=on_hit(trouble.control_frame), bars=6),
]


# --- REST ----------------------------------------------------------------------------------------


def _needed(make: Callable[[], Hooks], **more: Any) -> Callable[[Scene], None]:
    """Spoil REST while the hit stream needs it: its first close is never sent."""

    def strike(scene: Scene) -> None:
        first = Span(scene.span.start, scene.span.start + HOUR)
        scene.strike(candles.hide(), scene.case.symbol, bars=first)
        scene.strike(make(), **more)

    return strike


REST: Final = [
    Row(
        name="REST delayed",
        strike=_needed(lambda: trouble.delay_rest(0.15)),
        bars=8,
        wide=True,
        expected=flagged(HELD),
    ),
    Row(
        name="REST 429, Retry-After",
        strike=_needed(lambda: trouble.refuse_rest(429, 1)),
        bars=8,
        wide=True,
        expected=always(LEFT_ALONE),
    ),
    Row(
        name="REST 418, Retry-After",
        strike=_needed(lambda: trouble.refuse_rest(418, 1)),
        bars=8,
        wide=True,
        expected=always(LEFT_ALONE),
    ),
    Row(
        name="REST 429, in words alone",
        strike=_needed(lambda: trouble.refuse_rest(200)),
        bars=8,
        wide=True,
    ),
    Row(
        name="REST 503", strike=_needed(lambda: trouble.refuse_rest(503)), bars=8, wide=True
    ),
    *[
        Row(
            name=f"REST {how}",
            strike=_needed(lambda how=how: trouble.damage(how, ws=False, rest=True)),
            bars=8,
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


_AGING: Final = replace(SETTINGS, socket=replace(SETTINGS.socket, max_age_s=0.7))
CONNECTIONS: Final = [
    *map(_dropped, (1006, 1008, 1001, 1011, "rst")),
    Row(
        name="data lost between two connections",
        strike=lambda scene: (on_hit(candles.hide)(scene), scene.strike(trouble.drop())) and None,
        bars=3,
        wide=True,
        expected=always(LOST),
    ),
    Row(
        name="handshake refused, 503",
        strike=on_all(trouble.drop, lambda: trouble.refuse_handshake(503)),
        bars=10,
        wide=True,
        expected=always(LOST),
    ),
    Row(
        name="handshake refused, 429",
        strike=on_all(trouble.drop, lambda: trouble.refuse_handshake(429, 1)),
        bars=6,
        wide=True,
        expected=always(LOST, LEFT_ALONE),
    ),
    Row(
        name="shutdown notice",
        strike=on_all(lambda: trouble.shutdown(0.4)),
        bars=8,
        wide=True,
        expected=_told,
    ),
    Row(
        name="handovers before the greatest age",
        strike=on_all(lambda: trouble.max_age(2.0)),
        bars=60,
        wide=True,
        expected=always(NOTICED),
        settings=_AGING,
    ),
    Row(
        name="cut at the greatest age",
        strike=on_all(lambda: trouble.max_age(0.6)),
        bars=40,
        wide=True,
        expected=always(LOST),
    ),
]


# --- clocks --------------------------------------------------------------------------------------


def _tells_no_time(case: Case) -> str:
    return "pushes tell no time" if case.name in ("okx", "hyperliquid") else ""


def _clock(bars: float, **more: Any) -> Callable[[], Hooks]:
    return lambda: trouble.clock(offset_s=bars * HOUR / 1000, **more)


CLOCKS: Final = [
    Row(
        name="server time a little ahead",
        strike=_needed(_clock(0.2, push=False)),
        bars=20,
        wide=True,
    ),
    Row(
        name="server time jumps ahead and back",
        strike=_needed(_clock(30, push=False)),
        bars=30,
        wide=True,
        doubted=True,
        expected=always(JUMPED),
    ),
    Row(
        name="server time jumps back and ahead",
        strike=_needed(_clock(-30, push=False)),
        bars=30,
        wide=True,
        doubted=True,
        expected=always(JUMPED),
    ),
    Row(
        name="clock right and wrong in turns",
        strike=_needed(_clock(30, every_s=8 * HOUR / 1000)),
        bars=40,
        wide=True,
        doubted=True,
        expected=always(JUMPED),
    ),
    Row(
        name="server time drifts",
        strike=_needed(lambda: trouble.clock(drift=0.01, push=False)),
        bars=30,
        wide=True,
    ),
    Row(
        name="event times ahead",
        strike=on_all(_clock(0.6, rest=False)),
        bars=10,
        wide=True,
        absent=_tells_no_time,
    ),
    Row(
        name="event times behind",
        strike=on_all(_clock(-3, rest=False)),
        bars=10,
        wide=True,
        absent=_tells_no_time,
    ),
]

ROWS: Final = [*CANDLES, *BYTES, *REST, *CONNECTIONS, *CLOCKS]
