"""What the offline commands share about files: candles read and described, places to write to."""

from __future__ import annotations

import os
import time
from pathlib import Path

from candled.core.bar import Bars, Interval, iso
from candled_adapters.artifacts.bundle import refuse_foreign
from candled_adapters.candles.candlefile import CandleFile, CandleFileError, read_candles


def candles_of(path: Path, interval: Interval | None) -> CandleFile:
    """Read a candle file; a last bar that has not closed yet is dropped."""
    return some(read_candles(path, interval, now_ms=now_ms()))


def some(file: CandleFile) -> CandleFile:
    """Refuse a file without any closed bar."""
    if not len(file.bars):
        mend = "give a file with closed candles"
        raise CandleFileError(file.path, None, None, "its only bar has not closed yet", mend)
    return file


def now_ms() -> int:
    """Return the time here (UTC ms), for files that say nothing of their venue's."""
    return time.time_ns() // 1_000_000


def check_out(out: Path, candles: Path) -> None:
    """Refuse a place that could not be written to, before the work and not after it."""
    check_place(out)
    if out.exists() and candles.exists() and out.samefile(candles):
        raise FileExistsError(f"{out} is the candle file itself; name another file to write")


def check_place(out: Path) -> None:
    """Refuse a file that could not be made."""
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a directory; name a file to write")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out.parent}: no such directory; make it first")
    _check_writable(out.parent)


def check_bundle_place(out: Path) -> None:
    """Refuse a folder that no bundle could be put at; its parents may be missing."""
    refuse_foreign(out)
    _check_writable(next(folder for folder in out.absolute().parents if folder.exists()))


def _check_writable(folder: Path) -> None:
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; name a place in a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder}: nothing can be written there; name another place")


def about(file: CandleFile, gaps_are: str = "taken by row") -> str:
    """Say in a line what a candle file holds, and what is done about its gaps."""
    gaps = sum(count for _, count in file.gaps)
    text = f"{file.path}: {len(file.bars)} bars {span(file.bars)}"
    if gaps:
        first = iso(file.gaps[0][0])
        text += f", {gaps} absent in {len(file.gaps)} gap(s), the first at {first} ({gaps_are})"
    return text + (", open last bar dropped" if file.dropped_open_bar else "")


def span(bars: Bars) -> str:
    """Say from when to when the bars open."""
    return f"from {iso(int(bars.open_time[0]))} to {iso(int(bars.open_time[-1]))}"
