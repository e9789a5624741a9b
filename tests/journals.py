"""Journals for tests: what is put in, and what a disk or a hand does to them."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from candled.core.bar import COLUMNS, HOUR, Bar, Stream
from candled.core.decision import (
    BarClosed,
    Decision,
    Probabilities,
    Quality,
    Reason,
    Side,
    Source,
    Target,
    decision_id,
)
from candled.journal import Journal, open_journal
from candled.journal.rows import table_of
from candled.journal.sums import bar_sums, row_sum
from candled.ports import Entry
from fakes import evidence

BTC = Stream("binance", "BTCUSDT", "1h")
ETH = Stream("binance", "ETHUSDT", "1h")
START = 1_735_689_600_000
NAN = float("nan")
FILE = "candled.journal"
_DECISION = "position, stream, bar_open, revision, id, side, seq, entry"


def bar(hour: int, **columns: float) -> Bar:
    """Make the bar of one hour; a venue without taker columns."""
    opened = START + hour * HOUR
    made = Bar(
        opened, 100.1, 101.3, 99.7, 100.0 + hour / 7, 5.5, opened + HOUR - 1, 550.0, 9.0, NAN, NAN
    )
    return dataclasses.replace(made, **columns)


def closed(stream: Stream, hour: int, **columns: float) -> BarClosed:
    """Make the report of a closed bar."""
    at = START + (hour + 1) * HOUR
    return BarClosed(stream, bar(hour, **columns), Source.WS, (at + 12) * 1_000_000 + 345, at + 12)


def decided(event: BarClosed, side: Side = Side.FLAT) -> Decision:
    """Make a decision about a closed bar."""
    opened = event.bar.open_time
    asked = side is not Side.NO_DECISION
    return Decision(
        id=decision_id(event.stream, "m", "p", opened, 0),
        stream=event.stream,
        bar_open=opened,
        bar_close=opened + HOUR,
        revision=0,
        side=side,
        reason=None if asked else Reason.WARMUP,
        probabilities=Probabilities(0.10000000149011612, 0.25, 0.6499999761581421)
        if asked
        else None,
        threshold=0.6,
        target=Target(24, 1.5, 1.0),
        price=event.bar.close,
        regime=1,
        raw_regime=2,
        quality=(Quality.GAP,),
        model="BTCUSDT_1h",
        model_digest="m",
        policy_digest="p",
        valid_until=opened + 2 * HOUR,
        novelty=7 / 220 if asked else None,
        evidence=evidence(side) if side.is_signal else None,
    )


def commit(journal: Journal, *slots: tuple[Stream, int, Side]) -> list[Entry]:
    """Commit one batch of (stream, hour, side)."""
    batch = [closed(stream, hour) for stream, hour, _ in slots]
    sides = [side for _, _, side in slots]
    made = [decided(event, side) for event, side in zip(batch, sides, strict=True)]
    return journal.commit(batch, made, [event.received_ms + 3 for event in batch])


@contextmanager
def opened(folder: Path, tail: int = 8192) -> Iterator[Journal]:
    """Open a journal and close it at the end."""
    journal = open_journal(folder, tail=tail)
    try:
        yield journal
    finally:
        journal.close()


def rows(folder: Path, sql: str) -> list[tuple]:
    """Read the file as another program would."""
    db = sqlite3.connect(folder / FILE)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


@contextmanager
def tiny_disk(place: Path, kilobytes: int = 256) -> Iterator[Path]:
    """Mount a small file system; skips where that is not allowed."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a tiny disk can only be mounted as root")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill_disk(place: Path) -> Path:
    """Leave no byte on a file system; return the file that has them."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        for size in (65_536, 4_096, 1):
            with suppress(OSError):
                while file.write(b"x" * size):
                    pass
    return ballast


def change(folder: Path, sql: str, *values: object) -> None:
    """Execute a statement as no disk would: every row has the checksum of what it holds then."""
    with sqlite3.connect(folder / FILE) as db:
        db.create_function("row_sum", -1, row_sum)
        db.create_function("bar_sum", -1, _bar_sum)
        db.execute(sql, values)
        db.execute(f"UPDATE decisions SET sum = row_sum({_DECISION})")  # noqa: S608
        db.execute(f"UPDATE bars SET sum = bar_sum(stream, {', '.join(COLUMNS)})")  # noqa: S608
    db.close()


def _bar_sum(stream: int, *cells: float | None) -> int:
    return int(bar_sums(stream, table_of([cells]))[0])
