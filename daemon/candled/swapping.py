"""Another engine in the place of the one that decides, while bars go on closing.

It is made and filled from the journal in another thread, and follows what the service does
meanwhile until nothing is missing. Decides nothing that anybody sees, and knows no configuration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from candled.core.bar import Stream
from candled.core.decision import BarClosed
from candled.core.engine import Engine, Lane
from candled.journal import JournalReader

#: So many bars may be missing when the decider is held to wait for the last of them.
_FEW: Final = 64
#: Rounds after which it is held however many are missing, since they may never become few.
_ROUNDS: Final = 8


class SwapError(Exception):
    """The streams cannot be decided by these lanes without a restart; the text names each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


class News:
    """What the service has done to its streams since it was looked at last."""

    def __init__(self) -> None:
        self._closed: list[BarClosed] = []
        self._anew: dict[Stream, None] = {}

    def __len__(self) -> int:
        """Return how many bars have closed and streams begun anew."""
        return len(self._closed) + len(self._anew)

    def closed(self, batch: Sequence[BarClosed]) -> None:
        """Take note of bars that are decided and stored."""
        self._closed += batch

    def began(self, stream: Stream) -> None:
        """Take note that a stream's stored bars are no longer what they were."""
        self._anew[stream] = None

    def take(self) -> tuple[Sequence[BarClosed], Collection[Stream]]:
        """Return the bars in order and the streams, and forget them."""
        taken = self._closed, self._anew
        self._closed, self._anew = [], {}
        return taken


class Successor:
    """An engine on its way; `engine` once it is prepared.

    `reader` opens the journal for another thread. `served` are the streams as they are decided now,
    and how many bars the venue was asked for at most. `news` must hear of everything that is done
    to them from before `prepare` until the engine takes over.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        reader: Callable[[], JournalReader],
        served: Mapping[Stream, int],
    ) -> None:
        self._lanes = lanes
        self._reader = reader
        self._served = served
        self.news = News()
        self.engine = Engine(())

    async def prepare(self) -> None:
        """Make the engine and fill it, until few bars are missing; raises SwapError."""
        await asyncio.to_thread(self._make)
        for _ in range(_ROUNDS):
            if len(self.news) <= _FEW:
                return
            await self.catch_up()

    async def catch_up(self) -> None:
        """Let the engine see what has been done meanwhile."""
        await asyncio.to_thread(self._follow, *self.news.take())

    def _make(self) -> None:
        self.engine = Engine(self._lanes)
        if set(self.engine.streams) != set(self._served):
            raise ValueError("a swap is of the same streams")
        with self._reader() as journal:
            short = [text for s in self.engine.streams if (text := self._fill(journal, s))]
        if short:
            raise SwapError(short)

    def _fill(self, journal: JournalReader, stream: Stream) -> str | None:
        """Fill a stream's windows as a start would; return what is missing for ever.

        A stream that waits for its history gets it from its feed, if that was asked for enough.
        """
        need, asked = self.engine.history(stream), self._served[stream]
        bars, from_listing = journal.newest_bars(stream, need), journal.from_listing(stream)
        if need > asked and len(bars) < need and not from_listing:
            return (
                f"{stream.path}: needs {need} bars of history, the journal has {len(bars)} of it; "
                "restart candled, which asks the venue for them"
            )
        if len(bars):
            self.engine.warm(stream, bars, from_listing=from_listing)
        return None

    def _follow(self, closed: Sequence[BarClosed], anew: Collection[Stream]) -> None:
        """Fill again what began anew, and decide for nobody what has closed."""
        if anew:
            with self._reader() as journal:
                for stream in anew:
                    self._fill(journal, stream)
        seen = {event.stream: self.engine.newest(event.stream) for event in closed}
        self.engine.decide([e for e in closed if _is_later(e.bar.open_time, seen[e.stream])])


def _is_later(opened: int, newest: int | None) -> bool:
    return newest is None or opened > newest
