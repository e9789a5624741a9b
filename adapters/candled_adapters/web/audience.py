"""All who look on: they are told what changed, a few times a second and encoded once for everybody.

Nobody looking costs nothing. Many streams that change at once are rendered and told in slices,
between which the loop serves the pipeline. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from candled.core.bar import Stream
from candled.ports import Notice
from candled_adapters.web import rendering, shapes
from candled_adapters.web.client import Client, frames_of
from candled_adapters.web.view import View, encode

EVERY_S: Final = 0.25  # how often at most lines are told
_BEAT_S: Final = 1.0
_BUSY_S: Final = 0.05  # how soon to look again after a client that is not free
_SLICE: Final = 32  # lines rendered in one go: about a millisecond
_PASSES: Final = 3
_MESSAGE: Final = 128  # lines of one message

Frames = tuple[bytes, ...]


class Audience:
    """Tells those who look on; `service` says how the whole is, `cards` which models there are."""

    def __init__(
        self,
        view: View,
        wall_ms: Callable[[], int],
        service: Callable[[], shapes.Service],
        cards: Callable[[], tuple[shapes.Card, ...]],
    ) -> None:
        self._view = view
        self._wall_ms = wall_ms
        self._service = service
        self._cards = cards
        self._clients: set[Client] = set()
        self._changed: set[Stream] = set()
        self._events: list[Notice] = []
        self._said: tuple[shapes.Service, tuple[shapes.Card, ...]] | None = None
        self._news = asyncio.Event()
        self._last_s = self._beat_s = 0.0

    def __len__(self) -> int:
        """Return how many look on."""
        return len(self._clients)

    @property
    def watched(self) -> set[Stream]:
        """The streams whose bars somebody wants."""
        return {client.watched for client in self._clients if client.watched}

    def join(self, client: Client, first: Frames) -> None:
        """Take somebody in, who is told everything first."""
        self._clients.add(client)
        client.tell(first)
        self._news.set()

    def leave(self, client: Client) -> None:
        """Let somebody go."""
        self._clients.discard(client)

    def note(self, streams: Iterable[Stream] = ()) -> None:
        """Have it told that streams look otherwise, or that the whole may."""
        if self._clients:
            self._changed.update(streams)
            self._news.set()

    def happened(self, notices: Sequence[Notice]) -> None:
        """Have incidents told."""
        if self._clients:
            self._events += notices
            self._news.set()

    def bars(self, stream: Stream, message: shapes.Bars) -> None:
        """Tell those who watch a stream of its bars."""
        frames = frames_of(encode(message))
        for client in self._clients:
            if client.watched == stream:
                client.tell(frames)

    async def run(self) -> None:
        """Tell for ever."""
        while True:
            if not self._clients:
                self._said = None
                self._news.clear()
                await self._news.wait()
            await self._pause()
            await self._tell_all()

    async def _pause(self) -> None:
        """Wait for news, a beat or a client that is behind; but never tell too often."""
        now = time.monotonic()
        behind = any(client.pending or not client.is_free for client in self._clients)
        latest = min(self._beat_s + _BEAT_S, now + _BUSY_S if behind else now + _BEAT_S)
        try:
            async with asyncio.timeout(max(latest - now, 0)):
                await self._news.wait()
        except TimeoutError:
            return
        await asyncio.sleep(self._last_s + EVERY_S - time.monotonic())

    async def _tell_all(self) -> None:
        now = time.monotonic()
        self._drop_lost(now)
        if now >= self._beat_s + _BEAT_S:
            self._beat_s = now
            self._tell(shapes.Beat(self._wall_ms()))
            self._changed |= self._view.look_aside()
        self._tell_events()
        self._tell_rest()
        if now >= self._last_s + EVERY_S:
            self._last_s = now
            self._news.clear()
            await self._tell_lines()

    def _drop_lost(self, now_s: float) -> None:
        for client in list(self._clients):
            client.pump()
            if client.is_lost(now_s):
                self.leave(client)
                client.drop()

    def _tell(self, said: object) -> None:
        frames = frames_of(encode(said))
        for client in self._clients:
            client.tell(frames)

    def _tell_events(self) -> None:
        if self._events:
            events, self._events = self._events, []
            self._tell(shapes.Events(tuple(map(rendering.happened, events))))

    def _tell_rest(self) -> None:
        """Tell how the whole is, and of the models, where that is not what was said last."""
        present = self._service(), self._cards()
        said, self._said = self._said, present
        if said is None or said[0] != present[0]:
            self._tell(present[0])
        if said is not None and said[1] != present[1]:
            self._tell(shapes.Cards(present[1]))

    async def _tell_lines(self) -> None:
        """Tell what changed to all who know the rest; the others get of theirs what they take."""
        changed, self._changed = self._changed, set()
        level = {client for client in self._clients if client.is_free and not client.pending}
        behind = self._clients - level
        for client in behind:
            client.pending |= changed
        if level:
            async for frames in self._lines(changed):
                await self._give(level, frames)
        for client in behind:
            if client.is_free:
                part = list(islice(client.pending, _MESSAGE))
                client.pending.difference_update(part)
                async for frames in self._lines(part):
                    await self._give([client], frames)

    async def _lines(self, streams: Iterable[Stream]) -> AsyncIterator[Frames]:
        """Yield the messages that tell how streams look."""
        for part in _slices(streams, _MESSAGE):
            await self.render(part)
            said = {"type": "lines", "lines": [self._view.line(stream) for stream in part]}
            yield frames_of(encode(said))

    async def _give(self, clients: Iterable[Client], frames: Frames) -> None:
        """Tell clients, with the loop's other work in between where it is much."""
        for client in clients:
            client.tell(frames)
            await asyncio.sleep(0)

    async def render_all(self) -> None:
        """Render all lines; those that change meanwhile once more, and then no longer."""
        for _ in range(_PASSES):
            await self.render(self._view.streams)

    async def render(self, streams: Iterable[Stream]) -> None:
        """Render lines that are not rendered, a slice at a time."""
        for part in _slices(filter(self._view.is_stale, streams), _SLICE):
            for stream in part:
                self._view.line(stream)
            await asyncio.sleep(0)


def _slices(streams: Iterable[Stream], size: int) -> Iterator[list[Stream]]:
    todo = iter(streams)
    while part := list(islice(todo, size)):
        yield part
