"""What could be found out of a daemon, as data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from candled.core.bar import Stream
from candled.ports import Entry
from candled_adapters.web.shapes import Overview


class Verdict(IntEnum):
    """What it comes to; the number is the exit code."""

    ONLINE = 0
    DEGRADED = 1
    STOPPED = 3
    UNKNOWN = 4


VERDICTS: Final = {
    "online": Verdict.ONLINE,
    "degraded": Verdict.DEGRADED,
    "offline": Verdict.STOPPED,
}


@dataclass(frozen=True, slots=True)
class Stored:
    """What the journal tells of a daemon that does not answer."""

    epoch: str
    latest: tuple[Entry, ...]
    """Of each stream the newest."""
    newest_opens: dict[Stream, int | None]
    marks: dict[str, int]
    last_position: int
    refused: dict[str, int]
    """How many decisions each sink gave up."""


@dataclass(frozen=True, slots=True)
class Status:
    """What could be found out."""

    verdict: Verdict
    why: tuple[str, ...]
    """What a person should know, worst first."""
    now_ms: int
    """Wall clock here."""
    overview: Overview | None
    """What the daemon says; None when it does not, or another one does."""
    stored: Stored | None
    holder: int | None
    """Process that uses the journal; 0 when its number is not known, None when there is none."""
