"""The engine decides a bar alike: alone, in any batch, after any restart, as in the batch table."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candled.core.bar import DAY, HOUR, Bar, Bars, Interval, Stream
from candled.core.decision import (
    SIDES,
    BarClosed,
    Decision,
    Policy,
    Quality,
    Reason,
    Side,
    Source,
    decision_id,
)
from candled.core.engine import Engine, Lane
from candled.core.features.mar import MAR
from candled.core.model import Booster
from candled.core.regime import PRESETS, RANGING, TRENDING_DOWN, TRENDING_UP
from candled.lab.predict import predict
from candled.lab.regimes import bar_regimes
from candles import HOURLY, bars_at, candles
from models import THRESHOLD, lane, model

HISTORY = MAR.history
LIVE = 25
STREAMS = tuple(Stream("binance", name, "1h") for name in ("AUSDT", "BUSDT", "CUSDT", "DUSDT"))
BTC = STREAMS[0]


def lanes() -> list[Lane]:
    """Four streams on two models, with policies of their own."""
    a, b, c, d = STREAMS
    return [
        lane(a),
        lane(b, seed=2, regime_gate=True),
        lane(c, threshold=0.5),
        lane(d, seed=2, regime="aggressive"),
    ]


@functools.cache
def series(stream: Stream) -> Bars:
    """Each stream's own candles, of seeds that show every kind of decision."""
    return candles(HISTORY + LIVE, seed=(10, 47, 19, 45)[STREAMS.index(stream)])


def event(stream: Stream, bar: Bar) -> BarClosed:
    return BarClosed(stream, bar, Source.WS, 0, 0)


def events(stream: Stream, bars: Iterable[Bar]) -> list[BarClosed]:
    return [event(stream, bar) for bar in bars]


def warmed(kinds: Sequence[Lane]) -> Engine:
    """Return an engine whose streams have their history."""
    engine = Engine(kinds)
    for kind in kinds:
        engine.warm(kind.stream, series(kind.stream)[:HISTORY], from_listing=False)
    return engine


def one_by_one(engine: Engine, closed: Sequence[BarClosed]) -> list[Decision]:
    return [decision for one in closed for decision in engine.decide([one])]


@functools.cache
def alone() -> dict[tuple[Stream, int], Decision]:
    """Every stream's decisions in an engine of its own, bar by bar."""
    made: dict[tuple[Stream, int], Decision] = {}
    for kind in lanes():
        bars = series(kind.stream)[HISTORY:]
        for decision in one_by_one(warmed([kind]), events(kind.stream, bars)):
            made[decision.stream, decision.bar_open] = decision
    return made


# --- one decision, whatever the batch


@settings(max_examples=12, deadline=None)
@given(
    turns=st.permutations([index for index in range(len(STREAMS)) for _ in range(LIVE)]),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=len(STREAMS) * LIVE),
)
def test_any_batch_gives_the_decisions_of_single_bars(turns: list[int], sizes: list[int]):
    """However bars of several streams fall into batches, each decision is the one made alone."""
    bars = [iter(series(stream)[HISTORY:]) for stream in STREAMS]
    queue = [event(STREAMS[turn], next(bars[turn])) for turn in turns]
    engine = warmed(lanes())
    made: list[Decision] = []
    cut = iter(sizes)
    while len(made) < len(queue):
        batch = queue[len(made) : len(made) + next(cut, len(queue))]
        made += engine.decide(batch)
    assert [(d.stream, d.bar_open) for d in made] == [(e.stream, e.bar.open_time) for e in queue]
    assert made == [alone()[e.stream, e.bar.open_time] for e in queue]


def test_the_cases_are_not_all_alike():
    """The decisions that the other tests compare hold signals of both sides, flats and gates."""
    sides = {decision.side for decision in alone().values()}
    assert sides == {Side.LONG, Side.SHORT, Side.FLAT}
    assert Reason.REGIME in {decision.reason for decision in alone().values()}
    assert len({decision.regime for decision in alone().values()}) == 3


