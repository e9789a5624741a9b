"""A loop whose clock jumps: real sockets on loopback, but nobody waits for anything.

Everything that talks must live in the one loop. What is sent there is readable at once, so when
nothing is readable nothing is under way, and the time can be that of the next timer. Minutes of a
program's life take milliseconds, and a busy machine changes nothing but how many.
"""

from __future__ import annotations

import asyncio
import random
import selectors
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_STEP_S = 2e-5  # what one turn of the loop takes


class _Jumping(selectors.DefaultSelector):  # type: ignore[misc,valid-type] - it is a class
    """Looks, and lets the time pass when there is nothing to see."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += _STEP_S
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            return super().select(None)
        ready = super().select(0)  # the kernel may have been a moment late
        if not ready:
            self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jumping = _Jumping()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


@contextmanager
def _clocks(loop: _Loop, wall_ms: int) -> Iterator[None]:
    """Let the clocks that programs read be the loop's; it is `wall_ms` (UTC ms) at first."""
    kept = time.monotonic, time.time_ns
    began = loop.time()
    time.monotonic = loop.time
    time.time_ns = lambda: wall_ms * 1_000_000 + round((loop.time() - began) * 1e9)
    try:
        yield
    finally:
        time.monotonic, time.time_ns = kept


def run(main: Coroutine[Any, Any, T], *, wall_ms: int, seed: int = 1) -> T:
    """Run a coroutine to its end in virtual time; the same chances are taken for a seed."""
    loop = _Loop()
    random.seed(seed)
    with _clocks(loop, wall_ms), asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main)
