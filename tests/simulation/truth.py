"""What is true in a simulated world: its streams, its bars as the venue will say them, its model.

The model is a checksum of the window's exact numbers that picks one of a few answers, some of them
exactly at the threshold: any wrong bar, column or bit shows in what is decided. `expected` says
what must be decided of a window, and shares nothing with the product's way to compute it.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from candled.core.bar import MINUTE, Bar, Bars, Interval, Stream
from candled.core.decision import Policy
from candled.core.engine import Lane
from candled.core.model import Model

START: Final = 1_767_225_600_000  # 2026-01-01T00:00:00Z; the first bar that is listed
WINDOW: Final = 4
THRESHOLD: Final = 0.5
READ: Final = ("open", "high", "low", "close", "volume", "quote_volume", "trades")
#: No trade, long, short. All are exact in float32, and two of the sides stand at the threshold.
ANSWERS: Final = (
    (0.25, 0.75, 0.0),
    (0.25, 0.0, 0.75),
    (0.5, 0.5, 0.0),
    (0.5, 0.0, 0.5),
    (0.125, 0.625, 0.25),
    (1.0, 0.0, 0.0),
)


def open_of(slot: int) -> int:
    """Return the open time (UTC ms) of a slot."""
    return START + slot * MINUTE


def slot_of(open_time: int) -> int:
    """Return the slot that opens then."""
    return (open_time - START) // MINUTE


def streams_of(count: int) -> list[Stream]:
    """Name so many streams."""
    return [Stream("sim", symbol, "1m") for symbol in ("AAA", "BBB", "CCC")[:count]]


def bars_of(seed: int, at: int, count: int, gaps: Sequence[int]) -> dict[int, Bar]:
    """Make a stream's bars by slot, all but those of `gaps`. Now and then nobody trades."""
    chance = random.Random(f"{seed} bars {at}")
    price, found = 100.0 + 10 * at, {}
    for slot in range(count):
        calm = chance.random() < 0.03
        volume = 0.0 if calm else round(chance.uniform(1.0, 20.0), 3)
        close = price if calm else round(price * chance.uniform(0.99, 1.01), 2)
        bar = _bar(slot, price, close, volume, chance)
        if slot not in gaps:
            found[slot] = bar
        price = close
    return found


def _bar(slot: int, opened: float, close: float, volume: float, chance: random.Random) -> Bar:
    spread = 0.0 if volume == 0 else round(chance.uniform(0.0, 0.2), 2)
    high, low = max(opened, close) + spread, min(opened, close) - spread
    trades = float(round(volume * 3))
    quote, taken = round(volume * close, 2), round(volume * chance.random(), 3)
    at = open_of(slot)
    return Bar(
        at, opened, high, low, close, volume, at + MINUTE - 1, quote, trades, taken, taken * close
    )  # fmt: skip


def revised(bar: Bar, chance: random.Random) -> Bar:
    """Return other numbers for a bar, as sane as before."""
    return replace(
        bar, high=bar.high + round(chance.uniform(0.01, 0.3), 2), trades=bar.trades + 1.0
    )


# --- the model ------------------------------------------------------------------------------------


class Toy:
    """The last bars' own numbers, and the share of buyers, which is no number without a trade."""

    name = "simulated"
    window = history = WINDOW
    columns = (*(f"{name}_{at}" for name in READ for at in range(WINDOW)), "taken")

    def table(self, bars: Bars, interval: Interval) -> Any:  # noqa: ARG002 - the protocol's
        rows = list(bars)
        empty = [float("nan")] * len(self.columns)
        found = [
            _row(rows[at - WINDOW + 1 : at + 1]) if at >= WINDOW - 1 else empty
            for at in range(len(rows))
        ]
        return np.array(found, dtype=np.float64).reshape(-1, len(self.columns))

    def blocks(self, bars: Bars, interval: Interval, size: int = 4096) -> Iterator[Any]:
        table = self.table(bars, interval)
        return (table[at : at + size] for at in range(0, len(table), size))

    def state(self, capacity: int, interval: Interval) -> ToyState:  # noqa: ARG002
        return ToyState(capacity)


class ToyState:
    """Keeps the last bars of each stream."""

    def __init__(self, capacity: int) -> None:
        self._kept: list[list[Bar]] = [[] for _ in range(capacity)]

    def warm(self, row: int, bars: Bars) -> None:
        self._kept[row] = list(bars[-WINDOW:])

    def push(self, rows: Any, bars: Bars) -> Any:
        out = np.full((len(rows), len(Toy.columns)), np.nan)
        for at, (row, bar) in enumerate(zip(rows.tolist(), bars, strict=True)):
            self._kept[row] = [*self._kept[row], bar][-WINDOW:]
            if len(self._kept[row]) == WINDOW:
                out[at] = _row(self._kept[row])
        return out


def _row(bars: Sequence[Bar]) -> list[float]:
    last = bars[-1]
    taken = last.taker_buy_base / last.volume if last.volume else float("nan")
    return [getattr(bar, name) for name in READ for bar in bars] + [taken]


class Checksum:
    """In a booster's place."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt

    def predict(self, rows: Any) -> Any:
        return np.array([self._answer(row) for row in rows], dtype=np.float32)

    def _answer(self, row: Any) -> tuple[float, float, float]:
        return ANSWERS[zlib.crc32(self._salt + row.tobytes()) % len(ANSWERS)]


def model(version: int) -> Model:
    """Return the model that is in use after so many swaps."""
    count = len(Toy.columns)
    return Model(
        name=f"simulated-{version}",
        digest=f"simulated {version}",
        symbol="AAA",
        interval="1m",
        features=Toy(),
        mean=np.zeros(count),
        scale=np.ones(count),
        booster=Checksum(b"%d" % version),  # type: ignore[arg-type]
        threshold=THRESHOLD,
        target=None,
    )


def lanes(streams: Sequence[Stream], version: int) -> list[Lane]:
    """Return how the streams are decided after so many swaps."""
    return [Lane(stream, model(version), Policy(threshold=THRESHOLD)) for stream in streams]


# --- what must be decided -------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What a decision must say."""

    side: str
    reason: str | None


def expected(bars: Sequence[Bar], at: int, version: int) -> Verdict:
    """Say what must be decided of bar `at` of all bars of a stream, listed first to last."""
    if at + 1 < WINDOW:
        return Verdict("no_decision", "warmup")
    window = bars[at + 1 - WINDOW : at + 1]
    if window[-1].volume == 0:
        return Verdict("no_decision", "features_not_finite")
    numbers = [getattr(bar, name) for name in READ for bar in window]
    numbers.append(window[-1].taker_buy_base / window[-1].volume)
    said = np.array(numbers, dtype=np.float64).astype(np.float32).tobytes()
    _, long, short = ANSWERS[zlib.crc32(b"%d" % version + said) % len(ANSWERS)]
    if short > THRESHOLD:
        return Verdict("short", None)
    return Verdict("long" if long > THRESHOLD else "flat", None)
