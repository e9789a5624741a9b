"""What a cell of the matrix plays and decides with: candles, a model, and what is true of them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import COLUMNS, HOUR, TIME_COLUMNS, Bar, Bars, Interval, Stream
from candled.core.decision import Decision, Policy
from candled.core.engine import Engine, Lane
from candled.core.model import Model
from candled_adapters.simulator.generator import generate_many
from contract.cases import CASES, Case
from toys import windows

START = 1_700_000_000_000 // HOUR * HOUR
PAST, PLAYED = 760, 160  # bars that have closed before, and that may close in a cell
WINDOW = 8
THRESHOLD = 0.3
VENUE_NAMES = (
    "binance-spot",
    "binance-usdm",
    "bybit-linear",
    "okx",
    "kraken",
    "coinbase",
    "hyperliquid",
)
BY_NAME = {case.name: case for case in reversed(CASES)}
Floats = NDArray[np.float64]


# --- the model: every number of the last bars shows in what it says ------------------------------


class Raw:
    """The last bars' own numbers, all columns that a venue has."""

    name = "raw"
    window = history = WINDOW

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.columns = tuple(f"{name}_{at}" for name in names for at in range(WINDOW))

    def table(self, bars: Bars, interval: Interval) -> Floats:  # noqa: ARG002 - the protocol's
        return np.concatenate([windows(getattr(bars, n), WINDOW) for n in self.names], axis=1)

    def blocks(self, bars: Bars, interval: Interval, size: int = 4096) -> Iterator[Floats]:
        table = self.table(bars, interval)
        return (table[at : at + size] for at in range(0, len(table), size))

    def state(self, capacity: int, interval: Interval) -> RawState:
        return RawState(self, capacity, interval)


class RawState:
    """Keeps the last bars of each stream."""

    def __init__(self, raw: Raw, capacity: int, interval: Interval) -> None:
        self.raw, self.interval = raw, interval
        self.kept: list[list[Bar]] = [[] for _ in range(capacity)]

    def warm(self, row: int, bars: Bars) -> None:
        self.kept[row] = list(bars[-WINDOW:])

    def push(self, rows: NDArray[np.intp], bars: Bars) -> Floats:
        out = []
        for row, bar in zip(rows.tolist(), bars, strict=True):
            self.kept[row] = [*self.kept[row], bar][-WINDOW:]
            out.append(self.raw.table(Bars.of(self.kept[row]), self.interval)[-1])
        return np.stack(out)


class Weights:
    """In a booster's place: smooth in every input, where trees would not see a small change."""

    def __init__(self, count: int) -> None:
        self.weights = np.random.default_rng(5).normal(0.0, count**-0.5, (2, count))

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        sums = np.cumsum(rows.astype(np.float64)[:, None, :] * self.weights, axis=2)[..., -1]
        sides = (1.0 + sums / (1.0 + np.abs(sums))) / 4.0
        rest = 1.0 - sides[:, 0] - sides[:, 1]
        return np.stack([rest, sides[:, 0], sides[:, 1]], axis=1).astype(np.float32)


@functools.cache
def model(venue: str) -> Model:
    case = BY_NAME[venue]
    names = [name for name in COLUMNS if name not in TIME_COLUMNS and name not in case.missing]
    raw = Raw(names)
    table = tapes(venue)[case.symbol]
    mean = np.repeat([float(np.mean(getattr(table, name))) for name in names], WINDOW)
    scale = np.repeat([float(np.std(getattr(table, name))) for name in names], WINDOW)
    return Model(
        name="matrix",
        digest=f"matrix of {case.name}",
        symbol=case.symbol,
        interval=interval(case).name,
        features=raw,
        mean=mean,
        scale=scale,
        booster=Weights(len(raw.columns)),  # type: ignore[arg-type]
        threshold=THRESHOLD,
        target=None,
    )


def lane(case: Case, stream: Stream) -> Lane:
    return Lane(stream, model(case.name), Policy(threshold=THRESHOLD, gap_mute_bars=2))


# --- the truth -----------------------------------------------------------------------------------


def interval(case: Case) -> Interval:
    """Minutes, but for the venue that pushes buckets of five."""
    return Interval("5m" if case.name == "coinbase" else "1m")


def stream_of(case: Case, symbol: str) -> Stream:
    return Stream("venue", symbol, interval(case).name)


def neighbour(case: Case) -> str:
    return case.symbol.replace("BTC", "ETH")


def stranger(case: Case) -> str:
    """Return a third symbol, whose prices are of another size."""
    return case.symbol.replace("BTC", "LTC")


@functools.cache
def tapes(venue: str) -> Mapping[str, Bars]:
    """All bars there are, by symbol."""
    case = BY_NAME[venue]
    symbols = [case.symbol, neighbour(case), stranger(case)]
    found = generate_many(7, symbols, interval(case), START, PAST + PLAYED)
    cheap = {
        name: np.round(getattr(found[symbols[2]], name) / 1000, 5)
        for name in ("open", "high", "low", "close", "quote_volume", "taker_buy_quote")
    }
    return {**found, symbols[2]: replace(found[symbols[2]], **cheap)}


def replayed(case: Case, stream: Stream, bars: Iterable[Bar]) -> dict[int, Decision]:
    """Return what a fresh engine decides of bars as the venue shows them, by open time."""
    engine = Engine([lane(case, stream)])
    shown = Bars.of([case.shown(bar) for bar in bars])
    return {made.bar_open: made for block in engine.replay(stream, shown) for made in block}


@functools.cache
def clean(venue: str, stream: Stream) -> Mapping[int, Decision]:
    """Return what is decided where nothing goes wrong."""
    return replayed(BY_NAME[venue], stream, tapes(venue)[stream.symbol])
