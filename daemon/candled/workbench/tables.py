"""What is known of each bar, as frames beside the candles: features, regimes, labels.

Every frame has the index of the candles that it was made of, so that `candles.join(...)` puts them
together. The values are those of `candled features`, bit for bit.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from candled.core.labels import LabelParams, window_labels
from candled.core.regime import NAMES
from candled.core.touch import KINDS, TouchLabels, first_touch_labels
from candled.lab.regimes import bar_regimes
from candled.lab.rules import label_rule
from candled.lab.tables import LABELS, REGIMES, feature_table
from candled.workbench.candles import Candles, understood
from candled_adapters.feature_sets import find_feature_set

_LABELS: Final = LabelParams()


def features(
    candles: pd.DataFrame, interval: str | None = None, features: str = "mar"
) -> pd.DataFrame:
    """Compute a feature set for every bar.

    Args:
        candles: [n] see `bars`.
        interval: name such as ``1h``; None is the most common step between rows.
        features: ``mar`` (the notebook's 220 columns, in its order), ``mar-scalefree``,
            ``mar-scalefree-ohlcv``, or the name of a set that an installed package brings.

    Returns:
        [n, k] with the candles' index. ``mar``: averages, spreads and slopes in quote units,
        columns that end in ``_pct`` in percent (``bullish_pct``: 0 to 1), flags and counts as
        integers. A row depends on bars up to its own only. The first rows (40 of ``mar``) are
        warm-up: not usable, NaN in most columns.

    Raises:
        FrameError: see `bars`.
        FeatureSetError: an unknown set, or a package's that cannot be used.

    >>> made = candled.features(candled.synthetic_candles(200))
    >>> made.shape, made.columns[:3].tolist()
    ((200, 220), ['ma5_sma', 'ma6_sma', 'ma7_sma'])
    >>> int(made.iloc[40:].isna().sum().sum())
    0
    """
    of, found = understood(candles, interval), find_feature_set(features).features
    table = feature_table(of.bars, of.interval, features=found)
    return _beside(of, {name: table[name].to_numpy() for name in found.columns})


def regimes(
    candles: pd.DataFrame, interval: str | None = None, preset: str = "notebook"
) -> pd.DataFrame:
    """Tell the market's regime at the close of every bar.

    Args:
        candles: [n] see `bars`.
        interval: name such as ``1h``; None is the most common step between rows.
        preset: ``notebook``, ``default``, ``aggressive`` or ``conservative``.

    Returns:
        [n, 3] with the candles' index: ``raw_regime`` and the confirmed ``regime`` (0 ranging,
        1 trending up, 2 trending down), and ``regime_name``. Causal: no later bar changes a row.

    Raises:
        FrameError: see `bars`.
        ValueError: an unknown preset.

    >>> candled.regimes(candled.synthetic_candles(300))["regime_name"].unique().tolist()
    ['Ranging', 'Trending Down', 'Trending Up']
    """
    of = understood(candles, interval)
    both = bar_regimes(of.bars, of.interval, preset)
    columns: dict[str, Any] = {name: both[:, at].astype(int) for at, name in enumerate(REGIMES)}
    return _beside(of, {**columns, "regime_name": np.array(NAMES, dtype=object)[both[:, 1]]})


def labels(
    candles: pd.DataFrame,
    interval: str | None = None,
    *,
    rule: str = "window",
    lookahead_bars: int = _LABELS.lookahead_bars,
    profit_pct: float = _LABELS.profit_target_pct,
    stop_pct: float = _LABELS.stop_loss_pct,
    regime: str = "notebook",
) -> pd.DataFrame:
    """Say of every bar what the market did after it: what a model is to learn.

    Labels look ahead. Nothing made of them may be given to a model.

    Args:
        candles: [n] see `bars`.
        interval: name such as ``1h``; None is the most common step between rows.
        rule: ``window``, the notebook's (extremes of the bars ahead), or ``first_touch`` (which
            of target, stop and time limit comes first; a bar that touches both is a stop).
        lookahead_bars: how many bars after its own a label looks at.
        profit_pct: move in its favour that a side needs, percent of the close.
        stop_pct: move against it that a side must not see, percent of the close.
        regime: preset that settles what qualifies as long and as short.

    Returns:
        [n, ...] with the candles' index; ``signal`` is the class: 0 no trade, 1 long, 2 short.
        ``known`` says whether the bars reach far enough to tell it: where they do not, the
        notebook's ``signal`` is 0, which is no evidence of anything; leave these rows out.
        ``window`` has the notebook's ``future_high, future_low`` (quote units),
        ``future_return_up, future_return_down`` (percent), ``signal_long, signal_short``;
        ``first_touch`` has for each side how it ended and what it brought before costs (percent).

    Raises:
        FrameError: see `bars`.
        ValueError: an unknown rule or preset, or parameters that no label can be made with.

    >>> made = candled.labels(candled.synthetic_candles(500), lookahead_bars=24)
    >>> int((~made["known"]).sum())
    24
    """
    of = understood(candles, interval)
    params = LabelParams(lookahead_bars, profit_pct, stop_pct)
    known = label_rule(rule)(of.bars, params).known
    confirmed = bar_regimes(of.bars, of.interval, regime)[:, 1]
    if rule == "first_touch":
        columns = _touch_columns(first_touch_labels(of.bars, params, confirmed))
    else:
        made = window_labels(of.bars, params, confirmed)
        columns = {name: getattr(made, name) for name in LABELS}
    return _beside(
        of, {name: _plain(column) for name, column in columns.items()} | {"known": known}
    )


def _touch_columns(made: TouchLabels) -> dict[str, Any]:
    kinds = np.array(KINDS, dtype=object)
    sides = {"long": made.long, "short": made.short}
    columns: dict[str, Any] = {}
    for name, side in sides.items():
        columns |= {f"{name}_ending": kinds[side.kind], f"{name}_gross_pct": side.gross_pct}
    return columns | {"signal": made.signal}


def _plain(column: Any) -> Any:  # noqa: ANN401 - an array
    """Return whole numbers as a table has them."""
    return column.astype(np.int64) if column.dtype.kind == "i" else column


def _beside(of: Candles, columns: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(columns, index=of.index)
