"""Tapes hold what was said, by an engine, by folds or by a rule, and refuse what does not fit."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from candled.core.bar import HOUR, Bars
from candled.core.decision import Decision
from candled.core.engine import Engine
from candled.core.features.mar import MAR
from candled.lab.backtest import Tape, gated, tape_of_answers, tape_of_decisions, told
from candled.lab.backtest.tape import UNKNOWN, by_regime
from candled.lab.predict import predict
from candles import bars_at, candles
from models import THRESHOLD, lane, model
from tapes import BTC, ETH, tape

COUNT = MAR.history + 300


@functools.cache
def bars() -> Bars:
    """Candles with a hole of one bar and one of three."""
    kept = np.delete(np.arange(COUNT), [COUNT - 200, COUNT - 90, COUNT - 89, COUNT - 88])
    return bars_at(candles(COUNT, seed=10), kept)


@functools.cache
def decisions(*, gate: bool = False) -> list[Decision]:
    engine = Engine([lane(BTC, regime_gate=gate)])
    return [one for block in engine.replay(BTC, bars()) for one in block]


def _assert_same(one: Tape, other: Tape, *names: str) -> None:
    for name in names:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_tape_holds_the_decisions():
    """Side, time limit, regime, probabilities and id of every decision are at its bar."""
    made = tape_of_decisions(bars(), decisions())
    assert set(made.side.tolist()) == {0, 1, 2}
    for row, decision in enumerate(decisions()):
        assert decision.bar_open == made.bars.open_time[row]
        assert ["flat", "long", "short"][made.side[row]] == decision.side.replace(
            "no_decision", "flat"
        )
        assert (made.act_by[row], made.regime[row]) == (decision.valid_until, decision.regime)
        assert made.ids[row] == decision.id
        if decision.probabilities:
            assert tuple(made.probabilities[row].tolist()) == dataclasses.astuple(
                decision.probabilities
            )
        else:
            assert np.isnan(made.probabilities[row]).all()


def test_answers_make_the_tape_that_decisions_make():
    """From probabilities alone come the same signals and time limits; only ids are missing."""
    by_engine = tape_of_decisions(bars(), decisions())
    answers = predict(bars(), model())
    asked = np.isin(answers.open_time, by_engine.bars.open_time[MAR.history - 1 :])
    by_answers = tape_of_answers(
        BTC,
        bars(),
        answers.open_time[asked],
        answers.probabilities[asked],
        THRESHOLD,
        regime=by_engine.regime,
    )
    _assert_same(by_engine, by_answers, "side", "act_by", "regime", "probabilities")
    assert not any(by_answers.ids)


def test_gating_a_tape_is_the_engines_gate():
    """The gate on a tape suppresses what the engine's gate does."""
    _assert_same(
        gated(tape_of_decisions(bars(), decisions())),
        tape_of_decisions(bars(), decisions(gate=True)),
        "side",
    )


def test_told_again_is_another_threshold():
    """A tape told at its own threshold is itself; at 1 it says nothing, and where never asked."""
    made = tape_of_decisions(bars(), decisions())
    _assert_same(made, told(made, THRESHOLD), "side")
    assert not told(made, 1.0).side.any()
    assert not told(made, 0.0).side[: MAR.history - 1].any()
    assert told(made, 0.0).side[MAR.history - 1 :].all()


def test_some_bars_of_a_tape():
    """A stretch by time holds the bars that open within it, both ends included."""
    made = tape(50, 3)
    opens = made.bars.open_time
    assert len(made.between(None, None)) == 50
    part = made.between(int(opens[7]), int(opens[11]))
    assert part.bars.open_time.tolist() == opens[7:12].tolist()
    _assert_same(part, made[7:12], "side", "act_by", "regime", "ids")
    assert len(made.between(int(opens[7]) + 1, int(opens[8]) - 1)) == 0
    assert len(made.between(int(opens[9]), int(opens[3]))) == 0


def test_a_regime_speaks_for_itself():
    """Long where up, short where down, and nothing where it ranges or is unknown."""
    made = dataclasses.replace(tape(4, 1), regime=np.array([0, 1, 2, UNKNOWN], dtype=np.int8))
    assert by_regime(made, shorts=True).side.tolist() == [0, 1, 2, 0]
    assert by_regime(made, shorts=False).side.tolist() == [0, 1, 0, 0]


def test_what_does_not_fit_is_refused():
    """Nothing, mixed streams, foreign bars and columns of other lengths are errors that say so."""
    one = decisions()[0]
    with pytest.raises(ValueError, match="no decision to test"):
        tape_of_decisions(bars(), [])
    with pytest.raises(ValueError, match="decisions of binance/BTCUSDT/1h and binance/ETHUSDT/1h"):
        tape_of_decisions(bars(), [one, dataclasses.replace(one, stream=ETH)])
    for foreign in (one.bar_open - HOUR, one.bar_open + 1, one.bar_open + HOUR * COUNT):
        with pytest.raises(ValueError, match=f"no bar opens at {foreign}"):
            tape_of_decisions(bars(), [dataclasses.replace(one, bar_open=foreign)])
    times, said = bars().open_time[:3], np.zeros((2, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="3 open times for 2 answers"):
        tape_of_answers(BTC, bars(), times, said, 0.5)
    with pytest.raises(ValueError, match="regime has 2 values for"):
        tape_of_answers(BTC, bars(), times[:2], said, 0.5, regime=np.zeros(2, dtype=np.int8))
