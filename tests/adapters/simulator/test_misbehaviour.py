"""What goes wrong with candles, as a raw client sees it: one run for each venue, with a scenario.

In each run every misbehaviour has slots of its own; between them, and after, the venue tells the
truth.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from candled.core.bar import Bars
from candled_adapters.simulator.scenario import Scenario
from candled_adapters.simulator.trouble import damage
from raw_venues import (
    ALL,
    BINANCE,
    BYBIT,
    COINBASE,
    HYPERLIQUID,
    KRAKEN,
    OKX,
    Candle,
    Ears,
    Words,
    dial,
    run,
    simulator,
)

FIRST = 10
SLOTS = 58
SPEED = 300 / 0.022  # a bar in 22 ms
PUSHING = ALL


def scenario(words: Words) -> Scenario:
    """Give each kind its slots."""
    faults = [
        {"kind": "double", "after_bars": 6},
        {"kind": "double", "after_bars": 8, "factors": {"price": 2.0}},
        {"kind": "hide", "after_bars": 10},
        {"kind": "late", "after_bars": 12, "by_s": 450.0},
        {"kind": "again", "after_bars": 15, "back": 2},
        {"kind": "swap", "after_bars": 17, "for_bars": 2},
        {"kind": "partial", "after_bars": 20, "for_bars": 4},
        {"kind": "alter", "after_bars": 24, "factors": {"price": 3.0}, "rest": False},
        {"kind": "outage", "after_bars": 26, "for_bars": 2},
        {"kind": "outage", "after_bars": 29, "for_bars": 2, "fill": True},
        {"kind": "other_symbol", "after_bars": 32, "other": words.other},
        *(
            {"kind": "damage", "after_bars": 34 + n, "how": how}
            for n, how in enumerate(
                ("malformed", "truncated", "binary", "html", "extra_keys", "null", "retyped")
            )
        ),
        {"kind": "damage", "after_bars": 41, "how": "microseconds", "beside": True},
        {"kind": "control_frame", "after_bars": 43},
        {"kind": "stall", "after_bars": 47, "for_bars": 2},
        {"kind": "mute", "after_bars": 51, "for_bars": 2},
    ]
    common = {"symbol": words.symbol, "for_bars": 1}
    clock = {"kind": "clock", "after_bars": 45, "for_bars": 1, "offset_s": 10_000.0}
    return Scenario.of([*(common | fault for fault in faults), clock])


@dataclass(frozen=True)
class Played:
    """What a client heard, and the truth."""

    words: Words
    ears: Ears
    truth: Bars
    other: Bars

    def slot(self, number: int) -> int:
        return int(self.truth.open_time[FIRST + number])

    def of(self, number: int) -> list[Candle]:
        """Candles of the bar of one played slot."""
        return [c for c in self.ears.candles() if c.open_time == self.slot(number)]

    def is_sign(self, candle: Candle, number: int) -> bool:
        """Whether a candle says that a slot's bar is closed: a flag, or the next bar's first."""
        if self.words.flags:
            return candle.open_time == self.slot(number) and candle.closed is True
        return candle.open_time == self.slot(number + 1) and candle.volume == 0

    def signs(self, number: int) -> list[Candle]:
        return [c for c in self.ears.candles() if self.is_sign(c, number)]

    def place(self, number: int) -> int:
        """Where among the candles a slot's sign came first."""
        found = [i for i, c in enumerate(self.ears.candles()) if self.is_sign(c, number)]
        return found[0]


async def play(words: Words) -> Played:
    venue = simulator(
        words, FIRST + SLOTS + 2, speed=SPEED, start_at=FIRST, bars=SLOTS, linger=0.3,
        scenario=scenario(words),
    )  # fmt: skip
    async with venue, dial(words, venue) as ws:
        ears = Ears(words, ws)
        await ears.say(words.subscribe([words.symbol, words.other]))
        await ears.closed()
    tapes = venue.market.tapes
    return Played(words, ears, tapes[words.symbol].bars, tapes[words.other].bars)


