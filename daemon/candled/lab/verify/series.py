"""Series of bars for verification: copies, other futures, the rows worth a look, seeded candles.

Pure functions of bars, and of a generator where there is chance. Knows no feature set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import COLUMNS, TIME_COLUMNS, Bars, Interval
from candled.core.features.ema import MEMORY

PRICES: Final = ("open", "high", "low", "close")
#: What a venue may lack.
OPTIONAL: Final = ("quote_volume", "trades", "taker_buy_base", "taker_buy_quote")
_AMOUNTS: Final = ("volume", *OPTIONAL)
_START: Final = 1_700_006_400_000  # 2023-11-15T00:00:00Z, on the grid of all intervals up to a day
_AWAY: Final = 1_000  # slots

_JUMPS: Final = 0.005  # shares of the bars: with a big move,
_LOST: Final = 0.02  # left out,
_STILL: Final = 0.2  # without trades,
_HOLES: Final = 0.1  # without optional columns

Alteration = Callable[[Bars, int, Interval], Bars]


def copy(bars: Bars) -> Bars:
    """Return the same bars in memory of their own."""
    return Bars(**{name: getattr(bars, name).copy() for name in COLUMNS})


def with_columns(bars: Bars, **columns: NDArray[Any]) -> Bars:
    """Return the bars with some columns replaced."""
    return Bars(**{name: columns.get(name, getattr(bars, name)) for name in COLUMNS})


def dropped(bars: Bars, cut: int, interval: Interval) -> Bars:  # noqa: ARG001 - an Alteration
    """Return the bars up to and including `cut`: nothing has happened after it yet."""
    return copy(bars[: cut + 1])


def elsewhere(bars: Bars, cut: int, interval: Interval) -> Bars:
    """Let the bars after `cut` be a market three times as high, after a long gap."""
    made = copy(bars)
    after = slice(cut + 1, None)
    count = len(bars) - cut - 1
    walk = 3.0 * np.cumprod(1.0 + np.random.default_rng(cut).normal(0.0, 0.01, count))
    for name in (*PRICES, *_AMOUNTS):
        getattr(made, name)[after] *= walk
    for name in TIME_COLUMNS:
        getattr(made, name)[after] += _AWAY * interval.typical_ms
    return made


def extreme(bars: Bars, cut: int, interval: Interval) -> Bars:  # noqa: ARG001 - an Alteration
    """Let the bars after `cut` leap up and down by a factor of a million, volume too."""
    made = copy(bars)
    count = len(bars) - cut - 1
    leaps = np.where(np.arange(count, 0, -1) % 2, 1e6, 1e-6)  # the last bar leaps up
    for name in (*PRICES, *_AMOUNTS):
        getattr(made, name)[cut + 1 :] *= leaps
    return made


def absent(bars: Bars, cut: int, interval: Interval) -> Bars:  # noqa: ARG001 - an Alteration
    """Let the venue lack its optional columns after `cut`."""
    made = copy(bars)
    for name in OPTIONAL:
        getattr(made, name)[cut + 1 :] = np.nan
    return made


#: Other futures by name, and how a finding says it.
FUTURES: Final[dict[str, tuple[Alteration, str]]] = {
    "dropped": (dropped, "are not there yet"),
    "elsewhere": (elsewhere, "come later and elsewhere"),
    "extreme": (extreme, "leap by a factor of a million"),
    "absent": (absent, "lack quote volume, trades and taker columns"),
}


def rows_worth_a_look(
    bars: Bars, interval: Interval, edges: Sequence[int], count: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Return about `count` sorted rows: `edges`, those where faults like to hide, and random ones.

    They like both sides of gaps and of the borders of the averages' epochs, the greatest moves, and
    bars without trades.
    """
    n, some = len(bars), max(1, count // 10)
    opens, closes = bars.open_time, bars.close
    gaps = np.flatnonzero(np.diff(opens) != interval.typical_ms)
    borders = np.flatnonzero(np.diff(opens // (MEMORY * interval.typical_ms)))
    moves = np.argsort(np.abs(np.diff(np.log(closes))), kind="stable")[::-1]
    still = np.flatnonzero(bars.volume == 0)
    before = np.concatenate(
        [rng.permutation(gaps)[:some], rng.permutation(borders)[:some], moves[:some]]
    )
    hiding = np.concatenate([edges, before, before + 1, still[:some]]).astype(np.intp)
    rows = np.concatenate([hiding, rng.integers(0, n, max(0, count - len(hiding)))])
    return np.unique(rows[(rows >= 0) & (rows < n)])


def seeded_candles(n: int, interval: Interval, seed: int, *, price: float = 100.0) -> Bars:
    """Return `n` seeded bars with trends, quiet stretches and big moves; prices on no tick."""
    rng = np.random.default_rng(seed)
    phase = np.arange(n) / 90.0 + 6.0 * rng.random()
    step = rng.normal(0.0, 0.006, n) * (0.4 + np.abs(np.sin(phase / 3.0)))
    step += 0.0012 * np.sin(phase) + (rng.random(n) < _JUMPS) * rng.normal(0.0, 0.05, n)
    return around_closes(price * np.exp(np.cumsum(step)), interval, rng)


def around_closes(
    closes: NDArray[np.float64], interval: Interval, rng: np.random.Generator
) -> Bars:
    """Return sane bars around a path of closes."""
    n = len(closes)
    opens = np.concatenate([closes[:1], closes[:-1]])
    reach = 1.0 + rng.exponential(0.003, (2, n))
    volume = rng.exponential(100.0, n) + 1.0
    taken = volume * rng.random(n)
    length = interval.typical_ms
    open_time = _START // length * length + length * np.arange(n, dtype=np.int64)
    return Bars(
        open_time=open_time,
        open=opens,
        high=np.maximum(opens, closes) * reach[0],
        low=np.minimum(opens, closes) / reach[1],
        close=closes,
        volume=volume,
        close_time=open_time + length - 1,
        quote_volume=volume * closes,
        trades=np.floor(volume * 10.0),
        taker_buy_base=taken,
        taker_buy_quote=taken * closes,
    )


def gappy(bars: Bars, seed: int) -> Bars:
    """Leave out about one bar in fifty, and one long stretch."""
    rng = np.random.default_rng(seed)
    keep = rng.random(len(bars)) > _LOST
    middle = len(bars) // 2
    keep[middle : middle + len(bars) // 20] = False
    return Bars(**{name: getattr(bars, name)[keep] for name in COLUMNS})


def untraded(bars: Bars, seed: int) -> Bars:
    """Let nobody trade in a fifth of the bars, in runs: the price stands, all amounts are 0."""
    rng = np.random.default_rng(seed)
    quiet = np.repeat(rng.random(len(bars) // 8 + 1) < _STILL, 8)[: len(bars)]
    made = copy(bars)
    last = np.maximum.accumulate(np.where(quiet, 0, np.arange(len(bars))))
    for name in PRICES:
        getattr(made, name)[quiet] = bars.close[last][quiet]
    for name in _AMOUNTS:
        getattr(made, name)[quiet] = 0.0
    return made


def patchy(bars: Bars, seed: int) -> Bars:
    """Let the venue lack its optional columns in about a tenth of the bars."""
    hole = np.random.default_rng(seed).random(len(bars)) < _HOLES
    made = copy(bars)
    for name in OPTIONAL:
        getattr(made, name)[hole] = np.nan
    return made
