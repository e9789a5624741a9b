"""The same bars traded in several ways, with the same fills and costs, side by side.

A model is worth something when it does better than what needs none: holding, or following the
regime. All start at the same bar and with the same purse.
"""

from __future__ import annotations

from collections.abc import Sequence

from candled.lab.backtest.book import Backtest, run
from candled.lab.backtest.rules import Costs, Exits, Sizing
from candled.lab.backtest.tape import Tape, always_long, by_regime, gated

MODEL = "model"
MODEL_GATED = "model + regime gate"
REGIME = "regime"
REGIME_LONG = "regime, long only"
HOLD = "buy and hold"


def comparison(
    tapes: Sequence[Tape], exits: Exits, costs: Costs, sizing: Sizing | None = None
) -> dict[str, Backtest]:
    """Trade the tapes' signals, and the ways to trade without a model, by name.

    - `model`: the signals as they are.
    - `model + regime gate`: longs only where it trends up, shorts only where it trends down.
    - `regime`: long while it trends up, short while it trends down, nothing else; left when the
      regime is another. And the same with longs only.
    - `buy and hold`: in at the second bar's open, out at the last close.

    The last three have no target, stop or time limit, and with several streams each takes an equal
    part of the purse where the sizing would let them take more than all of it.
    """
    following, holding = Exits(leave="other"), Exits()
    parted = _parted(sizing or Sizing(), len(tapes))
    made = {
        MODEL: run(tapes, exits, costs, sizing, MODEL),
        MODEL_GATED: run([gated(t) for t in tapes], exits, costs, sizing, MODEL_GATED),
    }
    for name, shorts in ((REGIME, True), (REGIME_LONG, False)):
        told = [by_regime(tape, shorts=shorts) for tape in tapes]
        made[name] = run(told, following, costs, parted, name)
    made[HOLD] = run([always_long(tape) for tape in tapes], holding, costs, parted, HOLD)
    return made


def _parted(sizing: Sizing, streams: int) -> Sizing:
    return Sizing(min(sizing.fraction, 1.0 / streams))
