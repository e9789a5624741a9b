"""A feature set of one's own: three columns, each a function of the newest 20 bars."""

import numpy as np
from candled.core.features.sums import total
from candled.core.features.windows import WindowFeatures, Windows

COLUMNS = ("wick_balance", "return_19_pct", "mean_range_pct")


def kernel(w: Windows) -> np.ndarray:
    """Return [n, 3]; windows are [n, 20], newest first, and rows do not see each other."""
    close, high, low, opened = (w[name] for name in ("close", "high", "low", "open"))
    upper = high - np.maximum(close, opened)
    lower = np.minimum(close, opened) - low
    reach = total(high - low)
    balance = np.divide(total(lower - upper), reach, out=np.zeros(len(close)), where=reach != 0)
    change = (close[:, 0] / close[:, -1] - 1.0) * 100.0
    return np.stack([balance, change, reach / 20 / close[:, 0] * 100.0], axis=1)


WICKS = WindowFeatures("wicks", COLUMNS, 20, kernel, reads=("open", "high", "low", "close"))
