"""The loop watch tells how long the loop was held up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from candled.loopwatch import NOT_MEASURED, LoopWatch

HELD_S = 0.2


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)


def test_a_call_that_blocks_the_loop_is_seen_as_lateness():
    """What blocks the loop shows with its length less at most one beat; before, nothing is said."""
    watch = LoopWatch()
    assert watch.lateness() == NOT_MEASURED

    async def live() -> None:
        watching = asyncio.create_task(watch.run())
        await until(lambda: watch.lateness() != NOT_MEASURED)
        time.sleep(HELD_S)  # noqa: ASYNC251 - the blocking call that is to be seen
        await until(lambda: (watch.lateness().max_ms or 0) > (HELD_S - 0.03) * 1e3)
        watching.cancel()

    asyncio.run(live())


def test_the_longest_beat_is_kept_for_ever_and_the_share_is_of_the_newest():
    """One late beat among many raises the maximum only, and an early one counts as on time."""
    watch = LoopWatch()
    watch.beat(0.9)
    for _ in range(60_000):
        watch.beat(0.001)
    watch.beat(-0.1)
    assert (watch.lateness().p999_ms, watch.lateness().max_ms) == (1.0, 900.0)
