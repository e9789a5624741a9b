"""What the figures of /metrics are read from: the parts of the live process, as callables.

Nothing is counted here, and nothing costs anything until somebody looks.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from candled.board import Board
from candled.core.bar import Stream
from candled.journal import Journal
from candled.journal.database import FILE
from candled.loopwatch import LoopWatch
from candled.ports import Clock, StreamState
from candled.tally import Tally
from candled.window import Behind
from candled_adapters.web.metrics_facts import Disk, Sources
from candled_adapters.web.seat import Exposition


@dataclass(frozen=True, slots=True)
class Instruments:
    """What of the live process is counted and measured."""

    tally: Tally
    watch: LoopWatch
    journal: Journal
    clock: Callable[[str], Clock]
    """Finds an exchange's clock."""
    folder: Path
    """The journal's."""


def sources_of(
    behind: Behind,
    instruments: Instruments,
    **more: Any,  # noqa: ANN401 - fields of Sources
) -> Sources:
    """Return where the figures are read; `more` are further fields of it, or others."""
    board, journal, watch = behind.board, instruments.journal, instruments.watch
    streams = [lane.stream for lane in behind.lanes]
    sinks = [sink.name for sink in behind.sinks]
    usual = Sources(
        version=behind.info.version,
        streams=lambda: streams,
        counted=instruments.tally,
        latest=journal.latest,
        health=lambda: board.health,
        state=board.stream,
        problem=board.problem,
        backlog=lambda: {name: journal.last_position - journal.position(name) for name in sinks},
        refused=lambda: {name: journal.refused(name) for name in sinks},
        clock=instruments.clock,
        wall_ms=lambda: time.time_ns() // 1_000_000,
        beats=watch.beats,
        latest_beat_s=lambda: watch.longest_s,
        disk=lambda: disk_of(instruments.folder),
        ready=lambda: is_ready(board, streams),
    )
    return replace(usual, **more)


def exposition_of(sources: Sources) -> Exposition:
    """Return what answers /metrics; loads the client library, which nobody else needs."""
    from candled_adapters.web.metrics import Metrics  # noqa: PLC0415 - only where it is asked

    return Metrics(sources).exposition


def is_ready(board: Board, streams: Sequence[Stream]) -> bool:
    """Whether the start is over and nothing has failed, as /readyz says."""
    told = [board.stream(stream) for stream in streams]
    warm = all(one is not None and one.state is not StreamState.WARMING for one in told)
    return warm and board.has_been_well("mqtt") and board.failure is None


def disk_of(folder: Path) -> Disk | None:
    """Look at the folder of a journal and its disk; None when that cannot be done."""
    try:
        usage = shutil.disk_usage(folder)
        journal = sum(file.stat().st_size for file in folder.glob(f"{FILE}*"))
    except OSError:
        return None
    return Disk(free=usage.free, size=usage.total, journal=journal)