@functools.cache
def all_played() -> dict[str, Played]:
    """Play every venue's scenario, once and all at the same time; tests look at what came of it."""

    async def main() -> list[Played]:
        return await asyncio.gather(*map(play, PUSHING))

    return {seen.words.name: seen for seen in run(main())}


def played(words: Words) -> Played:
    return all_played()[words.name]


venues = pytest.mark.parametrize("words", PUSHING, ids=lambda words: words.name)
flagging = pytest.mark.parametrize("words", [BINANCE, BYBIT, OKX], ids=lambda words: words.name)


@venues
def test_between_faults_and_after_them_every_bar_closes_once_and_truly(words: Words):
    """One sign each, with the tape's numbers, and a neighbour symbol is never touched."""
    seen = played(words)
    for number in (4, 5, 7, 9, 11, 42, 44, 46, 50, 54, 55, 56):
        (sign,) = seen.signs(number)
        truth = seen.truth.row(FIRST + number + (not words.flags))
        assert sign.open == truth.open
        if words.flags:
            assert sign.close == truth.close
    others = seen.ears.candles(words.other)
    closes = [c for c in others if c.closed or (not words.flags and c.volume == 0)]
    opens = [c.open_time for c in closes]
    assert opens == sorted(set(opens))
    assert len(opens) >= SLOTS - 6


@venues
def test_a_close_comes_twice(words: Words):
    """The same again."""
    first, second = played(words).signs(6)
    assert first == second


@venues
def test_a_close_comes_twice_with_other_numbers(words: Words):
    """The second one has twice the price."""
    first, second = played(words).signs(8)
    assert second.close == pytest.approx(2 * first.close)


@venues
def test_a_close_never_comes(words: Words):
    """Its neighbours' do."""
    seen = played(words)
    assert [len(seen.signs(number)) for number in (9, 10, 11)] == [1, 0, 1]


@venues
def test_a_close_comes_late(words: Words):
    """After that of the bar that follows."""
    seen = played(words)
    assert len(seen.signs(12)) == 1
    assert seen.place(12) > seen.place(13)


@venues
def test_an_old_bar_comes_again(words: Words):
    """After a newer one, with its own numbers."""
    seen = played(words)
    later = seen.ears.candles()[seen.place(15) :]
    (old,) = [c for c in later if c.open_time == seen.slot(13)]
    assert old.close == seen.truth.close[FIRST + 13]
    assert old.closed in (True, None)


@venues
def test_two_bars_change_places(words: Words):
    """The later one closes first; each once."""
    seen = played(words)
    later = seen.ears.candles()[seen.place(18) + 1 :]
    (earlier,) = [c for c in later if c.open_time == seen.slot(17)]
    assert earlier.close == seen.truth.close[FIRST + 17]
    assert len(seen.signs(17)) == (1 if words.flags else 0)


@flagging
def test_an_open_bar_is_called_closed(words: Words):
    """With less than its volume, before the real close."""
    seen = played(words)
    bars = [seen.of(number) for number in (20, 21, 22, 23)]
    assert all(bar[-1].closed for bar in bars)
    assert any(c.closed and c.volume < bar[-1].volume for bar in bars for c in bar)


@venues
def test_pushes_disagree_with_the_tape(words: Words):
    """Three times the price, on the websocket alone."""
    seen = played(words)
    closes = [c.close for c in seen.of(24)]
    assert closes
    assert min(closes) > 2 * seen.truth.high[FIRST + 24]


@venues
def test_an_outage_leaves_bars_out(words: Words):
    """No push of either bar, and the next one is there."""
    seen = played(words)
    assert [len(seen.of(number)) for number in (26, 27)] == [0, 0]
    assert seen.of(28)


@venues
def test_an_outage_is_filled_with_flat_bars(words: Words):
    """No volume, and the price of the last close before each."""
    seen = played(words)
    for number in (29, 30):
        assert seen.of(number)
        assert {(c.open, c.close, c.volume) for c in seen.of(number)} == {
            (seen.truth.close[FIRST + number - 1],) * 2 + (0.0,)
        }


