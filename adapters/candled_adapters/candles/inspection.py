"""What is right and what is wrong with a candle file: everything, not only the first fault.

Facts with counts and the first rows of each, found in whole columns. What makes a file useless is
decided by `candlefile.checked`, so that this can never be of another opinion than a reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from candled.core.bar import COLUMNS, RULES, Bars, Interval, iso
from candled_adapters.candles import slots
from candled_adapters.candles.candlefile import checked
from candled_adapters.candles.candletable import CandleTable, read_table
from candled_adapters.candles.names import CandleForm
from candled_adapters.candles.source import CandleFileError

_SHOWN: Final = 5
_RUN: Final = 3  # neighbouring bars without trades that are worth telling
_SPIKE: Final = 0.03  # least wick beyond both neighbours, as a logarithm ...
_SPIKE_RANGES: Final = 20.0  # ... and in ordinary bars' ranges
_BLOCK: Final = 50  # bars whose medians are compared for a change of unit
_PRICE_JUMP: Final = 5.0
_VOLUME_JUMP: Final = 300.0

Mask = NDArray[np.bool_]


class Weight(StrEnum):
    """What a finding means for who wants to use the file."""

    FAULT = "fault"
    """The file cannot be used as it is."""
    NOTICE = "notice"
    """It can, but look at it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of thing that was found."""

    kind: str
    """Name for programs, e.g. ``duplicate`` or ``rule:high``."""
    weight: Weight
    count: int
    """Rows, or runs where `what` says so."""
    what: str
    """For people."""
    where: tuple[str, ...]
    """The first of them: rows and times."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that is to be said about a file."""

    path: Path
    rows: int
    interval: Interval | None
    """None when it was not said and cannot be told."""
    first: int | None
    last: int | None
    """Earliest and latest open time (UTC ms)."""
    gaps: tuple[tuple[int, int], ...]
    """Absent slots between the rows in order of time: (open time of the first, how many)."""
    absent: tuple[str, ...]
    """Columns that the file lacks, or that are empty throughout."""
    open_last_bar: bool
    findings: tuple[Finding, ...]
    problem: str
    """Why a reader refuses the file: its first fault; '' when it does not."""

    @property
    def usable(self) -> bool:
        """Whether a reader takes the file."""
        return not self.problem


def inspect_file(
    path: Path, interval: Interval | None, *, now_ms: int, form: CandleForm, least: int
) -> Inspection:
    """Look at everything in a file that can be read at all.

    `least` is how many bars are needed to be of use. Raises `CandleFileError` for a file without a
    row that can be read.
    """
    complaints: list[CandleFileError] = []
    table = read_table(path, form, complaints.append)
    problem, open_last = "", False
    try:
        file = checked(table, interval, now_ms=now_ms)
        open_last = file.dropped_open_bar
        if len(file.bars) < least:
            problem = f"{path}: {len(file.bars)} closed bars, {least} are needed; give more"
    except CandleFileError as error:
        problem = str(error)
    if complaints:
        problem = str(complaints[0])
    interval = interval or _interval(table)
    opens = np.unique(table.opens)
    return Inspection(
        path=path,
        rows=len(table) + _lost(complaints),
        interval=interval,
        first=int(opens[0]),
        last=int(opens[-1]),
        gaps=() if interval is None else _gaps(interval, opens),
        absent=tuple(name for name in COLUMNS if _is_absent(table, name)),
        open_last_bar=open_last,
        findings=(*_unread(complaints), *_findings(table, interval)),
        problem=problem,
    )


