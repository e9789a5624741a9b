"""Replay: a stretch of history gives, from the batch kernel, the decisions made bar by bar."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from candled.core.bar import Bars, Stream
from candled.core.decision import SIDES, BarClosed, Decision, Quality, Reason, Side, Source
from candled.core.engine import Engine
from candled.core.features.mar import MAR
from candled.core.model import Model, Ranges
from candled.lab.predict import predict
from candles import HOURLY, bars_at, candles, differing
from models import THRESHOLD, lane, model

HISTORY = MAR.history
COUNT = 2 * HISTORY + 500
BTC, ETH = Stream("binance", "BTCUSDT", "1h"), Stream("binance", "ETHUSDT", "1h")


@functools.cache
def history() -> Bars:
    """Return candles with holes, idle and flat bars, wicks, and closes that no model may see."""
    bars = candles(COUNT + 12, seed=10)
    volume, close, high, low = (
        getattr(bars, name).copy() for name in ("volume", "close", "high", "low")
    )
    opens = bars.open.copy()
    volume[::97] = 0.0
    close[[200, COUNT - 90]] = np.nan
    for flat in (60, HISTORY - 30, HISTORY + 280, COUNT - 60):
        for column in (opens, high, low, close):
            column[flat : flat + 5] = opens[flat]
        volume[flat : flat + 5] = 0.0
    high[[80, HISTORY - 12, HISTORY + 40, HISTORY + 299, COUNT - 70]] *= 1.4
    low[[75, HISTORY + 61, COUNT - 55]] *= 0.7
    gone = [30, 31, 700, *range(1500, 1505), HISTORY + 3, HISTORY + 60, COUNT - 40, COUNT - 9]
    odd = dataclasses.replace(bars, volume=volume, open=opens, high=high, low=low, close=close)
    return bars_at(odd, np.delete(np.arange(COUNT + 12), gone))


@functools.cache
def trusted() -> Model:
    """Return a model that knows its ranges and limits, so that every gate can close."""
    with np.errstate(invalid="ignore"):
        table = MAR.table(history(), HOURLY)
    usable = table[np.isfinite(table).all(axis=1)]
    ranges = Ranges(np.quantile(usable, 0.05, axis=0), np.quantile(usable, 0.95, axis=0))
    limits = np.array([0.28, 0.3, 0.3], dtype=np.float32)
    return dataclasses.replace(model(), digest="trusted", ranges=ranges, abstain_limits=limits)


GATES = {
    "gap_mute_bars": 45,
    "regime_gate": True,
    "abstain": True,
    "novelty_max": 10 / 220,
    "cooldown_bars": 2,
}


def engine(gate: bool = True) -> Engine:  # noqa: FBT001, FBT002
    first = dataclasses.replace(lane(BTC, **GATES), model=trusted()) if gate else lane(BTC)
    return Engine([first, lane(ETH, threshold=0.5)])


def comparable(decision: Decision) -> Decision:
    """Return the decision with a price that equals itself."""
    if decision.price == decision.price:
        return decision
    return dataclasses.replace(decision, price=-1.0)


def one_by_one(deciding: Engine, bars: Bars, stream: Stream = BTC) -> list[Decision]:
    closed = [BarClosed(stream, bar, Source.BACKFILL, 0, 0) for bar in bars]
    return [comparable(decision) for one in closed for decision in deciding.decide([one])]


def replayed(deciding: Engine, bars: Bars, size: int = 8192) -> list[Decision]:
    return [comparable(made) for block in deciding.replay(BTC, bars, size) for made in block]


@functools.cache
def live(*, listed: bool = False) -> list[Decision]:
    """Every decision of the whole history, made bar by bar."""
    deciding = engine()
    deciding.warm(BTC, history()[:0], from_listing=listed)
    return one_by_one(deciding, history())


def test_the_history_shows_every_kind_of_decision():
    """What the other tests compare holds all sides, reasons, regimes and flags."""
    made = live()
    assert {decision.side for decision in made} == set(Side)
    assert {decision.reason for decision in made} == {None, *Reason} - {Reason.EXPIRED}
    assert {decision.regime for decision in made} == {0, 1, 2}
    assert {flag for decision in made for flag in decision.quality} == set(Quality)


@pytest.mark.parametrize("size", [8192, 1000, 333])
def test_a_replay_from_nothing_is_the_live_run(size: int):
    """All fields of all decisions are those made bar by bar, ids included, whatever the blocks."""
    blocks = list(engine().replay(BTC, history(), size))
    assert max(map(len, blocks)) <= size
    assert [comparable(decision) for block in blocks for decision in block] == live()


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    warm=st.integers(0, HISTORY + 20),
    length=st.integers(0, HISTORY + 300),
    size=st.sampled_from([8192, 700, 250]),
    listed=st.booleans(),
)
def test_a_replay_goes_on_where_a_stream_stands(warm, length, size, listed):
    """After any warm-up a stretch replayed, and what is then decided live, is the live run."""
    bars, deciding = history(), engine()
    deciding.warm(BTC, bars[:warm], from_listing=listed)
    stop = warm + length
    made = replayed(deciding, bars[warm:stop], size)
    made += one_by_one(deciding, bars[stop : stop + 60])
    made += replayed(deciding, bars[stop + 60 : stop + 99], size)
    assert made == live(listed=listed)[warm : stop + 99]


def test_a_restart_just_before_an_unusual_bar_changes_nothing():
    """The last bars of the history are all that is needed to see what is unusual in the next."""
    bars, whole = history(), replayed(engine(gate=False), history())
    need, flags = engine(gate=False).history(BTC), {Quality.WICK, Quality.FLAT_RUN}
    unusual = [at for at, one in enumerate(whole) if at >= need and flags & {*one.quality}]
    assert {flag for at in unusual for flag in whole[at].quality} >= flags
    for at in unusual:
        deciding = engine(gate=False)
        deciding.warm(BTC, bars[at - need : at], from_listing=False)
        assert one_by_one(deciding, bars[at : at + 1]) == [whole[at]]


def test_a_replay_after_live_decisions_goes_on_too():
    """Deciding, replaying a long stretch, and deciding again is one live run."""
    deciding = engine()
    bars = history()
    made = one_by_one(deciding, bars[:50])
    made += replayed(deciding, bars[50 : COUNT - 80], 600)
    made += one_by_one(deciding, bars[COUNT - 80 :])
    assert made == live()


def test_a_block_taken_leaves_the_stream_behind_it():
    """A replay that is left after a block can be continued with `decide` from the next bar."""
    deciding = engine()
    blocks = deciding.replay(BTC, history(), 1700)
    assert list(map(comparable, next(blocks))) == live()[:1700]
    assert one_by_one(deciding, history()[1700:1750]) == live()[1700:1750]


class Recording:
    """The real model; it keeps the rows that it was asked about."""

    def __init__(self) -> None:
        self.rows: list[np.ndarray] = []

    def __getattr__(self, name: str) -> object:
        return getattr(model(), name)

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        self.rows.append(rows)
        return model().probabilities(rows)


@pytest.mark.parametrize("warm", [HISTORY, 1900])
def test_the_rows_asked_about_are_the_tables_to_the_bit(warm: int):
    """No difference hides behind a model that does not notice it: the rows themselves are equal."""
    recording, bars = Recording(), history()
    deciding = Engine([dataclasses.replace(lane(BTC), model=recording)])
    deciding.warm(BTC, bars[:warm], from_listing=False)
    replayed(deciding, bars[warm:])
    table = MAR.table(bars, HOURLY)[warm:]
    assert differing(np.concatenate(recording.rows), table[np.isfinite(table).all(axis=1)]) == 0


def test_other_streams_stand_still():
    """Replaying one stream changes nothing for another that shares its model."""
    deciding, untouched = engine(), engine()
    bars = candles(HISTORY + 9, seed=11)
    for one in (deciding, untouched):
        one.warm(ETH, bars[:HISTORY], from_listing=False)
    replayed(deciding, history())
    assert one_by_one(deciding, bars[HISTORY:], ETH) == one_by_one(untouched, bars[HISTORY:], ETH)


def test_signals_are_those_of_predict():
    """Where both answer, a replay's probabilities and sides are those of the batch prediction."""
    bars = history()
    answers = predict(bars, model(), THRESHOLD)
    asked = {time: row for row, time in enumerate(answers.open_time.tolist())}
    made = [decision for decision in replayed(engine(gate=False), bars) if decision.probabilities]
    assert len(made) > 1000
    for decision in made:
        row = asked[decision.bar_open]
        assert dataclasses.astuple(decision.probabilities) == tuple(
            answers.probabilities[row].tolist()
        )
        assert decision.side is SIDES[answers.signal[row]]


def test_bars_out_of_order_are_refused():
    """A stretch that goes back in time, or overlaps what was decided, is refused."""
    bars = candles(20, seed=1)
    with pytest.raises(ValueError, match="time order"):
        replayed(engine(), bars_at(bars, np.array([0, 2, 1])))
    deciding = engine()
    replayed(deciding, bars)
    with pytest.raises(ValueError, match="once each"):
        replayed(deciding, bars[-1:])


def test_nothing_to_replay_is_nothing():
    """No bars give no decisions, before and after others."""
    deciding = engine()
    assert replayed(deciding, history()[:0]) == []
    one_by_one(deciding, history()[:3])
    assert replayed(deciding, history()[:0]) == []
