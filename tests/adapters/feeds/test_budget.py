"""A venue's limit on how often it may be approached, on the real clock in small windows."""

from __future__ import annotations

import asyncio
import time

from candled_adapters.feeds.budget import Budget


async def _times(budget: Budget, count: int, *, spare: bool) -> list[float]:
    began, times = time.monotonic(), []
    for _ in range(count):
        await (budget.spare() if spare else budget.spend())
        times.append(time.monotonic() - began)
    return times


def test_no_window_holds_more_than_is_allowed():
    """Four in 0.1 s: each fifth waits for the window to pass."""
    times = asyncio.run(_times(Budget(4, 0.1), 11, spare=False))
    assert all(late - early >= 0.099 for early, late in zip(times, times[4:], strict=False))


def test_what_can_wait_takes_no_more_than_half():
    """Two in 0.1 s are left for what is urgent, which is served at once."""

    async def main() -> tuple[list[float], float]:
        budget = Budget(4, 0.1)
        waiting = asyncio.create_task(_times(budget, 5, spare=True))
        await asyncio.sleep(0.01)
        began = time.monotonic()
        await budget.spend()
        await budget.spend()
        urgent_s = time.monotonic() - began
        return await waiting, urgent_s

    times, urgent_s = asyncio.run(main())
    assert all(late - early >= 0.099 for early, late in zip(times, times[2:], strict=False))
    assert urgent_s < 0.05