@venues
def test_bars_are_those_of_another_symbol(words: Words):
    """Under the right name."""
    seen = played(words)
    assert {c.open for c in seen.of(32)} == {seen.other.open[FIRST + 32]}


def _json(frame: bytes) -> object:
    try:
        return json.loads(frame)
    except ValueError:
        return None


DAMAGED: dict[str, Callable[[bytes], bool]] = {
    "malformed": lambda frame: b",," in frame and _json(frame) is None,
    "truncated": lambda frame: frame.startswith(b"{") and b",," not in frame and not _json(frame),
    "html": lambda frame: frame.startswith(b"<html>"),
    "extra keys": lambda frame: frame.count(b'"zz":[1]') >= 1 and _json(frame) is not None,
    "null": lambda frame: frame.count(b"null") >= 4,
    "control frame": lambda frame: _json(frame) == {"type": "maintenance", "level": 3},
}


@pytest.mark.parametrize("how", DAMAGED)
@venues
def test_bytes_are_wrong(words: Words, how: str):
    """Such frames come in their slot and not in many."""
    frames = [frame for frame in played(words).ears.frames if DAMAGED[how](frame)]
    assert 1 <= len(frames) <= 3


@venues
def test_numbers_change_their_type(words: Words):
    """Strings where numbers were, and numbers where strings were."""
    seen, found = played(words), 0
    for message in seen.ears.messages:
        text = json.dumps(message)
        if words is BINANCE:
            found += '"c": "' not in text and '"e": "kline"' in text and "null" not in text
        if words is BYBIT:
            found += '"ts": "' in text
        if words is OKX:
            found += "arg" in message and isinstance(message.get("data", [[""]])[0][0], int)
        if words is KRAKEN:
            found += '"open": "' in text
        if words is COINBASE:
            found += '"sequence_num": "' in text
        if words is HYPERLIQUID:
            found += '"t": "' in text
    assert 1 <= found <= 3


@pytest.mark.parametrize(
    "words", [BINANCE, BYBIT, OKX, COINBASE, HYPERLIQUID], ids=lambda w: w.name
)
def test_times_are_microseconds(words: Words):
    """The bar's time has 16 digits, and the right push follows."""
    seen = played(words)
    wrong = {seen.slot(41) * 1000, seen.slot(42) * 1000}  # the latter where it is the sign
    assert wrong & {c.open_time for c in seen.ears.candles()}
    assert len(seen.signs(41)) == 1


@pytest.mark.parametrize("words", [BINANCE, BYBIT, KRAKEN, COINBASE], ids=lambda w: w.name)
def test_the_clock_of_pushes_is_wrong(words: Words):
    """By the offset, in its slot alone; the others say no event time."""
    seen = played(words)
    near = [c for number in range(43, 50) for c in seen.of(number)]
    ahead = [c for c in near if (c.told_ms or 0) - c.open_time > 9.9e6]
    assert 1 <= len(ahead) <= 3


@venues
def test_a_stall_begins_within_a_bar(words: Words):
    """No close of two bars, and then all goes on."""
    seen = played(words)
    assert [len(seen.signs(number)) for number in (46, 47, 48, 49)] == [1, 0, 0, 1]
    assert not seen.of(48)


@venues
def test_a_mute_stream_comes_back(words: Words):
    """Nothing of two bars."""
    seen = played(words)
    assert [len(seen.signs(number)) for number in (50, 51, 52, 53)] == [1, 0, 0, 1]


@venues
def test_binary_frames_arrive_as_such(words: Words):
    """A frame of the right bytes and the wrong kind."""

    async def main() -> None:
        venue = simulator(words, 40, speed=SPEED, start_at=5, linger=0.2)
        async with venue, dial(words, venue) as ws:
            venue.faults.strike(damage("binary"))
            for message in words.subscribe([words.symbol]):
                await ws.send(json.dumps(message))
            while isinstance(await asyncio.wait_for(ws.recv(), 5), str):
                pass

    run(main())
