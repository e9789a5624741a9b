"""What the live ledger says of signals is what the backtest says of them on the same candles."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import functools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from brokers import mosquitto, needs_mosquitto
from candled.compose import build
from candled.config import load_config
from candled.core.bar import Bars, Stream
from candled.core.decision import BarClosed, Decision, Side, Source, Target
from candled.core.engine import Engine, Lane
from candled.core.labels import LabelParams
from candled.core.track import Outcome
from candled.journal import JournalReader, open_reader
from candled.lab.backtest import tape_of_decisions
from candled.lab.backtest.rules import exits_of
from candled.lab.backtest.ways import ENDINGS, legs, ways
from candled.lab.rules import label_rule
from candled.lineup import load_lineup
from candled.offline.backtest import BacktestOptions, run_backtest
from candled.simulate import synthetic_start
from candled_adapters.candles.candlefile import write_candles
from candled_adapters.simulator.generator import generate_many
from candled_adapters.simulator.server import Simulator
from candles import HOURLY, candles, real_candles
from fakes import until
from ledger.worlds import FAST, World
from models import bundle, lane

BTC = Stream("binance", "BTCUSDT", "1h")
FIRST, PLAYED = 1500, 160


def assert_as_backtested(found: Sequence[Outcome], bars: Bars, made: Sequence) -> None:
    """Compare with what the lab's tape, legs and ways, and its labels, say of all decisions."""
    target = made[0].target
    tape = tape_of_decisions(bars, made)
    exits = exits_of(target)
    led = ways(tape, legs(tape, exits), exits)
    params = LabelParams(target.lookahead_bars, target.profit_pct, target.stop_pct)
    classes = label_rule(target.rule)(bars, params, tape.regime).classes
    rows = {int(bars.open_time[row]): row for row in np.flatnonzero(tape.side)}
    whole = [row for row in rows.values() if row + params.lookahead_bars < len(bars)]
    assert [rows[one.bar_open] for one in found] == sorted(whole)
    for one in found:
        row = rows[one.bar_open]
        assert one.id == tape.ids[row]
        assert one.right == (classes[row] == tape.side[row])
        assert one.probability == float(tape.probabilities[row, tape.side[row]])
        if led.open_to[row]:
            assert one.ended == ENDINGS[led.kind[row]]
            assert np.float64(one.gross_pct).tobytes() == led.gross_pct[row].tobytes()


@functools.cache
def market() -> Bars:
    names, start = ["BTCUSDT"], synthetic_start(HOURLY)
    return generate_many(5, names, HOURLY, start, FIRST + PLAYED + 1)["BTCUSDT"]


CONFIG = """
[state]
path = "state"

[mqtt]
url = "mqtt://127.0.0.1:{port}"

[log]
decisions = ""

[exchanges.binance]
dialect = "binance-spot"
ws_url = "{ws}"
rest_url = "{rest}"
max_skew_s = inf

[[streams]]
exchange = "binance"
symbols = ["BTCUSDT"]
interval = "1h"
bundle = "bundle"
"""


async def _serve(folder: Path, port: int) -> list[Outcome]:
    """Run the daemon over the simulator until the last bar that is played has its decision."""
    venue = Simulator(
        {"BTCUSDT": market()}, HOURLY, speed=100 * 3600.0, start_at=FIRST, bars=PLAYED
    )
    async with venue:
        config = folder / "config.toml"
        text = CONFIG.format(port=port, ws=venue.ws_url, rest=venue.rest_url)
        config.write_text(text, encoding="utf-8")
        loaded = load_config(config)
        daemon = build(loaded, load_lineup(loaded, config))
        stop = asyncio.Event()
        task = asyncio.create_task(daemon.service.run(stop))
        try:
            last = int(market().open_time[FIRST + PLAYED - 1])

            def over() -> bool:
                newest = daemon.journal.latest()
                return bool(newest) and newest[-1].decision.bar_open == last

            await until(over, 60, "the last bar is decided")
            marked = daemon.journal.last_position
            await until(lambda: daemon.journal.position("ledger") >= marked, 20)
            found = daemon.ledger.outcomes(BTC, 0)
            track = daemon.ledger.track(BTC)
        finally:
            stop.set()
            await task
            daemon.journal.close()
    assert track.n == len(found)
    assert track.hits == sum(one.right for one in found)
    return found


