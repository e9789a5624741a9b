"""Scenario files: what they may say, what is said when they cannot be played, and random ones."""

from __future__ import annotations

import asyncio
import contextlib
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from candled_adapters.simulator.chance import PASSING, random_scenario
from candled_adapters.simulator.damage import DAMAGES
from candled_adapters.simulator.fault import EVER, Span
from candled_adapters.simulator.market import Market
from candled_adapters.simulator.scenario import (
    KINDS,
    Entry,
    Scenario,
    ScenarioError,
    load_scenario,
    parameters_of,
)
from candled_adapters.simulator.server import Simulator
from raw_venues import (
    ALL,
    BINANCE,
    FIVE,
    START,
    STEP,
    Ears,
    Words,
    dial,
    get,
    rows,
    run,
    simulator,
    tables,
    until,
)

DOCS = Path(__file__).parents[3] / "docs"
EXAMPLE = DOCS / "examples" / "bad_day.toml"
MARKET = Market.of(tables(BINANCE, 40), FIVE, start_at=10, bars=20)


def opened(number: int) -> int:
    """Open time of a played slot."""
    return START + (10 + number) * STEP


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({}, "fault 1: unknown kind None; known are double"),
        ({"kind": "mutte"}, "fault 1: unknown kind 'mutte'; did you mean 'mute'"),
        ({"kind": "late"}, r"fault 1 \(late\): by_s is missing; it has no default"),
        ({"kind": "late", "by": 2}, "unknown key 'by'; did you mean 'by_s'"),
        ({"kind": "late", "by_s": "2"}, "by_s is '2'; give a number"),
        ({"kind": "late", "by_s": True}, "by_s is True; give a number"),
        ({"kind": "late", "by_s": -2}, "by_s is -2; give 0 or more"),
        ({"kind": "hide", "ws": 1}, "ws is 1; give true or false"),
        ({"kind": "again", "back": 1.5}, "back is 1.5; give a whole number"),
        ({"kind": "drop", "code": 1.5}, "code is 1.5; give a whole number or text"),
        ({"kind": "double", "factors": 2}, "factors is 2; give a table of numbers"),
        ({"kind": "mute", "connection": "1"}, "connection is '1'; give a whole number"),
        ({"kind": "mute", "symbol": 3}, "symbol is 3; give text"),
        ({"kind": "mute", "after_bars": -1}, "after_bars is -1; give 0 or more"),
        ({"kind": "mute", "for_bars": 0}, "for_bars is 0; give 1 or more"),
        ({"kind": "mute", "times": 0}, "times is 0; give 1 or more"),
        ({"kind": "mute", "share": 2.0}, "share is 2.0; give a share of the connections"),
        ({"kind": "swap", "for_bars": 3}, "for_bars is 3; bars go in pairs"),
        ({"kind": "drop", "symbol": "BTCUSDT"}, "symbol is no use, the whole venue is hit"),
        ({"kind": "alter"}, "factors is missing"),
        ({"kind": "alter", "factors": {}}, "factors has nothing; give columns"),
        ({"kind": "alter", "factors": {"volume": "2"}}, "give a table of numbers"),
        ({"kind": "alter", "factors": {"open_time": 2.0}}, "factors has open_time; give columns"),
        ({"kind": "damage", "how": "badly"}, "how is 'badly'; known are"),
    ],
)
def test_what_cannot_be_played_is_refused(entry: dict[str, Any], what: str):
    """The entry is named by its number and kind, the key and the mend are said."""
    with pytest.raises(ScenarioError, match=f"scenario: {what}" if "fault 1" in what else what):
        Scenario.of([entry])


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"kind": "mute", "symbol": "BTCUSD"}, "symbol 'BTCUSD' is not played; did you mean 'BTC"),
        ({"kind": "other_symbol", "other": "X"}, "other 'X' is not played; known are BTCUSDT"),
        ({"kind": "mute", "after_bars": 20}, "after_bars is 20, but only 20 bars are played"),
    ],
)
def test_what_does_not_fit_the_market_is_refused(entry: dict[str, Any], what: str):
    """Before anything is played, with the entry's number."""
    scenario = Scenario.of([{"kind": "hide"}, entry])
    with pytest.raises(ScenarioError, match=rf"scenario: fault 2 \(\w+\): {what}"):
        simulator(BINANCE, 40, start_at=10, bars=20, scenario=scenario)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("fault = 3", "fault is not a list; write each entry as"),
        ("[faults]\nkind = 'mute'", "unknown key 'faults'; entries are tables"),
        ("[[fault]\n", "mend the TOML"),
        ("[[fault]]\nkind = 'mute'\n[[fault]]\nkind = 'mut'", "fault 2: unknown kind 'mut'"),
    ],
)
def test_files_that_are_no_scenario_are_refused(tmp_path: Path, text: str, what: str):
    """The file is named."""
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=rf"bad\.toml: .*{what}|bad\.toml: {what}"):
        load_scenario(path)
    with pytest.raises(ScenarioError, match=r"none\.toml: No such file"):
        load_scenario(tmp_path / "none.toml")


def test_bounds_are_bound_to_the_played_stretch():
    """Bars count in slots from the first played one, seconds from the clock's start."""
    both = Entry("mute", after_bars=3, for_bars=2, after_s=1.5, for_s=2.0).fault(MARKET, 100.0)
    assert both.bars == Span(opened(3), opened(5))
    assert both.seconds == Span(101.5, 103.5)
    bare = Entry("mute", symbol="BTCUSDT", times=2).fault(MARKET, 100.0)
    assert (bare.bars, bare.seconds, bare.times) == (EVER, Span(100.0), 2)
    assert Entry("mute", for_bars=2).fault(MARKET, 0.0).bars == Span(opened(0), opened(2))
    for endless in (Entry("mute", after_bars=18), Entry("mute", after_bars=18, for_bars=2)):
        assert endless.fault(MARKET, 0.0).bars == Span(opened(18)), "to the end"


