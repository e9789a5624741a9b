"""Labels: what the market did after a bar, as the classes that a model learns.

The rule `window`, the notebook's, to the bit. Pure arithmetic on columns of bars: no frames, no
files, and no knowledge of features. A label looks ahead by definition: no decision may rest on one.
Training asks for those of history; the ledger looks back at bars that have all closed since.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import Bars
from candled.core.regime import TRENDING_DOWN, TRENDING_UP

NO_TRADE: Final = 0
LONG: Final = 1
SHORT: Final = 2


@dataclass(frozen=True, slots=True)
class LabelParams:
    """What counts as a trade worth taking; the notebook's defaults. Raises ValueError."""

    lookahead_bars: int = 24
    """How many bars after its own a label looks at."""
    profit_target_pct: float = 1.5
    """A side needs at least this move in its favour (percent of close)."""
    stop_loss_pct: float = 1.0
    """And less than this against it (percent of close)."""

    def __post_init__(self) -> None:
        """Refuse parameters that no label can be made with."""
        n: object = self.lookahead_bars
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(
                f"lookahead_bars must be a whole number of bars, 1 or more; it is {n!r}"
            )
        for name in ("profit_target_pct", "stop_loss_pct"):
            _refuse_unless_percent(name, getattr(self, name))


def _refuse_unless_percent(name: str, value: Any) -> None:  # noqa: ANN401 - checked here
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value > 0):
        raise ValueError(
            f"{name} must be a number above 0 in percent (1.5 is 1.5 %); it is {value!r}"
        )


@dataclass(frozen=True, slots=True)
class WindowLabels:
    """The labels of n bars, one array a column.

    The last `lookahead_bars` rows have no complete future: their future columns are NaN and their
    signals 0, as the notebook has them. They are not evidence of anything: leave them out of
    every honest count.
    """

    future_high: NDArray[np.float64]
    """[n] highest high of the bars ahead."""
    future_low: NDArray[np.float64]
    """[n] lowest low of the bars ahead."""
    future_return_up: NDArray[np.float64]
    """[n] from close up to `future_high`, percent; a short's drawdown."""
    future_return_down: NDArray[np.float64]
    """[n] from close down to `future_low`, percent, positive when lower; a long's drawdown."""
    signal_long: NDArray[np.int8]
    """[n] 1 where a long would have been worth it."""
    signal_short: NDArray[np.int8]
    """[n] 1 where a short would have been worth it."""
    signal: NDArray[np.int8]
    """[n] the class: 0 no trade, 1 long, 2 short."""


def window_labels(
    bars: Bars, params: LabelParams, regime: NDArray[np.integer] | None = None
) -> WindowLabels:
    """Label every bar by the extremes of the `lookahead_bars` bars after it; NaNs are skipped.

    Where both sides qualify (possible only with a stop wider than the target) the confirmed
    `regime` [n] decides: 1 makes it long, 2 short; ranging, or no regime at all, leaves it short.

    Raises:
        ValueError: `regime` has not one value for each bar.
    """
    n, close = params.lookahead_bars, bars.close
    high, low = _ahead(np.fmax, bars.high, n), _ahead(np.fmin, bars.low, n)
    up = (high - close) / close * 100
    down = (close - low) / close * 100
    profit, stop = params.profit_target_pct, params.stop_loss_pct
    is_long = (up >= profit) & (down < stop)
    is_short = (down >= profit) & (up < stop)
    return WindowLabels(
        future_high=high,
        future_low=low,
        future_return_up=up,
        future_return_down=down,
        signal_long=is_long.astype(np.int8),
        signal_short=is_short.astype(np.int8),
        signal=settled(is_long, is_short, regime),
    )


def settled(
    is_long: NDArray[np.bool_], is_short: NDArray[np.bool_], regime: NDArray[np.integer] | None
) -> NDArray[np.int8]:
    """Return the classes [n] of what qualifies as long, short or both; see `window_labels`."""
    if regime is not None and len(regime) != len(is_long):
        raise ValueError(f"regime has {len(regime)} values for {len(is_long)} bars; give one a bar")
    signal = np.where(is_long, LONG, NO_TRADE).astype(np.int8)
    signal[is_short] = SHORT
    if regime is not None:
        both = is_long & is_short
        signal[both & (regime == TRENDING_UP)] = LONG
        signal[both & (regime == TRENDING_DOWN)] = SHORT
    return signal


def _ahead(extreme: np.ufunc, values: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Return [len(values)] the extreme of values[i+1 .. i+n], NaN where n are not there.

    A window of w and the same window w further on make one of 2w, so a few passes over the whole
    column do for any n; two windows that overlap then make the exact length. Extremes do not mind
    the overlap, and neither rounds.
    """
    result = np.full(len(values), np.nan)
    if len(values) <= n:
        return result
    width, widest = 1, np.ascontiguousarray(values[1:])
    while 2 * width <= n:
        widest = extreme(widest[:-width], widest[width:])
        width *= 2
    count = len(values) - n
    result[:count] = extreme(widest[:count], widest[n - width : n - width + count])
    return result