def _trades(folder: Path) -> dict[str, dict[str, str]]:
    """Run `candled backtest` on the same candles; return its trades by their decisions' ids."""
    file = folder / "BTCUSDT_1h.csv.gz"
    write_candles(file, market()[: FIRST + PLAYED])
    chosen = BacktestOptions(
        bundle=folder / "bundle",
        candles=(file,),
        exchange="binance",
        threshold=None,
        regime="notebook",
        regime_gate=False,
        fee_pct=0.1,
        slippage_pct=0.0,
        funding_pct=0.0,
        exits=("target", "stop", "time"),
        sides="both",
        limit_pct=None,
        fraction=1.0,
        max_positions=None,
        first=int(market().open_time[FIRST]),
        last=None,
        trained_until=None,
        out_of_sample=False,
        sweep=False,
        trades=folder / "trades.csv",
        as_json=True,
    )
    run_backtest(chosen)
    with (folder / "trades.csv").open(newline="") as text:
        return {trade["id"]: trade for trade in csv.DictReader(text)}


@needs_mosquitto
def test_a_daemons_outcomes_are_those_of_the_backtest_command(tmp_path: Path):
    """Simulator, feed, engine, journal and ledger; then the command on the same candle file."""
    bundle(tmp_path / "bundle")
    with mosquitto(tmp_path) as broker:
        found = asyncio.run(_serve(tmp_path, broker.port))
    trades = _trades(tmp_path)
    traded = [one for one in found if one.id in trades]
    assert len(found) > len(traded) > 3
    for one in traded:
        trade = trades[one.id]
        assert (one.side.value, one.ended) == (trade["side"], trade["ending"])
        assert one.gross_pct == float(trade["gross_pct"])
    with open_reader(tmp_path / "state") as reader:
        _assert_journal_is_as_backtested(reader, found)


def _assert_journal_is_as_backtested(reader: JournalReader, found: Sequence[Outcome]) -> None:
    made, bars = reader.decisions(BTC), reader.bars(BTC)
    assert_as_backtested(found, bars, made)
    assert reader.outcomes(BTC) == list(found)


def _decided(bars: Bars, taken: Lane, first: int) -> Iterator[tuple[Decision, BarClosed]]:
    engine = Engine([taken])
    engine.warm(BTC, bars[:first], from_listing=False)
    for bar in bars[first:]:
        event = BarClosed(BTC, bar, Source.WS, 0, bar.close_time)
        yield engine.decide([event])[0], event


def _journalled(bars: Bars, taken: Lane, first: int) -> None:
    """Decide bars one by one into a journal beside a ledger, and compare."""

    async def life() -> None:
        with tempfile.TemporaryDirectory(dir=FAST) as folder:
            world = World(Path(folder))
            world.history(bars[:first])
            made = []
            try:
                for decided, event in _decided(bars, taken, first):
                    world.journal.commit([event], [decided], [event.received_ms])
                    made.append(decided)
                    await world.settled()
                found = world.found()
            finally:
                await world.end()
        assert len(found) > 20
        assert {one.side for one in found} == {Side.LONG, Side.SHORT}
        assert_as_backtested(found, bars, made)

    asyncio.run(life())


@pytest.mark.parametrize("rule", ["window", "first_touch"])
def test_a_models_signals_end_as_backtested(rule: str):
    """By either rule, with a stop wider than the target, where regimes settle what is both."""
    taken = lane(BTC)
    wide = Target(24, 0.9, 1.6, rule)
    taken = dataclasses.replace(taken, model=dataclasses.replace(taken.model, target=wide))
    _journalled(candles(1750, seed=10), taken, 1450)


def test_real_signals_end_as_backtested():
    """On real candles, whose prices have gaps and ties, with the model's own target."""
    bars = real_candles()
    _journalled(bars[7_600:9_350], lane(BTC, threshold=0.5), 1450)