@pytest.mark.parametrize("size", [1, 9, 9999])
def test_live_is_the_batch_table(size: int):
    """Live probabilities, sides and regimes are those of the whole table, to the bit."""
    bars = candles(HISTORY + 200, seed=3)
    engine = Engine([lane(BTC)])
    queue = events(BTC, bars)
    made = [d for at in range(0, len(queue), size) for d in engine.decide(queue[at : at + size])]
    answers = predict(bars, model())
    offset = len(bars) - len(answers)
    regimes = bar_regimes(bars, HOURLY, "notebook")
    for index in range(HISTORY - 1, len(bars)):
        decision, answer = made[index], answers.probabilities[index - offset]
        assert decision.bar_open == answers.open_time[index - offset]
        assert decision.probabilities is not None
        assert dataclasses.astuple(decision.probabilities) == tuple(answer.tolist())
        assert decision.side is SIDES[answers.signal[index - offset]]
        assert (decision.raw_regime, decision.regime) == tuple(regimes[index])
        assert decision.price == bars.close[index]


# --- restarts


COUNT = HISTORY + 280


@functools.cache
def holed() -> Bars:
    """Return candles of which some are missing, and some without trades and at rest."""
    bars = candles(COUNT + 20, seed=21)
    volume, close, opened = bars.volume.copy(), bars.close.copy(), bars.open.copy()
    for start in HISTORY + np.array([-400, 15, 80, 81, 235]):
        volume[start] = 0.0
        close[start] = opened[start]
    gone = [-460, -459, 10, 25, 70, 71, 72, 73, 130, 168, 210, *range(240, 249)]
    still = dataclasses.replace(bars, volume=volume, close=close)
    return bars_at(still, np.delete(np.arange(COUNT + 20), HISTORY + np.array(gone)))


@functools.cache
def resting() -> Bars:
    """Return candles whose price stands still for nearly all of a history."""
    bars = candles(COUNT, seed=22)
    close = bars.close.copy()
    close[150 : HISTORY + 140] = close[150] + 0.1
    return dataclasses.replace(bars, close=close)


SHAPES = {"holed": holed, "resting": resting}


@functools.cache
def uninterrupted(shape: str, preset: str) -> list[Decision]:
    engine = Engine([lane(BTC, regime=preset, regime_gate=True)])
    return engine.decide(events(BTC, SHAPES[shape]()))


@settings(max_examples=15, deadline=None)
@given(
    stop=st.integers(HISTORY, COUNT - 1),
    preset=st.sampled_from(sorted(PRESETS)),
    shape=st.sampled_from(sorted(SHAPES)),
)
def test_a_restart_changes_nothing(stop: int, preset: str, shape: str):
    """An engine that begins with the last `history` bars decides as one that has seen them all."""
    again = Engine([lane(BTC, regime=preset, regime_gate=True)])
    bars = SHAPES[shape]()
    again.warm(BTC, bars[stop - HISTORY : stop], from_listing=False)
    assert again.decide(events(BTC, bars[stop:])) == uninterrupted(shape, preset)[stop:]


@pytest.mark.parametrize("shape", SHAPES)
def test_live_rows_are_the_tables_rows_whatever_the_shape(shape: str):
    """With holes or prices that stand still, live probabilities are the table's, to the bit."""
    bars = SHAPES[shape]()
    answers = predict(bars, model()).probabilities[-280:].tolist()
    made = uninterrupted(shape, "notebook")[-280:]
    assert [dataclasses.astuple(d.probabilities) for d in made if d.probabilities] == [
        tuple(answer) for answer in answers
    ]


def test_warming_again_begins_anew():
    """A stream that is warmed a second time forgets what it had seen before; the others do not."""
    a, b, *_ = STREAMS
    engine = warmed([lane(a), lane(b)])
    engine.decide(events(a, series(a)[HISTORY : HISTORY + 9]))
    other = candles(HISTORY + 5, seed=77)
    engine.warm(a, other[:HISTORY], from_listing=False)
    fresh = Engine([lane(a)])
    fresh.warm(a, other[:HISTORY], from_listing=False)
    assert engine.decide(events(a, other[HISTORY:])) == fresh.decide(events(a, other[HISTORY:]))
    first = event(b, series(b).row(HISTORY))
    assert engine.decide([first]) == warmed([lane(b)]).decide([first])


