"""Deciding history: a replay in blocks against the engine bar by bar, and against `predict`."""

from __future__ import annotations

from typing import Final

import numpy as np

from candled.bench.learning.facts import Candles, Part, same
from candled.bench.learning.timing import timed, turns
from candled.core.bar import Stream
from candled.core.decision import SIDES, BarClosed, Decision, Policy, Source
from candled.core.engine import Engine, Lane
from candled.core.model import Model
from candled.lab.predict import Predictions, predict

THRESHOLD: Final = 0.5  # so low that there are signals of both sides


def history_part(candles: Candles, model: Model) -> tuple[list[Decision], Part]:
    """Replay all bars, and ask `predict` about them: where both answer, they say the same.

    Returns the decisions as well, for what trades them.
    """
    stream = Stream("bench", model.symbol, model.interval)
    made, replay_s = timed(lambda: _replayed(candles, stream, model))
    said, predict_s = timed(lambda: predict(candles.bars, model, THRESHOLD))
    asked = [decision for decision in made if decision.probabilities]
    part = Part(
        "replay and predict",
        len(candles.bars),
        candles.name,
        {"replay": [replay_s], "predict": [predict_s]},
        (same("answers that both give", len(asked), _unlike(asked, said)),),
        {"signals": float(sum(decision.side.is_signal for decision in made))},
    )
    return made, part


def _unlike(asked: list[Decision], said: Predictions) -> int:
    """Count decisions whose probabilities or side are not those of `predict`."""
    at = {time: row for row, time in enumerate(said.open_time.tolist())}
    unlike = 0
    for decision in asked:
        row, odds = at.get(decision.bar_open), decision.probabilities
        if row is None or odds is None:
            unlike += 1
            continue
        told = np.array([odds.no_trade, odds.long, odds.short], dtype=np.float32)
        same_side = decision.side is SIDES[said.signal[row]]
        unlike += not (same_side and bool((told == said.probabilities[row]).all()))
    return unlike


def replay_part(candles: Candles, model: Model, bars: int, rounds: int) -> Part:
    """Decide the newest bars from nothing, bar by bar and replayed: the same, ids and all."""
    some = candles.newest(bars)
    stream = Stream("bench", model.symbol, model.interval)
    taken = turns(
        lambda: _one_by_one(some, stream, model), lambda: _replayed(some, stream, model), rounds
    )
    pairs = list(zip(taken.baseline, taken.candled, strict=True))
    return Part(
        "replay",
        len(some.bars),
        candles.name,
        {"bar by bar": taken.baseline_s, "candled": taken.candled_s},
        (
            same("ids of decisions", len(pairs), sum(one.id != other.id for one, other in pairs)),
            same("decisions, all fields", len(pairs), sum(one != other for one, other in pairs)),
        ),
    )


def _engine(stream: Stream, model: Model) -> Engine:
    return Engine([Lane(stream, model, Policy(THRESHOLD))])


def _one_by_one(candles: Candles, stream: Stream, model: Model) -> list[Decision]:
    engine = _engine(stream, model)
    closed = (BarClosed(stream, bar, Source.BACKFILL, 0, 0) for bar in candles.bars)
    return [decision for one in closed for decision in engine.decide([one])]


def _replayed(candles: Candles, stream: Stream, model: Model) -> list[Decision]:
    blocks = _engine(stream, model).replay(stream, candles.bars)
    return [decision for block in blocks for decision in block]
