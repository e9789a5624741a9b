"""REST, handshakes, subscriptions, connections and clocks gone wrong, seen by a raw client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from candled.core.bar import Bar
from candled_adapters.simulator import misbehaviour, trouble
from candled_adapters.simulator.damage import DAMAGES
from candled_adapters.simulator.fault import Hooks, Listener, Moment, Span
from candled_adapters.simulator.scenario import Scenario
from candled_adapters.simulator.server import Simulator
from raw_venues import (
    ALL,
    BINANCE,
    BYBIT,
    COINBASE,
    HYPERLIQUID,
    KRAKEN,
    OKX,
    START,
    STEP,
    Ears,
    Words,
    dial,
    get,
    rows,
    run,
    simulator,
    until,
)

HELD = 20  # bars that have closed; the next one is open
STILL = 1e-3  # a clock that hardly moves
FAST = 300 / 0.02  # a bar in 20 ms
TIMED = (BINANCE, BYBIT, OKX, KRAKEN, COINBASE, HYPERLIQUID)
venues = pytest.mark.parametrize("words", ALL, ids=lambda words: words.name)
some_venues = pytest.mark.parametrize("words", [OKX, KRAKEN], ids=lambda words: words.name)


def held(words: Words, **options: Any) -> Simulator:
    """Hold the clock within the bar after the closed ones."""
    return simulator(words, HELD + 4, speed=STILL, start_at=HELD, **options)


def opened(number: int) -> int:
    return START + number * STEP


def half(bar: Bar) -> Bar:
    return replace(bar, close=bar.close / 2)


# --- rows


ROWS = {
    "hide": misbehaviour.hide(rest=True),
    "alter": misbehaviour.alter({"price": 1.5}, ws=False),
    "revise": misbehaviour.revise({"volume": 2.0}),
    "outage": misbehaviour.outage(),
    "fill": misbehaviour.outage(fill=True),
}


@pytest.mark.parametrize("what", ROWS)
@venues
def test_rows_of_some_bars_are_wrong_and_then_right_again(words: Words, what: str):
    """Two bars are missing, altered, revised or flat; the others are not; the end is the truth."""

    async def main() -> None:
        async with held(words) as venue:
            right = await rows(words, venue)
            fault = venue.faults.strike(ROWS[what], words.symbol, bars=Span(opened(5), opened(7)))
            wrong = await rows(words, venue)
            assert await rows(words, venue, words.other) != wrong
            venue.faults.end(fault)
            assert await rows(words, venue) == right
        assert len(right) == HELD + 1
        kept = right[:5] + right[7:]
        assert [row for row in wrong if not opened(5) <= row[0] < opened(7)] == kept
        changed = [row for row in wrong if opened(5) <= row[0] < opened(7)]
        before = right[5:7]
        expected = {
            "hide": [],
            "outage": [],
            "alter": [(at, pytest.approx(close * 1.5), vol) for at, close, vol in before],
            "revise": [(at, close, pytest.approx(vol * 2)) for at, close, vol in before],
            "fill": [(before[0][0], right[4][1], 0.0), (before[1][0], right[5][1], 0.0)],
        }
        assert changed == expected[what]

    run(main())


@venues
def test_rest_lags(words: Words):
    """The open row and the newest closed one are missing."""

    async def main() -> None:
        async with held(words) as venue:
            right = await rows(words, venue)
            venue.faults.strike(misbehaviour.lag(2), words.symbol)
            assert await rows(words, venue) == right[:-2]
            venue.faults.clear()
            assert await rows(words, venue) == right

    run(main())


@some_venues
def test_rest_lags_about_some_bars_alone(words: Words):
    """Of the three newest rows the one that is meant."""

    async def main() -> None:
        async with held(words) as venue:
            right = await rows(words, venue)
            bars = Span(opened(HELD - 1), opened(HELD))
            venue.faults.strike(misbehaviour.lag(3), words.symbol, bars=bars)
            assert [row[0] for row in await rows(words, venue)] == [
                row[0] for row in right if row[0] != opened(HELD - 1)
            ]

    run(main())


@venues
def test_trading_halts(words: Words):
    """REST has nothing newer, and knows the symbol."""

    async def main() -> None:
        async with held(words) as venue:
            venue.faults.strike(misbehaviour.halt(), words.symbol, bars=Span(opened(12)))
            assert [row[0] for row in await rows(words, venue)] == [opened(n) for n in range(12)]

    run(main())


@venues
def test_rows_are_those_of_another_symbol(words: Words):
    """As if the other had been asked for."""

    async def main() -> None:
        async with held(words) as venue:
            venue.faults.strike(misbehaviour.other_symbol(words.other), words.symbol)
            mine, other = await rows(words, venue), await rows(words, venue, words.other)
            assert mine[:-1] == other[:-1], "but for the open bar, which grows"

    run(main())


@venues
def test_a_symbol_is_delisted(words: Words):
    """From a moment on the venue does not know it; the other one it does."""

    async def main() -> None:
        async with held(words) as venue:
            fault = venue.faults.strike(misbehaviour.delist(), words.symbol)
            assert words.unknown(await get(venue, words.question(words.symbol)))
            assert await rows(words, venue, words.other)
            venue.faults.end(fault)
            assert await rows(words, venue)

    run(main())


@pytest.mark.parametrize("make", [misbehaviour.halt, misbehaviour.delist])
@some_venues
def test_nothing_is_pushed_of_a_symbol_that_is_halted_or_gone(
    words: Words, make: Callable[[], Hooks]
):
    """From its bar on, while the other goes on; and the connection lives."""

    async def main() -> None:
        venue = simulator(words, 40, speed=FAST, start_at=5, bars=15, linger=0.1)
        async with venue, dial(words, venue) as ws:
            venue.faults.strike(make(), words.symbol, bars=Span(opened(12)))
            ears = Ears(words, ws)
            await ears.say(words.subscribe([words.symbol, words.other]))
            assert await ears.closed() == 1001, "when the candles are over"
        assert max(c.open_time for c in ears.candles()) in (opened(11), opened(12))
        assert max(c.open_time for c in ears.candles(words.other)) >= opened(19)

    run(main())


@some_venues
def test_a_bar_is_revised_after_a_while(words: Words):
    """REST changes it so many bars after its close, for good."""

    async def main() -> None:
        async with held(words) as venue:
            right = await rows(words, venue)
            venue.faults.revise(words.symbol, opened(HELD - 1), half, wait_bars=1)
            venue.faults.revise(words.symbol, opened(HELD - 3), half, wait_bars=1)
            changed = [x != y for x, y in zip(await rows(words, venue), right, strict=True)]
            assert changed[:-1] == [n == HELD - 3 for n in range(HELD)]

    run(main())


@some_venues
def test_what_a_test_does_to_one_bar_is_undone_by_showing_it(words: Words):
    """Altered and hidden, and then as it was; another bar stays altered."""

    async def main() -> None:
        async with held(words) as venue:
            right = await rows(words, venue)
            venue.faults.alter(words.symbol, opened(3), half)
            venue.faults.alter(words.symbol, opened(4), half, seconds=60)
            venue.faults.hide(words.symbol, opened(3), rest=True)
            assert len(await rows(words, venue)) == HELD
            venue.faults.show(words.symbol, opened(3))
            found = await rows(words, venue)
            assert found[3] == right[3]
            assert found[4][1] == pytest.approx(right[4][1] / 2)

    run(main())


# --- answers


@pytest.mark.parametrize("how", ["html", "truncated", "malformed"])
@some_venues
def test_answers_are_no_json(words: Words, how: str):
    """With status 200, and for one symbol alone when that is wanted."""

    async def main() -> None:
        async with held(words) as venue:
            venue.faults.strike(trouble.damage(how, ws=False, rest=True), words.symbol)
            answer = await get(venue, words.question(words.symbol))
            assert answer.status_code == 200
            assert ("html" in answer.headers["Content-Type"]) == (how == "html")
            with pytest.raises(ValueError, match=r".*"):
                answer.json()
            assert await rows(words, venue, words.other)

    run(main())


@pytest.mark.parametrize("words", [BINANCE, BYBIT, OKX, HYPERLIQUID], ids=lambda w: w.name)
@pytest.mark.parametrize(("how", "factor"), [("microseconds", 1000.0), ("seconds", 0.001)])
def test_times_of_rows_have_another_unit(words: Words, how: str, factor: float):
    """Microseconds, or seconds."""

    async def main() -> None:
        async with held(words) as venue:
            venue.faults.strike(trouble.damage(how, ws=False, rest=True), words.symbol)
            found = await rows(words, venue)
            assert [row[0] for row in found] == [opened(n) * factor for n in range(HELD + 1)]

    run(main())


def test_every_damage_changes_bytes_and_never_fails():
    """On what venues say, on plain texts, and on nothing."""
    push = b'{"t":1700000000000,"o":"1.5","n":3,"p":2.5,"x":true,"z":null}'
    for name, damage in DAMAGES.items():
        assert damage(push) != push, name
        for odd in (b"", b"pong", b"[]", b'"1.5"'):
            damage(odd)
    assert DAMAGES["retyped"](push) == (
        b'{"t":"1700000000000","o":1.5,"n":"3","p":"2.5","x":true,"z":null}'
    )
    assert DAMAGES["null"](push) == (
        b'{"t":1700000000000,"o":null,"n":3,"p":null,"x":true,"z":null}'
    )


@pytest.mark.parametrize("retry_after_s", [None, 7])
@pytest.mark.parametrize("status", [418, 429, 503])
@some_venues
def test_rest_refuses_so_many_times(words: Words, status: int, retry_after_s: int | None):
    """With or without Retry-After, twice, and then it answers."""

    async def main() -> None:
        async with held(words) as venue:
            venue.faults.refuse_rest(status, retry_after_s=retry_after_s, times=2)
            for _ in range(2):
                answer = await get(venue, words.question(words.symbol))
                said = answer.headers.get("Retry-After")
                assert (answer.status_code, said) == (status, retry_after_s and "7")
            assert await rows(words, venue)

    run(main())


# --- clocks


@pytest.mark.parametrize("words", TIMED, ids=lambda words: words.name)
def test_the_server_time_is_wrong(words: Words):
    """By an offset; the rows are those of the right time."""

    async def main() -> None:
        async with held(words) as venue:
            right, table = venue.now_ms(), await rows(words, venue)
            fault = venue.faults.strike(trouble.clock(offset_s=-90.0))
            told = words.time_of((await get(venue, words.time)).json())
            assert abs(told - (right - 90_000)) < 1500
            assert await rows(words, venue) == table
            venue.faults.end(fault)
            assert abs(words.time_of((await get(venue, words.time)).json()) - right) < 1500

    run(main())


def test_a_clock_drifts_and_jumps():
    """Drift grows with venue time; a jumping clock is right and wrong in turns."""
    bars = Span(opened(0))
    drifting = trouble.clock(drift=0.01).rest_clock
    jumping = trouble.clock(offset_s=5.0, every_s=60.0).push_clock
    assert drifting is not None
    assert jumping is not None
    assert [drifting(opened(0) + s * 1000, bars) for s in (0, 100, 200)] == [0, 1000, 2000]
    found = [jumping(opened(0) + s * 1000, bars) for s in (0, 59, 60, 119, 120)]
    assert found == [0, 0, 5000, 5000, 0]


def test_a_stall_begins_when_its_share_of_the_first_bar_has_passed():
    """Pushes before it are heard; none after it."""
    market = held(BINANCE).market
    silences = misbehaviour.stall(after=0.5).silences
    assert silences is not None
    listener, tape = Listener(1, BINANCE.symbol, 1), market.tapes[BINANCE.symbol]
    heard = [
        not silences(listener, Moment(market, tape, instant), Span(opened(HELD + 1)))
        for instant in market.instants(2)
    ]
    assert heard == [True] * 3 + [True, False, False] + [False] * 6


# --- subscriptions


@venues
def test_unsubscribing_ends_a_stream_and_leaves_the_other(words: Words):
    """It is acknowledged in the venue's words; subscribing again brings it back."""

    async def main() -> None:
        venue = simulator(words, 400, speed=FAST, start_at=5)
        async with venue, dial(words, venue) as ws:
            ears = Ears(words, ws)
            await ears.say(words.subscribe([words.symbol, words.other]))
            await until(lambda: ears.candles() and ears.candles(words.other), "candles")
            replied = len(ears.replies)
            await ears.say(words.unsubscribe([words.symbol]))
            await until(lambda: len(ears.replies) > replied, "the answer")
            mine, others = len(ears.candles()), len(ears.candles(words.other))
            await until(lambda: len(ears.candles(words.other)) > others + 6, "the other goes on")
            assert len(ears.candles()) == mine
            await ears.say(words.subscribe([words.symbol]))
            await until(lambda: len(ears.candles()) > mine, "it is back")

    run(main())


