"""Keeps the journal tidy beside the service: its log emptied, old rows gone, late marks written.

Nothing here is needed for what is decided now. So trouble with the disk is told and tried again;
it ends nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from candled.core.bar import Stream
from candled.journal.database import JournalUnavailableError
from candled.journal.journal import Journal

_PAUSE_S: Final = 1.0
_PRUNE_EVERY_S: Final = 3_600.0
#: Rows that are removed until the write-ahead log is emptied.
_ROWS_UNTIL_EMPTIED: Final = 1_000

Report = Callable[[str, str | None], None]


class Housekeeper:
    """Tidies `journal` until cancelled; tells `report` what cannot be done.

    `keep_ms` is how long to keep what is delivered to all of `sinks`, None for ever; `history` how
    many bars each stream's decisions rest on.
    """

    def __init__(
        self,
        journal: Journal,
        report: Report,
        *,
        sinks: Sequence[str],
        history: Mapping[Stream, int],
        keep_ms: int | None,
    ) -> None:
        self._journal = journal
        self._report = report
        self._sinks = sinks
        self._history = history
        self._keep_ms = keep_ms
        self._prune_at_s = 0.0

    async def run(self) -> None:
        """Work for ever; raises JournalError for what waiting does not mend."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tidy_for_ever())
            tasks.create_task(self._settle_for_ever())

    async def _tidy_for_ever(self) -> None:
        """Tidy a moment after the journal grew, so that no commit has to."""
        seen = self._journal.last_position
        while True:
            await self._journal.wait(seen)
            await asyncio.sleep(_PAUSE_S)
            seen = self._journal.last_position
            try:
                await self._tidy()
            except JournalUnavailableError as error:
                self._report("journal upkeep", str(error))
            else:
                self._report("journal upkeep", None)

    async def _tidy(self) -> None:
        await asyncio.to_thread(self._journal.checkpoint)
        if self._keep_ms is not None and time.monotonic() >= self._prune_at_s:
            await self._prune(self._keep_ms)
            self._prune_at_s = time.monotonic() + _PRUNE_EVERY_S

    async def _prune(self, keep_ms: int) -> None:
        """Remove what is no longer needed, stream by stream, each in short steps."""
        removed = 0
        with self._journal.pruning(keep_ms, self._sinks, self._history) as (streams, step):
            for stream in streams:
                while rows := await asyncio.to_thread(step, stream):
                    removed += rows
                    if removed >= _ROWS_UNTIL_EMPTIED:
                        await asyncio.to_thread(self._journal.checkpoint)
                        removed = 0

    async def _settle_for_ever(self) -> None:
        """Write marks that could not be written as soon as they can be."""
        while True:
            await self._journal.unsettled()
            self._report("journal", self._journal.settle())
            await asyncio.sleep(_PAUSE_S)
