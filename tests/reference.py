"""The notebook's mathematics once more, in plain pandas, for comparison.

Written from the definitions alone and without a thought for speed: rolling means, row-by-row
loops, no shared sums. Nothing of candled is imported here, so that an error in its kernel cannot
be an error here too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

PERIODS = range(5, 37)
TYPES = ("sma", "ema", "wma")


def moving_average(close: pd.Series, kind: str, period: int) -> pd.Series:
    """One line of the ribbon."""
    if kind == "sma":
        return close.rolling(period).mean()
    if kind == "ema":
        return close.ewm(span=period, adjust=False).mean()
    weighted = sum((period - back) * close.shift(back) for back in range(period))
    return weighted / (period * (period + 1) / 2)


def features(close: pd.Series) -> pd.DataFrame:
    """All 220 columns by name, warm-up rows as pandas makes them."""
    f: dict[str, pd.Series] = {}
    ribbon = {t: pd.DataFrame({p: moving_average(close, t, p) for p in PERIODS}) for t in TYPES}
    for t in TYPES:
        for p in PERIODS:
            f[f"ma{p}_{t}"] = ribbon[t][p]
    for t in TYPES:
        f[f"spread_{t}"] = ribbon[t][5] - ribbon[t][36]
    f["spread_pct"] = f["spread_sma"].abs() / close * 100
    for t in TYPES:
        f[f"ma_std_{t}"] = ribbon[t].std(axis=1)
        f[f"ma_range_{t}"] = ribbon[t].max(axis=1) - ribbon[t].min(axis=1)
    f["ma_range_pct"] = f["ma_range_sma"] / close * 100
    f["compression"] = (f["ma_range_pct"] < 0.5).astype(int)
    f["expansion"] = (f["ma_range_pct"] > f["ma_range_pct"].shift(1)).astype(int)
    for t in TYPES:
        slopes = (ribbon[t] - ribbon[t].shift(5)) / 5
        for p in PERIODS:
            f[f"slope_ma{p}_{t}"] = slopes[p]
        f[f"avg_slope_{t}"] = slopes.mean(axis=1)
        f[f"bullish_count_{t}"] = (slopes > 0).sum(axis=1)
        f[f"bearish_count_{t}"] = (slopes < 0).sum(axis=1)
        f[f"bullish_pct_{t}"] = f[f"bullish_count_{t}"] / 32
    top, bottom = ribbon["sma"].max(axis=1), ribbon["sma"].min(axis=1)
    below = sum((ribbon["sma"][p] < close).astype(int) for p in PERIODS)
    f["price_position"] = below / 32
    before = close.shift(1)
    f["cross_above"] = ((close > top) & (before <= top.shift(1))).astype(int)
    f["cross_below"] = ((close < bottom) & (before >= bottom.shift(1))).astype(int)
    return pd.DataFrame(f)


def toss_ups(frame: pd.DataFrame, close: pd.Series) -> dict[str, Any]:
    """How far each count or flag may be off, because a comparison is decided by rounding.

    Per row: the slopes of a type that are zero but for rounding, the averages that equal the close
    but for rounding, and whether a flag's two sides are equal but for rounding.
    """
    tiny = 1e-12 * close
    may: dict[str, Any] = {}
    for t in TYPES:
        slopes = frame[[f"slope_ma{p}_{t}" for p in PERIODS]]
        zero = slopes.abs().le(tiny, axis=0).sum(axis=1)
        may[f"bullish_count_{t}"] = may[f"bearish_count_{t}"] = zero
        may[f"bullish_pct_{t}"] = zero / 32
    sma = frame[[f"ma{p}_sma" for p in PERIODS]]
    level = sma.sub(close, axis=0).abs().le(tiny, axis=0)
    may["price_position"] = level.sum(axis=1) / 32
    crossing = (level.any(axis=1) | level.shift(1, fill_value=False).any(axis=1)).astype(int)
    may["cross_above"] = may["cross_below"] = crossing
    width = frame["ma_range_pct"]
    may["compression"] = ((width - 0.5).abs() <= 1e-10).astype(int)
    may["expansion"] = ((width - width.shift(1)).abs() <= 1e-10).astype(int)
    return may


@dataclass(frozen=True)
class Preset:
    span: int
    adjust: bool
    smooth_spread: bool
    bull_up: float
    bull_down: float
    pos_up: float
    pos_down: float
    spread_min: float
    repeats: int
    repeats_to_leave: int


PRESETS = {
    "notebook": Preset(5, True, True, 0.65, 0.35, 0.65, 0.35, 0.3, 3, 3 + 2),
    "default": Preset(5, False, False, 0.75, 0.35, 0.65, 0.35, 0.3, max(2, 15), max(2, 15)),
    "aggressive": Preset(3, False, False, 0.60, 0.40, 0.55, 0.45, 0.2, max(1, 5), max(1, 5)),
    "conservative": Preset(10, False, False, 0.80, 0.20, 0.75, 0.25, 0.5, max(5, 20), max(5, 20)),
}


def raw_regimes(frame: pd.DataFrame, preset: str) -> list[int]:
    """Classify each row of a feature frame."""
    rule = PRESETS[preset]
    bullish = frame["bullish_pct_sma"].fillna(0.5)
    position = frame["price_position"].fillna(0.5)
    spread = frame["spread_pct"].fillna(0.0)
    bullish = bullish.ewm(span=rule.span, adjust=rule.adjust).mean()
    position = position.ewm(span=rule.span, adjust=rule.adjust).mean()
    if rule.smooth_spread:
        spread = spread.ewm(span=rule.span, adjust=rule.adjust).mean()
    result = []
    for b, p, s in zip(bullish, position, spread, strict=True):
        if b >= rule.bull_up and p >= rule.pos_up and s >= rule.spread_min:
            result.append(1)
        elif b <= rule.bull_down and p <= rule.pos_down and s >= rule.spread_min:
            result.append(2)
        else:
            result.append(0)
    return result


def confirmed_regimes(raws: list[int], preset: str) -> list[int]:
    """Confirm raw regimes over the whole past, without any limit to memory."""
    rule = PRESETS[preset]
    state, candidate, seen, result = 0, None, 0, []
    for raw in raws:
        if raw == state:
            candidate, seen = None, 0
        else:
            seen = seen + 1 if raw == candidate else 1
            candidate = raw
            needed = rule.repeats_to_leave if state in (1, 2) and raw == 0 else rule.repeats
            if seen >= needed:
                state, candidate, seen = raw, None, 0
        result.append(state)
    return result


def label_loop(
    frame: pd.DataFrame,
    lookahead: int,
    profit: float,
    stop: float,
    regime: list[int] | None = None,
) -> pd.DataFrame:
    """Label a frame of high, low and close as the notebook does, one row at a time."""
    n = len(frame)
    names = ("future_high", "future_low", "future_return_up", "future_return_down")
    out: dict[str, list[Any]] = {name: [np.nan] * n for name in names}
    out |= {name: [0] * n for name in ("signal_long", "signal_short", "signal")}
    for i in range(n - lookahead):
        future = frame.iloc[i + 1 : i + 1 + lookahead]
        close = frame["close"].iloc[i]
        future_high, future_low = future["high"].max(), future["low"].min()
        up = (future_high - close) / close * 100
        down = (close - future_low) / close * 100
        drawdown_long, drawdown_short = down, up
        is_long = up >= profit and drawdown_long < stop
        is_short = down >= profit and drawdown_short < stop
        signal = 0
        if is_long:
            signal = 1
        if is_short:
            signal = 2
        if is_long and is_short and regime is not None and regime[i] in (1, 2):
            signal = regime[i]
        row = (future_high, future_low, up, down, int(is_long), int(is_short), signal)
        for name, value in zip(out, row, strict=True):
            out[name][i] = value
    return pd.DataFrame(out)


def touch_loop(
    bars: Any, entries: list[float], params: tuple[int, float, float], side: int
) -> list[tuple[str, int, float]]:
    """Follow a position of each row bar by bar: how it ends, in which bar, at which price."""
    rows = list(
        zip(*(getattr(bars, n).tolist() for n in ("open", "high", "low", "close")), strict=True)
    )
    return [_touch(rows, index, entry, params, side) for index, entry in enumerate(entries)]


def _touch(rows, index, entry, params, side):
    lookahead, profit, stop = params
    for at in range(index + 1, index + lookahead + 1):
        if at >= len(rows):
            return "unresolved", index + lookahead, math.nan
        opened, high, low, close = rows[at]
        up, down = (high - entry) / entry * 100, (entry - low) / entry * 100
        if side == 1:
            won, lost = up >= profit, down >= stop
            target, stop_price = entry * (1 + profit / 100), entry * (1 - stop / 100)
        else:
            won, lost = down >= profit, up >= stop
            target, stop_price = entry * (1 - profit / 100), entry * (1 + stop / 100)
        if lost:
            price = _within(stop_price, low, high)
            gapped = opened < price if side == 1 else opened > price
            return "stop", at, opened if gapped else price
        if won:
            return "target", at, _within(target, low, high)
    return "time", index + lookahead, close


def _within(price, low, high):
    if price < low:
        return low
    return min(price, high)


def first_touch_loop(bars: Any, params: tuple[int, float, float], regime=None):
    """Label each row by walking both sides forward together; return (class, known in bar)."""
    closes = bars.close.tolist()
    long = touch_loop(bars, closes, params, 1)
    short = touch_loop(bars, closes, params, 2)
    result = []
    for index, (one, other) in enumerate(zip(long, short, strict=True)):
        ended = {1: one, 2: other}
        winners = [side for side in (1, 2) if ended[side][0] == "target"]
        earliest = min((ended[side][1] for side in winners), default=None)
        winners = [side for side in winners if ended[side][1] == earliest]
        if len(winners) == 2:
            winners = [regime[index] if regime is not None and regime[index] else 2]
        if winners:
            result.append((winners[0], earliest))
        else:
            result.append((0, max(one[1], other[1])))
    return result