@pytest.mark.parametrize("words", [BINANCE, KRAKEN, HYPERLIQUID], ids=lambda w: w.name)
def test_unsubscribing_from_nothing_is_answered(words: Words):
    """Kraken and Hyperliquid call it an error, Binance does not."""

    async def main() -> None:
        async with held(words) as venue, dial(words, venue) as ws:
            ears = Ears(words, ws)
            await ears.say(words.unsubscribe([words.symbol]))
            await until(lambda: ears.replies, "an answer")
            (reply,) = ears.replies
            wrong = "error" in reply or reply.get("channel") == "error"
            assert wrong == (words is not BINANCE)

    run(main())


@pytest.mark.parametrize("how", ["fresh", "unsubscribe first"])
@venues
def test_a_mute_stream_is_healed_by_subscribing_again(words: Words, how: str):
    """Acknowledged and silent, while its neighbour speaks, until it is asked for anew."""

    async def main() -> None:
        venue = simulator(words, 600, speed=FAST, start_at=5)
        async with venue, dial(words, venue) as ws:
            venue.faults.mute_stream(words.symbol, heals=True)
            ears = Ears(words, ws)
            await ears.say(words.subscribe([words.symbol, words.other]))
            await until(lambda: len(ears.candles(words.other)) > 6, "the neighbour")
            assert ears.replies
            assert not ears.candles()
            if how != "fresh":
                await ears.say(words.unsubscribe([words.symbol]))
            await ears.say(words.subscribe([words.symbol]))
            await until(ears.candles, "it is healed")

    run(main())


