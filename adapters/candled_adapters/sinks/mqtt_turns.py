"""Whose turn it is to send on a connection: decisions first, and what is none when none waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

#: Enters once it is nobody else's turn and nothing that is decided waits to be delivered.
SpareTurn = Callable[[], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def spare_turn(turn: asyncio.Lock, all_delivered: Callable[[], bool]) -> AsyncIterator[None]:
    """Enter when all that is decided has been delivered, and keep the turn meanwhile."""
    while True:
        async with turn:
            if all_delivered():
                yield
                return
        await asyncio.sleep(0)  # now it is the turn of what waits
