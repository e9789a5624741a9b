"""The challengers beside the service: they follow the journal, and let the champion go first.

A sink like any other, with a mark of its own, so that nothing is missed and nothing done twice. It
decides a few bars at a time and gives way between them: to what the champion has decided and the
broker has not accepted. Whatever goes wrong here ends nothing else, and degrades nothing: nobody
acts upon a shadow. Only a journal that is damaged stops the daemon, as anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from candled.challenge.courtesy import Courtesy
from candled.challenge.shadowing import NAME, Shadowing
from candled.core.bar import Stream
from candled.core.engine import Lane
from candled.errors import describe
from candled.journal import Journal, JournalError, JournalUnavailableError
from candled.ports import Clock, Entry, HealthBoard, Outbox, ShadowOutbox

#: Entries that are looked at before others may work again.
AT_ONCE: Final = 8
_RETRY_S: Final = 1.0

#: Tells shadows to whom it may concern, until cancelled.
Publish = Callable[[ShadowOutbox, HealthBoard], Awaitable[None]]

log = structlog.get_logger("candled.challenger")


class Challenger:
    """Decides in the shadow until cancelled.

    `first` are the sinks that deliver before it works, as long as they get on.
    """

    name = NAME

    def __init__(
        self,
        lanes: Sequence[Lane],
        journal: Journal,
        clock: Callable[[str], Clock],
        *,
        first: Sequence[str] = (),
    ) -> None:
        self.journal = journal
        self._clock = clock
        self.courtesy = Courtesy(journal, first)
        self._shadowing = Shadowing(lanes, journal, clock)
        self._lanes: Mapping[Stream, Lane] = self._shadowing.lanes

    @property
    def lanes(self) -> Mapping[Stream, Lane]:
        """The challenger of each stream that has one."""
        return self._lanes

    def replace(self, lanes: Sequence[Lane]) -> None:
        """Let these be the challengers from the next bars on."""
        self._lanes = {lane.stream: lane for lane in lanes}

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        """Decide until cancelled."""
        await _contained(board, lambda: self._follow(outbox, board))

    async def _follow(self, outbox: Outbox, board: HealthBoard) -> None:
        position = self._shadowing.begin()
        while True:
            if self._shadowing.lanes is not self._lanes:
                self._change()
                position = self._shadowing.begin()
            entries = outbox.after(position, AT_ONCE)
            for run in self._shadowing.runs(entries):
                await self._work(run)
                position = run[-1].position
                board.remark(NAME, None)
            if len(entries) < AT_ONCE:
                await outbox.wait(position)

    def _change(self) -> None:
        self._shadowing = Shadowing(list(self._lanes.values()), self.journal, self._clock)
        self._lanes = self._shadowing.lanes

    async def _work(self, run: Sequence[Entry]) -> None:
        for entry in self._shadowing.cold(run):
            await self.courtesy.give_way()
            await asyncio.to_thread(self._shadowing.warm, entry)
        while stale := self._shadowing.cold(run):  # what was revised while others were filled
            self._shadowing.warm(stale[0])
        await self.courtesy.give_way()
        self._shadowing.decide(run)


class Published:
    """A challenger, and who publishes what it decides, beside it."""

    name = NAME

    def __init__(self, challenger: Challenger, publish: Publish) -> None:
        self._challenger = challenger
        self._publish = publish

    async def run(self, outbox: Outbox, board: HealthBoard) -> None:
        """Run both until cancelled."""
        shadows = self._challenger.journal.shadows
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._challenger.run(outbox, board))
            tasks.create_task(_contained(board, lambda: self._publish(shadows, board)))


async def _contained(board: HealthBoard, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work, again after a full disk; any other failure is told, and ends it alone."""
    while True:
        try:
            await work()
        except JournalUnavailableError as error:
            board.remark(NAME, str(error))
            await asyncio.sleep(_RETRY_S)
        except JournalError:
            raise
        except Exception as error:
            log.exception("the challengers stopped")
            board.remark(NAME, f"stopped: {describe(error)}; the champion goes on")
            return