@some_venues
def test_half_of_the_connections_hear_nothing(words: Words):
    """Every second one; pings are answered; another stays mute though it subscribes again."""

    async def main() -> None:
        venue = simulator(words, 600, speed=FAST, start_at=5)
        async with venue, dial(words, venue) as first, dial(words, venue) as second:
            venue.faults.mute(share=0.5)
            ears = [Ears(words, first), Ears(words, second)]
            for ear in ears:
                await ear.say(words.subscribe([words.symbol]))
            await until(lambda: len(ears[0].candles()) > 6, "the first hears")
            await ears[1].say(words.subscribe([words.symbol]))
            await asyncio.wait_for(await second.ping(), 5)
            await until(lambda: len(ears[0].candles()) > 12, "the first hears more")
            assert not ears[1].candles()
            venue.faults.unmute()
            await until(ears[1].candles, "the second hears")

    run(main())


@some_venues
def test_a_stream_is_mute_on_one_connection_for_good(words: Words):
    """Another connection hears it, and subscribing again is of no use."""

    async def main() -> None:
        venue = simulator(words, 600, speed=FAST, start_at=5)
        async with venue, dial(words, venue) as first, dial(words, venue) as second:
            venue.faults.mute_stream(words.symbol, connection=1)
            ears = [Ears(words, first), Ears(words, second)]
            for ear in (*ears, ears[0]):
                await ear.say(words.subscribe([words.symbol, words.other]))
            await until(lambda: len(ears[1].candles()) > 6, "the second hears")
            await until(lambda: len(ears[0].candles(words.other)) > 6, "its neighbour is heard")
            assert not ears[0].candles()

    run(main())