def test_the_example_is_what_it_says_and_can_be_played():
    """It is read from its file, and a client of a venue that follows it sees the first fault."""
    scenario = load_scenario(EXAMPLE)
    assert len(scenario.entries) == EXAMPLE.read_text().count("[[fault]]")

    async def main() -> Ears:
        venue = simulator(
            BINANCE, 60, speed=300 / 0.02, start_at=10, bars=30, linger=0.1, scenario=scenario
        )
        async with venue, dial(BINANCE, venue) as ws:
            ears = Ears(BINANCE, ws)
            await ears.say(BINANCE.subscribe([BINANCE.symbol]))
            assert await ears.closed() == 1006, "bar 15 cuts all connections"
        return ears

    closed = [c for c in run(main()).candles() if c.closed]
    assert [c.open_time for c in closed if c.open_time >= opened(3)] == [
        opened(n) for n in (3, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14)
    ]
    first, second = (c.close for c in closed if c.open_time == opened(3))
    assert second == pytest.approx(first * 1.001)
    assert [c.volume for c in closed if opened(10) <= c.open_time < opened(13)] == [0.0] * 3


@given(
    st.integers(0, 10**6), st.integers(1, 80), st.floats(0, 1),
    st.lists(st.sampled_from(sorted(KINDS)), min_size=1, unique=True),
)  # fmt: skip
@settings(deadline=None, max_examples=80)
def test_random_scenarios_are_the_same_again_and_survive_their_file(
    seed: int, slots: int, share: float, kinds: list[str]
):
    """One seed, one scenario; what is printed is read back equal; every entry can be played."""
    drawn = [random_scenario(seed, slots, ("BTCUSDT", "ETHUSDT"), kinds, share) for _ in "ab"]
    assert drawn[0] == drawn[1]
    again = Scenario.of(tomllib.loads(drawn[0].toml()).get("fault", []), drawn[0].source)
    assert again == drawn[0]
    assert {entry.kind for entry in again.entries} <= set(kinds)
    market = Market.of(tables(BINANCE, slots), FIVE)
    again.check(market)
    for fault in again.faults(market, 0.0):
        assert fault.bars.start in market.slots


def test_random_scenarios_have_all_kinds_about_as_often_as_wanted():
    """The share of slots at which a fault begins is kept; no kind is forgotten."""
    scenario = random_scenario(1, 4000, ("BTCUSDT", "ETHUSDT"), share=0.3)
    assert 1100 < len(scenario.entries) < 1300
    assert {entry.kind for entry in scenario.entries} == set(PASSING)
    assert random_scenario(2, 4000, ("BTCUSDT",), share=0.3) != scenario
    assert not random_scenario(1, 4000, ("BTCUSDT",), share=0.0).entries
    with pytest.raises(ValueError, match="other_symbol needs two symbols"):
        random_scenario(1, 5, ("BTCUSDT",), ("other_symbol",))
    with pytest.raises(ScenarioError, match="did you mean 'mute'"):
        random_scenario(1, 5, ("BTCUSDT",), ("mutee",), 1.0)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_goes_wrong_the_venue_lives_and_then_tells_the_truth(
    seed: int, caplog: pytest.LogCaptureFixture
):
    """Every venue under random faults of all kinds, a client that keeps coming back: no error.

    When the faults are over, REST's rows are the tape's.
    """

    async def client(words: Words, venue: Simulator) -> None:
        while venue.now_ms() < venue.clock.end_ms:
            with contextlib.suppress(OSError, InvalidHandshake):
                async with dial(words, venue) as ws:
                    ears = Ears(words, ws)
                    with contextlib.suppress(ConnectionClosed):
                        await ears.say(words.subscribe([words.symbol, words.other]))
                    await ears.closed()

    async def curious(words: Words, venue: Simulator) -> None:
        while venue.now_ms() < venue.clock.end_ms:
            with contextlib.suppress(httpx.HTTPError):
                await get(venue, words.question(words.symbol))
            await asyncio.sleep(0.02)

    async def play(words: Words) -> None:
        scenario = random_scenario(seed, 60, (words.symbol, words.other), share=0.7)
        venue = simulator(
            words, 80, speed=300 / 0.012, start_at=10, bars=60, linger=9, scenario=scenario
        )
        async with venue:
            tasks = [asyncio.create_task(work(words, venue)) for work in (client, curious)]
            await until(lambda: venue.now_ms() == venue.clock.end_ms, "the end")
            venue.faults.clear()
            found = (await rows(words, venue))[:70]
            assert [row[:2] for row in found] == [
                (bar.open_time, bar.close)
                for bar in list(venue.market.tapes[words.symbol].bars)[:70]
            ], scenario.toml()
        await asyncio.gather(*tasks)

    async def main() -> None:
        await asyncio.gather(*map(play, ALL))

    run(main())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_documented_with_what_it_takes(kind: str):
    """docs/simulator.md has a row for it that names each key."""
    page = (DOCS / "simulator.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    rows = {line.split("`")[1]: line for line in lines}
    assert set(rows) >= set(KINDS)
    assert all(f"`{key}`" in rows[kind] for key in parameters_of(kind))
    assert all(f"`{how}`" in rows["damage"] for how in DAMAGES)
