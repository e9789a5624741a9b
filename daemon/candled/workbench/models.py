"""A model that can be asked: its answers about frames of candles, and what it says of itself."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from candled.core.bar import Stream
from candled.core.decision import Decision, Evidence, Policy
from candled.core.model import CLASSES, Model
from candled.core.regime import HISTORY as REGIME_HISTORY
from candled.lab.predict import predict
from candled.lab.report.html import Column, table
from candled.lab.study import importances
from candled.offline.replay import replayed
from candled.workbench.candles import Candles, understood
from candled_adapters.artifacts.bundle import Bundle, load_bundle

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True, repr=False, eq=False)
class SignalModel:
    """A model as its bundle holds it: what the daemon runs."""

    bundle: Bundle

    @property
    def model(self) -> Model:
        """The core's own model, with scaler and booster."""
        return self.bundle.model

    @property
    def history(self) -> int:
        """How many bars make a decision that does not depend on where they start."""
        return max(self.model.features.history, REGIME_HISTORY)

    @property
    def provenance(self) -> dict[str, Any]:
        """What it was made of, and how it did: plain JSON values."""
        return self.bundle.manifest.provenance

    @property
    def importances(self) -> pd.Series[float]:
        """[k] each feature's share of the trees' gain (0 to 1), best first, by its name.

        What the trees used on the rows that they were fitted on, not what helps on others.
        """
        return pd.Series(dict(importances(self.model)), name="gain")

    @property
    def evidence(self) -> pd.DataFrame:
        """What out-of-sample rows showed, a row for each side and band of its probability.

        ``above <= p < below``, ``n``, ``coverage``, ``precision`` with its 95 % interval ``low``
        to ``high``, ``base_rate`` (shares, 0 to 1), ``gross_pct`` (mean result of a trade before
        costs, percent). Empty where nothing is known, as of a notebook's model.
        """
        bands = [{**asdict(one), "side": one.side.value} for one in self.model.evidence]
        return pd.DataFrame(bands, columns=[field.name for field in fields(Evidence)])

    def predict(self, candles: pd.DataFrame, threshold: float | None = None) -> pd.DataFrame:
        """Ask about every bar; see `predict_signals`."""
        return predict_signals(candles, self, threshold)

    def __repr__(self) -> str:
        told = ", ".join(f"{key} {value}" for key, value in self._card().items())
        return f"<{type(self).__name__} {told}>"

    def _repr_html_(self) -> str:
        card = [[key, value] for key, value in self._card().items()]
        return table("Model", [Column("", is_text=True), Column("", is_text=True)], card)

    def _card(self) -> dict[str, str]:
        model, target = self.model, self.model.target
        foresees = "not known"
        if target:
            moves = f"+{target.profit_pct:g} %, -{target.stop_pct:g} %"
            foresees = f"{moves} within {target.lookahead_bars} bars"
        return {
            "name": model.name,
            "features": f"{len(model.features.columns)} ({model.features.name})",
            "threshold": f"{model.threshold:.4g}",
            "target": foresees,
            "digest": model.digest[:16],
        }


def load_model(path: AnyPath) -> SignalModel:
    """Load a bundle that `candled train`, `candled model import` or `TrainedModel.save` has made.

    Every part is checked, and golden vectors are computed again: what loads gives the
    probabilities it was made with, bit for bit. Nothing is unpickled.

    Args:
        path: folder of the bundle.

    Raises:
        BundleError: names the file, what is wrong with it, and the mend.

    >>> made = candled.train(candled.synthetic_candles(1200), "BTCUSDT", mode="notebook", trees=3)
    >>> candled.load_model(made.save("models/BTCUSDT_1h")).model.name
    'BTCUSDT_1h'
    """
    return SignalModel(load_bundle(Path(path)))