@venues
def test_subscriptions_are_refused_and_then_accepted(words: Words):
    """An error in the venue's words, twice, no data; the third time there is."""

    async def main() -> None:
        venue = simulator(words, 600, speed=FAST, start_at=5)
        async with venue, dial(words, venue) as ws:
            venue.faults.strike(trouble.refuse_subscribe(), words.symbol, times=2)
            ears = Ears(words, ws)
            for count in (1, 2):
                await ears.say(words.subscribe([words.symbol]))
                await until(lambda count=count: len(ears.replies) == count, "a refusal")
                assert is_error(ears.replies[-1])
            await ears.say(words.subscribe([words.symbol]))
            await until(ears.candles, "candles")
            assert not is_error(ears.replies[-1])

    run(main())


def is_error(reply: dict[str, Any]) -> bool:
    """Whether a venue's reply is an error, as its documents have it."""
    return (
        reply.get("code") == 2
        or reply.get("success") is False
        or "error" in (reply.get("event"), reply.get("type"), reply.get("channel"))
    )


# --- connections


@pytest.mark.parametrize("status", [403, 429, 503])
@some_venues
def test_handshakes_are_refused(words: Words, status: int):
    """With the status, once; REST is not concerned."""

    async def main() -> None:
        async with held(words) as venue:
            venue.faults.strike(trouble.refuse_handshake(status, retry_after_s=3), times=1)
            assert await rows(words, venue)
            with pytest.raises(InvalidStatus) as caught:
                async with dial(words, venue):
                    pass
            assert caught.value.response.status_code == status
            assert caught.value.response.headers["Retry-After"] == "3"
            async with dial(words, venue):
                pass
            assert [r.status for r in venue.requests] == [200, status, 101]

    run(main())


