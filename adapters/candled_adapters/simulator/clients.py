"""Who is connected to the simulated venue, and how connections end.

Owns the websocket connections and the tasks that say goodbye to them; knows no market and no venue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from websockets.asyncio.server import broadcast
from websockets.protocol import State

from candled_adapters.simulator import sockets
from candled_adapters.simulator.faults import Faults
from candled_adapters.simulator.pushing import Client

GOING_AWAY: Final = 1001
#: Gives the venue's notice for a `combined` session, or None.
Farewell = Callable[[bool], bytes | None]


@dataclass(slots=True)
class Roster:
    """The connected clients; what a fault's `Stage` is."""

    farewell: Farewell
    clients: dict[int, Client] = field(default_factory=dict)
    """By number."""
    _goodbyes: set[asyncio.Task[None]] = field(default_factory=set)

    def __iter__(self) -> Iterator[Client]:
        """Yield those whose connection is open."""
        for client in list(self.clients.values()):
            if client.connection.state is State.OPEN:
                yield client

    def say(self, frame: bytes) -> None:
        """Send a text frame to all."""
        broadcast([client.connection for client in self], frame, text=True)

    def drop_connections(self, code: int | None = GOING_AWAY) -> None:
        """Close every websocket with `code`, or, when None, reset its TCP connection."""
        for client in list(self.clients.values()):
            if code is None:
                sockets.reset(client.connection)
            else:
                self.dismiss(client, code, "")

    def abort_connections(self) -> None:
        """End every TCP connection without a goodbye, which clients see as 1006."""
        for client in list(self.clients.values()):
            client.connection.transport.close()

    def shut_down(self, grace_s: float, code: int = GOING_AWAY) -> None:
        """Announce the end in the venue's words, where it has some, and close after a while."""
        for client in self:
            notice = self.farewell(client.session.combined)
            if notice is not None:
                broadcast([client.connection], notice, text=True)
        loop = asyncio.get_running_loop()
        loop.call_later(grace_s, self._dismiss_all, list(self), code)

    def dismiss(self, client: Client, code: int, reason: str) -> None:
        """Close one connection; it need not listen."""
        task = asyncio.create_task(sockets.goodbye(client.connection, code, reason))
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)

    def cut_older(self, than_s: float, now_s: float) -> None:
        """Close the connections that are older."""
        for client in self:
            if now_s - client.since_s > than_s:
                self.dismiss(client, GOING_AWAY, "the connection is too old")

    def suffer(self, faults: Faults, now_ms: int, now_s: float) -> None:
        """Do what faults want done to connections by now (venue UTC ms, monotonic s)."""
        for fault in faults.in_force("acts", "ages_s"):
            if fault.hooks.acts and now_ms >= fault.bars.start:
                faults.end(fault)
                fault.hooks.acts(self)
            elif fault.hooks.ages_s and now_ms in fault.bars:
                self.cut_older(fault.hooks.ages_s, now_s)

    async def parted(self) -> None:
        """Wait until all goodbyes have been said."""
        if self._goodbyes:
            await asyncio.wait(self._goodbyes)

    def _dismiss_all(self, clients: list[Client], code: int) -> None:
        for client in clients:
            self.dismiss(client, code, "")
