"""One look at a venue's pushes: whether they can be had, and of which streams. For `check`.

Connects once to each connection that a feed would make, asks for its streams, and listens for a
bounded time. An acknowledgement proves nothing (some venues acknowledge anything), so data is
waited for too; that none came within seconds proves nothing either, when nobody traded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from candled.core.bar import Stream
from candled_adapters.exchanges.dialect import (
    Control,
    ControlKind,
    Dialect,
    Kline,
    MalformedFrame,
    Sign,
    Subscription,
)

_SINGLY: Final = 20


@dataclass(frozen=True, slots=True)
class ProbeBounds:
    """How long is waited for what (s)."""

    connect_s: float = 10.0
    answer_s: float = 5.0
    """For an answer about every stream, once all were asked for."""
    push_s: float = 3.0
    """For a bar of any, once all were answered."""


@dataclass(slots=True)
class Heard:
    """What one connection said."""

    streams: tuple[Stream, ...]
    lost: str = ""
    """Why it could not be made, or ended; '' when it stayed."""
    answered: set[Stream] = field(default_factory=set)
    """Streams that were acknowledged, or of which a bar was pushed."""
    bars: int = 0
    """Pushes about bars, of whatever stream."""
    refused: dict[Stream, str] = field(default_factory=dict)
    """Streams that the venue will not push, and its words."""
    complaints: list[str] = field(default_factory=list)
    """What it said against us without saying about which stream, and what could not be read."""

    @property
    def silent(self) -> list[Stream]:
        """Streams that nothing was heard of."""
        return [one for one in self.streams if one not in self.answered | self.refused.keys()]


async def probe(
    dialect: Dialect, base: str, streams: Sequence[Stream], bounds: ProbeBounds | None = None
) -> list[Heard]:
    """Ask for the streams' pushes at `base`; return what each connection said."""
    size = dialect.limits.streams_per_connection
    parts = [streams[at : at + size] for at in range(0, len(streams), size)]
    bounds = bounds or ProbeBounds()
    probes = [_Probe(dialect, part, bounds) for part in parts]
    return await asyncio.gather(*(one.run(base) for one in probes))


class _Probe:
    """One connection and its streams."""

    def __init__(self, dialect: Dialect, streams: Sequence[Stream], bounds: ProbeBounds) -> None:
        self._dialect = dialect
        self._bounds = bounds
        self._heard = Heard(tuple(streams))
        self._pending: dict[int | str, Subscription] = {}

    async def run(self, base: str) -> Heard:
        heard = self._heard
        url = self._dialect.websocket_url(base, heard.streams)
        try:
            async with connect(
                url, open_timeout=self._bounds.connect_s, close_timeout=0.5, compression=None
            ) as connection:
                await self._talk(connection)
        except InvalidStatus as error:
            heard.lost = f"the handshake was refused: HTTP {error.response.status_code}"
        except (ConnectionClosed, OSError, TimeoutError, WebSocketException) as error:
            heard.lost = str(error) or type(error).__name__
        return heard

    async def _talk(self, connection: ClientConnection) -> None:
        asked = self._subscriptions()
        self._pending = {one.id: one for one in asked if one.streams}
        asking = asyncio.create_task(self._ask(connection, asked))
        asking_s = len(asked) / self._dialect.limits.frames_per_second
        now = asyncio.get_running_loop().time
        until = now() + asking_s + self._bounds.answer_s
        patient = False
        try:
            while self._heard.silent or not self._heard.bars:
                if not self._heard.silent and not patient:
                    patient, until = True, now() + self._bounds.push_s
                async with asyncio.timeout_at(until):
                    self._take(await connection.recv(decode=False))
        except TimeoutError:
            pass  # that is all there is to hear
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    def _subscriptions(self) -> list[Subscription]:
        """Return what to send; a few streams are asked for one by one, to know which is refused."""
        streams = self._heard.streams
        parts = [[one] for one in streams] if len(streams) <= _SINGLY else [list(streams)]
        asked: list[Subscription] = []
        for part in parts:
            asked += self._dialect.subscribe(part, len(asked) + 1)
        return asked

    async def _ask(self, connection: ClientConnection, asked: Sequence[Subscription]) -> None:
        """Ask for every stream, no faster than the venue allows."""
        for subscription in asked:
            await connection.send(subscription.frame.decode())
            await asyncio.sleep(1.0 / self._dialect.limits.frames_per_second)

    def _take(self, frame: bytes) -> None:
        try:
            facts = self._dialect.parse(frame)
        except MalformedFrame as error:
            self._heard.complaints.append(str(error))
            return
        for fact in facts:
            if isinstance(fact, Control):
                self._heed(fact)
            else:
                self._heard.bars += 1
                self._heard.answered.update(self._of(fact))

    def _of(self, kline: Kline | Sign) -> Iterable[Stream]:
        """Find the streams that a push is about."""
        about = (kline.symbol, kline.interval)
        for stream in self._heard.streams:
            if (stream.symbol, self._dialect.pushed_interval(stream.interval)) == about:
                yield stream

    def _heed(self, control: Control) -> None:
        asked = None if control.id is None else self._pending.get(control.id)
        if control.kind is ControlKind.ERROR and asked is None:
            self._heard.complaints.append(control.text)
        elif control.kind is ControlKind.ERROR and asked is not None:
            self._heard.refused.update(dict.fromkeys(asked.streams, control.text))
        elif control.kind is ControlKind.ACK and asked is not None:
            self._heard.answered.update(asked.streams)