@pytest.mark.parametrize("code", [1001, 1008, 1011, 1012, 1006, "rst"])
@some_venues
def test_connections_end_at_a_slot(words: Words, code: int | str):
    """With a goodbye, without one, or by a reset; a client that comes back has missed bars."""

    async def main() -> None:
        scenario = [{"kind": "drop", "after_bars": 5, "code": code}]
        venue = simulator(words, 400, speed=FAST, start_at=5, scenario=Scenario.of(scenario))
        async with venue:
            async with dial(words, venue) as ws:
                ears = Ears(words, ws)
                await ears.say(words.subscribe([words.symbol]))
                assert await ears.closed() == (1006 if code == "rst" else code)
            missed = venue.now_ms()
            await until(lambda: venue.now_ms() > missed + 3 * STEP, "bars that nobody hears")
            async with dial(words, venue) as ws:
                again = Ears(words, ws)
                await again.say(words.subscribe([words.symbol]))
                await until(lambda: len(again.candles()) > 3, "candles")
        assert max(c.open_time for c in ears.candles()) <= opened(5 + 5)
        assert min(c.open_time for c in again.candles()) >= missed + STEP

    run(main())


@pytest.mark.parametrize("code", [1006, "rst"])
def test_an_end_without_a_goodbye_is_a_fin_or_a_reset(code: int | str):
    """What the socket itself sees, beneath the websocket."""

    async def main() -> None:
        async with held(BINANCE) as venue:
            reader, writer = await asyncio.open_connection(venue.host, venue.port)
            hello = "GET /ws HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            writer.write((hello + key).encode())
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            venue.faults.strike(trouble.drop(code))
            try:
                seen = await asyncio.wait_for(reader.read(), 5)
            except ConnectionResetError:
                seen = b"reset"
            writer.close()
            assert seen == (b"reset" if code == "rst" else b"")

    run(main())


NOTICES = {
    "binance-spot": lambda m: m["e"] == "serverShutdown",
    "okx": lambda m: (m["event"], m["code"]) == ("notice", "64008"),
}


@venues
def test_the_end_is_announced_where_a_venue_has_words_for_it(words: Words):
    """A notice, then the close; the others just close."""

    async def main() -> None:
        async with held(words) as venue, dial(words, venue) as ws:
            ears = Ears(words, ws)
            venue.shut_down(0.05, 1012)
            assert await ears.closed() == 1012
            if words.name in NOTICES:
                (notice,) = ears.messages
                assert NOTICES[words.name](notice)
            else:
                assert not ears.frames

    run(main())


def test_a_combined_stream_is_told_of_the_end_in_its_wrapper():
    """Binance's own form of it."""

    async def main() -> None:
        async with held(BINANCE) as venue, dial(BINANCE, venue, "/stream") as ws:
            ears = Ears(BINANCE, ws)
            venue.shut_down(0.01)
            await ears.closed()
            (notice,) = ears.messages
            assert (notice["stream"], notice["data"]["e"]) == ("!serverShutdown", "serverShutdown")

    run(main())


@some_venues
def test_connections_are_cut_at_an_age(words: Words):
    """Each so long after its own beginning, whether it was there before the fault or not."""

    async def main() -> None:
        async with held(words) as venue, dial(words, venue) as old:
            venue.faults.strike(trouble.max_age(0.1))
            began = time.monotonic()
            async with dial(words, venue) as young:
                codes = [await Ears(words, ws).closed() for ws in (old, young)]
            assert time.monotonic() - began >= 0.1
            assert codes == [1001, 1001]

    run(main())


