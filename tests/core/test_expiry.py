"""A model that is too old gives no signals: a gate by the bars' own time, and nothing else."""

from __future__ import annotations

import dataclasses
import functools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from candled.core.bar import DAY, HOUR, Bars, Stream
from candled.core.correction import differing
from candled.core.decision import BarClosed, Decision, Policy, Reason, Side, Source
from candled.core.engine import Engine, Lane
from candled.core.features.mar import MAR
from candled.core.gates import missing_means
from candled.lab.backtest.tape import tape_of_decisions
from candles import candles
from models import THRESHOLD, model, spec

BTC = Stream("binance", "BTCUSDT", "1h")
HISTORY = MAR.history
LIVE = 150
EVERY = {"id", "policy_digest", "revision", "supersedes"}


@functools.cache
def series() -> Bars:
    return candles(HISTORY + LIVE, seed=10)


def opened(row: int) -> int:
    return int(series().open_time[HISTORY + row])


def lane(until: int | None, days: int | None, **policy: object) -> Lane:
    aged = dataclasses.replace(model(), trained_until=until)
    return Lane(BTC, aged, Policy(THRESHOLD, max_age_days=days, **policy))  # type: ignore[arg-type]


def decided(kind: Lane, *, by_replay: bool = False) -> list[Decision]:
    engine = Engine([kind])
    engine.warm(BTC, series()[:HISTORY], from_listing=False)
    if by_replay:
        return [one for block in engine.replay(BTC, series()[HISTORY:]) for one in block]
    return engine.decide([BarClosed(BTC, bar, Source.WS, 0, 0) for bar in series()[HISTORY:]])


@functools.cache
def ageless() -> list[Decision]:
    """Return what is decided without a limit; it has signals all the way."""
    made = decided(lane(None, None))
    assert sum(one.side.is_signal for one in made[:20]) > 2
    assert sum(one.side.is_signal for one in made[-20:]) > 2
    return made


@settings(max_examples=10, deadline=None)
@given(st.integers(-30, LIVE + 30), st.integers(1, 4), st.booleans())
@example(0, 1, True)
@example(LIVE - 1, 1, False)
def test_signals_of_bars_that_close_later_are_suppressed_and_nothing_else_changes(
    row: int,
    days: int,
    by_replay: bool,  # noqa: FBT001 - hypothesis gives it by place
):
    """To the bar: the one that closes at the moment itself may still signal. Live is batch."""
    expires_at = opened(0) + row * HOUR + HOUR  # the close of that row
    made = decided(lane(expires_at - days * DAY, days), by_replay=by_replay)
    for one, other in zip(made, ageless(), strict=True):
        if one.bar_close > expires_at and other.side.is_signal:
            assert (one.side, one.reason) == (Side.FLAT, Reason.EXPIRED)
            assert one.evidence is None
            assert one.probabilities == other.probabilities
        else:
            assert set(differing(one, other)) <= {"policy_digest"}


def test_it_is_named_before_every_other_gate_and_counts_for_no_cooldown():
    """An expired model's signals would not have passed, so they keep nothing back."""
    expires_at = opened(60)
    kind = lane(expires_at - DAY, 1, regime_gate=True, cooldown_bars=0)
    reasons = {one.reason for one in decided(kind) if one.bar_close > expires_at}
    assert reasons == {None, Reason.EXPIRED}
    cooling = lane(opened(-1 + LIVE) + DAY, 1, cooldown_bars=3)
    assert any(one.reason is Reason.COOLDOWN for one in decided(cooling))
    cooling = lane(opened(0) - DAY - HOUR, 1, cooldown_bars=3)
    assert not any(one.reason is Reason.COOLDOWN for one in decided(cooling))


def test_a_tape_of_an_expired_model_says_nothing():
    """A backtest of the decisions enters no trade after the end."""
    expires_at = opened(60)
    tape = tape_of_decisions(series()[HISTORY:], decided(lane(expires_at - DAY, 1)))
    assert (tape.side[:60] > 0).any()
    assert not (tape.side[tape.ends > expires_at] > 0).any()


def test_the_limit_is_part_of_the_policy_only_when_it_is_set():
    """Decisions of before keep their ids; another limit makes others."""
    assert Policy().digest == Policy(max_age_days=None).digest
    assert len({Policy(max_age_days=days).digest for days in (None, 1, 2, 90)}) == 4


def test_a_model_that_does_not_say_when_its_training_ended_cannot_be_held_to_it():
    """It is refused where lanes are made, and an engine takes none."""
    assert missing_means(model(), Policy(max_age_days=9)) == ()
    aimless = dataclasses.replace(model(), trained_until=None)
    assert missing_means(aimless, Policy()) == ()
    assert missing_means(aimless, Policy(max_age_days=9)) == ("max_age_days",)
    with pytest.raises(ValueError, match="has not what max_age_days needs"):
        Engine([Lane(BTC, aimless, Policy(max_age_days=9))])


def test_a_trained_model_says_when_its_training_ended():
    """It is the open of the last bar that it was trained on."""
    told = spec().provenance["train"]
    assert isinstance(told, dict)
    assert model().trained_until == told["last_open_time"]
    kind = Lane(BTC, model(), Policy(max_age_days=2))
    assert kind.expires_at == told["last_open_time"] + 2 * DAY
    assert Lane(BTC, model(), Policy()).expires_at is None
