"""Backtests of frames: the daemon's decisions, traded by the lab's book, as frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from candled.core.bar import Stream, iso
from candled.lab.backtest import (
    Backtest,
    Costs,
    Exits,
    Sizing,
    comparison,
    curve_frame,
    exits_of,
    statistics_frame,
    trades_frame,
)
from candled.lab.backtest.strategies import MODEL, MODEL_GATED
from candled.lab.report.html import Markup, element, joined
from candled.offline.backtest import BacktestError
from candled.offline.known import known_until
from candled.offline.replay import asked_part, replayed_tape
from candled.workbench.models import AnyPath, SignalModel, candles_for, model_of, own_policy

_REMEMBERED = "the model was trained on some of these bars: this is what it remembers"
_UNKNOWN = "nothing says what the model was trained on: these may be bars that it remembers"


@dataclass(frozen=True, repr=False)
class BacktestResult:
    """What the signals would have brought, beside what needs no model."""

    tests: Mapping[str, Backtest]
    """By the way it was traded: ``model``, ``model + regime gate``, ``regime``, ``regime, long
    only``, ``buy and hold``."""
    traded: str
    """Which of them the trades are of."""
    warning: str | None
    """Why it flatters, where it does."""

    @property
    def trades(self) -> pd.DataFrame:
        """A row for each trade: times (UTC), prices, ``ending``, results (percent), decision id."""
        return trades_frame(self.tests[self.traded])

    @property
    def equity(self) -> pd.DataFrame:
        """A column for each way: the purse at each bar's end (UTC); it begins with 1."""
        return pd.DataFrame(
            {name: curve_frame(test)["equity"] for name, test in self.tests.items()}
        )

    @property
    def drawdown(self) -> pd.DataFrame:
        """The same: the share of the highest equity so far that is lost (0 to 1)."""
        frames = {name: curve_frame(test)["drawdown"] for name, test in self.tests.items()}
        return pd.DataFrame(frames)

    @property
    def statistics(self) -> pd.DataFrame:
        """A column for each way, a row for each figure; see docs/backtest.md."""
        return statistics_frame(self.tests)

    def __repr__(self) -> str:
        warning = f"WARNING: {self.warning}\n" if self.warning else ""
        return f"{warning}{self.statistics}"

    def _repr_html_(self) -> str:
        warning = (
            element("p", element("strong", f"Warning: {self.warning}.")) if self.warning else ""
        )
        shown = self.statistics.map(lambda value: f"{value:.4g}" if _is_number(value) else value)
        return joined((Markup(warning), Markup(shown.to_html(na_rep=""))))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and value == value  # noqa: PLR0124 - not NaN


def backtest(
    candles: pd.DataFrame,
    model: SignalModel | AnyPath,
    *,
    exchange: str = "binance",
    symbol: str | None = None,
    threshold: float | None = None,
    regime_gate: bool = False,
    exits: Exits | None = None,
    costs: Costs | None = None,
    sizing: Sizing | None = None,
    in_sample: bool = False,
    trained_until: int | None = None,
) -> BacktestResult:
    """Trade a model's signals over the bars that it has not seen, costs included.

    The signals are the decisions that the daemon would have published, ids included; a trade is
    entered at the next bar's open, and a bar that touches stop and target counts as stopped.

    Args:
        candles: closed bars of the model's interval, see `bars`.
        model: or the folder of its bundle.
        exchange: as the daemon's configuration names it; part of the ids.
        symbol: as the venue spells it; None is the model's own.
        threshold: instead of the model's own, 0 to 1.
        regime_gate: let `trades` be those of ``model + regime gate``.
        exits: what ends a trade; None is target, stop and time limit as trained.
        costs: fee, slippage and funding, percent; None is `Costs()`, a fee of 0.1 % a side.
        sizing: None is the whole purse in one position.
        in_sample: trade also the bars that the model was trained on; the result then says so.
        trained_until: open of the last bar trained on (UTC ms), for a bundle that does not say.

    Raises:
        FrameError: see `bars`.
        BacktestError: no bar is left that the model has not seen, or nothing says how to leave a
            trade.

    >>> candles = candled.synthetic_candles(3000)
    >>> made = candled.train(candles.iloc[:2000], "BTCUSDT", mode="notebook", trees=5)
    >>> result = candled.backtest(candles, made, threshold=0.45, costs=candled.Costs(0.05))
    >>> result.equity.columns[0], result.warning is None
    ('model', True)
    """
    asked = model_of(model)
    of = candles_for(candles, asked)
    stream = Stream(exchange, symbol or asked.model.symbol, of.interval.name)
    policy = own_policy(asked)
    policy = replace(
        policy,
        threshold=policy.threshold if threshold is None else threshold,
        regime_gate=regime_gate,
    )
    known = known_until(asked.bundle, of.bars, trained_until)
    tape = asked_part(replayed_tape(stream, of.bars, asked.model, policy))
    new = tape if known is None else asked_part(tape.between(known + 1, None))
    if not in_sample and not len(new):
        raise BacktestError(_nothing_new(known))
    warning = _UNKNOWN if known is None else None
    if in_sample and len(new) < len(tape):
        new, warning = tape, _REMEMBERED
    tests = comparison([new], exits or _own_exits(asked), costs or Costs(), sizing)
    return BacktestResult(tests, MODEL_GATED if regime_gate else MODEL, warning)


def _nothing_new(known: int | None) -> str:
    if known is None:
        return "no bar was decided: give more candles (the model needs a history)"
    return (
        f"no decided bar is left after {iso(known)}, up to which the training knew; give newer "
        "candles, or in_sample=True to see what the model remembers"
    )


def _own_exits(model: SignalModel) -> Exits:
    target = model.model.target
    if target is None:
        raise BacktestError(
            f"{model.model.name} does not say what target, stop and time limit it was trained for; "
            "give exits=Exits(...)"
        )
    return exits_of(target)
