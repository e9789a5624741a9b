"""What `check` finds at an exchange: each dialect against its simulated venue, and what ails."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from candled.config import ExchangeConfig
from candled.core.bar import HOUR, Bars, Interval, Stream
from candled.core.decision import Policy
from candled.core.engine import Lane
from candled.core.features.scalefree import SCALEFREE, SCALEFREE_OHLCV
from candled.errors import Exit
from candled.venuecheck import Finding, check_exchange, skew
from candled_adapters.artifacts.bundle import write_bundle
from candled_adapters.exchanges.registry import DIALECTS
from candled_adapters.simulator.generator import generate, generate_many
from candled_adapters.simulator.server import Simulator
from candled_adapters.simulator.venues import VENUES
from feature_models import spec_on
from models import lane

HOURLY = Interval("1h")
START = 1_700_000_000_000 // HOUR * HOUR
SPEED = 7_200.0  # venue seconds a second: two one-hour bars
every_dialect = pytest.mark.parametrize("name", DIALECTS)


@dataclass(frozen=True)
class Found:
    """What was found, sorted into what is well and what is not."""

    findings: list[Finding]

    @property
    def well(self) -> str:
        return "\n".join(one.text for one in self.findings if one.code is None)

    @property
    def problems(self) -> list[tuple[str, Exit]]:
        return [(one.text, one.code) for one in self.findings if one.code is not None]


def check(
    name: str,
    symbols: Sequence[str] = (),
    *,
    venue: str = "",
    lanes: Sequence[Lane] = (),
    mute: bool = False,
    **keys: object,
) -> Found:
    """Check a simulated venue with its example symbol; `venue` when it is another's than `name`."""
    played = VENUES[venue or name]
    streams = [Stream("sim", symbol, "1h") for symbol in symbols or (played.example,)]

    async def main() -> list[Finding]:
        tables: dict[str, Bars] = generate_many(7, [played.example], HOURLY, START, 400)
        async with Simulator(tables, HOURLY, venue=played, speed=SPEED, start_at=300) as simulator:
            if mute:
                simulator.faults.mute()
            part = {"ws_url": simulator.ws_url, "rest_url": simulator.rest_url}
            part |= {"dialect": name, "max_skew_s": math.inf, **keys}
            return await check_exchange("sim", ExchangeConfig(**part), streams, lanes)

    return Found(asyncio.run(main()))


@every_dialect
def test_all_is_well_at_every_venue(name: str):
    """REST answers, the newest bar is named, the subscription is taken, and bars are pushed."""
    found = check(name)
    assert found.problems == []
    assert all(one.part == "exchanges.sim" for one in found.findings)
    assert f"{VENUES[name].example} 1h: newest bar opens 2023-11-27T" in found.well
    assert "takes 1 subscription(s) and pushes bars" in found.well
    assert "its clock is -" in found.well


@every_dialect
def test_an_unknown_symbol_is_told_and_its_neighbour_is_well(name: str):
    """By the stream's own name and with code 78, whether or not the venue acknowledges it."""
    known = VENUES[name].example
    stranger = known.replace("BTC", "NOPE")
    found = check(name, [known, stranger])
    assert found.problems
    for text, code in found.problems:
        assert code is Exit.CONFIG
        assert stranger in text or "complains" in text
    assert any("spell the symbol as the venue does" in text for text, _ in found.problems)
    assert f"{known} 1h: newest bar opens" in found.well
    assert "and pushes bars" in found.well


def test_what_cannot_be_reached_is_told_with_the_key():
    """REST and websocket each on its own, code 75."""
    here = check("binance-spot", rest_url="http://127.0.0.1:9")
    ((rest, code),) = here.problems
    assert rest.startswith("http://127.0.0.1:9 cannot be asked: ")
    assert rest.endswith("; see rest_url")
    assert code is Exit.TEMPORARY
    assert "takes 1 subscription(s)" in here.well
    here = check("binance-spot", ws_url="ws://127.0.0.1:9")
    ((pushes, code),) = here.problems
    assert pushes.startswith("ws://127.0.0.1:9 cannot be listened to: ")
    assert pushes.endswith("; see ws_url")
    assert code is Exit.TEMPORARY
    assert "newest bar opens" in here.well


def test_another_venues_host_is_told():
    """The handshake's path is not there, nor are REST's; both keys are named."""
    found = check("kraken", ["BTC-USD"], venue="binance-spot")
    (rest, _), (pushes, _) = found.problems
    assert "HTTP 404" in rest
    assert rest.endswith("see rest_url")
    assert pushes.endswith("the handshake was refused: HTTP 404; see ws_url")


def test_an_acknowledgement_without_data_is_no_praise():
    """A venue that acknowledges and stays silent may be quiet; it is said that nothing came."""
    found = check("binance-spot", mute=True)
    assert found.problems == []
    assert "takes 1 subscription(s) and has pushed no bar yet: it may be quiet" in found.well


