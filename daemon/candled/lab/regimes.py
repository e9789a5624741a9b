"""The regimes of a whole history: the core's machine over its own rows, whatever a model reads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars, Interval
from candled.core.features.mar import REGIME_INPUTS
from candled.core.regime import regime_rule, regimes


def bar_regimes(bars: Bars, interval: Interval, preset: str) -> NDArray[np.int8]:
    """Return raw and confirmed regimes [n, 2] of all bars; raises ValueError for the preset."""
    return regimes(regime_rule(preset), REGIME_INPUTS.table(bars, interval))
