"""Small real models on any feature set, for tests that are not about training."""

from __future__ import annotations

import numpy as np
import xgboost

from candled.core.bar import Bars
from candled.core.decision import Target
from candled.core.features import FeatureSet
from candled.core.labels import LabelParams, window_labels
from candled.core.model import ModelSpec
from candles import HOURLY


def spec_on(features: FeatureSet, bars: Bars, *, threshold: float = 0.4) -> ModelSpec:
    """Return what training on the complete rows of `bars` gives."""
    params = LabelParams()
    rows = slice(features.window - 1, len(bars) - params.lookahead_bars)
    table = features.table(bars, HOURLY)[rows]
    truth = window_labels(bars, params).signal[rows]
    mean, spread = table.mean(axis=0), table.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    settings = {"objective": "multi:softprob", "num_class": 3, "max_depth": 3, "nthread": 1}
    scaled = ((table - mean) / scale).astype(np.float32)
    booster = xgboost.train(settings, xgboost.DMatrix(scaled, truth), num_boost_round=15)
    return ModelSpec(
        symbol="BTCUSDT",
        interval="1h",
        feature_set=features.name,
        feature_names=features.columns,
        mean=mean,
        scale=scale,
        booster=bytes(booster.save_raw("ubj")),
        threshold=threshold,
        target=Target(params.lookahead_bars, params.profit_target_pct, params.stop_loss_pct),
        regime="notebook",
        provenance={},
    )