# --- warm-up


def reasons(made: Iterable[Decision]) -> list[Reason | None]:
    return [decision.reason for decision in made]


@pytest.mark.parametrize(
    ("history", "from_listing", "needed"),
    [
        (0, False, HISTORY),
        (100, False, HISTORY),
        (HISTORY - 1, False, HISTORY),
        (HISTORY, False, HISTORY),
        (0, True, 41),
        (30, True, 41),
        (41, True, 41),
    ],
)
def test_warm_up_ends_when_nothing_older_can_matter(
    history: int, *, from_listing: bool, needed: int
):
    """A bar is decided once its history is full, or from the 41st of a listing on."""
    bars = candles(needed + 3, seed=4)
    engine = Engine([lane(BTC)])
    engine.warm(BTC, bars[:history], from_listing=from_listing)
    made = engine.decide(events(BTC, bars[history:]))
    waiting = max(0, needed - 1 - history)
    assert reasons(made[:waiting]) == [Reason.WARMUP] * waiting
    assert {d.side for d in made[:waiting]} <= {Side.NO_DECISION}
    assert all(d.probabilities is None for d in made[:waiting])
    assert reasons(made[waiting:]) == [None] * (len(made) - waiting)
    assert all(d.probabilities is not None for d in made[waiting:])
    assert len(made) - waiting >= 3


def test_a_short_listing_is_decided_as_its_whole_table():
    """A young symbol's decisions are those of the table over all the bars there have ever been."""
    bars = candles(60, seed=5)
    engine = Engine([lane(BTC)])
    engine.warm(BTC, bars[:20], from_listing=True)
    made = engine.decide(events(BTC, bars[20:]))
    answers = predict(bars, model())
    got = [dataclasses.astuple(d.probabilities) for d in made if d.probabilities]
    assert got == [tuple(row) for row in answers.probabilities.tolist()]


# --- what must not come in


@pytest.mark.parametrize("back", [0, 1, 5])
def test_a_bar_comes_once_and_in_order(back: int):
    """A bar that is not newer than the stream's last one is refused with the stream's name."""
    engine = warmed([lane(BTC)])
    bars = series(BTC)
    old = event(BTC, bars.row(HISTORY - 1 - back))
    with pytest.raises(ValueError, match=r"binance/AUSDT/1h: bar \d+ after \d+; .* time order"):
        engine.decide([old])
    twice = event(BTC, bars.row(HISTORY + 5))
    with pytest.raises(ValueError, match="once each"):
        engine.decide([twice, twice])


def test_history_must_be_in_order_too():
    """A history that goes back in time is refused."""
    bars = candles(3)
    with pytest.raises(ValueError, match="time order"):
        Engine([lane(BTC)]).warm(BTC, bars_at(bars, np.array([0, 2, 1])), from_listing=False)


def test_unknown_streams_and_two_models_for_one_are_refused():
    """The engine decides the streams it was given, each by one model."""
    engine = Engine([lane(BTC)])
    assert engine.streams == (BTC,)
    assert engine.history(BTC) == HISTORY
    with pytest.raises(KeyError):
        engine.decide([event(STREAMS[1], candles(1).row(0))])
    for seed in (1, 2):
        with pytest.raises(ValueError, match="binance/AUSDT/1h is given to two models"):
            Engine([lane(BTC), lane(BTC, seed=seed)])


def test_nothing_to_decide_is_nothing():
    """An empty batch gives no decisions."""
    assert warmed([lane(BTC)]).decide([]) == []


class Watched:
    """The real booster; it remembers what it was asked, and whether it was ever asked nonsense."""

    def __init__(self, booster: Booster) -> None:
        self._booster = booster
        self.rows = 0

    def predict(self, rows: np.ndarray) -> np.ndarray:
        assert np.isfinite(rows).all()
        self.rows += len(rows)
        return self._booster.predict(rows)