@pytest.mark.parametrize(("allowed", "problem"), [(5.0, True), (math.inf, False), (1e12, False)])
def test_a_clock_that_differs_is_a_problem_unless_it_may(allowed: float, problem: bool):  # noqa: FBT001
    """The simulator lives in another year: code 75 with the mend, or a word where it is meant."""
    found = check("binance-spot", max_skew_s=allowed)
    texts = [text for text, code in found.problems if code is Exit.TEMPORARY]
    assert len(texts) == problem
    if problem:
        assert "more than max_skew_s = 5 allows; set this machine's clock (NTP)" in texts[0]
    else:
        assert "more than a second: is this machine's clock right?" in found.well


@pytest.mark.parametrize(
    ("skew_ms", "step_ms", "note", "problem"),
    [
        (0, 1, False, False),
        (999, 1, False, False),
        (1001, 1, True, False),
        (-1002, 1, True, False),
        (-1500, 1000, False, False),
        (5000, 1, True, False),
        (5001, 1, False, True),
        (-5002, 1, False, True),
        (-5900, 1000, True, False),
    ],
)
def test_a_skew_is_noted_from_a_second_and_refused_beyond_what_is_allowed(
    skew_ms: int,
    step_ms: int,
    note: bool,  # noqa: FBT001
    problem: bool,  # noqa: FBT001
):
    """A clock of whole seconds is late by less than one without being wrong."""
    text, code = skew("https://venue", skew_ms, step_ms, max_skew_s=5.0)
    assert f"its clock is {skew_ms:+d} ms from ours" in text
    assert ("is this machine's clock right?" in text) == note
    assert (code is Exit.TEMPORARY) == problem


def test_a_venue_that_tells_no_time_has_no_skew():
    """Ours is taken, and that is said."""
    assert skew("ccxt:bitstamp", 0, None, max_skew_s=0.0) == (
        "ccxt:bitstamp tells no time: this machine's is taken",
        None,
    )


def test_every_problem_is_told_at_once():
    """A wrong clock, an unknown symbol and a dead websocket, in one run."""
    found = check("bybit-spot", ["NOPEUSDT"], max_skew_s=5.0, ws_url="ws://127.0.0.1:9")
    texts = "\n".join(text for text, _ in found.problems)
    assert len(found.problems) == 3
    assert "max_skew_s" in texts
    assert "NOPEUSDT 1h: " in texts
    assert "cannot be listened to" in texts


def test_a_history_that_the_venue_does_not_keep_is_told_though_it_is_unreachable():
    """Kraken keeps 720 bars; a stream whose gates look back further waits for the rest."""
    stream = Stream("sim", "BTC-USD", "1h")
    wants = lane(stream, cooldown_bars=1000)
    nowhere = {"rest_url": "http://127.0.0.1:9", "ws_url": "ws://127.0.0.1:9"}
    found = check("kraken", lanes=[wants], **nowhere)
    (short,) = [text for text, _ in found.problems if "bars of history" in text]
    assert f"needs {wants.history} bars of history, kraken keeps 720" in short
    assert f"nothing is decided for {wants.history - 720} bars" in short
    enough = check("hyperliquid", lanes=[wants], **nowhere)
    assert not any("bars of history" in text for text, _ in enough.problems)


def test_a_model_that_needs_what_the_venue_lacks_is_told(tmp_path: Path):
    """Counts of trades and takers' volume, which Bybit does not have; the same without is well."""
    stream, bars = Stream("sim", "BTCUSDT", "1h"), generate(5, HOURLY, START, 600)
    starved, fed = (
        Lane(
            stream,
            write_bundle(spec_on(features, bars), tmp_path / features.name).model,
            Policy(threshold=0.4),
        )
        for features in (SCALEFREE, SCALEFREE_OHLCV)
    )
    found = check("bybit-spot", lanes=[starved])
    ((text, code),) = found.problems
    assert code is Exit.CONFIG
    assert "the venue has no trades, taker_buy_base, taker_buy_quote, and" in text
    assert check("bybit-spot", lanes=[fed]).problems == []
    elsewhere = replace(starved, stream=Stream("sim", "ETHUSDT", "1h"))
    assert check("bybit-spot", lanes=[elsewhere]).problems == []
    assert check("binance-spot", lanes=[starved]).problems == []


def test_a_venue_of_ccxt_is_tried_the_same_way():
    """Markets, newest bar, clock and pushes; an unknown market is told with the nearest."""
    pytest.importorskip("ccxt", reason="ccxt is an optional dependency")
    found = check("ccxt:binanceus", venue="binance-spot", symbols=["BTC-USDT", "BTC-USDC"])
    ((text, code),) = found.problems
    assert code is Exit.CONFIG
    assert "no market 'BTC-USDC'; did you mean 'BTC-USDT'?" in text
    assert "BTC-USDT 1h: newest bar opens 2023-11-27T" in found.well
    assert "ccxt:binanceus pushes 1 of 2 stream(s)" in found.well
    found = check(
        "ccxt:binanceus", venue="binance-spot", symbols=["BTC-USDT"], rest_url="http://127.0.0.1:9"
    )
    assert [code for _, code in found.problems] == [Exit.TEMPORARY]
