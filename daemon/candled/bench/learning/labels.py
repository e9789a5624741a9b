"""Labels: one vectorised pass against the loop over rows that a notebook has."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from candled.bench.learning.facts import Candles, Part, same_bits
from candled.bench.learning.timing import turns
from candled.core.bar import Bars
from candled.core.labels import LONG, NO_TRADE, SHORT, LabelParams, window_labels
from candled.core.touch import first_touch_labels

_REPEATS: Final = 9
_FUTURES: Final = ("future_high", "future_low", "future_return_up", "future_return_down")
_SIGNALS: Final = ("signal_long", "signal_short", "signal")

Columns = dict[str, NDArray[Any]]


def window_part(candles: Candles, rounds: int) -> Part:
    """Label by the window's extremes: every column of every row is the loop's, to the bit."""
    bars, params, frame = candles.bars, LabelParams(), frame_of(candles.bars)
    taken = turns(
        lambda: window_loop(frame, params), lambda: window_labels(bars, params), rounds, _REPEATS
    )
    pairs = [(taken.baseline[name], getattr(taken.candled, name)) for name in _FUTURES + _SIGNALS]
    return Part(
        "labels, window",
        len(bars),
        candles.name,
        {"notebook's loop": taken.baseline_s, "candled": taken.candled_s},
        (same_bits("label columns", pairs),),
        _shares(taken.candled.signal),
    )


def touch_part(candles: Candles, rounds: int) -> Part:
    """Label by what is touched first: class and bar of its decision are the loop's."""
    bars, params, frame = candles.bars, LabelParams(), frame_of(candles.bars)
    taken = turns(
        lambda: touch_loop(frame, params), lambda: first_touch_labels(bars, params), rounds
    )
    (signal, end), ours = taken.baseline, taken.candled
    return Part(
        "labels, first touch",
        len(bars),
        candles.name,
        {"notebook's loop": taken.baseline_s, "candled": taken.candled_s},
        (
            same_bits(
                "class, and bar in which it is known", [(signal, ours.signal), (end, ours.end)]
            ),
        ),
        _shares(ours.signal),
    )


def frame_of(bars: Bars) -> pd.DataFrame:
    """Return what of the bars the loops read, as a notebook has it."""
    index = pd.to_datetime(bars.open_time, unit="ms", utc=True)
    columns = {name: getattr(bars, name) for name in ("high", "low", "close")}
    return pd.DataFrame(columns, index=index)


def _shares(signal: NDArray[np.int8]) -> dict[str, float]:
    sides = {"long": LONG, "short": SHORT}
    return {f"{name} share": float(np.mean(signal == side)) for name, side in sides.items()}


def window_loop(frame: pd.DataFrame, params: LabelParams) -> Columns:
    """Label row by row: cut the future out of the frame, look at its extremes, decide."""
    ahead, profit, stop = params.lookahead_bars, params.profit_target_pct, params.stop_loss_pct
    rows: list[tuple[float, ...]] = []
    for i in range(len(frame) - ahead):
        future = frame.iloc[i + 1 : i + 1 + ahead]
        close = frame["close"].iloc[i]
        high, low = future["high"].max(), future["low"].min()
        up, down = (high - close) / close * 100, (close - low) / close * 100
        is_long, is_short = up >= profit and down < stop, down >= profit and up < stop
        signal = SHORT if is_short else LONG if is_long else NO_TRADE
        rows.append((high, low, up, down, is_long, is_short, signal))
    rows += [(np.nan, np.nan, np.nan, np.nan, 0, 0, NO_TRADE)] * min(ahead, len(frame))
    types = [np.float64] * len(_FUTURES) + [np.int8] * len(_SIGNALS)
    names = (*_FUTURES, *_SIGNALS)
    columns = zip(*rows, strict=True)
    return {n: np.array(c, dtype=t) for n, c, t in zip(names, columns, types, strict=True)}


def touch_loop(
    frame: pd.DataFrame, params: LabelParams
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Label row by row: cut the future out of the frame and walk through it, both sides at once."""
    made = [_first_touch(frame, i, params) for i in range(len(frame))]
    signal, end = zip(*made, strict=True)
    return np.array(signal, dtype=np.int8), np.array(end, dtype=np.int64)


def _first_touch(frame: pd.DataFrame, i: int, params: LabelParams) -> tuple[int, int]:
    future = frame.iloc[i + 1 : i + 1 + params.lookahead_bars]
    close = frame["close"].iloc[i]
    ended: dict[int, int] = {}
    steps = zip(future["high"].to_numpy(), future["low"].to_numpy(), strict=True)
    for at, (high, low) in enumerate(steps, start=i + 1):
        up, down = (high - close) / close * 100, (close - low) / close * 100
        won = NO_TRADE
        for side, gain, loss in ((LONG, up, down), (SHORT, down, up)):
            if side in ended:
                continue
            if loss >= params.stop_loss_pct:
                ended[side] = at
            elif gain >= params.profit_target_pct:
                won = side
        if won:
            return won, at
        if len(ended) == len((LONG, SHORT)):
            return NO_TRADE, at
    return NO_TRADE, i + params.lookahead_bars