@pytest.mark.parametrize("close", [float("nan"), float("inf"), -float("inf"), 0.0])
def test_what_is_not_finite_never_reaches_the_model(close: float):
    """A close that makes a feature NaN or infinite is not decided; its neighbours are."""
    a, _, c, _ = STREAMS
    watched = Watched(model().booster)
    watching = dataclasses.replace(model(), booster=watched)
    kinds = [dataclasses.replace(kind, model=watching) for kind in lanes() if kind.stream in (a, c)]
    engine = warmed(kinds)
    bad = dataclasses.replace(series(a).row(HISTORY), close=close)
    with np.errstate(all="ignore"):
        spoilt, fine = engine.decide([event(a, bad), event(c, series(c).row(HISTORY))])
        after = engine.decide(events(a, series(a)[HISTORY + 1 :]))
    assert (spoilt.side, spoilt.reason) == (Side.NO_DECISION, Reason.NOT_FINITE)
    assert spoilt.probabilities is None
    assert fine == alone()[c, fine.bar_open]
    asked = [decision for decision in after if decision.probabilities is not None]
    assert watched.rows == 1 + len(asked)
    if close != 0.0:
        assert not asked


# --- quality


def flagged(made: Sequence[Decision], flag: Quality) -> list[int]:
    return [index for index, decision in enumerate(made) if flag in decision.quality]


@settings(max_examples=25, deadline=None)
@given(gone=st.sets(st.integers(1, 118), max_size=6))
def test_a_gap_is_flagged_while_the_kernel_sees_it(gone: set[int]):
    """A decision says `gap` exactly while two of its 41 bars are not neighbours in time."""
    kept = np.array([index for index in range(120) if index not in gone])
    bars = bars_at(candles(120, seed=6), kept)
    history = len(bars) // 3
    engine = Engine([lane(BTC)])
    engine.warm(BTC, bars[:history], from_listing=True)
    made = engine.decide(events(BTC, bars[history:]))
    expected = [
        index - history
        for index in range(history, len(bars))
        if np.any(np.diff(kept[max(0, index - 40) : index + 1]) > 1)
    ]
    assert flagged(made, Quality.GAP) == expected


def test_a_gap_is_seen_in_forty_rows():
    """After one missing bar the next 40 bars say so, and the 41st does not."""
    bars = bars_at(candles(100, seed=6), np.delete(np.arange(100), 50))
    made = Engine([lane(BTC)]).decide(events(BTC, bars))
    assert flagged(made, Quality.GAP) == list(range(50, 90))


def test_a_month_is_no_gap():
    """Months of different lengths are neighbours; a missing February is a gap."""
    stream = Stream("binance", "BTCUSDT", "1M")
    months = [ms(2024, month) for month in (1, 2, 3, 4)]
    bars = [dataclasses.replace(candles(1).row(0), open_time=opened) for opened in months]
    made = Engine([lane(stream)]).decide(events(stream, bars))
    assert flagged(made, Quality.GAP) == []
    made = Engine([lane(stream)]).decide(events(stream, [bars[0], bars[2]]))
    assert flagged(made, Quality.GAP) == [1]


def test_a_bar_without_trades_is_flagged():
    """Zero volume is said of that bar alone; an unknown volume is not zero."""
    zero, nan = (
        dataclasses.replace(series(BTC).row(HISTORY + at), volume=volume)
        for at, volume in ((0, 0.0), (1, float("nan")))
    )
    made = warmed([lane(BTC)]).decide(events(BTC, [zero, nan, series(BTC).row(HISTORY + 2)]))
    assert flagged(made, Quality.ZERO_VOLUME) == [0]


# --- policy


def test_the_gate_suppresses_what_the_regime_does_not_allow():
    """With the gate, long passes in an uptrend, short in a downtrend; the rest is flat, and why."""
    bars = candles(HISTORY + 280, seed=10)
    free, gated = (
        Engine([lane(BTC, regime_gate=gate)]).decide(events(BTC, bars))[HISTORY:]
        for gate in (False, True)
    )
    allowed = {Side.LONG: TRENDING_UP, Side.SHORT: TRENDING_DOWN}
    outcomes = set()
    for before, after in zip(free, gated, strict=True):
        assert before.reason is None
        assert (before.regime, before.probabilities) == (after.regime, after.probabilities)
        suppressed = before.side in allowed and before.regime != allowed[before.side]
        assert after.side is (Side.FLAT if suppressed else before.side)
        assert after.reason is (Reason.REGIME if suppressed else None)
        outcomes.add((before.side, before.regime, suppressed))
    assert {(side, regime) for side, regime, _ in outcomes} >= {
        (side, regime) for side in allowed for regime in (RANGING, TRENDING_UP, TRENDING_DOWN)
    }