@some_venues
def test_anything_can_be_said_to_all(words: Words):
    """An unknown control frame, at any time."""

    async def main() -> None:
        async with held(words) as venue, dial(words, venue) as ws:
            ears = Ears(words, ws)
            venue.say(b'{"news":1}')
            await until(ears.frames.copy, "the frame")
            assert ears.frames == [b'{"news":1}']

    run(main())


def test_slots_bound_a_fault_exactly():
    """Hidden from the first bar of a span to the last, and neither before nor after."""

    async def main() -> None:
        venue = simulator(BINANCE, 40, speed=FAST, start_at=5, bars=20, linger=0.1)
        async with venue, dial(BINANCE, venue) as ws:
            venue.faults.strike(misbehaviour.hide(), bars=Span(opened(12), opened(15)))
            ears = Ears(BINANCE, ws)
            await ears.say(BINANCE.subscribe([BINANCE.symbol]))
            await ears.closed()
        closed = [c.open_time for c in ears.candles() if c.closed]
        missing = [b for a, c in pairwise(closed) for b in range(a + STEP, c, STEP)]
        assert missing == [opened(12), opened(13), opened(14)]

    run(main())


def test_faults_of_two_symbols_do_not_mix_and_those_of_one_add_up():
    """At the same bar one symbol's close is hidden, and the other's doubled twice and changed."""

    async def main() -> None:
        venue = simulator(OKX, 40, speed=FAST, start_at=5, bars=12, linger=0.1)
        async with venue, dial(OKX, venue) as ws:
            venue.faults.hide(OKX.symbol, opened(12))
            venue.faults.double(OKX.other, opened(12))
            venue.faults.double(OKX.other, opened(12), changed=half)
            venue.faults.alter(OKX.other, opened(12), half, rest=False)
            ears = Ears(OKX, ws)
            await ears.say(OKX.subscribe([OKX.symbol, OKX.other]))
            await ears.closed()
        truth = float(venue.market.tapes[OKX.other].bars.close[12])
        closes = [
            [c.close for c in ears.candles(symbol) if c.closed and c.open_time == opened(12)]
            for symbol in (OKX.symbol, OKX.other)
        ]
        assert closes == [[], [truth / 2, truth / 2, truth / 4, truth / 4]]

    run(main())


@some_venues
def test_a_second_close_is_as_the_test_wants_it(words: Words):
    """A function of the bar, or a bar of the test's own."""
    own = Bar(opened(13), 1.0, 2.0, 0.5, 1.5, 0.0, opened(14) - 1, 0.0, 0.0, 0.0, 0.0)

    async def main() -> None:
        venue = simulator(words, 40, speed=FAST, start_at=5, bars=15, linger=0.1)
        async with venue, dial(words, venue) as ws:
            venue.faults.double(words.symbol, opened(11), changed=half)
            venue.faults.double(words.symbol, opened(13), changed=own)
            ears = Ears(words, ws)
            await ears.say(words.subscribe([words.symbol]))
            await ears.closed()
        sign = [c for c in ears.candles() if (c.closed if words.flags else c.volume == 0)]
        at = opened(11) if words.flags else opened(12)
        first, second = (c.close for c in sign if c.open_time == at)
        assert second == pytest.approx(first / 2)
        assert [c.open_time for c in sign if c.close == 1.5] == [opened(13)]

    run(main())


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: trouble.damage("rotten"), "how is 'rotten'; known are malformed"),
        (lambda: trouble.damage("binary", rest=True), "rest is true; HTTP has no binary"),
        (lambda: trouble.drop(99), "code is 99; give a close code"),
        (lambda: trouble.refuse_rest(999), "status is 999; give one of HTTP's"),
        (lambda: trouble.refuse_handshake(200), "status is 200; a refusal is 400 or more"),
        (lambda: trouble.max_age(0), "age_s is 0; give more than 0"),
        (lambda: trouble.delay_rest(-1), "by_s is -1; give 0 or more"),
        (lambda: misbehaviour.alter({"prize": 2.0}), "factors has prize; give columns"),
        (lambda: misbehaviour.mute(share=0.0), "share is 0.0; give a share"),
        (lambda: misbehaviour.late(-1.0), "by_s is -1.0; give 0 or more"),
        (lambda: misbehaviour.again(0), "back is 0; give 1 or more"),
    ],
)
def test_impossible_faults_are_refused(make: Callable[[], Hooks], what: str):
    """With the name of what is wrong, and the mend."""
    with pytest.raises(ValueError, match=what):
        make()