def predict_signals(
    candles: pd.DataFrame, model: SignalModel | AnyPath, threshold: float | None = None
) -> pd.DataFrame:
    """Ask a model about every bar whose feature row is complete: the notebook's function.

    Args:
        candles: closed bars of the model's interval, see `bars`. An answer that has
            `SignalModel.history` bars, its own included, does not depend on where they start.
        model: or the folder of its bundle.
        threshold: a side's probability must be strictly above it, 0 to 1, compared in float32;
            None is the model's own.

    Returns:
        [m, 4] for the m <= n bars that could be asked about, with their index: ``prob_no_trade,
        prob_long, prob_short`` (float32, sum 1) and ``signal`` (0 none, 1 long, 2 short; short
        wins where both are). The numbers are those of `candled predict` and of the daemon.

    Raises:
        FrameError: see `bars`.
        BundleError: see `load_model`.

    >>> candles = candled.synthetic_candles(1200)
    >>> made = candled.train(candles, "BTCUSDT", mode="notebook", trees=3)
    >>> candled.predict_signals(candles, made, threshold=0.5).columns.tolist()
    ['prob_no_trade', 'prob_long', 'prob_short', 'signal']
    """
    asked = model_of(model)
    of = candles_for(candles, asked)
    answers = predict(of.bars, asked.model, threshold)
    columns: dict[str, Any] = {
        f"prob_{name}": answers.probabilities[:, at] for at, name in enumerate(CLASSES)
    }
    return pd.DataFrame({**columns, "signal": answers.signal}, index=of.at(answers.open_time))


def decide(
    candles: pd.DataFrame,
    model: SignalModel | AnyPath,
    *,
    exchange: str = "binance",
    symbol: str | None = None,
    policy: Policy | None = None,
) -> pd.DataFrame:
    """Run the daemon's engine over the bars: the decisions that it would have published.

    Args:
        candles: [n] closed bars of the model's interval, see `bars`.
        model: or the folder of its bundle.
        exchange: as the daemon's configuration names it; part of the ids.
        symbol: as the venue spells it; None is the model's own. Part of the ids.
        policy: threshold and gates; None is the model's own threshold and regime without gates.

    Returns:
        [n, ...] with the candles' index: ``id``, ``side`` (long, short, flat, no_decision),
        ``reason`` (why it is not what model and threshold say), ``prob_...`` (NaN where the model
        was not asked), ``regime``, ``price`` (the close), ``valid_until`` (UTC). The first
        `SignalModel.history` - 1 bars are ``no_decision``.

    Raises:
        FrameError: see `bars`.
        ValueError: a gate that needs what the model has not.

    >>> candles = candled.synthetic_candles(1200)
    >>> made = candled.train(candles, "BTCUSDT", mode="notebook", trees=3)
    >>> candled.decide(candles, made)["side"].iloc[0]
    'no_decision'
    """
    asked = model_of(model)
    of = candles_for(candles, asked)
    stream = Stream(exchange, symbol or asked.model.symbol, of.interval.name)
    rules = policy or own_policy(asked)
    return pd.DataFrame(
        [_row(one) for one in replayed(stream, of.bars, asked.model, rules)], index=of.index
    ).assign(valid_until=lambda made: pd.to_datetime(made["valid_until"], unit="ms", utc=True))


def model_of(model: SignalModel | AnyPath) -> SignalModel:
    """Return a model, loaded if it is a path."""
    return model if isinstance(model, SignalModel) else load_model(model)


def own_policy(model: SignalModel) -> Policy:
    """Return the policy that a model was published with."""
    return Policy(model.model.threshold, model.bundle.manifest.regime)


def candles_for(candles: pd.DataFrame, model: SignalModel) -> Candles:
    """Check a frame as candles of the model's interval; raises FrameError."""
    return understood(candles, model.model.interval)


def _row(made: Decision) -> dict[str, Any]:
    said = made.probabilities
    return {
        "id": made.id,
        "side": made.side.value,
        "reason": made.reason.value if made.reason else None,
        **{f"prob_{name}": getattr(said, name) if said else float("nan") for name in CLASSES},
        "regime": made.regime,
        "price": made.price,
        "valid_until": made.valid_until,
    }