@pytest.mark.parametrize("side", [Side.LONG, Side.SHORT])
def test_each_stream_has_its_own_threshold(side: Side):
    """Streams that share a model and a batch are judged by their own thresholds, strictly above."""
    low, high, exact, below = STREAMS
    bars = series(low)
    at, chosen = next(
        (at, decision)
        for at, decision in enumerate(alone().values())
        if decision.stream == low and decision.side is side
    )
    assert chosen.probabilities is not None
    best = chosen.probabilities.long if side is Side.LONG else chosen.probabilities.short
    under = float(np.nextafter(np.float32(best), np.float32(0)))
    thresholds = {low: 0.35, high: 0.99, exact: best, below: under}
    engine = Engine([lane(stream, threshold=value) for stream, value in thresholds.items()])
    for stream in STREAMS:
        engine.warm(stream, bars[at : HISTORY + at], from_listing=False)
    made = engine.decide([event(stream, bars.row(HISTORY + at)) for stream in STREAMS])
    assert [decision.threshold for decision in made] == list(thresholds.values())
    assert [decision.side for decision in made] == [side, Side.FLAT, Side.FLAT, side]
    assert {decision.probabilities for decision in made} == {chosen.probabilities}


def test_ids_are_of_the_stream_the_model_the_policy_and_the_bar():
    """Every slot has its own id, and the same id whenever it is decided with the same means."""
    made = list(alone().values())
    assert len({decision.id for decision in made}) == len(made)
    for decision in made:
        kind = next(kind for kind in lanes() if kind.stream == decision.stream)
        expected = (kind.model.digest, kind.policy.digest, decision.bar_open, 0)
        assert decision.id == decision_id(decision.stream, *expected)
        assert (decision.model_digest, decision.policy_digest) == expected[:2]
    other_policy = warmed([lane(BTC, valid_bars=2)])
    other_model = warmed([lane(BTC, seed=2)])
    first = event(BTC, series(BTC).row(HISTORY))
    ids = {engine.decide([first])[0].id for engine in (other_policy, other_model)}
    assert len(ids | {alone()[BTC, first.bar.open_time].id}) == 3


def ms(year: int, month: int, day: int = 1) -> int:
    return int(dt.datetime(year, month, day, tzinfo=dt.UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("interval", "opened", "valid_bars", "close", "until"),
    [
        ("1M", ms(2024, 1), 1, ms(2024, 2), ms(2024, 3)),
        ("1M", ms(2023, 11), 3, ms(2023, 12), ms(2024, 3)),
        ("1w", ms(2024, 1), 2, ms(2024, 1, 8), ms(2024, 1, 22)),
        ("1h", ms(2024, 2, 29), 1, ms(2024, 2, 29) + HOUR, ms(2024, 2, 29) + 2 * HOUR),
        ("1h", ms(2024, 2, 29), 24, ms(2024, 2, 29) + HOUR, ms(2024, 2, 29) + DAY + HOUR),
    ],
)
def test_a_signal_lasts_whole_bars(
    interval: str, opened: int, valid_bars: int, close: int, until: int
):
    """A decision closes with its slot and expires so many slots later, months by the calendar."""
    stream = Stream("binance", "BTCUSDT", Interval(interval).name)
    kind = Lane(stream, model(), Policy(threshold=THRESHOLD, valid_bars=valid_bars))
    bar = dataclasses.replace(candles(1).row(0), open_time=opened)
    (decision,) = Engine([kind]).decide([event(stream, bar)])
    assert (decision.bar_open, decision.bar_close) == (opened, close)
    assert decision.valid_until == until
