"""What the daemon's journal holds, read from outside while the daemon runs or after its end."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from candled.core.bar import Stream
from candled.journal import JournalError, open_reader
from candled.journal.rows import entry_of
from candled.ports import Entry

_SIGNALS = "SELECT entry FROM decisions WHERE seq IS NOT NULL AND position > ? ORDER BY position"
_ALL = "SELECT entry FROM decisions ORDER BY position"
_COUNT = "SELECT count(*) FROM decisions"


@dataclass(frozen=True, slots=True)
class Owed:
    """A signal in the journal: what the application must get."""

    id: str
    stream: Stream
    seq: int
    bar_open: int
    received_ns: int
    """Wall clock when its bar was received; it was durable some milliseconds later."""


def entries(state: Path) -> list[Entry]:
    """Return all entries, oldest first."""
    with open_reader(state) as reader:
        return [entry_of(text) for (text,) in reader.rows(_ALL)]


def owed(state: Path, after: int = 0) -> list[Owed]:
    """Return the signals after a position, oldest first."""
    with open_reader(state) as reader:
        found = [entry_of(text) for (text,) in reader.rows(_SIGNALS, (after,))]
    return [_owed(entry) for entry in found]


def _owed(entry: Entry) -> Owed:
    decision = entry.decision
    assert entry.seq is not None
    return Owed(decision.id, decision.stream, entry.seq, decision.bar_open, entry.received_ns)


def decided(state: Path) -> int:
    """Count the decisions on disk; 0 when there is no journal, or it is just being made."""
    with suppress(FileNotFoundError, JournalError), open_reader(state) as reader:
        return int(reader.rows(_COUNT)[0][0])
    return 0


async def until_decided(state: Path, count: int, seconds: float) -> None:
    """Wait for so many decisions on disk."""
    deadline = time.monotonic() + seconds
    while (have := decided(state)) < count:
        assert time.monotonic() < deadline, f"{have} of {count} decisions in time"
        await asyncio.sleep(0.05)
