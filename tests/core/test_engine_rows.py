"""What the engine asks a model about can be looked at: those rows, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from candled.core.bar import Bars, Stream
from candled.core.decision import BarClosed, Decision, Reason, Side, Source
from candled.core.engine import Engine
from candled.core.model import Model
from candles import HOURLY, candles, differing
from drifting import BTC, ETH, TOY, lane
from toys import Floats, ToyState

SOL = Stream("binance", "SOLUSDT", "1h")
SERIES = {BTC: 10, ETH: 11, SOL: 12}
SHOWN = tuple[Model, list[Decision], Floats]


def series(stream: Stream, count: int = 300) -> Bars:
    return candles(count, seed=SERIES[stream])


def closed(stream: Stream, row: int) -> BarClosed:
    return BarClosed(stream, series(stream).row(row), Source.WS, 0, 0)


def test_each_answered_row_is_shown_once_with_its_decision():
    """To the bit that of the table; two models, streams out of step, several bars of one stream."""
    shown: list[SHOWN] = []
    lanes = [lane(BTC), lane(ETH), lane(SOL, digest="other")]
    engine = Engine(lanes, on_rows=lambda *what: shown.append(what))
    silent = Engine(lanes)
    for one in (engine, silent):
        for each in lanes:
            one.warm(each.stream, series(each.stream)[:200], from_listing=True)
    batch = [closed(stream, row) for row in range(200, 203) for stream in (ETH, SOL, BTC)]
    batch += [closed(ETH, 203), closed(ETH, 204)]
    decisions = engine.decide(batch)
    assert decisions == silent.decide(batch)
    assert [len(made) for _, made, _ in shown] == [2, 1, 2, 1, 2, 1, 1, 1]
    seen = [one for _, made, _ in shown for one in made]
    assert sorted(one.id for one in seen) == sorted(one.id for one in decisions)
    for asked, made, features in shown:
        assert features.shape == (len(made), len(TOY.columns))
        for one, row in zip(made, features, strict=True):
            table = TOY.table(series(one.stream), HOURLY)
            at = np.flatnonzero(series(one.stream).open_time == one.bar_open)[0]
            assert differing(row, table[at]) == 0
            assert one.model_digest == asked.digest
            odds = asked.probabilities(row[np.newaxis])[0].tolist()
            assert [one.probabilities.no_trade, one.probabilities.long] == odds[:2]


def test_what_no_model_was_asked_or_was_not_answered_is_not_shown():
    """Neither in warming, nor what is replayed to correct or prove."""
    shown: list[SHOWN] = []
    kind = lane(BTC)
    engine = Engine([kind], on_rows=lambda *what: shown.append(what))
    engine.warm(BTC, series(BTC)[:5], from_listing=True)
    made = engine.decide([closed(BTC, row) for row in range(5, 105)])
    assert {one.reason for one in made if one.side is Side.NO_DECISION} == {Reason.WARMUP}
    answered = [one for one in made if one.side is not Side.NO_DECISION]
    assert 0 < len(answered) < 100
    assert [one for _, some, _ in shown for one in some] == answered
    shown.clear()
    list(engine.replay(BTC, series(BTC)[105:200]))
    engine.warm(BTC, series(BTC)[:250], from_listing=True)
    assert shown == []


def test_rows_and_decisions_of_a_batch_belong_together():
    """Also where the first streams of the batch have no answer yet."""
    shown: list[SHOWN] = []
    engine = Engine([lane(SOL), lane(BTC), lane(ETH)], on_rows=lambda *what: shown.append(what))
    for stream in (BTC, ETH):
        engine.warm(stream, series(stream)[:200], from_listing=True)
    engine.decide([closed(SOL, 0), closed(ETH, 200), closed(BTC, 200)])
    ((_, made, features),) = shown
    assert [one.stream for one in made] == [ETH, BTC]
    expected = [TOY.table(series(stream), HOURLY)[200] for stream in (ETH, BTC)]
    assert differing(features, np.array(expected)) == 0


class Reusing(ToyState):
    """A state that gives the same memory again and again."""

    def push(self, rows: np.ndarray, bars: Bars) -> Floats:
        self.memory = getattr(self, "memory", np.empty((1, len(TOY.columns))))
        self.memory[:] = super().push(rows, bars)
        return self.memory


def test_what_is_shown_stays_as_it_was(monkeypatch: pytest.MonkeyPatch):
    """Rows that are kept do not change when the engine goes on, whatever the feature set does."""
    monkeypatch.setattr(TOY, "state", lambda capacity, _: Reusing(TOY, capacity), raising=False)
    shown: list[SHOWN] = []
    engine = Engine([lane(BTC)], on_rows=lambda *what: shown.append(what))
    engine.warm(BTC, series(BTC)[:200], from_listing=True)
    engine.decide([closed(BTC, 200)])
    kept, before = shown[0][2], shown[0][2].copy()
    engine.decide([closed(BTC, row) for row in range(201, 260)])
    assert differing(kept, before) == 0