def _gaps(interval: Interval, opens: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    return slots.gaps(interval, opens[slots.on_grid(interval, opens)])


def _interval(table: CandleTable) -> Interval | None:
    try:
        return slots.infer_interval(np.sort(table.opens))
    except ValueError:
        return None


def _is_absent(table: CandleTable, name: str) -> bool:
    column = table.columns.get(name)
    return column is None or bool(np.isnan(column).all())


def _lost(complaints: list[CandleFileError]) -> int:
    """How many rows could not be read at all: those of a wrong width or without a time."""
    lost = (None, "open_time", "close_time")
    return len({(one.path, one.row) for one in complaints if one.column in lost})


def _unread(complaints: list[CandleFileError]) -> Iterator[Finding]:
    if complaints:
        where = tuple(f"row {one.row}: {one.what}" for one in complaints[:_SHOWN])
        what = "cells or rows that cannot be read"
        yield Finding("unreadable", Weight.FAULT, len(complaints), what, where)


def _findings(table: CandleTable, interval: Interval | None) -> Iterator[Finding]:
    look = _Look(table)
    yield from _of_order(look, table)
    yield from _of_units(table)
    if interval is None:
        return
    yield from _of_grid(look, table, interval)
    bars = table.bars(interval)
    with np.errstate(invalid="ignore", divide="ignore"):
        yield from _of_rules(look, bars)
        yield from _of_trading(look, bars)
        yield from _of_jumps(look, bars)
        yield from _of_spikes(look, bars)


class _Look:
    """Makes findings of masks over the rows of a table."""

    def __init__(self, table: CandleTable) -> None:
        self._table = table

    def at(self, index: int) -> str:
        return f"{self._table.at(index)} ({iso(int(self._table.opens[index]))})"

    def rows(self, kind: str, weight: Weight, mask: Mask, what: str) -> Iterator[Finding]:
        found = np.flatnonzero(mask)
        if len(found):
            where = tuple(self.at(int(index)) for index in found[:_SHOWN])
            yield Finding(kind, weight, len(found), what, where)

    def runs(self, kind: str, mask: Mask, what: str) -> Iterator[Finding]:
        """Tell runs of neighbouring rows, the longest first."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
        starts, lengths = edges[::2], edges[1::2] - edges[::2]
        if not len(starts):
            return
        order = np.argsort(-lengths, kind="stable")[:_SHOWN]
        where = tuple(f"{lengths[i]} from {self.at(int(starts[i]))}" for i in order)
        many = int((lengths >= _RUN).sum())
        text = f"{what} in {len(starts)} runs, {many} of them of {_RUN} or more"
        yield Finding(kind, Weight.NOTICE, int(mask.sum()), text, where)


def _of_order(look: _Look, table: CandleTable) -> Iterator[Finding]:
    step = np.diff(table.opens, prepend=table.opens[0] - 1)
    later = "rows that come after a later one"
    yield from look.rows("order", Weight.FAULT, step < 0, later)
    order = np.argsort(table.opens, kind="stable")
    again = np.zeros(len(table), dtype=np.bool_)
    again[order[1:]] = np.diff(table.opens[order]) == 0
    yield from look.rows("duplicate", Weight.FAULT, again, "rows whose time was there before")


def _of_units(table: CandleTable) -> Iterator[Finding]:
    if len(table.units) > 1:
        what = f"units of time in it: {', '.join(table.units)}; each was converted exactly"
        yield Finding("units", Weight.NOTICE, len(table.units), what, ())


def _of_grid(look: _Look, table: CandleTable, interval: Interval) -> Iterator[Finding]:
    off = ~slots.on_grid(interval, table.opens)
    what = f"rows that are not on the {interval} grid (UTC)"
    yield from look.rows("grid", Weight.FAULT, off, what)
    ends = slots.ends(interval, table.opens)
    closes = table.columns.get("close_time", ends - 1)
    what = f"rows that end after their {interval} slot"
    yield from look.rows("long", Weight.FAULT, closes >= ends, what)
    what = f"rows that end before their {interval} slot does, as in an outage"
    yield from look.rows("short", Weight.NOTICE, (closes != 0) & (closes < ends - 1), what)


def _of_rules(look: _Look, bars: Bars) -> Iterator[Finding]:
    for rule in RULES:
        what = f"rows whose {rule.field} breaks the rule: it {rule.demand}"
        what = what.replace("it is zero although", "it is not zero when")
        yield from look.rows(f"rule:{rule.field}", Weight.FAULT, ~rule.holds(bars), what)


def _of_trading(look: _Look, bars: Bars) -> Iterator[Finding]:
    idle = bars.volume == 0
    flat = idle & (bars.open == bars.high) & (bars.high == bars.low) & (bars.low == bars.close)
    yield from look.runs("zero_volume", idle & ~flat, "bars without volume that are not flat")
    yield from look.runs("flat", flat, "flat bars without volume (O = H = L = C)")


def _of_jumps(look: _Look, bars: Bars) -> Iterator[Finding]:
    """Tell where a level changes at once and stays: a split, another asset, another unit."""
    price = _level_changes(bars.close, _PRICE_JUMP)
    what = f"places where the price jumps by {_PRICE_JUMP:.0f} times or more and stays there"
    yield from look.rows("price_unit", Weight.NOTICE, price, what)
    volume = _level_changes(bars.volume, _VOLUME_JUMP)
    what = f"places where the volume jumps by {_VOLUME_JUMP:.0f} times or more and stays there"
    yield from look.rows("volume_unit", Weight.NOTICE, volume, what)


def _level_changes(values: NDArray[np.float64], factor: float) -> Mask:
    """Mark the first row of each block whose median is `factor` from that of the one before it."""
    mask = np.zeros(len(values), dtype=np.bool_)
    blocks = len(values) // _BLOCK
    if blocks > 1:
        logs = np.log(np.where(values > 0, values, np.nan))[: blocks * _BLOCK]
        level = np.array([_median(block) for block in logs.reshape(blocks, _BLOCK)])
        mask[_BLOCK * (1 + np.flatnonzero(np.abs(np.diff(level)) > np.log(factor)))] = True
    return mask


def _of_spikes(look: _Look, bars: Bars) -> Iterator[Finding]:
    """Tell bars that reach far beyond both neighbours."""
    if len(bars) < 3:  # noqa: PLR2004 - a bar and its two neighbours
        return
    high, low = np.log(bars.high), np.log(bars.low)
    up = high[1:-1] - np.maximum(high[:-2], high[2:])
    down = np.minimum(low[:-2], low[2:]) - low[1:-1]
    ordinary = _median(high - low)
    far = np.maximum(up, down) > max(_SPIKE, _SPIKE_RANGES * ordinary)
    mask = np.concatenate([[False], far, [False]])
    what = "bars that reach far beyond both neighbours: flash moves, or bad prints"
    yield from look.rows("spike", Weight.NOTICE, mask, what)


def _median(values: NDArray[Any]) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")
