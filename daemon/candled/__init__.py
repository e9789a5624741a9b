"""candled: live exchange candles in, a trained model's long and short signals out.

For a person at a notebook, the offline half with data frames in and out:

    import candled

    candles = candled.read_candles("BTCUSDT_1h.csv.gz")
    model = candled.train(candles, "BTCUSDT")
    model.report
    model.save("models/BTCUSDT_1h")

Importing this costs nothing: a name is fetched from its room when it is first asked for (PEP 562),
so that the daemon never meets what only a notebook needs. See docs/lab.md.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from candled.core.bar import Bars
    from candled.core.decision import Policy
    from candled.core.labels import LabelParams
    from candled.lab.backtest.rules import Costs, Exits, Sizing
    from candled.lab.dataset import TrainingError
    from candled.lab.recipe import Boosting, Recipe, ThresholdRule
    from candled.offline.backtest import BacktestError
    from candled.workbench.candles import FrameError, bars, read_candles, synthetic_candles
    from candled.workbench.judging import Report, report
    from candled.workbench.models import SignalModel, decide, load_model, predict_signals
    from candled.workbench.proving import Proof, verify
    from candled.workbench.tables import features, labels, regimes
    from candled.workbench.trading import BacktestResult, backtest
    from candled.workbench.training import TrainedModel, train

__all__ = [
    "BacktestError",
    "BacktestResult",
    "Bars",
    "Boosting",
    "Costs",
    "Exits",
    "FrameError",
    "LabelParams",
    "Policy",
    "Proof",
    "Recipe",
    "Report",
    "SignalModel",
    "Sizing",
    "ThresholdRule",
    "TrainedModel",
    "TrainingError",
    "backtest",
    "bars",
    "decide",
    "features",
    "labels",
    "load_model",
    "predict_signals",
    "read_candles",
    "regimes",
    "report",
    "synthetic_candles",
    "train",
    "verify",
]

_ROOMS: Final = {
    "candled.core.bar": ("Bars",),
    "candled.core.decision": ("Policy",),
    "candled.lab.backtest.rules": ("Costs", "Exits", "Sizing"),
    "candled.lab.dataset": ("TrainingError",),
    "candled.core.labels": ("LabelParams",),
    "candled.lab.recipe": ("Boosting", "Recipe", "ThresholdRule"),
    "candled.offline.backtest": ("BacktestError",),
    "candled.workbench.candles": ("FrameError", "bars", "read_candles", "synthetic_candles"),
    "candled.workbench.judging": ("Report", "report"),
    "candled.workbench.models": ("SignalModel", "decide", "load_model", "predict_signals"),
    "candled.workbench.proving": ("Proof", "verify"),
    "candled.workbench.tables": ("features", "labels", "regimes"),
    "candled.workbench.trading": ("BacktestResult", "backtest"),
    "candled.workbench.training": ("TrainedModel", "train"),
}
_ROOM_OF: Final = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any of the names above
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ROOM_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
